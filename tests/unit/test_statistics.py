from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from fcbench.report.statistics import Group, difference, holm, mean, sign_flip, t_cdf, t_quantile

SINGLES: list[Group] = [(f"s{i}",) for i in range(24)]
RING: list[Group] = [(f"s{i}", f"s{(i + 1) % 24}") for i in range(24)]
PROMPTS = 4
DRAWS = 500


def draw(rng: np.random.Generator, groups: list[Group], subject_effect: float) -> np.ndarray:
    """Scores of mean 0, shape (draws, groups, prompts): subjects' effects add up, pictures differ besides."""
    names = sorted({subject for group in groups for subject in group})
    member = np.array([[subject in group for subject in names] for group in groups], float)
    effects = rng.standard_normal((DRAWS, len(names))) * subject_effect
    return np.asarray((effects @ member.T)[:, :, None] + rng.standard_normal((DRAWS, len(groups), PROMPTS)))


@pytest.mark.parametrize("groups", [SINGLES, RING], ids=["singles", "pairs"])
@pytest.mark.parametrize("subject_effect", [0.3, 1.0])
def test_intervals_cover_the_truth_as_often_as_they_say(groups: list[Group], subject_effect: float) -> None:
    scores = draw(np.random.default_rng(0), groups, subject_effect)
    pictures = [group for group in groups for _ in range(PROMPTS)]
    estimates = [mean(list(one.ravel()), pictures) for one in scores]
    covered = np.mean([e.low <= 0 <= e.high for e in estimates if e.low is not None and e.high is not None])
    assert 0.92 <= covered <= 0.98


@pytest.mark.parametrize("groups", [SINGLES, RING], ids=["singles", "pairs"])
def test_no_difference_is_found_significant_about_one_time_in_twenty(groups: list[Group]) -> None:
    scores = draw(np.random.default_rng(1), groups, 0.7)[:200]
    pictures = [group for group in groups for _ in range(PROMPTS)]
    results = [difference(list(one.ravel()), [0.0] * one.size, pictures) for one in scores]
    assert 0.005 <= np.mean([r.p is not None and r.p <= 0.05 for r in results]) <= 0.09
    assert {r.test for r in results} == {"sign flip" if groups is SINGLES else "t"}


def test_balanced_singles_are_the_t_interval_of_the_subjects_means() -> None:
    scores = np.random.default_rng(2).random((24, PROMPTS))
    estimate = mean(list(scores.ravel()), [group for group in SINGLES for _ in range(PROMPTS)])
    means = scores.mean(1)
    low, high = stats.t.interval(0.95, 23, means.mean(), stats.sem(means))
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((means.mean(), low, high))


def test_more_pictures_of_the_same_people_do_not_narrow_the_interval() -> None:
    values = list(np.random.default_rng(3).random(24))
    once, thrice = mean(values, SINGLES), mean(values * 3, SINGLES * 3)
    assert thrice.low == pytest.approx(once.low)


def test_pairs_that_share_people_are_less_sure_than_pairs_that_do_not() -> None:
    effects = np.random.default_rng(4).standard_normal(24)
    values = [float(effects[i] + effects[(i + 1) % 24]) for i in range(24)]
    apart = [(f"a{i}", f"b{i}") for i in range(24)]
    ring, alone = mean(values, RING), mean(values, apart)
    assert ring.low is not None
    assert alone.low is not None
    assert ring.low < alone.low


def test_below_six_subjects_no_interval_is_given() -> None:
    five, six = mean([0.1, 0.2, 0.3, 0.4, 0.5], SINGLES[:5]), mean([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], SINGLES[:6])
    assert five.value == pytest.approx(0.3)
    assert five.low is None
    assert "6 subjects" in five.note
    assert six.low is not None
    assert difference([1.0] * 5, [0.0] * 5, SINGLES[:5]).p is None


def test_an_interval_stays_within_the_scores_range() -> None:
    estimate = mean([0.0] * 5 + [1.0], SINGLES[:6], bounds=(0.0, 1.0))
    assert estimate.low == 0.0


def test_nothing_scored_is_none_and_says_so() -> None:
    estimate = mean([], [])
    assert estimate.value is None
    assert estimate.note


def test_scores_without_spread_have_an_interval_without_width() -> None:
    estimate = mean([0.5] * 24, RING)
    assert (estimate.low, estimate.high) == (0.5, 0.5)
    assert difference([0.5] * 24, [0.5] * 24, RING).p == 1.0


def test_few_sign_patterns_are_all_tried() -> None:
    assert sign_flip(np.ones(6), seed=0) == 2 / 64


def test_many_sign_patterns_are_drawn_the_same_way_each_time() -> None:
    totals = np.random.default_rng(5).standard_normal(24) + 0.3
    assert sign_flip(totals, seed=0) == sign_flip(totals, seed=0) > 0


def test_unequal_numbers_of_pictures_are_weighed() -> None:
    estimate = mean([1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0], [SINGLES[0]] * 3 + SINGLES[1:6])
    assert estimate.value == pytest.approx(3 / 8)
    assert estimate.low is not None


@pytest.mark.parametrize("freedom", [1, 1.7, 5, 9.3, 23, 400])
def test_students_t_is_scipys(freedom: float) -> None:
    assert t_quantile(0.975, freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-5)
    assert t_cdf(-1.3, freedom) == pytest.approx(stats.t.cdf(-1.3, freedom), abs=1e-6)


def test_holm_never_lets_a_larger_p_become_smaller() -> None:
    assert holm([0.04, 0.03, 0.9, None]) == [0.09, 0.09, 0.9, None]
