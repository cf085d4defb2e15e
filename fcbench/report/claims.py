"""What the paper claims, and what became of it here, each with its numbers.

A claim on scores is held if a test shows it, not held if one shows the opposite, else not shown: a suite of few people
refutes nothing. P values are not corrected for their number, as a claim needs all of its tests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from fcbench.report.frontier import Frontier
from fcbench.report.numbers import amount, interval, p_value, points, share, signed
from fcbench.report.size import PEOPLE, Size
from fcbench.report.statistics import Difference
from fcbench.report.table import NOTHING, SIGNIFICANT, Ranking, Row

Verdict: TypeAlias = Literal["held", "not held", "not shown", "not measured"]

OURS = "fastcomposer"
UNLOCALIZED = "no-localization"
"""The variant under which weights trained without the localisation loss are run."""
TUNED = ("custom-diffusion", "dreambooth", "textual-inversion")
"""The methods whose costs the paper compares with its own."""
TUNE = (*TUNED, "dreambooth-lora")
"""The methods that tune, whoever drew their pictures."""

ON_CPU = {
    "peak_gib": "needs a GPU: on a CPU memory is counted beyond the loaded weights, which the paper's figures hold",
    "total_seconds": "needs a GPU: the paper's figures are of fits of full length on one",
}
UNMEASURED = f"the pictures of {OURS} were made elsewhere: their costs were not measured"


@dataclass(frozen=True)
class Claim:
    """One claim of arXiv 2305.10431 and what became of it."""

    text: str
    verdict: Verdict
    numbers: str


def claims(
    boards: Mapping[Size, Ranking],
    frontiers: Mapping[Size, Sequence[Frontier]],
    unlocalized: Difference | None = None,
) -> list[Claim]:
    """The checklist; ``boards`` holds the ranking of single subjects, that of pairs, or both, this suite's first.

    The paper claims nothing about larger groups: identity and blending are not judged on them.
    ``frontiers``: the curves over alpha of each.
    ``unlocalized``: how much more often pictures blend without the localisation loss, on the same cases.
    """
    any_board = boards.get("single") or next(iter(boards.values()))
    return [
        _cheaper(
            any_board, "A first picture takes 300 to 2500 times less time than tuning a method", "total_seconds", 300
        ),
        _cheaper(any_board, "It needs 2.8 to 6.7 times less memory than tuning", "peak_gib", 2.8),
        _no_storage(any_board),
        _identity(boards, "single", "Identity is above that of all tuned methods, one person a picture"),
        _identity(boards, "pair", "Identity is above that of all tuned methods, two people a picture"),
        _localization(boards.get("pair"), unlocalized),
        _alpha(boards, frontiers),
    ]


def _rows(board: Ranking) -> tuple[Row | None, list[Row]]:
    """FastComposer's row and those of tuned methods, as far as something was drawn."""
    rows = [row for row in board.of("method") if row.generations]
    tuned = [row for row in rows if row.needs_tuning or row.method.partition("@")[0] in TUNE]
    return next((row for row in rows if row.method == OURS), None), tuned


def _absent(ours: Row | None, tuned: Sequence[Row]) -> str:
    if ours is None:
        return f"no run of {OURS} here: fcbench run --method {OURS}"
    return "" if tuned else "no run of a tuned method here: fcbench run --method dreambooth"


def _cheaper(board: Ranking, text: str, quantity: str, least: float) -> Claim:
    ours, tuned = _rows(board)
    own = getattr(ours.costs, quantity) if ours is not None else None
    alike = [row for row in tuned if ours is not None and row.low_memory == ours.low_memory]
    costs = {row.method: getattr(row.costs, quantity) for row in alike if row.status == "complete"}
    ratios = {method: cost / own for method, cost in sorted(costs.items()) if cost is not None and own}
    judged = [ratio for method, ratio in ratios.items() if method in TUNED]
    if ours is not None and own is None:
        return Claim(text, "not measured", UNMEASURED)
    if ours is None or not judged:
        other = "" if len(alike) == len(tuned) else " with --low-memory, or without, as ours is"
        absent = f"no complete run of {', '.join(TUNED)} here{other}"
        return Claim(text, "not measured", _absent(ours, tuned) or absent)
    told = [f"{method} {amount(ratio)} times that" for method, ratio in ratios.items() if method in TUNED]
    beside = [f"{method} {amount(ratio)}" for method, ratio in ratios.items() if method not in TUNED]
    unit = "s" if quantity == "total_seconds" else "GiB"
    numbers = f"{OURS} {amount(own)} {unit}; {', '.join(told)}"
    numbers += f"; not judged: {', '.join(beside)}" if beside else ""
    if ours.costs.memory_kind == "resident":
        return Claim(text, "not measured", f"{ON_CPU[quantity]}; {numbers}")
    return Claim(text, "held" if min(judged) >= least else "not held", numbers)


def _no_storage(board: Ranking) -> Claim:
    text = "Nothing is stored for a subject"
    ours, tuned = _rows(board)
    if ours is None:
        return Claim(text, "not measured", _absent(ours, tuned))
    if ours.costs.stored_mib_per_subject is None:
        return Claim(text, "not measured", UNMEASURED)
    kept = {row.method: row.costs.stored_mib_per_subject for row in tuned}
    others = ", ".join(f"{method} {amount(mib)} MiB" for method, mib in kept.items() if mib is not None)
    verdict: Verdict = "held" if ours.costs.stored_mib_per_subject == 0 else "not held"
    own = f"{OURS} {amount(ours.costs.stored_mib_per_subject)} MiB"
    return Claim(text, verdict, own + (f"; {others}" if others else ""))


