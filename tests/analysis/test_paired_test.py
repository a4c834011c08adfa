"""The paired t-test over random parts, against the formula and against chance."""

import math

import numpy as np
import pandas as pd
import pytest

from course_lib.analysis.paired_test import Paired, against_the_best, paired, right_at_stops
from course_lib.files import CourseError
from tests.support.made_runs import epochs


def test_two_parts_by_hand() -> None:
    # single questions are the parts: gaps 100, 0, 0, 100; mean 50, sd 57.735, t = 50 / (57.735 / 2) = 1.7320
    found = paired([1, 1, 0, 1], [0, 1, 0, 0])
    assert (found.difference, found.parts) == (50, 4)
    assert found.t == pytest.approx(math.sqrt(3))
    assert found.p == pytest.approx(0.18169, abs=1e-5)  # two-sided, 3 degrees of freedom


def test_the_questions_are_split_into_a_hundred_equal_parts() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.random((2, 1000)) < 0.5
    found = paired(first, second)
    assert found.parts == 100
    assert found.difference == pytest.approx(100 * (first.mean() - second.mean()))


def test_pairing_finds_what_is_hidden_by_hard_and_easy_questions() -> None:
    rng = np.random.default_rng(0)
    first = rng.random(2000) < 0.5
    second = first & (rng.random(2000) < 0.95)  # loses one answer in twenty
    assert paired(first, second).stars == "**"


def test_chance_gets_a_star_about_as_often_as_promised() -> None:
    rng = np.random.default_rng(1)
    marked = sum(paired(*(rng.random((2, 1000)) < 0.5)).stars != "" for _ in range(400))
    assert 8 <= marked <= 34  # 5 % of 400 is 20; three standard errors are 13


@pytest.mark.parametrize("first, second, expected", [
    (np.tile([True, False], 100), np.tile([True, False], 100), Paired(0, 0, 1, 100)),
    (np.ones(200), np.zeros(200), Paired(100, math.inf, 0, 100))], ids=["alike", "better everywhere by the same"])
def test_without_any_spread_between_parts_nothing_is_divided_by_zero(
        first: np.ndarray, second: np.ndarray, expected: Paired) -> None:
    assert paired(first, second) == expected


def test_seeds_are_averaged_for_every_question() -> None:
    seeds = np.array([[1, 1, 0, 0], [1, 0, 1, 0]])
    assert paired(seeds, [0, 0, 0, 0]) == paired(seeds.mean(0), [0, 0, 0, 0])


def test_a_single_question_has_no_p() -> None:
    found = paired([1], [0])
    assert (found.difference, found.parts, found.stars) == (100, 1, "") and math.isnan(found.p)


def test_other_questions_are_refused() -> None:
    with pytest.raises(CourseError, match="^3 .* 2 "):
        paired([1, 0, 1], [1, 0])


@pytest.mark.parametrize("p, mark", [(0.0099, "**"), (0.01, "*"), (0.049, "*"), (0.05, ""), (math.nan, "")])
def test_stars_are_those_of_the_paper(p: float, mark: str) -> None:
    assert Paired(0, 0, p, 100).stars == mark


def test_each_is_compared_with_the_best() -> None:
    found = against_the_best({"a": [1, 0, 0, 0], "b": [1, 1, 1, 0]})
    assert (found["b"].p, found["a"].difference) == (1, -50)


def test_answers_are_taken_at_the_stops_of_every_seed() -> None:
    table = pd.concat([epochs([0, 2, 1]), epochs([0, 1, 2], seed=1)])
    right = {("D", 50, seed): np.array([[0, 0], [1, seed], [0, 1]], bool) for seed in (0, 1)}
    found = right_at_stops(table, right)
    assert found["D", 50, "EARLY_STOP"].tolist() == [[True, False], [False, True]]  # epochs 1 and 2
    assert found["D", 50, "CONVERGENCE"].tolist() == [[False, True]] * 2


def test_a_run_without_its_answers_is_named() -> None:
    with pytest.raises(CourseError, match="^D at 50 %, seed 0: .*read_right"):
        right_at_stops(epochs([0, 2, 1]), {})
