"""What the miniature's card claims, computed again on a small sample of people that no training and no suite knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fcbench.files import write_image
from fcbench.make_stack.card import PAIR, SINGLE, oracle
from fcbench.make_stack.codec_scores import codec_scores
from fcbench.make_stack.image_encoder import encoder_scores
from fcbench.make_stack.labelling_scores import captioner_scores, matcher_scores, segmenter_scores
from fcbench.make_stack.pool import unseen_scene
from fcbench.metrics.identity import Identity
from fcbench.metrics.prompt import PromptConsistency
from fcbench.plugins import load
from fcbench.run import case_seed
from fcbench.stacks import load_stack
from fcbench.types import Generation, Stack
from fcbench.world import render

pytestmark = pytest.mark.weights


@pytest.fixture
def stack() -> Stack:
    """The miniature, loaded for each test: its face pack silences a warning, which pytest undoes after a test."""
    return load_stack("mini")


def drawn(method: str, stack: Stack, wanted: list[Generation], folder: Path) -> list[Generation]:
    """The cases of real renders drawn by a method, a batch for each group of subjects."""
    made = []
    for subjects in dict.fromkeys(row.case.subjects for row in wanted):
        cases = [row.case for row in wanted if row.case.subjects == subjects]
        sampler = load("methods", method).fit(stack, subjects, seed=0, workdir=folder)
        pictures = sampler([case.prompt for case in cases], [case_seed(case) for case in cases])
        for case, picture in zip(cases, pictures, strict=True):
            file = folder / method / f"{case.id}.png"
            write_image(file, picture)
            made.append(Generation(case, file, 0.0, 0.0, 0, 0))
    return made


def mean(rows: list[dict[str, Any]], column: str) -> float:
    return float(np.mean([row[column].value for row in rows]))


@pytest.mark.parametrize(("size", "groups", "prompts"), [(1, 6, SINGLE[::3]), (2, 6, PAIR[2::2])])
def test_fastcomposer_draws_the_people_of_the_photos_and_text_only_does_not(
    size: int, groups: int, prompts: tuple[str, ...], stack: Stack, tmp_path: Path
) -> None:
    wanted = oracle(tmp_path / "real", groups, size, prompts)
    pictures = {name: drawn(name, stack, wanted, tmp_path) for name in ("fastcomposer", "stable-diffusion")}
    identity = {name: mean(Identity()(stack, rows), "identity") for name, rows in pictures.items()}
    assert identity["fastcomposer"] > identity["stable-diffusion"] + 0.1
    assert mean(Identity()(stack, wanted), "identity") > 0.75
    assert mean(PromptConsistency()(stack, wanted), "prompt_rank1") > 0.85


def test_the_image_encoder_knows_unseen_people_again(stack: Stack) -> None:
    scores = encoder_scores(stack.role("image_encoder"), people=100)
    assert scores["auc"] > 0.99
    assert scores["top1"] > 0.9


def test_the_codec_keeps_scenes_and_colours(stack: Stack) -> None:
    scores = codec_scores(stack.role("vae"), [render(unseen_scene(number)).image for number in range(200)])
    assert scores["psnr_db"] > 30
    assert abs(scores["saturation_kept"] - 1) < 0.03


def test_the_prompt_judge_tells_twelve_prompts_apart(stack: Stack, tmp_path: Path) -> None:
    wanted = oracle(tmp_path, 40, 1, SINGLE)
    assert mean(PromptConsistency()(stack, wanted), "prompt_rank1") > 0.98


def test_the_segmenter_tells_people_apart_and_the_matcher_who_is_described(stack: Stack) -> None:
    masks = segmenter_scores(stack.role("segmenter"), range(60))
    assert masks["mean_iou"] > 0.85
    assert masks["apart"] > 0.95
    assert matcher_scores(stack.role("matcher"), range(150))["two_right"] > 0.93


def test_the_captioner_names_people_and_what_they_wear(stack: Stack) -> None:
    scores = captioner_scores(stack.role("captioner"), range(60))
    assert scores["named"] > 0.85
    assert scores["stated_true"] > 0.7
