"""Expected bands: from the reference runs, with a margin, and what is said inside and outside."""

from types import SimpleNamespace

import pytest

from course_lib.analysis.paper_claims import main_rate
from course_lib.analysis.stopping import stops
from course_lib.experiments.reference import reference_runs
from course_lib.files import CourseError
from course_lib.lessons import expected_range as bands


def test_the_band_holds_every_reference_seed_and_more():
    found = bands.band("test", unknown_percent=50)
    table = stops(main_rate(reference_runs().epochs())).query("variant == 'D' and unknown_percent == 50")
    seeds = table.query("stop == 'EARLY_STOP'")["test"]
    assert found.seeds == len(seeds) == 5
    assert found.low < seeds.min() - 0.99 and found.high > seeds.max() + 0.99


def test_the_margin_is_two_standard_errors_of_the_questions():
    found = bands.band("test", unknown_percent=0, stop="CONVERGENCE")
    table = stops(main_rate(reference_runs().epochs())).query("variant == 'D' and unknown_percent == 0")
    seeds, n = table.query("stop == 'CONVERGENCE'")["test"], len(reference_runs().asked("test"))
    p = seeds.mean() / 100
    assert found.high - seeds.max() == pytest.approx(200 * (p * (1 - p) / n) ** 0.5)


def test_a_value_inside_is_said_to_be_inside():
    said = bands.expect(40, "test", unknown_percent=0)
    assert str(bands.band("test", unknown_percent=0)) in said and "OUTSIDE" not in said


def test_a_value_outside_gets_the_band_and_what_to_look_for():
    said = bands.expect(3, "test", unknown_percent=0)
    assert "3.0 %, OUTSIDE" in said and "course doctor" in said


def test_a_preset_without_reference_runs_is_told_so():
    study = SimpleNamespace(name="smollm2-1.7b")
    said = bands.expect(3, "test", study=study, unknown_percent=0)
    assert "smollm2-1.7b" in said and "OUTSIDE" not in said


@pytest.mark.parametrize(("percent", "stop"), [(33, "EARLY_STOP"), (50, "LATE")])
def test_what_no_reference_run_has_is_refused(percent, stop):
    with pytest.raises(CourseError, match=f"test of D .*{percent} %.* {stop}"):
        bands.band("test", unknown_percent=percent, stop=stop)
