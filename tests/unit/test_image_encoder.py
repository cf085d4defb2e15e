from pathlib import Path

import numpy as np
import pytest
import torch

from fcbench.errors import OutOfTimeError
from fcbench.loop import Clock
from fcbench.make_stack import image_encoder
from fcbench.make_stack.image_encoder import (
    References,
    draw_references,
    encoder_scores,
    looks,
    new_image_encoder,
    train_image_encoder,
)
from fcbench.world import draw_person
from fcbench.world.people import BEARDS, HAIR_STYLES


@pytest.fixture(scope="module")
def references() -> References:
    return draw_references(6, seed=3)


def test_references_are_the_same_for_the_same_seed_and_differ_by_view(references: References) -> None:
    again, other = draw_references(6, seed=3), draw_references(6, seed=4)
    assert np.array_equal(references.pictures, again.pictures)
    assert not np.array_equal(references.pictures, other.pictures)
    assert np.array_equal(references.looks, other.looks)  # the people are the same
    first, second = references.pictures[:, 0], references.pictures[:, 1]
    assert (first != second).any(axis=(1, 2, 3)).all()


def test_looks_are_standardised_over_people(references: References) -> None:
    varied = references.looks.std(axis=0) > 0
    assert varied.sum() > 15
    np.testing.assert_allclose(references.looks[:, varied].mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(references.looks[:, varied].std(axis=0), 1, atol=1e-3)


def test_every_person_has_one_kind_of_hair_beard_and_glasses() -> None:
    kinds = len({style for styles in HAIR_STYLES.values() for style in styles}) + len(set(BEARDS)) + 3
    for number in range(50):
        assert sum(looks(draw_person(number))[-kinds:]) == 3


def test_training_that_ran_out_of_time_goes_on_to_the_same_weights(
    references: References, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_encoder, "PEOPLE", 4)

    def train(name: str, minutes: float) -> torch.nn.Module:
        encoder: torch.nn.Module = train_image_encoder(
            references, tmp_path / name, Clock(minutes), dim=16, steps=3, seed=1
        )
        return encoder

    whole = train("whole", 5)
    for _ in range(2):
        with pytest.raises(OutOfTimeError):
            train("parts", -1)
    parts = train("parts", 5)
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), parts.state_dict().values(), strict=True))


def test_an_untrained_tower_hardly_knows_anybody_again() -> None:
    torch.manual_seed(0)
    scores = encoder_scores(new_image_encoder(16).eval(), people=20)
    assert 0.3 < scores["auc"] < 0.95
    assert scores["top1"] < 0.6
