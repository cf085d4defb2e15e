"""The verb ``score``: a run's committed generations x metrics -> scores in the run's folder.

What made a metric's scores stands in their header: the metric's version and options, the judges' digests, and a
digest of the pictures and of their subjects' photos. Scores are made anew when any of it differs, else left alone.

Beyond the protocol of ``fcbench.types.Metric`` a metric may have ``roles``, the roles of the stack that it asks;
``optional``, True where it is scored only when it is named; ``judges()``, the digests by name of models that it brings
itself, told without loading them; and ``facts(stack, generations)``, what is to be written beside its scores, as
thresholds measured on the suite's own photos.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence, Set
from functools import partial
from math import isfinite
from typing import Any

from fcbench import plugins
from fcbench.errors import DataError, FcbenchError, MethodError
from fcbench.files import digest_file, digest_json, read_json
from fcbench.store import RunFolder
from fcbench.types import Generation, Metric, Score, Stack

JUDGES = ("faces", "clip")
"""The roles that judge, for a metric that does not say which it asks."""

FIXED_COLUMNS = frozenset([
    "method", "suite", "role", "status", "note", "notes", "device", "stack", "cases", "case", "subjects", "nouns",
    "prompt_id", "prompt_kind", "text", "seed", "failure", "failures", "generations", "images_per_subject",
    "faces_found", "needs_tuning", "rank_best", "rank_worst", "memory_kind", "prior_seconds", "fit_seconds",
    "sample_seconds", "single_seconds", "single_low", "single_high", "total_seconds", "load_seconds",
    "warm_up_seconds", "peak_gib", "reserved_gib", "device_gib", "prior_peak_gib", "fit_peak_gib",
    "sample_peak_gib", "stored_mib_per_subject",
])  # fmt: skip
"""What reports call other columns than scores."""


def chosen_metrics(named: Sequence[str] = ()) -> dict[str, Metric]:
    """The metrics that are always scored, and those that are named (``module:Class``, too)."""
    offered = {name: plugins.load("metrics", name) for name in plugins.names("metrics")}
    default = {name: metric for name, metric in offered.items() if not getattr(metric, "optional", False)}
    return default | {name.rpartition(":")[2]: plugins.load("metrics", name) for name in named}


def needs_scoring(folder: RunFolder, metrics: Mapping[str, Metric], digests: Mapping[str, str]) -> list[str]:
    """Names of the metrics whose scores are absent or out of date; loads no model.

    ``digests`` are those of the stack that would judge. A run with random weights is never scored.
    """
    if read_json(folder.config).get("random_weights", False):
        return []
    generations = folder.generations()
    if not generations:
        return []
    judged = _digest(generations)
    wanted = {name: {"metric": name, **_header(metric, digests, judged)} for name, metric in metrics.items()}
    return [name for name, header in wanted.items() if folder.read_scores(name)[0] != header]


def score_run(folder: RunFolder, stack: Stack, metrics: Mapping[str, Metric]) -> None:
    """Score what is not scored yet, telling of it on stderr.

    Raises DataError for a picture or photo that is missing or broken, MethodError for a metric that fails.
    """
    if stack.random_weights or not (names := needs_scoring(folder, metrics, stack.digests)):
        return
    generations = folder.generations()
    judged = _digest(generations)
    say = partial(print, file=sys.stderr, flush=True)
    for name in names:
        say(f"{folder.suite}/{folder.label}: {name} of {len(generations)} pictures ...", end=" ")
        rows = _judge(name, metrics[name], stack, generations)
        _check_columns(name, {column for _, row in rows for column in row}, folder)
        if facts := _facts(metrics[name], stack, generations):
            folder.write_facts(name, facts)
        folder.write_scores(name, rows, _header(metrics[name], stack.digests, judged))
        say("done")


def _header(metric: Metric, digests: Mapping[str, str], judged: str) -> dict[str, Any]:
    """What made the scores, and the metric's facts; equal after a trip through JSON."""
    ranges: Mapping[str, tuple[float, float]] = getattr(metric, "ranges", {})
    return {
        "version": getattr(metric, "version", 1),
        "options": {key: str(value) for key, value in vars(metric).items() if not key.startswith("_")},
        "unit": metric.unit,
        "range": [limit if isfinite(limit) else None for limit in metric.range],
        **({"ranges": {name: list(limits) for name, limits in ranges.items()}} if ranges else {}),
        "higher_is_better": metric.higher_is_better,
        "judges": {role: digests.get(role) for role in getattr(metric, "roles", JUDGES)} | _own_judges(metric),
        "judged": judged,
    }


def _own_judges(metric: Metric) -> dict[str, str | None]:
    """The models that a metric brings itself, by name, with their digests."""
    tell = getattr(metric, "judges", None)
    return {} if tell is None else dict(tell())


def _facts(metric: Metric, stack: Stack, generations: Sequence[Generation]) -> dict[str, Any]:
    """What a metric wants to be written beside its scores."""
    tell = getattr(metric, "facts", None)
    return {} if tell is None else dict(tell(stack, generations))


def _digest(generations: Sequence[Generation]) -> str:
    """Of the cases, their pictures and the subjects' photos: all that a metric looks at."""
    subjects = {subject for generation in generations for subject in generation.case.subjects}
    try:
        photos = {subject: [digest_file(photo) for photo in subject.images] for subject in subjects}
        return digest_json(
            [[g.case.id, g.case.text, digest_file(g.image), [photos[s] for s in g.case.subjects]] for g in generations]
        )
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror}); run the command that made it") from error


def _judge(
    name: str, metric: Metric, stack: Stack, generations: Sequence[Generation]
) -> list[tuple[str, dict[str, Score]]]:
    """The metric's scores by case, checked: one row a generation, its own column there, finite or None."""
    try:
        rows = metric(stack, generations)
    except FcbenchError:
        raise
    except Exception as error:
        raise MethodError(f"metric {name} failed: {type(error).__name__}: {error}") from error
    if len(rows) != len(generations):
        raise MethodError(f"metric {name} gave {len(rows)} rows for {len(generations)} generations")
    cases = [generation.case.id for generation in generations]
    for case, row in zip(cases, rows, strict=True):
        if metric.name not in row:
            raise MethodError(f"metric {name} gave no column {metric.name!r} for {case}")
        for column, score in row.items():
            if score.value is None and not score.note:
                raise MethodError(f"metric {name} gave no {column} for {case}, and no note that says why")
            if score.value is not None and not isfinite(score.value):
                raise MethodError(f"metric {name} gave {score.value} as {column} of {case}: use None with a note")
    return list(zip(cases, rows, strict=True))


def _check_columns(name: str, columns: Set[str], folder: RunFolder) -> None:
    """MethodError where a column is printed as another metric prints its own, or another of its own, or all tables."""
    for column in sorted(columns):
        if taken := sorted(_printed({column}) & (FIXED_COLUMNS | _printed(columns - {column}))):
            raise MethodError(
                f"metric {name}: its tables have a column {taken[0]!r} already; do not call one {column!r}"
            )
    for other in sorted({*folder.scored()} - {name}):
        theirs = {column for row in folder.read_scores(other)[1].values() for column in row}
        if taken := sorted(_printed(columns) & _printed(theirs)):
            cure = f"call it something else, or delete the scores of {other} in {folder.path}"
            raise MethodError(f"metric {name}: {other} has a column {taken[0]!r}; {cure}")


def _printed(columns: Set[str]) -> set[str]:
    """What reports print of columns: the mean, its interval's ends and the number of pictures, a column each."""
    return {column + suffix for column in columns for suffix in ("", "_low", "_high", "_n")}
