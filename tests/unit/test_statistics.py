from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from benchmarks.simulate_statistics import RARE, SKEWED, Array, Mix, Shape, covered, draw, found, pairs, singles, trios
from fcbench.report.statistics import Group, bootstrap, difference, holm, mean
from fcbench.report.statistics.bootstrap import half_width, standard_error
from fcbench.report.statistics.flips import FLIPS, sign_flip
from fcbench.report.statistics.table import Table, tabulate
from fcbench.report.statistics.variance import resampled_means, subject_part

PEOPLE = 12
SINGLES: list[Group] = [(f"s{i}",) for i in range(PEOPLE) for _ in range(8)]
RING: list[Group] = [(f"s{i}", f"s{(i + 1) % PEOPLE}") for i in range(PEOPLE) for _ in range(8)]
PROMPTS = [f"p{i % 8}" for i in range(len(SINGLES))]
MIX = Mix("people and prompts", 1.0, 0.5, 1.0)
SHAPES = [singles(15, 12), pairs(15, 105, 8), pairs(24, 24, 8)]
TRIOS = trios(24, 16, 8)  # as mini-trio
UNEVEN = Shape("of one to four", 8, ((0,), (1, 2), (0, 1, 2), (1, 2, 3), (0, 3, 4, 5), (3, 4, 5, 6), (7,)), 8)


def scores(seed: int = 0, shift: float = 0.3) -> list[float]:
    return list(np.random.default_rng(seed).standard_normal(len(SINGLES)) + shift)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_intervals_cover_the_truth_as_often_as_they_say(shape: Shape) -> None:
    assert 0.90 <= covered(shape, MIX, 200, resamples=499) <= 0.99  # three standard errors around 95 %


def test_of_many_people_an_interval_is_as_wide_as_the_t_distribution_s_95_percent() -> None:
    people = np.random.default_rng(6).standard_normal(100)
    table = tabulate([*people], [(f"s{i}",) for i in range(100)], ["p"] * 100)
    assert half_width(table, draws=9999) / standard_error(table) == pytest.approx(1.98, rel=0.04)


@pytest.mark.parametrize("mix", RARE, ids=lambda mix: mix.name)
def test_of_what_happens_seldom_too(mix: Mix) -> None:
    assert 0.90 <= covered(SHAPES[0], mix, 200, resamples=499) <= 1.0


def test_few_pictures_that_make_the_whole_difference_make_a_wide_interval_and_no_absurd_one() -> None:
    values = [0.001 * (i % 3) + (0.3 if name == "p0" and i < 40 else 0.0) for i, name in enumerate(PROMPTS)]
    estimate = mean(values, SINGLES, PROMPTS)
    assert estimate.low is not None
    assert estimate.value is not None
    error = standard_error(tabulate(values, SINGLES, PROMPTS))
    assert 1.9 * error < estimate.value - estimate.low < 6 * error


@pytest.mark.parametrize("shape", [*SHAPES, TRIOS], ids=lambda shape: shape.name)
def test_methods_that_are_alike_are_seldom_told_apart(shape: Shape) -> None:
    assert found(shape, SKEWED, 200, resamples=499) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)


@pytest.mark.parametrize("shape", [singles(8, 8), pairs(8, 12, 8), trios(8, 16, 8), UNEVEN], ids=lambda s: s.name)
def test_groups_that_share_people_are_summed_once_however_many_they_share(shape: Shape) -> None:
    table = draw(shape, MIX, np.random.default_rng(2))
    people, deviations = table.subjects, table.sums.sum(1)
    everyone, once = np.ones((1, people)), np.ones((1, len(deviations)))
    shared = deviations @ (table.member @ table.member.T > 0) @ deviations
    expected = shared * people / (people - 1)
    assert expected > (deviations**2).sum()  # below that it would be taken for that
    assert subject_part(table, deviations[None], everyone, once) == pytest.approx(expected)


def copied(table: Table, subjects: Array) -> Table:
    """The table of people who were drawn so often each, copies as people of their own: the long way round."""
    owner = np.repeat(np.arange(table.subjects), subjects.astype(int))
    rows, members = [], []
    for row, group in enumerate(table.member):
        for copies in product(*(np.flatnonzero(owner == person) for person in np.flatnonzero(group))):
            rows.append(row)
            members.append(np.isin(np.arange(len(owner)), copies).astype(np.float64))
    return Table(table.sums[rows], table.counts[rows], np.array(members))


