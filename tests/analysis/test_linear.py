"""The linear model of Table 1, on tables made from known coefficients."""

import numpy as np
import pandas as pd
import pytest

from course_lib.analysis.linear import linear_fit, linear_model, linear_table
from course_lib.files import CourseError
from tests.support.made_runs import NAN, ends, epochs


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
    assert linear_model(pd.concat([epochs([1, 2, 4, 8, 16]), epochs([1, 2, 3], variant="D_Known")]))["n"] == 4


def test_rows_that_a_mix_does_not_have_count_as_none_fitted() -> None:
    assert linear_model(ends(-8))[["b0", "b_kn", "b_unk"]].round(6).tolist() == [40, 10, -8]


def test_too_few_epochs_for_a_linear_model_are_counted() -> None:
    with pytest.raises(CourseError, match=r"^3 .*\bood\b.*\b4\b"):
        linear_model(epochs([0, 1, 2, 3, 4], ood=[0, 1, 2, 3, NAN]), "ood")


@pytest.mark.parametrize("slopes, half", [
    ((-6, -10), 2 * 12.7062),  # without a seed -10 and -6: sqrt(1/2 (2^2 + 2^2)) = 2; t(0.975, 1) = 12.7062
    ((-6, -8, -10), 1.154701 * 4.302653),  # -9, -8, -7: sqrt(2/3 (1 + 0 + 1)) = 1.154701; t(0.975, 2) = 4.302653
    ((-8,), NAN)], ids=["two seeds", "three seeds", "one seed has no interval"])
def test_the_interval_leaves_out_one_seed_at_a_time(slopes: tuple[float, ...], half: float) -> None:
    found = linear_fit(ends(*slopes)).loc["b_unk"]
    assert (found["mean"], found["n"]) == (pytest.approx(-8), len(slopes))
    assert found["high"] - found["mean"] == pytest.approx(half, abs=1e-4, nan_ok=True)
    assert found["mean"] - found["low"] == pytest.approx(half, abs=1e-4, nan_ok=True)


def test_more_epochs_of_the_same_seeds_do_not_narrow_the_interval() -> None:
    two = ends(-6, -10)
    again = pd.concat([two, two.assign(epoch=two["epoch"] + 10)])
    widths = [linear_fit(table)["high"] - linear_fit(table)["low"] for table in (two, again)]
    assert widths[1]["b_unk"] == pytest.approx(widths[0]["b_unk"], rel=0.05)


def test_the_table_stands_beside_the_published_one() -> None:
    found = linear_table(ends(-8, -8)).set_index(["measure", "coefficient"])
    assert found.loc["test", "published"].to_dict() == {"b0": 36.9, "b_kn": 7.3, "b_unk": -8.3, "r2": 0.86}
    assert found.loc[("test", "r2"), "mean"] == pytest.approx(1)
    assert set(found.loc["test", "epochs"]) == {16} and set(found.loc["test", "n"]) == {2}


def test_a_measure_that_was_not_taken_is_left_out_of_the_table() -> None:
    assert set(linear_table(ends(-8).assign(ood=NAN))["measure"]) == {"test"}


def test_learning_rates_are_not_pooled() -> None:
    with pytest.raises(CourseError, match=r"\b2 .*query\('lr == "):
        linear_model(pd.concat([ends(-8).assign(lr=1e-3), ends(-8).assign(lr=1e-4)]))
