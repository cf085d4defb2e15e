"""Everything that can go wrong and be put right by the user.

::

    FcbenchError            exit code 1
    ├── UsageError          wrong command, option or configuration key; exit code 2
    ├── DataError           broken input; names the file, and the row where there is one
    │   └── WeightsError    a file of weights is broken or fits no model here; stops a run as no case could be drawn
    ├── MissingError        a package or weights are absent; says the exact command that mends it
    ├── MethodError         a plug-in failed; names the case, the cause is chained
    ├── DivergedError       a training's or a fit's loss is not finite; that of `train` says where its photos are listed
    └── OutOfTimeError      a training's time budget is spent; the same command goes on

Raised at the border, as one line for a person. The command line prints it; ``--debug`` shows the trace.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable
from difflib import get_close_matches


class FcbenchError(Exception):
    """Base of all errors that fcbench raises on purpose."""

    exit_code = 1


class UsageError(FcbenchError):
    """A wrong command, option or configuration key."""

    exit_code = 2


class DataError(FcbenchError):
    """Broken input: the message names the file, and the row where there is one."""


class WeightsError(DataError):
    """Weights that are broken or do not fit: the message says what is missing or unexpected."""


class MissingError(FcbenchError):
    """A package or weights are absent: the message holds the command that mends it."""


class MethodError(FcbenchError):
    """A plug-in failed on a case; the cause is chained."""


class DivergedError(FcbenchError):
    """The loss or gradient of a training, or of a method's fit, is not finite; ``train`` lists the batch's photos."""


class OutOfTimeError(FcbenchError):
    """A time budget is spent; the state is saved and the same command goes on."""


def one_line(error: BaseException, most: int = 200) -> str:
    r"""Another library's error message without line breaks, runs of spaces and colours; its kind where that is empty.

    >>> one_line(OSError("no \x1b[1mspace\x1b[0m   left")), one_line(TimeoutError())
    ('no space left', 'TimeoutError')
    """
    plain = re.sub(r"\x1b\[[\d;]*m", "", str(error))
    return " ".join(plain.split())[:most] or type(error).__name__


def is_disk_full(error: BaseException) -> bool:
    """Whether an error says that there is no room on a disk, also as torch and safetensors say it.

    torch's writer names no reason, but nothing else makes its files come out short.

    >>> is_disk_full(RuntimeError("I/O error: No space left on device (os error 28)")), is_disk_full(OSError(2, "gone"))
    (True, False)
    """
    full, told = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG), str(error)
    words = ("No space left on device", "File too large (os error", "Disk quota exceeded")
    is_short = "inline_container" in told and "unexpected pos" in told
    return (isinstance(error, OSError) and error.errno in full) or any(word in told for word in words) or is_short


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, of the machine or of the GPU.

    >>> is_out_of_memory(RuntimeError("CUDA out of memory. Tried to allocate")), is_out_of_memory(RuntimeError("else"))
    (True, False)
    """
    told = str(error).lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and ("out of memory" in told or "can't allocate memory" in told)
    )


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint to append to "unknown ..." messages: the nearest known word, else all of them.

    >>> did_you_mean("fastcompser", ["fastcomposer", "dreambooth"])
    'did you mean fastcomposer?'
    >>> did_you_mean("x", ["b", "a"])
    'known: a, b'
    """
    known = sorted(known)
    near = get_close_matches(word, known, n=1)
    return f"did you mean {near[0]}?" if near else f"known: {', '.join(known) or 'none'}"
