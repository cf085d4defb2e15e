"""How far a build is, and how much longer it takes."""

from __future__ import annotations

from collections import Counter, defaultdict
from time import monotonic
from typing import TextIO


class Progress:
    """Counts photos through the steps; a photo counts by the share of the steps that it is through.

    The line is rewritten in place on a terminal, else printed anew every ten seconds. It ends with the step that was
    reported last and that step's own rate: of one worker, while it works on that step.
    """

    def __init__(self, photos: int, steps: int, stream: TextIO | None) -> None:
        self._photos, self._steps, self._stream = photos, steps, stream
        self._terminal = stream is not None and stream.isatty()
        self._pause = 0.2 if self._terminal else 10.0
        self._start = self._told = monotonic()
        self._done = 0
        self._timed: Counter[str] = Counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def tell(self, step: str, count: int, seconds: float) -> None:
        """``count`` more photos are through ``step``, which took ``seconds``, or 0 where they were through before."""
        self._done += count
        if seconds:
            self._timed[step] += count
            self._seconds[step] += seconds
        now, last = monotonic(), self._done >= self._photos * self._steps
        if self._stream is None or (now - self._told < self._pause and not last):
            return
        self._told = now
        photos = self._done / self._steps
        rate = photos / max(now - self._start, 1e-9)
        line = f"photos {int(photos)}/{self._photos}, {_short(rate)}/s, {(self._photos - photos) / rate:.0f} s left"
        line += "" if last else f" ({step}{self._own(step)})"
        end = "\r" if self._terminal and not last else "\n"
        print(f"{line:<72}" if self._terminal else line, end=end, file=self._stream, flush=True)

    def _own(self, step: str) -> str:
        """A step's own rate; empty before any photo was timed."""
        timed = self._timed[step]
        return f": {_short(timed / self._seconds[step])}/s a worker" if timed else ""


def _short(rate: float) -> str:
    """A rate, with one decimal where it is slow.

    >>> _short(0.31), _short(80.4)
    ('0.3', '80')
    """
    return f"{rate:.0f}" if rate >= 10 else f"{rate:.1f}"
