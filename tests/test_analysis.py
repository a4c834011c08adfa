"""Analysis: stops, intervals, the linear model and the claims, on tables small enough to work out by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest

from course_lib.analysis import Estimate, claims, estimate, linear_model, over_seeds, stops, summary
from course_lib.files import CourseError

NAN = float("nan")


def epochs(dev: list[float], *, variant: str = "D", percent: float = 50, seed: int = 0, test: list[float] | None = None,
           ood: list[float] | None = None, known: list[float] | None = None,
           unknown: list[float] | None = None) -> pd.DataFrame:
    """One run from epoch 0 on; what is not given is the dev accuracy."""
    return pd.DataFrame({"preset": "pocket", "variant": variant, "unknown_percent": percent, "seed": seed,
                         "epoch": range(len(dev)), "loss": NAN, "dev": dev, "test": test or dev, "ood": ood or dev,
                         "known_fitted": known or dev, "unknown_fitted": unknown or dev, "seconds": 1.0})


def study(early: dict[float, float], late: dict[float, float], *, variant: str = "D", seed: int = 0,
          ood_drop: float = 0.5, fitted: tuple[float, float] = (80, 10)) -> pd.DataFrame:
    """Runs of three epochs: dev is best in epoch 1, test is ``early`` there and ``late`` in epoch 2."""
    return pd.concat([epochs([0, 2, 1], variant=variant, percent=p, seed=seed, test=[0, early[p], late[p]],
                             ood=[0, early[p], early[p] - ood_drop * (early[p] - late[p])],
                             known=[0, fitted[0], 100], unknown=[0, fitted[1], 100]) for p in early])


EARLY = {0: 44.0, 50: 43.0, 100: 40.0}
LATE = {0: 43.5, 50: 39.0, 100: 26.0}  # losses 0.5, 4 and 14
LIKE_THE_PAPER = pd.concat([study(EARLY, LATE), study({50: 43.5}, {50: 43.0}, variant="D_Known")])


def verdicts(table: pd.DataFrame) -> dict[str, bool]:
    """First words of a claim -> whether it holds."""
    return {" ".join(claim.claim.split()[:3]): claim.holds for claim in claims(table)}


def test_early_stop_is_the_best_dev_epoch_and_convergence_the_last() -> None:
    found = stops(epochs([0, 30, 50, 40])).set_index("stop")
    assert found["epoch"].to_dict() == {"EARLY_STOP": 2, "CONVERGENCE": 3}
    assert found["dev"].to_dict() == {"EARLY_STOP": 50, "CONVERGENCE": 40}


def test_a_tie_goes_to_the_first_epoch() -> None:
    assert stops(epochs([0, 30, 50, 50])).query("stop == 'EARLY_STOP'")["epoch"].item() == 2


def test_the_untuned_epoch_is_never_early_stop() -> None:
    assert stops(epochs([90, 30, 50])).query("stop == 'EARLY_STOP'")["epoch"].item() == 2


def test_every_run_has_its_own_two_stops() -> None:
    table = pd.concat([epochs([0, 2, 1]), epochs([0, 1, 2], seed=1), epochs([0, 3, 1], variant="D_Known")])
    found = stops(table.sample(frac=1, random_state=0))  # in any order, with repeated index labels
    early = found[found["stop"] == "EARLY_STOP"]
    assert dict(zip(zip(early["variant"], early["seed"], strict=True), early["epoch"], strict=True)) == {
        ("D", 0): 1, ("D", 1): 2, ("D_Known", 0): 1}
    assert len(found) == 6


def test_estimate_of_three_values_by_hand() -> None:
    # mean 4, standard deviation 2, t(0.975, 2) = 4.302653: half = 4.302653 * 2 / sqrt(3)
    found = estimate([2, 4, 6])
    assert (found.mean, found.n) == (4, 3)
    assert found.high - 4 == pytest.approx(4.302653 * 2 / math.sqrt(3), abs=1e-5)
    assert 4 - found.low == pytest.approx(found.high - 4)


def test_one_seed_has_no_interval() -> None:
    found = estimate([40.04])
    assert (found.mean, found.n, math.isnan(found.low), math.isnan(found.high)) == (40.04, 1, True, True)
    assert str(found) == "40.0 (n = 1, no interval)"


def test_missing_values_are_left_out_of_an_estimate() -> None:
    assert estimate([NAN, 3, 5]).mean == 4 and estimate([NAN, 3, 5]).n == 2


def test_nothing_at_all_is_estimated_as_missing() -> None:
    assert math.isnan(estimate([NAN]).mean) and estimate([]).n == 0


def test_an_estimate_prints_its_interval() -> None:
    assert str(Estimate(4.0, -0.96, 8.96, 3)) == "4.0 [-1.0, 9.0]"


def test_over_seeds_has_one_row_for_each_mix_and_stop() -> None:
    found = over_seeds(stops(pd.concat([epochs([0, 10, 6]), epochs([0, 20, 10], seed=1)])))
    rows = {row["stop"]: (row["mean"], row["n"]) for row in found.to_dict("records")}
    assert rows == {"EARLY_STOP": (15, 2), "CONVERGENCE": (8, 2)}


def test_the_linear_model_finds_the_coefficients_that_made_the_table() -> None:
    rng = np.random.default_rng(0)
    runs = []
    for percent in (0, 25, 50, 75, 100):
        known, unknown = rng.uniform(0, 100, (2, 8))
        share = percent / 100
        test = 36.9 + 7.3 * known / 100 * (1 - share) - 8.3 * unknown / 100 * share
        runs.append(epochs([0.0] * 8, percent=percent, test=list(test), known=list(known), unknown=list(unknown)))
    found = linear_model(pd.concat(runs))
    assert found.round(6).to_dict() == {"b0": 36.9, "b_kn": 7.3, "b_unk": -8.3, "r2": 1, "n": 35}


def test_r2_of_the_linear_model_by_hand() -> None:
    # known and unknown never change, so the best line is the mean and explains nothing
    table = epochs([0] * 5, test=[9, 1, 2, 3, 4], known=[50] * 5, unknown=[50] * 5)
    assert linear_model(table)["r2"] == pytest.approx(0)


def test_the_linear_model_takes_d_alone_without_the_untuned_epoch() -> None:
    table = pd.concat([epochs([1, 2, 4, 8, 16]), epochs([1, 2, 3], variant="D_Known")])
    assert linear_model(table)["n"] == 4


def test_rows_that_a_mix_does_not_have_count_as_none_fitted() -> None:
    known = [0, 20, 40, 60, 80]
    table = pd.concat([epochs(known, percent=0, test=[0, 32, 34, 36, 38], known=known, unknown=[NAN] * 5),
                       epochs(known, percent=100, test=[0, 28, 26, 24, 22], known=[NAN] * 5, unknown=known)])
    assert linear_model(table)[["b0", "b_kn", "b_unk"]].round(6).tolist() == [30, 10, -10]


def test_too_few_epochs_for_a_linear_model_are_counted() -> None:
    with pytest.raises(CourseError, match="3 epochs of D with ood: three coefficients need at least 4"):
        linear_model(epochs([0, 1, 2, 3, 4], ood=[0, 1, 2, 3, NAN]), "ood")


def test_all_claims_hold_on_a_table_that_is_like_the_paper() -> None:
    found = claims(LIKE_THE_PAPER)
    assert len(found) == 6 and all(claim.holds for claim in found)


def test_measured_says_the_numbers_of_the_table() -> None:
    rise, falls, mild, gap, harm, ood = (claim.measured for claim in claims(LIKE_THE_PAPER))
    assert rise == ("at EARLY_STOP 80 % of Known and 10 % of Unknown fitted, test 43.0; at CONVERGENCE 100 and 100 %, "
                    "test 39.0")
    assert falls == "43.5 > 39.0 > 26.0 at 0, 50, 100 %"
    assert mild == "44.0 at 0 %, 40.0 at 100 %"
    assert gap == "0.5, 4.0, 14.0 points at 0, 50, 100 %"
    assert harm == "D_Known minus D at 50 %: EARLY_STOP +0.5; CONVERGENCE +4.0"
    assert ood == "at 100 % Unknown 14.0 points (35% of the start), out of distribution 7.0 (18%)"


@pytest.mark.parametrize("claim, table", [
    ("50 % Unknown:", study(EARLY, LATE, fitted=(59, 10))),
    ("50 % Unknown:", study(EARLY, LATE, fitted=(80, 26))),
    ("50 % Unknown:", study(EARLY, LATE | {50: 43.0})),
    ("At CONVERGENCE accuracy", study(EARLY, LATE | {50: 43.5})),
    ("At EARLY_STOP accuracy", study(EARLY | {100: 32.9}, LATE)),
    ("The loss from", study(EARLY, LATE | {100: 36.5})),
    ("The loss from", study(EARLY, LATE | {0: 39.2, 50: 38})),
    ("Without its Unknown", pd.concat([study(EARLY, LATE), study({50: 43.5}, {50: 39.4}, variant="D_Known")])),
    ("Out of distribution", study(EARLY, LATE, ood_drop=1.0)),
    ("Out of distribution", study(EARLY, LATE, ood_drop=0.0)),
], ids=["little of Known", "much of Unknown", "no fall", "a level step", "early falls", "gap shrinks", "gap at 0 %",
        "no gap to D_Known", "ood falls as much", "ood does not fall"])
def test_a_claim_fails_on_a_table_made_against_it(claim: str, table: pd.DataFrame) -> None:
    assert verdicts(table)[claim] is False


def test_claims_are_about_means_over_seeds() -> None:
    other = study({p: value + 2 for p, value in EARLY.items()}, {p: value + 2 for p, value in LATE.items()}, seed=1)
    measured = claims(pd.concat([LIKE_THE_PAPER, other]))[1].measured
    assert measured == "44.5 > 40.0 > 27.0 at 0, 50, 100 %"


def test_a_single_mix_says_nothing_about_slopes() -> None:
    assert list(verdicts(study({50: 43.0}, {50: 39.0}))) == ["50 % Unknown:", "Out of distribution"]


def test_runs_of_d_known_at_other_percentages_are_no_obstacle() -> None:
    table = pd.concat([study(EARLY, LATE), study({25: 44.0}, {25: 43.9}, variant="D_Known")])
    assert verdicts(table)["At CONVERGENCE accuracy"] is True


def test_a_model_that_never_answers_right_gets_a_verdict_without_a_division_by_zero() -> None:
    nothing = dict.fromkeys(EARLY, 0.0)
    assert not any(verdicts(study(nothing, nothing))[name] for name in ("At CONVERGENCE accuracy",
                                                                        "Out of distribution"))


def test_no_run_of_d_is_refused_in_words() -> None:
    with pytest.raises(CourseError, match="no epoch of D after the untuned one"):
        claims(epochs([0, 1], variant="D_Known"))


def test_the_summary_has_both_stops_of_every_run() -> None:
    table = epochs([0, 30, 50, 40.12345], seed=3, unknown=[NAN] * 4)
    run, = summary(table, {"Unknown": 0.3}, 0.9, preset="pocket")["runs"]
    assert run["early_stop"] == {"epoch": 2, "dev": 50, "test": 50, "ood": 50, "known_fitted": 50,
                                 "unknown_fitted": None}
    assert run["convergence"] | {"unknown_fitted": 0} == dict.fromkeys(
        ("dev", "test", "ood", "known_fitted"), 40.123) | {"epoch": 3, "unknown_fitted": 0}
    assert (run["variant"], run["unknown_percent"], run["seed"]) == ("D", 50, 3)


def test_the_summary_is_strict_json() -> None:
    table = pd.concat([study(EARLY, LATE), epochs([0, 1], percent=0, seed=9, unknown=[NAN] * 2, ood=[NAN] * 2)])
    text = json.dumps(summary(table, {"Unknown": 0.3}, None, preset="pocket"), allow_nan=False)
    assert json.loads(text)["never_read_unknown"] is None


def test_the_summary_carries_the_claims_with_their_verdicts() -> None:
    found = summary(LIKE_THE_PAPER, {}, None, preset="pocket")
    assert list(found) == ["preset", "shares", "never_read_unknown", "curve", "runs", "claims"]
    assert set(found["claims"][0]) == {"claim", "published", "measured", "holds"}
