from __future__ import annotations

import csv
import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas
import pytest

from fcbench import report
from fcbench.files import write_image
from fcbench.report import numbers, publish, read_runs, stale_reports, write_report
from fcbench.report.board import make_board
from fcbench.report.plots import CHARACTER, RIGHT, WIDTH, Axis, Guide, Point, linear_axis, log_axis, scatter
from fcbench.report.seen import seen
from fcbench.report.statistics import Difference, Estimate
from fcbench.report.table import Comparison
from fcbench.report.to_html import to_html
from fcbench.report.to_markdown import escape as markdown
from fcbench.report.to_markdown import to_markdown
from fcbench.report.to_tex import escape as tex
from fcbench.types import Case, Prompt, Subject
from tests.unit.fake_runs import PROMPTS, cases, fake_run, fake_suite, picture, subjects

HOSTILE = "<script>alert('x')</script>&\"|`_%$#{}~^\\"


class Tags(HTMLParser):
    """Counts tags, and keeps what they link to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.opened.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "action")]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a suite whose every word is an attack."""
    out = tmp_path_factory.mktemp("out")
    photo = out / "photo.png"
    write_image(photo, picture(1))
    ids = [f"{HOSTILE.replace('/', '')}{i}" for i in range(7)]
    prompt = Prompt("p", "{} " + HOSTILE, "context")
    wanted = [Case((Subject(subject, HOSTILE, (photo,)),), prompt, 0) for subject in ids]
    for number, label in enumerate(("a<b>&_%", "c|d`e`")):
        fake_run(out, "s<i>", label, wanted, failures={wanted[number].id: HOSTILE}, device=HOSTILE, notes=HOSTILE)
    return write_report(out, "s<i>")


def test_no_text_becomes_a_tag(hostile: Path) -> None:
    tags = Tags(hostile.read_text())
    assert tags.opened.count("script") == 1  # our own, whose digest the page's policy names
    assert "i" not in tags.opened
    assert "alert(&#39;x&#39;)" in hostile.read_text()


def test_no_name_in_claims_differences_or_thresholds_becomes_a_tag(tmp_path: Path) -> None:
    wanted = cases(subjects(tmp_path, "s", 6), pairs=True, prompts=PROMPTS[:1])
    facts = {"margin": None, "different_photos": 180}
    for floor, label in enumerate(("fastcomposer", "dreambooth@<i>")):
        folder = fake_run(tmp_path, "s", label, wanted, outcomes=(0.5, 0.1, 0.0, 0.0, 0.0, 0.0))
        folder.write_facts("blending", {**facts, "floor": floor})
    write_report(tmp_path, "s")
    page = write_report(tmp_path, "s", earlier=tmp_path / "reports").read_text()
    assert "i" not in Tags(page).opened
    for start in ('class="numbers">[^<]* to ', '<td class="text">', '<p class="note">'):
        assert re.search(f"{start}dreambooth@&lt;i&gt;", page)


def test_the_page_needs_nothing_but_itself(hostile: Path) -> None:
    assert all(link.startswith(("data:image/webp;base64,", "#")) for link in Tags(hostile.read_text()).links)
    assert not re.search(r"@import|url\(", hostile.read_text())


def test_the_note_says_alpha_and_what_is_not_the_stack_s(tmp_path: Path) -> None:
    wanted = cases(subjects(tmp_path, "s", 2), prompts=PROMPTS[:1])
    usual = {"alpha": 1.0, "steps": 20, "guidance": 3.0}
    given: dict[str, dict[str, Any]] = {
        "plain": {"alpha": None, "steps": 0, "guidance": 0.0},
        "own": {"alpha": 0.5, "steps": 50, "guidance": 3.0},
        "other": {"steps": 20, "guidance": 5.0},
        "theirs": {"steps": "auto", "guidance": [7.5, 1.5]},
    }
    for label, options in given.items():
        fake_run(tmp_path, "s", label, wanted, options=options, sampling=usual)
    board = make_board(read_runs(tmp_path, "s"), "s", out=tmp_path)
    notes = {row.method: row.note.split("; ")[1:] for row in board.rankings[0].rows}  # the first: two subjects are few
    assert notes == {
        "plain": ["alpha 1"],
        "own": ["alpha 0.5", "50 steps, the stack has 20"],
        "other": ["guidance 5, the stack has 3"],
        "theirs": [],
    }


