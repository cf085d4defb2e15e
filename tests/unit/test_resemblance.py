"""The optional metrics, and the paper's judge behind a package that is not installed."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from fcbench.errors import MissingError, WeightsError
from fcbench.files import digest_place
from fcbench.metrics.identity import FacenetIdentity
from fcbench.metrics.resemblance import ClipImage, CopyPaste, Dino, Diversity
from fcbench.score import _header, chosen_metrics
from fcbench.stacks.facenet import WEIGHTS, load_facenet
from fcbench.types import Case, Generation, Metric, Prompt, Score, Stack, Subject
from tests.unit.test_metrics import Faces, blue

SNOW = Prompt("snow", "{} in the snow", "context")


class Clip:
    """A picture's features are an angle, told by its blue channel in degrees."""

    def image_features(self, images: list[np.ndarray]) -> np.ndarray:
        angles = np.radians([int(image[0, 0, 2]) for image in images])
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def made(tmp_path: Path, photos: list[list[int]], picture: int, *, seed: int = 0) -> Generation:
    people = [
        Subject(f"s{own[0]}", "man", tuple(blue(tmp_path / f"{level}.png", level) for level in own)) for own in photos
    ]
    return Generation(Case(tuple(people), SNOW, seed), blue(tmp_path / f"d{picture}.png", picture), 0, 0, 0, 0)


def test_clip_i_is_the_mean_cosine_to_the_references(tmp_path: Path) -> None:
    (row,) = ClipImage()(Stack("toy", {"clip": Clip}, 4), [made(tmp_path, [[0], [60]], 30)])
    assert row["clip_i"].value == pytest.approx(np.cos(np.radians(30)), abs=1e-6)


def test_a_pasted_reference_is_told_from_a_person_drawn_anew(tmp_path: Path) -> None:
    faces = {1: [1.0, 0.0], 2: [0.6, 0.8], 3: [0.6, -0.8], 200: [1.0, 0.0], 201: [0.8, 0.6]}
    stack = Stack("toy", {"faces": lambda: Faces({level: [(5.0, face)] for level, face in faces.items()})}, 4)
    pasted, anew = CopyPaste()(stack, [made(tmp_path, [[1, 2, 3]], level) for level in (200, 201)])
    assert pasted["copy_paste"].value == pytest.approx(1 - 0.6)
    assert anew["copy_paste"].value == pytest.approx(0.8 - (0.96 + 0.0) / 2)
    (alone,) = CopyPaste()(stack, [made(tmp_path, [[1]], 200)])
    assert alone["copy_paste"] == Score(None, "a subject has no second photo with a face")


def test_where_the_reference_shows_no_face_no_other_photo_stands_in_for_it(tmp_path: Path) -> None:
    faces = {2: [0.6, 0.8], 3: [0.6, -0.8], 200: [1.0, 0.0]}
    stack = Stack("toy", {"faces": lambda: Faces({level: [(5.0, face)] for level, face in faces.items()} | {1: []})}, 4)
    (row,) = CopyPaste()(stack, [made(tmp_path, [[1, 2, 3]], 200)])
    assert row["copy_paste"] == Score(None, f"no face in the reference photo {tmp_path / '1.png'}")


def test_diversity_is_over_the_seeds_of_one_prompt(tmp_path: Path) -> None:
    rows = Diversity()(
        Stack("toy", {"clip": Clip}, 4),
        [made(tmp_path, [[1]], 0), made(tmp_path, [[2]], 10), made(tmp_path, [[1]], 90, seed=1)],
    )
    assert [row["diversity"].value for row in rows] == [pytest.approx(1.0), None, pytest.approx(1.0)]


def test_dino_that_is_not_there_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="hf download nobody/nothing"):
        Dino(model="nobody/nothing")(Stack("toy", {}, 4), [made(tmp_path, [[1]], 0)])


