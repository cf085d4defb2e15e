"""Runs in this process, of toy methods on a stack without roles."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np

from fcbench import store
from fcbench.config import Suite
from fcbench.files import write_image
from fcbench.run.worker import Job, work
from fcbench.store import RunFolder

PROMPTS = [
    {"id": "snow", "kind": "context", "text": "{} in the snow"},
    {"id": "red-hat", "kind": "accessory", "text": "{} wearing a red hat"},
]


def toy_job(suite: Suite, method: str, path: Path, **changes: Any) -> Job:
    """A job of one of the toy methods, on the toy stack, under ``path / "out"``."""
    asked: dict[str, Any] = {
        "suite": suite.model_dump(mode="json"),
        "suite_file": suite.asked_as,
        "method": f"run_toys:{method}",
        "options": {},
        "label": method,
        "stack": "toy",
        "out": str(path / "out"),
        "device": "cpu",
        "random_weights": False,
        "low_memory": False,
        "checkpoint": None,
        "fail_fast": False,
    }
    return Job(**asked | changes)


class Toy:
    """A suite of ann, bo and cy under ``path``, two photos and two prompts each, and what the last worker told."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.events: list[dict[str, Any]] = []
        self._nouns = {"ann": "woman", "bo": "man", "cy": "man"}
        for name, k in itertools.product(self._nouns, range(2)):
            self.photograph(name, k, 10 * k + len(name))

    def photograph(self, name: str, k: int, shade: int) -> None:
        write_image(self.path / "photos" / name / f"{k}.png", np.full((4, 4, 3), shade, np.uint8))

    def __call__(self, method: str = "Painter", fail_fast: bool = False, **options: str) -> RunFolder:
        return self.work({}, method, options, fail_fast=fail_fast)

    def suite(self, changes: dict[str, Any]) -> Suite:
        people = {"source": "folder", "path": str(self.path / "photos"), "nouns": self._nouns}
        return Suite.model_validate({"name": "toy", "subjects": people, "prompts": PROMPTS, **changes})

    def work(
        self,
        changes: dict[str, Any],
        method: str,
        options: dict[str, str],
        *,
        fail_fast: bool = False,
        part: tuple[int, int] | None = None,
    ) -> RunFolder:
        suite = self.suite(changes)
        job = toy_job(suite, method, self.path, options=options, fail_fast=fail_fast, part=part)
        self.events = []
        work(job, self.events.append)
        return store.run_folder(self.path / "out", "toy", method)
