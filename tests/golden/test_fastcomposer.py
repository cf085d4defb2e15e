"""FastComposer against numbers recorded from the official code (float32, CPU); FCBENCH_GOLDENS names another set."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from fcbench.fastcomposer.encoder import Fusion
from fcbench.fastcomposer.localize import localization_loss
from fcbench.fastcomposer.method import first_subject_call
from tests.golden.golden_stack import GOLDENS, read, tensors

FUSIONS = sorted(file.stem for file in GOLDENS.glob("a_postfuse_dim*.json"))


def fusion_weights(facts: Any, stem: str) -> dict[str, torch.Tensor]:
    """The weights beside the cases, or made by the recipe in the JSON file."""
    if "weights_recipe" not in facts:
        stored = tensors(f"{stem}.safetensors")
        return {key.removeprefix("state."): value for key, value in stored.items() if key.startswith("state.")}
    made = {}
    for part in facts["weights_recipe"]:
        drawn = np.random.RandomState(part["seed"]).standard_normal(int(np.prod(part["shape"]))).astype("<f4")
        weight = np.float32(part["offset"]) + np.float32(part["scale"]) * drawn
        assert hashlib.sha256(weight.tobytes()).hexdigest() == part["sha256_f32le"], part["name"]
        made[part["name"]] = torch.from_numpy(weight).reshape(part["shape"])
    return made


@pytest.mark.parametrize(("stem", "case"), [(stem, case) for stem in FUSIONS for case in read(f"{stem}.json")["cases"]])
def test_fusion_gives_the_official_tokens(stem: str, case: str) -> None:
    facts, golden = read(f"{stem}.json"), tensors(f"{stem}.safetensors")
    fusion = Fusion(facts["embed_dim"])
    fusion.load_state_dict(fusion_weights(facts, stem))
    counts = golden[f"{case}.num_objects"]
    embeds = golden[f"{case}.object_embeds"]
    valid = torch.arange(embeds.shape[1])[None] < counts[:, None]
    with torch.no_grad():
        made = fusion(golden[f"{case}.text_embeds"], embeds.flatten(2)[valid], golden[f"{case}.image_token_mask"])
    torch.testing.assert_close(made, golden[f"{case}.output"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("case", read("b_loc_random.json"))
def test_localization_loss_equals_the_official_one(case: str, normalize: bool) -> None:
    facts = read("b_loc_random.json")[case]
    golden = tensors(facts["file"])
    expected = facts["expected"][f"normalize_{str(normalize).lower()}"]
    slots = torch.arange(1, golden["image_token_idx"].shape[1] + 1)
    masks = (golden["idmap"][:, None] == slots[:, None, None]).float()
    losses = {}
    for layer in facts["layer_order"]:
        maps = golden[f"attn.{layer}"].unflatten(0, (len(masks), -1))
        side = round(maps.shape[2] ** 0.5)
        index = golden["image_token_idx"][:, None, None, :].expand(*maps.shape[:3], -1)
        resized = functional.interpolate(masks, (side, side), mode="bilinear", antialias=True, align_corners=False)
        attention = maps.gather(3, index).transpose(2, 3)
        valid = golden["image_token_idx_mask"]
        losses[layer] = float(localization_loss(attention, resized.flatten(2), valid, normalize=normalize))
    for layer, value in expected["per_layer"].items():
        assert losses[layer] == pytest.approx(value, rel=1e-4, abs=1e-6)
    assert sum(losses.values()) / len(losses) == pytest.approx(expected["mean"], rel=1e-4, abs=1e-6)


def test_the_official_switch_follows_the_recorded_table() -> None:
    for steps, row in read("d_inference.json")["alpha_switch_table"].items():
        for alpha, counts in row.items():
            n = int(steps)
            for extra, key in ((0, "num_text_only_calls_of_n"), (1, "num_text_only_calls_of_n_plus_1")):
                assert first_subject_call(float(alpha), n + extra, n, switch="official") == counts[key], (steps, alpha)
