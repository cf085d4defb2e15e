from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fcbench.errors import OutOfTimeError
from fcbench.files import read_json
from fcbench.loop import Clock
from fcbench.make_stack import detector, embedder, face_pool, faces, judge_scores
from fcbench.make_stack.detector import train_detector
from fcbench.make_stack.embedder import train_embedder
from fcbench.make_stack.face_pool import FacePool, draw_faces
from fcbench.make_stack.judge_scores import FIRST, equal_error_rate, find_faces, pair_cosines
from fcbench.stacks import find_stack
from fcbench.stacks.faces import load_faces
from fcbench.world import TRAIN_PEOPLE


class FakeFace:
    def __init__(self, bbox: Any, det_score: float, embedding: Any) -> None:
        self.bbox, self.det_score, self.normed_embedding = np.array(bbox), det_score, np.array(embedding)


class FakeApp:
    def __init__(self, faces: list[FakeFace]) -> None:
        self.faces = faces

    def get(self, image: Any) -> list[FakeFace]:
        return self.faces


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> FacePool:
    monkeypatch.setattr(detector, "STEPS", 3)
    monkeypatch.setattr(detector, "BATCH", 4)
    monkeypatch.setattr(embedder, "STEPS", 3)
    monkeypatch.setattr(embedder, "PEOPLE", 4)
    return draw_faces(range(8), 6, seed=0)


@pytest.mark.parametrize("train", [train_detector, train_embedder])
def test_training_that_ran_out_of_time_goes_on_to_the_same_weights(
    train: Callable[..., torch.nn.Module], small: FacePool, tmp_path: Path
) -> None:
    whole = train(small, tmp_path / "whole", Clock(5), seed=1)
    for _ in range(2):
        with pytest.raises(OutOfTimeError):
            train(small, tmp_path / "parts", Clock(-1), seed=1)
    parts = train(small, tmp_path / "parts", Clock(5), seed=1)
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), parts.state_dict().values(), strict=True))


def test_a_pool_draws_everybody_once_a_round_and_keeps_the_faces_of_a_picture_together() -> None:
    pool = draw_faces(range(7), 3, seed=5, styles=["sepia"])
    assert sorted(pool.person) == sorted(list(range(7)) * 3)
    by_picture = pool.faces_by_picture()
    assert len(by_picture) == len(pool.images) == 7 + 4 + 3
    assert all((pool.picture[rows] == i).all() for i, rows in enumerate(by_picture))
    red, blue = pool.images[..., 0].astype(int), pool.images[..., 2].astype(int)
    assert (red >= blue).all()


@pytest.mark.filterwarnings("ignore:`estimate` is deprecated:FutureWarning")
def test_nobody_is_both_trained_on_and_judged_by(
    small: FacePool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[str, set[int]] = {}

    def noting(module: Any) -> Callable[..., FacePool]:
        def draw(people: Sequence[int], *rest: Any, **options: Any) -> FacePool:
            drawn.setdefault(module.__name__, set()).update(people)
            return draw_faces(people, *rest, **options)

        return draw

    for module in (face_pool, judge_scores):
        monkeypatch.setattr(module, "draw_faces", noting(module))
    monkeypatch.setattr(faces, "score_faces", partial(judge_scores.score_faces, people=6))
    shipped = find_stack("mini").parent / "faces"  # three steps of training find nobody
    monkeypatch.setattr(faces, "load_faces", lambda place, size: load_faces(shipped, size))
    for seed in (0, 1):
        card = faces.train_faces(tmp_path / "faces", tmp_path / str(seed), Clock(5), seed=seed, device="cpu", people=8)
    assert card == read_json(tmp_path / "faces" / "card.json")
    assert len(drawn[face_pool.__name__]) == 16
    assert drawn[judge_scores.__name__] == set(range(FIRST, FIRST + 6))
    assert drawn[face_pool.__name__].isdisjoint(drawn[judge_scores.__name__])
    assert drawn[face_pool.__name__] <= set(TRAIN_PEOPLE)
    assert sorted(path.name for path in (tmp_path / "faces").iterdir()) == ["card.json", "det.onnx", "rec.onnx"]


def test_a_second_box_on_one_face_and_a_box_on_none_are_wrong() -> None:
    pool = draw_faces([3], 1, seed=0)
    box = pool.boxes[0]
    faces = [
        FakeFace(box + 1, 0.6, [1.0, 0.0]),
        FakeFace(box, 0.9, [0.0, 1.0]),
        FakeFace([0, 0, 5, 5], 0.8, [1.0, 0.0]),
    ]
    found = find_faces(FakeApp(faces), pool)
    assert found.detections == 3
    assert found.person.tolist() == [3]
    assert found.embeddings.tolist() == [[0.0, 1.0]]


def test_pairs_are_counted_once_and_split_by_person() -> None:
    embeddings = np.array([[1.0, 0], [1, 0], [0, 1]], dtype=np.float32)
    same, different = pair_cosines(embeddings, np.array([7, 7, 8]))
    assert same.tolist() == [1.0]
    assert different.tolist() == [0.0, 0.0]
    assert equal_error_rate(same, different) == 0.0


def test_a_mirrored_picture_keeps_its_faces_where_they_are_drawn() -> None:
    pool = draw_faces([3], 1, seed=0)
    mask = np.zeros((1, 64, 64, 3), np.uint8)
    mask[0, 20:40, 10:26] = 255
    boxes, points = np.array([[10, 20, 26, 40]], np.float32), np.zeros((1, 5, 2), np.float32)
    marked = FacePool(mask, pool.picture, pool.person, boxes, points)
    for seed in range(20):
        image, moved, _ = detector._sample(marked, np.array([0]), np.random.default_rng(seed))
        weight = (image[..., 0] > 127).astype(float)
        middle = [(weight.sum(axis) * (np.arange(64) + 0.5)).sum() / weight.sum() for axis in (0, 1)]
        if moved[0].min() > 0 and moved[0].max() < 64:
            assert np.allclose(middle, (moved[0, :2] + moved[0, 2:]) / 2, atol=0.6)