def test_the_note_says_what_a_method_saw_and_what_its_author_adds(tmp_path: Path) -> None:
    wanted = cases(subjects(tmp_path, "s", 2), prompts=PROMPTS[:1])
    told: dict[str, Any] = {"sees": ["insightface", "facenet", "boxes"], "note": "base <b>SDXL</b>"}
    fake_run(tmp_path, "s", "theirs", wanted, costs_measured=False, pictures="/there", **told)
    fake_run(tmp_path, "s", "ours", wanted)
    board = make_board(read_runs(tmp_path, "s"), "s", out=Path("out"))
    notes = {row.method: row.note for row in board.rankings[0].rows}
    assert "; sees insightface, which judges identity; sees facenet; sees boxes; base <b>SDXL</b>" in notes["theirs"]
    assert "sees" not in notes["ours"]
    assert "<b>SDXL" not in to_html(board) + to_markdown(board)
    assert "base &lt;b&gt;SDXL&lt;/b&gt;." in to_html(board)
    words = "--sees insightface --sees facenet --sees boxes --note 'base <b>SDXL</b>'"
    assert board.commands["theirs"].endswith(f"--images-per-subject 1 {words}")


@pytest.mark.parametrize(
    ("name", "score"),
    [("insightface", "identity"), ("faces", "identity"), ("facenet", "identity_facenet"), ("clip", "prompt"),
     ("attributes", "attributes"), ("dino", "dino")],
)  # fmt: skip
def test_a_judge_that_a_method_saw_is_named_with_its_score(tmp_path: Path, name: str, score: str) -> None:
    fake_run(tmp_path, "s", "a", cases(subjects(tmp_path, "s", 1), prompts=PROMPTS[:1]), sees=[name])
    (run,) = read_runs(tmp_path, "s")
    assert seen(replace(run, scores={score: {}})) == [f"sees {name}, which judges {score}"]


def test_every_row_of_the_markdown_has_as_many_cells_as_its_head(hostile: Path) -> None:
    text = hostile.with_suffix(".md").read_text()
    tables = [part.splitlines() for part in text.split("\n\n") if part.startswith("| ")]
    counts = [{len(re.findall(r"(?<!\\)\|", line)) for line in table} for table in tables]
    assert counts == [{16}, {7}, {4}]
    assert "<" not in text


def test_the_markdown_says_how_to_read_it_in_the_words_of_the_page_and_sets_the_unranked_apart(tmp_path: Path) -> None:
    wanted = cases(subjects(tmp_path, "s", 2), prompts=PROMPTS[:1])
    for label in ("a", "b"):
        fake_run(tmp_path, "s", label, wanted)
    fake_run(tmp_path, "s", "real-photos", wanted, sanity=True)
    page = write_report(tmp_path, "s")
    told = page.with_suffix(".md").read_text()
    for words in (
        "may hold any of the places 2 to 4",
        "sweeps of alpha and yardsticks have none",
        "and so not the sum of the two",
        "whose face was found",
        "are different tests and may disagree near the edge",
    ):
        assert told.count(words) == unescape(page.read_text()).count(words) == 1
    assert "**Attributes**" not in told
    ranked, unranked = told.split("not ranked:\n\n")[0:2]
    assert "| real-photos |" in unranked.partition("\n\n")[0]
    assert "| real-photos |" not in ranked


