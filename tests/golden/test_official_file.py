"""The official single file: read onto a stack, turned into our folder and back; FCBENCH_GOLDENS names another."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from fcbench.errors import MissingError, UsageError, WeightsError
from fcbench.fastcomposer.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from fcbench.fastcomposer.convert import convert
from fcbench.fastcomposer.official import official_name, read_official
from fcbench.files import read_json
from fcbench.types import Stack
from tests.golden.golden_stack import bare_stack, golden_stack, official_weights

Weights = dict[str, torch.Tensor]
STACK, FUSION = golden_stack()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The recorded model as an official file."""
    return saved(tmp_path / "official" / "pytorch_model.bin", official_weights())


def saved(file: Path, weights: Any) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(weights if not isinstance(weights, Mapping) else dict(weights), file)
    return file


def assert_same(made: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> None:
    assert made.keys() == expected.keys()
    for name, value in expected.items():
        assert made[name].dtype == value.dtype, name
        assert torch.equal(made[name], value), name


def assert_recorded(parts: Checkpoint) -> None:
    """Every trained weight is the recorded one."""
    for role, model in (("unet", parts.unet), ("image_encoder", parts.image_encoder), ("fusion", parts.fusion)):
        for name, value in model.state_dict().items():
            assert torch.equal(value, official_weights()[official_name(role, name)]), (role, name)


def bare() -> Stack:
    """A stack with the recorded frozen parts, and random weights where the checkpoint brings its own."""
    frozen, other = golden_stack()[0], bare_stack()
    own = {role: (lambda role=role: frozen.role(role)) for role in ("text_encoder", "vae")}
    return Stack("half", {**other.load, **own}, image_size=other.image_size)


def test_the_golden_file_has_each_kind_of_name() -> None:
    kinds = {
        "text_encoder.final_layer_norm.bias",
        "text_encoder.embeddings.position_ids",
        "vae.decoder.mid_block.attentions.0.query.weight",
        "postfuse_module.layer_norm.bias",
    }
    assert kinds <= official_weights().keys()


def test_an_official_file_is_read_whole_from_the_file_and_from_its_folder(file: Path) -> None:
    for place in (file, file.parent):
        parts = load_checkpoint(str(place), bare())
        assert_recorded(parts)
        assert not parts.unet.training
        assert parts.image_encoder.vision_model.embeddings.position_ids.tolist()[0][:3] == [0, 1, 2]


def test_the_stack_stays_as_it_was(file: Path) -> None:
    stack = bare()
    before = {name: value.clone() for name, value in stack.role("unet").state_dict().items()}
    load_checkpoint(str(file), stack)
    assert all(torch.equal(value, before[name]) for name, value in stack.role("unet").state_dict().items())
    assert "image_encoder" not in stack._loaded  # asked for to be copied, and a gigabyte at full size


def test_newer_names_and_attention_as_convolutions_are_read_too(tmp_path: Path) -> None:
    new = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}

    def renew(name: str, value: torch.Tensor) -> tuple[str, torch.Tensor]:
        for old, now in new.items():
            if name.startswith("vae.") and old in name:
                return name.replace(old, now), value[..., None, None] if value.ndim == 2 else value
        return name.replace("text_encoder.", "text_encoder.text_model."), value

    tables = [name for name in official_weights() if name.endswith("position_ids")]
    weights = dict(renew(name, value) for name, value in official_weights().items() if name not in tables)
    file = saved(tmp_path / "newer.bin", weights)
    assert_recorded(load_checkpoint(str(file), bare()))
    convert(str(file), tmp_path / "ours", STACK)
    assert_same(read_official(convert(str(tmp_path / "ours"), tmp_path / "back.bin", STACK)), weights)


def first_key_of(role: str) -> str:
    return next(name for name in official_weights() if name.startswith(role) and not name.endswith("position_ids"))


def without(name: str) -> Weights:
    return {key: value for key, value in official_weights().items() if key != name}


def without_role(role: str) -> Weights:
    return {key: value for key, value in official_weights().items() if not key.startswith(role)}


