"""Single files of Stable Diffusion v1: under latent diffusion's names, diffusers' names, pickled, broken."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from fcbench.errors import DataError, UsageError
from fcbench.stacks import load_stack, single_file
from fcbench.types import Stack
from tests.toys import ldm_names
from tests.toys.tiny import CLASSES, CONFIGURATIONS, stack_of, untrained_stack, write_configurations

ROLES = ("text_encoder", "vae", "unet")
CROSS = {"layers_per_block": 2, "block_out_channels": [8, 8, 8]}
CROSS |= {"down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"]}
CROSS |= {"up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"]}
NAMES = {
    "model.diffusion_model.input_blocks.0.0.weight": (320, 4, 3, 3),
    "model.diffusion_model.input_blocks.3.0.op.weight": (320, 320, 3, 3),
    "model.diffusion_model.input_blocks.4.0.skip_connection.weight": (640, 320, 1, 1),
    "model.diffusion_model.input_blocks.11.0.emb_layers.1.weight": (1280, 1280),
    "model.diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_k.weight": (1280, 768),
    "model.diffusion_model.output_blocks.2.1.conv.weight": (1280, 1280, 3, 3),
    "model.diffusion_model.output_blocks.5.2.conv.weight": (1280, 1280, 3, 3),
    "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.ff.net.0.proj.weight": (2560, 320),
    "model.diffusion_model.out.2.weight": (4, 320, 3, 3),
    "first_stage_model.encoder.down.1.block.0.nin_shortcut.weight": (256, 128, 1, 1),
    "first_stage_model.encoder.mid.attn_1.q.weight": (512, 512, 1, 1),
    "first_stage_model.decoder.up.3.upsample.conv.weight": (512, 512, 3, 3),
    "first_stage_model.decoder.up.0.block.2.conv2.weight": (128, 128, 3, 3),
    "first_stage_model.quant_conv.weight": (8, 8, 1, 1),
    "cond_stage_model.transformer.text_model.encoder.layers.11.mlp.fc1.weight": (3072, 768),
}
"""As they stand in v1-5-pruned-emaonly, which has 686, 248 and 197 of the three prefixes."""


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    """Models with random weights; their configurations stand in for those of Stable Diffusion v1."""
    write_configurations(tmp_path, unet=CONFIGURATIONS["unet"] | CROSS)
    monkeypatch.setattr(single_file, "_SD15", tmp_path)
    return untrained_stack(tmp_path, *ROLES)


@pytest.fixture
def tensors(tiny: Stack) -> dict[str, torch.Tensor]:
    """The tiny models' weights as one file names them, and the average that training files hold as well."""
    weights = ldm_names.single_file(*(tiny.role(role) for role in ("unet", "vae", "text_encoder")))
    return weights | {f"model_ema.{number}": torch.zeros(1) for number in range(101)}


def on(file: Path, role: str) -> Any:
    return stack_of(file.parent, **{role: {"class": CLASSES[role], "path": file.name}}).role(role)


def write(file: Path, tensors: dict[str, torch.Tensor]) -> None:
    """As the suffix says; a .ckpt as a trainer leaves it."""
    if file.suffix == ".ckpt":
        torch.save({"state_dict": tensors, "global_step": 840000}, file)
    else:
        save_file({name: value.contiguous() for name, value in tensors.items()}, file)


def assert_same_bits(made: Any, expected: Any) -> None:
    one, other = made.state_dict(), expected.state_dict()
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def test_the_names_are_those_of_stable_diffusion_v1() -> None:
    sd15 = load_stack("sd15", device="meta", random_weights=True)
    named = ldm_names.single_file(*(sd15.role(role) for role in ("unet", "vae", "text_encoder")))
    assert {name: tuple(named[name].shape) for name in NAMES} == NAMES
    counted = Counter(name.partition(".")[0] for name in named)
    assert counted == {"model": 686, "first_stage_model": 248, "cond_stage_model": 197}


