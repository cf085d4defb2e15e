"""What the labelling roles are trained on, and what their scores say of roles that know all or nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from fcbench.make_stack.captioner import new_captioner, new_tokenizer, see, tokenize
from fcbench.make_stack.labelling_scores import captioner_scores, matcher_scores, segmenter_scores
from fcbench.make_stack.matcher import captioned, cut_out_people, fits
from fcbench.make_stack.pool import training_scene, unseen_scene
from fcbench.types import Image, Region
from fcbench.world import render, tell

NUMBERS = range(12)


class KnowsMasks:
    """Finds everybody, or two people as one."""

    def __init__(self, *, apart: bool) -> None:
        self._apart, self._number = apart, -1

    def regions(self, images: Sequence[Image]) -> list[list[Region]]:
        self._number += 1
        masks = [figure.mask for figure in render(unseen_scene(self._number)).figures if figure.mask.any()]
        return [[Region(mask, "person", 1.0) for mask in (masks if self._apart else [np.any(masks, axis=0)])]]


class Says:
    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = iter(texts)

    def captions(self, images: Sequence[Image]) -> list[str]:
        return [next(self._texts)]


class Blind:
    """To which all pictures and texts are alike."""

    def image_features(self, images: Sequence[Image]) -> npt.NDArray[np.float32]:
        return np.ones((len(images), 2), np.float32)

    def text_features(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        return np.ones((len(texts), 2), np.float32)


def test_who_finds_everybody_has_all_and_two_people_as_one_are_not_apart() -> None:
    assert segmenter_scores(KnowsMasks(apart=True), NUMBERS) == {"mean_iou": 1.0, "apart": 1.0}
    fused = segmenter_scores(KnowsMasks(apart=False), NUMBERS)
    assert fused["apart"] == 0.0
    assert fused["mean_iou"] < 0.8


def test_the_truth_is_a_perfect_caption_and_a_missed_person_costs() -> None:
    truth = [tell(unseen_scene(number)).text for number in NUMBERS]
    assert captioner_scores(Says(truth), NUMBERS) == {"named": 1.0, "stated_true": 1.0}
    first_only = captioner_scores(Says([text.split(" and a ")[0] for text in truth]), NUMBERS)
    assert first_only["named"] < 1.0
    assert captioner_scores(Says(["the sea"] * len(NUMBERS)), NUMBERS)["named"] == 0.0


def test_who_sees_no_difference_gains_nothing_by_the_order_of_things() -> None:
    assert matcher_scores(Blind(), range(30))["two_right"] == 0.0


def test_what_is_said_of_somebody_is_true_of_them() -> None:
    people = cut_out_people(70_000_001)
    assert all(told.items() <= truth.items() for told, truth in zip(people.told, people.truths, strict=True))
    assert bool(fits(people).diagonal().all())
    assert len(people.scenes) == len(people.texts) == len(people.pictures)
    assert len(set(people.scenes.tolist())) == 32
    scene = training_scene(9)
    assert all(text.startswith("a ") and not text.endswith((" and", ",")) for text in captioned(scene, 9))


def test_the_captioner_sees_what_the_library_s_own_forward_pass_sees() -> None:
    tokenizer = new_tokenizer([tell(training_scene(0)).text])
    torch.manual_seed(0)
    vision = new_captioner(tokenizer).vision_model.eval()
    pixels = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(see(vision, pixels), vision(pixel_values=pixels).last_hidden_state)


def test_the_captioner_stays_below_its_share_of_what_ships_and_has_every_word_whole() -> None:
    texts = [tell(training_scene(number)).text for number in range(40)]
    tokenizer = new_tokenizer(texts)
    ids = tokenize(tokenizer, texts)
    assert not bool((ids == tokenizer.unk_token_id).any())
    assert set(ids[:, 0].tolist()) == {tokenizer.convert_tokens_to_ids("[DEC]")}
    assert 2 * sum(parameter.numel() for parameter in new_captioner(tokenizer).parameters()) <= 900_000
    assert ids.dtype == torch.int64
