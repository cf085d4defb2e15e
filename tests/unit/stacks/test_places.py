"""Where a role's model may come from: folders, single files, the hub's cache; and what is said when it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from fcbench.errors import DataError, MissingError, UsageError
from fcbench.stacks import load_stack, single_file
from fcbench.types import Stack

COMMIT = "0123456789abcdef0123456789abcdef01234567"
UNET = "diffusers.UNet2DConditionModel"


def stack_of(folder: Path, **roles: dict[str, Any]) -> Stack:
    file = folder / "tiny.yaml"
    file.write_text(yaml.safe_dump({"name": "tiny", "image_size": 16, "roles": roles}))
    return load_stack(str(file))


@pytest.fixture
def weights(configurations: Path) -> Path:
    """A folder a role, with weights."""
    classes = {
        "unet": UNET,
        "vae": "diffusers.AutoencoderKL",
        "text_encoder": "transformers.CLIPTextModel",
    }
    file = configurations / "untrained.yaml"
    spec = {"name": "tiny", "image_size": 16, "roles": {r: {"class": c, "path": r} for r, c in classes.items()}}
    file.write_text(yaml.safe_dump(spec))
    stack = load_stack(str(file), random_weights=True)
    for role in classes:
        stack.role(role).save_pretrained(configurations / role)
    return configurations


@pytest.fixture
def cache(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache with the U-Net of ``owner/name``, its branch main at COMMIT; returns the snapshot."""
    cached = tmp_path / "hub" / "models--owner--name"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text(COMMIT)
    snapshot = cached / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (weights / "unet").rename(snapshot / "unet")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return snapshot


def test_a_hub_id_is_read_from_the_cache_and_its_commit_noted(cache: Path, tmp_path: Path) -> None:
    stack = stack_of(tmp_path, unet={"class": UNET, "hub": "owner/name", "subfolder": "unet"})
    stack.role("unet")
    assert stack.digests == {"unet": f"owner/name@{COMMIT}"}


def test_a_commit_that_comes_while_loading_is_noted_then(cache: Path, tmp_path: Path) -> None:
    reference = cache.parent.parent / "refs" / "main"
    reference.rename(tmp_path / "main")
    stack = stack_of(tmp_path, unet={"class": UNET, "hub": "owner/name", "subfolder": "unet"})
    assert stack.digests == {"unet": "owner/name@main"}
    (tmp_path / "main").rename(reference)
    stack.role("unet")
    assert stack.digests == {"unet": f"owner/name@{COMMIT}"}


def test_what_is_not_cached_is_named_with_the_command_that_fetches_it(cache: Path, tmp_path: Path) -> None:
    (cache / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    part = {"class": UNET, "hub": "owner/name", "subfolder": "unet", "revision": COMMIT}
    with pytest.raises(MissingError) as caught:
        stack_of(tmp_path, unet=part).role("unet")
    command = f"hf download owner/name --revision {COMMIT} --include unet/config.json --include unet/diffusion_pytorch"
    assert command in str(caught.value)


def test_a_folder_that_lacks_a_weight_is_refused(weights: Path) -> None:
    file = weights / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    del tensors["conv_in.bias"]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(DataError, match=r"unet: 1 weights of diffusers.UNet2DConditionModel are not there, conv_in"):
        stack_of(weights, unet={"class": UNET, "path": "unet"}).role("unet")


def test_text_encoders_are_read_with_and_without_the_older_prefix(weights: Path) -> None:
    part = {"class": "transformers.CLIPTextModel", "path": "text_encoder"}
    before = stack_of(weights, text_encoder=part).role("text_encoder").state_dict()
    file = weights / "text_encoder" / "model.safetensors"
    older = {f"text_model.{key}": value for key, value in load_file(file).items()}
    older["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    save_file(older, file, metadata={"format": "pt"})
    after = stack_of(weights, text_encoder=part).role("text_encoder").state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.fixture
def single(weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All roles in one file, the text encoder under Stable Diffusion's own names."""
    monkeypatch.setattr(single_file, "_SD15", weights)
    tensors = {
        f"cond_stage_model.transformer.text_model.{key}": value
        for key, value in load_file(weights / "text_encoder" / "model.safetensors").items()
    }
    tensors["cond_stage_model.transformer.text_model.embeddings.position_ids"] = torch.arange(77)[None]
    file = weights / "sd.safetensors"
    save_file(tensors, file)
    return file


def test_a_text_encoder_comes_out_of_a_single_file(single: Path) -> None:
    part = {"class": "transformers.CLIPTextModel", "path": "text_encoder"}
    expected = stack_of(single.parent, text_encoder=part).role("text_encoder")
    made = stack_of(single.parent, text_encoder={**part, "path": single.name}).role("text_encoder")
    ids = torch.tensor([[49406, 320, 49407]])
    with torch.no_grad():
        assert torch.equal(made(ids).last_hidden_state, expected(ids).last_hidden_state)


def test_a_unet_comes_out_of_a_single_file(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(single_file, "_SD15", weights)
    file = weights / "unet" / "diffusion_pytorch_model.safetensors"
    part = {"class": UNET, "path": "unet"}
    expected = stack_of(weights, unet=part).role("unet").state_dict()
    made = stack_of(weights, unet={**part, "path": str(file.relative_to(weights))}).role("unet").state_dict()
    assert all(torch.equal(made[key], expected[key]) for key in expected)


def test_a_single_file_without_a_role_is_refused(single: Path) -> None:
    with pytest.raises(DataError, match=r"sd.safetensors: no unet can be read from it"):
        stack_of(single.parent, unet={"class": UNET, "path": single.name}).role("unet")
    cut = {k: v for k, v in load_file(single).items() if "final_layer_norm.bias" not in k}
    save_file(cut, single)
    part = {"class": "transformers.CLIPTextModel", "path": single.name}
    with pytest.raises(
        DataError, match=r"1 weights of the text_encoder are not in it, final_layer_norm.bias the first"
    ):
        stack_of(single.parent, text_encoder=part).role("text_encoder")


def test_a_pickled_single_file_is_never_opened(weights: Path) -> None:
    (weights / "sd.ckpt").write_bytes(b"not opened")
    with pytest.raises(UsageError, match=r"only \.safetensors is read"):
        stack_of(weights, unet={"class": UNET, "path": "sd.ckpt"}).role("unet")


def test_sd15_can_be_set_on_a_folder_or_a_file(weights: Path, single: Path) -> None:
    (weights / "model_index.json").write_text("{}")
    on_folder = load_stack(str(weights))
    assert on_folder.name == "sd15"
    assert sum(p.numel() for p in on_folder.role("unet").parameters()) < 100_000
    on_file = load_stack(str(single))
    assert on_file.role("tokenizer").model_max_length == 77
    assert on_file.digests["unet"] == on_file.digests["vae"] != on_folder.digests["unet"]
    with pytest.raises(UsageError, match="no such file"):
        load_stack("nowhere.safetensors")
