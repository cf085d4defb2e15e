"""A run as the report reads it: configuration, generations, failures, scores."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from fcbench import plugins
from fcbench.errors import DataError
from fcbench.files import digest_file, digest_json, read_json
from fcbench.report.statistics import Group
from fcbench.store import RunFolder
from fcbench.types import Case, Generation, Score

METRICS = ("identity", "prompt")
"""The metrics that every run of a leaderboard has; further ones are shown where a run has them."""

USUAL = (*METRICS, "attributes", "blending")
"""The metrics that are scored without being named, and have their places in the tables."""

ALPHA = re.compile(r"(?:.*-)?alpha-[0-9.]+")
"""The variants that ``fcbench run --alpha`` names."""


OWN = ("judged",)
"""Keys of scores' headers that are about the pictures, not the judge."""


BASE = ("tokenizer", "text_encoder", "vae", "unet", "scheduler")
"""The roles that every method draws with, or starts from."""


class Setting(NamedTuple):
    """What runs ranked together have in common; ``base``: a digest of weights and defaults, "" if nothing was drawn."""

    device: str
    stack: str
    suite_digest: str
    base: str


@dataclass(frozen=True)
class Run:
    """One method's part of a suite. ``scores`` are by column, then by case id; ``facts`` by metric."""

    label: str
    config: Mapping[str, Any]
    generations: Mapping[str, Generation]
    failures: Mapping[str, str]
    scores: Mapping[str, Mapping[str, Score]]
    headers: Mapping[str, Mapping[str, Any]]
    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    outdated: tuple[str, ...] = ()
    """What to run for each further metric that is left out: it judged other pictures, not all, or was edited."""
    further: Mapping[str, str] = field(default_factory=dict)
    """Columns of metrics that were named to be scored, with their headings."""

    @cached_property
    def cases(self) -> dict[str, Case]:
        """The cases that have a picture, by id."""
        return {case: generation.case for case, generation in self.generations.items()}

    @property
    def expected(self) -> int:
        """How many cases the suite has."""
        return int(self.config["cases"])

    @property
    def random_weights(self) -> bool:
        """Whether the stack was untrained: then there are costs but no quality."""
        return bool(self.config.get("random_weights", False))

    @property
    def setting(self) -> Setting:
        """What must be equal for two runs to be ranked together."""
        return Setting(
            str(self.config["device"] or ""),
            str(self.config["stack"]),
            str(self.config["suite_digest"]),
            self._base if self.has_costs else "",
        )

    @property
    def _base(self) -> str:
        """A digest of the weights and defaults that all methods draw with, without a method's own."""
        digests, sampling = self.config.get("stack_digests") or {}, dict(self.config.get("sampling") or {})
        sampling.pop("alpha", None)  # FastComposer's alone
        return digest_json([{role: digests.get(role) for role in BASE}, sampling])[:8]

    @property
    def family(self) -> str:
        """Equal for the runs of a method that differ in alpha alone."""
        options = {key: value for key, value in self.config.get("options", {}).items() if key != "alpha"}
        return repr((self.method, self.setting, sorted(options.items()), self.config.get("stack_digests")))

    @property
    def costs_measured(self) -> bool:
        """Whether the pictures were drawn here: for others neither device nor cost is known."""
        return bool(self.config.get("costs_measured", True))

    @property
    def has_costs(self) -> bool:
        """Whether a method drew the pictures here: nothing was drawn for a yardstick."""
        return self.costs_measured and not self.is_sanity

    @property
    def is_complete(self) -> bool:
        """Whether every case of the suite has a picture."""
        return len(self.generations) == self.expected

    @property
    def is_sanity(self) -> bool:
        """Whether this is a yardstick (real photos, other people, the copied reference), not a method."""
        return bool(self.config.get("sanity", False))

    @property
    def needs_tuning(self) -> bool:
        """Whether the method is tuned to each subject."""
        return bool((self.config.get("capabilities") or {}).get("needs_tuning", False))

    @property
    def method(self) -> str:
        """The method's name without the variant."""
        return self.label.partition("@")[0]

    @property
    def alpha(self) -> float | None:
        """The share of subject-conditioned steps, for methods that have one: their own, or else the stack's.

        None if the option of that name is something else, as LoRA's is: not a number from 0 to 1.
        """
        options = self.config.get("options", {})
        if "alpha" not in options:
            return None
        alpha = options["alpha"]
        alpha = self.config.get("sampling", {}).get("alpha") if alpha is None else alpha
        return float(alpha) if isinstance(alpha, int | float) and 0 <= alpha <= 1 else None

    @property
    def is_of_sweep(self) -> bool:
        """Whether it was drawn for the frontier of alpha, and is not a method of its own."""
        return self.alpha is not None and ALPHA.fullmatch(self.label.partition("@")[2]) is not None

    @cached_property
    def subject_groups(self) -> dict[str, dict[str, str]]:
        """Property (class word, skin tone, ...) -> subject -> value."""
        given: Mapping[str, Mapping[str, Any]] = self.config.get("subject_groups", {})
        people = {subject.id: subject.noun for case in self.cases.values() for subject in case.subjects}
        groups = {"noun": people}
        for subject in people:
            for key, value in given.get(subject, {}).items():
                groups.setdefault(key, {})[subject] = str(value)
        return groups

    def values(self, column: str) -> dict[str, float]:
        """The column's values by case, where the metric applies."""
        return {case: s.value for case, s in self.scores.get(column, {}).items() if s.value is not None}

    def bounds(self, column: str) -> tuple[float, float] | None:
        """The range of a column, where its metric tells it."""
        ranges = {name: header.get("range") for name, header in self.headers.items()}
        for header in self.headers.values():
            ranges |= header.get("ranges", {})
        low, high = ranges.get(column) or (None, None)
        return None if low is None or high is None else (float(low), float(high))


