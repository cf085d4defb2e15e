"""The verb ``score``: a run's committed generations x metrics -> scores in the run's folder.

What made a metric's scores is in their header: the metric's version and options, its code where it is not
fcbench's own, the judges' digests, and a digest of the pictures and of their subjects' photos. Scores are made anew
when any of it differs, else left alone.

Beyond the protocol of ``fcbench.types.Metric`` a metric may have ``roles``, the roles of the stack that it uses;
``optional``, True where it is scored only when it is named; ``judges()``, the digests by name of models that it brings
itself, without loading them; and ``facts(stack, generations)``, what is to be written beside its scores, such as
thresholds measured on the suite's own photos.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any

from fcbench import plugins
from fcbench.errors import DataError, FcbenchError, MethodError, UsageError
from fcbench.files import digest_file, digest_json, read_json
from fcbench.metrics.contract import ContractError, checked_rows, printed
from fcbench.store import RunFolder
from fcbench.types import Generation, Metric, Score, Stack

JUDGES = ("faces", "clip")
"""The roles that judge, for a metric that does not say which it uses."""


def chosen_metrics(named: Sequence[str] = ()) -> dict[str, Metric]:
    """The metrics that are always scored, and those that are named (a ``module:Class``, too, under its ``name``).

    Raises UsageError for two of one name, and what ``plugins.load`` raises.
    """
    offered = {name: plugins.load("metrics", name) for name in plugins.names("metrics")}
    default = {name: metric for name, metric in offered.items() if not getattr(metric, "optional", False)}
    chosen = dict(default)
    for name in named:
        metric = plugins.load("metrics", name)
        key = name if name in offered else metric.name
        if type(chosen.get(key, offered.get(key, metric))) is not type(metric):
            raise UsageError(f"{name}: another metric is called {key!r}: give its class another name = ...")
        chosen[key] = metric
    return chosen


def metrics_of(folder: RunFolder, named: Sequence[str] = ()) -> dict[str, Metric]:
    """The metrics to score a run with: those of :func:`chosen_metrics`, and what it was scored with before.

    Of the latter only those that installed packages offer and whose models are here. The scores of others stay as they
    are, and are out of date where the metric's file has changed (:mod:`fcbench.report.runs`): nothing is imported
    because a file names it.
    """
    metrics = chosen_metrics(named)
    for name in set(folder.scored()) & set(plugins.names("metrics")) - metrics.keys():
        with suppress(FcbenchError):
            metric = plugins.load("metrics", name)
            if None not in _own_judges(metric).values():
                metrics[name] = metric
    return metrics


def needs_scoring(folder: RunFolder, metrics: Mapping[str, Metric], digests: Mapping[str, str]) -> list[str]:
    """Names of the metrics whose scores are absent or out of date; loads no model.

    ``digests`` are those of the stack that would judge. A run with random weights is never scored.
    """
    if read_json(folder.config).get("random_weights", False):
        return []
    generations = folder.generations()
    if not generations:
        return []
    judged = _digest(folder, generations)
    wanted = {name: {"metric": name, **_header(metric, digests, judged)} for name, metric in metrics.items()}
    return [name for name, header in wanted.items() if folder.read_scores(name)[0] != header]


def score_run(folder: RunFolder, stack: Stack, metrics: Mapping[str, Metric]) -> None:
    """Score what is not scored yet, with progress on stderr.

    Raises DataError for a picture or photo that is missing or broken, MethodError for a metric that fails.
    """
    if stack.random_weights or not (names := needs_scoring(folder, metrics, stack.digests)):
        return
    generations = folder.generations()
    judged = _digest(folder, generations)
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
    code = plugins.code_of("metrics", metric)
    return {
        "version": getattr(metric, "version", 1),
        **({"code": code} if code else {}),
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


def _digest(folder: RunFolder, generations: Sequence[Generation]) -> str:
    """A digest of the cases, their pictures and the subjects' photos: all that a metric looks at.

    DataError where a photo is not the one that the pictures were drawn from.
    """
    subjects = {subject for generation in generations for subject in generation.case.subjects}
    photos = {subject: [_digest_of(photo, "put the photo back") for photo in subject.images] for subject in subjects}
    known = read_json(folder.config).get("photos", {})
    for subject, digests in photos.items():
        for photo, then, now in zip(subject.images, known.get(subject.id, digests), digests, strict=False):
            if then != now:
                raise DataError(f"{photo}: another photo than {folder.path} was drawn from; put that one back")
    again = "give the command that drew it again"
    return digest_json(
        [
            [g.case.id, g.case.text, _digest_of(g.image, again), [photos[s] for s in g.case.subjects]]
            for g in generations
        ]
    )


def _digest_of(image: Path, cure: str) -> str:
    try:
        return digest_file(image)
    except OSError as error:
        raise DataError(f"{image}: cannot be read ({error.strerror}); {cure}") from error


def _judge(
    name: str, metric: Metric, stack: Stack, generations: Sequence[Generation]
) -> list[tuple[str, dict[str, Score]]]:
    """The metric's scores by case, checked; MethodError names the metric that fails, and how."""
    try:
        rows = checked_rows(metric, [generation.case.id for generation in generations], metric(stack, generations))
    except FcbenchError:
        raise
    except ContractError as error:
        raise MethodError(f"metric {name} {error}") from error
    except Exception as error:
        raise MethodError(f"metric {name} failed: {type(error).__name__}: {error}") from error
    return [(generation.case.id, row) for generation, row in zip(generations, rows, strict=True)]


def _check_columns(name: str, columns: Set[str], folder: RunFolder) -> None:
    """MethodError where a column would be printed under the same name as another metric's."""
    for other in sorted({*folder.scored()} - {name}):
        theirs = {column for row in folder.read_scores(other)[1].values() for column in row}
        if taken := sorted(printed(columns) & printed(theirs)):
            cure = f"call it something else, or delete the scores of {other} in {folder.path}"
            raise MethodError(f"metric {name}: {other} has a column {taken[0]!r}; {cure}")
