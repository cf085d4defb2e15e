from pathlib import Path

import pytest

from fcbench.files import read_json
from fcbench.make_stack.faces import DET_SIZE
from fcbench.make_stack.judge_scores import score_faces
from fcbench.stacks.faces import load_faces

PACK = Path(__file__).parents[2] / "fcbench" / "stacks" / "mini" / "faces"

pytestmark = [pytest.mark.weights, pytest.mark.filterwarnings("ignore:`estimate` is deprecated:FutureWarning")]


@pytest.fixture(scope="module")
def card() -> dict[str, float]:
    scores: dict[str, float] = read_json(PACK / "card.json")
    return scores


def test_the_card_meets_the_targets(card: dict[str, float]) -> None:
    assert card["auc"] >= 0.99
    assert card["eer"] <= 0.05
    assert card["recall"] >= 0.98
    assert card["precision"] >= 0.98


def test_a_small_sample_bears_the_card_out(card: dict[str, float]) -> None:
    again = score_faces(load_faces(PACK, DET_SIZE), people=40, seed=1)
    assert again.keys() == card.keys()
    for name, value in card.items():
        assert again[name] == pytest.approx(value, abs=0.03), name
