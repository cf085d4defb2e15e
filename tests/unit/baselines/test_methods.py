"""The tuned methods whole, on models that are tiny and untrained: contract, keeping, joining, both tracks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from baselines.custom_diffusion import CustomDiffusion
from baselines.dreambooth import DreamBooth, named_photos
from baselines.dreambooth_lora import DreamBoothLora
from baselines.textual_inversion import TextualInversion
from baselines.tuning import batches as batches_of
from baselines.tuning import loop
from baselines.tuning.batches import Batches
from baselines.tuning.loop import Batch
from baselines.tuning.method import Tuned, TunedSampler
from baselines.tuning.prior import pictures_in
from baselines.tuning.recipe import Recipe
from fcbench.errors import DivergedError, WeightsError
from fcbench.files import write_image
from fcbench.sampling import laid_out, scaled_posterior
from fcbench.testing import check_method, weights_digest
from fcbench.types import Image, Prompt, Stack, Subject
from tests.toys.tuned_toys import tiny_stack, tiny_subjects

SHORT: dict[str, Any] = {"preset": "mini", "tuning_steps": 3, "prior_images": 2, "learning_rate": 1e-2}
METHODS: dict[str, type[Tuned]] = {
    method.name: method for method in (CustomDiffusion, DreamBooth, DreamBoothLora, TextualInversion)
}
SNOW = Prompt("snow", "{} in the snow", "context")

pytestmark = pytest.mark.weights


@pytest.fixture(scope="module")
def stack() -> Stack:
    return tiny_stack()


@pytest.fixture
def subjects(tmp_path: Path) -> list[Subject]:
    return tiny_subjects(tmp_path)


def new(name: str, **options: Any) -> Tuned:
    return METHODS[name](**{**SHORT, **options})


def fitted(method: Tuned, stack: Stack, subjects: list[Subject], folder: Path, seed: int = 1) -> TunedSampler:
    folder.mkdir(parents=True, exist_ok=True)
    return method.fit(stack, subjects, seed=seed, workdir=folder)


def picture(sampler: TunedSampler) -> Image:
    (made,) = sampler([SNOW], [3])
    return made


@pytest.mark.parametrize("name", METHODS)
def test_the_contract(name: str, stack: Stack, subjects: list[Subject], tmp_path: Path) -> None:
    check_method(new(name), stack, subjects, tmp_path / "work")


def test_the_contract_where_two_fits_are_merged(stack: Stack, subjects: list[Subject], tmp_path: Path) -> None:
    check_method(new("custom-diffusion", pair="merge"), stack, subjects, tmp_path / "work")


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("name", METHODS)
def test_what_is_kept_draws_the_same_again(
    name: str, count: int, stack: Stack, subjects: list[Subject], tmp_path: Path
) -> None:
    method, kept = new(name), tmp_path / "kept"
    sampler = fitted(method, stack, subjects[:count], tmp_path / "work")
    kept.mkdir()
    sampler.save(kept)
    assert {path.suffix for path in kept.rglob("*") if path.is_file()} == {".safetensors"}
    again = new(name).load(stack, subjects[:count], kept)
    assert np.array_equal(picture(again), picture(sampler))


@pytest.mark.parametrize("name", METHODS)
def test_a_fit_is_found_in_its_folder(name: str, stack: Stack, subjects: list[Subject], tmp_path: Path) -> None:
    first = picture(fitted(new(name), stack, subjects[:1], tmp_path / "work"))
    found = fitted(new(name, tuning_steps=1), stack, subjects[:1], tmp_path / "work", seed=2)
    assert np.array_equal(picture(found), first)
    assert not list((tmp_path / "work").rglob("*.pt"))


@pytest.mark.parametrize("track", ["reference", "optimised"])
@pytest.mark.parametrize("name", METHODS)
def test_a_fit_that_was_cut_short_goes_on_to_the_same_bits(
    name: str, track: str, stack: Stack, subjects: list[Subject], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where what the first attempt had encoded is encoded again, beside other pictures.

    And where only the first attempt came after drawing, which lays the models out for itself.
    """

    def lay_out(layout: torch.memory_format) -> None:
        for role in ("unet", "vae"):
            laid_out(stack.role(role), layout)

    monkeypatch.setattr(loop, "SAVE_SECONDS", -1)
    monkeypatch.setattr(loop, "SAVE_SHARE", 0)
    monkeypatch.setattr(loop, "LOOK_EVERY", 1)
    draw = Batches.__call__
    micros: list[int] = []

    def drawn(batches: Batches, micro: int) -> Batch:
        micros.append(micro)
        if len(micros) == 5:
            raise KeyboardInterrupt
        return draw(batches, micro)

    lay_out(torch.channels_last)
    fitted(new(name, track=track, tuning_steps=7), stack, subjects[:1], tmp_path / "whole")
    lay_out(torch.channels_last)
    monkeypatch.setattr(Batches, "__call__", drawn)
    with pytest.raises(KeyboardInterrupt):
        fitted(new(name, track=track, tuning_steps=7), stack, subjects[:1], tmp_path / "parts")
    lay_out(torch.contiguous_format)
    fitted(new(name, track=track, tuning_steps=7), stack, subjects[:1], tmp_path / "parts")
    assert micros == [0, 1, 2, 3, 4, 4, 5, 6]
    whole, parts = (load_file(tmp_path / folder / METHODS[name].file) for folder in ("whole", "parts"))
    assert all(torch.equal(parts[key], tensor) for key, tensor in whole.items())


