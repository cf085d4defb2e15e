from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fcbench.errors import DataError
from fcbench.files import read_json, write_json
from fcbench.report import write_report
from fcbench.report.runs import read_run
from fcbench.report.statistics import Difference, Estimate, holm
from fcbench.report.table import Ranking, _ranks, rankings
from fcbench.report.views import finding
from fcbench.store import runs_of
from fcbench.types import Generation, Score
from tests.unit.fake_runs import HEADER, PROMPTS, cases, fake_run, fake_suite, subjects


def ranked(out: Path, suite: str = "fake-single") -> list[Ranking]:
    return rankings([read_run(folder) for folder in runs_of(out, suite)], suite)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("out")
    fake_suite(path, prompts=2)
    fake_suite(path, "fake-pair", pairs=True, prompts=2)
    return path


def test_rows_are_ranked_by_identity_and_the_incomplete_come_last_without_a_rank(out: Path) -> None:
    rows = ranked(out)[0].rows
    complete = [row.identity.value or 0 for row in rows if row.status == "complete"]
    assert complete == sorted(complete, reverse=True)
    assert rows[-1].method == "textual-inversion"
    assert (rows[-1].rank_best, rows[-1].failures, rows[-1].generations, rows[-1].cases) == (None, 1, 47, 48)
    assert "1 of 48 pictures missing" in rows[-1].note


def test_methods_that_cannot_be_told_apart_share_their_ranks(out: Path) -> None:
    ranks = {row.method: (row.rank_best, row.rank_worst) for row in ranked(out)[0].rows}
    assert ranks["fastcomposer"] == ranks["fastcomposer@alpha-0.6"] == (1, 2)
    assert ranks["stable-diffusion"] == (4, 4)


def test_the_best_is_not_told_apart_from_whom_it_does_not_beat_though_others_do(tmp_path: Path) -> None:
    wanted = cases(subjects(tmp_path, "s", 2), prompts=PROMPTS[:1])
    for label, identity in (("a", 0.9), ("b", 0.6), ("c", 0.3)):
        fake_run(tmp_path, "s", label, wanted, quality=(identity, 0.2))
    (ranking,) = ranked(tmp_path, "s")

    def told(**p: float) -> str:
        """The finding where every two methods differ with that p."""
        difference = Difference(Estimate(0.3), 0.01)
        duels = {(pair[0], pair[1]): (difference, value) for pair, value in p.items()}
        ranks = _ranks(duels, ["a", "b", "c"])
        rows = [replace(row, rank_best=ranks[row.method][0], rank_worst=ranks[row.method][1]) for row in ranking.rows]
        return finding(replace(ranking, rows=tuple(rows), duels=duels))

    assert told(ab=0.01, bc=0.01, ac=0.01).endswith("told apart from every other method.")
    assert told(ab=0.01, bc=0.01, ac=0.2).endswith("but cannot be told apart from c.")
    assert told(ab=0.2, bc=0.01, ac=0.2).endswith("but cannot be told apart from b, c.")


def test_another_device_stands_apart(out: Path) -> None:
    first, second = ranked(out)
    assert [row.method for row in second.rows] == ["fastcomposer@h200"]
    assert "fastcomposer@h200" not in [row.method for row in first.rows]


def test_pictures_that_no_stack_drew_rank_beside_the_runs_on_whatever_stack(tmp_path: Path) -> None:
    wanted = cases(subjects(tmp_path, "s", 2), prompts=PROMPTS[:1])
    judged: dict[str, Any] = {"costs_measured": False, "device": None}
    for label, stack in (("a", "sd15 on my.safetensors"), ("b", "sd15 on my.safetensors"), ("c", "mini")):
        fake_run(tmp_path, "s", label, wanted, stack=stack)
    fake_run(tmp_path, "s", "theirs", wanted, stack="sd15", **judged)
    fake_run(tmp_path, "s", "real-photos", wanted, stack="mini", sanity=True, **judged)
    fake_run(tmp_path, "s", "of-another-version", wanted, stack="mini", suite_digest="6" * 64, **judged)
    told = [{row.method for row in ranking.rows} for ranking in ranked(tmp_path, "s")]
    assert told == [{"a", "b", "theirs"}, {"c", "real-photos"}, {"of-another-version"}]


