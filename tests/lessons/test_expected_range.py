"""Expected ranges: from the reference runs, with a margin, and what is said inside and outside."""

from types import SimpleNamespace

import pytest

from course_lib.analysis.stopping import stops
from course_lib.experiments.reference import reference_runs
from course_lib.files import CourseError
from course_lib.lessons.expected_range import expect, reference_range


@pytest.fixture(scope="module")
def reached():
    """What the reference runs of D reached at both stops."""
    return stops(reference_runs().main_rate()).query("variant == 'D'")


def test_the_range_holds_every_reference_seed_and_more(reached):
    found = reference_range("test", unknown_percent=50)
    seeds = reached.query("unknown_percent == 50 and stop == 'EARLY_STOP'")["test"]
    assert found.seeds == len(seeds) == 5
    assert found.low < seeds.min() - 0.99 and found.high > seeds.max() + 0.99


def test_the_margin_is_two_standard_errors_of_the_questions(reached):
    found = reference_range("test", unknown_percent=0, stop="CONVERGENCE")
    seeds, n = reached.query("unknown_percent == 0 and stop == 'CONVERGENCE'")["test"], len(reference_runs().asked())
    p = seeds.mean() / 100
    assert found.high - seeds.max() == pytest.approx(200 * (p * (1 - p) / n) ** 0.5)


def test_a_value_is_said_to_be_inside_or_outside_with_the_range_and_what_to_look_for():
    inside, outside = (expect(value, "test", unknown_percent=0) for value in (40, 3))
    assert str(reference_range("test", unknown_percent=0)) in inside and "OUTSIDE" not in inside
    assert "3.0 %, OUTSIDE" in outside and "course doctor" in outside


def test_a_preset_without_reference_runs_is_told_so():
    said = expect(3, "test", study=SimpleNamespace(name="smollm2-1.7b"), unknown_percent=0)
    assert "smollm2-1.7b" in said and "OUTSIDE" not in said


@pytest.mark.parametrize(("percent", "stop"), [(33, "EARLY_STOP"), (50, "LATE")])
def test_what_no_reference_run_has_is_refused(percent, stop):
    with pytest.raises(CourseError, match=f"test of D .*{percent} %.* {stop}"):
        reference_range("test", unknown_percent=percent, stop=stop)
