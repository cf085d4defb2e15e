"""The leaderboard: one row a run, ranked where runs compare, with every method's difference to a baseline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean, median

from fcbench.report.numbers import amount
from fcbench.report.runs import METRICS, Run, group_of
from fcbench.report.statistics import Difference, Estimate, difference, holm, mean

BASELINE = "stable-diffusion"
"""What the other methods are compared to: it sees no photo. Without it, the first row."""

SIGNIFICANT = 0.05
"""Two methods with a larger p value cannot be told apart."""


@dataclass(frozen=True)
class Row:
    """One run in figures; the fields are the columns of ``leaderboard.csv``, in order."""

    method: str
    suite: str
    images_per_subject: int
    subjects: int
    generations: int
    failures: int
    identity: float | None
    identity_low: float | None
    identity_high: float | None
    prompt: float | None
    prompt_low: float | None
    prompt_high: float | None
    prompt_rank1: float | None
    faces_found: float | None
    fit_seconds: float | None
    sample_seconds: float | None
    total_seconds: float | None
    peak_gib: float | None
    stored_mib_per_subject: float | None
    device: str
    stack: str
    cases: int
    status: str
    rank_best: int | None
    rank_worst: int | None
    """``rank_best`` to ``rank_worst`` are the places by identity that cannot be excluded."""
    note: str
    prior_seconds: float | None = None
    """What was prepared for the class words, once for all subjects of a word: in no other column."""
    prior_peak_gib: float | None = None
    fit_peak_gib: float | None = None
    sample_peak_gib: float | None = None


@dataclass(frozen=True)
class Comparison:
    """A method's mean difference to the baseline on their common cases; p corrected for the number of methods."""

    method: str
    column: str
    difference: Difference
    p: float | None


@dataclass(frozen=True)
class Ranking:
    """Runs that compare: one device, one stack, one version of the suite."""

    title: str
    rows: tuple[Row, ...]
    baseline: str
    comparisons: tuple[Comparison, ...]


def rankings(runs: Sequence[Run], suite: str) -> list[Ranking]:
    """The runs by setting, the setting with most runs first."""
    counts = Counter(run.setting for run in runs)
    several = len({digest for _, _, digest in counts}) > 1
    return [
        _ranking([run for run in runs if run.setting == setting], suite, _title(setting, several))
        for setting, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]


def _title(setting: tuple[str, str, str], several: bool) -> str:
    device, stack, digest = setting
    return f"{device}, stack {stack}" + (f", suite version {digest[:8]}" if several else "")


def _ranking(runs: Sequence[Run], suite: str, title: str) -> Ranking:
    ranks = _ranks([run for run in runs if run.is_complete and run.values("identity")])
    rows = sorted((_row(run, suite, ranks.get(run.label)) for run in runs), key=_order)
    labels = [row.method for row in rows]
    baseline = BASELINE if BASELINE in labels else labels[0]
    return Ranking(
        title, tuple(rows), baseline, tuple(_comparisons({run.label: run for run in runs}, labels, baseline))
    )


def _order(row: Row) -> tuple[bool, bool, float, str]:
    """Complete runs first, then by identity, then by name."""
    return row.status != "complete", row.identity is None, -(row.identity or 0.0), row.method


def _ranks(runs: Sequence[Run]) -> dict[str, tuple[int, int]]:
    """The ranks by identity that each run may hold: all pairs compared, p values corrected for their number."""
    pairs = list(combinations(runs, 2))
    results = [compare(a, b, "identity") for a, b in pairs]
    better = Counter({run.label: 0 for run in runs})
    worse = Counter(better)
    for (a, b), result, p in zip(pairs, results, holm([result.p for result in results]), strict=True):
        if p is not None and p <= SIGNIFICANT and result.estimate.value is not None:
            winner, loser = (a, b) if result.estimate.value > 0 else (b, a)
            worse[winner.label] += 1
            better[loser.label] += 1
    return {run.label: (1 + better[run.label], len(runs) - worse[run.label]) for run in runs}


def compare(first: Run, second: Run, column: str) -> Difference:
    """``first - second`` in a column, on the cases that have it in both."""
    a, b = first.values(column), second.values(column)
    common = sorted(a.keys() & b.keys())
    groups = [group_of(first.cases[case]) for case in common]
    return difference([a[case] for case in common], [b[case] for case in common], groups)


def _comparisons(runs: dict[str, Run], labels: Sequence[str], baseline: str) -> list[Comparison]:
    others = [label for label in labels if label != baseline]
    comparisons = []
    for column in METRICS:
        results = [compare(runs[label], runs[baseline], column) for label in others]
        corrected = holm([result.p for result in results])
        comparisons += [
            Comparison(label, column, result, p)
            for label, result, p in zip(others, results, corrected, strict=True)
            if result.estimate.value is not None
        ]
    return comparisons


