"""Tensors on "cuda" that live in main memory, and refuse what a GPU's refuse.

Two devices in one operation, arrays of what is on the GPU, generators of the wrong device: a CPU forgives them all.
Speed, rounding, kernels that a GPU lacks and what libraries take besides tensors are not modelled; and what was saved
from the GPU is read back to the CPU, whatever ``map_location`` says.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import torch
from torch.nn import functional
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import (
    TorchDispatchMode,
    _disable_current_modes,
    return_and_correct_aliasing,
)

from tests.pretended_gpu.memory import Hold, memory
from tests.pretended_gpu.shapes import with_numbers, without_numbers

aten = torch.ops.aten
NAME = "Pretended GPU"
SHAPES_ALONE = bool(os.environ.get("PRETENDED_GPU_SHAPES"))
"""Whether large tensors have no numbers."""
CROSSING = {aten._to_copy, aten.copy_, aten.set_}
"""Operations that move between devices."""
INDEXED = {aten.index, aten.index_put, aten.index_put_}
"""Operations that take indices from the CPU too."""
JOINING = {aten.cat, aten.stack, aten.embedding, aten.index_select, aten.gather}
"""Operations that take nothing from the CPU; others take tensors without dimensions."""


class Held(torch.Tensor):
    """A tensor on the pretended GPU; ``held`` has its numbers."""

    held: torch.Tensor
    hold: Hold

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> Held:
        made: Held = torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            layout=held.layout,
            device=torch.device("cuda", 0),
            requires_grad=held.requires_grad,
        )
        made.held = held
        made.hold = memory.hold(held.untyped_storage())
        return made

    @property
    def data(self) -> torch.Tensor:
        """The tensor without its history; what is set replaces it."""
        return self.detach()

    @data.setter
    def data(self, value: torch.Tensor) -> None:
        torch.Tensor.data.__set__(self, value)  # type: ignore[attr-defined]
        self.held, self.hold = cast(Held, value).held, cast(Held, value).hold

    def numpy(self, *, force: bool = False) -> Any:
        """The numbers if they are fetched by ``force``; TypeError otherwise, as on a GPU."""
        if not force:
            raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")
        return with_numbers(self.held.detach()).numpy()

    def __array__(self, dtype: Any = None) -> Any:
        return self.numpy()

    def tolist(self) -> Any:
        """The numbers, fetched."""
        return with_numbers(self.held).tolist()

    def untyped_storage(self) -> Any:
        """Where the numbers lie: in one place for two tensors that share them."""
        return self.held.untyped_storage()

    def __deepcopy__(self, memo: dict[int, Any]) -> torch.Tensor:
        """A tensor with numbers of its own, counted anew; torch's way would copy ``hold`` too."""
        made = self.detach().clone().requires_grad_(self.requires_grad)
        if isinstance(self, torch.nn.Parameter):
            made._is_param = True
        memo[id(self)] = made
        return made

    def __reduce_ex__(self, protocol: Any) -> Any:
        """A file holds the numbers, and is read back to the CPU."""
        return self.held.__reduce_ex__(protocol)

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"Held({self.held!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        return compute(func, args, kwargs or {})

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]


