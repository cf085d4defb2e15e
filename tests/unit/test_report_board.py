"""Breakdowns, frontiers, published figures, commands: what a page says beside its table."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from fcbench.files import write_json
from fcbench.report import publish, read_runs, stale_reports, views, write_report
from fcbench.report.board import Board, make_board
from fcbench.report.commands import run_command
from fcbench.report.plots import Lane
from fcbench.report.published import read_published, three_columns
from fcbench.report.stale import stale
from fcbench.report.statistics.estimate import Estimate
from fcbench.report.to_html import to_html
from fcbench.store import report_folder, run_folder
from fcbench.types import Score
from tests.unit.fake_runs import HEADER, PROMPTS, cases, fake_run, rich_suite, subjects, trio_cases


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("out")
    rich_suite(path, people=12)
    write_report(path, "rich-pair")
    return path


@pytest.fixture(scope="module")
def board(out: Path) -> Board:
    return make_board(read_runs(out, "rich-pair"), "rich-pair", out=out)


def test_yardsticks_and_sweeps_hold_no_rank_and_come_last(board: Board) -> None:
    rows = board.rankings[0].rows
    assert [row.role for row in rows] == ["method"] * 8 + ["sweep"] * 5 + ["sanity"] * 3
    assert all(row.rank_best is None for row in rows[8:])
    assert not any("real-photos" in pair for pair in board.rankings[0].duels)
    assert {c.method for c in board.rankings[0].comparisons} <= {row.method for row in rows[:8]}
    assert rows[-1].costs.total_seconds is None


def test_outcomes_of_pairs_have_intervals_and_counts(board: Board) -> None:
    blended = {row.method: row for row in board.rankings[0].rows}["fastcomposer"].scores["blended"]
    assert blended.count == 72
    assert blended.low is not None
    assert blended.value is not None
    assert 0 <= blended.low < blended.value


def test_beside_the_outcomes_of_pairs_stand_their_margin_and_identity_by_other_rules(out: Path, board: Board) -> None:
    told = (report_folder(out, "rich-pair") / "leaderboard.md").read_text()
    row = {row.method: row for row in board.rankings[0].rows}["fastcomposer"].scores
    cells = [
        rf"{row[name].value:.3f} \[{row[name].low:.3f}, {row[name].high:.3f}\]"
        for name in ("margin", "identity_mean", "identity_strict")
    ]
    assert "| extra face | margin | mean identity | strict identity |" in told
    assert f"| {' | '.join(cells)} |" in told
    page = (report_folder(out, "rich-pair") / "leaderboard.html").read_text()
    assert page.count("strict identity</") == 1


def test_the_frontier_rises_in_alpha_and_marks_what_is_beaten(board: Board) -> None:
    (frontier,) = board.frontiers
    assert [step.alpha for step in frontier.steps] == [0, 0.25, 0.5, 0.7, 0.75, 1]
    assert [step.is_best for step in frontier.steps] == [False, True, True, True, True, True]
    assert (frontier.identity.estimate.value or 0) > 0 > (frontier.prompt.estimate.value or 0)


def test_a_kind_of_prompt_counts_its_own_pictures_alone(board: Board) -> None:
    counts = {kind.name: kind.scores["prompt"]["fastcomposer"].count for kind in board.kinds}
    assert counts == {"accessory": 24, "action": 12, "context": 12, "style": 24}


def test_people_are_divided_by_what_the_run_tells_and_else_by_class_word(board: Board, tmp_path: Path) -> None:
    (skin,) = (grouping for grouping in board.groupings if grouping.property == "skin tone")
    assert [(part.name, part.size) for part in skin.parts] == [("light", 4), ("tan", 4), ("dark", 4)]
    fake_run(tmp_path, "s", "a", cases(subjects(tmp_path, "s", 12)))
    (words,) = make_board(read_runs(tmp_path, "s"), "s", out=tmp_path).groupings
    assert (words.property, [(part.name, part.size) for part in words.parts]) == (
        "class word",
        [("man", 6), ("woman", 6)],
    )
    assert words.parts[0].scores["identity"]["a"].low is not None


def test_identity_is_compared_with_the_paper_s_by_the_paper_s_judge_and_on_its_stack_alone(board: Board) -> None:
    (row,) = [row for row in board.rankings[0].rows if row.method == "fastcomposer"]
    facenet = {**row.scores, "identity_facenet": Estimate(0.43, 0.40, 0.46)}
    found = []
    complete = "complete"
    for scores, stack, status in (
        (row.scores, "sd15", complete),
        (facenet, "sd15", complete),
        (facenet, "sd15 on other.safetensors", complete),
        (facenet, "sd15", "incomplete"),
    ):
        ranking = replace(board.rankings[0], rows=(replace(row, scores=scores, stack=stack, status=status),))
        lines = three_columns(read_published(), ranking, suite="celeba-pair", size="pair")
        (line,) = [line for line in lines if (line.method, line.quantity) == ("FastComposer", "identity")]
        found.append((line.ours, line.status))
    assert found[0][1] == "other judge"
    assert found[1:] == [
        ("0.430 [0.400, 0.460]", told) for told in ("within our interval", "other stack", "incomplete")
    ]


def test_published_figures_name_their_sources_and_never_mix(board: Board) -> None:
    published = read_published()
    assert all(figure.source in published.sources for figure in published.figures)
    assert all(figure.method in published.methods for figure in published.figures)
    line = next(line for line in board.lines if line.method == "FastComposer" and line.quantity == "identity")
    assert (line.paper, line.others, line.status) == ("0.431\N{DAGGER}", "\N{EN DASH}", "other protocol")
    page = to_html(board).partition('<h2 id="published">')[2]
    for method in {line.method for line in board.lines}:
        assert page.count(f'<td class="text method">{method}</td>') == 1


def test_a_command_gives_a_list_as_the_option_that_set_takes(tmp_path: Path) -> None:
    wanted = cases(subjects(tmp_path, "suite", 2))
    fake_run(tmp_path, "suite", "toy", wanted, method="my:Toy", options={"shape": [1, 2], "words": ["a b"], "size": 3})
    (run,) = read_runs(tmp_path, "suite")
    words = shlex.split(run_command(run, tmp_path))
    given = [words[place + 1] for place, word in enumerate(words) if word == "--set"]
    assert given == ["shape=[1, 2]", 'words=["a b"]', "size=3"]


def test_every_command_names_the_settings_of_its_run(board: Board, out: Path) -> None:
    command = board.commands["fastcomposer@alpha-0.25"]
    assert "--method fastcomposer --set alpha=0.25 --variant alpha-0.25 --stack mini" in command
    assert board.commands["real-photos"] == f"fcbench run --suite rich-pair --sanity --stack mini --out {out}"
    assert board.command == f"fcbench report --suite rich-pair --out {out}"


@pytest.mark.parametrize("flag", ["low_memory", "random_weights"])
def test_a_command_names_the_flag_that_its_run_was_drawn_with(tmp_path: Path, flag: str) -> None:
    wanted = cases(subjects(tmp_path, "s", 1), prompts=PROMPTS[:1])
    flags: dict[str, Any] = {flag: True}
    fake_run(tmp_path, "s", "a", wanted, options={}, **flags)
    (run,) = read_runs(tmp_path, "s")
    assert run_command(run, Path("out")) == f"fcbench run --suite s --method a --{flag.replace('_', '-')}"


def test_the_json_holds_what_the_board_says(board: Board, out: Path) -> None:
    told = json.loads((report_folder(out, "rich-pair") / "leaderboard.json").read_text())
    assert [row["method"] for row in told["rankings"][0]["rows"]] == [row.method for row in board.rankings[0].rows]
    assert told["rankings"][0]["rows"][0]["identity"] == board.rankings[0].rows[0].identity.value
    assert len(told["claims"]) == 7


def test_a_report_that_nothing_changed_is_not_stale(out: Path) -> None:
    folder = report_folder(out, "rich-pair")
    reasons = stale(folder, out, {})
    assert [reason for reason in reasons if "other weights" not in reason] == []


def test_a_stale_report_says_why(tmp_path: Path) -> None:
    wanted = cases(subjects(tmp_path, "s", 6))
    folder = fake_run(tmp_path, "s", "a", wanted, sampling={"steps": 20})
    report = write_report(tmp_path, "s").parent
    fake_run(tmp_path, "s", "b", wanted)
    write_json(folder.config, {**json.loads(folder.config.read_text()), "sampling": {"steps": 9}})
    report.joinpath("leaderboard.md").write_text("better")
    report.joinpath("leaderboard.tex").unlink()

    class Metric:
        version = 2

    told = " ".join(stale(report, tmp_path, {"identity": Metric(), "new": Metric()}))
    for words in (
        "leaderboard.md was changed",
        "leaderboard.tex is missing",
        "a was made with other settings: sampling",
        "b is not in the report",
        "a was scored with version 1 of identity, now 2",
        "a has no scores of new",
        "leaderboard.csv differs",
    ):
        assert words in told
    report.joinpath("manifest.json").unlink()
    assert "not there" in stale(report, tmp_path, {})[0]


def test_a_report_whose_scores_are_of_different_pictures_is_stale(tmp_path: Path) -> None:
    wanted = cases(subjects(tmp_path, "s", 6), pairs=True)
    fake_run(tmp_path, "s", "a", wanted, stack="nowhere", outcomes=(0.5, 0.1, 0.0, 0.0, 0.0, 0.0))
    manifest = write_report(tmp_path, "s").parent / "manifest.json"
    assert stale(manifest.parent, None, {}) == []
    told = json.loads(manifest.read_text())
    told["runs"]["a"]["scores"]["blending"]["judged"] = "1" * 64
    write_json(manifest, told)
    (reason,) = stale(manifest.parent, None, {})
    assert "a has scores of blending that are of other pictures than its identity" in reason


def test_another_checkpoint_outdates_only_who_draws_with_it(tmp_path: Path) -> None:
    wanted = cases(subjects(tmp_path, "s", 6))
    for method in ("fastcomposer", "stable-diffusion"):
        fake_run(tmp_path, "s", method, wanted, stack="mini", stack_digests={"fusion": "another"})
    told = [reason for reason in stale(write_report(tmp_path, "s").parent, tmp_path, {}) if "fusion" in reason]
    assert len(told) == 1
    assert "fastcomposer was drawn with other weights than mini has now: fusion" in told[0]


def test_a_report_that_ships_is_not_compared_with_the_runs_of_who_checks_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    author, newcomer, shipped = tmp_path / "author", tmp_path / "newcomer", tmp_path / "shipped"
    elsewhere: dict[str, Any] = {"stack": "nowhere"}  # weights that nobody here can compare
    for label in ("a", "b"):
        fake_run(author, "s", label, cases(subjects(author, "s", 6)), **elsewhere)
    write_report(author, "s")
    copy = publish(author, "s", shipped)
    monkeypatch.setattr("fcbench.config.shipped", lambda folder: shipped)
    wanted = cases(subjects(newcomer, "s", 6))
    fake_run(newcomer, "s", "a", wanted, device="NVIDIA H200", **elsewhere)
    unreported = f"{newcomer / 'runs' / 's'}: no leaderboard of these runs; make one with: fcbench report --suite s"
    assert stale_reports(newcomer, {}) == [unreported]
    own = write_report(newcomer, "s").parent
    assert stale_reports(newcomer, {}) == []
    copy.joinpath("leaderboard.md").write_text("better")
    fake_run(newcomer, "s", "c", wanted, **elsewhere)
    told = stale_reports(newcomer, {})
    assert f"{copy}: leaderboard.md was changed after it was made" in told
    assert f"{own}: c is not in the report" in told
    assert not any(str(copy) in reason and "run" in reason for reason in told)


def test_published_is_the_same_with_its_manifest(out: Path, tmp_path: Path) -> None:
    copy = publish(out, "rich-pair", tmp_path)
    here = report_folder(out, "rich-pair")
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == {
        path.name: path.read_bytes() for path in here.iterdir() if path.is_file()
    }


def test_a_report_imports_neither_torch_nor_pandas(tmp_path: Path) -> None:
    fake_run(tmp_path, "s", "a", cases(subjects(tmp_path, "s", 6)))
    program = (
        "import sys; from pathlib import Path; from fcbench.report import write_report;"
        "write_report(Path(sys.argv[1]), 's'); print({'torch', 'pandas', 'scipy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_of_two_in_a_picture_each_is_judged_by_its_own_face(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = cases(subjects(tmp_path, "s", 12), pairs=True)
    folder = fake_run(tmp_path, "s", "a", wanted)
    header, rows = folder.read_scores("identity")
    told = [
        (
            case.id,
            {
                **rows[case.id],
                **{f"identity_{k}": Score(float(s.noun == "man")) for k, s in enumerate(case.subjects, 1)},
            },
        )
        for case in wanted
    ]
    folder.write_scores("identity", told, header)
    board = make_board(read_runs(tmp_path, "s"), "s", out=tmp_path)
    (words,) = board.groupings
    assert {part.name: part.scores["identity"]["a"].value for part in words.parts} == {"man": 1.0, "woman": 0.0}
    assert {part.size for part in words.parts} == {6}
    assert {part.scores["identity"]["a"].count for part in words.parts} == {len(wanted)}
    nouns = {subject.id: subject.noun for case in wanted for subject in case.subjects}
    assert board.subjects == {person: {"a": float(noun == "man")} for person, noun in nouns.items()}
    assert board.everyone["a"].value == 0.5
    assert board.everyone["a"].count == 2 * len(wanted)
    drawn: list[Lane] = []
    monkeypatch.setattr(views, "lanes", lambda rows, axis, title: drawn.extend(rows))
    views.plots(board.rankings[0], board.subjects, board.everyone, {"a": 0})
    assert [lane.marks for lane in drawn if lane.cloud] == [(("", 0.5),)]


def test_trios_are_called_so_and_stand_beside_nothing_published(tmp_path: Path) -> None:
    wanted = trio_cases(subjects(tmp_path, "s", 6))
    fake_run(tmp_path, "s", "fastcomposer", wanted, outcomes=(0.5, 0.1, 0.0, 0.0, 0.0, 0.0))
    board = make_board(read_runs(tmp_path, "s"), "s", out=tmp_path)
    assert (board.size, board.lines) == ("trio", ())
    assert views.facts(board)[1:3] == [("subjects", "6"), ("trios", "6")]
    page = to_html(board)
    assert "What became of three people" in page
    assert "all right" in page
    assert "both right" not in page
    assert "two people" not in page.partition('<h2 id="reading">')[2]
    assert "Fit once for the people in a picture" in page
    assert "published" not in page.partition("<main>")[2].partition('<h2 id="provenance">')[0]


def test_the_thresholds_of_outcomes_stand_beside_them(tmp_path: Path) -> None:
    wanted = cases(subjects(tmp_path, "s", 6), pairs=True)
    facts = {"floor": 0.31, "margin": 0.42, "same_photos": 24, "different_photos": 180, "real_right": 0.932}
    for label in ("a", "b"):
        fake_run(tmp_path, "s", label, wanted, outcomes=(0.5, 0.1, 0.0, 0.0, 0.0, 0.0)).write_facts("blending", facts)
    words = "from a cosine of 0.310 on, which 95 % of 180 likenesses"

    def page() -> str:
        return write_report(tmp_path, "s").read_text()

    assert page().count(words) == 1
    markdown = (report_folder(tmp_path, "s") / "leaderboard.md").read_text()
    assert markdown.count(words) == 1
    assert (
        unescape(page()).count("Blended: a face passes for two")
        == markdown.count("Blended: a face passes for two")
        == 1
    )
    assert "by less than 0.420, as 5 % of 24 further real photos are. Of real photos 93.2 % come out right." in page()
    told = json.loads((report_folder(tmp_path, "s") / "leaderboard.json").read_text())
    assert told["thresholds"]["a"] == facts
    run_folder(tmp_path, "s", "b").write_facts("blending", {**facts, "margin": None, "real_right": None, "floor": 0.2})
    assert page().count('<p class="note">a: A face is') == page().count('<p class="note">b: A face is') == 1


@pytest.mark.parametrize("pairs", [False, True])
def test_a_sweep_alone_has_no_table_of_methods(tmp_path: Path, pairs: bool) -> None:
    wanted = cases(subjects(tmp_path, "s", 6), pairs=pairs)
    outcomes = (0.5, 0.1, 0.0, 0.0, 0.0, 0.0) if pairs else ()
    for alpha in (0.0, 0.5, 1.0):
        fake_run(tmp_path, "s", f"fastcomposer@alpha-{alpha:g}", wanted, options={"alpha": alpha}, outcomes=outcomes)
    page = write_report(tmp_path, "s")
    told = page.with_suffix(".md").read_text()
    assert told.count("| rank | method |") == told.count("not ranked:") == 1
    assert told.count("| method | both right |") == told.count("**Outcomes** are") == pairs
    assert 'class="sortable ranking"' not in page.read_text()
    assert "<tbody>\n</tbody>" not in page.read_text()


def test_outcomes_of_single_people_are_not_explained(tmp_path: Path) -> None:
    wanted = cases(subjects(tmp_path, "s", 6))
    folder = fake_run(tmp_path, "s", "a", wanted)
    alone = [(case.id, {"both_right": Score(None, "one subject only")}) for case in wanted]
    folder.write_scores("blending", alone, {**HEADER, "range": [0.0, 1.0]})
    assert "Outcomes" not in write_report(tmp_path, "s").with_suffix(".md").read_text()


def test_other_weights_and_pictures_from_elsewhere_are_in_the_command(tmp_path: Path) -> None:
    wanted = cases(subjects(tmp_path, "s", 6))
    fake_run(tmp_path, "s", "fastcomposer@mine", wanted, options={}, checkpoint_file="my weights", stack_file="mini")
    fake_run(tmp_path, "s", "theirs", wanted, options={}, costs_measured=False, pictures="/there")
    fake_run(tmp_path, "s", "real-photos", wanted, sanity=True, costs_measured=False, stack_file="my.safetensors")
    fake_run(tmp_path, "s", "dreambooth", wanted, options={}, suite_file="my suites/s.yaml")
    commands = make_board(read_runs(tmp_path, "s"), "s", out=Path("out")).commands
    assert commands["theirs"] == "fcbench score /there --suite s --name theirs --images-per-subject 1"
    assert commands["real-photos"] == "fcbench run --suite s --sanity --stack my.safetensors"
    command = "fcbench run --suite s --method fastcomposer --variant mine --stack mini --checkpoint 'my weights'"
    assert commands["fastcomposer@mine"] == command
    assert commands["dreambooth"] == "fcbench run --suite 'my suites/s.yaml' --method dreambooth"
