"""What alpha buys: identity against prompt consistency over the share of subject-conditioned steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fcbench.report.runs import Run
from fcbench.report.statistics import Difference, Estimate
from fcbench.report.table import compare, estimate


@dataclass(frozen=True)
class Step:
    """One alpha; ``is_best`` where no other alpha is better in both scores."""

    alpha: float
    method: str
    identity: Estimate
    prompt: Estimate
    is_best: bool


@dataclass(frozen=True)
class Frontier:
    """A method at several alphas, rising; and the scores' differences, largest alpha minus smallest."""

    method: str
    steps: tuple[Step, ...]
    identity: Difference
    prompt: Difference


def frontiers(runs: Sequence[Run]) -> list[Frontier]:
    """One per method with complete runs at three or more alphas, in one setting and otherwise alike."""
    families: dict[str, dict[float, Run]] = {}
    for run in sorted(runs, key=lambda run: (run.is_of_sweep, run.label)):
        if run.alpha is not None and run.is_complete and run.values("identity") and run.values("prompt"):
            families.setdefault(run.family, {}).setdefault(run.alpha, run)
    return [_frontier(family) for _, family in sorted(families.items()) if len(family) >= 3]


def _frontier(family: dict[float, Run]) -> Frontier:
    runs = [family[alpha] for alpha in sorted(family)]
    scores = [(estimate(run, "identity"), estimate(run, "prompt")) for run in runs]
    values = [(identity.value or 0.0, prompt.value or 0.0) for identity, prompt in scores]
    steps = [
        Step(run.alpha or 0.0, run.label, *pair, not any(a > i and b > p for a, b in values))
        for run, pair, (i, p) in zip(runs, scores, values, strict=True)
    ]
    ends = [compare(runs[-1], runs[0], column) for column in ("identity", "prompt")]
    return Frontier(runs[0].method, tuple(steps), *ends)
