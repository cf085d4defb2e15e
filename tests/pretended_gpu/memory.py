"""What the pretended GPU's tensors take: every storage once, in blocks of 512 bytes as torch's allocator has them."""

from __future__ import annotations

import weakref
from collections import Counter
from typing import Any

BLOCK = 512


class Hold:
    """Kept by a tensor and watched in its stead: torch cannot swap a tensor that has weak references."""


class Memory:
    """Bytes of the tensors that are ``alive``, and the most that ever were at once."""

    def __init__(self) -> None:
        self.alive = self.peak = 0
        self._holders: Counter[int] = Counter()

    def hold(self, storage: Any) -> Hold:
        """Count ``storage``, once, for as long as any ``Hold`` returned for it is there."""
        key, size = storage._cdata, -(-storage.nbytes() // BLOCK) * BLOCK
        self._holders[key] += 1
        if self._holders[key] == 1:
            self.alive += size
            self.peak = max(self.peak, self.alive)
        hold = Hold()
        weakref.finalize(hold, self._release, key, size).atexit = False
        return hold

    def _release(self, key: int, size: int) -> None:
        self._holders[key] -= 1
        if not self._holders[key]:
            del self._holders[key]
            self.alive -= size

    def forget_peak(self) -> None:
        """Begin anew with what is alive."""
        self.peak = self.alive


memory = Memory()
"""The pretended GPU's."""
