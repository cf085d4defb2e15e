"""Arrays that are drawn once and kept, several in a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fcbench.files import atomic


def write_arrays(file: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write arrays by name as one .npz file, whole or not at all."""
    with atomic(file) as temporary, temporary.open("wb") as handle:
        np.savez(handle, **dict[str, Any](arrays))


def read_arrays(file: Path) -> dict[str, npt.NDArray[Any]]:
    """What :func:`write_arrays` wrote."""
    with np.load(file, allow_pickle=False) as saved:
        return {name: saved[name] for name in saved.files}
