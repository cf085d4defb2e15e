"""What differs between the settings of two runs, in words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any


def changes(key: str, then: Any, now: Any) -> Iterator[str]:
    """The values that differ now, key by key.

    >>> list(changes("options", {"alpha": 1.0, "steps": 20}, {"alpha": 0.5, "steps": 20}))
    ['options.alpha: 1.0 there, 0.5 now']
    """
    if isinstance(then, dict) and isinstance(now, dict):
        for name in sorted(then.keys() | now.keys()):
            yield from changes(f"{key}.{name}", then.get(name), now.get(name))
    elif then != now:
        yield f"{key}: {short(then)} there, {short(now)} now"


def short(value: Any) -> str:
    """A value whose digests are cut to twelve digits."""
    return re.sub(r"\b(\w{12})\w{52}\b", r"\1...", str(value))
