"""Every method, metric and stack that is installed keeps the contract, on the miniature stack."""

from __future__ import annotations

from pathlib import Path

import pytest

from fcbench.errors import MissingError
from fcbench.files import write_image
from fcbench.plugins import load, names
from fcbench.testing import PROMPTS, check_method, check_metric, check_stack
from fcbench.types import Case, Generation, Stack, Subject
from fcbench.world import TEST_PEOPLE, draw_person, draw_scene, portrait, render

pytestmark = pytest.mark.weights

QUICK = {"steps": "2", "tuning_steps": "2", "prior_images": "2"}
"""Options that make a method quick; those a method does not have are left out."""
OPTIONAL = ("dino", "facenet")
"""Metrics whose models the miniature does not have."""


@pytest.fixture(scope="module")
def stack() -> Stack:
    from fcbench.stacks import load_stack

    return load_stack("mini", device="cpu")


@pytest.fixture
def subjects(tmp_path: Path) -> list[Subject]:
    people = [draw_person(number) for number in TEST_PEOPLE[:2]]
    subjects = [Subject(p.id, p.noun, tuple(tmp_path / p.id / f"{view}.png" for view in range(5))) for p in people]
    for person, subject in zip(people, subjects, strict=True):
        for view, path in enumerate(subject.images):
            write_image(path, render(portrait(person, view)).image)
    return subjects


@pytest.mark.parametrize("name", names("methods"))
def test_a_method_keeps_the_contract(name: str, stack: Stack, subjects: list[Subject], tmp_path: Path) -> None:
    fields = getattr(type(load("methods", name)), "__dataclass_fields__", {})
    quick = {option: value for option, value in QUICK.items() if option in fields}
    check_method(load("methods", name, quick), stack, subjects, tmp_path / "work")


@pytest.mark.parametrize("name", names("metrics"))
def test_a_metric_keeps_the_contract(name: str, stack: Stack, subjects: list[Subject], tmp_path: Path) -> None:
    """Judged are drawn scenes: of each person, and of both."""
    people = [draw_person(number) for number in TEST_PEOPLE[:2]]
    generations = []
    for chosen in ([0], [1], [0, 1]):
        case = Case(tuple(subjects[i] for i in chosen), PROMPTS[0], 0)
        path = tmp_path / f"{case.id}.png"
        write_image(path, render(draw_scene([people[i] for i in chosen], 0, prompt=PROMPTS[0].id)).image)
        generations.append(Generation(case, path, 0.0, 0.0, 0, 0))
    try:
        check_metric(load("metrics", name), stack, generations)
    except MissingError as error:
        assert name in OPTIONAL
        pytest.skip(str(error))


def test_the_miniature_stack_keeps_the_contract(stack: Stack) -> None:
    check_stack(stack)
