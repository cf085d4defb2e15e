"""The face detector: a small SCRFD (arXiv 2105.04714) with the nine outputs that insightface reads.

Each anchor says how sure it is of a face, how far the box's edges are (left, top, right, bottom) and where the five
keypoints are, in strides from its point.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from fcbench.files import atomic
from fcbench.loop import Clock, Stateful, cosine, run_steps
from fcbench.make_stack.anchors import ANCHORS, SIZE, STRIDES, Grid, anchor_grid, assign, decode, encode, overlap
from fcbench.make_stack.face_pool import FacePool, degrade
from fcbench.types import Image

BATCH = 64
STEPS = 1500
_WIDTHS = (16, 32, 64, 64, 64)
_OUTPUTS = (1, 4, 10)
_MIRRORED = [1, 0, 2, 4, 3]


class Detector(nn.Module):
    """A backbone of five halvings, a top-down pyramid over the last three, and one head a level."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        before = 3
        for i, width in enumerate(_WIDTHS):
            stage = nn.Sequential(_conv(before, width, stride=2))
            if i:
                stage.append(_conv(width, width))
            self.stages.append(stage)
            before = width
        self.lateral = nn.ModuleList(nn.Conv2d(width, 64, 1) for width in _WIDTHS[2:])
        self.heads = nn.ModuleList(nn.Sequential(_conv(64, 64), _output(64)) for _ in STRIDES)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Pictures (n, 3, h, w), ``(x - 127.5) / 128``, as logits, box and keypoint offsets.

        Nine tensors (n, anchors of the level, 1 | 4 | 10): all levels' logits, all boxes, all keypoints.
        """
        levels = []
        for stage in self.stages:
            image = stage(image)
            levels.append(image)
        maps = [lateral(level) for lateral, level in zip(self.lateral, levels[2:], strict=True)]
        for i in (1, 0):
            maps[i] = maps[i] + functional.interpolate(maps[i + 1], scale_factor=2.0, mode="nearest")
        found: tuple[list[Tensor], ...] = ([], [], [])
        for head, level in zip(self.heads, maps, strict=True):
            parts = head(level).split([len(ANCHORS) * size for size in _OUTPUTS], dim=1)
            for tensors, part, size in zip(found, parts, _OUTPUTS, strict=True):
                tensors.append(part.permute(0, 2, 3, 1).reshape(len(part), -1, size))
        return tuple(tensor for tensors in found for tensor in tensors)


class _Exported(nn.Module):
    """The detector as insightface calls it: one picture, scores in [0, 1], no batch axis."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        outputs = [tensor.flatten(0, 1) for tensor in self.detector(image)]
        return (*(logit.sigmoid() for logit in outputs[:3]), *outputs[3:])


def _conv(before: int, after: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)
    )


def _output(before: int) -> nn.Conv2d:
    layer = nn.Conv2d(before, len(ANCHORS) * sum(_OUTPUTS), 1)
    assert layer.bias is not None
    nn.init.constant_(layer.bias.data[: len(ANCHORS)], -3.0)  # at first no anchor sees a face
    return layer


def detector_loss(outputs: tuple[Tensor, ...], boxes: Tensor, keypoints: Tensor, grid: Grid) -> Tensor:
    """Quality focal loss on the scores (arXiv 2006.04388), IoU and L1 on the boxes, L1 on the keypoints.

    ``boxes``: (n, faces, 4), zeros where a picture has fewer faces; ``keypoints``: (n, faces, 5, 2); pixels.
    """
    logits, offsets, points = (torch.cat(outputs[i : i + 3], dim=1) for i in (0, 3, 6))
    face, unsure = assign(boxes, grid)
    positive = face >= 0
    rows = torch.arange(len(boxes), device=boxes.device)[:, None].expand_as(face)
    true_boxes, true_points = boxes[rows, face.clamp(min=0)], keypoints[rows, face.clamp(min=0)]
    true_offsets, true_point_offsets = encode(true_boxes, true_points, grid)
    iou = overlap(decode(offsets, grid), true_boxes)
    quality = torch.where(positive, iou.detach(), 0.0)
    logits = logits.squeeze(-1)
    focal = (quality - logits.sigmoid()) ** 2 * functional.binary_cross_entropy_with_logits(
        logits, quality, reduction="none"
    )
    count = positive.sum().clamp(min=1)
    units = (grid.sides / grid.strides)[None, :, None]  # so that small and large faces weigh the same
    box = ((offsets - true_offsets) / units)[positive].abs().sum() + (1 - iou)[positive].sum()
    point = ((points - true_point_offsets) / units)[positive].abs().sum()
    return (2 * focal[~unsure].sum() + box + 0.5 * point) / count