def estimate(run: Run, column: str, keep: Callable[[str], bool] = lambda case: True) -> Estimate:
    """The mean of a column over the cases that ``keep`` accepts, with its interval."""
    values = {case: value for case, value in run.values(column).items() if keep(case)}
    groups = [group_of(run.cases[case]) for case in values]
    return mean(list(values.values()), groups, bounds=run.bounds(column))


def _row(run: Run, suite: str, ranks: tuple[int, int] | None) -> Row:
    identity, prompt = estimate(run, "identity"), estimate(run, "prompt")
    fit, sample = _fit_seconds(run), _sample_seconds(run)
    best, worst = ranks if ranks is not None else (None, None)
    return Row(
        method=run.label,
        suite=suite,
        images_per_subject=int(run.config.get("images_per_subject", 1)),
        subjects=len({subject.id for case in run.cases.values() for subject in case.subjects}),
        generations=len(run.generations),
        failures=len(run.failures),
        identity=identity.value,
        identity_low=identity.low,
        identity_high=identity.high,
        prompt=prompt.value,
        prompt_low=prompt.low,
        prompt_high=prompt.high,
        prompt_rank1=estimate(run, "prompt_rank1").value,
        faces_found=_faces_found(run),
        fit_seconds=fit,
        sample_seconds=sample,
        total_seconds=None if fit is None or sample is None else fit + sample,
        peak_gib=max((g.peak_bytes / 2**30 for g in run.generations.values()), default=None),
        stored_mib_per_subject=_stored(run),
        device=run.setting[0],
        stack=run.setting[1],
        cases=run.expected,
        status=_status(run),
        rank_best=best,
        rank_worst=worst,
        note=_note(run, identity),
        prior_seconds=max((g.prior_seconds for g in run.generations.values()), default=None),
        prior_peak_gib=_highest(run, "prior_peak_bytes"),
        fit_peak_gib=_highest(run, "fit_peak_bytes"),
        sample_peak_gib=_highest(run, "sample_peak_bytes"),
    )


def _status(run: Run) -> str:
    return "complete" if run.is_complete else "incomplete"


def _note(run: Run, identity: Estimate) -> str:
    """What a reader must know about the row."""
    if run.random_weights:
        return "random weights: cost only"
    without = sorted({score.note for score in run.scores.get("identity", {}).values() if score.value is None})
    missing = [] if run.is_complete else [f"{run.expected - len(run.generations)} of {run.expected} pictures missing"]
    return "; ".join([*missing, *([identity.note] if identity.note else []), *without, *_tuning(run)])


def _tuning(run: Run) -> list[str]:
    """Of a tuned method by which preset and on which track, what its class images took; what the suite says of it."""
    recipe, options = run.config.get("recipe") or {}, run.config.get("options") or {}
    prior = max((g.prior_seconds for g in run.generations.values()), default=0.0)
    track = f", {options['track']} track" if "track" in options else ""
    told = [f"preset {recipe['preset']}{track}"] if "preset" in recipe else []
    told += [f"{amount(prior)} s of class images, once for all subjects, are in no column"] if prior else []
    return told + ([run.config["suite_note"]] if recipe and run.config.get("suite_note") else [])


def _faces_found(run: Run) -> float | None:
    """The share of the expected faces that the judge found; extra faces do not count."""
    found = run.values("faces")
    expected = {case: len(run.cases[case].subjects) for case in found}
    if not found:
        return None
    return sum(min(found[case], expected[case]) for case in found) / sum(expected.values())


def _fit_seconds(run: Run) -> float | None:
    """Median over the groups of subjects that were fitted."""
    fits = {group_of(g.case): g.fit_seconds for g in run.generations.values()}
    return median(fits.values()) if fits else None


def _sample_seconds(run: Run) -> float | None:
    """Median over the pictures."""
    return median(g.sample_seconds for g in run.generations.values()) if run.generations else None


def _highest(run: Run, peak: str) -> float | None:
    """A phase's peak over the pictures, in GiB."""
    return max((getattr(g, peak) / 2**30 for g in run.generations.values()), default=None)


def _stored(run: Run) -> float | None:
    """Mean over the groups of what is kept a subject, in MiB."""
    kept = {group_of(g.case): g.stored_bytes / len(g.case.subjects) / 2**20 for g in run.generations.values()}
    return fmean(kept.values()) if kept else None
