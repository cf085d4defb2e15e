"""Attribute accuracy under a reader that is told what to see, and the network's way to disk and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fcbench.config import load_suites
from fcbench.errors import OutOfTimeError, WeightsError
from fcbench.loop import Clock
from fcbench.make_stack.attributes import CLASSES, COLOURED, draw_views, figure_answers, train_attributes, views_of
from fcbench.metrics.attributes import Attributes, wanted
from fcbench.stacks.attributes import AttributeNet, figure_view, load_attributes, save_attributes
from fcbench.types import Case, Generation, Prompt, Score, Stack, Subject
from fcbench.world import PROMPTS, draw_person, draw_scene
from tests.unit.test_metrics import Faces, blue


def sure(answers: dict[str, str], chance: float = 0.75) -> dict[str, dict[str, float]]:
    """What a reader says that gives each answer this chance, and the rest to none."""
    return {name: {answer: chance, "none": 1 - chance} for name, answer in answers.items()}


class Reader:
    """Sees everywhere the same place, and on the people, from the largest on, what it is told."""

    def __init__(self, whole: dict[str, str], people: list[dict[str, str]]) -> None:
        self.whole, self.people = whole, people

    def wholes(self, images: list[Any]) -> list[dict[str, dict[str, float]]]:
        return [sure(self.whole)] * len(images)

    def figures(self, images: list[Any], boxes: list[Any]) -> list[list[dict[str, dict[str, float]]]]:
        return [[sure(seen) for seen, _ in zip(self.people, faces, strict=False)] for faces in boxes]


def score(
    tmp_path: Path,
    prompt_id: str,
    people: list[dict[str, str]],
    *,
    subjects: int = 2,
    faces: int = 2,
    column: str = "attributes",
) -> Score:
    known = PROMPTS[prompt_id]
    everyone = tuple(Subject(f"s{n}", "man", (blue(tmp_path / f"{n}.png", n),)) for n in range(subjects))
    case = Case(everyone, Prompt(known.id, known.text, known.kind), 0)
    found = Faces({200: [(9.0 - n, [1.0]) for n in range(faces)]})
    reader = Reader({"context": "snow", "style": "photo"}, people)
    stack = Stack("toy", {"faces": lambda: found, "attributes": lambda: reader}, 4)
    (row,) = Attributes()(stack, [Generation(case, blue(tmp_path / "200.png", 200), 0, 0, 0, 0)])
    return row[column]


RED_HAT, BLUE_HAT = {"hat": "hat", "hat_colour": "red"}, {"hat": "hat", "hat_colour": "blue"}


def test_what_is_worn_is_asked_of_every_subject(tmp_path: Path) -> None:
    assert score(tmp_path, "red-hat", [RED_HAT, RED_HAT]) == Score(1.0)
    assert score(tmp_path, "red-hat", [RED_HAT, BLUE_HAT]) == Score(0.5, "not there: hat red")
    assert score(tmp_path, "red-hat", [RED_HAT, RED_HAT], faces=1).value == 0.5
    assert score(tmp_path, "red-hat", [], faces=0).value == 0.0


def test_how_sure_the_reader_is_ranks_pictures_that_it_answers_alike(tmp_path: Path) -> None:
    def chance(prompt_id: str, people: list[dict[str, str]], faces: int = 2) -> float | None:
        return score(tmp_path, prompt_id, people, faces=faces, column="attributes_probability").value

    assert chance("snow", []) == 0.75
    assert chance("red-hat", [RED_HAT, RED_HAT]) == pytest.approx(0.75**2)  # its kind and its colour
    assert chance("red-hat", [RED_HAT, BLUE_HAT]) == pytest.approx(0.75**2 / 2)
    assert chance("red-hat", [RED_HAT], faces=1) == pytest.approx(0.75**2 / 2)
    assert chance("beach", []) == 0.0


def test_a_place_is_asked_of_the_picture(tmp_path: Path) -> None:
    assert score(tmp_path, "snow", [], faces=0).value == 1.0
    assert score(tmp_path, "beach", [RED_HAT]).value == 0.0


def test_what_the_world_does_not_know_does_not_apply() -> None:
    assert wanted(Prompt("snow", "{} knee-deep in the snow", "context")) is None
    assert wanted(Prompt("in-a-hat", "{} wearing a red hat", "accessory")) == {"hat": "hat", "hat_colour": "red"}
    (suite,) = load_suites("celeba-single")
    known = {prompt.text for prompt in PROMPTS.values()}
    assert all(wanted(prompt) is None for prompt in suite.prompts if prompt.text not in known)


@pytest.mark.parametrize("name", ["mini-single", "mini-pair", "mini-full-single", "mini-demo-pair"])
def test_every_prompt_of_the_miniature_can_be_read(name: str) -> None:
    (suite,) = load_suites(name)
    for prompt in suite.prompts:
        asked = wanted(prompt)
        assert asked
        assert all(answer in CLASSES[thing] for thing, answer in asked.items())


def test_a_stack_without_a_reader_scores_none(tmp_path: Path) -> None:
    case = Case((Subject("a", "man", ()),), Prompt("snow", "{} in the snow", "context"), 0)
    (row,) = Attributes()(Stack("real", {}, 4), [Generation(case, tmp_path / "x.png", 0, 0, 0, 0)])
    assert row["attributes"] == Score(None, "the stack real has no reader of attributes")
    assert row["attributes_probability"] == row["attributes"]


def test_a_view_is_centred_on_the_face_and_black_beyond_the_picture() -> None:
    image = np.full((64, 64, 3), 200, np.uint8)
    image[10:14, 30:34] = (255, 0, 0)
    view = figure_view(image, np.array([22.0, 2.0, 42.0, 22.0]))
    assert view.shape == (64, 64, 3)
    rows, columns = np.nonzero((view[:, :, 0] > 240) & (view[:, :, 1] < 120))
    assert abs(columns.mean() - 31.5) < 2
    assert rows.mean() < 30  # the square reaches further down than up
    assert (view[0] == 0).all()


def test_the_truth_is_told_without_what_a_style_hides() -> None:
    scene = draw_scene([draw_person(1_950_123)], 5, prompt="pencil")
    told = figure_answers(scene.figures[0], scene.style)
    assert not set(told) & set(COLOURED)
    (whole, places), (_, figure) = views_of(scene)
    assert whole.shape == (64, 64, 3)
    assert places["style"] == "pencil"
    assert figure == told


def test_training_goes_on_where_it_was_stopped_and_weights_come_back_from_disk(tmp_path: Path) -> None:
    views = draw_views(6, tmp_path)
    assert len(views.pictures) == len(draw_views(6, tmp_path).answers) > 12
    whole = train_attributes(views, tmp_path / "whole", Clock(10), steps=2, seed=0)
    with pytest.raises(OutOfTimeError, match="attributes: time is up after 1 of 2"):
        train_attributes(views, tmp_path / "parts", Clock(-1), steps=2, seed=0)
    parts = train_attributes(views, tmp_path / "parts", Clock(10), steps=2, seed=0)
    assert all(torch.equal(value, parts.state_dict()[name]) for name, value in whole.state_dict().items())
    save_attributes(tmp_path / "reader", whole)
    assert (tmp_path / "reader" / "model.safetensors").stat().st_size < 1_500_000
    reader = load_attributes(tmp_path / "reader")
    again = AttributeNet(CLASSES).eval()
    again.load_state_dict({n: v.half().float() if v.is_floating_point() else v for n, v in whole.state_dict().items()})
    pixels = torch.from_numpy(views.pictures[:4]).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        logits = again(pixels)
    for place, answers in enumerate(reader.read(list(views.pictures[:4]))):
        assert answers == {name: CLASSES[name][int(of[place].argmax())] for name, of in logits.items()}
    for place, chances in enumerate(reader.chances(list(views.pictures[:4]))):
        expected = {name: of[place].softmax(0).tolist() for name, of in logits.items()}
        assert {name: list(of.values()) for name, of in chances.items()} == {
            name: pytest.approx(of, abs=1e-6) for name, of in expected.items()
        }


def test_a_broken_file_of_weights_is_named(tmp_path: Path) -> None:
    save_attributes(tmp_path, AttributeNet(CLASSES))
    (tmp_path / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(WeightsError, match=r"model\.safetensors"):
        load_attributes(tmp_path)
