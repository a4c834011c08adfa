"""Intervals: Student's t over seeds and Wilson's over questions, against values worked out by hand."""

import math

import pytest

from course_lib.analysis.intervals import Estimate, estimate, proportion

NAN = float("nan")


def test_estimate_of_three_values_by_hand() -> None:
    # mean 4, standard deviation 2, t(0.975, 2) = 4.302653: half = 4.302653 * 2 / sqrt(3)
    found = estimate([2, 4, 6])
    assert (found.mean, found.n) == (4, 3)
    assert found.high - 4 == pytest.approx(4 - found.low) == pytest.approx(4.302653 * 2 / math.sqrt(3), abs=1e-5)


@pytest.mark.parametrize("values, mean, n", [([NAN, 3, 5], 4, 2), ([40.04], 40.04, 1), ([NAN], NAN, 0), ([], NAN, 0)])
def test_missing_values_are_left_out_and_one_seed_has_no_interval(values: list[float], mean: float, n: int) -> None:
    found = estimate(values)
    assert (found.mean, found.n) == (pytest.approx(mean, nan_ok=True), n)
    assert math.isnan(found.low) == math.isnan(found.high) == (n < 2)


def test_an_estimate_prints_its_interval_or_that_it_has_none() -> None:
    assert str(Estimate(4.0, -0.96, 8.96, 3)) == "4.0 [-1.0, 9.0]"
    assert str(estimate([40.04])) == "40.0 (n = 1, no interval)"


def test_wilsons_interval_of_one_run_by_hand() -> None:
    # 5 of 10: (p +- z sqrt(p (1 - p) / n + z^2 / 4 n^2)) / (1 + z^2 / n) around p = 0.5, with z^2 = 3.841459
    half = 100 * math.sqrt(3.841459) * math.sqrt(0.025 + 3.841459 / 400) / 1.3841459
    found = proportion(5, 10)
    assert (found.mean, found.n) == (50, 1)
    assert (found.low, found.high) == (pytest.approx(50 - half, abs=1e-4), pytest.approx(50 + half, abs=1e-4))


def test_seeds_that_differ_get_the_interval_over_seeds() -> None:
    # 50 and 60 %: mean 55, half = 12.7062 * 5, cut off at 0 and 100
    assert proportion([500, 600], [1000, 1000]) == Estimate(55.0, 0.0, 100.0, 2)


def test_seeds_that_agree_keep_the_doubt_about_their_questions() -> None:
    # three seeds lose the same 5 of 5 answers: Wilson's lower end is 5 / (5 + z^2)
    found = proportion([5, 5, 5], [5, 5, 5])
    assert found.low == pytest.approx(100 * 5 / (5 + 3.841459), abs=1e-4) and found.high == 100


def test_seeds_with_nothing_to_count_are_left_out() -> None:
    assert proportion([1, 0], [2, 0]) == proportion(1, 2)
    assert math.isnan(proportion(0, 0).mean) and proportion(0, 0).n == 0
