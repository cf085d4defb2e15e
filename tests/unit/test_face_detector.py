from pathlib import Path

import numpy as np
import pytest
import torch

from fcbench.make_stack.anchors import STRIDES, anchor_grid, assign, decode, encode
from fcbench.make_stack.detector import Detector, detector_loss, export_detector
from fcbench.make_stack.embedder import Embedder, export_embedder, supervised_contrastive
from fcbench.make_stack.face_pool import FacePool, draw_faces
from fcbench.stacks.faces import load_faces

pytestmark = pytest.mark.filterwarnings("ignore:`estimate` is deprecated:FutureWarning")


@pytest.fixture(scope="module")
def pool() -> FacePool:
    return draw_faces(range(12), 6, seed=0)


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Detector, Embedder]:
    folder = tmp_path_factory.mktemp("pack")
    torch.manual_seed(0)
    detector, embedder = Detector().eval(), Embedder().eval()
    export_detector(detector, folder / "det.onnx")
    export_embedder(embedder, folder / "rec.onnx")
    return folder, detector, embedder


def padded(pool: FacePool) -> tuple[torch.Tensor, torch.Tensor]:
    boxes, keypoints = torch.zeros(len(pool.images), 3, 4), torch.zeros(len(pool.images), 3, 5, 2)
    for i, rows in enumerate(pool.faces_by_picture()):
        boxes[i, : len(rows)] = torch.from_numpy(pool.boxes[rows])
        keypoints[i, : len(rows)] = torch.from_numpy(pool.keypoints[rows])
    return boxes, keypoints


def test_boxes_survive_encoding_and_decoding() -> None:
    grid = anchor_grid()
    boxes = torch.rand(5, 1, 4) * 30 + torch.tensor([0.0, 0, 30, 30])
    offsets, points = encode(boxes, torch.zeros(5, 1, 5, 2), grid)
    assert torch.allclose(decode(offsets, grid), boxes.expand(-1, len(grid.sides), -1), atol=1e-4)
    assert torch.allclose(points[0, :, :2] * grid.strides[:, None], -grid.points)


def test_every_face_of_the_world_has_anchors_and_padding_has_none(pool: FacePool) -> None:
    boxes, _ = padded(pool)
    face, unsure = assign(boxes, anchor_grid())
    for i, rows in enumerate(pool.faces_by_picture()):
        assert set(face[i].tolist()) == {-1, *range(len(rows))}
    assert not (unsure & (face >= 0)).any()


def test_an_anchor_between_two_faces_finds_the_nearer_one() -> None:
    boxes = torch.tensor([[[4.0, 8, 20, 24], [16, 8, 32, 24]]])
    grid = anchor_grid()
    face, _ = assign(boxes, grid)
    middles = torch.tensor([[12.0, 16], [24.0, 16]])
    found = face[0] >= 0
    nearest = torch.cdist(grid.points[found], middles).argmin(1)
    exact = (torch.cdist(grid.points[found], middles).diff(dim=1) != 0).squeeze(1)
    assert torch.equal(face[0][found][exact], nearest[exact])


def test_the_loss_of_the_truth_is_nothing_and_of_a_shifted_box_is_more(pool: FacePool) -> None:
    boxes, keypoints = padded(pool)
    grid = anchor_grid()
    face, _ = assign(boxes, grid)
    rows = torch.arange(len(boxes))[:, None].expand_as(face)
    offsets, points = encode(boxes[rows, face.clamp(min=0)], keypoints[rows, face.clamp(min=0)], grid)
    logits = torch.where(face >= 0, 12.0, -12.0)[..., None]
    levels = [len(grid.strides[grid.strides == stride]) for stride in STRIDES]
    outputs = tuple(part for tensor in (logits, offsets, points) for part in torch.split(tensor, levels, dim=1))
    shifted = (*outputs[:3], *(part + 0.2 for part in outputs[3:6]), *outputs[6:])
    assert detector_loss(outputs, boxes, keypoints, grid) < 1e-3
    assert detector_loss(shifted, boxes, keypoints, grid) > 0.05


def test_insightface_reads_the_nine_outputs_as_they_are_meant(
    untrained: tuple[Path, Detector, Embedder], pool: FacePool
) -> None:
    folder, detector, _ = untrained
    network = load_faces(folder, (64, 64)).det_model
    network.det_thresh, network.nms_thresh = 0.0, 1.0
    assert network.output_names[::3] == ["score_8", "bbox_8", "kps_8"]
    read, keypoints = network.detect(np.ascontiguousarray(pool.images[0][:, :, ::-1]))
    pixels = (torch.from_numpy(pool.images[0]).permute(2, 0, 1)[None].float() - 127.5) / 128
    with torch.no_grad():
        outputs = detector(pixels)
    logits, offsets, points = (torch.cat(outputs[i : i + 3], dim=1)[0] for i in (0, 3, 6))
    grid = anchor_grid()
    placed = grid.points[:, None] + points.reshape(-1, 5, 2) * grid.strides[:, None, None]
    meant = torch.cat([decode(offsets, grid), logits.sigmoid(), placed.flatten(1)], dim=1)
    got = torch.from_numpy(np.hstack([read, keypoints.reshape(-1, 10)]))
    apart = (got[:, None] - meant[None]).abs().amax(dim=-1)
    assert apart.shape == (168, 168)
    assert sorted(apart.argmin(1).tolist()) == list(range(168))
    assert apart.amin(1).max() < 1e-3


@pytest.mark.parametrize("size", [64, 128])
def test_a_pack_without_training_runs_at_any_size(untrained: tuple[Path, Detector, Embedder], size: int) -> None:
    app = load_faces(untrained[0], (size, size))
    app.det_model.det_thresh = 0.0
    faces = app.get(np.full((96, 64, 3), 90, np.uint8))
    assert faces
    assert faces[0].kps.shape == (5, 2)
    assert faces[0].normed_embedding.shape == (64,)


def test_the_exported_embedder_gives_what_the_trained_one_gives(untrained: tuple[Path, Detector, Embedder]) -> None:
    folder, _, embedder = untrained
    crops = [np.random.default_rng(i).integers(0, 256, (112, 112, 3), dtype=np.uint8) for i in range(2)]
    read = load_faces(folder, (64, 64)).models["recognition"].get_feat(crops)
    rgb = torch.from_numpy(np.stack(crops)[..., ::-1].copy()).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        assert np.allclose(read, embedder(rgb), atol=1e-4)


def test_the_contrastive_loss_prefers_faces_of_one_person_together() -> None:
    person = torch.tensor([0, 0, 1, 1])
    together = torch.eye(2).repeat_interleave(2, 0)
    assert supervised_contrastive(together, person) < supervised_contrastive(together[[0, 2, 1, 3]], person)
