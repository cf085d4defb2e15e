"""The paper's judge of faces: MTCNN and FaceNet (InceptionResnet-v1, VGGFace2), where the package is importable.

facenet-pytorch 2.6 asks for torch below 2.3, numpy below 2 and Pillow below 10.3, which would break everything else
here. Install it without its dependencies, and only beside a torchvision of the same build as your torch: one for CUDA
beside a torch for CPUs keeps transformers from being imported at all::

    pip install --no-deps facenet-pytorch

FaceNet's weights are read from where PyTorch keeps downloaded ones, and never downloaded: the package itself would
download them, to another folder, if asked for them by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fcbench.errors import MissingError, WeightsError, one_line

INSTALL = "pip install --no-deps facenet-pytorch"
WEIGHTS = "20180402-114759-vggface2.pt"
URL = "https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9/" + WEIGHTS
SIDE = 160


@dataclass(frozen=True)
class FacenetFace:
    """A found face, as the metrics read it."""

    bbox: npt.NDArray[np.float32]
    normed_embedding: npt.NDArray[np.float32]


class Facenet:
    """Detector and embedder as the official evaluation sets them, asked like insightface's ``FaceAnalysis``."""

    def __init__(self, detector: Any, embedder: Any, device: str) -> None:
        self._detector, self._embedder, self._device = detector, embedder, device

    def get(self, bgr: npt.NDArray[np.uint8]) -> list[FacenetFace]:
        """The faces of a picture, uint8 BGR (height, width, 3)."""
        from PIL import Image as Pillow

        picture = Pillow.fromarray(np.ascontiguousarray(bgr[:, :, ::-1]))
        boxes, _ = self._detector.detect(picture)
        if boxes is None or not len(boxes):
            return []
        embeddings = self._embed(self._detector.extract(picture, boxes, None))
        return [FacenetFace(np.asarray(box, np.float32), row) for box, row in zip(boxes, embeddings, strict=True)]

    def blank_embedding(self) -> npt.NDArray[np.float32]:
        """What FaceNet says of the all-zero picture that stands in for a missing face, shape (512,)."""
        import torch

        blank: npt.NDArray[np.float32] = self._embed(torch.zeros(1, 3, SIDE, SIDE))[0]
        return blank

    def _embed(self, crops: Any) -> npt.NDArray[np.float32]:
        import torch

        with torch.no_grad():
            vectors = self._embedder(crops.to(self._device))
        unit: npt.NDArray[np.float32] = (vectors / vectors.norm(dim=1, keepdim=True)).float().cpu().numpy()
        return unit


def weights_file() -> Path:
    """Where PyTorch keeps FaceNet's weights."""
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS


def download(weights: Path) -> str:
    """The command that puts them there."""
    return f"curl -L --create-dirs -o {weights} {URL}"


def load_facenet(*, device: str = "cpu") -> Facenet:
    """The paper's judge; MissingError says how to install the package or where its weights belong."""
    try:
        from facenet_pytorch import MTCNN, InceptionResnetV1
    except ImportError as error:
        raise MissingError(
            f"the judge facenet needs facenet-pytorch ({error}), beside a torchvision of your torch: {INSTALL}"
        ) from error
    weights = weights_file()
    if not weights.is_file():
        raise MissingError(f"{weights}: FaceNet's weights are not there; get them with: {download(weights)}")
    detector = MTCNN(
        image_size=SIDE,
        margin=0,
        min_face_size=20,
        thresholds=[0.6, 0.7, 0.7],
        factor=0.709,
        post_process=True,
        keep_all=True,
        device=device,
    )
    embedder = InceptionResnetV1(pretrained=None, classify=False)
    _read(embedder, weights)
    return Facenet(detector, embedder.eval().to(device), device)


def _read(embedder: Any, file: Path) -> None:
    """Reads the file's weights but not its classifier's: an embedder has no classifier."""
    import pickle

    import torch

    try:
        known = torch.load(file, map_location="cpu", weights_only=True)
        embedder.load_state_dict({name: value for name, value in known.items() if not name.startswith("logits.")})
    except (OSError, RuntimeError, ValueError, EOFError, AttributeError, pickle.UnpicklingError) as error:
        raise WeightsError(f"{file}: not FaceNet's weights ({one_line(error)})") from error
