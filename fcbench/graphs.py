"""A U-Net replayed from a CUDA graph: one launch in place of the thousand that a small batch would wait for.

Used by ``benchmarks/speed_sampling.py`` alone, and by whoever passes it to :func:`fcbench.sampling.draw`; a run does
not record by itself. A graph reads weights from where they were when it was recorded: a tuned method that swaps them
between two drawings would get stale pictures and no error. Nor would ``sample_seconds`` stay comparable: a run draws
small groups, of which the first of each shape would include the recording. What is not measured on a GPU does not
become the default.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch

from fcbench.sampling import channels_last

_WARM_UP = 3
"""Calls before the recording, in which libraries choose their kernels."""


class Replayed:
    """Stands in for ``unet`` in :func:`fcbench.sampling.draw` on a GPU; computes the same.

    Each shape of the inputs is recorded at its first call, which takes as long as several. The U-Net's weights are read
    from where they were then: they may be changed in place, not moved. What a call returns is valid until the next.
    """

    def __init__(self, unet: Any) -> None:
        self.config, self.dtype = unet.config, unet.dtype
        self._unet = channels_last(unet)
        self._recorded: dict[tuple[torch.Size, torch.Size], Callable[..., torch.Tensor]] = {}

    @torch.no_grad()
    def __call__(self, sample: torch.Tensor, timestep: torch.Tensor, text: torch.Tensor) -> SimpleNamespace:
        """The U-Net's prediction, as ``.sample``; ``timestep`` is a tensor without dimensions on the GPU."""
        key = (sample.shape, text.shape)
        if key not in self._recorded:
            self._recorded[key] = self._record(sample, timestep, text)
        return SimpleNamespace(sample=self._recorded[key](sample, timestep, text))

    def _record(self, *inputs: torch.Tensor) -> Callable[..., torch.Tensor]:
        held = [tensor.clone() for tensor in inputs]
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UP):
                self._unet(*held)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            made: torch.Tensor = self._unet(*held).sample

        def replay(*given: torch.Tensor) -> torch.Tensor:
            for place, tensor in zip(held, given, strict=True):
                place.copy_(tensor)
            graph.replay()
            return made

        return replay
