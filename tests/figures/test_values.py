"""The table behind a figure holds what was drawn."""

import matplotlib.pyplot as plt
import pytest

from course_lib.figures import plots
from course_lib.figures.plots.values import CLASS, data_table, drawn


@pytest.fixture
def ax():
    yield plt.figure().add_subplot()
    plt.close("all")


def rows(ax):
    return [tuple(row) for row in drawn(ax).itertuples(index=False)]


def test_a_line_gives_its_points(ax):
    ax.plot([0, 50], [1.0, 2.00004], label="test")
    assert rows(ax) == [("test", 0, 1.0), ("test", 50, 2.0)]


def test_error_bars_give_their_line_once(ax):
    ax.errorbar([0, 1], [5, 6], [1, 1], label="mean")
    assert rows(ax) == [("mean", 0, 5), ("mean", 1, 6)]


def test_lines_without_a_name_are_left_out(ax):
    ax.axvline(3)
    assert drawn(ax).empty


def test_upright_bars_have_their_category_and_height(ax):
    ax.bar(["a", "b"], [3.0, 4.0], label="n")
    assert rows(ax) == [("n", "a", 3.0), ("n", "b", 4.0)]


def test_lying_bars_have_their_length_and_category(ax):
    plots.category_bars({"train": {"HighlyKnown": 0.5, "MaybeKnown": 0.25, "WeaklyKnown": 0.25, "Unknown": 0.0}}, ax=ax)
    assert rows(ax)[:2] == [("HighlyKnown", 50.0, "train"), ("MaybeKnown", 25.0, "train")]


def test_points_of_a_cloud_are_kept(ax):
    ax.scatter([1], [2], label="p")
    assert rows(ax) == [("p", 1.0, 2.0)]


def test_a_notebook_shows_the_table_folded_with_the_names_of_the_axes(ax):
    ax.plot([0], [1], label="<a>")
    ax.set(xlabel="epoch", ylabel="loss")
    html = data_table(ax)._repr_html_()
    assert html.startswith(f'<details class="{CLASS}"><summary>')
    assert all(part in html for part in ("epoch", "loss", "&lt;a&gt;"))


def test_several_axes_give_several_tables(ax):
    ax.plot([0], [1], label="a")
    shown = data_table(ax, ax)
    assert len(shown.tables) == 2 and str(shown).count("series") == 2


def test_bars_beside_their_tick_have_its_name(ax):
    ax.bar([-0.2, 0.8], [3.0, 4.0], 0.4, label="left")
    ax.bar([0.2, 1.2], [5.0, 6.0], 0.4, label="right")
    ax.set_xticks([0, 1], ["a", "b"])
    assert rows(ax) == [("left", "a", 3.0), ("left", "b", 4.0), ("right", "a", 5.0), ("right", "b", 6.0)]


def test_a_shared_axis_keeps_its_names():
    _, (first, second) = plt.subplots(1, 2, sharey=True)
    for one in (first, second):
        one.barh(["a", "b"], [1.0, 2.0], label="n")
    found = rows(second)
    plt.close("all")
    assert found == [("n", 1.0, "a"), ("n", 2.0, "b")]


def test_a_named_mark_across_the_frame_is_left_out(ax):
    ax.axvline(3, label="best")
    assert drawn(ax).empty


def test_numbers_that_are_written_as_labels_stay_numbers(ax):
    ax.plot([1, 4], [2.0, 3.0], label="a")
    ax.set(xscale="log", xticks=[1, 4], xticklabels=[1, 4])
    assert rows(ax) == [("a", 1, 2.0), ("a", 4, 3.0)]


def test_a_price_is_read_as_it_is_written_and_is_no_formula(ax):
    plots.category_bars({"$5, <b>": {"HighlyKnown": 1.0, "MaybeKnown": 0.0, "WeaklyKnown": 0.0, "Unknown": 0.0}}, ax=ax)
    ax.set(title=plots.plain_text("from $6"), xlabel="x", ylabel="y")
    table = data_table(ax)
    assert rows(ax)[0] == ("HighlyKnown", 100.0, "$5, <b>") and table.names[0].startswith("from $6: x")
    html = table._repr_html_()
    assert "$5, &lt;b&gt;" in html and "<b>" not in html and "mathjax_ignore" in html
