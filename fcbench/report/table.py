"""The leaderboard: one row per run, ranked where runs compare, with every method's difference to a baseline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Literal, TypeAlias

from fcbench.report.costs import Costs, costs
from fcbench.report.numbers import amount
from fcbench.report.runs import METRICS, Run, Setting, group_of
from fcbench.report.seen import seen
from fcbench.report.statistics import Difference, Estimate, difference, holm, mean

BASELINE = "stable-diffusion"
"""What the other methods are compared to, unless another one is named: it sees no photo. Without it, the first row."""

SIGNIFICANT = 0.05
"""Two methods with a larger p value cannot be told apart."""

COMPARED = (*METRICS, "attributes")
"""The scores in which methods are compared."""

Role: TypeAlias = Literal["method", "sweep", "sanity"]
"""A method is ranked; a run of a sweep of alpha is shown on its frontier; a yardstick stands apart."""


@dataclass(frozen=True)
class Row:
    """One run in figures. ``rank_best`` to ``rank_worst`` are the places by identity that cannot be excluded."""

    method: str
    role: Role
    suite: str
    images_per_subject: int
    needs_tuning: bool
    subjects: int
    cases: int
    generations: int
    failures: int
    rank_best: int | None
    rank_worst: int | None
    scores: Mapping[str, Estimate]
    faces_found: float | None
    costs: Costs
    device: str
    stack: str
    status: str
    note: str
    further: Mapping[str, str] = field(default_factory=dict)
    """Those of ``scores`` that were asked for by name, with their headings."""
    low_memory: bool = False

    @property
    def identity(self) -> Estimate:
        """Its identity preservation."""
        return self.scores.get("identity", NOTHING)

    @property
    def prompt(self) -> Estimate:
        """Its prompt consistency."""
        return self.scores.get("prompt", NOTHING)


NOTHING = Estimate(None)


@dataclass(frozen=True)
class Comparison:
    """A method's mean difference to another on their common cases; p corrected for the number of such pairs."""

    method: str
    other: str
    column: str
    difference: Difference
    p: float | None

    @property
    def is_split(self) -> bool:
        """Whether interval and p disagree on 0: they are different tests."""
        low, high = self.difference.estimate.low, self.difference.estimate.high
        if low is None or high is None or self.p is None:
            return False
        return (low <= 0 <= high) == (self.p <= SIGNIFICANT)


@dataclass(frozen=True)
class Ranking:
    """Runs that compare: one device, one stack, one version of the suite. Yardsticks and sweeps come last."""

    title: str
    rows: tuple[Row, ...]
    baseline: str
    comparisons: tuple[Comparison, ...]
    duels: Mapping[tuple[str, str], tuple[Difference, float | None]]
    """For every two complete methods: the difference in identity, first minus second, and p corrected (Holm)."""

    def of(self, role: Role) -> list[Row]:
        """The rows of one role, in order."""
        return [row for row in self.rows if row.role == role]

    def tells_apart(self, first: str, second: str) -> bool:
        """Whether a difference in identity was found between two methods."""
        duel = self.duels.get((first, second)) or self.duels.get((second, first))
        return duel is not None and duel[1] is not None and duel[1] <= SIGNIFICANT


def rankings(runs: Sequence[Run], suite: str, *, baseline: str = BASELINE) -> list[Ranking]:
    """The runs by setting, the one with most runs first; ``baseline``: the run that methods are compared with."""
    measured = Counter(run.setting for run in runs if run.has_costs)
    counts = Counter(_joins(run, measured) for run in runs)
    return [
        _ranking([run for run in runs if _joins(run, measured) == setting], suite, _title(setting, counts), baseline)
        for setting, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]


def _joins(run: Run, measured: Counter[Setting]) -> Setting:
    """The setting that a run is ranked in.

    Pictures that no method drew here, whose cost is not compared, join the largest setting of their suite version:
    among those on the stack that judges them, if there are any.
    """
    own = run.setting
    same = [setting for setting in measured if setting.suite_digest == own.suite_digest]
    if run.has_costs or not same:
        return own
    return max(same, key=lambda setting: (setting.stack == own.stack, measured[setting], setting))


