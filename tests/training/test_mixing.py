"""Mixing: the size of D by the paper's own table, and draws that differ in nothing but the share of Unknown."""

from __future__ import annotations

from collections import Counter

import pandas as pd
import pytest

from course_lib.data import paper
from course_lib.data.facts import Fact
from course_lib.data.paper import CATEGORIES
from course_lib.files import CourseError
from course_lib.training import mixing
from course_lib.training.mixing import IDK_ANSWER, Mix, known_only, mix, relation_sizes

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
    assert sizes == {relation: min(row.by_category.values()) for relation, row in paper.TRAIN_COUNTS.items()}
    assert sum(sizes.values()) == 6142


@pytest.mark.parametrize("counts, options, sizes", [
    (COUNTS, {}, {"P19": 3, "P36": 2}), (COUNTS, {"rule": "known"}, {"P19": 12, "P36": 8}),
    ({"P19": (1, 1, 1, 1), "P36": (0, 5, 5, 5)}, {}, {"P19": 1}),
    (COUNTS, {"rule": "known", "limit": 10}, {"P19": 6, "P36": 4}), (COUNTS, {"rule": "known", "limit": 99}, SIZES)],
    ids=["the smallest of four categories", "the smaller of Known and Unknown", "a relation lacks a category",
         "a limit scales in proportion", "a limit above the size changes nothing"])
def test_the_size_of_each_relation(counts: dict, options: dict, sizes: dict[str, int]) -> None:
    assert relation_sizes(world(counts)[1], **options) == sizes


@pytest.mark.parametrize("counts, options, said", [
    (COUNTS, {"rule": "known", "limit": 0}, r"^limit = 0: .*\b2\b"),
    (COUNTS, {"rule": "half"}, "rule 'half': .*'category'.*'known'"),
    ({"P19": (1, 1, 1, 0)}, {"rule": "known"}, "Known, Unknown: {'Known': 3}")])
def test_sizes_that_leave_no_row_or_a_rule_that_is_none_are_refused(counts: dict, options: dict, said: str) -> None:
    with pytest.raises(CourseError, match=said):
        relation_sizes(world(counts)[1], **options)


@pytest.mark.parametrize("percent, unknown", [(0, 0), (25, 5), (33.3, 7), (50, 10), (75, 15), (100, 20)])
def test_a_share_of_unknown_changes_neither_size_nor_relations(percent: float, unknown: int) -> None:
    drawn = draw(percent)
    assert (len(drawn.unknown), len(drawn.known)) == (unknown, 20 - unknown)
    assert Counter(row.fact.relation for row in drawn.rows) == SIZES
    assert len({row.fact for row in drawn.rows}) == 20, "none is drawn twice"


def test_the_unknown_share_holds_within_every_relation() -> None:
    assert Counter(fact.relation for fact in draw(50).unknown) == {"P19": 6, "P36": 4}


def test_rows_keep_the_category_of_their_fact_and_are_shuffled_across_relations() -> None:
    facts, labelled = world()
    category, drawn = dict(zip(facts, labelled["category"], strict=True)), draw(50)
    assert all(row.category == category[row.fact] for row in drawn.rows)
    relations = [row.fact.relation for row in drawn.rows]
    assert relations != sorted(relations)


def test_draws_of_one_seed_are_nested() -> None:
    small, large = draw(25), draw(75)
    assert set(small.unknown) < set(large.unknown)
    assert set(large.known) < set(small.known)


def test_one_seed_draws_the_same_rows_in_the_same_order() -> None:
    assert draw(50).rows == draw(50).rows
    assert set(draw(50).rows) != set(draw(50, seed=1).rows)


def test_d_known_is_d_without_its_unknown_rows_in_the_same_order() -> None:
    full = draw(25)
    known = known_only(full)
    assert known.rows == tuple(row for row in full.rows if row.category != "Unknown")
    assert (known.variant, known.unknown_percent, known.seed, len(known.rows)) == ("D_Known", 25, 0, 15)
    assert known_only(draw(100)).rows == ()