ROLES = ("text_encoder.", "image_encoder.", "vae.", "unet.", "postfuse_module.")
FAULTS: dict[str, tuple[Callable[[], Any], str]] = {
    "unexpected": (lambda: {**official_weights(), "ema.decay": torch.ones(1)}, r": 1 unexpected \(ema\.decay\)$"),
    "misshapen": (
        lambda: {**official_weights(), "unet.conv_in.bias": torch.zeros(3)},
        r": 1 misshapen \(unet\.conv_in\.bias \(3,\) for ",
    ),
    "nested": (lambda: {"module": dict(official_weights())}, "flat table"),
    "a list": (lambda: [1, 2], "flat table"),
    "empty": (dict, "missing"),
}
for part in ROLES:
    key = first_key_of(part)
    FAULTS[f"no {part}"] = (functools.partial(without_role, part), rf"missing \({part}.*, \.\.\.\)")
    FAULTS[f"one of {part}"] = (functools.partial(without, key), rf": 1 missing \({key}\)$")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_that_does_not_fit_says_in_one_line_what_is_wrong(fault: str, tmp_path: Path) -> None:
    make, said = FAULTS[fault]
    file = saved(tmp_path / "wrong.bin", make())
    for attempt in (lambda: load_checkpoint(str(file), STACK), lambda: convert(str(file), tmp_path / "ours", STACK)):
        with pytest.raises(WeightsError, match=said) as error:
            attempt()
        assert str(error.value).startswith(str(file))
        assert "\n" not in str(error.value)
    assert not (tmp_path / "ours").exists()


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.999])
def test_a_file_cut_short_is_one_clear_error(share: float, file: Path) -> None:
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])
    with pytest.raises(WeightsError, match=f"{file}: cut short") as error:
        load_checkpoint(str(file), STACK)
    assert "\n" not in str(error.value)