def train_detector(pool: FacePool, work: Path, clock: Clock, *, seed: int, device: str = "cpu") -> Detector:
    """Train on a pool; the state is kept in ``work/detector.pt``. OutOfTimeError when the clock is spent first."""
    torch.manual_seed(seed)
    detector = Detector().to(device)
    optimiser = torch.optim.AdamW(detector.parameters(), lr=4e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda k: cosine(k, STEPS))
    grid = anchor_grid()
    grid = Grid(grid.points.to(device), grid.strides.to(device), grid.sides.to(device))
    faces = pool.faces_by_picture()

    def step(k: int) -> dict[str, float]:
        random = np.random.default_rng((seed, k))
        samples = [_sample(pool, faces[i], random) for i in random.integers(len(faces), size=BATCH)]
        image, boxes, keypoints = (torch.from_numpy(np.stack(part)).to(device) for part in zip(*samples, strict=True))
        pixels = (image.permute(0, 3, 1, 2).float() - 127.5) / 128
        loss = detector_loss(detector(pixels), boxes, keypoints, grid)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(detector.parameters(), 10.0)
        optimiser.step()
        schedule.step()
        return {"loss": loss.item()}

    state: dict[str, Stateful] = {"detector": detector, "optimiser": optimiser, "schedule": schedule}
    run_steps("detector", STEPS, step, state, work / "detector.pt", clock)
    return detector.eval()


def export_detector(detector: Detector, path: Path) -> None:
    """Write ``det.onnx``; picture sizes: multiples of 32."""
    names = [f"{kind}_{stride}" for kind in ("score", "bbox", "kps") for stride in STRIDES]
    with atomic(path) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter without onnxscript calls itself deprecated
        torch.onnx.export(
            _Exported(detector).cpu().eval(),
            (torch.zeros(1, 3, SIZE, SIZE),),
            str(temporary),
            dynamo=False,
            opset_version=17,
            input_names=["image"],
            output_names=names,
            dynamic_axes={"image": {2: "height", 3: "width"}, **{name: {0: f"{name}_anchors"} for name in names}},
        )


def _sample(
    pool: FacePool, rows: npt.NDArray[np.int64], random: np.random.Generator
) -> tuple[Image, npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """A picture and its faces, three rows of boxes and keypoints, moved, zoomed and mirrored."""
    image = pool.images[pool.picture[rows[0]]]
    zoom, shift = 1.0, np.zeros(2)
    if random.random() < 0.5:
        zoom, shift = random.uniform(0.7, 1.5), random.uniform(-8, 8, 2)
    mirror = random.random() < 0.5
    scale = np.array([-zoom if mirror else zoom, zoom])
    offset = SIZE / 2 - scale * SIZE / 2 + shift
    x, y = offset + 0.5 * scale - 0.5  # OpenCV counts from a pixel's middle, the truth from its corner
    matrix = np.array([[scale[0], 0, x], [0, scale[1], y]])
    moved = cv2.warpAffine(image, matrix, (SIZE, SIZE), borderMode=cv2.BORDER_REPLICATE).astype(np.uint8, copy=False)
    boxes, keypoints = np.zeros((3, 4), np.float32), np.zeros((3, 5, 2), np.float32)
    corners = pool.boxes[rows].reshape(-1, 2, 2) * scale + offset
    points = pool.keypoints[rows] * scale + offset
    for i, (corner, point) in enumerate(zip(corners, points, strict=True)):
        middle = corner.mean(axis=0)
        if (middle > 0).all() and (middle < SIZE).all():
            boxes[i] = [*corner.min(axis=0), *corner.max(axis=0)]
            keypoints[i] = point[_MIRRORED] if mirror else point
    return degrade(moved, random), boxes, keypoints