def test_a_mean_of_too_few_people_for_an_interval_stands_alone_in_the_markdown(tmp_path: Path) -> None:
    for suite, people in (("few", 4), ("many", 12)):
        wanted = cases(subjects(tmp_path, suite, people), pairs=True)
        fake_run(tmp_path, suite, "a", wanted, outcomes=(0.5, 0.1, 0.0, 0.0, 0.0, 0.0))
        told = to_markdown(make_board(read_runs(tmp_path, suite), suite, out=tmp_path))
        (row,) = [line for line in told.splitlines() if line.startswith("| a |") and " % of " in line]
        assert numbers.ABSENT not in row
        assert ("\\[" in row) is (suite == "many")
        assert len(re.findall(r" % (?:\\\[[\d.]+ %, [\d.]+ %\\\] )?of \d+ \|", row)) == 6


def test_a_difference_whose_interval_and_p_disagree_is_marked(tmp_path: Path) -> None:
    wanted = cases(subjects(tmp_path, "s", 2), prompts=PROMPTS[:1])
    for label in ("a", "b"):
        fake_run(tmp_path, "s", label, wanted)
    board = make_board(read_runs(tmp_path, "s"), "s", out=tmp_path)
    told = [(-0.45, 0.08, 0.016), (-0.7, -0.08, 0.059), (-0.45, -0.08, 0.016), (-0.45, 0.08, 0.059), (None, None, 1.0)]
    made = [Comparison("b", "a", "prompt", Difference(Estimate(-0.2, low, high), p), p) for low, high, p in told]
    board = replace(board, rankings=(replace(board.rankings[0], comparisons=tuple(made)),))
    assert re.findall(r"(\S+|\S+ ‡) \| 0 \|$", to_markdown(board), re.MULTILINE) == [
        "0.016 ‡", "0.059 ‡", "0.016", "0.059", "1.000",
    ]  # fmt: skip
    assert re.findall(r"<td>([\d.]+ ‡)</td>", to_html(board)) == ["0.016 ‡", "0.059 ‡"]


def test_every_row_of_the_latex_has_as_many_cells_as_its_head(hostile: Path) -> None:
    text = hostile.with_suffix(".tex").read_text()
    quality, cost = re.findall(r"(?s)\\toprule(.*?)\\bottomrule", text)
    for body, further in ((quality, 7), (cost, 7)):
        rows = [line for line in body.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
        assert len(rows) == 3
        assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {further}


def test_the_latex_tables_hold_every_column_and_the_notes_of_the_markdown(hostile: Path) -> None:
    text, told = hostile.with_suffix(".tex").read_text(), hostile.with_suffix(".md").read_text()
    flat = re.sub(r"\\shortstack\{(.*?)\\\\(.*?)\}", r"\1 \2", text)
    heads = [re.split(" & ", line.removesuffix(r" \\")) for line in flat.splitlines() if " & method & " in f" & {line}"]
    columns = re.findall(r"\| (rank \| method .*) \|", told)[0].split(" | ")
    assert sorted({cell for head in heads for cell in head}) == sorted({tex(column) for column in columns})
    assert sum(len(head) for head in heads) == len(columns) + 1  # the method stands in both
    notes = [line for line in text.splitlines() if line.startswith(r"\par ")]
    assert len(notes) == 2 * told.count("1 of 7 pictures missing") == 4
    assert all("1 of 7 pictures missing" in note for note in notes)


def test_latex_prints_every_special_character() -> None:
    assert tex("a_b & 50 % <x>\n\\y^~#${}") == (
        r"a\_b \& 50 \% \textless{}x\textgreater{} \textbackslash{}y\textasciicircum{}\textasciitilde{}\#\$\{\}"
    )


def test_markdown_leaves_every_special_character_as_it_is() -> None:
    assert markdown("a|b\n<i> *x* `y`") == r"a\|b &lt;i&gt; \*x\* \`y\`"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.0004, "< 0.001"), (0.01234, "0.0123"), (0.4, "0.400"), (0.9999, "1.00"), (9.999, "10.0"),
     (84.25, "84.2"), (1234.5, "1234"), (None, "\N{EN DASH}")],
)  # fmt: skip
def test_costs_have_three_digits_and_no_exponent(value: float | None, text: str) -> None:
    assert numbers.amount(value) == text


