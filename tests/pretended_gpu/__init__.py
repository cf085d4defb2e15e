"""A GPU where there is none, to find what a processor forgives: see ``tensors.py``."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import torch

HERE = Path(__file__).parent


def environment(folder: Path, *, shapes_alone: bool = False) -> dict[str, str]:
    """What a Python has to be started with for torch to have that GPU, also in its children; needs g++.

    ``shapes_alone``: large tensors have no numbers there, so that models of full size take seconds.
    """
    return {
        **os.environ,
        "PRETENDED_GPU": str(_driver(folder / "driver.so")),
        "PRETENDED_GPU_SHAPES": "1" if shapes_alone else "",
        "PYTHONPATH": os.pathsep.join((str(HERE / "site"), str(HERE.parent.parent))),
    }


def _driver(library: Path) -> Path:
    installed = Path(torch.__file__).parent
    libraries = ["-L", str(installed / "lib"), f"-Wl,-rpath,{installed / 'lib'}", "-lc10", "-ltorch_cpu"]
    options = ["-std=c++20", "-shared", "-fPIC", "-I", str(installed / "include")]
    subprocess.run(["g++", *options, str(HERE / "driver.cpp"), *libraries, "-o", str(library)], check=True)
    return library
