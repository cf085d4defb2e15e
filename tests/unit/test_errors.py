from __future__ import annotations

import pytest

from fcbench import errors


def test_wrong_usage_exits_with_2_and_all_other_errors_with_1() -> None:
    codes = {error.__name__: error.exit_code for error in errors.FcbenchError.__subclasses__()}
    ours = ("DataError", "MissingError", "MethodError", "DivergedError", "OutOfTimeError")
    assert codes == {"UsageError": 2, **dict.fromkeys(ours, 1)}


@pytest.mark.parametrize(
    ("word", "known", "hint"),
    [
        ("fastcompser", ["dreambooth", "fastcomposer"], "did you mean fastcomposer?"),
        ("x", ["b", "a"], "known: a, b"),
        ("x", [], "known: none"),
    ],
)
def test_the_hint_is_the_nearest_word_or_all_words(word: str, known: list[str], hint: str) -> None:
    assert errors.did_you_mean(word, known) == hint
