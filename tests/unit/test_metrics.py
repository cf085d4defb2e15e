"""The metrics under judges that read a picture's first pixels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fcbench.files import write_image
from fcbench.metrics.identity import Identity, official, strict
from fcbench.metrics.prompt import BATCH, PromptConsistency
from fcbench.types import Case, Generation, Metric, Prompt, Score, Stack, Subject


class Faces:
    """Finds in every picture the faces that were told for its blue channel; counts its calls."""

    def __init__(self, told: dict[int, list[tuple[float, list[float]]]]) -> None:
        self.told = told
        self.seen: list[int] = []

    def get(self, bgr: np.ndarray) -> list[Any]:
        self.seen.append(int(bgr[0, 0, 0]))
        assert bgr.flags["C_CONTIGUOUS"]
        return [
            SimpleNamespace(bbox=np.array([0, 0, side, side]), normed_embedding=np.array(embedding, np.float32))
            for side, embedding in self.told[int(bgr[0, 0, 0])]
        ]


def blue(path: Path, value: int) -> Path:
    write_image(path, np.full((4, 4, 3), (0, 0, value), np.uint8))
    return path


def generation(tmp_path: Path, photos: list[int], picture: int, *, prompt: str = "snow") -> Generation:
    people = tuple(Subject(f"s{photo}", "man", (blue(tmp_path / f"{photo}.png", photo),)) for photo in photos)
    texts = {"snow": "{} in the snow", "hat": "{} wearing a red hat"}
    case = Case(people, Prompt(prompt, texts[prompt], "context"), 0)
    return Generation(case, blue(tmp_path / f"picture{picture}.png", picture), 0.0, 0.0, 0, 0)


def identity(tmp_path: Path, told: dict[int, list[tuple[float, list[float]]]], photos: list[int]) -> dict[str, Score]:
    stack = Stack("toy", {"faces": lambda: Faces(told)}, 4)
    return Identity()(stack, [generation(tmp_path, photos, 200)])[0]


ANN, BO = [1.0, 0.0], [0.0, 1.0]


def test_the_largest_faces_count(tmp_path: Path) -> None:
    scores = identity(tmp_path, {1: [(2, BO), (5, ANN)], 200: [(3, ANN), (7, BO)]}, [1])
    assert scores["identity"].value == 0.0
    assert scores["faces"].value == 2.0


def test_no_face_counts_zero_with_a_note(tmp_path: Path) -> None:
    score = identity(tmp_path, {1: [(5, ANN)], 200: []}, [1])
    assert score["identity"] == score["identity_strict"] == Score(0.0, "no face found")


def test_a_missing_face_of_two_makes_the_minimum_zero(tmp_path: Path) -> None:
    scores = identity(tmp_path, {1: [(5, ANN)], 2: [(5, BO)], 200: [(5, ANN)]}, [1, 2])
    assert scores["identity"] == Score(0.0, "1 of 2 faces missing")
    assert scores["identity_mean"].value == 0.5


class Recogniser:
    """Sees in an all-zero crop somebody a little like Bo."""

    input_size, input_mean = (112, 112), 127.5

    def get_feat(self, crop: np.ndarray) -> np.ndarray:
        assert (crop == self.input_mean).all()
        return np.array([[-1.6, 1.2]])


def test_a_missing_face_is_an_embedded_nothing_in_the_official_protocol_and_0_in_the_strict_one(tmp_path: Path) -> None:
    faces = Faces({1: [(5, ANN)], 2: [(5, BO)], 200: [(5, ANN)], 201: []})
    faces.models = {"recognition": Recogniser()}  # type: ignore[attr-defined]
    made = [generation(tmp_path, [1, 2], picture) for picture in (200, 201)]
    one, none = Identity()(Stack("toy", {"faces": lambda: faces}, 4), made)
    assert one["identity"].value == pytest.approx(0.6)  # max(0, min(1, the nothing's cosine to Bo))
    assert [one[f"identity_{place}"].value for place in (1, 2)] == pytest.approx([1.0, 0.6])
    assert one["identity_mean"].value == pytest.approx(0.8)
    assert [one[f"identity_strict{end}"].value for end in ("", "_mean", "_1", "_2")] == [0.0, 0.5, 1.0, 0.0]
    assert none["identity"] == none["identity_2"] == Score(0.0, "no face found")


def test_greedy_and_hungarian_differ_where_the_best_pair_is_a_trap() -> None:
    references = np.array([[0.9, 0.8], [0.85, 0.1]], np.float32)
    faces = np.eye(2, dtype=np.float32)  # so that the references' rows are the similarities
    assert official(faces, references, None) == pytest.approx([0.9, 0.1])
    assert strict(faces, references) == pytest.approx([0.8, 0.85])


def test_swapped_faces_are_matched(tmp_path: Path) -> None:
    scores = identity(tmp_path, {1: [(5, ANN)], 2: [(5, BO)], 200: [(5, BO), (4, ANN)]}, [1, 2])
    assert scores["identity"].value == 1.0
    assert scores["identity_1"].value == scores["identity_2"].value == 1.0


def test_only_the_strict_column_goes_below_zero(tmp_path: Path) -> None:
    scores = identity(tmp_path, {1: [(5, ANN)], 200: [(5, [-0.6, 0.8])]}, [1])
    assert scores["identity"].value == 0.0
    assert scores["identity_strict"].value == pytest.approx(-0.6)


def test_a_reference_without_a_face_does_not_apply_and_is_named(tmp_path: Path) -> None:
    score = identity(tmp_path, {1: [], 200: [(5, ANN)]}, [1])["identity"]
    assert score.value is None
    assert str(tmp_path / "1.png") in score.note


def test_a_reference_is_embedded_once(tmp_path: Path) -> None:
    faces = Faces({1: [(5, ANN)], 200: [(5, ANN)], 201: [(5, ANN)]})
    Identity()(Stack("toy", {"faces": lambda: faces}, 4), [generation(tmp_path, [1], p) for p in (200, 201)])
    assert faces.seen.count(1) == 1


class Clip:
    """A picture whose blue channel is 0 is snow, else a hat; remembers the sizes of its batches."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def image_features(self, images: list[np.ndarray]) -> np.ndarray:
        self.batches.append(len(images))
        return np.array([[1.0, 0.0] if image[0, 0, 2] == 0 else [0.6, 0.8] for image in images], np.float32)

    def text_features(self, texts: list[str]) -> np.ndarray:
        return np.array([[1.0, 0.0] if "snow" in text else [0.0, 1.0] for text in texts], np.float32)


