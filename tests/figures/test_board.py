"""The mixing board: percentages that keep their sum, rows that are needed and there, and what is said of them."""

import re

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from course_lib.data.facts import Fact
from course_lib.data.paper import CATEGORIES
from course_lib.figures.widgets.board import (
    board,
    board_bars,
    board_grid,
    describe_board,
    example_rows,
    examples,
    rebalance,
)
from course_lib.files import CourseError
from course_lib.training.mixing import draw

EVEN = dict.fromkeys(CATEGORIES, 25)
# rows by relation: HighlyKnown, MaybeKnown, WeaklyKnown, Unknown
THERE = {"P19": (8, 4, 6, 10), "P40": (20, 12, 8, 16)}


def world(there: dict[str, tuple[int, ...]] = THERE) -> tuple[list[Fact], pd.DataFrame]:
    facts, rows = [], []
    for relation, counts in there.items():
        for category, count in zip(CATEGORIES, counts, strict=True):
            facts += [Fact(f"{category} {number}", relation, "Oslo") for number in range(count)]
            rows += [{"relation": relation, "category": category}] * count
    return facts, pd.DataFrame(rows)


FACTS, LABELLED = world()
LACKING = board(LABELLED, {"WeaklyKnown": 100}, rule="known")  # 10 rows of P19, of which 6 are WeaklyKnown


@pytest.mark.parametrize(("before", "moved", "value", "after"), [
    ((25, 25, 25, 25), "HighlyKnown", 40, (40, 20, 20, 20)), ((25, 25, 25, 25), "HighlyKnown", 100, (100, 0, 0, 0)),
    ((25, 25, 25, 25), "HighlyKnown", 0, (0, 34, 33, 33)), ((25, 25, 25, 25), "HighlyKnown", 26, (26, 25, 25, 24)),
    ((20, 40, 20, 20), "HighlyKnown", 60, (60, 20, 10, 10)), ((0, 0, 100, 0), "WeaklyKnown", 40, (20, 20, 40, 20))])
def test_a_moved_share_leaves_the_rest_to_the_others_in_their_proportions(before, moved, value, after) -> None:
    shares = dict(zip(CATEGORIES, before, strict=True))
    assert rebalance(shares, moved, value) == dict(zip(CATEGORIES, after, strict=True))


def test_whatever_is_moved_the_sum_stays_100() -> None:
    shares = EVEN
    for step in range(400):
        shares = rebalance(shares, CATEGORIES[step % 4], (37 * step) % 101)
        assert sum(shares.values()) == 100 and min(shares.values()) >= 0


def test_needed_and_available_rows_are_counted_by_relation() -> None:
    found = board(LABELLED, EVEN)  # the smallest category: 4 rows of P19, 8 of P40
    assert found.sizes == {"P19": 4, "P40": 8}
    assert found.needed.loc["P19"].tolist() == [1, 1, 1, 1] and found.needed.loc["P40"].tolist() == [2, 2, 2, 2]
    assert found.available.loc["P40"].tolist() == [20, 12, 8, 16]
    assert found.possible and found.missing.to_numpy().sum() == 0


@pytest.mark.parametrize("shares", [EVEN, {"Unknown": 100}, {"HighlyKnown": 37, "WeaklyKnown": 21, "Unknown": 42}])
@pytest.mark.parametrize("rule", ["category", "known"])
def test_what_is_needed_is_what_is_drawn(shares: dict[str, float], rule: str) -> None:
    facts, labelled = world({"P19": (20, 20, 20, 20), "P40": (40, 40, 40, 30)})
    found = board(labelled, shares, rule=rule, limit=31)
    rows = draw(facts, labelled, "D_Free", sizes=found.sizes, shares=found.shares, seed=3).rows
    table = pd.crosstab([row.fact.relation for row in rows], [row.category for row in rows])
    assert found.possible
    assert table.reindex(columns=CATEGORIES, fill_value=0).to_numpy().tolist() == found.needed.to_numpy().tolist()