def test_negative_figures_have_a_minus_and_what_is_absent_a_dash() -> None:
    assert numbers.quality(-0.02) == "\N{MINUS SIGN}0.020"
    assert numbers.signed(-0.1) == "\N{MINUS SIGN}0.100"
    assert numbers.interval(None, None) == numbers.p_value(None) == numbers.share(None) == "\N{EN DASH}"
    assert numbers.rank(2, 3) == "2\N{EN DASH}3"
    assert numbers.plain(None) == ""


@pytest.mark.parametrize("values", [[0.1, 0.9], [0.5], [-0.2, 0.0], [0.24, 0.25], [0.0, 0.0]])
def test_an_axis_holds_its_values_and_starts_and_ends_on_a_tick(values: list[float]) -> None:
    axis = linear_axis("x", values)
    assert axis.span[0] <= min(values) <= max(values) <= axis.span[1]
    assert axis.ticks()[0] == pytest.approx(axis.span[0])
    assert axis.ticks()[-1] == pytest.approx(axis.span[1])
    assert 3 <= len(axis.ticks()) <= 12


def test_a_logarithmic_axis_has_the_powers_of_ten_around_its_values() -> None:
    axis = log_axis("s", [0.4, 84.0])
    assert axis.ticks() == pytest.approx([0.1, 1, 10, 100])
    assert axis.part(0.1) == 0.0
    assert axis.part(10.0) == pytest.approx(2 / 3)


def test_a_plot_escapes_names_and_draws_an_interval_only_where_there_is_one() -> None:
    points = [Point("<a>", 0, 0.2, 0.2, None, (0.1, 0.3)), Point("b", 1, 0.2, 0.2)]
    drawing = scatter(points, Axis("x", (0.0, 1.0), 0.2), Axis("y", (0.0, 1.0), 0.2), "plot")
    assert "&lt;a&gt;" in drawing
    assert drawing.count('class="error') == 1


def test_points_of_a_curve_are_joined_in_their_order() -> None:
    axis = Axis("x", (0.0, 1.0), 0.5)
    points = [Point("0", 0, 0.2, 0.9), Point("1", 0, 0.8, 0.1)]
    assert "polyline" not in scatter(points, axis, axis, "plain")
    (path,) = re.findall(r'<polyline class="path" points="([^"]*)"', scatter(points, axis, axis, "curve", joined=True))
    (first, second) = ([float(end) for end in place.split(",")] for place in path.split())
    assert first[0] < second[0]
    assert first[1] < second[1]  # downwards on the page


def test_names_of_points_in_one_place_do_not_cover_each_other() -> None:
    points = [Point(f"method-{i}", i, 0.5, 0.5) for i in range(4)]
    drawing = scatter(points, Axis("x", (0.0, 1.0), 0.2), Axis("y", (0.0, 1.0), 0.2), "plot")
    places = re.findall(r'class="name" x="([\d.]+)" y="([\d.]+)"', drawing)
    assert len(set(places)) == 4


def test_the_name_of_a_point_does_not_cover_that_of_a_line() -> None:
    axis, points = Axis("both", (0.0, 1.0), 0.2), [Point("stable-diffusion", 0, 0.6, 0.5)]
    ends = []
    for guides in ([], [Guide("other-people", 0.5)]):
        (left,) = re.findall(r'class="name" x="([\d.]+)"', scatter(points, axis, axis, "plot", guides))
        ends.append(float(left) + CHARACTER * len("stable-diffusion"))
    begins = WIDTH - RIGHT - CHARACTER * len("other-people")
    assert ends[1] < begins < ends[0]


def test_the_gallery_shows_every_prompt_and_each_methods_picture(tmp_path: Path) -> None:
    fake_suite(tmp_path, people=6)
    text = write_report(tmp_path, "fake-single").read_text()
    assert text.count('class="exhibit"') == 36
    # A reference and five pictures; six where the sixth method did not fail.
    assert 36 * 6 <= text.count("data:image/webp;base64,") <= 36 * 7
    for words in ("wearing a red hat", "in the snow", "a sepia photograph of"):
        assert words in text


