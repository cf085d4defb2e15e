"""What a training keeps on disk: whose folder it is, checkpoints on the way, and the batch that it stopped at."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from fcbench.config import Recipe
from fcbench.errors import DivergedError, MissingError, UsageError
from fcbench.fastcomposer.checkpoint import Checkpoint, place_of_start, save_checkpoint
from fcbench.fastcomposer.hub import is_branch_of
from fcbench.files import digest_place, read_json, write_json
from fcbench.store import TrainingFolder
from fcbench.types import Stack

WINDOW = 100
"""How many past steps the largest loss is taken over."""
FAR = 10
"""A loss this many times larger explodes."""

_ROLES = ("tokenizer", "text_encoder", "vae", "unet", "image_encoder")


def training_facts(
    data: str, stack: Stack, recipe: Recipe, *, start: str | None = None, parts: int, precision: str
) -> dict[str, Any]:
    """All that decides which weights come out.

    ``data``: the dataset's digest; ``start``: the checkpoint it goes on from, or its digest; ``parts``: how many a
    batch is taken in, over all processes.
    """
    return {
        "recipe": recipe.model_dump(),
        "stack": stack.name,
        "digests": {role: stack.digests.get(role) for role in _ROLES},
        "data": data,
        "start": digest_place(start),
        "parts": parts,
        "precision": precision,
    }


def claim(folder: TrainingFolder, facts: Mapping[str, Any], *, writes: bool) -> bool:
    """Whether this training is finished; refuses a folder that was begun with another recipe, dataset or stack.

    Keys that do not decide which weights come out (how often to save, say) may change from one start to the next; until
    a step is kept, so may the number of parts of a batch.
    """
    known = folder.finished if folder.finished.exists() else folder.begun
    open_still = known == folder.begun and not folder.has_steps
    if known.exists():
        before, now = _decisive(read_json(known)), _decisive(facts)
        changed = _differences(before | {"parts": now["parts"]} if open_still else before, now)
        if changed:
            raise UsageError(
                f"{folder.checkpoint}: made with {'; '.join(changed)}; choose another --name, or move it and "
                f"{folder.beside} away"
            )
    elif folder.steps():
        raise UsageError(
            f"{folder.beside} keeps checkpoints of another training, which this one's would be taken for: choose "
            "another --name, or move it away"
        )
    if writes and open_still:
        write_json(folder.begun, facts)
    return folder.finished.exists()


def start_of(folder: TrainingFolder, stack: Stack, recipe: Recipe) -> tuple[str | None, str | None]:
    """The checkpoint a training starts from: how it is known, and where to load it; None: the stack.

    A kept state replaces all that a start gives, so the checkpoint may be gone by now, or a branch on the hub may have
    moved: then the noted one counts and none is loaded. Raises what :func:`place_of_start` raises.
    """
    noted = read_json(folder.begun).get("start") if folder.state.exists() and folder.begun.exists() else None
    if noted and is_branch_of(noted, recipe.start):
        return str(noted), None
    try:
        place = place_of_start(stack, recipe)
    except MissingError:
        if not noted:
            raise
        return str(noted), None
    return digest_place(place), place


def keep_checkpoint(folder: TrainingFolder, step: int, parts: Checkpoint, facts: dict[str, Any], keep: int) -> None:
    """Write the checkpoint after ``step`` steps, then delete all but the ``keep`` newest."""
    if keep:
        save_checkpoint(folder.step(step), parts, facts | {"steps_done": step})
    for old in folder.steps()[: -keep or None]:
        shutil.rmtree(old)


def diverged(values: Mapping[str, float], scale: float | None) -> str:
    """What in a step is not finite, in words; empty if all is well.

    ``scale``: of float16's scaled gradients, None in other precisions. Scaled gradients overflow now and then, which
    skips the step and lowers the scale; that is no error until the scale is below 1.
    """
    for name, value in values.items():
        lowered = name == "gradient_norm" and scale is not None and scale >= 1
        if not math.isfinite(value) and not lowered:
            return f"{name.replace('_', ' ')} is {value}"
    return ""


def exploded(loss: float, before: Sequence[float]) -> str:
    """Whether a loss is far above all of the last ``WINDOW`` steps, in words; empty if not, or if there are fewer.

    Above the largest, not the median: masked batches of few pictures have losses near 0 now and then.
    """
    largest = max(before) if len(before) == WINDOW else math.inf
    return f"loss is {loss:.3g}, over {FAR} times the largest before ({largest:.3g})" if loss > FAR * largest else ""


def stop(folder: TrainingFolder, step: int, reason: str, photos: Sequence[str], *, writes: bool) -> None:
    """Leave the batch's photo ids in ``stopped.json`` and raise DivergedError; the state on disk stays as it was."""
    if writes:
        write_json(folder.stopped, {"step": step, "reason": reason, "photos": list(photos)})
    raise DivergedError(
        f"train: {reason} at step {step}; the state before it stays in {folder.state.parent}, the batch's photos are "
        f"listed in {folder.stopped}: begin another --name without them, or with a lower learning_rate; its recipe may "
        f"start from a checkpoint in {folder.step(0).parent}"
    )


def _decisive(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Facts without what may change; a recipe of an earlier version has today's defaults for the keys it lacks."""
    return {"parts": 1, **facts, "recipe": Recipe(**facts["recipe"]).what_is_learned}


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs, in words; a key that was not noted before counts as equal."""
    words = []
    for group, each in (("recipe", "{} {}, not {}"), ("digests", "other weights of the stack's {}")):
        then, today = before.get(group, {}), now.get(group, {})
        words += [each.format(k, then[k], today[k]) for k in sorted(today) if then.get(k, today[k]) != today[k]]
    plain = {
        "data": "another dataset",
        "start": "another checkpoint to start from",
        "stack": "stack {}, not {}",
        "parts": "{} for processes x accumulation, not {}",
        "precision": "precision {}, not {}",
    }
    changed = (key for key in plain if key in before and key in now and before[key] != now[key])
    return words + [plain[key].format(before[key], now[key]) for key in changed]