class Pretending(TorchDispatchMode):
    """Makes tensors on the pretended GPU wherever "cuda" is asked for."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(func, args, kwargs or {})


def compute(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Run an operation on the numbers, if a GPU would; its results are where a GPU would leave them."""
    tensors = [x for x in pytree.tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
    on_gpu = _is_on_gpu(func, args, kwargs, tensors)
    _check(func, args, kwargs, tensors, on_gpu)
    numbers, options = pytree.tree_map_only(Held, lambda x: x.held, (args, kwargs))
    if on_gpu and options.get("device") is not None:
        options = {**options, "device": torch.device("cpu")}
    held = any(isinstance(x, Held) for x in tensors)
    call = KERNELS.get(func.overloadpacket, func)
    if SHAPES_ALONE and (held or on_gpu):
        made = without_numbers(call, func, numbers, options)
        made = made if on_gpu else with_numbers(made)
    else:
        made = call(*numbers, **options)
    if not on_gpu:
        return made
    made = pytree.tree_map_only(torch.Tensor, Held, made)
    return return_and_correct_aliasing(func, args, kwargs, made) if held else made


def _is_on_gpu(func: Any, args: Any, kwargs: dict[str, Any], tensors: list[torch.Tensor]) -> bool:
    if func.overloadpacket is aten.copy_:
        return isinstance(args[0], Held)
    if kwargs.get("device") is not None:
        return torch.device(kwargs["device"]).type == "cuda"
    return any(isinstance(x, Held) for x in tensors)


def _check(func: Any, args: Any, kwargs: dict[str, Any], tensors: list[torch.Tensor], on_gpu: bool) -> None:
    packet, generator = func.overloadpacket, kwargs.get("generator")
    if on_gpu and generator is not None and generator.device.type == "cpu":
        raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
    if packet in CROSSING or not any(isinstance(x, Held) for x in tensors):
        return
    if packet in INDEXED and isinstance(args[0], Held):
        tensors = [args[0], *args[2:]]
    near = [x for x in tensors if isinstance(x, torch.Tensor) and not isinstance(x, Held) and x.device.type == "cpu"]
    written = args[:1] if func._schema.is_mutable else ()
    if any(x.dim() or packet in JOINING or any(x is place for place in written) for x in near):
        raise RuntimeError(f"Expected all tensors to be on the same device, but found cuda:0 and cpu! ({func})")


def _softmax(x: torch.Tensor, dim: int, half_to_float: bool) -> torch.Tensor:
    made: torch.Tensor = aten._softmax(x.float() if half_to_float else x, dim, False)
    return made


def _softmax_backward(grad: torch.Tensor, made: torch.Tensor, dim: int, dtype: torch.dtype) -> torch.Tensor:
    found: torch.Tensor = aten._softmax_backward_data(grad, made, dim, made.dtype)
    return found.to(dtype)


KERNELS: dict[Any, Any] = {aten._softmax: _softmax, aten._softmax_backward_data: _softmax_backward}
"""What a GPU computes from half precision to float in one step, and a CPU does not."""


_plain_attention = functional.scaled_dot_product_attention


def _attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
    """As on a GPU, in pieces: torch would multiply it out for a device that it has no kernels for."""
    mask = options.get("attn_mask")
    masked_by_bool = mask is not None and mask.dtype is torch.bool
    if args or not isinstance(query, Held) or query.dim() != 4 or options.get("dropout_p") or masked_by_bool:
        return _plain_attention(query, key, value, *args, **options)
    attend, causal = aten._scaled_dot_product_flash_attention_for_cpu, bool(options.get("is_causal"))
    made: torch.Tensor = attend(query, key, value, 0.0, causal, attn_mask=mask, scale=options.get("scale"))[0]
    return made


def install() -> None:
    """Let torch have one GPU from now on, in this process."""
    for name, value in _CUDA.items():
        setattr(torch.cuda, name, value)
    for name in ("getDevice", "exchangeDevice", "maybeExchangeDevice"):
        setattr(torch._C, f"_cuda_{name}", lambda device=0: 0)
    functional.scaled_dot_product_attention = _attention
    torch.nn.Module._apply = _apply  # type: ignore[method-assign]
    torch.onnx.export = _export
    torch._C._set_only_lift_cpu_tensors(True)  # tensors made from numbers go to their device in plain sight
    Pretending().__enter__()  # type: ignore[no-untyped-call]


_plain_export = torch.onnx.export


def _export(*args: Any, **kwargs: Any) -> Any:
    """Models are exported on the CPU, and the exporter does not see what a mode computes."""
    with _disable_current_modes():
        return _plain_export(*args, **kwargs)


_plain_apply = torch.nn.Module._apply


def _apply(module: torch.nn.Module, change: Callable[[torch.Tensor], torch.Tensor], *rest: Any) -> torch.nn.Module:
    """A parameter that goes to the GPU or comes from it stays the same object, as it does on a real one."""
    before = torch.__future__.get_swap_module_params_on_conversion()
    stays = isinstance(change(Held(torch.empty(0))), Held)
    swaps = any(isinstance(p, Held) != stays for p in module._parameters.values() if p is not None)
    torch.__future__.set_swap_module_params_on_conversion(swaps)
    try:
        made: torch.nn.Module = _plain_apply(module, change, *rest)  # type: ignore[no-untyped-call]
        return made
    finally:
        torch.__future__.set_swap_module_params_on_conversion(before)  # it is read after the children's turn


_CUDA: dict[str, Any] = {
    "_lazy_init": lambda: None,
    "is_available": lambda: True,
    "is_initialized": lambda: True,
    "device_count": lambda: 1,
    "current_device": lambda: 0,
    "set_device": lambda device: None,
    "synchronize": lambda device=None: None,
    "empty_cache": lambda: None,
    "is_bf16_supported": lambda including_emulation=True: True,
    "manual_seed_all": lambda seed: None,
    "get_rng_state": lambda device="cuda": torch.zeros(16, dtype=torch.uint8),
    "set_rng_state": lambda state, device="cuda": None,
    "reset_peak_memory_stats": lambda device=None: memory.forget_peak(),
    "memory_allocated": lambda device=None: memory.alive,
    "max_memory_allocated": lambda device=None: memory.peak,
    "max_memory_reserved": lambda device=None: memory.peak,
    "mem_get_info": lambda device=None: (2**36 - memory.alive, 2**36),
    "get_device_name": lambda device=None: NAME,
    "get_device_capability": lambda device=None: (9, 0),
    "get_device_properties": lambda device=None: SimpleNamespace(name=NAME, total_memory=2**36, major=9, minor=0),
}
"""What torch answers about GPUs."""
