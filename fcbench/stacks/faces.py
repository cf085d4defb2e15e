"""The judge of faces: an insightface pack, the miniature's own or a downloaded one."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fcbench.errors import DataError, MissingError, one_line

PACKS = Path("~/.insightface/models")
"""Where insightface keeps downloaded packs."""

_CUDA = "CUDAExecutionProvider"

MODULES = ["detection", "recognition", "genderage"]
"""What is used of a pack; the last, where it has one, to see whether a man and a woman were swapped."""


def load_faces(
    folder: Path | str, det_size: Sequence[int | Sequence[int]], threads: int = 0, device: str = "cpu"
) -> Any:
    """An ``insightface.app.FaceAnalysis`` that scales pictures to ``det_size``.

    It runs on the CPU, or on a GPU if ``device`` is one and onnxruntime was built for it (``onnxruntime-gpu``).

    ``det_size``: (width, height), or several such, whose findings insightface joins. ``folder``: a pack (a folder that
    holds ``det.onnx``, or another detector, and a recogniser), or the bare name of one that insightface has downloaded
    ("buffalo_l"). Nothing is ever downloaded. ``threads`` of onnxruntime: 0 is one a core, 1 is best for networks that
    are done before a second thread has woken. MissingError when the pack or a part of it is absent, DataError when a
    file in it is broken.
    """
    pack = _find(Path(folder))
    try:
        from insightface.app import FaceAnalysis
        from onnxruntime import SessionOptions
    except ImportError as error:
        raise MissingError(f"the judge of faces needs insightface ({error}): pip install insightface") from error
    # insightface calls scikit-image by an old name for every face
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"insightface\.")
    options = SessionOptions()
    options.intra_op_num_threads = threads
    gpu = _gpu(device)
    session = {"providers": [*_on_gpu(gpu), "CPUExecutionProvider"], "sess_options": options}
    try:
        app = FaceAnalysis(name=str(pack), allowed_modules=MODULES, **session)
    except AssertionError as error:
        raise MissingError(f"{pack}: no face detector among its .onnx files; {_mend(pack.name)}") from error
    except Exception as error:  # a torn file: onnxruntime raises a dozen kinds, and names the file
        raise DataError(
            f"{pack}: a network in this face pack cannot be read ({one_line(error)}); {_mend(pack.name)}"
        ) from error
    if "recognition" not in app.models:
        raise MissingError(f"{pack}: no face recogniser among its .onnx files; {_mend(pack.name)}")
    app.prepare(ctx_id=-1 if gpu is None else gpu, det_size=tuple(det_size))
    return app


def _gpu(device: str) -> int | None:
    """The number of the GPU that onnxruntime can use; None stands for the CPU."""
    from onnxruntime import get_available_providers

    if not device.startswith("cuda") or _CUDA not in get_available_providers():
        return None
    return int(device.partition(":")[2] or 0)


def _on_gpu(gpu: int | None) -> list[tuple[str, dict[str, int]]]:
    """In full float32: a judge's figures should not depend on the card used."""
    return [] if gpu is None else [(_CUDA, {"device_id": gpu, "use_tf32": 0})]


def _find(folder: Path) -> Path:
    named = PACKS.expanduser() / folder
    pack = folder if folder.is_dir() or len(folder.parts) > 1 or not named.is_dir() else named
    if not pack.is_dir():
        raise MissingError(f"{pack}: no such face pack; {_mend(folder.name)}")
    if not any(pack.glob("*.onnx")):
        raise MissingError(f"{pack}: no det.onnx in this face pack; {_mend(folder.name)}")
    return pack


def _mend(name: str) -> str:
    if name == "faces":
        return "install fcbench again, or train it with: fcbench make-stack mini"
    return f"get it with: insightface-cli model.download {name}"
