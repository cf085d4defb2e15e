"""Captions that photos bring, and the captioner: when it is asked, and when it need not even be here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from fcbench.build import build_data
from fcbench.build.command import Asked, takedown
from fcbench.build.rows import Rows
from fcbench.errors import MissingError, UsageError
from fcbench.store import data_folder
from fcbench.types import Image, Stack


class Talker:
    def captions(self, images: Sequence[Image]) -> list[str]:
        return ["a man and a woman" for _ in images]


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
    with pytest.raises(UsageError, match="recaption None there, True asked"):
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
