"""The steps in their order: what each one reads, which models it needs, and what its results depend on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, TypeAlias

from fcbench.build import caption, match, phrases, scorer, segment
from fcbench.build.isolate import isolated
from fcbench.build.quality import quality
from fcbench.build.records import Item, Photo, Reject, batches
from fcbench.build.screen import Screen
from fcbench.errors import FcbenchError
from fcbench.files import digest_json
from fcbench.types import Stack

Run: TypeAlias = Callable[[Sequence[Item], Stack], Iterator[Item]]


@dataclass(frozen=True)
class Step:
    """A pure function of a batch of items; ``version`` is raised when equal items would come out differently."""

    name: str
    run: Run
    roles: tuple[str, ...] = ()
    batch: int = 256
    version: int = 1
    settings: Mapping[str, Any] = field(default_factory=dict)
    asks: Callable[[Sequence[Item]], bool] = lambda items: True
    """Whether these items need the models: nobody should fetch a captioner for photos that bring their captions."""

    def recipe(self, digests: Mapping[str, str]) -> dict[str, Any]:
        """All that its results depend on beside its items and how their order puts them into batches."""
        models = {role: digests.get(role, "unknown") for role in self.roles}
        return {"version": self.version, "batch": self.batch, **self.settings, **models}

    def __call__(self, items: Iterable[Item], stack: Stack, tell: Callable[[int, float], None]) -> Iterator[Item]:
        """Take items through the step, a batch at a time; ``tell`` gets each batch's number of items and seconds."""
        for batch in batches(items, self.batch):
            start = perf_counter()
            done = isolated(lambda part: list(self.run(part, stack)), batch, self.name)
            self._refuse_failure(batch, done)
            tell(len(done), perf_counter() - start)
            yield from done

    def _refuse_failure(self, batch: list[Item], done: list[Item]) -> None:
        """FcbenchError where a model fails on every photo of a batch of several: it is broken itself."""
        photos = sum(isinstance(item, Photo) for item in batch)
        failed = [item for item in done if isinstance(item, Reject) and item.step == self.name]
        if photos > 1 and len([item for item in failed if item.reason == "model_error"]) == photos:
            raise FcbenchError(f"the step {self.name} fails on every photo of a batch ({failed[0].message})")


def steps_of(
    screen: Screen, roles: Collection[str] = (), assignment: str = "hungarian", *, recaption: bool = False
) -> tuple[Step, ...]:
    """The steps after ingest, for a stack that has ``roles``: without captioner or segmenter the sidecars must do."""

    def model(role: str, stack: Stack, asked: bool = True) -> Any:
        return stack.role(role) if asked and role in roles else None

    def used(role: str) -> tuple[str, ...]:
        return (role,) if role in roles else ()

    def uncaptioned(items: Sequence[Item]) -> bool:
        return bool(caption.lacking(items, recaption=recaption))

    def unsegmented(items: Sequence[Item]) -> bool:
        return bool(segment.lacking(items))

    scoring = Step("score", lambda items, stack: scorer.score(items, stack.role("scorer")), ("scorer",))
    return (
        Step("screen", lambda items, stack: screen(items), settings=_screening(screen)),
        Step(
            "caption",
            lambda items, stack: caption.caption(
                items, model("captioner", stack, uncaptioned(items)), recaption=recaption
            ),
            used("captioner"),
            version=3,
            settings={"recaption": recaption},
            asks=uncaptioned,
        ),
        Step("phrases", lambda items, stack: phrases.phrases(items, stack.role("parser")), ("parser",), version=2),
        Step(
            "segment",
            lambda items, stack: segment.segment(items, model("segmenter", stack, unsegmented(items))),
            used("segmenter"),
            version=4,
            asks=unsegmented,
        ),
        Step("quality", lambda items, stack: quality(items, model("faces", stack)), used("faces"), version=2),
        Step(
            "match",
            lambda items, stack: match.match(items, stack.role("matcher"), assignment, model("sentences", stack)),
            ("matcher", *used("sentences")),
            version=5,
            settings={"ambiguous_margin": match.AMBIGUOUS_MARGIN, "assignment": assignment},
        ),
        *([scoring] if "scorer" in roles else []),
    )


def _screening(screen: Screen) -> dict[str, Any]:
    listed = digest_json(sorted(screen.taken_down))[:12] if screen.taken_down else None
    return {"licences": list(screen.licences), "taken_down": listed}