def test_where_pictures_were_made_that_no_device_here_drew_is_not_told_as_none(tmp_path: Path) -> None:
    wanted = cases(subjects(tmp_path, "s", 2), prompts=PROMPTS[:1])
    elsewhere: dict[str, Any] = {"costs_measured": False, "device": None, "memory_kind": None}
    fake_run(tmp_path, "s", "theirs", wanted, quality=(0.9, 0.3), **elsewhere)
    page = write_report(tmp_path, "s")
    (ranking,) = ranked(tmp_path, "s")
    assert ranking.title == "not drawn here, stack mini"
    assert (ranking.rows[0].device, ranking.rows[0].costs.memory_kind) == ("", "")
    files = [path.read_text() for path in page.parent.glob("leaderboard.*")]
    assert len(files) == 5
    assert not any(re.search(r"\bNone\b(?!: no method failed)", text.partition("<script>")[0]) for text in files)
    fake_run(tmp_path, "s", "ours", wanted, quality=(0.2, 0.3), memory_kind="cuda allocated")
    assert "Peak: allocated by PyTorch, weights and all." in write_report(tmp_path, "s").read_text()


def test_differences_are_to_stable_diffusion_on_the_common_cases(out: Path) -> None:
    ranking = ranked(out)[0]
    assert ranking.baseline == "stable-diffusion"
    by = {(c.method, c.column): c for c in ranking.comparisons}
    assert len(by) == 2 * (len(ranking.rows) - 1)
    assert by["textual-inversion", "identity"].difference.estimate.count == 47
    rows = {row.method: row for row in ranking.rows}
    gain = (rows["fastcomposer"].identity.value or 0) - (rows["stable-diffusion"].identity.value or 0)
    assert by["fastcomposer", "identity"].difference.estimate.value == pytest.approx(gain)


def test_costs_are_medians_and_peaks(out: Path) -> None:
    row = {row.method: row for row in ranked(out)[0].rows}["dreambooth"].costs
    assert (row.fit_seconds, row.sample_seconds, row.total_seconds) == pytest.approx((84.2, 0.4, 84.6))
    assert row.peak_gib == pytest.approx((2**28 + 47) / 2**30)
    assert row.stored_mib_per_subject == 17.0


def test_a_run_under_way_is_shown_as_far_as_it_is_scored(tmp_path: Path) -> None:
    wanted = cases(subjects(tmp_path, "s", 3))
    folder = fake_run(tmp_path, "s", "method", wanted[:-2])
    write_json(folder.config, {**read_json(folder.config), "cases": len(wanted)})
    before = read_run(folder)
    late = wanted[-2]
    folder.image(late.id).write_bytes(folder.image(wanted[0].id).read_bytes())
    folder.commit(Generation(late, folder.image(late.id), 0.0, 0.4, 2**28, 0))
    now = read_run(folder)
    assert now.generations.keys() == before.generations.keys() == {case.id for case in wanted[:-2]}
    assert now.scores == before.scores
    assert not now.is_complete
    write_json(folder.config, {**read_json(folder.config), "cases": len(wanted) - 1})  # then it is not under way
    with pytest.raises(DataError, match="is not scored; run: fcbench report --suite s"):
        read_run(folder)


def test_seconds_of_class_images_are_in_the_note_and_in_no_other_cost(tmp_path: Path) -> None:
    wanted = cases(subjects(tmp_path, "s", 2), prompts=PROMPTS[:1])
    folder = fake_run(tmp_path, "s", "dreambooth", wanted, fit_seconds=3.0)
    (before,) = ranked(tmp_path, "s")[0].rows
    for made, seconds in zip(folder.generations(), (7.5, 6.5), strict=True):
        folder.commit(replace(made, prior_seconds=seconds))
    (row,) = ranked(tmp_path, "s")[0].rows
    assert row.costs == replace(before.costs, prior_seconds=7.5)
    assert "7.50 s of class images, once for all who share their class words, are in no column" in row.note