class Evil:
    """Runs code where it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return (Path.touch, (Path("owned"),))  # type: ignore[return-value]


@pytest.mark.parametrize("save", [torch.save, lambda thing, path: path.write_bytes(pickle.dumps(thing))])
def test_nothing_in_a_file_is_executed(
    save: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save({"unet.conv_in.bias": Evil()}, tmp_path / "evil.bin")
    with pytest.raises(WeightsError, match="not a file of PyTorch weights"):
        load_checkpoint(str(tmp_path / "evil.bin"), STACK)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("role", ["text_encoder", "vae"])
def test_a_file_for_other_frozen_models_is_refused(role: str, tmp_path: Path) -> None:
    key = first_key_of(f"{role}.")
    file = saved(tmp_path / "other.bin", {**official_weights(), key: official_weights()[key] + 0.1})
    with pytest.raises(WeightsError, match=rf"stack 'golden' \(1 of \d+ weights differ, {key} first\)"):
        load_checkpoint(str(file), STACK)
    convert(str(file), tmp_path / "ours", STACK)
    with pytest.raises(WeightsError, match=r"frozen\.safetensors: its text encoder or autoencoder"):
        load_checkpoint(str(tmp_path / "ours"), STACK)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_frozen_models_may_be_rounded(dtype: torch.dtype, tmp_path: Path) -> None:
    rounded = {
        name: value.to(dtype) if value.is_floating_point() else value for name, value in official_weights().items()
    }
    file = saved(tmp_path / "rounded.bin", rounded)
    parts = load_checkpoint(str(file), STACK)
    assert parts.unet.dtype == torch.float32
    assert torch.equal(parts.unet.conv_in.bias, rounded["unet.conv_in.bias"].float())


def test_a_stack_of_random_weights_takes_any_checkpoint(file: Path) -> None:
    stack = bare_stack()
    with pytest.raises(WeightsError, match="weights differ"):
        load_checkpoint(str(file), stack)
    stack.random_weights = True
    assert_recorded(load_checkpoint(str(file), stack))


def test_there_and_back_every_bit_is_the_same(file: Path, tmp_path: Path) -> None:
    ours = convert(str(file), tmp_path / "ours", STACK)
    assert not (ours / "frozen.safetensors").exists(), "the stack has these"
    assert_recorded(load_checkpoint(str(ours), STACK))
    back = convert(str(ours), tmp_path / "back", STACK)
    assert back == tmp_path / "back" / "pytorch_model.bin"
    assert_same(read_official(back), official_weights())
    assert read_json(ours / "fastcomposer.json")["stack"] == "golden"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_there_and_back_types_are_kept_and_what_the_stack_has_not(dtype: torch.dtype, tmp_path: Path) -> None:
    weights = dict(official_weights())
    for name in list(weights)[::2]:  # half of the tensors, and of every model
        if weights[name].is_floating_point():
            weights[name] = (weights[name] + 0.25).to(dtype)
    ours = convert(str(saved(tmp_path / "mixed.bin", weights)), tmp_path / "ours", STACK)
    assert_same(read_official(convert(str(ours), tmp_path / "back.bin", STACK)), weights)
    assert_same(read_official(convert(str(ours), tmp_path / "again.bin", bare_stack())), weights)


def test_our_own_training_s_folder_becomes_an_official_file_and_back(tmp_path: Path) -> None:
    ours = tmp_path / "ours"
    save_checkpoint(ours, Checkpoint(STACK.role("unet"), STACK.role("image_encoder"), FUSION), {"digests": {}})
    file = convert(str(ours), tmp_path / "made.bin", STACK)
    made = read_official(file)
    assert made.keys() == official_weights().keys()
    assert made["unet.conv_in.bias"].dtype == made["postfuse_module.layer_norm.bias"].dtype == torch.float16
    assert_same({k: v for k, v in made.items() if k.startswith(("text_encoder", "vae"))}, frozen_part())
    again = convert(str(file), tmp_path / "again", STACK)
    for name, value in load_checkpoint(str(again), STACK).unet.state_dict().items():
        assert torch.equal(value, official_weights()[f"unet.{name}"].half().float()), name


def test_a_stack_of_random_weights_gives_architectures_alone(file: Path, tmp_path: Path) -> None:
    random = bare_stack()
    random.random_weights = True
    ours = convert(str(file), tmp_path / "ours", random)
    assert_same(read_official(convert(str(ours), tmp_path / "back.bin", random)), official_weights())
    (ours / "frozen.safetensors").unlink()
    with pytest.raises(WeightsError, match="would be random"):
        convert(str(ours), tmp_path / "never.bin", random)


def frozen_part() -> Weights:
    return {k: v for k, v in official_weights().items() if k.startswith(("text_encoder", "vae"))}


def test_a_folder_of_another_stack_takes_no_frozen_weights_from_this_one(file: Path, tmp_path: Path) -> None:
    stack, other = bare(), bare()
    stack.digests, other.digests = {"vae": "1", "text_encoder": "1"}, {"vae": "2", "text_encoder": "1"}
    ours = convert(str(file), tmp_path / "ours", stack)
    with pytest.raises(WeightsError, match="made with another vae than stack 'half'"):
        convert(str(ours), tmp_path / "back.bin", other)
    assert not (tmp_path / "back.bin").exists()


def test_what_is_there_is_not_written_over(file: Path, tmp_path: Path) -> None:
    ours = convert(str(file), tmp_path / "ours", STACK)
    for source, target in ((file, ours), (ours, file)):
        with pytest.raises(UsageError, match="already there"):
            convert(str(source), target, STACK)


@pytest.mark.parametrize("part", ["unet/diffusion_pytorch_model", "image_encoder/model", "fusion"])
def test_a_part_of_our_folder_with_a_weight_less_is_refused(part: str, file: Path, tmp_path: Path) -> None:
    ours = convert(str(file), tmp_path / "ours", STACK)
    broken = ours / f"{part}.safetensors"
    weights = load_file(broken)
    weights.popitem()
    save_file(weights, broken, metadata={"format": "pt"})
    for attempt in (lambda: load_checkpoint(str(ours), STACK), lambda: convert(str(ours), tmp_path / "back", STACK)):
        with pytest.raises(WeightsError, match=r"[mM]issing") as error:
            attempt()
        assert "\n" not in str(error.value)
    assert not (tmp_path / "back").exists()


def test_a_hub_id_that_is_not_at_hand_says_how_to_fetch_it() -> None:
    for place, command in (("no/such", "hf download no/such$"), ("no/such@v2", "hf download no/such --revision v2$")):
        with pytest.raises(MissingError, match=command):
            load_checkpoint(place, STACK)
