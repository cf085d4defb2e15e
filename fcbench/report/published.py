"""Published figures, the paper's and those of reproductions, beside ours and never mixed with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from fcbench.config import Closed, read_yaml, shipped, validate
from fcbench.report.numbers import ABSENT, amount, interval, quality
from fcbench.report.size import Size
from fcbench.report.table import Ranking, Row

QUANTITIES = {
    "identity": "identity",
    "prompt": "prompt",
    "total_seconds": "first picture, s",
    "peak_gib": "peak, GiB",
}

SAME_PROTOCOL = ("celeba-single", "celeba-pair")
"""The suites whose people and prompts are the paper's; figures of other suites do not compare."""

SAME_STACK = "sd15"
"""The stack whose base model is the paper's."""


class Figure(Closed):
    """One published figure."""

    suite: Literal["single", "pair"]
    method: str
    by: Literal["paper", "others"]
    quantity: Literal["identity", "prompt", "total_seconds", "peak_gib"]
    value: float
    source: str
    """A key of ``sources``."""


class Source(Closed):
    """Where figures stand, and how they got here."""

    text: str
    verified: bool
    """False: quoted from memory, not checked in print."""


class Published(Closed):
    """The file ``reports/published.yaml``."""

    sources: dict[str, Source]
    methods: dict[str, str]
    """Names of methods in words."""
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Line:
    """A quantity of a method in the three columns, as text; ``status`` says how ours stands to the paper's."""

    method: str
    quantity: str
    paper: str
    others: str
    ours: str
    status: str
    sources: tuple[str, ...]


def read_published() -> Published:
    """The figures that ship with the package."""
    path = shipped("reports") / "published.yaml"
    return validate(read_yaml(path), Published, path)


def three_columns(published: Published, ranking: Ranking, *, suite: str, size: Size) -> list[Line]:
    """Every published quantity and what was measured here; nothing is published for more than two people."""
    rows = {row.method: row for row in ranking.of("method")}
    figures = [figure for figure in published.figures if figure.suite == size]
    named = [name for name in published.methods if any(figure.method == name for figure in figures)]
    lines = []
    for method in named:
        for quantity in QUANTITIES:
            found: dict[str, Figure] = {f.by: f for f in figures if f.method == method and f.quantity == quantity}
            if found:
                lines.append(_line(published, method, quantity, found, rows.get(method), suite))
    return lines


def _line(
    published: Published, method: str, quantity: str, found: Mapping[str, Figure], row: Row | None, suite: str
) -> Line:
    cells = {by: _cell(found[by].value, quantity, published.sources[found[by].source]) for by in found}
    return Line(
        method=published.methods[method],
        quantity=QUANTITIES[quantity],
        paper=cells.get("paper", ABSENT),
        others=cells.get("others", ABSENT),
        ours=_ours(row, quantity),
        status=_status(found.get("paper"), row, suite),
        sources=tuple(dict.fromkeys(figure.source for figure in found.values())),
    )


def _cell(value: float, quantity: str, source: Source) -> str:
    text = quality(value) if quantity in ("identity", "prompt") else amount(value)
    return text + ("" if source.verified else "\N{DAGGER}")


def _ours(row: Row | None, quantity: str) -> str:
    if row is None:
        return ABSENT
    if quantity in ("identity", "prompt"):
        estimate = row.scores.get(_column(row, quantity))
        if estimate is None or estimate.value is None:
            return ABSENT
        return quality(estimate.value) + (
            f" {interval(estimate.low, estimate.high)}" if estimate.low is not None else ""
        )
    return amount(getattr(row.costs, quantity))


def _column(row: Row, quantity: str) -> str:
    """The score that a quantity is read from: identity by the paper's judge, FaceNet, if it scored the row."""
    return "identity_facenet" if quantity == "identity" and "identity_facenet" in row.scores else quantity


def _status(paper: Figure | None, row: Row | None, suite: str) -> str:
    if row is None:
        return "not run"
    if suite not in SAME_PROTOCOL:
        return "other protocol"
    if paper is not None and paper.quantity == "identity" and _column(row, "identity") == "identity":
        return "other judge"
    if row.stack != SAME_STACK:
        return "other stack"
    estimate = row.scores.get(_column(row, paper.quantity)) if paper is not None else None
    if paper is None or estimate is None or estimate.low is None or estimate.high is None:
        return "not compared"
    if row.status != "complete":
        return "incomplete"
    return "within our interval" if estimate.low <= paper.value <= estimate.high else "outside our interval"
