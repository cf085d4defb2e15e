"""How far a build is, and how long it takes still."""

from __future__ import annotations

from time import monotonic
from typing import TextIO


class Progress:
    """Counts photos through the steps; a photo's share is the steps that it is through.

    The line is rewritten in place on a terminal, else told anew every ten seconds.
    """

    def __init__(self, photos: int, steps: int, stream: TextIO | None) -> None:
        self._photos, self._steps, self._stream = photos, steps, stream
        self._terminal = stream is not None and stream.isatty()
        self._pause = 0.2 if self._terminal else 10.0
        self._start = self._told = monotonic()
        self._done = 0

    def tell(self, step: str, count: int) -> None:
        """``count`` more photos are through ``step``."""
        self._done += count
        now, last = monotonic(), self._done >= self._photos * self._steps
        if self._stream is None or (now - self._told < self._pause and not last):
            return
        self._told = now
        photos = self._done / self._steps
        rate = photos / max(now - self._start, 1e-9)
        line = f"photos {int(photos)}/{self._photos}, {rate:.0f}/s, {(self._photos - photos) / rate:.0f} s left"
        line += "" if last else f" ({step})"
        end = "\r" if self._terminal and not last else "\n"
        print(f"{line:<72}" if self._terminal else line, end=end, file=self._stream, flush=True)
