"""The dataset card: what Hugging Face reads at its top, and what a person reads below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import yaml

from fcbench.build.split import TOGETHER
from fcbench.files import write_text
from fcbench.store import DataFolder

if TYPE_CHECKING:
    from fcbench.build.pipeline import BuildCounts

HUB_LICENCES = {"CC0-1.0": "cc0-1.0", "CC-BY-4.0": "cc-by-4.0", "CC-BY-2.0": "cc-by-2.0"}

BODY = """
# {name}

{accepted} photos with captions, noun phrases, segments and which phrase names which segment: subject-augmented data as
FastComposer trains on. Made by `fcbench build-data`; this card is generated from `build.json`.

```python
from datasets import load_dataset
rows = load_dataset("{path}", split="{split}")

from fcbench.build.quality import PRESETS  # columns to filter by, and bounds for them
strict = load_dataset("{path}", split="{split}", filters=PRESETS["strict"])
```

`datasets` keeps what it has loaded by the folder's name alone: after another build under this name give it
`download_mode="force_redownload"`, or a `cache_dir` of its own.

## Counts

| | |
|---|--:|
{counts}

{rejected}
## Columns

`image` (PNG, or JPEG from 512 px on), `caption`, `noun_phrases` (`caption[start:end]`), `segments`: COCO run-length
mask, `bbox` as [x1, y1, x2, y2] with the end exclusive, `label`, the `phrase` that names it with its span and
`phrase_index` (null where none does), `match_score` in 0-1, `margin` to the best other matching, `person_id` where the
source knows it.
`original_caption`: the caption before numbered plurals were expanded, null where none was. `sharpness`, `short_side`,
`faces`, `people`, `min_margin`, `min_share`, `min_face_pixels`{scored} are there to filter by when
loading (as `PRESETS` above does); nothing was left out for them. `phash`: perceptual hash of 64 bits; photos that look
alike differ in few of them.
`flags`: `ambiguous` (the margin of a segment is below {ambiguous_margin}), `unmatched` (a countable segment has no
phrase).
Nobody is in two splits{together}. No two photos have the same pixels. The config `annotations` holds the same rows
without pixels, to be joined by `id` with photos of your own.

## Steps

| step | photos that came through |
|---|--:|
{funnel}

## Matching
{matching}
## Licences

Each row carries its author, source, licence, its URL and the changes made; `ATTRIBUTION.csv` lists them. Who publishes
photos must name them. A photo is taken out again, with all that has its pixels, by this command, given where the build
was:

```
{takedown}
```

The file holds one id or source a line, also of what was taken out before: a photo that it no longer lists comes back.
{notice}
| licence | photos |
|---|--:|
{licences}

## How it was made

Recipe `{signature}` on {devices}; each shard's models, versions, times and digests are in `meta/`.

| role | weights |
|---|---|
{models}

{versions}.

## Limits

Captions, segments and matches are made by models and are wrong at times: the rows flagged `ambiguous` most often. Look
at a sample before training: `fcbench data show {path}` draws one, and takes your verdicts. Faces are personal data:
do not use this dataset to recognise people.

## Citation

