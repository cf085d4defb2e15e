"""The presets of tuned methods: what they name is there, and what stands over what."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import fcbench
from baselines.custom_diffusion import CustomDiffusion
from baselines.dreambooth import DreamBooth
from baselines.dreambooth_lora import DreamBoothLora, word_for
from baselines.textual_inversion import TextualInversion
from baselines.tuning.method import Tuned
from baselines.tuning.recipe import Recipe, preset_name, presets
from baselines.tuning.words import row_of
from fcbench.config import FolderPeople, load_suites
from fcbench.errors import UsageError
from fcbench.stacks.vocabulary import load_clip_tokenizer
from fcbench.types import Stack, Subject
from tests.toys.tuned_toys import tiny_stack

METHODS: dict[str, type[Tuned]] = {
    method.name: method for method in (CustomDiffusion, DreamBooth, DreamBoothLora, TextualInversion)
}


@pytest.fixture(scope="module")
def stack() -> Stack:
    return tiny_stack()


@pytest.mark.parametrize("method", ["custom-diffusion", "textual-inversion"])
def test_every_preset_s_new_words_begin_as_words_or_pieces_that_clip_knows(method: str) -> None:
    tokenizer = load_clip_tokenizer(Path(fcbench.__file__).parent / "stacks" / "sd15" / "tokenizer")
    table = torch.nn.Embedding.from_pretrained(torch.arange(float(len(tokenizer)))[:, None])
    encoder = SimpleNamespace(get_input_embeddings=lambda: table)
    real = Stack("real", {"tokenizer": lambda: tokenizer, "text_encoder": lambda: encoder}, 512)
    names = [word for name, recipe in presets(method).items() if name != "mini" for word in recipe.initial]
    rows = {word: int(row_of(real, word).item()) for word in names}
    assert all(tokenizer.convert_ids_to_tokens(row) in (word, f"{word}</w>") for word, row in rows.items())
    with pytest.raises(UsageError, match=r"'qqqqqq' is \d: name another word"):
        row_of(real, "qqqqqq")


@pytest.mark.parametrize("method", ["dreambooth", "dreambooth-lora"])
def test_rare_words_are_single_tokens_of_clip_s(method: str) -> None:
    tokenizer = load_clip_tokenizer(Path(fcbench.__file__).parent / "stacks" / "sd15" / "tokenizer")
    words = [word for name, recipe in presets(method).items() if name != "mini" for word in recipe.words]
    assert [word for word in words if len(tokenizer.encode(word, add_special_tokens=False)) != 1] == []


@pytest.mark.parametrize("preset", ["face", "reference"])
def test_no_two_people_of_the_paper_s_pairs_share_a_lora_s_rare_word(preset: str) -> None:
    recipe = presets("dreambooth-lora")[preset]
    (suite,) = load_suites("celeba-pair")
    assert isinstance(suite.subjects, FolderPeople)
    people = [Subject(name, noun, ()) for name, noun in suite.subjects.nouns.items()]
    assert len({word_for(person, recipe) for person in people}) == len(people) == 15
    assert len(set(recipe.words)) == len(recipe.words)


def test_a_preset_that_cannot_be_merged_is_refused_before_anything_is_made(stack: Stack) -> None:
    with pytest.raises(UsageError, match="preset face tunes more: name another, as --set preset=reference"):
        CustomDiffusion(pair="merge", preset="face").recipe(stack)


def test_the_miniature_s_denoiser_is_tuned_on_what_it_was_trained_on() -> None:
    """Its VAE's deviations are as large as half the latents: drawn latents teach noise (LOG.md)."""
    for name in METHODS:
        known = presets(name)
        assert {preset: recipe.sample_latents for preset, recipe in known.items() if preset != "mini"} == dict.fromkeys(
            known.keys() - {"mini"}, True
        )
        assert not known["mini"].sample_latents


@pytest.mark.parametrize("name", METHODS)
def test_presets(name: str, stack: Stack) -> None:
    known = presets(name)
    assert {"reference", "face", "mini"} <= known.keys()
    assert all(recipe.source for recipe in known.values())
    assert preset_name("", stack, name) == "face"
    assert preset_name("", replace(stack, name="mini"), name) == "mini"
    with pytest.raises(UsageError, match="did you mean face"):
        preset_name("fase", stack, name)


def test_options_stand_over_the_preset(stack: Stack) -> None:
    recipe = DreamBooth(preset="face", tuning_steps=7, mixed_precision="bf16").recipe(stack)
    assert (recipe.steps, recipe.preset, recipe.mixed_precision) == (7, "face", "bf16")
    assert recipe.learning_rate == presets("dreambooth")["face"].learning_rate


def test_a_pair_is_tuned_for_twice_the_steps_unless_its_preset_says_how_many() -> None:
    recipe = Recipe(source="", steps=400, learning_rate=1.0)
    assert [recipe.steps_for(subjects) for subjects in (1, 2)] == [400, 800]
    assert replace(recipe, joint_steps=500).steps_for(2) == 500


def test_custom_diffusion_counts_class_images_in_its_rate() -> None:
    recipe = Recipe(source="", steps=1, learning_rate=1.0, scale_lr=True, batch_size=2, accumulation=3)
    assert CustomDiffusion().rate(recipe) == 12
    assert CustomDiffusion().rate(replace(recipe, prior_weight=0.0)) == 6
    assert DreamBooth().rate(recipe) == 6
