"""The base's latents: in parts, so that a run which is ended goes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL

from fcbench.errors import OutOfTimeError
from fcbench.images import to_tensor
from fcbench.loop import Clock
from fcbench.make_stack import base
from fcbench.make_stack.pool import Pool
from fcbench.sampling import encode_images


@pytest.fixture
def codec() -> AutoencoderKL:
    torch.manual_seed(0)
    return AutoencoderKL(block_out_channels=(8,), latent_channels=4, norm_num_groups=4, sample_size=16).eval()


@pytest.fixture
def pools() -> list[Pool]:
    random = np.random.default_rng(0)
    return [Pool(random.integers(0, 256, (n, 16, 16, 3), np.uint8), [""] * n) for n in (6, 3)]


def test_latents_are_those_of_all_pools_in_their_order(
    codec: AutoencoderKL, pools: list[Pool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "PART", 4)
    found = base.draw_latents(codec, pools, tmp_path / "latents.npy", Clock(1))
    with torch.no_grad():
        whole = encode_images(codec, to_tensor([picture for pool in pools for picture in pool.pictures]))
    np.testing.assert_allclose(found, whole.numpy(), atol=2e-3)
    assert found.dtype == np.float16
    assert [path.name for path in tmp_path.iterdir()] == ["latents.npy"]


def test_parts_that_are_there_are_not_made_again(
    codec: AutoencoderKL, pools: list[Pool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "PART", 4)
    (tmp_path / "latents").mkdir()
    np.save(tmp_path / "latents" / "0-00000000.npy", np.full((4, 4, 16, 16), 7, np.float16))
    with pytest.raises(OutOfTimeError, match="time is up before latents 0-00000004; the same command goes on there"):
        base.draw_latents(codec, pools, tmp_path / "latents.npy", Clock(-1))
    found = base.draw_latents(codec, pools, tmp_path / "latents.npy", Clock(1))
    assert (found[:4] == 7).all()
    assert not (found[4:] == 7).any()
    assert found.shape == (9, 4, 16, 16)


def test_parts_that_a_kill_left_beside_the_whole_are_removed(
    codec: AutoencoderKL, pools: list[Pool], tmp_path: Path
) -> None:
    found = base.draw_latents(codec, pools, tmp_path / "latents.npy", Clock(1))
    (tmp_path / "latents").mkdir()
    (tmp_path / "latents" / "0-00000000.npy").write_bytes(b"")
    again = base.draw_latents(codec, pools, tmp_path / "latents.npy", Clock(-1))
    np.testing.assert_array_equal(again, found)
    assert [path.name for path in tmp_path.iterdir()] == ["latents.npy"]
