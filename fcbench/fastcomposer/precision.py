"""The precision of the forward pass: what the recipe asks for and the device can do."""

from __future__ import annotations

import torch

from fcbench.config import Recipe
from fcbench.errors import UsageError
from fcbench.loop import cpu_has_bfloat16

_ACCELERATE = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}


def mixed_precision(recipe: Recipe, device: str) -> str:
    """What accelerate calls the recipe's precision on ``device``: ``no``, ``bf16`` or ``fp16``.

    Raises UsageError for float16 on a CPU, which lacks the gradient scaling that it needs.
    """
    wanted = recipe.precision
    if wanted == "auto":
        wanted = "bfloat16" if has_bfloat16(device) else "float32"
    if wanted == "float16" and torch.device(device).type == "cpu":
        raise UsageError(f"recipe {recipe.name!r}: precision float16 needs a GPU; auto takes what the device has")
    return _ACCELERATE[wanted]


def has_bfloat16(device: str) -> bool:
    """Whether the device computes in bfloat16 itself; emulated, it is slower than float32."""
    if torch.device(device).type == "cpu":
        return cpu_has_bfloat16()
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def allow_tf32(device: str, *, allowed: bool) -> None:
    """Whether CUDA may round the remaining float32 products to TF32; elsewhere nothing is changed."""
    if torch.device(device).type == "cuda":
        torch.set_float32_matmul_precision("high" if allowed else "highest")
        torch.backends.cudnn.allow_tf32 = allowed
