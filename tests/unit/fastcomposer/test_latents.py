"""Latents kept on disk: plain, mirrored, with their deviations; and what an example takes of them."""

from __future__ import annotations

from pathlib import Path
from random import Random
from threading import Timer
from typing import Any

import numpy as np
import pytest
import torch

from fcbench.config import Recipe
from fcbench.errors import DataError, FcbenchError
from fcbench.fastcomposer import latents
from fcbench.fastcomposer.data import Example, make_example, open_photos
from fcbench.fastcomposer.latents import encode_latents, join_latents, open_latents, photo_latents, take_latents
from fcbench.fastcomposer.train import train
from fcbench.fastcomposer.transforms import fit_photo
from fcbench.images import to_tensor
from fcbench.sampling import encode_images, encode_posterior
from fcbench.types import Stack
from tests.unit.fastcomposer.changes import changed


def test_each_photo_is_kept_both_ways_where_photos_may_be_mirrored(
    data: Path, stack: Stack, recipe: Recipe, tmp_path: Path
) -> None:
    photos = open_photos(data)
    kept = photo_latents(photos, stack, changed(recipe, mirror=0.5), tmp_path / "latents.npy")
    assert kept.shape == (12, 4, 4, 4)
    for row, flip in ((0, False), (0, True), (5, True)):
        pixels = to_tensor([fit_photo(photos.image(row), 16, flip=flip)])
        with torch.no_grad():
            expected = encode_images(stack.role("vae"), pixels)
        example = Example(row, [], mirrored=flip)
        taken = take_latents(kept, [example], changed(recipe, mirror=0.5), torch.Generator())
        torch.testing.assert_close(taken, expected, rtol=1e-3, atol=1e-3)
    assert not torch.equal(kept[0], kept[6])


@pytest.mark.parametrize("mirror", [0.0, 0.5])
def test_processes_encode_parts_that_are_kept_and_joined_to_what_one_makes(
    mirror: float, data: Path, stack: Stack, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latents, "_PART", 4)
    photos, drawn = open_photos(data), changed(recipe, mirror=mirror, sample_latents=True)
    whole, file = photo_latents(photos, stack, drawn, tmp_path / "whole.npy"), tmp_path / "work" / "latents.npy"
    encode_latents(photos, stack, drawn, file, process=1, processes=2)
    (second,) = (tmp_path / "work" / "latents").iterdir()
    assert second.name == "00000004.npy"
    made = second.stat().st_mtime_ns
    encode_latents(photos, stack, drawn, file)  # as after a kill: what is there stays
    assert second.stat().st_mtime_ns == made
    join_latents(photos, file)
    assert torch.equal(open_latents(file), whole)
    assert [path.name for path in file.parent.iterdir()] == ["latents.npy"]


def test_another_machine_s_latents_are_waited_for_and_then_missed(tmp_path: Path) -> None:
    with pytest.raises(FcbenchError, match=r"latents\.npy: not there; all machines need one output folder"):
        open_latents(tmp_path / "latents.npy")
    Timer(0.2, np.save, [tmp_path / "latents.npy", np.zeros(2, np.float16)]).start()
    assert open_latents(tmp_path / "latents.npy", patience=60).tolist() == [0, 0]


def test_a_part_that_another_process_has_elsewhere_is_named(data: Path, tmp_path: Path) -> None:
    with pytest.raises(FcbenchError, match=r"00000000\.npy: another process's part is not there"):
        join_latents(open_photos(data), tmp_path / "latents.npy")


def test_a_photo_whose_latents_are_not_finite_is_named_before_anything_is_trained(
    data: Path, stack: Stack, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = encode_posterior

    def third_is_infinite(vae: Any, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean, deviation = plain(vae, pixels)
        mean[3] = 1e6  # more than float16 holds
        return mean, deviation

    monkeypatch.setattr(latents, "encode_posterior", third_is_infinite)
    with pytest.raises(DataError, match="row 3: the autoencoder makes no finite latents of it"):
        photo_latents(open_photos(data), stack, recipe, tmp_path / "latents.npy")


def test_a_broken_mask_is_told_before_anything_is_trained(
    data: Path, stack: Stack, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(photos: Any, row: int, index: int) -> None:
        raise DataError(f"{photos.name(row)}: segment {index}: no mask")

    photos = open_photos(data)
    monkeypatch.setattr(type(photos), "mask", broken)
    with pytest.raises(DataError, match="segment 0: no mask"):
        photo_latents(photos, stack, recipe, tmp_path / "latents.npy")


def test_sampled_latents_have_the_posteriors_mean_and_deviation(
    data: Path, stack: Stack, recipe: Recipe, tmp_path: Path
) -> None:
    sampled = changed(recipe, sample_latents=True)
    kept = photo_latents(open_photos(data), stack, sampled, tmp_path / "latents.npy")
    mean, deviation = kept.float().chunk(2, dim=1)
    plain = photo_latents(open_photos(data), stack, recipe, tmp_path / "plain.npy")
    assert torch.equal(mean, plain.float())
    generator = torch.Generator().manual_seed(0)
    drawn = take_latents(kept, [Example(3, [])] * 4000, sampled, generator)
    torch.testing.assert_close(drawn.mean(0), mean[3], rtol=0, atol=0.1 * float(deviation[3].max()))
    torch.testing.assert_close(drawn.std(0), deviation[3], rtol=0.06, atol=0)


def test_a_mirrored_examples_masks_are_mirrored_and_its_references_are_not(
    data: Path, stack: Stack, recipe: Recipe
) -> None:
    photos, tokenizer = open_photos(data), stack.role("tokenizer")
    plain = changed(recipe, unconditional=0.0, text_only=0.0, subject_drop=0.0, other_photo=0.0)
    made = {}
    for mirror in (0.0, 1.0):
        random = Random(1)
        if not mirror:
            random.random()  # what the other one decides mirroring by
        made[mirror] = make_example(
            photos, 0, tokenizer, changed(plain, mirror=mirror), random, side=16, reference_side=16
        )
    one, other = made[0.0], made[1.0]
    assert (one.mirrored, other.mirrored, len(one.masks)) == (False, True, 2)
    for mask, flipped, reference, same in zip(one.masks, other.masks, one.references, other.references, strict=True):
        np.testing.assert_array_equal(mask[:, ::-1], flipped)
        np.testing.assert_array_equal(reference, same)


def test_a_training_on_mirrored_photos_and_sampled_latents_is_repeatable(
    data: Path, stack: Stack, recipe: Recipe, tmp_path: Path
) -> None:
    drawn = changed(recipe, mirror=0.5, sample_latents=True)
    weights = []
    for name in ("one", "two"):
        train(data, tmp_path / name, stack, drawn)
        weights.append((tmp_path / name / "unet" / "diffusion_pytorch_model.safetensors").read_bytes())
    train(data, tmp_path / "plain", stack, recipe)
    weights.append((tmp_path / "plain" / "unet" / "diffusion_pytorch_model.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]
