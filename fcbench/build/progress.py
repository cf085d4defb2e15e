"""How far a build is, and how long it takes still."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from time import monotonic
from typing import TextIO, TypeVar

from fcbench.build.records import Item

T = TypeVar("T", bound=Item)


def report_progress(items: Iterable[T], total: int, stream: TextIO | None) -> Iterator[T]:
    """Pass the items on, telling count, rate and time left on ``stream``: in place on a terminal, else in lines."""
    if stream is None:
        yield from items
        return
    terminal = stream.isatty()
    pause, start = (0.2 if terminal else 10.0), monotonic()
    told = start
    for count, item in enumerate(items, 1):
        yield item
        now = monotonic()
        if now - told >= pause or count == total:
            told = now
            rate = count / max(now - start, 1e-9)
            line = f"photos {count}/{total}, {rate:.0f}/s, {(total - count) / rate:.0f} s left"
            end = "\r" if terminal and count < total else "\n"
            print(f"{line:<60}" if terminal else line, end=end, file=stream, flush=True)
