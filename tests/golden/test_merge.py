"""Custom Diffusion's merge against the recorded one, its constraints, and that it is the least change."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from baselines.custom_diffusion import Merge, features
from baselines.tuning.models import with_models
from baselines.tuning.words import longer_encoder, longer_tokenizer
from fcbench.types import Stack
from tests.golden.tuned_cases import GOLDENS, tuned_stack

FACTS = json.loads((GOLDENS / "cd_merge" / "case.json").read_text())
LAYERS = sorted(FACTS["layers"])


@pytest.fixture(scope="module")
def recorded() -> dict[str, torch.Tensor]:
    return load_file(GOLDENS / "cd_merge" / "merge.safetensors")


@pytest.fixture(scope="module")
def targets(recorded: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    return [recorded["target_features"][recorded["target_owner"] == owner] for owner in (0, 1)]


@pytest.fixture(scope="module")
def merge(recorded: dict[str, torch.Tensor], targets: list[torch.Tensor]) -> Merge:
    return Merge(recorded["reg_features"], targets)


def merged(merge: Merge, recorded: dict[str, torch.Tensor], layer: str) -> torch.Tensor:
    base = dict(tuned_stack().role("unet").named_parameters())[layer].detach()
    return merge(base, [recorded[f"A.{layer}"], recorded[f"B.{layer}"]])


@pytest.mark.parametrize("layer", LAYERS)
def test_merged_weights(merge: Merge, recorded: dict[str, torch.Tensor], layer: str) -> None:
    made = merged(merge, recorded, layer)
    torch.testing.assert_close(made, recorded[f"merged.{layer}"].double(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("layer", LAYERS)
def test_each_subject_keeps_its_own_values(
    merge: Merge, recorded: dict[str, torch.Tensor], targets: list[torch.Tensor], layer: str
) -> None:
    made = merged(merge, recorded, layer)
    for rows, owner in zip(targets, ("A", "B"), strict=True):
        assert float((rows @ (made - recorded[f"{owner}.{layer}"].double()).T).norm()) < 1e-8


@pytest.mark.parametrize("layer", LAYERS)
def test_no_other_way_to_keep_them_changes_less(
    merge: Merge, recorded: dict[str, torch.Tensor], targets: list[torch.Tensor], layer: str
) -> None:
    made, regular = merged(merge, recorded, layer), recorded["reg_features"]
    base = dict(tuned_stack().role("unet").named_parameters())[layer].detach().double()
    drift, facts = float(((made - base) @ regular.T).norm()), FACTS["layers"][layer]
    assert drift**2 == pytest.approx(facts["objective"], rel=1e-6)
    assert float((made - base).norm()) == pytest.approx(facts["drift_fro"], rel=1e-6)
    rows = torch.cat(targets)
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        step = torch.randn(made.shape, generator=generator, dtype=torch.float64)
        step -= step @ torch.linalg.pinv(rows) @ rows  # what leaves all targets as they are
        assert float(((made + 1e-3 * step - base) @ regular.T).norm()) > drift


def test_the_condition_is_reported(merge: Merge) -> None:
    assert merge.condition == pytest.approx(FACTS["cond_gram"], rel=1e-6)


def test_features(recorded: dict[str, torch.Tensor], targets: list[torch.Tensor]) -> None:
    words = list(FACTS["token_ids"])
    rows = torch.stack([recorded["new1"], recorded["new2"]])
    stack: Stack = with_models(
        tuned_stack(),
        tokenizer=longer_tokenizer(tuned_stack(), words),
        text_encoder=longer_encoder(tuned_stack(), rows),
    )
    regular = features(stack, FACTS["reg_captions"], [1] * len(FACTS["reg_captions"]))
    torch.testing.assert_close(regular, recorded["reg_features"], rtol=0, atol=3e-5)
    made = features(stack, FACTS["target_strings"], FACTS["drop_first"])
    torch.testing.assert_close(made, recorded["target_features"], rtol=0, atol=3e-5)
