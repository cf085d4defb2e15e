"""One line on standard error that says how far a run is and when it will end."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from time import monotonic
from typing import Any

from fcbench.store import RunFolder

PAUSE_SECONDS = 30
"""The least time between two lines where they cannot overwrite each other, as in a log file."""

LONGEST = 400
"""Characters of a failure that are shown: its file has all of it, and torch can fill a page."""

WIPE = "\r\x1b[K"
"""Back to the start of a terminal's line, and empty it."""


class Progress:
    """Follows a worker's events."""

    def __init__(self, title: str, folder: RunFolder) -> None:
        self.cases = self.drawn = self.missing = 0
        self._title, self._folder = title, folder
        self._handled = self._wanted = 0
        self._start = self._told = monotonic()

    def tell(self, event: Mapping[str, Any]) -> None:
        """Take in an event and report it."""
        match event["event"]:
            case "start":
                self.cases, self._wanted = event["cases"], event["missing"]
                self._start = self._told = monotonic()
            case "batch":
                self.drawn += event["drawn"]
                self._advance(event["news"])
            case "failed":
                message = event["message"]
                self._line(f"failed: {message[:LONGEST]}{'...' if len(message) > LONGEST else ''}")
                self._advance(event["cases"])
            case "end":
                self.missing = event["missing"]
                self._line(self._conclusion())

    def close(self) -> None:
        """Leave the terminal's line empty for whoever writes next."""
        if sys.stderr.isatty():
            print(WIPE, end="", file=sys.stderr, flush=True)

    def _advance(self, cases: int) -> None:
        self._handled += cases
        seconds = monotonic() - self._start
        left = seconds / max(self._handled, 1) * (self._wanted - self._handled)
        text = f"{self.cases - self._wanted + self._handled} of {self.cases} cases, about {_clock(left)} left"
        if sys.stderr.isatty():
            print(f"{WIPE}{self._title}: {text}", end="", file=sys.stderr, flush=True)
        elif monotonic() - self._told >= PAUSE_SECONDS:
            self._told = monotonic()
            self._line(text)

    def _conclusion(self) -> str:
        if not self._wanted:
            return f"all {self.cases} cases are in {self._folder.path}; nothing to do"
        took = f"{self.drawn} cases drawn in {_clock(monotonic() - self._start)}: {self._folder.path}"
        if not self.missing:
            return took
        return f"{took}; {self.missing} of {self.cases} failed, see {self._folder.path / 'failures'}"

    def _line(self, text: str) -> None:
        self.close()
        print(f"{self._title}: {text}", file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    """Minutes and seconds, hours where there are any.

    >>> _clock(65), _clock(3725)
    ('1:05', '1:02:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
