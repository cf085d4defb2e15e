"""A U-Net replayed from a CUDA graph predicts what it predicts."""

from __future__ import annotations

import pytest
import torch
from diffusers import UNet2DConditionModel

from fcbench.graphs import Replayed


@pytest.mark.gpu
def test_a_replayed_call_equals_the_call() -> None:
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8, block_out_channels=(32, 32), cross_attention_dim=16, attention_head_dim=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    ).cuda().eval()  # fmt: skip
    replayed = Replayed(unet)
    for batch in (2, 4, 2):
        for time in (999, 500):
            sample, text = torch.randn(batch, 4, 8, 8).cuda(), torch.randn(batch, 5, 16).cuda()
            step = torch.tensor(time).cuda()
            with torch.no_grad():
                expected = unet(sample, step, text).sample
            made = replayed(sample, step, text).sample
            assert (made - expected).norm() < 1e-4 * expected.norm()