@pytest.mark.parametrize("percent", [-1, 100.5, float("nan")])
def test_a_percentage_outside_0_to_100_is_refused(percent: float) -> None:
    with pytest.raises(CourseError, match=f"unknown_percent {percent}: .*0 to 100"):
        draw(percent)


def test_labels_of_other_facts_are_refused() -> None:
    facts, labelled = world()
    with pytest.raises(CourseError, match="^45 .*46 "):
        mix(facts[1:], labelled, unknown_percent=50, sizes=SIZES)


def test_a_row_without_a_category_is_named_instead_of_counted_as_known() -> None:
    facts, labelled = world()
    labelled.loc[7, "category"] = float("nan")
    with pytest.raises(CourseError, match="row 7: category .?nan.? .*HighlyKnown"):
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


# The other variants

SMALL = {"P19": 3, "P36": 2}  # the paper's rule on COUNTS


def variant(name: str, *, sizes: dict[str, int] = SMALL, seed: int = 0, **options: object) -> Mix:
    return mixing.draw(*world(), name, sizes=sizes, seed=seed, **options)


def categories(drawn: Mix) -> Counter[str]:
    return Counter(row.category for row in drawn.rows)


PERCENT = {"D": 50, "D_Known": 0, "D_IDK": 50}
SHARES = dict(zip(CATEGORIES, (20, 20, 20, 40), strict=True))


@pytest.mark.parametrize("name", mixing.VARIANTS)
def test_every_variant_has_the_size_and_relation_mix_of_the_papers_rule(name: str) -> None:
    drawn = variant(name, unknown_percent=PERCENT.get(name), shares=SHARES if name == "D_Free" else None)
    assert Counter(row.fact.relation for row in drawn.rows) == SMALL
    assert (drawn.variant, drawn.seed, len({row.fact for row in drawn.rows})) == (name, 0, 5)


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_single_category_variant_has_no_other(category: str) -> None:
    drawn = variant(f"D_{category}")
    assert categories(drawn) == {category: 5}
    assert drawn.unknown_percent == (100 if category == "Unknown" else 0)


def test_d_unknown_is_d_at_100_percent() -> None:
    assert variant("D_Unknown", sizes=SIZES).rows == draw(100).rows


def test_one_entry_draws_d_and_d_known_as_their_own_functions_do() -> None:
    assert variant("D", sizes=SIZES, unknown_percent=25, seed=3) == draw(25, seed=3)
    assert variant("D_Known", sizes=SIZES, unknown_percent=25, seed=3) == known_only(draw(25, seed=3))


def test_the_rows_of_d_are_still_those_of_the_first_release() -> None:
    # stored runs were drawn so; another order would make them runs of another mix
    subjects = [row.fact.subject.removeprefix("subject ") for row in draw(50, seed=1, sizes=SMALL).rows]
    assert " ".join(subjects) == "22 31 44 7 8"


def test_d_natural_keeps_the_shares_of_each_relation() -> None:
    # the whole of P36 and half of P19
    drawn = variant("D_Natural", sizes={"P19": 12, "P36": 22})
    assert Counter(row.category for row in drawn.rows if row.fact.relation == "P36") == dict(
        zip(CATEGORIES, COUNTS["P36"], strict=True))
    assert drawn.unknown_percent == pytest.approx(100 * categories(drawn)["Unknown"] / 34)


def test_d_natural_draws_evenly_over_seeds() -> None:
    # P19 has 4 + 3 + 5 + 12 rows, so half of what is drawn is Unknown; 300 draws of 6 have a standard error of 1.2 %
    drawn = sum((categories(variant("D_Natural", sizes={"P19": 6}, seed=seed)) for seed in range(300)), Counter())
    assert drawn["Unknown"] / 1800 == pytest.approx(0.5, abs=0.05)