def _identity(boards: Mapping[Size, Ranking], size: Size, text: str) -> Claim:
    """Counts as "all" the tuned methods that either suite has: one left out here could be the better one."""
    board = boards.get(size)
    if board is None:
        return Claim(text, "not measured", "no such suite was reported here")
    ours, tuned = _rows(board)
    if ours is None or not tuned:
        return Claim(text, "not measured", _absent(ours, tuned))
    told, verdicts = [], []
    for row in tuned:
        won = _duel(board, ours.method, row.method)
        if won is None:
            return Claim(text, "not measured", f"no test against {row.method}: {row.note or 'too few people'}")
        told.append(won[0])
        verdicts.append(won[1])
    others = {row.method for other in boards.values() for row in _rows(other)[1]} - {row.method for row in tuned}
    told += [f"no run of {', '.join(sorted(others))} here"] if others else []
    verdict = _all(verdicts)
    return Claim(text, "not measured" if others and verdict == "held" else verdict, "; ".join(told))


def _verdict(difference: float, p: float) -> Verdict:
    if p > SIGNIFICANT:
        return "not shown"
    return "held" if difference > 0 else "not held"


def _all(verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict on a claim that needs all of several."""
    return next((told for told in ("not held", "not shown") if told in verdicts), "held")


def _duel(board: Ranking, first: str, second: str) -> tuple[str, Verdict] | None:
    """The difference in identity in words, and whether the first is told apart as the better one."""
    sign = 1 if (first, second) in board.duels else -1
    result, _ = board.duels.get((first, second)) or board.duels.get((second, first)) or (None, None)
    if result is None or result.p is None or result.estimate.value is None:
        return None
    value, ends = sign * result.estimate.value, [result.estimate.low, result.estimate.high][::sign]
    low, high = (None if end is None else sign * end for end in ends)
    told = f"{signed(value)} {interval(low, high)} to {second}, p {p_value(result.p)}"
    return told, _verdict(value, result.p)


def _localization(board: Ranking | None, more: Difference | None) -> Claim:
    text = "The localisation loss keeps identities from blending"
    if board is None:
        return Claim(text, "not measured", "no suite of pairs was reported here")
    rows = {row.method: row for row in board.rows}
    blended = [
        rows[name].scores.get("blended", NOTHING).value if name in rows else None
        for name in (OURS, f"{OURS}@{UNLOCALIZED}")
    ]
    if more is None or more.estimate.value is None or None in blended:
        needed = f"needs complete runs, and one of weights without that loss: --variant {UNLOCALIZED}"
        return Claim(text, "not measured", needed)
    e = more.estimate
    more_points = f"{points(e.value)} percentage points"
    told = f"{share(blended[0])} of pictures blended with it, {share(blended[1])} without: {more_points}"
    if more.p is None:
        return Claim(text, "not measured", f"{told}; no test: {e.note}")
    return Claim(
        text, _verdict(e.value or 0.0, more.p), f"{told} {interval(e.low, e.high, points)}, p {p_value(more.p)}"
    )


def _alpha(boards: Mapping[Size, Ranking], frontiers: Mapping[Size, Sequence[Frontier]]) -> Claim:
    """This suite's curve, or else that of its sister."""
    text = "Alpha trades identity for prompt consistency"
    curves = {size: _ranked(board, frontiers.get(size, ())) for size, board in boards.items()}
    size, frontier = next(((size, curve) for size, curve in curves.items() if curve is not None), (None, None))
    if frontier is None:
        needed = "needs three alphas or more in the setting of the first ranking"
        return Claim(text, "not measured", f"{needed}: fcbench run --alpha 0,0.2,...,1")
    ends = frontier.identity, frontier.prompt
    gains = ends[0].estimate.value or 0.0, -(ends[1].estimate.value or 0.0)
    verdicts = [_verdict(gain, end.p) for gain, end in zip(gains, ends, strict=True) if end.p is not None]
    if len(verdicts) < len(ends):
        return Claim(text, "not measured", frontier.identity.estimate.note or "no test")
    told = [
        f"{name} {signed(end.estimate.value)} {interval(end.estimate.low, end.estimate.high)}, p {p_value(end.p)}"
        for name, end in zip(("identity", "prompt"), ends, strict=True)
    ]
    where = "" if size == next(iter(boards)) or size is None else f"{PEOPLE[size]} a picture, "
    span = f"{where}alpha {frontier.steps[0].alpha:g} to {frontier.steps[-1].alpha:g}: "
    return Claim(text, _all(verdicts), span + "; ".join(told))


def _ranked(board: Ranking, frontiers: Sequence[Frontier]) -> Frontier | None:
    """FastComposer's curve among this ranking's runs; of several (other weights), that of the ranked method."""
    rows = {row.method for row in board.rows}
    runs = {frontier: {step.method for step in frontier.steps} for frontier in frontiers if frontier.method == OURS}
    here = [frontier for frontier, methods in runs.items() if methods <= rows]
    return next((frontier for frontier in here if OURS in runs[frontier]), next(iter(here), None))