@pytest.mark.parametrize("shape", [singles(8, 8), pairs(8, 12, 8), trios(8, 16, 8), UNEVEN], ids=lambda s: s.name)
def test_people_drawn_again_are_people_beside_the_first(shape: Shape) -> None:
    table = draw(shape, MIX, np.random.default_rng(3))
    subjects = np.array([1.0, 2.0, 3.0, 1.0, 0.0, 1.0, 0.0, 2.0])[: table.subjects]
    means, errors = resampled_means(table, subjects[None], np.ones((1, table.prompts)))
    there = copied(table, subjects)
    assert means[0] == pytest.approx(there.mean)
    assert errors[0] == pytest.approx(standard_error(there))


@pytest.mark.parametrize("absent", [0, 1, 2])
def test_a_trio_counts_where_all_three_were_drawn(absent: int) -> None:
    table = Table(
        np.array([[1.0] * 8, [3.0] * 8]), np.ones((2, 8)), np.array([[1.0] * 3 + [0.0] * 3, [0.0] * 3 + [1.0] * 3])
    )
    subjects = np.ones((2, 6))
    subjects[0, absent], subjects[1, absent] = 0.0, 3.0
    means, _ = resampled_means(table, subjects, np.ones((2, 8)))
    assert list(means) == pytest.approx([3.0, 1.5])


def test_intervals_of_trios_cover_the_truth_at_least_as_often_as_they_say() -> None:
    assert covered(TRIOS, MIX, 60, resamples=299) >= 0.90


def test_a_plain_standard_error_of_pictures_would_be_far_too_small() -> None:
    people = np.repeat(np.random.default_rng(1).standard_normal(PEOPLE), 8)
    table = tabulate(list(people), SINGLES, PROMPTS)
    assert standard_error(table) == pytest.approx(people[::8].std(ddof=1) / np.sqrt(PEOPLE))
    assert standard_error(table) > 2 * people.std() / np.sqrt(len(people))


def test_what_a_prompt_adds_counts_as_well() -> None:
    prompts = np.tile(np.random.default_rng(1).standard_normal(8), PEOPLE)
    assert standard_error(tabulate(list(prompts), SINGLES, PROMPTS)) == pytest.approx(
        prompts[:8].std(ddof=1) / np.sqrt(8)
    )


def test_few_prompts_count_as_given() -> None:
    prompts = ["a" if name < "p4" else "b" for name in PROMPTS]
    values = [1.0 if name == "a" else 0.0 for name in prompts]
    assert standard_error(tabulate(values, SINGLES, prompts)) == pytest.approx(0.0)


def test_pairs_that_share_people_are_less_sure_than_pairs_that_do_not() -> None:
    effects = np.random.default_rng(4).standard_normal(PEOPLE)
    values = [float(effects[i] + effects[(i + 1) % PEOPLE]) for i in range(PEOPLE) for _ in range(8)]
    apart: list[Group] = [(f"a{i}", f"b{i}") for i in range(PEOPLE) for _ in range(8)]
    assert standard_error(tabulate(values, RING, PROMPTS)) > standard_error(tabulate(values, apart, PROMPTS))


def test_the_order_of_pictures_changes_nothing() -> None:
    order = np.random.default_rng(5).permutation(len(SINGLES))
    values = scores()
    shuffled = mean([values[i] for i in order], [RING[i] for i in order], [PROMPTS[i] for i in order])
    there = mean(values, RING, PROMPTS)
    assert (shuffled.value, shuffled.low, shuffled.high) == pytest.approx((there.value, there.low, there.high))


def test_more_pictures_of_the_same_people_do_not_narrow_the_interval() -> None:
    once, thrice = mean(scores(), SINGLES, PROMPTS), mean(scores() * 3, SINGLES * 3, PROMPTS * 3)
    assert thrice.low == pytest.approx(once.low)


