"""A batch that fails is halved until what fails stands alone; the batches after it keep their size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from fcbench.build.records import Item, Photo, Reason, Reject
from fcbench.errors import FcbenchError, is_out_of_memory


def isolated(run: Callable[[list[Item]], list[Item]], batch: list[Item], step: str) -> list[Item]:
    """The items of a batch after a step, whatever fails within it.

    A photo that fails alone becomes a reject, ``oom`` or ``model_error``. One that went through in a part of its batch
    is flagged ``<step>_batch_<size>``: models may answer otherwise in another batch. What fcbench raises on purpose,
    such as weights that are missing, is not the photo's fault and is passed on.
    """
    try:
        return run(batch)
    except FcbenchError:
        raise
    except Exception as error:
        reason, message = _reason(error), f"{type(error).__name__}: {error}"
    # Outside the handler: its traceback would keep the failed batch in memory.
    _free()
    if len(batch) == 1:
        return [Reject(batch[0].id, reason, step, " ".join(message.split())[:500])]
    half = (len(batch) + 1) // 2
    return [
        item
        for part in (batch[:half], batch[half:])
        for item in _flagged(isolated(run, part, step), f"{step}_batch_", len(part))
    ]


def _reason(error: Exception) -> Reason:
    return "oom" if is_out_of_memory(error) else "model_error"


def _flagged(items: list[Item], prefix: str, size: int) -> list[Item]:
    return [
        replace(item, flags=(*item.flags, f"{prefix}{size}"))
        if isinstance(item, Photo) and not any(flag.startswith(prefix) for flag in item.flags)
        else item
        for item in items
    ]


def _free() -> None:
    import sys

    if (torch := sys.modules.get("torch")) is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
