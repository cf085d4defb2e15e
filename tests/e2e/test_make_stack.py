"""The recipe of the miniature stack, each stage for two steps; parser and faces, slow to train, are those that ship."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fcbench.errors import OutOfTimeError, UsageError
from fcbench.loop import Clock
from fcbench.make_stack import Sizes, make_base
from fcbench.stacks import find_stack, load_stack

pytestmark = pytest.mark.weights
SIZES = Sizes(
    scenes=120,
    groups=3,
    codec_steps=2,
    codec_refined_steps=2,
    clip_steps=2,
    matcher_steps=2,
    description_steps=2,
    segmenter_steps=1,
    captioner_steps=1,
    references=40,
    image_encoder_steps=2,
    base_scenes=64,
    base_groups=1,
    base_steps=2,
    attribute_scenes=6,
    attribute_steps=2,
)


def test_a_stack_is_made_from_nothing_in_pieces_and_every_role_of_it_loads(tmp_path: Path) -> None:
    shipped, made = find_stack("mini").parent, tmp_path / "stack"
    for role in ("parser", "faces"):
        shutil.copytree(shipped / role, made / role)
    with pytest.raises(OutOfTimeError, match="attributes: time is up after 1 of 2 steps"):
        make_base(made, tmp_path / "work", Clock(-1), device="cpu", sizes=SIZES)
    make_base(made, tmp_path / "work", Clock(10), device="cpu", sizes=SIZES)
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*") if path.name != "stack.yaml"}
    shutil.rmtree(made / "fastcomposer" / "image_encoder")  # as a kill while FastComposer is saved may leave it
    (made / ".vae.1234.tmp").mkdir()
    make_base(made, tmp_path / "work", Clock(10), device="cpu", sizes=SIZES)
    made_again = {path for path, time in before.items() if path.is_file() and path.stat().st_mtime_ns != time}
    assert {path.parent.name for path in made_again} == {"image_encoder"}
    assert not (made / ".vae.1234.tmp").exists()
    with pytest.raises(UsageError, match="was begun with another base_steps: take another --out"):
        make_base(made, tmp_path / "work", Clock(10), device="cpu", sizes=replace(SIZES, base_steps=3))
    stack = load_stack(str(made / "stack.yaml"))
    assert (made / "stack.yaml").read_bytes() == (shipped / "stack.yaml").read_bytes()
    for role in sorted(set(stack.load) - {"fusion"}):  # FastComposer is trained from the base, with ``train``
        assert stack.role(role) is not None
    known = load_stack("mini").role("unet").state_dict()
    weights = stack.role("unet").state_dict()
    assert {key: value.shape for key, value in weights.items()} == {key: value.shape for key, value in known.items()}
    assert all(torch.isfinite(value).all() for value in weights.values())
