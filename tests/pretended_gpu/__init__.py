"""A GPU where there is none, to find what a CPU forgives: see ``tensors.py``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import torch

HERE = Path(__file__).parent
_PLAIN = torch.version.cuda is None and torch.version.hip is None
POSSIBLE = _PLAIN and sys.platform == "linux" and bool(shutil.which("g++"))
"""It takes a real one's place, so torch must be built for CPUs alone; its driver is compiled by g++."""


def environment(folder: Path, *, shapes_alone: bool = False) -> dict[str, str]:
    """The environment in which a Python and its children have that GPU in torch.

    ``shapes_alone``: large tensors have no numbers there, so that models of full size take seconds.
    """
    return {
        **os.environ,
        "PRETENDED_GPU": str(_driver(folder / "driver.so")),
        "PRETENDED_GPU_SHAPES": "1" if shapes_alone else "",
        "TORCH_AUTOGRAD_SHUTDOWN_WAIT_LIMIT": "0",  # told to stop, autograd's thread may abort the process
        "PYTHONPATH": os.pathsep.join((str(HERE / "site"), str(HERE.parent.parent), os.environ.get("PYTHONPATH", ""))),
    }


def _driver(library: Path) -> Path:
    if not POSSIBLE:
        raise SystemExit("the pretended GPU needs Linux, g++, and a torch that is built for processors alone")
    installed = Path(torch.__file__).parent
    libraries = ["-L", str(installed / "lib"), f"-Wl,-rpath,{installed / 'lib'}", "-lc10", "-ltorch_cpu"]
    options = ["-std=c++20", "-shared", "-fPIC", "-I", str(installed / "include")]
    subprocess.run(["g++", *options, str(HERE / "driver.cpp"), *libraries, "-o", str(library)], check=True)
    return library