@pytest.mark.parametrize("name", METHODS)
def test_tuning_changes_the_picture_and_gives_the_stack_no_gradient(
    name: str, stack: Stack, subjects: list[Subject], tmp_path: Path
) -> None:
    before = weights_digest(stack)
    one = picture(fitted(new(name), stack, subjects[:1], tmp_path / "a"))
    other = picture(fitted(new(name), stack, [replace(subjects[0], images=subjects[1].images)], tmp_path / "b"))
    assert not np.array_equal(one, other), "it does not look at the photos"
    assert weights_digest(stack) == before
    models = [stack.role(role) for role in ("unet", "text_encoder", "vae")]
    assert all(p.grad is None for model in models for p in model.parameters())


@pytest.mark.parametrize("name", ["dreambooth-lora", "textual-inversion"])
def test_a_pair_is_joined_of_the_fits_of_its_subjects(
    name: str, stack: Stack, subjects: list[Subject], tmp_path: Path
) -> None:
    method = new(name)
    assert method.capabilities.joins
    alone = [fitted(method, stack, [subject], tmp_path / subject.id) for subject in subjects]
    joined = picture(method.join(stack, alone))
    assert np.array_equal(joined, picture(fitted(new(name), stack, subjects, tmp_path / "pair")))
    assert not np.array_equal(joined, picture(alone[0]))


@pytest.mark.parametrize("name", METHODS)
def test_the_optimised_track_tunes_as_the_reference_does(
    name: str, stack: Stack, subjects: list[Subject], tmp_path: Path
) -> None:
    """The same draws, so the same weights but for rounding: keeping means and deviations changes no step."""
    kept = []
    for track in ("reference", "optimised"):
        fitted(new(name, track=track, learning_rate=1e-4), stack, subjects[:1], tmp_path / track)
        kept.append(load_file(tmp_path / track / METHODS[name].file))
    for key, tensor in kept[0].items():
        torch.testing.assert_close(kept[1][key], tensor, rtol=1e-3, atol=2e-5)


def first_step(method: Tuned, stack: Stack, subjects: list[Subject], folder: Path) -> tuple[float, dict[str, Any]]:
    """The loss of a fit's first batch, and the gradients that it gives."""
    priors = [pictures_in(made)] if (made := method.prepare(stack, subjects[0].noun, shelf=folder)) else []
    task, tuner, batches = method.begin(stack, subjects[:1], priors, seed=1)
    with torch.autocast("cpu", tuner.course.autocast or torch.bfloat16, enabled=tuner.course.autocast is not None):
        loss = task.loss(batches(0))
    loss.backward()
    return float(loss.detach()), {name: p.grad for name, p in task.trained.items()}


