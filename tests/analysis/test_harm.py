"""What is lost by how often it was read, counted by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from course_lib.analysis.harm import harm_by_readings
from course_lib.files import CourseError

READINGS = [0, 5, 8, 40, 50, 60, 500, 600]
EARLY = np.array([0, 1, 1, 1, 1, 1, 0, 1], bool)
LATE = np.array([1, 0, 1, 1, 1, 0, 0, 1], bool)


def test_lost_are_those_right_at_early_stop_and_wrong_at_convergence() -> None:
    found = harm_by_readings(READINGS, EARLY, LATE).set_index("group")
    assert found["questions"].to_dict() == {"never": 1, "1-8": 2, "33-128": 3, "129 or more": 2}
    assert found["at_stake"].to_dict() == {"never": 0, "1-8": 2, "33-128": 3, "129 or more": 1}
    assert found.loc["1-8", "mean"] == 50 and found.loc["33-128", "mean"] == pytest.approx(100 / 3)
    assert found.loc["129 or more", "mean"] == 0  # what was wrong before is not lost
    assert math.isnan(found.loc["never", "mean"])  # nothing to lose, which is not nothing lost


def test_what_is_gained_is_seen_beside_it() -> None:
    found = harm_by_readings(READINGS, EARLY, LATE).set_index("group")
    assert found.loc["never", ["right_early", "right_late"]].tolist() == [0, 100]


def test_seeds_are_counted_one_by_one() -> None:
    late = np.array([LATE, ~LATE])  # of 1-8: one of two lost by either; of 33-128: one of three, and two of three
    found = harm_by_readings(READINGS, [EARLY, EARLY], late).set_index("group").loc["33-128"]
    assert (found["mean"], found["at_stake"], found["n"]) == (pytest.approx(50), 6, 2)


def test_answers_to_other_questions_are_refused() -> None:
    with pytest.raises(CourseError, match=r"^8 .*\(1, 7\) .*\(1, 8\)"):
        harm_by_readings(READINGS, EARLY[1:], LATE)
