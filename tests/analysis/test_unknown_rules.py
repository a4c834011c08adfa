"""The points of Fig. 5, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from course_lib.analysis.unknown_rules import p_true_rules, slick_rules, unknown_points
from course_lib.files import CourseError

RIGHT = np.array([1, 0, 0, 1], bool)


def test_a_point_is_what_is_called_unknown_and_how_much_of_it_is_right() -> None:
    slick, = slick_rules({10: ["Unknown", "Unknown", "MaybeKnown", "HighlyKnown"]})
    found = unknown_points([slick], RIGHT).iloc[0]
    assert (found["method"], found["setting"], found["called"], found["questions"]) == ("SliCK", 10, 50, 2)
    assert (found["mean"], found["n"]) == (50, 1) and 0 < found["low"] < 50 < found["high"] < 100


def test_thresholds_of_p_true_call_what_lies_below_them() -> None:
    found = unknown_points(p_true_rules([0.1, 0.2, 0.8, np.nan], thresholds=[0, 0.2, 1]), RIGHT)
    assert list(found["called"]) == [0, 25, 75]
    assert found["mean"].isna().tolist() == [True, False, False]
    assert list(found["mean"][1:]) == [100, pytest.approx(100 / 3)]


def test_seeds_are_averaged() -> None:
    rules = p_true_rules([0.1, 0.2, 0.3, 0.4], thresholds=[1])
    found = unknown_points(rules, [[1, 1, 1, 1], [1, 0, 0, 1]]).iloc[0]
    assert (found["mean"], found["n"]) == (75, 2)


def test_a_rule_about_other_questions_is_refused() -> None:
    with pytest.raises(CourseError, match=r"P\(True\) with 1: 3 .*\b4 "):
        unknown_points(p_true_rules([0.1, 0.2, 0.3], thresholds=[1]), RIGHT)
