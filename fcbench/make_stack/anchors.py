"""Anchors of the face detector, in the order and with the origin of insightface's SCRFD.

At each stride stands a grid of points, the first at (0, 0), with two anchors each: for smaller and for larger faces.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

SIZE = 64
"""The side of the pictures that the detector is trained on."""
STRIDES = (8, 16, 32)
ANCHORS = (2.0, 2.0 * 2**0.5)
"""The sides of the faces that a point's two anchors stand for, in strides."""


@dataclass(frozen=True)
class Grid:
    """All anchors in the order of the outputs: ``points`` (anchors, 2), ``strides`` and ``sides`` (anchors), pixels."""

    points: Tensor
    strides: Tensor
    sides: Tensor


def anchor_grid(size: int = SIZE) -> Grid:
    """The anchors of a picture ``size`` pixels wide and high."""
    points, strides, sides = [], [], []
    for stride in STRIDES:
        y, x = torch.meshgrid(torch.arange(size // stride), torch.arange(size // stride), indexing="ij")
        level = torch.stack([x, y], dim=-1).reshape(-1, 1, 2).expand(-1, len(ANCHORS), 2).reshape(-1, 2) * stride
        points.append(level.float())
        strides.append(torch.full((len(level),), float(stride)))
        sides.append(torch.tensor(ANCHORS).repeat(len(level) // len(ANCHORS)) * stride)
    return Grid(torch.cat(points), torch.cat(strides), torch.cat(sides))


def encode(boxes: Tensor, keypoints: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Boxes (..., anchors, 4) and keypoints (..., anchors, 5, 2) in pixels as the offsets that the network gives."""
    scale = grid.strides[:, None]
    corners = torch.cat([grid.points - boxes[..., :2], boxes[..., 2:] - grid.points], dim=-1) / scale
    return corners, ((keypoints - grid.points[:, None]) / scale[..., None]).flatten(-2)


def decode(offsets: Tensor, grid: Grid) -> Tensor:
    """Box offsets (..., anchors, 4) as boxes [x1, y1, x2, y2] in pixels."""
    distances = offsets * grid.strides[:, None]
    return torch.cat([grid.points - distances[..., :2], grid.points + distances[..., 2:]], dim=-1)


def assign(boxes: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Which face each anchor is to find: rows of ``boxes`` (n, faces, 4) as int64 (n, anchors), -1 for none.

    Beside it, bool (n, anchors): where either answer would do, so that none is asked for. An anchor gets a face when
    its point is near the face's middle and its side near the face's. Boxes of no area are padding.
    """
    extent = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0)
    side = extent.prod(-1).sqrt()
    real = side > 1
    middle = (boxes[..., :2] + boxes[..., 2:]) / 2
    far = (grid.points[:, None] - middle[:, None]).norm(dim=-1)  # (n, anchors, faces)
    bounded = side.clamp(float(grid.sides.min()), float(grid.sides.max()))
    octaves = (grid.sides[:, None] / bounded[:, None]).log2().abs()
    far = torch.where(real[:, None] & (octaves < 0.7), far, torch.inf)
    nearest = far.amin(dim=1, keepdim=True)
    reach = torch.maximum(0.3 * side[:, None], nearest + 0.01)
    close = (far <= reach) & (octaves < 0.4)
    distance, face = torch.where(close, far, torch.inf).min(dim=-1)
    positive = distance.isfinite()
    unsure = (far < 0.6 * side[:, None]).any(dim=-1) & ~positive
    return torch.where(positive, face, -1), unsure


def overlap(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of boxes (..., 4), pairwise by position."""
    low, high = torch.maximum(first[..., :2], second[..., :2]), torch.minimum(first[..., 2:], second[..., 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    areas = [(box[..., 2:] - box[..., :2]).clamp(min=0).prod(-1) for box in (first, second)]
    return shared / (areas[0] + areas[1] - shared).clamp(min=1e-6)
