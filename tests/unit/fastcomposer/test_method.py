from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from fcbench import sampling
from fcbench.errors import FcbenchError, MissingError, UsageError, WeightsError
from fcbench.fastcomposer import method
from fcbench.fastcomposer.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from fcbench.fastcomposer.encoder import Fusion, embed_subjects
from fcbench.fastcomposer.method import FastComposer, fill_with_ends
from fcbench.files import write_image, write_json
from fcbench.sampling import draw, encode_text
from fcbench.types import Image, Prompt, Stack, Subject, subject_phrase

SNOW = Prompt("snow", "{} in the snow", "context")


@pytest.fixture
def checkpoint(stack: Stack, tmp_path: Path) -> Path:
    """The stack's own parts, with a fusion whose output is large enough to be seen."""
    torch.manual_seed(1)
    fusion = Fusion(16)
    with torch.no_grad():
        fusion.layer_norm.weight.mul_(8)
    save_checkpoint(tmp_path / "checkpoint", Checkpoint(stack.role("unet"), stack.role("image_encoder"), fusion), {})
    return tmp_path / "checkpoint"


@pytest.fixture
def subjects(tmp_path: Path) -> list[Subject]:
    made = []
    for number, noun in enumerate(("man", "woman")):
        photo = tmp_path / f"{noun}.png"
        write_image(photo, np.random.default_rng(number).integers(0, 256, (20, 16, 3), dtype=np.uint8))
        made.append(Subject(noun, noun, (photo,)))
    return made


def pictures(method: FastComposer, stack: Stack, subjects: list[Subject], workdir: Path) -> list[Image]:
    return method.fit(stack, subjects, seed=0, workdir=workdir)([SNOW, SNOW], [0, 1])


