"""Photos as the reference scripts see them: resized, cropped, squeezed, mirrored, placed; their captions; latents."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import PIL
import pytest
import torch
from PIL import Image as Pillow
from PIL import ImageOps
from safetensors.torch import load_file

from baselines.custom_diffusion import draw_scale, placed, seen
from baselines.textual_inversion import TEMPLATES, to_square
from baselines.tuning.batches import crop, draws, fit_short_side, middle, open_photo, to_pixels
from fcbench.sampling import scaled_posterior, tokenize
from tests.golden.tuned_cases import CASES, GOLDENS, tuned_case, tuned_stack

FACTS = json.loads((GOLDENS / "preprocess.json").read_text())
SPARE = 0 if int(PIL.__version__.partition(".")[0]) >= 10 else 1
"""Levels of grey that an older Pillow rounds differently."""


def photo_of(item: Any) -> Pillow.Image:
    return open_photo(GOLDENS / "stack" / item["image"])


def close_to(made: torch.Tensor, golden: torch.Tensor) -> None:
    """Pixels in [-1, 1] beside recorded levels."""
    torch.testing.assert_close((made + 1) * 127.5, golden.float(), rtol=0, atol=SPARE + 1e-4)


def items(method: str) -> list[Any]:
    return [pytest.param(item, id=item["key"]) for item in FACTS["items"] if item["method"].startswith(method)]


@pytest.fixture(scope="module")
def recorded() -> dict[str, torch.Tensor]:
    return load_file(GOLDENS / "preprocess.safetensors")


@pytest.mark.parametrize("item", items("dreambooth"))
def test_dreambooth_crops_the_middle(item: Any, recorded: dict[str, torch.Tensor]) -> None:
    photo = fit_short_side(photo_of(item), item["size"])
    close_to(to_pixels(crop(photo, item["size"], *middle(photo, item["size"]))), recorded[item["key"]])


@pytest.mark.parametrize("item", items("textual inversion"))
def test_textual_inversion_squeezes(item: Any, recorded: dict[str, torch.Tensor]) -> None:
    photo = to_square(photo_of(item), item["size"], centre_crop=item["center_crop"])
    close_to(to_pixels(ImageOps.mirror(photo) if item["flip"] else photo), recorded[item["key"]])


@pytest.mark.parametrize("item", items("custom diffusion"))
def test_custom_diffusion_places_and_masks(item: Any, recorded: dict[str, torch.Tensor]) -> None:
    size, scale, top, left = (item[key] for key in ("size", "scale", "top", "left"))
    mask = seen(size, item["mask_size"], scale, top, left)
    assert torch.equal(mask, recorded[f"{item['key']}.mask"].float())
    inside = torch.zeros(size, size, dtype=torch.bool)
    inside[top : top + scale, left : left + scale] = True
    if scale > size:
        inside[:] = True
    made = placed(photo_of(item), size, scale, top, left)
    close_to(made[:, inside], recorded[item["key"]][:, inside])
    assert (made[:, ~inside] == 0).all()


def test_a_far_photo_is_said_to_be_far() -> None:
    wanted = {item["scale"]: item["prompt_prefix"] for item in FACTS["items"] if "prompt_prefix" in item}
    told: dict[int, set[str]] = {}
    for number in range(3000):
        scale, prefix = draw_scale(64, draws(number))
        told.setdefault(scale, set()).add(prefix)
    words = {"far/small": {"a far away ", "very small "}, "none": {""}, "zoom": {"zoomed in ", "close up "}}
    for scale in wanted.keys() & told.keys():
        assert told[scale] == words[wanted[scale]]
    assert set(told) == {*range(21, 65), *range(76, 89)}


def test_templates() -> None:
    """By digest: the recorded list is of captions with {} for the word."""
    digests = [hashlib.sha256(template.replace("X", "{}").encode()).hexdigest()[:16] for template in TEMPLATES]
    assert sorted(digests) == sorted(FACTS["templates"]["object"]["each_sha256_16"])


@pytest.mark.parametrize("name", CASES)
def test_captions_become_the_recorded_tokens(name: str) -> None:
    """By our tokenizer with our new words, of the prompts among the flags."""
    case = tuned_case(name)
    given = dict(flag.removeprefix("--").partition("=")[::2] for flag in case.facts["argv"])
    task: Any = case.tuner().task
    stack = task.stack
    ids = {tuple(row) for row in case.steps["micro0.input_ids"].tolist()}
    if "instance_prompt" in given and case.facts["method"] == "db":
        assert tuple(tokenize(stack, [given["instance_prompt"]])[0].tolist()) in ids
    if "class_prompt" in given:
        assert tuple(tokenize(stack, [given["class_prompt"]])[0].tolist()) in ids
    new = [token for row in ids for token in row if token >= len(tuned_stack().role("tokenizer"))]
    assert bool(new) == (case.facts["method"] != "db")
    assert set(new) <= set(stack.role("tokenizer").get_added_vocab().values())


@pytest.mark.parametrize("name", [name for name in CASES if "micro0.posterior_mean" in tuned_case(name).steps])
def test_posteriors(name: str) -> None:
    case = tuned_case(name)
    steps = case.steps
    pixels = steps.get("micro0.pixel_values", None)
    if pixels is None:
        pixels = steps["micro0.pixel_u8"].float() / 127.5 - 1
    mean, deviation = scaled_posterior(case.stack, pixels)
    scale = case.stack.role("vae").config.scaling_factor
    torch.testing.assert_close(mean / scale, steps["micro0.posterior_mean"], rtol=1e-5, atol=3e-5)
    torch.testing.assert_close(deviation / scale, steps["micro0.posterior_std"], rtol=1e-5, atol=3e-5)


def test_every_recorded_transform_is_tested() -> None:
    known = ("dreambooth", "textual inversion", "custom diffusion")
    assert FACTS["items"]
    assert all(item["method"].startswith(known) for item in FACTS["items"])
    assert Path(GOLDENS / "stack" / FACTS["items"][0]["image"]).exists()