@pytest.mark.parametrize("suffix", single_file.SUFFIXES)
@pytest.mark.parametrize("role", ROLES)
def test_a_role_comes_out_of_a_single_file_to_the_bit(
    role: str, suffix: str, tiny: Stack, tensors: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    file = tmp_path / f"sd{suffix}"
    write(file, tensors)
    assert_same_bits(on(file, role), tiny.role(role))


def test_a_text_encoder_out_of_a_single_file_encodes_alike(
    tiny: Stack, tensors: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    write(tmp_path / "sd.safetensors", tensors)
    ids = torch.tensor([[49406, 320, 49407]])
    with torch.no_grad():
        made = on(tmp_path / "sd.safetensors", "text_encoder")(ids).last_hidden_state
        assert torch.equal(made, tiny.role("text_encoder")(ids).last_hidden_state)


def test_a_file_of_one_role_alone_may_have_diffusers_names(tiny: Stack, tmp_path: Path) -> None:
    save_file(
        {name: value.contiguous() for name, value in tiny.role("unet").state_dict().items()}, tmp_path / "u.safetensors"
    )
    assert_same_bits(on(tmp_path / "u.safetensors", "unet"), tiny.role("unet"))


@pytest.mark.parametrize("role", ROLES)
def test_a_file_that_lacks_a_weight_of_a_role_or_all_is_refused(
    role: str, tensors: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    prefix = single_file._PREFIXES[role]
    file = tmp_path / "sd.safetensors"
    mine = sorted(name for name in tensors if name.startswith(prefix) and name.endswith("bias"))
    write(file, {name: value for name, value in tensors.items() if name != mine[-1]})
    with pytest.raises(DataError, match=rf"sd.safetensors: 1 weights of the {role} are not in it, .*bias the first"):
        on(file, role)
    save_file({"something": torch.zeros(2)}, file)
    with pytest.raises(DataError, match=rf"sd.safetensors: .*{role}"):
        on(file, role)


def test_a_file_cut_short_is_refused_in_a_line(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    for suffix in single_file.SUFFIXES:
        file = tmp_path / f"sd{suffix}"
        write(file, tensors)
        file.write_bytes(file.read_bytes()[:-100])
        with pytest.raises(DataError, match=rf"sd{suffix}: no unet can be read from it"):
            on(file, "unet")


class Trainer:
    """What no file of weights has any business to hold."""


def test_nothing_but_tensors_is_unpickled(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    torch.save({"state_dict": tensors, "callbacks": Trainer()}, tmp_path / "sd.ckpt")
    with pytest.raises(DataError, match=r"sd.ckpt: holds more than tensors.*take the \.safetensors file"):
        on(tmp_path / "sd.ckpt", "unet")
    (tmp_path / "sd.bin").write_bytes(b"not opened")
    with pytest.raises(UsageError, match=r"ends in \.safetensors or \.ckpt"):
        on(tmp_path / "sd.bin", "unet")


@pytest.mark.parametrize("suffix", single_file.SUFFIXES)
def test_sd15_can_be_set_on_a_single_file(
    suffix: str, tensors: dict[str, torch.Tensor], tmp_path: Path, tiny: Stack
) -> None:
    file = tmp_path / f"sd{suffix}"
    write(file, tensors)
    stack = load_stack(str(file))
    assert stack.name == f"sd15 on {file.name}"
    assert stack.role("tokenizer").model_max_length == 77
    assert stack.digests["unet"] == stack.digests["vae"]
    assert_same_bits(stack.role("vae"), tiny.role("vae"))
    with pytest.raises(UsageError, match="no such file"):
        load_stack(f"nowhere{suffix}")


def test_sd15_can_be_set_on_a_folder(weights: Path) -> None:
    (weights / "model_index.json").write_text("{}")
    stack = load_stack(str(weights))
    assert stack.name == f"sd15 on {weights.name}"
    assert sum(p.numel() for p in stack.role("unet").parameters()) < 100_000


def test_a_folder_may_hold_its_weights_in_float16_alone(weights: Path) -> None:
    (weights / "model_index.json").write_text("{}")
    for file in [*weights.rglob("*.safetensors")]:
        file.rename(file.with_name(file.name.replace(".safetensors", ".fp16.safetensors")))
    stack = load_stack(str(weights))
    for role in ("unet", "vae", "text_encoder"):
        assert stack.role(role) is not None
