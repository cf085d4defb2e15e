from __future__ import annotations

import json
from pathlib import Path

import pytest

from fcbench.make_stack.card import write_card_of
from fcbench.stacks import find_stack


def test_the_shipped_card_is_made_of_its_figures(tmp_path: Path) -> None:
    shipped = find_stack("mini").parent
    figures = json.loads((shipped / "card.json").read_text())
    write_card_of(tmp_path, figures["roles"], figures["leaderboards"])
    assert (tmp_path / "README.md").read_text() == (shipped / "README.md").read_text()


@pytest.mark.parametrize(
    ("row", "shown"),
    [
        ({"identity": 0.151, "identity_low": 0.0, "identity_high": 0.332}, "0.151 [0.000, 0.332]"),
        ({"identity": 0.5, "identity_low": None, "identity_high": None}, "0.500"),
        ({"identity": None}, "-"),
    ],
)
def test_an_interval_that_begins_at_nought_is_shown(row: dict[str, float | None], shown: str, tmp_path: Path) -> None:
    write_card_of(tmp_path, {}, {"mini-single": [{"method": "m", **row}]})
    assert f"| m | {shown} | - | - | - |" in (tmp_path / "README.md").read_text()
