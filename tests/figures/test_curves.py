"""Figures of fitting and of learning rates: what is drawn is read from the axes, what is said is worked out by hand."""

from __future__ import annotations

import re
from collections.abc import Iterator

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from course_lib.figures.plots import curves as curve_plots
from course_lib.files import CourseError
from tests.support.made_runs import NAN, epochs, study

RUN = epochs([5, 44, 36]).assign(train_HighlyKnown=[10, 90, 100], train_MaybeKnown=[0, 60, 100],
                                 train_WeaklyKnown=[0, 40, 97], train_Unknown=[0, 4, 49])
EARLY, LATE = {0: 44.0, 100: 40.0}, {0: 43.0, 100: 26.0}
FAST = study(EARLY, {0: 42.0, 100: 20.0}).assign(lr=2e-3)
BY_CATEGORY = study({50: 44.0, 100: 43.0}, {50: 43.0, 100: 40.0}).assign(train_MaybeKnown=[0, 70, 99] * 2)
RATES = pd.concat([study(EARLY, LATE).assign(lr=7e-4), study(EARLY, {0: 41.0, 100: 28.0}, seed=1).assign(lr=7e-4),
                   FAST])


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    plt.close("all")


def legend(ax) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


@pytest.mark.parametrize("draw", [
    lambda ax: curve_plots.category_curve(RUN, ax=ax), lambda ax: curve_plots.fitted_bars(study(EARLY, LATE), ax=ax),
    lambda ax: curve_plots.rate_curves(RATES, ax=ax)], ids=["category_curve", "fitted_bars", "rate_curves"])
def test_a_given_ax_is_drawn_on_and_returned(draw) -> None:
    ax = plt.figure().add_subplot()
    assert draw(ax) is ax
    assert plt.get_fignums() == [ax.figure.number]


def test_a_run_is_split_into_its_categories() -> None:
    ax = curve_plots.category_curve(RUN)
    drawn = {line.get_label(): list(line.get_ydata()) for line in ax.lines}
    assert drawn == {"HighlyKnown rows fitted": [10, 90, 100], "MaybeKnown rows fitted": [0, 60, 100],
                     "WeaklyKnown rows fitted": [0, 40, 97], "Unknown rows fitted": [0, 4, 49],
                     "dev accuracy": [5, 44, 36], "EARLY_STOP (epoch 1)": [0, 1]}


def test_a_category_without_rows_has_no_curve() -> None:
    assert legend(curve_plots.category_curve(RUN.assign(train_Unknown=NAN)))[:4] == [
        "HighlyKnown rows fitted", "MaybeKnown rows fitted", "WeaklyKnown rows fitted", "dev accuracy"]


def test_the_split_is_described_by_both_stops_and_the_epoch_of_the_half() -> None:
    assert re.search(r"EARLY_STOP \(epoch 1\).*: HighlyKnown 90 .*100 % \(.*epoch 1\); MaybeKnown 60 .*100 % "
                     r"\(.*epoch 1\); WeaklyKnown 40 .*97 % \(.*epoch 2\); Unknown 4 .*49 % \(.*never\)",
                     curve_plots.describe_category_curve(RUN))


@pytest.mark.parametrize("function", [curve_plots.category_curve, curve_plots.describe_category_curve])
@pytest.mark.parametrize("table, message", [
    (epochs([5, 44, 36]), "category"), (pd.concat([RUN, RUN.assign(seed=1)]), r"\b2 runs: .*query\(")])
def test_what_cannot_be_split_is_refused(function, table: pd.DataFrame, message: str) -> None:
    with pytest.raises(CourseError, match=message):
        function(table)


def test_the_parts_of_d_are_stacked_to_100_percent() -> None:
    # at 25 % Unknown 80 % of 75 and 10 % of 25 are fitted
    ax = curve_plots.fitted_bars(study({25: 44.0}, {25: 43.0}))
    assert [(bar.get_x(), bar.get_width()) for bar in ax.patches] == [(0, 60), (60, 15), (75, 2.5), (77.5, 22.5)]
    assert legend(ax) == ["Known, fitted", "Known, not fitted", "Unknown, fitted", "Unknown, not fitted"]


def test_a_mix_without_unknown_rows_has_no_bar_of_them() -> None:
    ax = curve_plots.fitted_bars(epochs([0, 2, 1], percent=0, known=[0, 80, 100], unknown=[NAN] * 3))
    assert [bar.get_width() for bar in ax.patches] == [80, 20, 0, 0]


def test_bars_at_convergence_say_so() -> None:
    ax = curve_plots.fitted_bars(study(EARLY, LATE), stop="CONVERGENCE")
    assert ax.get_xlabel() == "share of D at CONVERGENCE (%)"


def test_what_is_fitted_is_described() -> None:
    assert curve_plots.describe_fitted(study({50: 44.0}, {50: 43.0})) == (
        "Rows fitted at EARLY_STOP, means over 1 seed(s): at 50 % Unknown 80 % of Known, 10 % of Unknown.")
    assert curve_plots.describe_fitted(BY_CATEGORY).endswith("80 % of Known, 10 % of Unknown, 70 % of MaybeKnown.")


def test_each_category_has_its_line_of_what_is_fitted() -> None:
    ax = curve_plots.fitted_lines(BY_CATEGORY)
    assert {bars.get_label(): list(bars.lines[0].get_ydata()) for bars in ax.containers} == {
        "MaybeKnown (n = 1)": [70, 70], "Unknown (n = 1)": [10, 10]}


def test_lines_by_category_need_runs_that_measured_them() -> None:
    with pytest.raises(CourseError, match="category"):
        curve_plots.fitted_lines(study(EARLY, LATE))


def test_without_runs_of_d_there_are_no_bars() -> None:
    with pytest.raises(CourseError, match=r"\bD at EARLY_STOP"):
        curve_plots.fitted_bars(epochs([0, 2, 1], variant="D_Known"))


def test_every_rate_has_a_line_for_each_stop() -> None:
    ax = curve_plots.rate_curves(RATES)
    means = {bars.get_label(): list(bars.lines[0].get_ydata()) for bars in ax.containers}
    assert means == {"EARLY_STOP, rate 0.0007 (n = 2)": [44, 40], "CONVERGENCE, rate 0.0007 (n = 2)": [42, 27],
                     "EARLY_STOP, rate 0.002 (n = 1)": [44, 40], "CONVERGENCE, rate 0.002 (n = 1)": [42, 20]}
    assert [bars.lines[0].get_linestyle() for bars in ax.containers] == ["-", "-", "--", "--"]


def test_rates_are_described_one_by_one() -> None:
    assert re.search(r" 0\.002 \(1 .* 0, 100 % .*EARLY_STOP 44\.0, 40\.0; .*CONVERGENCE 42\.0, 20\.0 %",
                     curve_plots.describe_rates(FAST))


@pytest.mark.parametrize("function", [curve_plots.rate_curves, curve_plots.describe_rates])
def test_runs_that_do_not_say_their_rate_are_refused(function) -> None:
    with pytest.raises(CourseError, match=r"\blr\b"):
        function(study(EARLY, LATE))
    with pytest.raises(CourseError, match=r"\bD_IDK; .* D$"):
        function(RATES, variant="D_IDK")
