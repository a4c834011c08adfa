"""Figures of fitting and of learning rates: what is drawn is read from the axes, what is said is worked out by hand."""

from __future__ import annotations

import re

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from course_lib.figures import plots
from course_lib.files import CourseError
from tests.support.made_runs import NAN, epochs, study

RUN = epochs([5, 44, 36]).assign(train_HighlyKnown=[10, 90, 100], train_MaybeKnown=[0, 60, 100],
                                 train_WeaklyKnown=[0, 40, 97], train_Unknown=[0, 4, 49])
EARLY, LATE = {0: 44.0, 100: 40.0}, {0: 43.0, 100: 26.0}
FAST = study(EARLY, {0: 42.0, 100: 20.0}).assign(lr=2e-3)
BY_CATEGORY = study({50: 44.0, 100: 43.0}, {50: 43.0, 100: 40.0}).assign(train_MaybeKnown=[0, 70, 99] * 2)
RATES = pd.concat([study(EARLY, LATE).assign(lr=7e-4), study(EARLY, {0: 41.0, 100: 28.0}, seed=1).assign(lr=7e-4),
                   FAST])


def legend(ax) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


@pytest.mark.parametrize("draw", [
    lambda ax: plots.category_curve(RUN, ax=ax), lambda ax: plots.rate_curves(RATES, ax=ax)],
    ids=["category_curve", "rate_curves"])
def test_a_given_ax_is_drawn_on_and_returned(draw) -> None:
    ax = plt.figure().add_subplot()
    assert draw(ax) is ax
    assert plt.get_fignums() == [ax.figure.number]


def test_a_run_is_split_into_its_categories() -> None:
    ax = plots.category_curve(RUN)
    drawn = {line.get_label(): list(line.get_ydata()) for line in ax.lines}
    assert drawn == {"HighlyKnown rows fitted": [10, 90, 100], "MaybeKnown rows fitted": [0, 60, 100],
                     "WeaklyKnown rows fitted": [0, 40, 97], "Unknown rows fitted": [0, 4, 49],
                     "dev accuracy": [5, 44, 36], "EARLY_STOP (epoch 1)": [0, 1]}


def test_a_category_without_rows_has_no_curve() -> None:
    assert legend(plots.category_curve(RUN.assign(train_Unknown=NAN)))[:4] == [
        "HighlyKnown rows fitted", "MaybeKnown rows fitted", "WeaklyKnown rows fitted", "dev accuracy"]


def test_the_split_is_described_by_both_stops_and_the_epoch_of_the_half() -> None:
    assert re.search(r"EARLY_STOP \(epoch 1\).*: HighlyKnown 90 .*100 % \(.*epoch 1\); MaybeKnown 60 .*100 % "
                     r"\(.*epoch 1\); WeaklyKnown 40 .*97 % \(.*epoch 2\); Unknown 4 .*49 % \(.*never\)",
                     plots.describe_category_curve(RUN))


@pytest.mark.parametrize("function", [plots.category_curve, plots.describe_category_curve])
@pytest.mark.parametrize("table, message", [
    (epochs([5, 44, 36]), "category"), (pd.concat([RUN, RUN.assign(seed=1)]), r"\b2 runs: .*query\(")])
def test_what_cannot_be_split_is_refused(function, table: pd.DataFrame, message: str) -> None:
    with pytest.raises(CourseError, match=message):
        function(table)


def test_every_rate_has_a_line_for_each_stop() -> None:
    ax = plots.rate_curves(RATES)
    means = {bars.get_label(): list(bars.lines[0].get_ydata()) for bars in ax.containers}
    assert means == {"EARLY_STOP, rate 0.0007 (n = 2)": [44, 40], "CONVERGENCE, rate 0.0007 (n = 2)": [42, 27],
                     "EARLY_STOP, rate 0.002 (n = 1)": [44, 40], "CONVERGENCE, rate 0.002 (n = 1)": [42, 20]}
    assert [bars.lines[0].get_linestyle() for bars in ax.containers] == ["-", "-", "--", "--"]


def test_rates_are_described_one_by_one() -> None:
    assert re.search(r" 0\.002 \(1 .* 0, 100 % .*EARLY_STOP 44\.0, 40\.0; .*CONVERGENCE 42\.0, 20\.0 %",
                     plots.describe_rates(FAST))


@pytest.mark.parametrize("function", [plots.rate_curves, plots.describe_rates])
def test_runs_that_do_not_say_their_rate_are_refused(function) -> None:
    with pytest.raises(CourseError, match=r"\blr\b"):
        function(study(EARLY, LATE))
    with pytest.raises(CourseError, match=r"\bD_IDK; .* D$"):
        function(RATES, variant="D_IDK")
