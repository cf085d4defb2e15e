"""The page's drawings and findings, from the board: what is put where, in which words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log10, sqrt

from markupsafe import Markup

from fcbench.report import numbers
from fcbench.report.board import Board
from fcbench.report.frontier import Frontier
from fcbench.report.plots import Guide, Lane, Point, Span, lanes, linear_axis, log_axis, scatter
from fcbench.report.statistics import LEAST_CLUSTERS, Estimate
from fcbench.report.table import COMPARED, Ranking, Row

AXES = {"identity": "identity (cosine of faces)", "prompt": "prompt (CLIP cosine)"}


@dataclass(frozen=True)
class Plot:
    """A drawing with its caption and a line that says how to read it."""

    title: str
    drawing: Markup
    reading: str


def facts(board: Board) -> list[tuple[str, str]]:
    """What the suite is made of, told from its cases."""
    cases = {case.id: case for run in board.runs for case in run.cases.values()}
    groups = {tuple(s.id for s in case.subjects) for case in cases.values()}
    counts = [
        ("method", len(board.methods)),
        ("subject", len({subject for group in groups for subject in group})),
        *([(board.size, len(groups))] if board.size != "single" else []),
        ("prompt", len({case.prompt.id for case in cases.values()})),
        ("seed", len({case.seed for case in cases.values()})),
    ]
    told = [(noun if count == 1 else f"{noun}s", str(count)) for noun, count in counts]
    return [*told, ("pictures a method", str(max(run.expected for run in board.runs)))]


def finding(ranking: Ranking) -> str:
    """The result in a sentence, no surer than the figures."""
    ranked = [row for row in ranking.rows if row.rank_best is not None]
    if not ranked:
        return "No method has a complete run with scores yet: nothing is ranked."
    best = ranked[0]
    figure = f"{numbers.quality(best.identity.value)} {numbers.interval(best.identity.low, best.identity.high)}"
    if best.identity.low is None:
        figure = f"{numbers.quality(best.identity.value)}, {best.identity.note}"
    if len(ranked) == 1:
        return f"{best.method} is the only complete run: identity {figure}."
    if best.rank_worst == 1:
        return f"{best.method} keeps identity best: {figure}, told apart from every other method."
    others = ", ".join(row.method for row in ranked[1:] if not ranking.tells_apart(best.method, row.method))
    return f"{best.method} has the highest identity, {figure}, but cannot be told apart from {others}."


def limits(rows: Sequence[Row], scores: Sequence[str] = COMPARED) -> dict[str, Span]:
    """What the bars of each score span: from the least to the largest of its means and intervals."""
    told = {column: [row.scores[column] for row in rows if column in row.scores] for column in scores}
    return {column: span(estimates) for column, estimates in told.items() if _ends(estimates)}


def span(estimates: Sequence[Estimate]) -> Span:
    """From the least to the largest of means and intervals, at least 0.01 wide; 0 to 1 where there are none."""
    ends = _ends(estimates) or [0.0, 1.0]
    return min(ends), max(max(ends), min(ends) + 0.01)


def reach(estimates: Sequence[Estimate]) -> Span:
    """As far to both sides of 0 as any interval goes."""
    far = max((abs(end) for end in _ends(estimates)), default=0.0) or 1.0
    return -far, far


def plots(
    ranking: Ranking,
    subjects: Mapping[str, Mapping[str, float]],
    everyone: Mapping[str, Estimate],
    colours: Mapping[str, int],
) -> list[Plot]:
    """Identity against prompt, people one by one, time and memory; each where there is something to draw.

    ``everyone`` holds the means of what ``subjects`` holds one by one: identity by everybody's own face.
    """
    methods = ranking.of("method")
    judged = [row for row in methods if row.identity.value is not None and row.prompt.value is not None]
    drawn = [_quality(judged, ranking.of("sanity"), colours)] if len(judged) > 1 else []
    own = {row.method: everyone[row.method] for row in judged if everyone[row.method].value is not None}
    if own and len(subjects) > 1:
        drawn.append(_people(own, subjects, colours))
    return [*drawn, *_time(methods, colours), *_memory(methods, colours)]


def frontier_plot(frontier: Frontier) -> Plot:
    """The curve of one method over alpha."""
    points = [
        Point(f"{step.alpha:g}", 0 if step.is_best else 7, step.prompt.value or 0.0, step.identity.value or 0.0,
              _span(step.prompt), _span(step.identity))
        for step in frontier.steps
    ]  # fmt: skip
    prompt = linear_axis(AXES["prompt"], _ends([step.prompt for step in frontier.steps]))
    identity = linear_axis(AXES["identity"], _ends([step.identity for step in frontier.steps]))
    return Plot(
        f"{frontier.method}: what alpha buys",
        scatter(points, prompt, identity, f"identity against prompt over alpha, {frontier.method}", joined=True),
        "Each point is an alpha, the share of steps that see the subject, joined as alpha rises. "
        "Blue circles: no other alpha is better in both. Grey triangles: another one is.",
    )


def _quality(rows: Sequence[Row], yardsticks: Sequence[Row], colours: Mapping[str, int]) -> Plot:
    points = [
        Point(row.method, colours[row.method], row.prompt.value or 0.0, row.identity.value or 0.0, _span(row.prompt),
              _span(row.identity), _radius(row.costs.total_seconds, rows))
        for row in rows
    ]  # fmt: skip
    guides = [Guide(row.method, row.identity.value) for row in yardsticks if row.identity.value is not None]
    axes = (
        linear_axis(AXES["prompt"], _ends([row.prompt for row in rows])),
        linear_axis(AXES["identity"], [*_ends([row.identity for row in rows]), *(guide.y for guide in guides)]),
    )
    return Plot(
        "Identity and prompt",
        scatter(points, *axes, "identity against prompt, larger marks take longer", guides),
        "Up and to the right is better. The larger the mark, the longer a first picture takes (log scale)."
        + (" Lines across: yardsticks." if guides else ""),
    )


def _people(
    everyone: Mapping[str, Estimate], subjects: Mapping[str, Mapping[str, float]], colours: Mapping[str, int]
) -> Plot:
    shown = []
    for method, own in everyone.items():
        cloud = tuple(values[method] for values in subjects.values() if method in values)
        shown.append(Lane(method, colours[method], (("", own.value or 0.0),), cloud, _span(own)))
    axis = linear_axis(AXES["identity"], [v for lane in shown for v in (*lane.cloud, *(lane.interval or ()))])
    return Plot(
        "Person by person",
        lanes(shown, axis, "mean identity of each person"),
        "Each dot is a person, judged by their own face; the mark is the mean of these, the bar its 95 % interval.",
    )


def _time(rows: Sequence[Row], colours: Mapping[str, int]) -> list[Plot]:
    shown = []
    for row in rows:
        seconds = {"fit": row.costs.fit_seconds, "a picture": row.costs.sample_seconds}
        marks = tuple((name, value) for name, value in seconds.items() if value is not None and value >= 1e-3)
        shown.append(Lane(row.method, colours[row.method], marks))
    return _costs(
        "Time",
        shown,
        "seconds, log scale",
        "Fit once for the people in a picture; then each picture, warm. Fits below 1 ms are left out.",
    )


def _memory(rows: Sequence[Row], colours: Mapping[str, int]) -> list[Plot]:
    shown = []
    for row in rows:
        kinds = {"peak": row.costs.peak_gib, "reserved": row.costs.reserved_gib, "device": row.costs.device_gib}
        marks = tuple((name, value) for name, value in kinds.items() if value)
        shown.append(Lane(row.method, colours[row.method], marks))
    kind = next((row.costs.memory_kind for row in rows if row.costs.memory_kind), "")
    told = "allocated by PyTorch, weights and all" if kind.startswith("cuda") else "resident beyond the loaded stack"
    return _costs("Memory", shown, "GiB, log scale", f"Peak: {told}. Device: the highest mark of all that ran.")


def _costs(title: str, shown: Sequence[Lane], unit: str, reading: str) -> list[Plot]:
    values = [value for lane in shown for _, value in lane.marks]
    return [Plot(title, lanes(shown, log_axis(unit, values), f"{title}, log scale"), reading)] if values else []


def _radius(seconds: float | None, rows: Sequence[Row]) -> float:
    """From 4.5 to 10: the area grows with the logarithm of the cost."""
    costs = [row.costs.total_seconds for row in rows if row.costs.total_seconds]
    if not seconds or max(costs) / min(costs) < 1.5:
        return 5.5
    part = log10(seconds / min(costs)) / log10(max(costs) / min(costs))
    return sqrt(4.5**2 + part * (10**2 - 4.5**2))


def _span(estimate: Estimate) -> Span | None:
    return None if estimate.low is None or estimate.high is None else (estimate.low, estimate.high)


def _ends(estimates: Sequence[Estimate]) -> list[float]:
    """The means of what was judged and the ends of the intervals."""
    return [end for e in estimates for end in (e.value, e.low, e.high) if end is not None]


__all__ = ["LEAST_CLUSTERS", "Plot", "facts", "finding", "frontier_plot", "limits", "plots", "reach"]