def test_d_idk_is_d_with_another_answer_in_its_unknown_rows() -> None:
    full, relabelled = draw(50), variant("D_IDK", sizes=SIZES, unknown_percent=50)
    assert [(row.fact.subject, row.category) for row in relabelled.rows] == [
        (row.fact.subject, row.category) for row in full.rows]
    assert {(row.unknown, row.relabelled, row.fact.object) for row in relabelled.rows} == {
        (True, True, IDK_ANSWER), (False, False, "x")}


def test_only_d_idk_with_unknown_rows_is_relabelled() -> None:
    assert variant("D_IDK", unknown_percent=50).relabelled
    assert not variant("D", unknown_percent=50).relabelled and not variant("D_IDK", unknown_percent=0).relabelled


def test_a_free_mix_has_the_shares_asked_for() -> None:
    shares = dict(zip(CATEGORIES, (10, 30, 40, 20), strict=True))
    drawn = variant("D_Free", sizes={"P19": 6, "P36": 4}, shares=shares)
    assert [categories(drawn)[name] for name in CATEGORIES] == [1, 3, 4, 2]
    assert drawn.unknown_percent == 20


def test_a_category_that_a_free_mix_does_not_name_is_left_out() -> None:
    assert categories(variant("D_Free", shares={"MaybeKnown": 40, "Unknown": 60})) == {"MaybeKnown": 2, "Unknown": 3}


def test_free_mixes_of_one_seed_are_nested() -> None:
    small = variant("D_Free", shares={"MaybeKnown": 80, "Unknown": 20})
    large = variant("D_Free", shares={"MaybeKnown": 40, "Unknown": 60})
    assert set(small.unknown) < set(large.unknown) and set(large.known) < set(small.known)


def test_rounding_a_third_loses_no_row() -> None:
    drawn = variant("D_Free", shares={"HighlyKnown": 100 / 3, "MaybeKnown": 100 / 3, "Unknown": 100 / 3})
    assert Counter(row.fact.relation for row in drawn.rows) == SMALL


@pytest.mark.parametrize("name, options, message", [
    ("D", {"unknown_percent": 100, "sizes": {"P19": 12, "P36": 9}}, "^P36: 0 Known .*9 Unknown .*14 .*8"),
    ("D", {"unknown_percent": 100, "sizes": {"P19": 13, "P36": 9}}, "P19: 0 Known .*13 Unknown .*12 .*12; P36: 0 "),
    ("D_MaybeKnown", {"sizes": {"P19": 4, "P36": 3}}, "P19: 4 MaybeKnown .*3; P36: 3 MaybeKnown .*2; "),
    ("D_Natural", {"sizes": {"P36": 23}}, r"P36: 23 .*\b22\b"),
    ("D_HK", {}, "variant 'D_HK': .*D, D_Known, D_HighlyKnown"),
    ("D_IDK", {}, "variant 'D_IDK' .*unknown_percent"),
    ("D_HighlyKnown", {"unknown_percent": 50}, "'D_HighlyKnown' .*0 %.*unknown_percent = 50 "),
    ("D_Free", {}, "'D_Free' with shares = None: "),
    ("D_Natural", {"shares": SHARES}, "'D_Natural' with shares = {.*}: .*D_Free"),
    ("D_Free", {"shares": {"Known": 100}}, "shares {'Known': 100}: .*HighlyKnown, MaybeKnown"),
    ("D_Free", {"shares": {"Unknown": 60}}, "shares {'Unknown': 60}: .*100"),
    ("D_Free", {"shares": {"Unknown": 150, "MaybeKnown": -50}}, "shares {'Unknown': 150, 'MaybeKnown': -50}: .*0"),
    ("D_Free", {"shares": {"Unknown": float("nan")}}, "shares {'Unknown': nan}: .*100"),
])
def test_too_few_rows_and_a_variant_asked_for_wrongly_are_refused(name: str, options: dict, message: str) -> None:
    with pytest.raises(CourseError, match=message):
        variant(name, **options)
