"""The face embedder: a small network in ArcFace's place, trained so that a person's faces lie together.

The loss is supervised contrastive (arXiv 2004.11362): the views of a person differ in pose, clothes, light, place and
style, so only what stays, the person, can be learned.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from insightface.utils.face_align import norm_crop
from torch import Tensor, nn
from torch.nn import functional

from fcbench.files import atomic
from fcbench.loop import Clock, Stateful, cosine, run_steps
from fcbench.make_stack.face_pool import FacePool, degrade
from fcbench.types import Image

CROP = 112
"""The side of the aligned crops that insightface hands over."""
DIMENSIONS = 64
PEOPLE, VIEWS = 48, 4
"""A batch."""
STEPS = 900
TEMPERATURE = 0.1


class Embedder(nn.Module):
    """Aligned crops to embeddings, whose cosine is what counts. Halves its input first: crops hold few real pixels."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.AvgPool2d(2)]
        before = 3
        for width in (32, 64, 128):
            layers += [_conv(before, width, stride=2), _conv(width, width)]
            before = width
        self.features = nn.Sequential(*layers, nn.Conv2d(before, 48, 1), nn.Flatten())
        self.project = nn.Linear(48 * (CROP // 16) ** 2, DIMENSIONS)

    def forward(self, crop: Tensor) -> Tensor:
        """Crops (n, 3, 112, 112), RGB in [-1, 1], as embeddings (n, 64) of any length."""
        embedding: Tensor = self.project(self.features(crop))
        return embedding


def _conv(before: int, after: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)
    )


def supervised_contrastive(embeddings: Tensor, person: Tensor) -> Tensor:
    """The loss of arXiv 2004.11362, equation 2, of embeddings (n, d) whose people are ``person`` (n).

    >>> one = torch.eye(2).repeat_interleave(2, 0)
    >>> float(supervised_contrastive(one, torch.tensor([0, 0, 1, 1]))) < 1e-3
    True
    """
    unit = functional.normalize(embeddings)
    itself = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
    logits = (unit @ unit.T / TEMPERATURE).masked_fill(itself, -torch.inf)
    log_share = logits - logits.logsumexp(dim=1, keepdim=True)
    same = (person[:, None] == person) & ~itself
    return -(log_share.masked_fill(~same, 0).sum(1) / same.sum(1)).mean()


def train_embedder(pool: FacePool, work: Path, clock: Clock, *, seed: int, device: str = "cpu") -> Embedder:
    """Train on a pool; the state is kept in ``work/embedder.pt``. OutOfTimeError when the clock is spent first."""
    torch.manual_seed(seed)
    embedder = Embedder().to(device)
    optimiser = torch.optim.AdamW(embedder.parameters(), lr=3e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda k: cosine(k, STEPS))
    order = np.argsort(pool.person, kind="stable")
    faces = np.split(order, np.flatnonzero(np.diff(pool.person[order])) + 1)
    person = torch.arange(PEOPLE, device=device).repeat_interleave(VIEWS)

    def step(k: int) -> dict[str, float]:
        random = np.random.default_rng((seed, k))
        chosen = random.choice(len(faces), PEOPLE, replace=False)
        rows = np.concatenate([random.choice(faces[i], VIEWS, replace=False) for i in chosen])
        crops = torch.from_numpy(_crops(pool, rows, random)).to(device)
        loss = supervised_contrastive(embedder(crops.permute(0, 3, 1, 2).float() / 127.5 - 1), person)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        return {"loss": loss.item()}

    state: dict[str, Stateful] = {"embedder": embedder, "optimiser": optimiser, "schedule": schedule}
    run_steps("embedder", STEPS, step, state, work / "embedder.pt", clock)
    return embedder.eval()


def export_embedder(embedder: Embedder, path: Path) -> None:
    """Write ``rec.onnx``, for any number of crops."""
    with atomic(path) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter without onnxscript calls itself deprecated
        torch.onnx.export(
            embedder.cpu().eval(),
            (torch.zeros(1, 3, CROP, CROP),),
            str(temporary),
            dynamo=False,
            opset_version=17,
            input_names=["crop"],
            output_names=["embedding"],
            dynamic_axes={"crop": {0: "faces"}, "embedding": {0: "faces"}},
        )


def _crops(pool: FacePool, rows: npt.NDArray[np.int64], random: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Aligned crops of faces, uint8 (n, 112, 112, 3), the keypoints inexact like a detector's."""
    crops: list[Image] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # insightface calls scikit-image by an old name
        for row in rows:
            left, _, right, _ = pool.boxes[row]
            shake = random.normal(0, random.uniform(0, 0.04) * (right - left), (5, 2))
            image = degrade(pool.images[pool.picture[row]], random)
            crops.append(norm_crop(image, pool.keypoints[row] + shake))
    return np.stack(crops)
