"""Run folders made of drawn squares and made-up scores: all that a report needs, and no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from fcbench.files import write_image, write_json
from fcbench.store import RunFolder, run_folder, subject_folder
from fcbench.types import Case, Generation, Image, Prompt, Score, Subject

PROMPTS = (
    Prompt("red-hat", "{} wearing a red hat", "accessory"),
    Prompt("pink-glasses", "{} wearing pink glasses", "accessory"),
    Prompt("watercolor", "a watercolor painting of {}", "style"),
    Prompt("sepia", "a sepia photograph of {}", "style"),
    Prompt("book", "{} reading a book", "action"),
    Prompt("snow", "{} in the snow", "context"),
)
HEADER = {"version": 1, "judges": {"faces": "f" * 64, "clip": "c" * 64}, "judged": "0" * 64}
OUTCOMES = ("both_right", "blended", "swapped", "cloned", "missing", "extra")
CONFIG = {
    "suite_digest": "5" * 64,
    "stack": "mini",
    "device": "AMD EPYC 9354, 2 threads",
    "versions": {"fcbench": "0.1.0", "torch": "2.8.0"},
    "memory_kind": "resident",
    "random_weights": False,
}


def picture(seed: int, *, size: int = 64) -> Image:
    """A face of sorts: the same for the same seed."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:size, 0:size] / size
    image = np.broadcast_to(rng.integers(120, 255, 3), (size, size, 3)).astype(np.float64)
    image = image * (0.8 + 0.2 * rows[:, :, None])
    for height, width, top, shade in ((0.3, 0.22, 0.45, 150), (0.12, 0.24, 0.2, 60), (0.3, 0.4, 0.98, 90)):
        inside = ((rows - top) / height) ** 2 + ((columns - 0.5) / width) ** 2 < 1
        image[inside] = rng.integers(shade - 50, shade + 50, 3)
    for across in (0.42, 0.58):
        image[(rows - 0.43) ** 2 + (columns - across) ** 2 < 0.0012] = 20
    return np.asarray(image.clip(0, 255), dtype=np.uint8)


@cache
def encoded(count: int) -> list[bytes]:
    """PNG files of ``count`` different pictures."""
    files = []
    for number in range(count):
        buffer = BytesIO()
        Pillow.fromarray(picture(1000 + number)).save(buffer, "PNG")
        files.append(buffer.getvalue())
    return files


def subjects(out: Path, suite: str, count: int) -> list[Subject]:
    """Subjects with one photo each."""
    made = []
    for i in range(count):
        photo = subject_folder(out, suite, f"p{i:03}") / "0.png"
        write_image(photo, picture(i))
        made.append(Subject(f"p{i:03}", "woman" if i % 2 else "man", (photo,)))
    return made


def cases(people: Sequence[Subject], *, pairs: bool = False, prompts: Sequence[Prompt] = PROMPTS) -> list[Case]:
    """Every subject, or every subject with the next, under every prompt."""
    pairs_of = zip(people, [*people[1:], people[0]], strict=True)
    groups = list(pairs_of) if pairs else [(person,) for person in people]
    return [Case(group, prompt, 0) for group, prompt in product(groups, prompts)]


def trio_cases(people: Sequence[Subject]) -> list[Case]:
    """Every subject with the next two, under every prompt."""
    trios_of = zip(people, [*people[1:], *people[:1]], [*people[2:], *people[:2]], strict=True)
    return [Case(group, prompt, 0) for group, prompt in product(trios_of, PROMPTS)]


def fake_run(
    out: Path,
    suite: str,
    label: str,
    wanted: Sequence[Case],
    *,
    quality: tuple[float, float] = (0.4, 0.25),
    failures: Mapping[str, str] | None = None,
    fit_seconds: float = 0.0,
    stored_bytes: int = 0,
    sample_seconds: float = 0.4,
    scored: bool = True,
    outcomes: Sequence[float] = (),
    **config: Any,
) -> RunFolder:
    """A run of all cases but the failed ones, with scores around ``quality`` (identity, prompt).

    ``outcomes``: how often a pair comes out right, blended, swapped, cloned, missing and with an extra face.
    """
    folder = run_folder(out, suite, label)
    failed = failures or {}
    method, _, variant = label.partition("@")
    named = {"method": method, "variant": variant or None, "label": label, "suite": suite, "cases": len(wanted)}
    write_json(folder.config, {**named, "images_per_subject": 1, **CONFIG, **config})
    rng = np.random.default_rng(len(label))
    effects = {subject.id: rng.normal(0, 0.08) for case in wanted for subject in case.subjects}
    identity, prompt, blending = [], [], []
    pictures = encoded(len(wanted))
    for number, case in enumerate(sorted(wanted, key=lambda case: case.id)):
        if case.id in failed:
            folder.fail(case, failed[case.id])
            continue
        folder.image(case.id).parent.mkdir(parents=True, exist_ok=True)
        folder.image(case.id).write_bytes(pictures[number])
        folder.commit(
            Generation(case, folder.image(case.id), fit_seconds, sample_seconds, 2**28 + number, stored_bytes)
        )
        value = quality[0] + sum(effects[s.id] for s in case.subjects) + rng.normal(0, 0.1)
        found = float(len(case.subjects)) if value > 0 else 0.0
        official = Score(max(value, 0.0), "" if value > 0 else "no face found")
        own = {f"identity_{place}": official for place, _ in enumerate(case.subjects, 1)}
        if len(case.subjects) > 1:
            own |= {"identity_mean": Score((official.value or 0.0) + 0.1), "identity_strict": Score(value)}
        identity.append((case.id, {"identity": official, "faces": Score(found), **own}))
        clip = Score(quality[1] + rng.normal(0, 0.02))
        drawn = zip(OUTCOMES, outcomes, strict=True) if outcomes else ()
        became = {name: Score(float(rng.random() < share)) for name, share in drawn}
        if became:
            became["margin"] = Score(0.6 * (became["both_right"].value or 0) - 0.3 * (became["cloned"].value or 0))
        blending.append((case.id, became))
        prompt.append((case.id, {"prompt": clip, "prompt_rank1": Score(float(rng.random() < 0.8))}))
    if scored:
        folder.write_scores("identity", identity, {**HEADER, "range": [0.0, 1.0]})
        folder.write_scores("prompt", prompt, {**HEADER, "range": [-1.0, 1.0]})
    if scored and outcomes:
        folder.write_scores("blending", blending, {**HEADER, "range": [0.0, 1.0]})
    return folder


