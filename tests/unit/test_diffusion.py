from __future__ import annotations

import torch

from fcbench.diffusion import add_noise, cubic_times, training_scheduler, uniform_times
from fcbench.make_stack.base import new_scheduler


def test_cubic_times_are_mostly_noisy_and_reach_both_ends() -> None:
    drawn = cubic_times(1000, 100_000, torch.Generator().manual_seed(0))
    even = uniform_times(1000, 100_000, torch.Generator().manual_seed(0))
    assert abs((drawn >= 500).double().mean().item() - 0.5 ** (1 / 3)) < 0.005  # P(1 - u^3 >= 1/2)
    assert abs((even >= 500).double().mean().item() - 0.5) < 0.005
    assert drawn.max() == 999
    assert drawn.min() == 0


def test_noise_is_added_at_the_times_that_are_told() -> None:
    scheduler, clean = training_scheduler(new_scheduler()), torch.ones(64, 1, 4, 4)
    noisy, target, times, weight = add_noise(scheduler, clean, torch.Generator().manual_seed(0), cubic=True)
    signal = scheduler.alphas_cumprod[times].sqrt()[:, None, None, None]
    noise = (noisy - signal * clean) / (1 - signal**2).sqrt()
    torch.testing.assert_close(target, signal * noise - (1 - signal**2).sqrt() * clean, rtol=1e-4, atol=1e-4)
    assert times.double().mean() > 650
    assert weight.shape == (64,)
