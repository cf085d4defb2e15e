"""Python runs this before all else if this folder is on its path: from then on torch has a GPU."""

import ctypes
import os

if driver := os.environ.get("PRETENDED_GPU"):
    ctypes.CDLL(driver, mode=ctypes.RTLD_GLOBAL)  # before torch asks who drives its GPUs

    from tests.pretended_gpu.tensors import install

    install()