def test_without_subject_steps_it_draws_what_the_text_alone_does(
    checkpoint: Path, stack: Stack, subjects: list[Subject], tmp_path: Path
) -> None:
    made = pictures(FastComposer(alpha=0, checkpoint=str(checkpoint)), stack, subjects, tmp_path)
    text = encode_text(stack, [SNOW.fill(subject_phrase(["man", "woman"]))] * 2)
    unet = load_checkpoint(str(checkpoint), stack).unet
    for found, expected in zip(made, draw(stack, lambda call: text, [0, 1], unet=unet), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_the_photos_change_the_picture_and_so_does_their_order(
    checkpoint: Path, stack: Stack, subjects: list[Subject], tmp_path: Path
) -> None:
    method = FastComposer(alpha=1, checkpoint=str(checkpoint))
    text_only = pictures(FastComposer(alpha=0, checkpoint=str(checkpoint)), stack, subjects, tmp_path)
    both = pictures(method, stack, subjects, tmp_path)
    faces_swapped = [Subject(s.id, s.noun, other.images) for s, other in zip(subjects, subjects[::-1], strict=True)]
    swapped = pictures(method, stack, faces_swapped, tmp_path)
    assert not np.array_equal(both[0], text_only[0])
    assert not np.array_equal(both[0], swapped[0])


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_alpha_is_a_share(alpha: float) -> None:
    with pytest.raises(UsageError, match="from 0 to 1"):
        FastComposer(alpha=alpha)


def test_a_stack_without_a_checkpoint_is_an_error_that_says_so(stack: Stack, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="names no FastComposer checkpoint"):
        FastComposer().fit(stack, [], seed=0, workdir=tmp_path)


@pytest.mark.parametrize("nouns", [["man"], ["man", "woman"], ["man", "elf", "woman"]])
@pytest.mark.parametrize("text", ["{} in the snow", "a pencil sketch of {}"])
def test_each_subject_s_phrase_ends_with_its_noun(nouns: list[str], text: str) -> None:
    filled, ends = fill_with_ends(Prompt("x", text, "context"), nouns)
    assert [filled[:end].split()[-1] for end in ends] == nouns
    assert filled == text.replace("{}", subject_phrase(nouns))


PARTS = (
    "fastcomposer.json",
    "fusion.safetensors",
    "unet/diffusion_pytorch_model.safetensors",
    "unet/config.json",
    "image_encoder/model.safetensors",
)


@pytest.mark.parametrize("part", PARTS)
def test_a_missing_part_is_one_clear_error(checkpoint: Path, stack: Stack, part: str) -> None:
    (checkpoint / part).unlink()
    with pytest.raises(FcbenchError, match="checkpoint") as error:
        load_checkpoint(str(checkpoint), stack)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("part", PARTS[1:])
def test_a_part_cut_short_is_one_clear_error(checkpoint: Path, stack: Stack, part: str) -> None:
    file = checkpoint / part
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(FcbenchError, match=str(checkpoint)) as error:
        load_checkpoint(str(checkpoint), stack)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("part", PARTS[1:3] + PARTS[4:])
def test_a_misshapen_part_is_one_clear_error(checkpoint: Path, stack: Stack, part: str) -> None:
    file = checkpoint / part
    weights = load_file(file)
    key = max(weights, key=lambda name: weights[name].ndim)
    save_file({**weights, key: weights[key][:-1].contiguous()}, file)
    with pytest.raises(FcbenchError, match=str(checkpoint)) as error:
        load_checkpoint(str(checkpoint), stack)
    assert "\n" not in str(error.value)


def test_a_checkpoint_of_another_stack_is_refused_or_told_of(
    checkpoint: Path, stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    write_json(checkpoint / "fastcomposer.json", {"stack": "tiny", "digests": {"vae": "a", "tokenizer": "b"}})
    load_checkpoint(str(checkpoint), replace(stack, digests={"vae": "a", "tokenizer": "b"}))
    assert "has other weights" not in capsys.readouterr().err
    load_checkpoint(str(checkpoint), replace(stack, digests={"vae": "c", "tokenizer": "b"}))
    assert "has other weights now: vae; it was trained with --stack tiny" in capsys.readouterr().err
    wide = SimpleNamespace(config=SimpleNamespace(hidden_size=99))
    other = replace(stack, name="wide", load={**stack.load, "text_encoder": lambda: wide}, _loaded={})
    with pytest.raises(WeightsError, match=r"texts of 16 channels, stack wide has 99: .*--stack tiny"):
        load_checkpoint(str(checkpoint), other)


def test_a_checkpoint_comes_back_as_it_was_in_half_precision(checkpoint: Path, stack: Stack) -> None:
    parts = load_checkpoint(str(checkpoint), stack)
    for role in ("unet", "image_encoder"):
        for key, value in stack.role(role).state_dict().items():
            assert torch.equal(getattr(parts, role).state_dict()[key], value.half().to(value.dtype)), key
    assert not parts.unet.training


def test_a_save_that_was_killed_leaves_nothing_in_the_checkpoint_that_is_saved_after_it(
    stack: Stack, tmp_path: Path
) -> None:
    parts = Checkpoint(stack.role("unet"), stack.role("image_encoder"), Fusion(16))
    (tmp_path / "killed" / "unet").mkdir(parents=True)
    for half in ("unet/.tmpjNIom", ".fusion.safetensors.0123abcd.tmp"):
        (tmp_path / "killed" / half).write_bytes(b"half")
    for folder in ("killed", "whole"):
        save_checkpoint(tmp_path / folder, parts, {})
    killed, whole = (
        sorted(str(path.relative_to(tmp_path / name)) for path in (tmp_path / name).rglob("*"))
        for name in ("killed", "whole")
    )
    assert killed == whole
    assert "fusion.safetensors" in whole


@pytest.mark.parametrize(("alpha", "steps", "calls"), [(0.8, 4, 1), (0.6, 6, 2), (0.5, 4, 2), (1.0, 4, 0)])
def test_so_many_calls_see_the_text_alone(
    alpha: float,
    steps: int,
    calls: int,
    checkpoint: Path,
    stack: Stack,
    subjects: list[Subject],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[torch.Tensor] = []

    def draw(stack: Stack, text: Callable[[int], torch.Tensor], seeds: Sequence[int], **options: Any) -> list[Any]:
        given.extend(map(text, range(steps)))
        return []

    monkeypatch.setattr(sampling, "draw", draw)
    pictures(FastComposer(alpha=alpha, steps=steps, checkpoint=str(checkpoint)), stack, subjects, tmp_path)
    text = encode_text(stack, [SNOW.fill(subject_phrase(["man", "woman"]))] * 2)
    assert [torch.equal(each, text) for each in given] == [True] * calls + [False] * (steps - calls)


def test_a_photo_that_is_no_square_is_padded_before_it_is_embedded(
    checkpoint: Path, stack: Stack, subjects: list[Subject], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []

    def embed(image_encoder: Any, photos: torch.Tensor) -> torch.Tensor:
        seen.append(photos)
        return embed_subjects(image_encoder, photos)

    monkeypatch.setattr(method, "embed_subjects", embed)
    pictures(FastComposer(checkpoint=str(checkpoint), steps=1), stack, subjects, tmp_path)
    (photos,) = seen  # of 20 x 16 pixels, so that two of twenty columns are black on either side
    assert photos[..., (0, -1)].max() < -0.9
    assert photos[..., 4:-4].std() > 0.2
