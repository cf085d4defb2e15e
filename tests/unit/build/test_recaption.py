"""Captions that photos bring, and the captioner: when it is asked, and when it need not even be here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fcbench.build import build_data
from fcbench.build.command import Asked, takedown
from fcbench.build.evaluate import evaluate
from fcbench.build.plan import plan_build
from fcbench.build.rows import Rows
from fcbench.errors import MissingError, UsageError
from fcbench.files import read_json, write_image
from fcbench.masks import encode_mask
from fcbench.store import data_folder
from fcbench.types import Image, Stack
from tests.toys.build_toys import stack_file


class Talker:
    def __init__(self, text: str = "a man and a woman") -> None:
        self._text = text

    def captions(self, images: Sequence[Image]) -> list[str]:
        return [self._text for _ in images]


def absent() -> Any:
    raise MissingError("the weights are not there")


def with_roles(stack: Stack, **loaders: Any) -> Stack:
    digests = {**stack.digests, **dict.fromkeys(loaders, "some")}
    return Stack(stack.name, {**stack.load, **loaders}, stack.image_size, digests=digests)


def captions(out: Path) -> set[str]:
    rows = Rows(data_folder(out, "world"))
    return {row["caption"] for split in rows.splits for row in rows.of(split, ("caption",))}


def test_a_captioner_that_is_not_here_is_not_missed_where_photos_bring_their_captions(
    stack: Stack, tmp_path: Path
) -> None:
    told = build_data(tmp_path, photos=6, stack=with_roles(stack, captioner=absent), progress=None)
    assert told.accepted == 6
    with pytest.raises(MissingError, match="not there"):
        build_data(
            tmp_path, photos=6, stack=with_roles(stack, captioner=absent), recaption=True, update=True, progress=None
        )


def test_a_segmenter_that_is_not_here_is_missed_in_the_world(stack: Stack, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="not there"):
        build_data(tmp_path, photos=6, stack=with_roles(stack, segmenter=absent), progress=None)


def test_every_photo_is_captioned_where_that_is_asked_and_it_is_another_recipe(stack: Stack, tmp_path: Path) -> None:
    talking = with_roles(stack, captioner=Talker)
    build_data(tmp_path, photos=6, stack=talking, progress=None)
    brought = captions(tmp_path)
    assert brought != {"a man and a woman"}
    with pytest.raises(UsageError, match="recaption False there, True asked"):
        build_data(tmp_path, photos=6, stack=talking, recaption=True, progress=None)
    build_data(tmp_path, photos=6, stack=talking, recaption=True, update=True, progress=None)
    assert captions(tmp_path) == {"a man and a woman"}
    build_data(tmp_path, photos=6, stack=talking, update=True, progress=None)
    assert captions(tmp_path) == brought


def test_without_a_captioner_nobody_can_caption_again(stack: Stack, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--recaption: the stack 'mini' has no captioner"):
        build_data(tmp_path, photos=6, stack=stack, recaption=True, progress=None)


@pytest.mark.parametrize("recaption", [True, False])
def test_the_command_that_takes_photos_out_again_captions_as_the_build_did(recaption: bool, tmp_path: Path) -> None:
    asked = Asked("world", "world", 6, "mini", "cpu", recaption=recaption)
    assert (" --recaption " in takedown(tmp_path, asked)) is recaption


def test_a_segmenter_that_is_not_here_is_not_missed_where_photos_bring_their_people(
    stack: Stack, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    mask = np.zeros((64, 64), bool)
    mask[20:60, 10:50] = True
    write_image(photos / "a.png", np.full((64, 64, 3), 90, np.uint8))
    sidecar = {"caption": "a man on the beach", "people": [{"mask": encode_mask(mask), "person_id": "ann"}]}
    (photos / "a.json").write_text(json.dumps(sidecar))
    lacking = with_roles(stack, captioner=absent, segmenter=absent)
    told = build_data(tmp_path, source="folder", images=photos, name="mine", stack=lacking, progress=None)
    assert told.accepted == 1
    assert sorted(read_json(data_folder(tmp_path, "mine").build)["models"]) == ["matcher", "parser"]


def test_a_build_names_the_models_that_it_asked(stack: Stack, tmp_path: Path) -> None:
    talking, folder = with_roles(stack, captioner=Talker), data_folder(tmp_path, "world")
    build_data(tmp_path, photos=6, stack=talking, progress=None)
    assert "captioner" not in read_json(folder.build)["models"]
    assert "| captioner |" not in folder.card.read_text()
    build_data(tmp_path, photos=6, stack=talking, recaption=True, update=True, progress=None)
    assert read_json(folder.build)["models"]["captioner"] == "some"


def test_only_what_a_captioner_told_is_measured_as_its_own(stack: Stack, tmp_path: Path) -> None:
    folder = data_folder(tmp_path, "world")
    build_data(tmp_path, photos=6, stack=with_roles(stack, captioner=Talker), progress=None)
    assert "stated_true" not in evaluate(folder).proportions
    stating = with_roles(stack, captioner=lambda: Talker("a man in a red shirt and a woman in a blue shirt"))
    build_data(tmp_path, photos=6, stack=stating, recaption=True, update=True, progress=None)
    assert evaluate(folder).proportions["stated_true"].of > 0


@pytest.mark.parametrize("recaption", [True, False])
def test_the_plan_says_that_nobody_is_there_to_recaption(recaption: bool, tmp_path: Path) -> None:
    asked = Asked("world", "world", 6, str(stack_file(tmp_path)), "cpu", recaption=recaption)
    (line,) = [line for line in plan_build(asked, tmp_path) if line.startswith("captioner")]
    assert ("MISSING" in line, "--recaption needs one" in line) == (recaption, recaption)


def test_the_plan_says_who_is_asked_only_where_something_is_lacking(tmp_path: Path) -> None:
    lines = plan_build(Asked("world", "world", 6, "sd15", "cpu"), tmp_path)
    assert [line.endswith("; only where a photo brings no caption") for line in lines if "captioner " in line] == [True]
    assert sum(line.endswith("; only where a photo brings no segments") for line in lines) == 1
    again = plan_build(Asked("world", "world", 6, "sd15", "cpu", recaption=True), tmp_path)
    assert not any("brings no caption" in line for line in again)


def test_the_plan_says_of_a_class_alone_that_it_has_no_weights(tmp_path: Path) -> None:
    file = stack_file(tmp_path / "stack", seed=0)
    file.write_text(file.read_text().replace("roles:\n", "roles:\n  scorer: {class: my_package.module.Aesthetic}\n"))
    (line,) = [line for line in plan_build(Asked("world", "world", 6, str(file), "cpu"), tmp_path) if "scorer " in line]
    assert line == "scorer     named    my_package.module.Aesthetic, without weights that the stack knows of"
