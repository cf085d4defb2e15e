"""What a build would need, shown before anything is computed: ``build-data --plan``."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from fcbench.build.ffhq import Ffhq
from fcbench.build.pipeline import job_of, recipe_of
from fcbench.build.plan_time import seconds_a_photo
from fcbench.build.shard import Job
from fcbench.build.source import Pictures, Source, World, unlimited
from fcbench.build.steps import steps_of
from fcbench.errors import FcbenchError
from fcbench.store import data_folder
from fcbench.types import LABELLING

if TYPE_CHECKING:
    from fcbench.build.command import Asked
    from fcbench.stacks.presence import RoleFacts

ASKED = (*LABELLING, "faces")
"""The roles that the steps use; faces for the scores."""

PARAMETERS = {
    "Salesforce/blip-image-captioning-base": 247,
    "Salesforce/blip-image-captioning-large": 470,
    "Salesforce/blip2-opt-2.7b": 3745,
    "Salesforce/blip2-opt-2.7b-coco": 3745,
    "Salesforce/blip2-opt-6.7b": 7753,
    "Salesforce/blip2-opt-6.7b-coco": 7753,
    "facebook/mask2former-swin-large-coco-panoptic": 216,
    "facebook/sam-vit-huge": 641,
    "IDEA-Research/grounding-dino-tiny": 172,
    "openai/clip-vit-large-patch14": 428,
    "laion/CLIP-ViT-H-14-laion2B-s32B-b79K": 986,
    "sentence-transformers/stsb-mpnet-base-v2": 109,
}
"""Millions, as the authors give them: for a guess at the memory of a model that is not here."""
COPY_BYTES = 345_000
"""Size of a working copy with a shorter side of 1024 (JPEG, quality 92); grows about as its area."""


def plan_build(asked: Asked, out: Path = Path("out")) -> list[str]:
    """Lines that say which photos and models a build takes, how large they are, what is missing and what mends it."""
    options = asked.options
    if "captioner" not in asked.stack.digests:
        options["recaption"] = False  # that there is none is said among the models
    try:
        job = job_of(out, asked.stack, **options)
    except FcbenchError as error:
        photos = [f"photos     MISSING  {error}"]
    else:
        photos = [*_photos(asked, out, job.source), _time(asked, out, job)]
    return [*photos, "", *_models(asked), "", *_steps(asked)]


def _photos(asked: Asked, out: Path, source: Source) -> Iterator[str]:
    side = asked.stack.image_size if isinstance(source, World) else asked.short_side
    each = COPY_BYTES * (side / 1024) ** 2 if side >= 512 else 3 * side * side * 0.6
    yield f"photos     {len(source)}, working copies of shorter side {side} px at most"
    there = Path(out)
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there.absolute()).free / 2**30
    need = 2 * len(source) * each / 2**30
    yield f"disk       about {need:.2f} GiB under {data_folder(out, asked.name).path}, {free:.1f} GiB are free"
    yield from _known_of(source)


def _time(asked: Asked, out: Path, job: Job) -> str:
    device = asked.stack.device
    found = seconds_a_photo(out, recipe_of(job, asked.stack), device)
    if found is None:
        trial = "--photos 50" if isinstance(job.source, World) else "--limit 50"
        return f"time       not known before a few are labelled on {device}: give {trial} --name trial, then this again"
    seconds, folder, photos = found
    told = _spell(seconds * len(job.source))
    return f"time       {told} of one worker on {device}, as {folder.path} took ({photos} photos)"


def _spell(seconds: float) -> str:
    """A time in the unit that suits it.

    >>> _spell(8), _spell(90), _spell(9000)
    ('8 s', '1.5 min', '2.5 h')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def _known_of(source: Source) -> Iterator[str]:
    whole = unlimited(source)
    if isinstance(whole, Pictures | Ffhq) and whole.aside:
        yield f"photos     {whole.aside}"
    if not isinstance(whole, Ffhq):
        return
    licences = Counter(entry.licence for entry in whole.entries[: len(source)])
    yield "licences   " + ", ".join(f"{licence}: {count}" for licence, count in licences.most_common())


def _models(asked: Asked) -> Iterator[str]:
    from fcbench.stacks import describe_role

    for role in ASKED:
        told = describe_role(asked.stack_name, role)
        if told is None:
            needed = asked.recaption and role == "captioner"
            without = "--recaption needs one: name it in a YAML file" if needed else _without(role)
            yield f"{role:<11}{'MISSING  ' if needed else ''}none in the stack {asked.stack.name!r}: {without}"
            continue
        state = "MISSING" if told.mend else "here" if told.place else "named"
        yield f"{role:<11}{state:<8} {_described(told)}{_asked_for(role, asked.recaption)}"
        if told.mend:
            yield f"{'':<11}{told.mend}"


def _described(told: RoleFacts) -> str:
    if not told.place:
        return f"{told.made_by}, without weights that the stack knows of"
    size = f"{told.bytes / 2**20:.1f} MiB" if told.bytes is not None else _guess(told.place)
    return f"{told.place} ({told.made_by}), {size}"


def _guess(place: str) -> str:
    millions = PARAMETERS.get(place)
    if millions is None:
        return "size not known before it is here"
    return f"about {millions} million parameters: {millions * 2e6 / 2**30:.1f} GiB on a GPU, twice that on a CPU"


def _asked_for(role: str, recaption: bool) -> str:
    if role == "captioner" and not recaption:
        return "; only where a photo brings no caption"
    return "; only where a photo brings no segments" if role == "segmenter" else ""


def _without(role: str) -> str:
    return {
        "captioner": "every photo needs a caption beside it",
        "segmenter": "every photo needs its segments beside it",
        "sentences": "labels and phrases are compared by the matcher's own texts",
        "faces": "the scores of faces stay empty",
        "scorer": "photos have no scores but their own",
    }.get(role, "the build stops there")


def _steps(asked: Asked) -> Iterator[str]:
    for step in steps_of(asked.screen, asked.stack.digests, asked.assignment, recaption=asked.recaption):
        yield f"step       {step.name:<9} {', '.join(step.roles) or 'no model'}; batches of {step.batch}"
