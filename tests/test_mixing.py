"""Mixing: the size of D by the paper's own table, and draws that differ in nothing but the share of Unknown."""

from __future__ import annotations

from collections import Counter

import pandas as pd
import pytest

from course_lib import paper
from course_lib.facts import Fact
from course_lib.files import CourseError
from course_lib.mixing import Mix, known_only, mix, relation_sizes
from course_lib.slick import CATEGORIES

COUNTS = {"P19": (4, 3, 5, 12), "P36": (10, 2, 2, 8)}  # per category; Known/Unknown: 12/12 and 14/8
SIZES = {"P19": 12, "P36": 8}


def world(counts: dict[str, tuple[int, ...]] = COUNTS) -> tuple[list[Fact], pd.DataFrame]:
    rows = [(relation, category) for relation, numbers in counts.items()
            for category, number in zip(CATEGORIES, numbers, strict=True) for _ in range(number)]
    facts = [Fact(f"subject {i}", relation, "x") for i, (relation, _) in enumerate(rows)]
    return facts, pd.DataFrame(rows, columns=["relation", "category"])


def draw(percent: float, *, seed: int = 0, sizes: dict[str, int] = SIZES) -> Mix:
    return mix(*world(), unknown_percent=percent, sizes=sizes, seed=seed)


def test_the_papers_counts_give_the_papers_size() -> None:
    _, labelled = world({r: tuple(row.by_category.values()) for r, row in paper.TRAIN_COUNTS.items()})
    sizes = relation_sizes(labelled)
    assert sizes == dict(paper.SMALLEST_CATEGORY)
    assert sum(sizes.values()) == 6142


def test_rule_category_takes_the_smallest_of_four_and_rule_known_the_smaller_of_two() -> None:
    _, labelled = world()
    assert relation_sizes(labelled) == {"P19": 3, "P36": 2}
    assert relation_sizes(labelled, rule="known") == {"P19": 12, "P36": 8}


def test_a_relation_that_lacks_a_category_takes_no_part() -> None:
    _, labelled = world({"P19": (1, 1, 1, 1), "P36": (0, 5, 5, 5)})
    assert relation_sizes(labelled) == {"P19": 1}


def test_a_limit_scales_every_relation_in_proportion() -> None:
    _, labelled = world()
    assert relation_sizes(labelled, rule="known", limit=10) == {"P19": 6, "P36": 4}


def test_a_limit_above_the_size_changes_nothing() -> None:
    _, labelled = world()
    assert relation_sizes(labelled, rule="known", limit=99) == SIZES


def test_a_limit_that_leaves_no_row_is_refused() -> None:
    with pytest.raises(CourseError, match="limit = 0: it leaves no row to any of 2 relations"):
        relation_sizes(world()[1], rule="known", limit=0)


def test_an_unknown_rule_is_refused_with_the_two_that_exist() -> None:
    with pytest.raises(CourseError, match="rule 'half': use 'category'.* or 'known'"):
        relation_sizes(world()[1], rule="half")


def test_nothing_to_draw_from_is_told_with_the_counts() -> None:
    with pytest.raises(CourseError, match="Known, Unknown: {'Known': 3}"):
        relation_sizes(world({"P19": (1, 1, 1, 0)})[1], rule="known")


@pytest.mark.parametrize("percent, unknown", [(0, 0), (25, 5), (50, 10), (75, 15), (100, 20)])
def test_the_share_of_unknown_rows_is_the_one_asked_for(percent: float, unknown: int) -> None:
    drawn = draw(percent)
    assert (len(drawn.unknown), len(drawn.known)) == (unknown, 20 - unknown)


def test_size_and_relations_are_the_same_at_every_percentage() -> None:
    for percent in (0, 10, 33.3, 50, 90, 100):
        assert Counter(row.fact.relation for row in draw(percent).rows) == SIZES


def test_the_unknown_share_holds_within_every_relation() -> None:
    assert Counter(fact.relation for fact in draw(50).unknown) == {"P19": 6, "P36": 4}


def test_rows_keep_the_category_of_their_fact() -> None:
    facts, labelled = world()
    category = dict(zip(facts, labelled["category"], strict=True))
    assert all(row.category == category[row.fact] for row in draw(50).rows)


def test_no_row_is_drawn_twice() -> None:
    assert len({row.fact for row in draw(50).rows}) == 20


def test_draws_of_one_seed_are_nested() -> None:
    small, large = draw(25), draw(75)
    assert set(small.unknown) < set(large.unknown)
    assert set(large.known) < set(small.known)


def test_one_seed_draws_the_same_rows_in_the_same_order() -> None:
    assert draw(50).rows == draw(50).rows
    assert set(draw(50).rows) != set(draw(50, seed=1).rows)


def test_rows_are_shuffled_across_relations() -> None:
    relations = [row.fact.relation for row in draw(50).rows]
    assert relations != sorted(relations)


def test_d_known_is_d_without_its_unknown_rows_in_the_same_order() -> None:
    full = draw(25)
    known = known_only(full)
    assert known.rows == tuple(row for row in full.rows if row.category != "Unknown")
    assert (known.variant, known.unknown_percent, known.seed, len(known.rows)) == ("D_Known", 25, 0, 15)


def test_d_known_is_empty_at_100_percent() -> None:
    assert known_only(draw(100)).rows == ()


def test_too_few_rows_are_told_with_what_is_needed_and_what_there_is() -> None:
    with pytest.raises(CourseError, match="P36: 0 Known and 9 Unknown rows are needed, there are 14 and 8"):
        draw(100, sizes={"P19": 12, "P36": 9})


@pytest.mark.parametrize("percent", [-1, 100.5, float("nan")])
def test_a_percentage_outside_0_to_100_is_refused(percent: float) -> None:
    with pytest.raises(CourseError, match=f"unknown_percent {percent}: give a percentage from 0 to 100"):
        draw(percent)


def test_labels_of_other_facts_are_refused() -> None:
    facts, labelled = world()
    with pytest.raises(CourseError, match="45 facts and 46 labelled rows"):
        mix(facts[1:], labelled, unknown_percent=50, sizes=SIZES)


def test_a_row_without_a_category_is_named_instead_of_counted_as_known() -> None:
    facts, labelled = world()
    labelled.loc[7, "category"] = float("nan")
    with pytest.raises(CourseError, match="labelled row 7: category .?nan.? is none of HighlyKnown"):
        mix(facts, labelled, unknown_percent=50, sizes=SIZES)


def test_a_fact_that_could_not_be_asked_is_not_drawn() -> None:
    facts, labelled = world()
    labelled["problem"] = ""
    labelled.loc[7, ["category", "problem"]] = [float("nan"), "empty answer; every fact needs one"]
    relation = labelled.loc[7, "relation"]
    before = relation_sizes(world()[1], rule="known")
    sizes = relation_sizes(labelled, rule="known")
    assert sizes[relation] in (before[relation], before[relation] - 1)
    drawn = mix(facts, labelled, unknown_percent=50, sizes=sizes)
    assert facts[7] not in [row.fact for row in drawn.rows]
