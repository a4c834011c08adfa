"""The linear model of Table 1, on tables made from known coefficients."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from course_lib.analysis.linear import linear_fit, linear_model, linear_table
from course_lib.files import CourseError
from tests.support.made_runs import NAN, epochs


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
    with pytest.raises(CourseError, match=r"^3 .*\bood\b.*\b4\b"):
        linear_model(epochs([0, 1, 2, 3, 4], ood=[0, 1, 2, 3, NAN]), "ood")


def noisy(seed: int, slope: float = -8.0) -> pd.DataFrame:
    """Runs at 0 and 100 % with accuracy 40 + 10 N_kn / |D| + slope N_unk / |D|."""
    fitted = [0, 20, 40, 60, 80]
    return pd.concat([epochs(fitted, percent=0, seed=seed, test=[40 + value / 10 for value in fitted], known=fitted,
                             unknown=[NAN] * 5),
                      epochs(fitted, percent=100, seed=seed, test=[40 + slope * value / 100 for value in fitted],
                             known=[NAN] * 5, unknown=fitted)])


def test_the_interval_leaves_out_one_seed_at_a_time() -> None:
    # without a seed b_unk is the other's: -6 and -10. Standard error sqrt(1/2 (2^2 + 2^2)) = 2; t(0.975, 1) = 12.7062
    found = linear_fit(pd.concat([noisy(0, -6), noisy(1, -10)])).loc["b_unk"]
    assert found["mean"] == pytest.approx(-8)
    assert found["high"] - found["mean"] == pytest.approx(2 * 12.7062, abs=1e-3)
    assert found["n"] == 2


def test_three_seeds_are_left_out_in_turn() -> None:
    # without a seed: -9, -8, -7 for slopes -6, -8, -10. sqrt(2/3 (1 + 0 + 1)) = 1.1547; t(0.975, 2) = 4.302653
    found = linear_fit(pd.concat([noisy(0, -6), noisy(1, -8), noisy(2, -10)])).loc["b_unk"]
    assert found["high"] - found["mean"] == pytest.approx(1.154701 * 4.302653, abs=1e-4)


def test_more_epochs_of_the_same_seeds_do_not_narrow_the_interval() -> None:
    two = pd.concat([noisy(0, -6), noisy(1, -10)])
    again = pd.concat([two, two.assign(epoch=two["epoch"] + 10)])
    widths = [linear_fit(table)["high"] - linear_fit(table)["low"] for table in (two, again)]
    assert widths[1]["b_unk"] == pytest.approx(widths[0]["b_unk"], rel=0.05)


def test_one_seed_has_no_interval() -> None:
    found = linear_fit(noisy(0))
    assert found.loc["b_kn", "mean"] == pytest.approx(10) and found[["low", "high"]].isna().all(axis=None)


def test_the_table_stands_beside_the_published_one() -> None:
    found = linear_table(pd.concat([noisy(0), noisy(1)])).set_index(["measure", "coefficient"])
    assert found.loc["test", "published"].to_dict() == {"b0": 36.9, "b_kn": 7.3, "b_unk": -8.3, "r2": 0.86}
    assert found.loc[("test", "r2"), "mean"] == pytest.approx(1)
    assert set(found.loc["test", "epochs"]) == {16} and set(found.loc["test", "n"]) == {2}


def test_a_measure_that_was_not_taken_is_left_out_of_the_table() -> None:
    assert set(linear_table(noisy(0).assign(ood=NAN))["measure"]) == {"test"}


def test_learning_rates_are_not_pooled() -> None:
    with pytest.raises(CourseError, match=r"\b2 .*query\('lr == "):
        linear_model(pd.concat([noisy(0).assign(lr=1e-3), noisy(0).assign(lr=1e-4)]))
