"""The table behind a figure holds what was drawn."""

import matplotlib.pyplot as plt
import pytest

from course_lib.figures import plots
from course_lib.figures.plots.values import CLASS, data_table, drawn

SHARES = {"HighlyKnown": 0.5, "MaybeKnown": 0.25, "WeaklyKnown": 0.25, "Unknown": 0.0}


@pytest.fixture
def ax():
    return plt.figure().add_subplot()


def bars_beside_their_ticks(ax):
    ax.bar([-0.2, 0.8], [3.0, 4.0], 0.4, label="left")
    ax.bar([0.2, 1.2], [5.0, 6.0], 0.4, label="right")
    ax.set_xticks([0, 1], ["a", "b"])


def numbers_as_labels(ax):
    ax.plot([1, 4], [2.0, 3.0], label="a")
    ax.set(xscale="log", xticks=[1, 4], xticklabels=[1, 4])


@pytest.mark.parametrize(("draw", "rows"), [
    (lambda ax: ax.plot([0, 50], [1.0, 2.00004], label="test"), [("test", 0, 1.0), ("test", 50, 2.0)]),
    (lambda ax: ax.errorbar([0, 1], [5, 6], [1, 1], label="mean"), [("mean", 0, 5), ("mean", 1, 6)]),
    (lambda ax: ax.axvline(3), []), (lambda ax: ax.axvline(3, label="best"), []),
    (lambda ax: ax.bar(["a", "b"], [3.0, 4.0], label="n"), [("n", "a", 3.0), ("n", "b", 4.0)]),
    (lambda ax: ax.barh(["a", "b"], [3.0, 4.0], label="n"), [("n", 3.0, "a"), ("n", 4.0, "b")]),
    (lambda ax: ax.scatter([1], [2], label="p"), [("p", 1.0, 2.0)]),
    (bars_beside_their_ticks, [("left", "a", 3.0), ("left", "b", 4.0), ("right", "a", 5.0), ("right", "b", 6.0)]),
    (numbers_as_labels, [("a", 1, 2.0), ("a", 4, 3.0)])],
    ids=["line", "error bars", "no name", "mark", "bars", "lying bars", "cloud", "beside ticks", "numbers as labels"])
def test_what_was_drawn_is_read_back(ax, draw, rows):
    draw(ax)
    assert [tuple(row) for row in drawn(ax).itertuples(index=False)] == rows


def test_a_shared_axis_keeps_its_names():
    _, (first, second) = plt.subplots(1, 2, sharey=True)
    for one in (first, second):
        one.barh(["a", "b"], [1.0, 2.0], label="n")
    assert drawn(second)["y"].tolist() == ["a", "b"]


def test_a_notebook_shows_the_tables_folded_with_the_names_of_the_axes(ax):
    ax.plot([0], [1], label="<a>")
    ax.set(xlabel="epoch", ylabel="loss")
    shown = data_table(ax, ax)
    html = shown._repr_html_()
    assert html.startswith(f'<details class="{CLASS}"><summary>')
    assert all(part in html for part in ("epoch", "loss", "&lt;a&gt;"))
    assert len(shown.tables) == 2 and str(shown).count("series") == 2


def test_a_price_is_read_as_it_is_written_and_is_no_formula(ax):
    plots.category_bars({"$5, <b>": SHARES}, ax=ax)
    ax.set(title=plots.plain_text("from $6"), xlabel="x", ylabel="y")
    table = data_table(ax)
    assert tuple(drawn(ax).iloc[0]) == ("HighlyKnown", 50.0, "$5, <b>") and table.names[0].startswith("from $6: x")
    html = table._repr_html_()
    assert "$5, &lt;b&gt;" in html and "<b>" not in html and "mathjax_ignore" in html
