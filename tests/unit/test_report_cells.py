"""Every figure stands under its own heading, in each of the tables for people."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from html import unescape

import pytest

from fcbench.report import read_runs
from fcbench.report.board import Board, make_board
from fcbench.report.costs import Costs
from fcbench.report.statistics import Estimate
from fcbench.report.to_html import to_html
from fcbench.report.to_markdown import to_markdown
from fcbench.report.to_tex import escape, to_tex
from tests.unit.fake_runs import PROMPTS, cases, fake_run, subjects

RANK = "2\N{EN DASH}3"
LEADERBOARD = [
    ("rank", RANK), ("method", "mine"), ("photos", "4"), ("identity", "0.410"), ("95 % interval", "[0.310, 0.510]"),
    ("prompt", "0.220"), ("95 % interval", "[0.120, 0.320]"), ("attributes", "73.0 %"), ("own prompt first", "64.0 %"),
    ("faces found", "95.0 %"), ("fit s", "11.0"), ("sample s", "2.20"), ("total s", "14.3"), ("peak GiB", "5.50"),
    ("kept MiB", "8.80"), ("pictures", "7/9, 1 failed"),
]  # fmt: skip
PAGE = [
    ("method", "mine 7/9, 1 failed, 4 photos"), ("rank", RANK), ("identity", "0.410 [0.310, 0.510]"),
    ("prompt", "0.220 [0.120, 0.320]"), ("attributes", "0.730 no interval"), ("own prompt first", "64.0 %"),
    ("faces found", "95.0 %"), ("fit s", "11.0"), ("picture s", "2.20"), ("total s", "14.3"), ("peak GiB", "5.50"),
    ("kept MiB", "8.80"),
]  # fmt: skip
COSTS = [
    ("method", "mine"), ("load s", "9.90"), ("warm-up s", "1.10"), ("fit s", "11.0"), ("picture s, in a batch", "2.20"),
    ("picture s, alone", "3.30 (3.10 to 3.50)"), ("first picture s", "14.3"), ("peak GiB", "5.50"),
    ("reserved GiB", "6.60"), ("device GiB", "7.70"), ("kept MiB a subject", "8.80"), ("memory", "resident"),
]  # fmt: skip


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Board:
    """A report of one method, no two of whose figures are alike."""
    out = tmp_path_factory.mktemp("out")
    fake_run(out, "s", "mine", cases(subjects(out, "s", 1), prompts=PROMPTS[:1]))
    board = make_board(read_runs(out, "s"), "s", out=out)
    (ranking,) = board.rankings
    row = replace(
        ranking.rows[0],
        images_per_subject=4,
        cases=9,
        generations=7,
        failures=1,
        rank_best=2,
        rank_worst=3,
        scores={
            "identity": Estimate(0.41, 0.31, 0.51),
            "prompt": Estimate(0.22, 0.12, 0.32),
            "attributes": Estimate(0.73),
            "prompt_rank1": Estimate(0.64),
        },
        faces_found=0.95,
        costs=Costs(
            "resident",
            fit_seconds=11.0,
            sample_seconds=2.2,
            single_seconds=3.3,
            single_low=3.1,
            single_high=3.5,
            total_seconds=14.3,
            load_seconds=9.9,
            warm_up_seconds=1.1,
            peak_gib=5.5,
            reserved_gib=6.6,
            device_gib=7.7,
            stored_mib_per_subject=8.8,
        ),
    )
    return replace(board, rankings=(replace(ranking, rows=(row,)),))


def test_every_cell_of_the_markdown_stands_under_its_heading(board: Board) -> None:
    head, _, row = [line.strip("| ").split(" | ") for line in to_markdown(board).splitlines() if line[:1] == "|"][:3]
    assert list(zip(head, [cell.replace("\\", "") for cell in row], strict=True)) == LEADERBOARD


def test_every_cell_of_the_latex_stands_under_its_heading(board: Board) -> None:
    told = re.sub(r"\\shortstack\{(.*?)\\\\(.*?)\}", r"\1 \2", to_tex(board.rankings, "s"))
    lines = [line.removesuffix(r" \\").split(" & ") for line in told.splitlines() if " & " in line]
    heads, rows = lines[::2], lines[1::2]
    found = [pair for head, row in zip(heads, rows, strict=True) for pair in zip(head, row, strict=True)]
    wanted = [(escape(heading), escape(cell)) for heading, cell in [*LEADERBOARD, ("method", "mine")]]
    assert sorted(found) == sorted(wanted)


def texts(html: str, tag: str) -> Iterator[str]:
    """What the elements of a tag say, drawings left out."""
    for inner in re.findall(rf"(?s)<{tag}\b[^>]*>(.*?)</{tag}>", re.sub(r"(?s)<svg.*?</svg>", "", html)):
        yield " ".join(unescape(re.sub(r"<[^>]*>", " ", inner)).split())


@pytest.mark.parametrize(("name", "wanted"), [("Leaderboard", PAGE), ("Costs", COSTS)])
def test_every_cell_of_the_page_stands_under_its_heading(
    board: Board, name: str, wanted: list[tuple[str, str]]
) -> None:
    table = to_html(board).partition(f'aria-label="{name},')[2].partition("</table>")[0]
    head, _, body = table.partition("<tbody>")
    heads = texts(head.rpartition("<tr>")[2], "th")
    assert list(zip(heads, texts(body, "td"), strict=True)) == wanted
