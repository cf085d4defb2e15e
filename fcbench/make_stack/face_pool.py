"""Pictures of people with the truth of every face: what the face judges are trained on and judged by."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import cv2
import numpy as np
import numpy.typing as npt

from fcbench.make_stack.arrays import read_arrays, write_arrays
from fcbench.types import Image
from fcbench.world import FigureTruth, draw_person, draw_scene, render


@dataclass(frozen=True)
class FacePool:
    """Pictures and their faces; the faces of a picture are neighbours.

    ``images``: uint8 (pictures, 64, 64, 3). For each face ``picture`` is its row in ``images``, ``person`` its
    number, ``boxes`` (faces, 4) and ``keypoints`` (faces, 5, 2) are float32 in pixels.
    """

    images: npt.NDArray[np.uint8]
    picture: npt.NDArray[np.int64]
    person: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float32]
    keypoints: npt.NDArray[np.float32]

    def faces_by_picture(self) -> list[npt.NDArray[np.int64]]:
        """For each picture the rows of its faces."""
        ends = np.flatnonzero(np.diff(self.picture)) + 1
        return np.split(np.arange(len(self.picture)), ends)


def draw_faces(
    people: Sequence[int],
    rounds: int,
    *,
    seed: int,
    sizes: Sequence[int] = (1, 2, 3),
    styles: Sequence[str] | None = None,
) -> FacePool:
    """Draw everybody once a round, in scenes of ``sizes[round % len(sizes)]`` people who are mixed anew each round.

    ``styles``: draw only these; None leaves the style to the scene, which is mostly a photo.
    """
    random = Random(seed)
    images: list[Image] = []
    rows: list[tuple[int, FigureTruth]] = []
    for number in range(rounds):
        size = sizes[number % len(sizes)]
        order = random.sample(list(people), len(people))
        for begin in range(0, len(order), size):
            group = [draw_person(p) for p in order[begin : begin + size]]
            scene = draw_scene(group, random.randrange(1 << 30))
            if styles is not None:
                scene = replace(scene, style=random.choice(list(styles)))
            drawn = render(scene)
            rows += [(len(images), face) for face in drawn.figures]
            images.append(drawn.image)
    return FacePool(
        np.stack(images),
        np.array([picture for picture, _ in rows]),
        np.array([face.person for _, face in rows]),
        np.array([face.face_box for _, face in rows], dtype=np.float32),
        np.stack([face.keypoints for _, face in rows]),
    )


def kept_faces(people: Sequence[int], rounds: int, work: Path, *, seed: int) -> FacePool:
    """What :func:`draw_faces` draws, drawn once into ``work``."""
    file = work / f"faces-{len(people)}.npz"
    if not file.exists():
        print(f"faces: drawing {len(people)} people {rounds} times", file=sys.stderr, flush=True)
        write_arrays(file, vars(draw_faces(people, rounds, seed=seed)))
    return FacePool(**read_arrays(file))


def degrade(image: Image, random: np.random.Generator) -> Image:
    """Half the pictures as they are, the others soft or noisy: judges must read generated pictures, too."""
    kind = random.integers(4)
    if kind == 0:
        return cv2.GaussianBlur(image, (3, 3), float(random.uniform(0.3, 0.9))).astype(np.uint8, copy=False)
    if kind == 1:
        noise = random.normal(0, random.uniform(2, 10), image.shape)
        return np.clip(image + noise, 0, 255).astype(np.uint8)
    return image
