from __future__ import annotations

import pytest

from fcbench.errors import UsageError
from fcbench.run.sweep import parse, sweep


def test_a_row_of_dots_goes_on_in_even_steps() -> None:
    assert parse("0,0.2,...,1") == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert parse("1,0.75,...,0.25") == [1, 0.75, 0.5, 0.25]
    assert parse(" 0.6 , 0.8 ") == [0.6, 0.8]


@pytest.mark.parametrize(
    "text",
    ["", "a", "0,2", "0,0", "...,1", "0,...,1", "0,0.3,...,1", "0,0.2,...", "0.2,0.1,...,1", "nan", "0,0.1,...,0.1"],
)
def test_anything_else_is_refused_and_named(text: str) -> None:
    with pytest.raises(UsageError, match="--alpha"):
        parse(text)


def test_a_sweep_names_its_runs() -> None:
    assert sweep("0,1") == [("alpha-0", {"alpha": "0"}), ("alpha-1", {"alpha": "1"})]
    assert sweep("1", "large")[0][0] == "large-alpha-1"
