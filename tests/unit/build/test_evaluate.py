"""Labels measured against the truth of a drawn photo: right, wrong, and what the caption cannot decide."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fcbench.build.evaluate import Evaluation, score_row
from fcbench.build.records import Planted, Sidecar
from fcbench.errors import UsageError
from fcbench.masks import encode_mask

LEFT = np.zeros((8, 8), bool)
LEFT[:, :3] = True
RIGHT = np.zeros((8, 8), bool)
RIGHT[:, 5:] = True


def people(first: dict[str, str], second: dict[str, str]) -> Sidecar:
    return Sidecar(
        planted=True,
        people=(
            Planted(mask=encode_mask(LEFT), noun=first["noun"], traits=first),
            Planted(mask=encode_mask(RIGHT), noun=second["noun"], traits=second),
        ),
    )


def row(caption: str, phrases: list[str], owners: list[int | None]) -> dict[str, Any]:
    """A photo of whose two segments (left, right) have the phrases ``owners``."""
    words, place = [], 0
    for phrase in phrases:
        start = caption.index(phrase, place)
        place = start + len(phrase)
        words.append({"text": phrase, "root": phrase.split()[-1], "start": start, "end": place})
    segments = [
        {"id": k + 1, "label": "person", "rle": encode_mask(mask), "phrase_index": owner}
        for k, (mask, owner) in enumerate(zip((LEFT, RIGHT), owners, strict=True))
    ]
    return {"id": "x", "caption": caption, "noun_phrases": words, "segments": segments, "flags": [], "known_face": None}


RED, BLUE = {"noun": "man", "shirt": "red shirt"}, {"noun": "man", "shirt": "blue shirt"}
TOLD = "a man wearing a red shirt and a man wearing a blue shirt"


@pytest.mark.parametrize(("owners", "share"), [([0, 1], 1.0), ([1, 0], 0.0)])
def test_a_match_is_right_where_the_caption_s_words_are_true_of_the_mask(
    owners: list[int | None], share: float
) -> None:
    found = Evaluation()
    score_row(found, row(TOLD, ["a man", "a man"], owners), people(RED, BLUE), recaptioned=True)
    parts = found.proportions
    assert (parts["right_two"].share, parts["right_two"].of) == (share, 2)
    assert parts["right_at_random_two"].share == 0.5
    assert (parts["recalled"].share, parts["decided"].share) == (share, 1.0)
    assert (parts["stated_true"].share, parts["named"].share, parts["apart"].share) == (1.0, 1.0, 1.0)
    assert np.mean(found.ious) == 1.0


def test_what_the_caption_cannot_tell_is_counted_apart() -> None:
    found = Evaluation()
    score_row(found, row("a man and a man", ["a man", "a man"], [1, 0]), people(RED, BLUE), recaptioned=True)
    assert found.proportions["decided"].share == 0.0
    assert "right_two" not in found.proportions


def test_words_that_are_true_of_nobody_and_people_whom_nobody_names_count() -> None:
    found = Evaluation()
    score_row(found, row("a woman wearing a green shirt", ["a woman"], [0, None]), people(RED, BLUE), recaptioned=True)
    assert found.proportions["stated_true"].share == 0.0
    assert (found.proportions["named"].share, found.proportions["named"].of) == (0.0, 2)
    assert (found.proportions["decided"].share, found.proportions["decided"].of) == (0.0, 1)
    assert "right_one" not in found.proportions


def test_what_the_world_itself_says_of_people_is_no_captioner_s_merit() -> None:
    found = Evaluation()
    score_row(found, row(TOLD, ["a man", "a man"], [0, 1]), people(RED, BLUE), recaptioned=False)
    assert not [name for name in found.proportions if name.startswith("stated_true")]
    assert (found.proportions["named"].share, found.proportions["named"].of) == (1.0, 2)


def test_figures_below_their_bounds_are_told() -> None:
    found = Evaluation(ious=[0.8, 0.9])
    found.count("face", 19, 20)
    assert found.below({"face": 0.95, "mean_iou": 0.85}) == []
    assert found.below({"face": 0.96, "mean_iou": 0.9}) == [
        "face: 0.950 is below 0.96",
        "mean_iou: 0.850 is below 0.9",
    ]
    with pytest.raises(UsageError, match=r"^--at-least faces: did you mean face"):
        found.below({"faces": 0.5})
