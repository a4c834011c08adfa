"""The paper's tables from made runs: values by hand, published cells from the paper's own numbers."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from course_lib.analysis import early_against_late, full_from_categories, idk_table, laid_out, single_category_table
from course_lib.data import paper
from course_lib.data.paper import CATEGORIES
from course_lib.files import CourseError
from tests.support.made_runs import NAN, epochs, idk, single

SINGLES = pd.concat([single("D_HighlyKnown", [40, 90, 50, 8, 0], [38, 88, 48, 8, 1], seed=seed) for seed in (0, 1)]
                    + [single("D_MaybeKnown", [44, 90, 60, 8, 1], [42 + 2 * seed, 88, 58, 8, 1], seed=seed)
                       for seed in (0, 1)])


def cell(table: pd.DataFrame, **keys: object) -> pd.Series:
    row, = (row for _, row in table.iterrows() if all(row[name] == value for name, value in keys.items()))
    return row


def test_table_2_has_means_intervals_and_the_published_cell() -> None:
    found = cell(single_category_table(SINGLES), variant="D_MaybeKnown", stop="CONVERGENCE", tested="Full")
    assert (found["mean"], found["n"], found["published"], found["published_stars"]) == (43, 2, 43.2, "")
    assert found["high"] == pytest.approx(43 + 12.7062, abs=1e-3)  # t(0.975, 1) times the standard error 1


def test_table_2_has_a_row_per_variant_stop_and_column_in_the_papers_order() -> None:
    found = single_category_table(SINGLES)
    assert len(found) == 2 * 2 * 5
    assert list(found["tested"][:5]) == ["Full", *CATEGORIES]
    assert list(dict.fromkeys(zip(found["stop"], found["variant"], strict=True)))[:2] == [
        ("EARLY_STOP", "D_HighlyKnown"), ("EARLY_STOP", "D_MaybeKnown")]


def answers(**accuracy: float) -> dict[tuple[str, float, str], np.ndarray]:
    """1000 questions, 500 of them HighlyKnown; a variant answers the first so many percent of each half."""
    ranks = np.tile(np.arange(500) / 500, 2)
    return {(variant, 0, stop): ranks[None] < accuracy[variant] / 100 for variant in accuracy
            for stop in ("EARLY_STOP", "CONVERGENCE")}


HALVES = ["HighlyKnown"] * 500 + ["MaybeKnown"] * 500


@pytest.mark.parametrize("highly, mark", [(40, "**"), (44, "")], ids=["worse", "alike"])
def test_stars_mark_what_is_worse_than_the_best_of_its_column(highly: float, mark: str) -> None:
    right = answers(D_HighlyKnown=highly, D_MaybeKnown=44)
    found = single_category_table(SINGLES, right=right, categories=HALVES)
    for tested in ("Full", "HighlyKnown"):
        marks = [cell(found, variant=variant, stop="EARLY_STOP", tested=tested)["stars"]
                 for variant in ("D_HighlyKnown", "D_MaybeKnown")]
        assert marks == [mark, ""]


def test_each_column_and_stop_is_starred_by_its_own_questions() -> None:
    right = answers(D_HighlyKnown=44, D_MaybeKnown=44)
    worse = right["D_MaybeKnown", 0, "CONVERGENCE"].copy()
    worse[:, :100] = False  # HighlyKnown questions, 20 % of them
    found = single_category_table(SINGLES, right=right | {("D_MaybeKnown", 0, "CONVERGENCE"): worse}, categories=HALVES)
    marked = found[found["stars"] != ""]
    assert [tuple(row) for row in marked[["variant", "stop", "tested"]].itertuples(index=False)] == [
        ("D_MaybeKnown", "CONVERGENCE", "Full"), ("D_MaybeKnown", "CONVERGENCE", "HighlyKnown")]


@pytest.mark.parametrize("make, said", [
    (lambda: single_category_table(SINGLES, right=answers(D_HighlyKnown=40), categories=["Unknown"] * 2),
     "^2 .* 1000 "),
    (lambda: single_category_table(epochs([0, 2, 1])), "D_HighlyKnown, D_MaybeKnown"),
    (lambda: idk_table(epochs([0, 2, 1])), "D_IDK at 50 %")],
    ids=["categories of other questions", "Table 2 without its variants", "Table 3 without its runs"])
def test_a_table_that_these_runs_cannot_fill_is_refused(make: Callable[[], object], said: str) -> None:
    with pytest.raises(CourseError, match=said):
        make()


def test_early_stop_is_compared_with_convergence() -> None:
    right = answers(D_MaybeKnown=44, D_Unknown=40)
    right["D_Unknown", 0, "CONVERGENCE"] = right["D_Unknown", 0, "CONVERGENCE"] & (np.arange(1000) % 500 >= 50)
    found = early_against_late(right).set_index("variant")
    assert found["stars"].to_dict() == {"D_MaybeKnown": "", "D_Unknown": "**"}
    assert found["difference"].to_dict() == {"D_MaybeKnown": 0, "D_Unknown": pytest.approx(10)}
    assert found["published_stars"].to_dict() == {"D_MaybeKnown": "", "D_Unknown": "**"}


@pytest.mark.parametrize("variant", paper.SINGLE_CATEGORY)
@pytest.mark.parametrize("stop", ["ES", "CONV"])
def test_the_papers_full_column_is_the_weighted_mean_of_the_four(variant: str, stop: str) -> None:
    table = paper.single_category_frame().query("variant == @variant and stop == @stop").set_index("tested")["percent"]
    found = full_from_categories(table, paper.TEST_TOTAL.by_category)
    assert found == pytest.approx(table["Full"], abs=0.06)


def test_a_category_without_questions_has_no_weight() -> None:
    assert full_from_categories({"Unknown": 10.0}, {"Unknown": 3, "MaybeKnown": 0}) == 10


def test_the_idk_table_counts_over_answered_and_over_all() -> None:
    table = pd.concat([epochs([0, 2, 1], test=[0, 40, 30]), idk((30, 50), (28, 40))])
    found = idk_table(table)
    early = {quantity: cell(found, variant="D_IDK", stop="EARLY_STOP", quantity=quantity)
             for quantity in ("accuracy", "answered", "correct")}
    assert [row["mean"] for row in early.values()] == [60, 50, 30]
    assert [row["published"] for row in early.values()] == pytest.approx([61.8, 58.7, 36.28], abs=0.01)
    assert cell(found, variant="D", stop="CONVERGENCE", quantity="accuracy")["mean"] == 30


def test_a_model_that_answers_nothing_has_no_accuracy() -> None:
    table = pd.concat([epochs([0, 2, 1]), idk((0, 0), (0, 0))])
    found = cell(idk_table(table), variant="D_IDK", stop="EARLY_STOP", quantity="accuracy")
    assert np.isnan(found["mean"]) and found["n"] == 0


def test_d_idk_whose_answers_were_not_counted_is_not_taken_to_answer_everything() -> None:
    table = pd.concat([epochs([0, 2, 1]), idk((30, NAN), (28, NAN))])
    found = idk_table(table).set_index(["variant", "stop", "quantity"])["n"]
    assert found["D_IDK", "EARLY_STOP", "answered"] == 0 and found["D", "EARLY_STOP", "answered"] == 1


def test_a_table_is_laid_out_as_it_is_printed() -> None:
    wide = laid_out(single_category_table(SINGLES[SINGLES["seed"] == 0]), index=["variant", "stop"], columns="tested")
    assert list(wide) == ["Full", *CATEGORIES] and len(wide) == 4
    assert wide.loc[("D_HighlyKnown", "EARLY_STOP"), "Full"] == "40.0 (n = 1, no interval) | 40.5**"
    assert wide.index[0] == ("D_HighlyKnown", "EARLY_STOP")


def test_a_laid_out_table_shows_intervals_stars_and_gaps() -> None:
    table = pd.DataFrame({"row": ["b", "a"], "column": ["x", "y"], "mean": [43.0, NAN], "low": [41.0, NAN],
                          "high": [45.0, NAN], "n": [3, 0], "stars": ["**", ""]})
    assert laid_out(table, index=["row"], columns="column").to_dict("index") == {
        "b": {"x": "43.0 [41.0, 45.0]**", "y": ""}, "a": {"x": "", "y": "-"}}
