"""The reader of attributes: what somebody in a drawn picture wears and holds, where the picture is, in which style.

A small convolutional network, trained on the world's renders by ``make_stack/attributes.py``. It sees no text, so it
judges prompts by other means than CLIP. For people it reads a square around the face, for places and styles the whole
picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from fcbench.files import read_json
from fcbench.images import to_tensor
from fcbench.types import Image
from fcbench.weights import read_folder, refuse_misfit

SIDE = 64
"""The side of the pictures that the network reads."""
REACH = 2.45
"""The side of the square around a face, in sides of the face: from hat to what the hands hold."""
DROP = 0.13
"""How far the square's middle lies below the face's, in heights of the face."""
_BATCH = 128
_LAYERS = ((24, 2), (48, 2), (96, 2), (96, 1), (128, 2))
"""Width and stride."""

Chances: TypeAlias = dict[str, dict[str, float]]
"""For each attribute its answers' probabilities: they sum to 1."""

Box = npt.NDArray[np.floating]
"""A face, [x1, y1, x2, y2] in pixels."""


class AttributeNet(nn.Module):
    """Four halvings, then one layer for all attributes; ``classes`` names each attribute's answers."""

    def __init__(self, classes: Mapping[str, Sequence[str]]) -> None:
        super().__init__()
        self.classes = {name: tuple(answers) for name, answers in classes.items()}
        layers: list[nn.Module] = []
        before, side = 3, SIDE
        for width, stride in _LAYERS:
            layers.append(_conv(before, width, stride))
            before, side = width, side // stride
        self.features = nn.Sequential(*layers, nn.Flatten())
        self.hidden = nn.Sequential(nn.Linear(before * side * side, 128), nn.ReLU(inplace=True))
        self.answers = nn.Linear(128, sum(map(len, self.classes.values())))

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Pictures (n, 3, 64, 64) in [-1, 1] as logits (n, answers) by attribute."""
        flat = self.answers(self.hidden(self.features(pixels)))
        parts = flat.split([len(answers) for answers in self.classes.values()], dim=1)
        return dict(zip(self.classes, parts, strict=True))


def _conv(before: int, after: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)
    )


@dataclass(frozen=True)
class AttributeReader:
    """The trained network, asked in words."""

    net: AttributeNet
    device: str = "cpu"

    def wholes(self, images: Sequence[Image]) -> list[Chances]:
        """What is read from each picture as a whole, of any size: ``context`` and ``style``."""
        return self.chances([whole_view(image) for image in images])

    def figures(self, images: Sequence[Image], faces: Sequence[Sequence[Box]]) -> list[list[Chances]]:
        """What is read around each face of each picture: ``noun``, ``hat``, ``shirt`` and the others."""
        views = [figure_view(image, face) for image, boxes in zip(images, faces, strict=True) for face in boxes]
        read = iter(self.chances(views))
        return [[next(read) for _ in boxes] for boxes in faces]

    def read(self, images: Sequence[Image]) -> list[dict[str, str]]:
        """For each 64 x 64 picture the likeliest answer by attribute; noise for attributes that it does not show."""
        return [{name: max(of, key=of.__getitem__) for name, of in read.items()} for read in self.chances(images)]

    def chances(self, images: Sequence[Image]) -> list[Chances]:
        """For each 64 x 64 picture how likely each answer is."""
        read: list[Chances] = []
        for start in range(0, len(images), _BATCH):
            read += self._chances(images[start : start + _BATCH])
        return read

    @torch.no_grad()
    def _chances(self, images: Sequence[Image]) -> list[Chances]:
        logits = self.net(to_tensor(images, self.device))
        rows = {name: logit.softmax(dim=1).tolist() for name, logit in logits.items()}
        return [
            {name: dict(zip(self.net.classes[name], own[place], strict=True)) for name, own in rows.items()}
            for place in range(len(images))
        ]


def figure_view(image: Image, face: Box) -> Image:
    """The square around a face in which its attributes are read, 64 x 64; black where the picture ends."""
    from PIL import Image as Pillow

    left, top, right, bottom = (float(edge) for edge in face)
    width, height = max(right - left, 1.0), max(bottom - top, 1.0)
    half = REACH * (width * height) ** 0.5 / 2
    x, y = (left + right) / 2, (top + bottom) / 2 + DROP * height
    cut = Pillow.fromarray(image).crop((round(x - half), round(y - half), round(x + half), round(y + half)))
    return np.asarray(cut.resize((SIDE, SIDE), Pillow.Resampling.BILINEAR))


def whole_view(image: Image) -> Image:
    """The whole picture, 64 x 64."""
    from fcbench.images import pad_to_square, resize

    return resize(pad_to_square(image), SIDE)


def save_attributes(folder: Path, net: AttributeNet) -> None:
    """Write the network as it ships: float16 safetensors, and beside it what its answers mean."""
    from safetensors.torch import save_file

    from fcbench.files import atomic, write_json

    with atomic(folder / "model.safetensors") as temporary:
        save_file({name: _half(value) for name, value in net.state_dict().items()}, temporary)
    write_json(folder / "config.json", {"classes": net.classes})


def _half(value: Tensor) -> Tensor:
    return (value.half() if value.is_floating_point() else value).contiguous()


def load_attributes(place: Path, *, device: str = "cpu") -> AttributeReader:
    """The reader from its folder; WeightsError for a file that is absent, broken or does not fit."""
    net = AttributeNet(read_json(place / "config.json")["classes"])
    weights = {
        name: value.float() if value.is_floating_point() else value for name, value in read_folder(place).items()
    }
    refuse_misfit(place, weights, net.state_dict())
    net.load_state_dict(weights)
    return AttributeReader(net.to(device).eval(), device)
