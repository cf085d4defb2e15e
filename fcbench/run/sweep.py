"""A run for each of several alphas: ``fcbench run --alpha 0,0.2,...,1``."""

from __future__ import annotations

from fcbench.errors import UsageError


def sweep(alphas: str, variant: str = "") -> list[tuple[str, dict[str, str]]]:
    """For each alpha the run's variant and its option; the name of a given ``variant`` comes first.

    >>> sweep("0,0.5", "large")
    [('large-alpha-0', {'alpha': '0'}), ('large-alpha-0.5', {'alpha': '0.5'})]
    """
    values = [f"{value:g}" for value in parse(alphas)]
    start = f"{variant}-" if variant else ""
    return [(f"{start}alpha-{value}", {"alpha": value}) for value in values]


def parse(text: str) -> list[float]:
    """Numbers from 0 to 1, each once, in the order given; ``...`` goes on in even steps to the number after it.

    >>> parse("0,0.2,...,1")
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]

    Raises UsageError for anything else.
    """
    words = [word.strip() for word in text.split(",")]
    values: list[float] = []
    for place, word in enumerate(words):
        if word != "...":
            values.append(_number(word, text))
        elif place < 2 or place == len(words) - 1 or words[place - 1] == "...":
            raise UsageError(f"--alpha {text}: two numbers stand before ..., and one behind it")
        else:
            values += _between(values[-2], values[-1], _number(words[place + 1], text), text)
    if len(set(values)) < len(values):
        raise UsageError(f"--alpha {text}: a number is there twice")
    return values


def _number(word: str, text: str) -> float:
    try:
        value = float(word)
    except ValueError:
        raise UsageError(f"--alpha {text}: {word!r} is no number") from None
    if not 0 <= value <= 1:
        raise UsageError(f"--alpha {text}: alpha is a share of the steps, from 0 to 1, not {word}")
    return value


def _between(before: float, last: float, end: float, text: str) -> list[float]:
    """What lies between ``last`` and ``end`` in the steps that led from ``before`` to ``last``."""
    step = last - before
    count = (end - last) / step if step else 0.0
    if count < 1 or abs(count - round(count)) > 1e-6:
        raise UsageError(f"--alpha {text}: even steps of {step:g} from {last:g} do not lead to {end:g}")
    return [round(last + i * step, 9) for i in range(1, round(count))]
