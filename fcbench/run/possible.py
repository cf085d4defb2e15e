"""Whether a method can draw a suite at all: asked before anything is loaded, for all runs before the first one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path

from fcbench import plugins
from fcbench.config import Suite
from fcbench.errors import UsageError
from fcbench.run.cases import subjects_of
from fcbench.types import Capabilities, Subject


def refuse_impossible(name: str, capabilities: Capabilities, suite: Suite, subjects: Sequence[Subject]) -> None:
    """UsageError if the suite has more people a picture than the method draws, or fewer photos of one than it needs."""
    most, photos = capabilities.max_subjects, capabilities.images_per_subject
    if most is not None and suite.group > most:
        raise UsageError(f"{name} draws at most {most} in a picture; suite {suite.name} wants {suite.group}")
    for subject in subjects:
        given = len(subject.images)
        if given < photos:
            raise UsageError(
                f"{name} wants {photos} photos of each subject; suite {suite.name} has {given} of {subject.id}"
            )


def refuse_any_impossible(
    suites: Sequence[Suite], methods: Iterable[str], variants: Sequence[Mapping[str, str]], out: Path
) -> None:
    """The same for every method, with each variant's options, on every suite, rather than hours into the runs.

    Raises what loading a method or the suites' people raises. A single run is left to check itself.
    """
    asked = list(product(suites, methods, variants))
    if len(asked) < 2:
        return
    subjects = {suite.name: subjects_of(suite, out) for suite in suites}
    for suite, name, given in asked:
        method = plugins.load("methods", name, suite.options_of(name, given))
        refuse_impossible(name, method.capabilities, suite, subjects[suite.name])
