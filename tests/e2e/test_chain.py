"""Photos to checkpoint to pictures, on the miniature stack that ships."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from baselines.stable_diffusion import StableDiffusion
from fcbench.build import build_data
from fcbench.config import Recipe, load_yaml
from fcbench.errors import DataError, MissingError, OutOfTimeError, UsageError
from fcbench.fastcomposer.checkpoint import load_checkpoint
from fcbench.fastcomposer.localize import Localizer
from fcbench.fastcomposer.method import FastComposer
from fcbench.fastcomposer.train import train
from fcbench.files import write_image
from fcbench.loop import Clock
from fcbench.stacks import load_stack
from fcbench.store import data_folder
from fcbench.types import Prompt, Stack, Subject
from fcbench.world import TEST_PEOPLE, draw_person, portrait, render

pytestmark = pytest.mark.weights
RECIPE = load_yaml("mini-demo", Recipe, "recipes").model_copy(update={"steps": 3, "batch_size": 4})
PROMPTS = [Prompt("snow", "{} in the snow", "context"), Prompt("beach", "{} on the beach", "context")]


@pytest.fixture(scope="module")
def stack() -> Stack:
    """The miniature, loaded once."""
    return load_stack("mini")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, stack: Stack) -> Path:
    """A dataset of 60 photos."""
    out = tmp_path_factory.mktemp("data")
    counts = build_data(out, photos=60, stack=stack, progress=None)
    assert counts.accepted == 60
    return data_folder(out, "world").path


@pytest.fixture
def subjects(tmp_path: Path) -> list[Subject]:
    """Two unseen people with a photo each."""
    people = [draw_person(TEST_PEOPLE[k]) for k in range(2)]
    for person in people:
        write_image(tmp_path / f"{person.id}.png", render(portrait(person, 0)).image)
    return [Subject(person.id, person.noun, (tmp_path / f"{person.id}.png",)) for person in people]


def test_a_stopped_training_goes_on_to_the_weights_of_one_that_was_not(
    data: Path, stack: Stack, tmp_path: Path
) -> None:
    train(data, tmp_path / "whole", stack, RECIPE)
    with pytest.raises(OutOfTimeError, match="after 1 of 3 steps"):
        train(data, tmp_path / "parts", stack, RECIPE, Clock(0))
    train(data, tmp_path / "parts", stack, RECIPE)
    whole, parts = (load_checkpoint(str(tmp_path / name), stack).unet.state_dict() for name in ("whole", "parts"))
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    base = stack.role("unet").state_dict()
    assert any(not torch.equal(whole[key], base[key]) for key in base)
    with pytest.raises(UsageError, match=r"made with seed \d+, not 1"):
        train(data, tmp_path / "whole", stack, RECIPE.model_copy(update={"seed": 1}))


def test_without_subject_steps_a_trained_denoiser_s_pictures_do_not_depend_on_the_photo(
    stack: Stack, subjects: list[Subject], tmp_path: Path
) -> None:
    swapped = [Subject(s.id, s.noun, other.images) for s, other in zip(subjects, reversed(subjects), strict=True)]

    def pictures(alpha: float, people: list[Subject]) -> np.ndarray:
        sampler = FastComposer(alpha=alpha, steps=3).fit(stack, people, seed=0, workdir=tmp_path)
        return np.stack(sampler(PROMPTS, [1, 2]))

    assert np.array_equal(pictures(0, subjects), pictures(0, swapped))
    assert not np.array_equal(pictures(1, subjects), pictures(1, swapped))


def test_watching_attention_does_not_change_what_is_predicted(stack: Stack) -> None:
    import copy

    unet = copy.deepcopy(stack.role("unet"))
    noisy, times, text = torch.randn(2, 16, 16, 16), torch.tensor([5, 700]), torch.randn(2, 60, 96)
    with torch.no_grad():
        plain = unet(noisy, times, text).sample
        localizer = Localizer(unet)
        with localizer.watch(torch.tensor([[3, -1], [4, 9]]), (torch.rand(2, 2, 64, 64) > 0.5).float()):
            watched = unet(noisy, times, text).sample
    torch.testing.assert_close(watched, plain, rtol=1e-4, atol=1e-4)
    assert -1 < float(localizer.loss()) < 1
    copy.deepcopy(unet)


def test_a_broken_checkpoint_is_named(stack: Stack, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="fcbench train"):
        load_checkpoint(str(tmp_path), stack)
    (tmp_path / "fastcomposer.json").write_text("{}")
    (tmp_path / "fusion.safetensors").write_bytes(b"torn")
    with pytest.raises(DataError, match="not a whole checkpoint"):
        load_checkpoint(str(tmp_path), stack)


def test_alpha_is_a_share() -> None:
    with pytest.raises(UsageError, match="alpha"):
        FastComposer(alpha=1.5)


def test_the_base_draws_faces_where_it_is_asked_to(stack: Stack, tmp_path: Path) -> None:
    sampler = StableDiffusion().fit(stack, [Subject("x", "woman", ())], seed=0, workdir=tmp_path)
    pictures = sampler(PROMPTS * 6, range(12))
    found = [len(stack.role("faces").get(np.ascontiguousarray(picture[:, :, ::-1]))) for picture in pictures]
    assert sum(count == 1 for count in found) >= 10
    texts = stack.role("clip").text_features([prompt.fill("a woman") for prompt in PROMPTS])
    nearest = (stack.role("clip").image_features(pictures) @ texts.T).argmax(axis=1)
    assert (nearest == np.arange(12) % 2).sum() >= 11
