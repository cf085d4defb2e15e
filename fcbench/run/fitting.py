"""Fits of a run: prepared once for a class word, made once for a subject or a group, joined where a method can."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fcbench import store
from fcbench.files import atomic_folder, digest_file, digest_json, locked, read_json, write_json
from fcbench.run.calls import Calls
from fcbench.run.cases import Group, fit_seed
from fcbench.run.measure import Cost, stored_bytes
from fcbench.run.record import SURROUNDINGS, drawing_digests
from fcbench.types import Joining, Method, Preparing, Sampler, Stack, Subject

IDENTITY = (
    *("method", "code", "options", "recipe"),
    *("stack", "stack_digests", "random_weights", "low_memory", *SURROUNDINGS),
)
"""What in a run's record decides a fit and its costs, besides the subject's photos."""


@dataclass(frozen=True)
class Fit:
    """What fitting a group cost, and preparing for it, which serves others too and counts apart."""

    fit_seconds: float
    peak_bytes: int
    stored_bytes: int
    prior_seconds: float = 0.0
    prior_peak_bytes: int = 0


@dataclass(frozen=True)
class _Place:
    """Where a fit works, and where its cost is written when done; ``spent``: what it took until it was killed."""

    work: Path
    costs: Path

    @property
    def spent(self) -> Path:
        return self.costs.with_suffix(".spent")


class Fitting:
    """Fits groups of subjects with one method."""

    def __init__(
        self,
        folder: store.RunFolder,
        method: Method,
        stack: Stack,
        calls: Calls,
        record: Mapping[str, Any],
        *,
        keep: bool,
    ) -> None:
        self._folder, self._method, self._stack, self._calls = folder, method, stack, calls
        self._record, self._keep = record, keep
        self._prepared: dict[str, Cost] = {}

    def fit(self, group: Group) -> tuple[Sampler, Fit]:
        """A fitted sampler, and what the fit cost when it was first done, from an empty work folder."""
        subjects = [shown(subject, self._method.capabilities.images_per_subject) for subject in group.subjects]
        prior = self._prepare(subjects)
        if self._method.capabilities.joins:
            sampler, cost = self._join(subjects)
        else:
            place = _Place(self._folder.work / group.id, self._folder.fit(group.id))
            sampler, cost = self._once(place, group, subjects)
        if self._folder.fit(group.id).exists():
            return sampler, Fit(**read_json(self._folder.fit(group.id)))
        with self._calls.plugin(group.id):
            stored = stored_bytes(sampler, self._folder.fit(group.id).with_suffix(".saved"))
            if self._keep:
                self._save(sampler, self._folder.kept(group.id))
        fit = Fit(cost.seconds, cost.peak_bytes, stored, prior.seconds, prior.peak_bytes)
        write_json(self._folder.fit(group.id), vars(fit))
        self._folder.fit(group.id).with_suffix(".spent").unlink(missing_ok=True)
        return sampler, fit

    def clear(self, group: Group) -> None:
        """Remove a group's work folder once all its cases are drawn; what serves other groups stays."""
        shutil.rmtree(self._folder.work / group.id, ignore_errors=True)

    def trial(self, group: Group, workdir: Path) -> Sampler:
        """A fit of which nothing is kept."""
        subjects = [shown(subject, self._method.capabilities.images_per_subject) for subject in group.subjects]
        with self._calls.plugin(group.id):
            return self._method.fit(self._stack, subjects, seed=fit_seed(group), workdir=workdir)

    def _prepare(self, subjects: Sequence[Subject]) -> Cost:
        """The cost of preparing for the subjects' class words, each once: total seconds, highest peak."""
        if not isinstance(self._method, Preparing):
            return Cost()
        nouns = list(dict.fromkeys(subject.noun for subject in subjects))
        for noun in nouns:
            if noun not in self._prepared:
                self._prepared[noun] = self._prepare_one(self._method, noun)
        costs = [self._prepared[noun] for noun in nouns]
        return Cost(sum(cost.seconds for cost in costs), max(cost.peak_bytes for cost in costs))

    def _prepare_one(self, method: Preparing, noun: str) -> Cost:
        spent = self._folder.fit(f"prepare-{noun}").with_suffix(".spent")
        shelf = self._folder.prepared / digest_json([self._record[key] for key in SURROUNDINGS])[:16]
        busy = f"{shelf}: another command prepares there for a class word, which is waited for"
        with locked(shelf.with_suffix(".lock"), busy, waits=True):
            with self._calls.plugin(noun), self._calls.resumed(spent) as cost:
                made = method.prepare(self._stack, noun, shelf=shelf)
            spent.unlink(missing_ok=True)
            if made is None:
                return Cost()
            told = made.with_suffix(".json")
            if not told.exists():
                write_json(told, vars(cost))
            return Cost(**read_json(told))

    def _join(self, subjects: Sequence[Subject]) -> tuple[Sampler, Cost]:
        """Each subject's own fit, whichever run made it first, and the sampler that joins them."""
        assert isinstance(self._method, Joining), "capabilities.joins promises a method join()"
        fits = [self._once_for_all(subject) for subject in subjects]
        if len(fits) == 1:
            return fits[0]
        with self._calls.plugin("+".join(subject.id for subject in subjects)), self._calls.phase() as cost:
            sampler = self._method.join(self._stack, [sampler for sampler, _ in fits])
        costs = [cost, *(single for _, single in fits)]
        return sampler, Cost(sum(c.seconds for c in costs), max(c.peak_bytes for c in costs))

    def _once(self, place: _Place, group: Group, subjects: Sequence[Subject]) -> tuple[Sampler, Cost]:
        """A fit in its place: found there, continued, or made from nothing."""
        goes_on = self._method.capabilities.resumes and place.spent.exists()
        if not (place.costs.exists() or goes_on):
            shutil.rmtree(place.work, ignore_errors=True)
            place.spent.unlink(missing_ok=True)
        place.work.mkdir(parents=True, exist_ok=True)
        with self._calls.plugin(group.id), self._calls.resumed(place.spent) as cost:
            sampler = self._method.fit(self._stack, subjects, seed=fit_seed(group), workdir=place.work)
        if place.costs.exists():
            place.spent.unlink(missing_ok=True)
            known = read_json(place.costs)
            return sampler, Cost(known.get("seconds", known.get("fit_seconds")), known["peak_bytes"])
        if self._method.capabilities.joins:
            write_json(place.costs, vars(cost))
            place.spent.unlink(missing_ok=True)
        return sampler, cost  # until its cost is written, a method that resumes must find its work

    def _once_for_all(self, subject: Subject) -> tuple[Sampler, Cost]:
        """A subject's own fit: if two runs want it at the same time, the second waits."""
        place = self._shared(subject)
        busy = f"{place.work.parent}: another run is at this fit of {subject.id}, which is waited for"
        with locked(place.work.with_name("lock"), busy, waits=True):
            return self._once(place, Group((subject,), ()), [subject])

    def _shared(self, subject: Subject) -> _Place:
        """Where a subject's own fit lies for all runs of the method: its name is a digest of all that decides it."""
        facts = {key: self._record[key] for key in IDENTITY if key != "code" or self._record["code"]}
        facts["stack_digests"] = drawing_digests(facts["stack_digests"])
        photos = [digest_file(photo) for photo in subject.images]
        digest = digest_json([facts, subject.id, subject.noun, photos])[:16]
        folder = self._folder.shared_fit(digest)
        return _Place(folder / "work", folder / "cost.json")

    def _save(self, sampler: Sampler, folder: Path) -> None:
        with atomic_folder(folder) as temporary:
            sampler.save(temporary)


def shown(subject: Subject, images: int) -> Subject:
    """The subject as a method may see it: with as many photos as it looks at, the reference first."""
    return replace(subject, images=subject.images[:images])
