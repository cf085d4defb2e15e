"""What a build would take, told before anything is computed."""

from __future__ import annotations

from collections.abc import Iterator

from fcbench.build.shard import Job, last_kept
from fcbench.types import Stack

BYTES_A_PIXEL = 1.6
"""Of a working copy as PNG, and the same again in the Parquet files: photos of people, from measured ones."""
ASPECT = 1.35
"""Of a photo, where its size is not known yet."""


def tell_plan(job: Job, stack: Stack, workers: int) -> Iterator[str]:
    """Lines for a person: photos, shards, what is done already, disk, models and steps."""
    shards = job.shards
    done = sum(last_kept(job, index) is not None for index in range(len(shards)))
    size = int(2 * len(job.source) * stack.image_size**2 * ASPECT * BYTES_A_PIXEL)
    yield f"photos   {len(job.source)}"
    yield f"shards   {len(shards)} of at most {len(shards[0])} photos, {done} done"
    yield f"workers  {workers} on {stack.device}"
    yield f"disk     about {size / 2**30:.1f} GiB in {job.folder.path}, at a short side of {stack.image_size} px"
    for role in job.roles:
        there = "" if role in stack.load else "  (the stack has none: name one in its YAML file)"
        yield f"model    {role}: {stack.digests.get(role, 'unknown')}{there}"
    yield f"steps    ingest, {', '.join(step.name for step in job.steps)}"
    licences = ", ".join(job.screen.licences) or "all"
    yield f"licences {licences}; {len(job.screen.taken_down)} photos taken down"