```bibtex
{citation}
```
"""

FASTCOMPOSER = """@article{xiao2023fastcomposer,
  title = {FastComposer: Tuning-Free Multi-Subject Image Generation with Localized Attention},
  author = {Xiao, Guangxuan and Yin, Tianwei and Freeman, William T. and Durand, Fr{\\'e}do and Han, Song},
  journal = {arXiv:2305.10431},
  url = {https://arxiv.org/abs/2305.10431},
  year = {2023}
}"""

KARRAS = """@inproceedings{karras2019style,
  title = {A Style-Based Generator Architecture for Generative Adversarial Networks},
  author = {Karras, Tero and Laine, Samuli and Aila, Timo},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  url = {https://arxiv.org/abs/1812.04948},
  year = {2019}
}"""
"""The paper that FFHQ comes from."""

FFHQ = """
The photos are those of Flickr-Faces-HQ (Karras, Laine and Aila, arXiv 1812.04948). NVIDIA's list of them is under CC
BY-NC-SA 4.0, and so is what comes from it here: authors, titles, sources, splits, face boxes and landmarks. Give the
paper and NVIDIA as their source, share them alike, and not for profit.
"""


def write_card(folder: DataFolder, counts: BuildCounts, build: Mapping[str, Any], takedown: str) -> None:
    """Write README.md from what ``build.json`` holds; ``takedown`` is the command that takes a photo out again."""
    rejected = {reason: count for reason, count in counts.rejected.items() if count}
    rows = {"photos in": counts.inputs, "accepted": counts.accepted, "rejected": sum(rejected.values())}
    rows |= {"duplicates": counts.duplicates}
    rows |= {f"split {split}": count for split, count in counts.splits.items()}
    rows |= {"people": counts.people, "segments": counts.segments, "segments with a phrase": counts.matched}
    rows |= {"ambiguous photos": counts.ambiguous}
    licences, is_ffhq = build["licences"], build["recipe"]["source"].startswith("ffhq ")
    licence = HUB_LICENCES.get(next(iter(licences)), "other") if len(licences) == 1 else "other"
    licence = "cc-by-nc-sa-4.0" if is_ffhq else licence  # of NVIDIA's list; each photo's own is in its row
    body = BODY.format(
        name=folder.path.name,
        path=folder.path.name,
        split=next(iter(counts.splits)),
        accepted=counts.accepted,
        counts=_lines(f"| {what} | {count} |" for what, count in rows.items()),
        funnel=_lines(f"| {step} | {photos} |" for step, photos in counts.funnel.items()),
        rejected=_rejected(rejected),
        ambiguous_margin=build["recipe"]["ambiguous_margin"],
        scored=_scored(build["scored"]),
        together="".join(f", nor {TOGETHER[what]}" for what in build["recipe"].get("together", ())),
        matching=_matching(counts),
        takedown=takedown,
        notice=FFHQ if is_ffhq else "",
        citation="\n\n".join([FASTCOMPOSER, *[KARRAS] * is_ffhq]),
        licences=_lines(f"| {_cell(licence)} | {count} |" for licence, count in licences.items()),
        models=_lines(f"| {role} | `{digest}` |" for role, digest in build["models"].items()),
        signature=build["signature"],
        devices=", ".join(build["devices"]),
        versions=", ".join(f"{package} {number}" for package, number in build["versions"].items()),
    )
    head = yaml.safe_dump(_front_matter(folder.path.name, counts, licence), sort_keys=False)
    write_text(folder.card, f"---\n{head}---\n{body}")


def _front_matter(name: str, counts: BuildCounts, licence: str) -> dict[str, Any]:
    def files(place: str) -> list[dict[str, str]]:
        return [{"split": split, "path": f"{place}/{split}-*.parquet"} for split in counts.splits]

    return {
        "pretty_name": name,
        "license": licence,
        "task_categories": ["text-to-image"],
        "tags": ["fcbench", "subject-driven-generation"],
        "configs": [
            {"config_name": "default", "default": True, "data_files": files("data")},
            {"config_name": "annotations", "data_files": files("annotations")},
            {"config_name": "rejects", "data_files": "rejects/rejects.parquet"},
        ],
    }


def _cell(text: str) -> str:
    """Foreign text for a cell of a Markdown table: one line, no markup."""
    return escape(" ".join(text.split())).replace("|", "\\|").replace("`", "\\`")


def _lines(lines: Any) -> str:
    return "\n".join(lines)


def _scored(names: Sequence[str]) -> str:
    """The scorer's columns, as the end of a sentence that lists columns."""
    return f" and, by the scorer, {', '.join(f'`{name}`' for name in names)}" if names else ""


def _rejected(rejected: Mapping[str, int]) -> str:
    if not rejected:
        return ""
    table = _lines(f"| `{reason}` | {count} |" for reason, count in rejected.items())
    return f"Rejected, each with its reason in the config `rejects`:\n\n| reason | photos |\n|---|--:|\n{table}\n"


def _matching(counts: BuildCounts) -> str:
    if not counts.matching:
        return "\nNo truth is known for these photos, so the matching was not measured.\n"
    table = _lines(
        f"| {kind.replace('_', ' ')} | {found['segments']} | {found['accuracy']:.3f} |"
        for kind, found in counts.matching.items()
    )
    return (
        '\nMeasured against the planted truth. People of one noun often have one phrase ("a man and a man"): which is\n'
        "which cannot be told from it, and those photos are flagged.\n\n"
        f"| segments | count | right |\n|---|--:|--:|\n{table}\n"
    )