def _title(setting: Setting, all_settings: Collection[Setting]) -> str:
    """Device and stack, and what else tells this ranking from others."""
    told = f"{setting.device or 'not drawn here'}, stack {setting.stack}"
    if len({other.suite_digest for other in all_settings}) > 1:
        told += f", suite version {setting.suite_digest[:8]}"
    if len({other.base for other in all_settings if other.base and other.stack == setting.stack}) > 1:
        told += f", weights and defaults {setting.base}"
    return told


def _ranking(runs: Sequence[Run], suite: str, title: str, baseline: str) -> Ranking:
    roles = {run.label: _role(run, runs) for run in runs}
    methods = {run.label: run for run in runs if roles[run.label] == "method"}
    duels = _duels([run for run in methods.values() if run.is_complete and run.values("identity")])
    ranks = _ranks(duels, [run.label for run in methods.values() if run.is_complete and run.values("identity")])
    usual = _usual_versions(runs)
    rows = sorted((_row(run, suite, roles[run.label], ranks.get(run.label), usual) for run in runs), key=_order)
    labels = [row.method for row in rows if row.role == "method"]
    by_label = {run.label: run for run in runs}
    base = next((label for label in (baseline, BASELINE, *labels) if label in by_label), "")
    pairs = [(methods[label], by_label[base]) for label in labels if label != base]
    return Ranking(title, tuple(rows), base, tuple(compared(pairs)), duels)


def _usual_versions(runs: Sequence[Run]) -> dict[str, str]:
    """Package -> the version that most runs were drawn with."""
    told = [run.config.get("versions") or {} for run in runs if run.has_costs]
    counts = {package: Counter(str(each.get(package)) for each in told) for each in told for package in each}
    return {package: count.most_common(1)[0][0] for package, count in counts.items()}


def _role(run: Run, runs: Sequence[Run]) -> Role:
    if run.is_sanity:
        return "sanity"
    sweep = [other for other in runs if other.family == run.family and other.is_of_sweep]
    return "sweep" if run.is_of_sweep and len(sweep) >= 3 else "method"


def _order(row: Row) -> tuple[int, bool, bool, float, str]:
    """Methods before sweeps and yardsticks; complete runs first, then by identity, then by name."""
    place = ("method", "sweep", "sanity").index(row.role)
    return place, row.status != "complete", row.identity.value is None, -(row.identity.value or 0.0), row.method


def _duels(runs: Sequence[Run]) -> dict[tuple[str, str], tuple[Difference, float | None]]:
    pairs = list(combinations(runs, 2))
    results = [compare(a, b, "identity") for a, b in pairs]
    corrected = holm([result.p for result in results])
    return {(a.label, b.label): (r, p) for (a, b), r, p in zip(pairs, results, corrected, strict=True)}


def _ranks(
    duels: Mapping[tuple[str, str], tuple[Difference, float | None]], labels: Sequence[str]
) -> dict[str, tuple[int, int]]:
    """The ranks by identity that each run may hold: all pairs compared, p values corrected for their number."""
    better = Counter(dict.fromkeys(labels, 0))
    worse = Counter(better)
    for (a, b), (result, p) in duels.items():
        if p is not None and p <= SIGNIFICANT and result.estimate.value is not None:
            winner, loser = (a, b) if result.estimate.value > 0 else (b, a)
            worse[winner] += 1
            better[loser] += 1
    return {label: (1 + better[label], len(labels) - worse[label]) for label in labels}


def compare(first: Run, second: Run, column: str) -> Difference:
    """``first - second`` in a column, on the cases (subjects, prompt, seed) that have it in both."""
    a, b = first.values(column), second.values(column)
    common = [first.cases[case] for case in sorted(a.keys() & b.keys())]
    return difference(
        [a[case.id] for case in common],
        [b[case.id] for case in common],
        [group_of(case) for case in common],
        [case.prompt.id for case in common],
        bounds=first.bounds(column),
    )


def compared(pairs: Sequence[tuple[Run, Run]]) -> list[Comparison]:
    """First minus second of each pair, score by score; left out where the two share no case that has the score."""
    comparisons = []
    for column in COMPARED:
        results = [compare(first, second, column) for first, second in pairs]
        corrected = holm([result.p for result in results])
        comparisons += [
            Comparison(first.label, second.label, column, result, p)
            for (first, second), result, p in zip(pairs, results, corrected, strict=True)
            if result.estimate.value is not None
        ]
    return comparisons


