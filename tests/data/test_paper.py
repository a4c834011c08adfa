"""The published tables add up, row by row and column by column, so a typing slip in them cannot hide."""

from __future__ import annotations

import dataclasses

import pytest

from course_lib.data import paper
from course_lib.data.facts import IN_DISTRIBUTION, OUT_OF_DISTRIBUTION

TABLES = [
    pytest.param(paper.TRAIN_COUNTS, paper.TRAIN_TOTAL, id="train"),
    pytest.param(paper.TEST_COUNTS, paper.TEST_TOTAL, id="test"),
    pytest.param(paper.OOD_COUNTS, paper.OOD_TOTAL, id="ood"),
]


@pytest.mark.parametrize(("table", "total"), TABLES)
def test_a_split_table_adds_up_by_row_and_by_column(table, total):
    for relation, row in [*table.items(), ("all", total)]:
        assert sum(row.by_category.values()) == row.total, relation
    columns = [sum(column) for column in zip(*(dataclasses.astuple(row) for row in table.values()), strict=True)]
    assert tuple(columns) == dataclasses.astuple(total)


def test_the_tables_list_the_relations_in_the_order_of_the_split():
    assert tuple(paper.TRAIN_COUNTS) == tuple(paper.TEST_COUNTS) == IN_DISTRIBUTION
    assert tuple(paper.OOD_COUNTS) == OUT_OF_DISTRIBUTION


def test_the_smallest_categories_of_the_relations_add_up_to_the_size_of_d():
    assert sum(min(row.by_category.values()) for row in paper.TRAIN_COUNTS.values()) == paper.D_SIZE == 6142


def test_a_third_of_the_training_questions_is_unknown():
    shares = {name: round(100 * n / 81700, 1) for name, n in paper.TRAIN_TOTAL.by_category.items()}
    assert shares == {"HighlyKnown": 23.9, "MaybeKnown": 25.3, "WeaklyKnown": 16.9, "Unknown": 33.9}


def test_the_published_tables_cannot_be_changed_by_accident():
    with pytest.raises(TypeError):
        paper.TRAIN_COUNTS["P19"] = paper.TRAIN_COUNTS["P26"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        paper.TRAIN_COUNTS["P19"].total = 1


@pytest.mark.parametrize(
    ("test_set", "known", "unknown", "percent"),
    [("test", 1, 0, 44.2), ("test", 0.5, 0.5, 36.4), ("test", 0, 1, 28.6), ("ood", 1, 0, 39.4), ("ood", 0, 1, 33.2)],
)
def test_the_linear_model_predicts_the_value_worked_out_by_hand(test_set, known, unknown, percent):
    assert paper.LINEAR_MODEL[test_set].predict(known, unknown) == pytest.approx(percent)


@pytest.mark.parametrize("stop", ["ES", "CONV"])
@pytest.mark.parametrize("column", ["Full", *paper.CATEGORIES])
def test_the_best_of_a_column_has_no_star_and_any_star_marks_a_lower_value(column, stop):
    cells = [stops[stop][column] for stops in paper.SINGLE_CATEGORY.values()]
    best = max(cell.percent for cell in cells)
    assert all(cell.percent < best for cell in cells if cell.stars)
    assert any(cell.percent == best and not cell.stars for cell in cells)


def test_three_cells_have_a_single_star():
    rows = [row for stops in paper.SINGLE_CATEGORY.values() for row in stops.values()]
    cells = [cell for row in rows for cell in row.values()]
    assert [cell.percent for cell in cells if cell.stars == "*"] == [97.5, 98.0, 2.5]
    assert {cell.stars for cell in cells} == {"", "*", "**"}


def test_the_printed_points_of_figure_3_agree_with_the_tables_they_come_from():
    for stop in ("ES", "CONV"):
        assert paper.UNKNOWN_MIX[50][stop] == paper.IDK["D"][stop].accuracy
        assert paper.UNKNOWN_MIX[100][stop] == paper.SINGLE_CATEGORY["Unknown"][stop]["Full"].percent
        assert paper.NATURAL_MIX[stop] == paper.SINGLE_CATEGORY["Natural"][stop]["Full"].percent


def test_saying_i_do_not_know_gives_fewer_right_answers_over_all_questions():
    assert paper.IDK["D_IDK"]["ES"].correct == pytest.approx(36.3, abs=0.05)
    assert paper.IDK["D_IDK"]["CONV"].correct == pytest.approx(34.4, abs=0.05)
    assert paper.IDK["D"]["ES"].correct == 43.0


def test_the_audit_of_exact_match_covers_its_hundred_predictions():
    assert sum(paper.EXACT_MATCH_AUDIT.values()) == 100


def test_fine_tuning_takes_48_steps_an_epoch():
    assert round(paper.D_SIZE / paper.FINE_TUNING.batch_size) == 48


def test_the_counts_frame_has_a_row_per_relation():
    frame = paper.counts_frame("test")
    assert list(frame.columns) == [*paper.CATEGORIES, "total"]
    assert frame.loc["P136"].tolist() == [6, 432, 248, 281, 967]
    assert frame["total"].sum() == 10481


def test_the_single_category_frame_has_a_row_per_cell():
    frame = paper.single_category_frame()
    assert len(frame) == 5 * 2 * 5
    cell = frame.query("variant == 'WeaklyKnown' and stop == 'CONV' and tested == 'HighlyKnown'")
    assert cell[["percent", "stars"]].values.tolist() == [[73.5, "**"]]


def test_early_stop_and_convergence_differ_by_stars_for_every_row_of_table_2_but_maybe_known():
    assert set(paper.EARLY_AGAINST_LATE) == set(paper.SINGLE_CATEGORY)
    assert [name for name, stars in paper.EARLY_AGAINST_LATE.items() if not stars] == ["MaybeKnown"]


def test_the_largest_loss_is_within_what_the_text_says():
    assert max(stops["ES"] - stops["CONV"] for stops in paper.UNKNOWN_MIX.values()) <= paper.LARGEST_DROP["test"]


def test_the_most_of_unknown_is_that_of_d_unknown_at_convergence():
    assert paper.MOST_OF_UNKNOWN == 3.2 == paper.SINGLE_CATEGORY["Unknown"]["CONV"]["Unknown"].percent


def test_slicks_point_of_figure_5_is_a_third_of_the_test_set():
    assert paper.SLICK_UNKNOWN.called == pytest.approx(33.0, abs=0.05)
    assert dict(paper.SLICK_UNKNOWN.accuracy) == {"ES": 1.8, "CONV": 2.5}
