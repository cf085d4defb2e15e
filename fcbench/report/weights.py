"""Which of a stack's weights a run's pictures depend on."""

from __future__ import annotations

from collections.abc import Mapping

from fcbench.types import JUDGING, LABELLING

CHECKPOINT = ("checkpoint", "fusion")
"""FastComposer's own, which nobody else draws with."""


def differing(then: Mapping[str, str | None], now: Mapping[str, str | None], *, checkpoint: bool) -> list[str]:
    """The roles that both name and whose digests differ, sorted, without those that label and judge.

    The scores say who judged.

    ``checkpoint``: whether FastComposer's own count too.
    """
    aside = LABELLING + JUDGING + (() if checkpoint else CHECKPOINT)
    return sorted(role for role in then.keys() & now.keys() if role not in aside and then[role] != now[role])