def estimate(run: Run, column: str, keep: Callable[[str], bool] = lambda case: True) -> Estimate:
    """The mean of a column over the cases that ``keep`` accepts, with its interval."""
    values = {case: value for case, value in run.values(column).items() if keep(case)}
    shown = [run.cases[case] for case in values]
    bounds = run.bounds(column) or ((0.0, 1.0) if set(values.values()) <= {0.0, 1.0} else None)
    return mean([*values.values()], [group_of(case) for case in shown], [c.prompt.id for c in shown], bounds=bounds)


def _row(run: Run, suite: str, role: Role, ranks: tuple[int, int] | None, usual: Mapping[str, str]) -> Row:
    scores = {column: estimate(run, column) for column in run.scores if column != "faces"}
    best, worst = ranks if ranks is not None else (None, None)
    return Row(
        method=run.label,
        role=role,
        suite=suite,
        images_per_subject=int(run.config.get("images_per_subject", 1)),
        needs_tuning=run.needs_tuning,
        subjects=len({subject.id for case in run.cases.values() for subject in case.subjects}),
        cases=run.expected,
        generations=len(run.generations),
        failures=len(run.failures),
        rank_best=best,
        rank_worst=worst,
        scores=scores,
        faces_found=_faces_found(run),
        costs=costs(run),
        device=run.setting.device,
        stack=run.setting.stack,
        status="complete" if run.is_complete else "incomplete",
        note=_note(run, scores.get("identity", NOTHING), usual),
        further=run.further,
        low_memory=bool(run.config.get("low_memory", False)),
    )


def _note(run: Run, identity: Estimate, usual: Mapping[str, str]) -> str:
    """What a reader must know about the row; ``usual``: the versions of most runs beside it."""
    if run.random_weights:
        return "random weights: cost only"
    low = ["--low-memory: slower, with less memory"] if run.config.get("low_memory") else []
    without = sorted({score.note for score in run.scores.get("identity", {}).values() if score.value is None})
    missing = [] if run.is_complete else [f"{run.expected - len(run.generations)} of {run.expected} pictures missing"]
    few = [identity.note] if identity.note else []
    own = [str(run.config["note"])] if run.config.get("note") else []
    told = [*missing, *few, *without, *low, *_versions(run, usual), *_settings(run), *_tuning(run), *seen(run), *own]
    return "; ".join([*told, *run.outdated])


def _versions(run: Run, usual: Mapping[str, str]) -> list[str]:
    """The packages whose versions differ from those of most runs here."""
    own = run.config.get("versions") or {} if run.has_costs else {}
    other = [f"{name} {number}, not {usual[name]}" for name, number in own.items() if str(number) != usual[name]]
    return [f"drawn with {', '.join(other)}"] if other else []


def _settings(run: Run) -> list[str]:
    """Alpha, where the method has one; steps and guidance that are not the stack's."""
    options, usual = run.config.get("options") or {}, run.config.get("sampling") or {}
    told = [] if run.alpha is None or run.is_of_sweep else [f"alpha {run.alpha:g}"]
    for name, words in (("steps", "{:g} steps, the stack has {:g}"), ("guidance", "guidance {:g}, the stack has {:g}")):
        own = options.get(name)
        if isinstance(own, int | float) and own and name in usual and own != usual[name]:
            told.append(words.format(own, usual[name]))
    return told


def _tuning(run: Run) -> list[str]:
    """For a tuned method: its preset and track, what its class images took, and what the suite says of it."""
    recipe, options = run.config.get("recipe") or {}, run.config.get("options") or {}
    prior = max((g.prior_seconds for g in run.generations.values()), default=0.0)
    track = f", {options['track']} track" if "track" in options else ""
    told = [f"preset {recipe['preset']}{track}"] if "preset" in recipe else []
    if prior:
        told.append(f"{amount(prior)} s of class images, once for all who share their class words, are in no column")
    return told + ([run.config["suite_note"]] if recipe and run.config.get("suite_note") else [])


def _faces_found(run: Run) -> float | None:
    """The share of the expected faces that the judge found; extra faces do not count."""
    found = run.values("faces")
    expected = {case: len(run.cases[case].subjects) for case in found}
    if not found:
        return None
    return sum(min(found[case], expected[case]) for case in found) / sum(expected.values())
