"""One rule for all verdicts, on margins whose interval is worked out by hand."""

import pandas as pd
import pytest

from course_lib.analysis.stopping import stops
from course_lib.analysis.verdicts import Runs, claim, step, verdict
from tests.support.made_runs import epochs

SURE, UNSURE, AGAINST = [1.0, 1.1, 0.9], [1.0, 3.0, -1.0], [-1.0, -1.1, -0.9]  # per seed
NOISE = [-1.0, 1.5, -2.0]  # mean -0.5, interval over zero


@pytest.mark.parametrize("steps, expected", [
    ([SURE], "holds"), ([SURE, UNSURE], "holds weakly"), ([[1.0]], "holds weakly"), ([SURE, AGAINST], "does not"),
    ([SURE, NOISE], "does not"), ([[0.0, 0.0, 0.0]], "does not"), ([[]], "does not"),
], ids=["sure", "an interval over zero", "one seed", "the wrong sign", "wrong within noise", "level", "nothing"])
def test_a_verdict_follows_from_the_margins(steps: list[list[float]], expected: str) -> None:
    assert verdict([step(values) for values in steps]) == expected


@pytest.mark.parametrize("series, expected", [
    ([SURE, NOISE, SURE], "holds weakly"), ([SURE, NOISE, NOISE], "does not"), ([SURE, AGAINST, SURE], "does not"),
    ([NOISE], "does not"), ([SURE, SURE], "holds"), ([[1.0], [-0.1]], "does not"),
], ids=["one slip", "two slips", "a slip beyond noise", "nothing but a slip", "none", "noise unknown with one seed"])
def test_one_step_of_a_series_may_fail_within_noise(series: list[list[float]], expected: str) -> None:
    assert verdict([step(SURE)], series=[step(values) for values in series]) == expected


def test_a_margin_to_a_threshold_may_be_zero() -> None:
    assert verdict([step([0.0, 0.0], strict=False)]) == "holds"
    assert verdict([step([0.0, 0.0])]) == "does not"


def test_a_claim_that_holds_weakly_still_holds() -> None:
    found = [claim("", "", "", [step(values)]).holds for values in (SURE, UNSURE, AGAINST)]
    assert found == [True, True, False]


def test_runs_of_one_seed_are_paired() -> None:
    # seeds differ by 20 points, but D_Known is 2 and 4 above D within each
    table = pd.concat([epochs([0, late], variant=name, seed=seed) for name, seed, late in (
        ("D", 0, 20), ("D", 1, 40), ("D_Known", 1, 44), ("D_Known", 0, 22))])
    runs = Runs(stops(table))
    assert (runs("D_Known", "CONVERGENCE") - runs("D", "CONVERGENCE")).to_dict() == {0: 2, 1: 4}
    assert runs.percents("D") == [50] and runs.measured("ood") and not runs.measured("answered")