def test_a_photo_that_is_elsewhere_leaves_the_leaderboard_whole(tmp_path: Path) -> None:
    wanted = fake_suite(tmp_path, people=6)
    wanted[0].subjects[0].reference.unlink()
    assert "photo is not here" in write_report(tmp_path, "fake-single").read_text()


def test_small_text_of_the_page_stands_out_from_its_ground_in_both_themes() -> None:
    css = (Path(report.__path__[0]) / "page.css").read_text()
    roots = [dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", body)) for body in re.findall(r":root \{(.*?)\}", css, re.S)]
    light, dark = roots
    tag = re.search(r"\.tag \{[^}]*color: var\(--(\w+)\)", css)
    heat = re.findall(r"\.h\d \{ background: color-mix\(in srgb, var\(--(\w+)\) (\d+)%, transparent\)", css)
    assert tag
    assert len(heat) == 10
    for theme in (light, light | dark):
        paper, ink = _rgb(theme["paper"]), _rgb(theme["ink"])
        assert _contrast(_rgb(theme[tag[1]]), paper) >= 4.5
        for name, share in heat:
            ground = int(share) / 100 * _rgb(theme[name]) + (1 - int(share) / 100) * paper
            assert _contrast(ink, ground) >= 4.5


def _rgb(colour: str) -> npt.NDArray[np.float64]:
    return np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)], np.float64)


def _contrast(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    """WCAG's ratio of two colours."""

    def luminance(colour: npt.NDArray[np.float64]) -> float:
        linear = np.where(colour <= 10.31475, colour / 255 / 12.92, ((colour / 255 + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    bright, faint = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (faint + 0.05)


def test_every_picture_of_a_leaderboard_is_a_row_to_compute_with(tmp_path: Path) -> None:
    wanted = cases(subjects(tmp_path, "s", 6), pairs=True)
    lost, late = wanted[3], wanted[4]
    for label, failed in (("a", {lost.id: "MethodError: nan", late.id: "MethodError: late"}), ("b", {late.id: "late"})):
        fake_run(tmp_path, "s", label, wanted, failures=failed, fit_seconds=9.5)
    fake_run(tmp_path, "s", "real-photos", wanted, sanity=True)
    folder = write_report(tmp_path, "s").parent
    table = pandas.read_parquet(folder / "generations.parquet")
    assert len(table) == 3 * len(wanted)
    of_a = table[table.method == "a"].set_index("case")
    (row,) = csv.DictReader((folder / "leaderboard.csv").read_text().splitlines()[:2])
    assert row["method"] == "a"
    assert f"{of_a.identity.mean():.6f}" == row["identity"]
    assert of_a.fit_seconds.dropna().unique().tolist() == [9.5]
    assert table[table.method == "real-photos"].sample_seconds.isna().all()
    first = of_a.loc[wanted[0].id]
    assert (first.text, first.prompt_kind, first.seed) == (wanted[0].text, wanted[0].prompt.kind, 0)
    assert [*first.subjects] == [subject.id for subject in wanted[0].subjects]
    for case, told in ((lost, "MethodError: nan"), (late, "MethodError: late")):
        assert (of_a.failure[case.id], np.isnan(of_a.identity[case.id])) == (told, True)
        assert of_a.text[case.id] == case.text  # another run drew it
    without_face = of_a[of_a.notes.map(lambda notes: "identity: no face found" in list(notes))]
    assert set(without_face.index) == set(of_a.index[of_a.identity == 0])
    assert publish(tmp_path, "s", tmp_path / "p").joinpath("generations.parquet").is_file()
    assert not [reason for reason in stale_reports(tmp_path, {}, ["s"]) if "generations" in reason]
    folder.joinpath("generations.parquet").write_bytes(b"")
    assert [r for r in stale_reports(tmp_path, {}, ["s"]) if "generations.parquet was changed" in r]