def group_of(case: Case) -> Group:
    """The ids of the case's subjects."""
    return tuple(subject.id for subject in case.subjects)


def read_run(folder: RunFolder) -> Run:
    """Read a run; DataError if its configuration is incomplete, or its pictures are not all scored."""
    config = read_json(folder.config)
    if absent := [key for key in ("cases", "device", "stack", "suite_digest") if key not in config]:
        raise DataError(f"{folder.config}: no {', '.join(absent)} in it; delete the run and make it again")
    generations = {generation.case.id: generation for generation in folder.generations()}
    told: dict[str, tuple[dict[str, Any], dict[str, dict[str, Score]]]] = {}
    if generations and not config.get("random_weights", False):
        told = {name: folder.read_scores(name) for name in dict.fromkeys((*METRICS, *folder.scored()))}
        judged = set.intersection(*(set(told[name][1]) for name in METRICS))
        if judged and len(generations) < int(config["cases"]):  # pictures drawn after scoring wait
            generations = {case: made for case, made in generations.items() if case in judged}
    scores: dict[str, Mapping[str, Score]] = {}
    headers: dict[str, Mapping[str, Any]] = {}
    outdated = []
    further: dict[str, str] = {}
    for metric, (header, rows) in told.items():
        whole = generations.keys() <= rows.keys()
        if metric in METRICS and not whole:
            raise DataError(f"{folder.path}: {metric} is not scored; run: fcbench report --suite {folder.suite}")
        if metric not in METRICS and (not whole or is_of_others(header, headers[METRICS[0]]) or _was_edited(header)):
            outdated.append(metric)
            continue
        headers[metric] = header
        for column in {column: None for row in rows.values() for column in row}:
            scores[column] = {case: rows[case][column] for case in generations if column in rows[case]}
        if metric not in USUAL:
            further |= _headings(metric, header, rows)
    facts = {metric: found for metric, found in folder.read_facts().items() if metric not in outdated}
    hints = tuple(_scored_anew(metric, told[metric][0], folder) for metric in outdated)
    return Run(folder.label, config, generations, folder.failures(), scores, headers, facts, hints, further)


def _headings(metric: str, header: Mapping[str, Any], rows: Mapping[str, Mapping[str, Score]]) -> dict[str, str]:
    """Column -> heading of what tables for people show of a metric: not the parts of a column (``identity_facenet_1``).

    Only the column named after the metric gets unit and direction: they belong to no other.
    """
    columns = list({column: None for row in rows.values() for column in row})
    shown = [column for column in columns if not any(column.startswith(f"{other}_") for other in columns)]
    better = "↑" if header.get("higher_is_better", True) else "↓"
    unit = f", {header['unit']}" if header.get("unit") else ""
    return {column: f"{column} {better}{unit}" if column == metric.replace("-", "_") else column for column in shown}


def _was_edited(header: Mapping[str, Any]) -> bool:
    """Whether the file of a user's own metric has changed since it scored."""
    code = header.get("code") or {}
    file = plugins.source_of(code["plugin"]) if "digest" in code and "plugin" in code else None
    return file is not None and digest_file(file) != code["digest"]


def is_of_others(header: Mapping[str, Any], usual: Mapping[str, Any]) -> bool:
    """Whether a metric's scores are of other pictures than those of a usual metric."""
    return bool(header.get("judged") != usual.get("judged"))


def _scored_anew(metric: str, header: Mapping[str, Any], folder: RunFolder) -> str:
    """The command that updates a metric; one that no package offers is named as in its scores' header."""
    offered = metric in plugins.names("metrics")
    named = metric if offered else header.get("code", {}).get("plugin", f"MODULE:{metric}")
    words = ["fcbench", "score", "--suite", folder.suite, "--metric", named, *under(folder.path.parents[2])]
    return f"{metric}: out of date; run: {shlex.join(words)}"


def under(out: Path) -> list[str]:
    """The words that make a command work under ``out``."""
    return [] if out == Path("out") else ["--out", str(out)]


def check_judges(runs: list[Run]) -> None:
    """DataError if the runs' scores are not one judge's: then their figures do not compare."""
    for metric in sorted({metric for run in runs for metric in run.headers}):
        headers = {run.label: run.headers[metric] for run in runs if metric in run.headers}
        judges = {label: {k: v for k, v in header.items() if k not in OWN} for label, header in headers.items()}
        for (first, one), (second, other) in pairwise(judges.items()):
            if one != other:
                raise DataError(f"{metric} of {first} and of {second}: different judges; score both with one stack")
