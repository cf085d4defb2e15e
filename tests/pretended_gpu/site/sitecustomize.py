"""Python runs this before all else where this folder is on its path: from then on torch has a GPU."""

import ctypes
import os

ctypes.CDLL(os.environ["PRETENDED_GPU"], mode=ctypes.RTLD_GLOBAL)  # before torch asks who drives its GPUs

from tests.pretended_gpu.tensors import install  # noqa: E402

install()
