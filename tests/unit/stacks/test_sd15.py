"""The full-size stack without a network: its sizes, its vocabulary, and what it does not claim to have."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch

from fcbench.errors import MissingError
from fcbench.stacks import load_stack
from fcbench.types import GENERATING, Stack

PARAMETERS = {
    "text_encoder": 123_060_480,
    "vae": 83_653_863,
    "unet": 859_520_964,
    "image_encoder": 303_966_208,
    "fusion": 2_958_336,
}
VOCABULARY = "1b471dc4527418e5992de992b19032daebf4b3a052ffb1332375b3edb22e5ca9"


@pytest.fixture(scope="module")
def stack() -> Stack:
    return load_stack("sd15", device="meta", random_weights=True)


@pytest.mark.parametrize("role", PARAMETERS)
def test_a_role_has_the_size_of_the_real_one(role: str, stack: Stack) -> None:
    assert sum(parameter.numel() for parameter in stack.role(role).parameters()) == PARAMETERS[role]


def test_the_vision_tower_gives_what_the_fusion_takes(stack: Stack) -> None:
    vision, unet = stack.role("image_encoder").config, stack.role("unet").config
    assert (vision.projection_dim, vision.image_size) == (768, 224)
    assert (unet.cross_attention_dim, unet.sample_size * 8) == (768, stack.image_size)


def test_untrained_roles_draw_and_nothing_else(stack: Stack) -> None:
    assert set(stack.load) == set(GENERATING)
    assert stack.checkpoint is None
    assert all(digest.startswith("untrained ") for digest in stack.digests.values())
    with pytest.raises(MissingError, match="stack 'sd15' has no clip"):
        stack.role("clip")


def test_the_vocabulary_is_rebuilt_from_its_merges_to_the_letter(stack: Stack) -> None:
    tokenizer = stack.role("tokenizer")
    vocabulary = tokenizer.get_vocab()
    tokens = json.dumps(sorted(vocabulary, key=vocabulary.__getitem__)).encode()
    assert hashlib.sha256(tokens).hexdigest() == VOCABULARY
    assert sorted(vocabulary.values()) == list(range(49408))
    ids = tokenizer("a Man wearing a red hat", padding="max_length", max_length=tokenizer.model_max_length).input_ids
    assert ids == [49406, 320, 786, 3309, 320, 736, 3801, *[49407] * 70]


def test_the_schedule_is_the_real_one(stack: Stack) -> None:
    scheduler = stack.role("scheduler")
    assert type(scheduler).__name__ == "PNDMScheduler"
    scheduler.set_timesteps(50)
    assert scheduler.timesteps[:4].tolist() == [981, 961, 961, 941]
    assert float(scheduler.alphas_cumprod[-1]) == pytest.approx(0.0047, abs=1e-4)


def test_making_a_model_leaves_type_and_random_state_as_they_were() -> None:
    before = torch.get_rng_state()
    first = load_stack("sd15", random_weights=True).role("fusion")
    second = load_stack("sd15", random_weights=True).role("fusion")
    assert torch.equal(before, torch.get_rng_state())
    assert torch.get_default_dtype() == torch.float32
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not first.training