def fake_suite(
    out: Path, suite: str = "fake-single", *, people: int = 24, pairs: bool = False, prompts: int = len(PROMPTS)
) -> list[Case]:
    """Six runs as a leaderboard has them: one incomplete, one on another device, two alike."""
    wanted = cases(subjects(out, suite, people), pairs=pairs, prompts=PROMPTS[:prompts])
    failed = {wanted[3].id: f"MethodError: {wanted[3].id}: loss became infinite at step 80"}
    five: dict[str, Any] = {"images_per_subject": 5}
    fake_run(out, suite, "stable-diffusion", wanted, quality=(0.03, 0.268), images_per_subject=0)
    fake_run(out, suite, "fastcomposer", wanted, quality=(0.48, 0.243))
    fake_run(out, suite, "fastcomposer@alpha-0.6", wanted, quality=(0.47, 0.251))
    fake_run(out, suite, "dreambooth", wanted, quality=(0.27, 0.239), fit_seconds=84.2, stored_bytes=17 * 2**20, **five)
    fake_run(out, suite, "textual-inversion", wanted, quality=(0.29, 0.219), fit_seconds=61.7, failures=failed, **five)
    fake_run(out, suite, "fastcomposer@h200", wanted, quality=(0.48, 0.243), device="NVIDIA H200")
    return wanted


def rich_suite(out: Path, suite: str = "rich-pair", *, people: int = 24, pairs: bool = True) -> list[Case]:
    """Nine methods, yardsticks and a sweep of alpha, with everything that a page can show."""
    wanted = cases(subjects(out, suite, people), pairs=pairs)
    nouns = {subject.id: subject.noun for case in wanted for subject in case.subjects}
    skins = ("light", "tan", "dark")
    groups = {name: {"noun": noun, "skin": skins[i % 3]} for i, (name, noun) in enumerate(sorted(nouns.items()))}
    tuned: dict[str, Any] = {"images_per_subject": 5, "capabilities": {"needs_tuning": True}}
    common: dict[str, Any] = {"subject_groups": groups, "stack_file": "mini", "load_seconds": 3.1, "peak_device": 2**30}
    failed = {wanted[3].id: f"MethodError: {wanted[3].id}: loss became infinite at step 80"}

    def run(label: str, identity: float, prompt: float, outcomes: Sequence[float], **more: Any) -> None:
        fake_run(
            out, suite, label, wanted, quality=(identity, prompt), outcomes=outcomes if pairs else (), **common, **more
        )

    run("stable-diffusion", 0.03, 0.268, (0.02, 0.3, 0.0, 0.2, 0.1, 0.05), images_per_subject=0, options={})
    run(
        "fastcomposer",
        0.48,
        0.243,
        (0.6, 0.1, 0.05, 0.05, 0.05, 0.02),
        sampling={"alpha": 0.7},
        options={"alpha": None},
    )
    run("fastcomposer@no-localization", 0.36, 0.247, (0.3, 0.4, 0.1, 0.1, 0.05, 0.02), options={"alpha": None})
    run("ip-adapter", 0.45, 0.221, (0.4, 0.2, 0.1, 0.1, 0.1, 0.1), options={})
    run("dreambooth", 0.27, 0.239, (0.2, 0.3, 0.1, 0.1, 0.2, 0.0), fit_seconds=84.2, stored_bytes=17 * 2**20, **tuned)
    run("dreambooth-lora", 0.25, 0.244, (0.2, 0.3, 0.1, 0.1, 0.2, 0.0), fit_seconds=51.0, stored_bytes=2**20, **tuned)
    run("textual-inversion", 0.29, 0.219, (0.1, 0.4, 0.1, 0.2, 0.1, 0.1), fit_seconds=61.7, failures=failed, **tuned)
    run("custom-diffusion", 0.41, 0.233, (0.3, 0.3, 0.1, 0.1, 0.1, 0.1), fit_seconds=39.5, stored_bytes=2**21, **tuned)
    for alpha in (0.0, 0.25, 0.5, 0.75, 1.0):
        scores = 0.03 + 0.5 * alpha**0.6, 0.268 - 0.04 * alpha**2
        run(f"fastcomposer@alpha-{alpha:g}", *scores, (), options={"alpha": alpha})
    for label, identity in (("real-photos", 0.71), ("other-people", 0.02), ("copied-reference", 0.93)):
        run(label, identity, 0.2, (), sanity=True)
    return wanted
