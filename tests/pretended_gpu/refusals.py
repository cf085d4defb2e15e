"""Run on the pretended GPU: checks that it computes, and refuses what a GPU refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional


def main() -> None:
    assert torch.cuda.is_available()
    far, near = torch.ones(2, 3, device="cuda"), torch.ones(2, 3)
    seeded = torch.Generator().manual_seed(0)
    with pytest.raises(RuntimeError, match="same device"):
        far + near
    with pytest.raises(RuntimeError, match="same device"):
        torch.cat([far, near])
    with pytest.raises(RuntimeError, match="same device"):
        functional.linear(far, near)
    with pytest.raises(RuntimeError, match="same device"):
        near[far[0].long()]
    total = torch.zeros(())
    with pytest.raises(RuntimeError, match="same device"):
        total += far.sum()  # it would stay on the CPU
    with pytest.raises(RuntimeError, match="same device"):
        torch.stack([far.sum(), torch.tensor(1.0)])
    with pytest.raises(RuntimeError, match="same device"):
        functional.embedding(torch.tensor(1), far)
    with pytest.raises(RuntimeError, match="same device"):
        far.long()[torch.tensor([0, 1])] = torch.zeros(2, 3, dtype=torch.int64)
    with pytest.raises(TypeError, match="numpy"):
        far.numpy()
    with pytest.raises(TypeError, match="numpy"):
        np.asarray(far)
    with pytest.raises(RuntimeError, match="generator"):
        torch.randn(2, device="cuda", generator=seeded)
    assert (far * torch.tensor(2.0)).device.type == "cuda"  # a number may come from anywhere
    assert far[torch.tensor([0])].device.type == "cuda"  # and so may indices
    assert (far + near.to("cuda")).cpu().tolist() == (near + near).tolist()
    view = far.view(-1)
    view.add_(1)
    assert far.tolist() == [[2.0] * 3] * 2
    check_training(far)


def check_training(given: torch.Tensor) -> None:
    """Weights stay tied on their way to the GPU, and are trained there."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3))
    model[1].weight = model[0].weight
    weight = model[0].weight
    assert model.to("cuda")[1].weight is weight
    assert weight.device.type == "cuda"
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    losses = []
    for _ in range(3):
        with torch.autocast("cuda", torch.bfloat16):
            made = model(given)
            assert made.dtype is torch.bfloat16
        loss = made.float().pow(2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[2] < losses[0]


if __name__ == "__main__":
    main()