@pytest.mark.parametrize("track", ["reference", "optimised"])
@pytest.mark.parametrize("name", METHODS)
def test_with_gradient_checkpointing_gradients_are_the_same(
    name: str, track: str, stack: Stack, subjects: list[Subject], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And there is checkpointing: every block of the U-Net runs its forward pass a second time."""
    calls: list[torch.nn.Module] = []
    run = torch.utils.checkpoint.checkpoint

    def counted(function: Any, *args: Any, **more: Any) -> Any:
        calls.append(function)
        return run(function, *args, **more)

    monkeypatch.setattr(torch.utils.checkpoint, "checkpoint", counted)
    loss, gradients = first_step(new(name, track=track), stack, subjects, tmp_path)
    assert not calls
    other_loss, others = first_step(new(name, track=track, gradient_checkpointing=True), stack, subjects, tmp_path)
    assert len(calls) > 3
    assert other_loss == loss
    for key, gradient in gradients.items():
        assert torch.equal(gradient, others[key]), key


@pytest.mark.parametrize("text_encoder", [False, True])
def test_a_text_encoder_that_is_trained_is_checkpointed_too(
    text_encoder: bool, stack: Stack, subjects: list[Subject]
) -> None:
    recipe = Recipe(source="", steps=1, learning_rate=1.0, text_encoder=text_encoder)
    task = DreamBooth().task(stack, subjects[:1], recipe, 0)
    task.checkpoint()
    assert is_checkpointed(task.unet)
    assert is_checkpointed(task.text_encoder) == text_encoder
    assert not is_checkpointed(stack.role("unet"))
    assert not is_checkpointed(stack.role("text_encoder"))


def is_checkpointed(model: torch.nn.Module | None) -> bool:
    return model is not None and any(getattr(part, "gradient_checkpointing", False) for part in model.modules())


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("sampled", [True, False])
def test_latents_are_drawn_from_the_posterior_or_are_its_means(
    name: str, sampled: bool, stack: Stack, subjects: list[Subject], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a deviation of 5 the difference cannot be missed."""
    true = scaled_posterior

    def wide(stack: Stack, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean, _ = true(stack, pixels)
        return mean, torch.full_like(mean, 5.0)

    monkeypatch.setattr(batches_of, "scaled_posterior", wide)
    recipe = replace(new(name).recipe(stack), sample_latents=sampled)
    monkeypatch.setattr(METHODS[name], "recipe", lambda method, stack: recipe)
    method = new(name)
    priors = [pictures_in(made)] if (made := method.prepare(stack, subjects[0].noun, shelf=tmp_path)) else []
    _, _, batches = method.begin(stack, subjects[:1], priors, seed=1)
    assert (batches(0).latents.std() > 3) == sampled


@pytest.mark.parametrize("name", METHODS)
def test_in_bfloat16_the_loss_is_near_that_in_float32(
    name: str, stack: Stack, subjects: list[Subject], tmp_path: Path
) -> None:
    """Gradients are float32, as the trained tensors are; rounding to eight bits shows, and is small."""
    exact, gradients = first_step(new(name), stack, subjects, tmp_path)
    rounded, others = first_step(new(name, mixed_precision="bf16"), stack, subjects, tmp_path)
    assert rounded != exact
    assert rounded == pytest.approx(exact, rel=1e-2)
    assert {gradient.dtype for gradient in others.values()} == {torch.float32}
    one, other = (torch.cat([g.flatten() for g in each.values()]) for each in (gradients, others))
    assert torch.nn.functional.cosine_similarity(one, other, dim=0) > 0.98


@pytest.mark.parametrize("name", ["dreambooth", "textual-inversion"])
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_a_fit_in_half_precision_is_kept_in_float32(
    name: str, precision: str, stack: Stack, subjects: list[Subject], tmp_path: Path
) -> None:
    before = weights_digest(stack)
    sampler = fitted(new(name, mixed_precision=precision, learning_rate=1e-4), stack, subjects[:1], tmp_path)
    assert {tensor.dtype for tensor in load_file(tmp_path / METHODS[name].file).values()} == {torch.float32}
    assert picture(sampler).shape == (32, 32, 3)
    assert weights_digest(stack) == before


@pytest.mark.parametrize("name", METHODS)
def test_a_fit_that_diverges_says_so(name: str, stack: Stack, subjects: list[Subject], tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match=rf"{name} s0: .* lower the learning rate"):
        fitted(new(name, learning_rate=1e38, tuning_steps=6), stack, subjects[:1], tmp_path)


def test_class_images_are_made_once_and_shared(stack: Stack, subjects: list[Subject], tmp_path: Path) -> None:
    folders = [new(name, preset="face").prepare(stack, "man", shelf=tmp_path) for name in METHODS]
    by_name = dict(zip(METHODS, folders, strict=True))
    assert by_name["textual-inversion"] is None
    assert by_name["dreambooth"] == by_name["dreambooth-lora"] != by_name["custom-diffusion"]
    folder = by_name["dreambooth"]
    assert folder is not None
    files = sorted(folder.glob("*.png"))
    assert [file.name for file in files] == ["0000.png", "0001.png"]
    first = [file.read_bytes() for file in files]
    assert first[0] != first[1]
    files[1].unlink()
    again = new("dreambooth", preset="face")
    again.prepare(stack, "man", shelf=tmp_path)
    assert [file.read_bytes() for file in files] == first
    assert again.prepare(replace(stack, digests={"unet": "other"}), "man", shelf=tmp_path) != folder


def test_a_broken_file_and_one_of_another_method_are_refused(
    stack: Stack, subjects: list[Subject], tmp_path: Path
) -> None:
    method = new("dreambooth")
    (tmp_path / method.file).write_bytes(b"no weights")
    with pytest.raises(WeightsError, match=r"dreambooth\.safetensors"):
        method.load(stack, subjects[:1], tmp_path)


def test_lora_keeps_what_diffusers_reads(stack: Stack, subjects: list[Subject], tmp_path: Path) -> None:
    fitted(new("dreambooth-lora"), stack, subjects[:1], tmp_path)
    with safe_open(tmp_path / "pytorch_lora_weights.safetensors", "pt") as file:
        keys = list(file.keys())
    assert all(key.startswith("unet.") and key.endswith((".lora_A.weight", ".lora_B.weight")) for key in keys)
    assert {key.split(".lora_")[0].rpartition(".")[2] for key in keys} == {"to_q", "to_k", "to_v", "0"}


def test_textual_inversion_keeps_what_diffusers_reads(stack: Stack, subjects: list[Subject], tmp_path: Path) -> None:
    fitted(new("textual-inversion"), stack, subjects[:1], tmp_path)
    assert {key: tuple(t.shape) for key, t in load_file(tmp_path / "learned_embeds.safetensors").items()} == {
        "<s0>": (1, 16)
    }


def test_the_text_encoder_is_tuned_kept_and_drawn_with_where_the_preset_says_so(
    stack: Stack, subjects: list[Subject], tmp_path: Path
) -> None:
    method = new("dreambooth", preset="text-encoder", steps=2)
    sampler = fitted(method, stack, subjects[:1], tmp_path)
    kept = load_file(tmp_path / method.file)
    own = {key.removeprefix("text_encoder."): t for key, t in kept.items() if key.startswith("text_encoder.")}
    base = dict(stack.role("text_encoder").named_parameters())
    assert own.keys() == base.keys()
    assert any(not torch.equal(own[key], base[key]) for key in base)
    drawn_with = dict(sampler.stack.role("text_encoder").named_parameters())
    assert all(torch.equal(own[key], drawn_with[key]) for key in base)


def test_no_two_class_images_are_alike(stack: Stack, tmp_path: Path) -> None:
    folder = new("dreambooth", preset="face", prior_images=6).prepare(stack, "man", shelf=tmp_path)
    assert folder is not None
    assert len({file.read_bytes() for file in pictures_in(folder)}) == 6


def test_in_pairs_each_is_named_by_a_word_and_each_class_plainly(
    stack: Stack, subjects: list[Subject], tmp_path: Path
) -> None:
    priors = []
    for number, subject in enumerate(subjects):
        file = tmp_path / "classes" / f"{subject.noun}.png"
        write_image(file, np.full((16, 16, 3), 50 * number, np.uint8))
        priors.append([file])
    method = new("dreambooth", preset="face")
    photos = named_photos(method, stack, subjects, method.recipe(stack), priors, ["sks", "ohwx"])
    own, classes = photos.look(0, torch.Generator().manual_seed(0))
    nouns = [subject.noun for subject in subjects]
    assert [view.caption for view in own] == [f"a photo of sks {nouns[0]}", f"a photo of ohwx {nouns[1]}"]
    assert [view.caption for view in classes] == [f"a photo of a {noun}" for noun in nouns]
    assert not torch.equal(classes[0].pixels(), classes[1].pixels())
