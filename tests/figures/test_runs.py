"""Figures of one run: what is drawn is read from the axes, what is said is worked out by hand."""

import re

import pandas as pd
import pytest

from course_lib.figures import plots
from course_lib.files import CourseError
from tests.support.axes import legend, lines
from tests.support.made_runs import NAN, run

SPLIT = run().assign(train_HighlyKnown=[10, 90, 100], train_MaybeKnown=[0, 60, 100], train_WeaklyKnown=[0, 40, 97],
                     train_Unknown=[0, 4, 49])


def test_a_run_is_drawn_with_its_three_curves_and_early_stop() -> None:
    ax = plots.run_curve(run())
    assert lines(ax) == {"Known rows fitted": [3, 80, 100], "Unknown rows fitted": [0, 12, 99],
                         "dev accuracy": [5, 44, 36], "EARLY_STOP (epoch 1)": [0, 1]}
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_ylim()) == ("epoch", "exact match (%)", (0, 102))


def test_a_run_is_split_into_its_categories() -> None:
    assert lines(plots.category_curve(SPLIT)) == {
        "HighlyKnown rows fitted": [10, 90, 100], "MaybeKnown rows fitted": [0, 60, 100],
        "WeaklyKnown rows fitted": [0, 40, 97], "Unknown rows fitted": [0, 4, 49], "dev accuracy": [5, 44, 36],
        "EARLY_STOP (epoch 1)": [0, 1]}


@pytest.mark.parametrize(("draw", "table", "names"), [
    (plots.run_curve, run().assign(unknown_fitted=NAN), ["Known rows fitted"]),
    (plots.category_curve, SPLIT.assign(train_Unknown=NAN),
     ["HighlyKnown rows fitted", "MaybeKnown rows fitted", "WeaklyKnown rows fitted"])])
def test_rows_that_a_run_does_not_have_get_no_curve(draw, table: pd.DataFrame, names: list[str]) -> None:
    assert legend(draw(table)) == [*names, "dev accuracy", "EARLY_STOP (epoch 1)"]


@pytest.mark.parametrize(("describe", "table", "said"), [
    (plots.describe_run, run(),
     r"epoch 1 .*44\.0 %, .*80 % of Known .*12 % of Unknown .*epoch 2 .*36\.0 %\. .*40\.0 % .*30\.0 %"),
    (plots.describe_run, run().assign(unknown_fitted=NAN), "^((?!Unknown).)*80 % of Known((?!Unknown).)*$"),
    (plots.describe_category_curve, SPLIT,
     r"EARLY_STOP \(epoch 1\).*: HighlyKnown 90 .*100 % \(.*epoch 1\); MaybeKnown 60 .*100 % \(.*epoch 1\); "
     r"WeaklyKnown 40 .*97 % \(.*epoch 2\); Unknown 4 .*49 % \(.*never\)")])
def test_a_run_is_described_by_its_two_stops(describe, table: pd.DataFrame, said: str) -> None:
    assert re.search(said, describe(table))


@pytest.mark.parametrize("function", [plots.run_curve, plots.describe_run, plots.category_curve,
                                      plots.describe_category_curve])
def test_several_runs_are_refused_where_one_is_drawn(function) -> None:
    with pytest.raises(CourseError, match=r"\b2 runs: .*epochs\.query"):
        function(pd.concat([SPLIT, SPLIT.assign(seed=1)]))


@pytest.mark.parametrize("function", [plots.category_curve, plots.describe_category_curve])
def test_a_run_without_accuracies_by_category_is_refused(function) -> None:
    with pytest.raises(CourseError, match="category"):
        function(run())