def test_the_note_says_low_memory(tmp_path: Path) -> None:
    wanted = cases(subjects(tmp_path, "s", 2), prompts=PROMPTS[:1])
    for label in ("spared", "plain"):
        fake_run(tmp_path, "s", label, wanted, low_memory=label == "spared")
    told = {row.method: "--low-memory: slower" in row.note for row in ranked(tmp_path, "s")[0].rows}
    assert told == {"spared": True, "plain": False}


@pytest.mark.parametrize(("higher_is_better", "heading"), [(True, "copy_paste ↑"), (False, "copy_paste ↓")])
def test_the_heading_of_a_further_score_says_which_way_is_better(
    tmp_path: Path, higher_is_better: bool, heading: str
) -> None:
    wanted = cases(subjects(tmp_path, "s", 1), prompts=PROMPTS[:1])
    folder = fake_run(tmp_path, "s", "a", wanted)
    header = {**HEADER, "higher_is_better": higher_is_better}
    folder.write_scores("copy-paste", [(case.id, {"copy_paste": Score(0.5)}) for case in wanted], header)
    assert read_run(folder).further == {"copy_paste": heading}


def test_a_first_picture_is_one_drawn_alone_where_that_was_measured(tmp_path: Path) -> None:
    wanted = cases(subjects(tmp_path, "s", 2))
    alone: dict[str, Any] = {"single_seconds": 1.5, "single_seconds_range": [1.25, 1.75], "single_peak_bytes": 2**27}
    fake_run(tmp_path, "s", "method", wanted, fit_seconds=3.0, **alone)
    (row,) = ranked(tmp_path, "s")[0].rows
    assert (row.costs.sample_seconds, row.costs.single_seconds, row.costs.total_seconds) == (0.4, 1.5, 4.5)
    assert (row.costs.single_low, row.costs.single_high) == (1.25, 1.75)
    assert '<td data-value="1.5">1.50 (1.25 to 1.75)</td>' in write_report(tmp_path, "s").read_text()
    assert row.costs.peak_gib == 0.125  # the batches took twice as much


def test_what_is_kept_for_a_pair_is_shared_by_its_subjects(out: Path) -> None:
    row = {row.method: row for row in ranked(out, "fake-pair")[0].rows}["dreambooth"].costs
    assert row.stored_mib_per_subject == 8.5


def test_random_weights_leave_quality_empty_and_costs_full(tmp_path: Path) -> None:
    wanted = cases(subjects(tmp_path, "s", 2))
    fake_run(tmp_path, "s", "method", wanted, random_weights=True, scored=False)
    row = ranked(tmp_path, "s")[0].rows[0]
    assert (row.scores, row.faces_found, row.rank_best) == ({}, None, None)
    assert row.costs.sample_seconds == 0.4
    assert "random weights" in row.note
    assert write_report(tmp_path, "s").exists()


def test_a_run_without_a_picture_is_a_row_all_the_same(tmp_path: Path) -> None:
    wanted = cases(subjects(tmp_path, "s", 1))
    fake_run(tmp_path, "s", "method", wanted, failures={case.id: "MethodError: broken" for case in wanted})
    row = ranked(tmp_path, "s")[0].rows[0]
    assert (row.generations, row.failures, row.identity.value, row.costs.total_seconds) == (0, 6, None, None)
    assert "MethodError: broken" in write_report(tmp_path, "s").read_text()


def test_few_subjects_get_a_mean_without_an_interval(tmp_path: Path) -> None:
    fake_run(tmp_path, "s", "method", cases(subjects(tmp_path, "s", 3)))
    row = ranked(tmp_path, "s")[0].rows[0]
    assert row.identity.value is not None
    assert row.identity.low is None
    assert "6 subjects" in row.note


def test_what_is_not_scored_is_not_reported(tmp_path: Path) -> None:
    fake_run(tmp_path, "s", "method", cases(subjects(tmp_path, "s", 2)), scored=False)
    with pytest.raises(DataError, match="not scored; run: fcbench report --suite s"):
        write_report(tmp_path, "s")


