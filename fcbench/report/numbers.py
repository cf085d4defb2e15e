"""How numbers are written for people: every figure in every table goes through here."""

from __future__ import annotations

from collections.abc import Callable

ABSENT = "\N{EN DASH}"
"""Where there is no number."""

MINUS = "\N{MINUS SIGN}"


def quality(value: float | None) -> str:
    """A score: three decimals.

    >>> quality(0.5139)
    '0.514'
    """
    return ABSENT if value is None else f"{value:.3f}".replace("-", MINUS)


def signed(value: float | None) -> str:
    """A difference: three decimals and a sign.

    >>> signed(0.1)
    '+0.100'
    """
    return ABSENT if value is None else f"{value:+.3f}".replace("-", MINUS)


def interval(low: float | None, high: float | None, end: Callable[[float], str] = quality) -> str:
    """The two ends of an interval, each written as ``end`` writes it.

    >>> interval(0.4, 0.52), interval(0.4, 0.52, share)
    ('[0.400, 0.520]', '[40.0 %, 52.0 %]')
    """
    return ABSENT if low is None or high is None else f"[{end(low)}, {end(high)}]"


def share(value: float | None) -> str:
    """A part of a whole, in per cent.

    >>> share(0.987)
    '98.7 %'
    """
    return ABSENT if value is None else f"{100 * value:.1f} %"


def points(value: float | None) -> str:
    """A difference of two shares, in percentage points.

    >>> points(0.0684)
    '+6.8'
    """
    return ABSENT if value is None else f"{100 * value:+.1f}".replace("-", MINUS)


def amount(value: float | None) -> str:
    """A cost: three significant digits, no exponent.

    >>> amount(0.01234), amount(9.999), amount(1234.5), amount(0.0)
    ('0.0123', '10.0', '1234', '0')
    """
    if value is None:
        return ABSENT
    if value == 0:
        return "0"
    if value < 0.001:
        return "< 0.001"
    rounded = float(f"{value:.3g}")
    decimals = 0 if rounded >= 100 else 1 if rounded >= 10 else 2 if rounded >= 1 else 3 if rounded >= 0.1 else 4
    return f"{value:.{decimals}f}" if rounded >= 0.01 else f"{value:.4f}"


def rank(best: int | None, worst: int | None) -> str:
    """The places a method may hold, best and worst.

    >>> rank(1, 1)
    '1'
    """
    if best is None or worst is None:
        return ABSENT
    return f"{best}" if best == worst else f"{best}\N{EN DASH}{worst}"


def p_value(value: float | None) -> str:
    """A p value.

    >>> p_value(0.0311), p_value(0.00004)
    ('0.031', '< 0.001')
    """
    return ABSENT if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def plain(value: float | int | str | None) -> str:
    """A cell of the CSV: six significant digits, a decimal point, empty for None."""
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