def test_below_six_subjects_no_interval_is_given() -> None:
    groups, prompts = SINGLES[: 5 * 8], PROMPTS[: 5 * 8]
    five = mean(scores()[: 5 * 8], groups, prompts)
    assert five.value is not None
    assert five.low is None
    assert "6 subjects" in five.note
    assert mean(scores()[: 6 * 8], SINGLES[: 6 * 8], PROMPTS[: 6 * 8]).low is not None
    assert difference(scores()[: 5 * 8], [0.0] * 40, groups, prompts).p is None


def test_an_interval_stays_within_the_scores_range() -> None:
    estimate = mean([float(i > 90) for i in range(len(SINGLES))], SINGLES, PROMPTS, bounds=(0.0, 1.0))
    assert estimate.low == 0.0


def test_a_difference_of_shares_lies_within_one() -> None:
    first = [float(i > 5) for i in range(len(SINGLES))]
    found = difference(first, [0.0] * len(SINGLES), SINGLES, PROMPTS, bounds=(0.0, 1.0)).estimate
    free = difference(first, [0.0] * len(SINGLES), SINGLES, PROMPTS).estimate
    assert (free.high or 0.0) > 1.2
    assert found.high == 1.0
    assert found.low == free.low


def test_nothing_scored_is_none_and_says_so() -> None:
    estimate = mean([], [], [])
    assert estimate.value is None
    assert estimate.note


def test_scores_without_spread_have_no_interval_and_say_so() -> None:
    estimate = mean([0.5 + 1e-8 * (i % 3) for i in range(len(RING))], RING, PROMPTS)  # rounding is no spread
    assert (round(estimate.value or 0, 6), estimate.low) == (0.5, None)
    estimate = mean([0.5] * len(RING), RING, PROMPTS)
    assert (estimate.value, estimate.low) == (0.5, None)
    assert "alike" in estimate.note
    assert difference([0.5] * len(RING), [0.5] * len(RING), RING, PROMPTS).p == 1.0


@pytest.mark.parametrize("groups", [SINGLES, RING], ids=["singles", "pairs"])
def test_a_difference_of_all_people_is_found_and_equal_arguments_give_an_equal_p(groups: list[Group]) -> None:
    first = difference(scores(shift=2.0), scores(1, 0.0), groups, PROMPTS)
    assert first.p is not None
    assert first.p <= 0.01
    assert first == difference(scores(shift=2.0), scores(1, 0.0), groups, PROMPTS)


def test_the_sign_of_the_difference_does_not_change_p() -> None:
    table = tabulate(scores(), RING, PROMPTS)
    assert sign_flip(table) == pytest.approx(sign_flip(Table(-table.sums, table.counts, table.member)))


def test_a_missing_picture_is_left_out_and_no_more() -> None:
    estimate = mean(scores()[1:], SINGLES[1:], PROMPTS[1:])
    assert estimate.value == pytest.approx(np.mean(scores()[1:]))
    assert estimate.count == len(SINGLES) - 1
    assert difference(scores()[1:], scores(1)[1:], RING[1:], PROMPTS[1:]).p is not None


def test_holm_never_lets_a_larger_p_become_smaller() -> None:
    assert holm([0.04, 0.03, 0.9, None]) == [0.09, 0.09, 0.9, None]


def test_a_p_is_never_below_that_of_the_observed_pattern_alone() -> None:
    assert difference(scores(shift=50.0), scores(1, 0.0), SINGLES, PROMPTS).p == 1 / (FLIPS + 1)


def test_people_and_prompts_are_drawn_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[Array, Array]] = []

    def means(table: Table, subjects: Array, prompts: Array) -> tuple[Array, Array]:
        drawn.append((subjects, prompts))
        return resampled_means(table, subjects, prompts)

    monkeypatch.setattr(bootstrap, "resampled_means", means)
    bootstrap.half_width(tabulate(scores()[:64], SINGLES[:64], PROMPTS[:64]))  # eight people, eight prompts
    assert not np.array_equal(*drawn[0])


def test_pairs_that_cancel_out_are_no_surer_than_pairs_that_share_nobody() -> None:
    values = [float((-1) ** (i // 8)) for i in range(len(RING))]
    apart: list[Group] = [(f"a{i // 8}", f"b{i // 8}") for i in range(len(RING))]
    ring, alone = (tabulate(values, groups, PROMPTS) for groups in (RING, apart))
    assert standard_error(ring) == pytest.approx(standard_error(alone), rel=0.05)