def test_scores_of_different_judges_are_not_compared(tmp_path: Path) -> None:
    wanted = cases(subjects(tmp_path, "s", 2))
    fake_run(tmp_path, "s", "a", wanted)
    other = fake_run(tmp_path, "s", "b", wanted)
    rows = list(other.read_scores("identity")[1].items())
    other.write_scores("identity", rows, {**HEADER, "judges": {"faces": "another"}, "range": [0.0, 1.0]})
    with pytest.raises(DataError, match="identity of a and of b: different judges"):
        write_report(tmp_path, "s")


def test_a_suite_without_runs_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="fcbench run --suite nothing"):
        write_report(tmp_path, "nothing")


def test_a_run_without_its_facts_is_named(tmp_path: Path) -> None:
    folder = fake_run(tmp_path, "s", "method", cases(subjects(tmp_path, "s", 1)))
    write_json(folder.config, {"cases": 6})
    with pytest.raises(DataError, match=r"run\.json: no device, stack, suite_digest"):
        write_report(tmp_path, "s")


def test_the_csv_reads_back(out: Path) -> None:
    page = write_report(out, "fake-single")
    with page.with_suffix(".csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == 6
    assert list(rows[0])[:10] == [
        "method", "suite", "images_per_subject", "subjects", "generations", "failures", "identity", "identity_low",
        "identity_high", "identity_n",
    ]  # fmt: skip
    assert rows[0]["device"] == "AMD EPYC 9354, 2 threads"
    assert float(rows[0]["identity_low"]) < float(rows[0]["identity"]) < float(rows[0]["identity_high"])
    assert "nan" not in page.with_suffix(".csv").read_text().lower().replace("nvidia", "")


def test_equal_runs_give_equal_files(out: Path) -> None:
    page = write_report(out, "fake-single")
    before = {path.name: path.read_bytes() for path in page.parent.iterdir()}
    write_report(out, "fake-single")
    assert {path.name: path.read_bytes() for path in page.parent.iterdir()} == before
    files = {f"leaderboard.{kind}" for kind in ("csv", "md", "tex", "json", "html")}
    assert set(before) == files | {"generations.parquet", "manifest.json"}


def test_all_tests_of_a_table_are_corrected_for_their_number(out: Path) -> None:
    ranking = ranked(out)[0]
    plain = [result.p for result, _ in ranking.duels.values()]
    assert [p for _, p in ranking.duels.values()] == holm(plain)
    assert any((p or 0) > (own or 0) for p, own in zip(holm(plain), plain, strict=True))
    for column in {each.column for each in ranking.comparisons}:
        told = [each for each in ranking.comparisons if each.column == column]
        assert [each.p for each in told] == holm([each.difference.p for each in told])


def test_further_faces_do_not_stand_in_for_those_that_are_missing(tmp_path: Path) -> None:
    folder = fake_run(tmp_path, "s", "a", cases(subjects(tmp_path, "s", 6), pairs=True, prompts=PROMPTS[:1])[:2])
    header, rows = folder.read_scores("identity")
    for faces, row in zip((3.0, 1.0), rows.values(), strict=True):
        row["faces"] = Score(faces)
    folder.write_scores("identity", [*rows.items()], header)
    assert ranked(tmp_path, "s")[0].rows[0].faces_found == 0.75


def test_costs_are_medians_over_groups_and_the_highest_peak_of_fit_and_picture(tmp_path: Path) -> None:
    wanted = cases(subjects(tmp_path, "s", 3), prompts=PROMPTS[:2])
    folder = fake_run(tmp_path, "s", "a", wanted, single_peak_bytes=2**27)
    seconds = dict(zip(("p000", "p001", "p002"), (1.0, 1.0, 10.0), strict=True))
    for number, made in enumerate(folder.generations()):
        fit, sample = seconds[made.case.subjects[0].id], 100.0 if number == 0 else 0.5
        folder.commit(replace(made, fit_peak_bytes=2**29, fit_seconds=fit, sample_seconds=sample))
    costs = ranked(tmp_path, "s")[0].rows[0].costs
    assert (costs.fit_seconds, costs.sample_seconds, costs.peak_gib) == (1.0, 0.5, 0.5)
