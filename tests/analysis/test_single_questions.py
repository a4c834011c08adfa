"""Lost facts and rules for the Unknown, worked out by hand."""

import math

import numpy as np
import pytest

from course_lib.analysis.single_questions import (
    exposure_groups,
    lost_by_exposures,
    p_true_rules,
    slick_rules,
    unknown_points,
)
from course_lib.files import CourseError

READINGS = [0, 5, 8, 40, 50, 60, 500, 600]
EARLY = np.array([0, 1, 1, 1, 1, 1, 0, 1], bool)
LATE = np.array([1, 0, 1, 1, 1, 0, 0, 1], bool)
RIGHT = np.array([1, 0, 0, 1], bool)


def test_exposures_fall_into_their_groups() -> None:
    assert list(exposure_groups([0, 1, 8, 9, 32, 33, 128, 129])) == [
        "never", "1-8", "1-8", "9-32", "9-32", "33-128", "33-128", "129 or more"]


def test_lost_are_those_right_at_early_stop_and_wrong_at_convergence_and_gains_stand_beside_them() -> None:
    found = lost_by_exposures(READINGS, EARLY, LATE).set_index("group")
    assert found["questions"].to_dict() == {"never": 1, "1-8": 2, "33-128": 3, "129 or more": 2}
    assert found["at_stake"].to_dict() == {"never": 0, "1-8": 2, "33-128": 3, "129 or more": 1}
    assert found.loc["1-8", "mean"] == 50 and found.loc["33-128", "mean"] == pytest.approx(100 / 3)
    assert found.loc["129 or more", "mean"] == 0  # what was wrong before is not lost
    assert math.isnan(found.loc["never", "mean"])  # nothing to lose, which is not nothing lost
    assert found.loc["never", ["right_early", "right_late"]].tolist() == [0, 100]


def test_seeds_are_counted_one_by_one() -> None:
    late = np.array([LATE, ~LATE])  # of 1-8: one of two lost by either; of 33-128: one of three, and two of three
    found = lost_by_exposures(READINGS, [EARLY, EARLY], late).set_index("group").loc["33-128"]
    assert (found["mean"], found["at_stake"], found["n"]) == (pytest.approx(50), 6, 2)


def test_a_point_is_what_is_called_unknown_and_how_much_of_it_is_right() -> None:
    slick, = slick_rules({10: ["Unknown", "Unknown", "MaybeKnown", "HighlyKnown"]})
    found = unknown_points([slick], RIGHT).iloc[0]
    assert (found["method"], found["setting"], found["called"], found["questions"]) == ("SliCK", 10, 50, 2)
    assert (found["mean"], found["n"]) == (50, 1) and 0 < found["low"] < 50 < found["high"] < 100


def test_thresholds_of_p_true_call_what_lies_below_them() -> None:
    found = unknown_points(p_true_rules([0.1, 0.2, 0.8, np.nan], thresholds=[0, 0.2, 1]), RIGHT)
    assert list(found["called"]) == [0, 25, 75]
    assert list(found["mean"]) == [pytest.approx(math.nan, nan_ok=True), 100, pytest.approx(100 / 3)]


def test_seeds_are_averaged() -> None:
    rules = p_true_rules([0.1, 0.2, 0.3, 0.4], thresholds=[1])
    found = unknown_points(rules, [[1, 1, 1, 1], [1, 0, 0, 1]]).iloc[0]
    assert (found["mean"], found["n"]) == (75, 2)


def test_answers_to_other_questions_are_refused() -> None:
    with pytest.raises(CourseError, match=r"^8 .*\(1, 7\) .*\(1, 8\)"):
        lost_by_exposures(READINGS, EARLY[1:], LATE)
    with pytest.raises(CourseError, match=r"P\(True\) with 1: 3 .*\b4 "):
        unknown_points(p_true_rules([0.1, 0.2, 0.3], thresholds=[1]), RIGHT)