def test_too_few_rows_of_one_category_in_one_relation_are_enough_to_fail() -> None:
    assert not LACKING.possible and example_rows(FACTS, LABELLED, LACKING) == ""
    assert LACKING.missing["WeaklyKnown"].to_dict() == {"P19": 4, "P40": 8}
    with pytest.raises(CourseError):
        draw(FACTS, LABELLED, "D_Free", sizes=LACKING.sizes, shares=LACKING.shares)


@pytest.mark.parametrize(("chosen", "said"), [
    (board(LABELLED, EVEN), r"12 rows: 3 HighlyKnown, 3 MaybeKnown, 3 WeaklyKnown, 3 Unknown\. .*\bcan be built"),
    (LACKING, r"26 rows: 26 WeaklyKnown\. .*cannot be built: P19 .*10 WeaklyKnown .*6; P40 .*16 WeaklyKnown .*8\. "
              r".*WeaklyKnown")], ids=["possible", "lacking"])
def test_a_set_is_described_and_what_it_lacks(chosen, said: str) -> None:
    assert re.search(said, describe_board(chosen))


def test_the_first_rows_are_those_of_the_set_itself() -> None:
    chosen = board(LABELLED, {"Unknown": 100})
    lines = example_rows(FACTS, LABELLED, chosen, number=2).splitlines()
    first = draw(FACTS, LABELLED, "D_Unknown", sizes=chosen.sizes).rows[0]
    assert "2 of 12 " in lines[0] and len(lines) == 3
    assert lines[1] == f"  {first.fact.question} Oslo (Unknown)"


def test_facts_that_could_not_be_asked_do_not_count() -> None:
    odd = LABELLED.assign(problem=["a line break"] + [""] * (len(LABELLED) - 1))
    odd.loc[0, "category"] = ""
    assert board(odd, EVEN).available.loc["P19"].tolist() == [7, 4, 6, 10]


@pytest.mark.parametrize("shares", [{"Unknown": 99}, {"Known": 100}])
def test_shares_of_something_else_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(CourseError, match=f"{next(iter(shares))}.*100"):
        board(LABELLED, shares)


def test_the_panels_show_what_is_there_and_what_is_needed() -> None:
    panels = board_bars(board(LABELLED, {"WeaklyKnown": 50, "Unknown": 50}, rule="known"))
    assert [ax.get_title() for ax in panels] == ["HighlyKnown: 0 %", "MaybeKnown: 0 %", "WeaklyKnown: 50 %",
                                                 "Unknown: 50 %"]
    there, needed = panels[2].containers
    assert [bar.get_width() for bar in there] == [6, 8] and [bar.get_width() for bar in needed] == [5, 8]
    assert [text.get_text() for text in panels[2].texts] == [" 5 of 6", " 8 of 8"]


def test_a_lack_is_marked_by_a_cross_and_hatching() -> None:
    panel = board_bars(LACKING)[2]
    assert [text.get_text() for text in panel.texts] == [" \u2717 10 of 6", " \u2717 16 of 8"]
    assert all(bar.get_hatch() for bar in panel.containers[1])


def test_the_examples_say_which_sets_can_be_built() -> None:
    boards = examples(LABELLED)
    assert [one.possible for one in boards.values()] == [True, True, False, True]
    titles = [ax.get_title().splitlines()[1] for ax in board_grid(boards)]
    assert ["\u2717 2 of 2 " in title for title in titles] == [False, False, True, False]


def test_given_axes_are_drawn_on_and_another_number_is_refused() -> None:
    axes = plt.figure().subplots(1, 4)
    assert board_bars(board(LABELLED, EVEN), axes=axes) == tuple(axes)
    with pytest.raises(CourseError, match="^4 .* 2 "):
        board_grid(dict.fromkeys("ab", board(LABELLED, EVEN)), axes=axes)
