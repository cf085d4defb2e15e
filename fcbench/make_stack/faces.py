"""The face judges from nothing: detector and embedder as an insightface pack, with its card."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from fcbench.files import write_json
from fcbench.loop import Clock
from fcbench.make_stack.detector import export_detector, train_detector
from fcbench.make_stack.embedder import export_embedder, train_embedder
from fcbench.make_stack.face_pool import draw_faces
from fcbench.make_stack.judge_scores import score_faces
from fcbench.stacks.faces import load_faces
from fcbench.world import TRAIN_PEOPLE

DET_SIZE = (64, 64)
"""What the miniature's pictures are scaled to before detection: nothing, they have this size."""
PEOPLE, VIEWS = 6000, 10
"""Whom the judges are trained on, and in how many pictures each."""


def train_faces(out: Path, clock: Clock, *, seed: int) -> dict[str, float]:
    """Train both judges; ``out`` then holds ``det.onnx``, ``rec.onnx`` and ``card.json``, which is returned.

    States lie in ``out/work``: a run that was killed, or raised OutOfTimeError, goes on when it is
    called again. On a GPU if there is one.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    print(f"faces: drawing {PEOPLE} people {VIEWS} times", file=sys.stderr, flush=True)
    pool = draw_faces(TRAIN_PEOPLE[seed * PEOPLE : (seed + 1) * PEOPLE], VIEWS, seed=seed)
    export_detector(train_detector(pool, out / "work", clock, seed=seed, device=device), out / "det.onnx")
    export_embedder(train_embedder(pool, out / "work", clock, seed=seed, device=device), out / "rec.onnx")
    card = score_faces(load_faces(out, DET_SIZE))
    write_json(out / "card.json", card)
    return card
