"""The face judges from nothing: detector and embedder as an insightface pack, with its card."""

from __future__ import annotations

from pathlib import Path

from fcbench.files import write_json
from fcbench.loop import Clock
from fcbench.make_stack.detector import export_detector, train_detector
from fcbench.make_stack.embedder import export_embedder, train_embedder
from fcbench.make_stack.face_pool import kept_faces
from fcbench.make_stack.judge_scores import score_faces
from fcbench.stacks.faces import load_faces
from fcbench.world import TRAIN_PEOPLE

DET_SIZE = (64, 64)
"""What the miniature's pictures are scaled to before detection: they have this size already."""
PEOPLE, VIEWS = 6000, 10
"""How many people the judges are trained on, and pictures of each."""


def train_faces(
    out: Path, work: Path, clock: Clock, *, seed: int, device: str, people: int = PEOPLE
) -> dict[str, float]:
    """Train both judges; ``out`` then holds ``det.onnx``, ``rec.onnx`` and ``card.json``, which is returned.

    Pictures and states lie in ``work``: a run that was killed, or raised OutOfTimeError, goes on when it is called
    again.
    """
    pool = kept_faces(TRAIN_PEOPLE[seed * people : (seed + 1) * people], VIEWS, work, seed=seed)
    export_detector(train_detector(pool, work, clock, seed=seed, device=device), out / "det.onnx")
    export_embedder(train_embedder(pool, work, clock, seed=seed, device=device), out / "rec.onnx")
    card = score_faces(load_faces(out, DET_SIZE))
    write_json(out / "card.json", card)
    return card