def test_prompt_is_the_cosine_and_rank1_the_nearest_prompt(tmp_path: Path) -> None:
    made = [generation(tmp_path, [1], 0, prompt="snow"), generation(tmp_path, [1], 9, prompt="snow"),
            generation(tmp_path, [1], 8, prompt="hat")]  # fmt: skip
    scores = PromptConsistency()(Stack("toy", {"clip": Clip}, 4), made)
    assert [s["prompt"].value for s in scores] == pytest.approx([1.0, 0.6, 0.8])
    assert [s["prompt_rank1"].value for s in scores] == [1.0, 0.0, 1.0]


def test_rank1_does_not_apply_to_a_single_prompt(tmp_path: Path) -> None:
    score = PromptConsistency()(Stack("toy", {"clip": Clip}, 4), [generation(tmp_path, [1], 0)])[0]["prompt_rank1"]
    assert score.value is None
    assert score.note


def test_pictures_go_in_batches(tmp_path: Path) -> None:
    clip = Clip()
    PromptConsistency()(Stack("toy", {"clip": lambda: clip}, 4), [generation(tmp_path, [1], 0)] * (BATCH + 1))
    assert clip.batches == [BATCH, 1]


@pytest.mark.parametrize("metric", [Identity(), PromptConsistency()])
def test_ours_are_metrics_and_score_nothing_for_nothing(metric: Metric) -> None:
    assert isinstance(metric, Metric)
    assert metric(Stack("toy", {"faces": lambda: Faces({}), "clip": Clip}, 4), []) == []


def test_of_several_faces_the_largest_counts_wherever_it_was_found(tmp_path: Path) -> None:
    small, large = (2.0, BO), (5.0, ANN)
    for photo, picture in (([small, large], [large, small]), ([large, small], [small, large])):
        assert identity(tmp_path / str(photo[0][0]), {1: photo, 200: picture}, [1])["identity"].value == 1.0


def test_subjects_scores_stand_in_the_order_of_the_prompt(tmp_path: Path) -> None:
    told = {1: [(5.0, ANN)], 2: [(5.0, BO)], 200: [(5.0, BO), (4.0, [0.6, -0.8])]}
    for photos, expected in (([1, 2], [0.6, 1.0]), ([2, 1], [1.0, 0.6])):
        scores = identity(tmp_path, told, photos)
        assert [scores[f"identity_{place}"].value for place in (1, 2)] == pytest.approx(expected)


def test_a_prompt_competes_with_prompts_of_the_same_subjects_alone(tmp_path: Path) -> None:
    other = generation(tmp_path, [1], 8, prompt="hat")
    woman = replace(other.case.subjects[0], noun="woman")
    made = [generation(tmp_path, [1], 0), other, replace(other, case=replace(other.case, subjects=(woman,)))]
    assert PromptConsistency()(Stack("toy", {"clip": Clip}, 4), made)[0]["prompt_rank1"].value == 1.0