def test_dino_is_known_by_the_commit_that_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    cached = tmp_path / "models--facebook--dinov2-base"
    assert _header(Dino(), {}, "")["judges"] == {"dino": None}
    for commit in ("a" * 40, "b" * 40):
        (cached / "snapshots" / commit).mkdir(parents=True)
        (cached / "snapshots" / commit / "config.json").write_text("{}")
        (cached / "refs").mkdir(exist_ok=True)
        (cached / "refs" / "main").write_text(commit)
        assert _header(Dino(), {}, "")["judges"] == {"dino": commit}
    assert Dino(model=str(tmp_path / "no" / "folder")).judges() == {"dino": None}
    folder = cached / "snapshots" / ("a" * 40)
    assert _header(Dino(model=str(folder)), {}, "")["judges"] == {"dino": digest_place(str(folder))}


@pytest.mark.parametrize("metric", [ClipImage(), Dino(), CopyPaste(), Diversity(), FacenetIdentity()])
def test_the_extras_are_metrics_that_are_scored_only_when_named(metric: Metric) -> None:
    assert isinstance(metric, Metric)
    assert metric(Stack("toy", {}, 4), []) == []
    assert metric.name not in {default.name for default in chosen_metrics().values()}


def test_a_metric_that_is_named_joins_the_usual_ones() -> None:
    named = chosen_metrics(["fcbench.metrics.resemblance:Diversity"])
    assert named.keys() == {*chosen_metrics(), "diversity"}


class Detector:
    def __init__(self, **settings: Any) -> None:
        assert (settings["image_size"], settings["margin"], settings["min_face_size"]) == (160, 0, 20)
        assert settings["thresholds"] == [0.6, 0.7, 0.7]

    def detect(self, picture: Any) -> Any:
        if np.asarray(picture)[0, 0, 2] == 0:
            return None, [None]
        return np.array([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 3.0, 3.0]]), np.array([0.9, 0.8])

    def extract(self, picture: Any, boxes: Any, path: None) -> Any:
        import torch

        return torch.arange(1.0, 1 + len(boxes))[:, None, None, None].expand(-1, 3, 160, 160)


class Embedder:
    def __init__(self, *, pretrained: None, classify: bool) -> None:
        """By name the package would download weights, to a folder of its own."""
        assert (pretrained, classify) == (None, False)

    def load_state_dict(self, weights: dict[str, torch.Tensor]) -> None:
        if set(weights) != {"last_linear.weight"}:
            raise RuntimeError("Unexpected key(s)")

    def eval(self) -> Embedder:
        return self

    def to(self, device: str) -> Embedder:
        return self

    def __call__(self, crops: Any) -> Any:
        level = crops[:, 0, 0, 0]
        return torch.stack([level, torch.ones_like(level)], dim=1)


def test_facenet_s_absence_says_how_to_install_it_without_old_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "facenet_pytorch", None)
    with pytest.raises(MissingError, match="pip install --no-deps facenet-pytorch"):
        load_facenet()


def test_facenet_is_asked_as_the_official_code_asks_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = ModuleType("facenet_pytorch")
    package.MTCNN, package.InceptionResnetV1 = Detector, Embedder  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "facenet_pytorch", package)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(MissingError, match=WEIGHTS):
        load_facenet()
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    file = tmp_path / "hub" / "checkpoints" / WEIGHTS
    file.write_bytes(b"no weights")
    with pytest.raises(WeightsError, match="not FaceNet's weights"):
        load_facenet()
    torch.save({"last_linear.weight": torch.ones(2), "logits.weight": torch.ones(2)}, file)
    judge = load_facenet()
    assert judge.get(np.zeros((4, 4, 3), np.uint8)) == []
    assert judge.blank_embedding().tolist() == [0.0, 1.0]
    stack = Stack("toy", {"facenet": lambda: judge}, 4)
    people = [[11], [12]]
    (row,) = FacenetIdentity()(stack, [made(tmp_path, people, 200)])
    # Both photos' largest face is the second found, (2, 1); the picture's are (2, 1) and (1, 1).
    assert row["identity_facenet"].value == pytest.approx(3 / 10**0.5, abs=1e-6)
    assert row["identity_facenet_strict_mean"].value == pytest.approx((1 + 3 / 10**0.5) / 2, abs=1e-6)
    assert row["faces_facenet"].value == 2.0
