"""SliCK: the four categories by hand, the seeded draw against its probability, prompts and the table of facts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from course_lib import slick
from course_lib.facts import Fact
from course_lib.files import CourseError
from course_lib.scoring import Prompt, Scores
from course_lib.slick import CATEGORIES, categorize, draw_prompts, label, shares

PROBABILITIES = [f"prob_{name}" for name in CATEGORIES]


def scores(greedy: Sequence[Sequence[int]], p: Sequence[Sequence[float]]) -> Scores:
    """What a model with these greedy bits and these answer probabilities would score."""
    with np.errstate(divide="ignore"):
        return Scores(np.array(greedy, bool), np.log(np.array(p, float)), np.ones(np.shape(greedy)))


def facts(relation: str, number: int) -> list[Fact]:
    return [Fact(f"subject {i}", relation, f"answer {i}") for i in range(number)]


@pytest.mark.parametrize("greedy, p, expected", [
    ([1, 1], [0.9, 0.8], "HighlyKnown"), ([1, 0], [0.9, 0.1], "MaybeKnown"), ([0, 0], [0.3, 0.2], "WeaklyKnown"),
    ([0, 0], [1e-6, 1e-9], "Unknown"), ([0, 0], [0, 0], "Unknown"), ([1, 1], [1e-12, 1e-12], "HighlyKnown"),
    ([0, 1], [0, 1e-12], "MaybeKnown"), ([0, 0], [1, 0], "WeaklyKnown")])
def test_category_follows_the_inequalities_of_the_paper(greedy, p, expected) -> None:
    row = label(scores([greedy], [p])).iloc[0]
    assert (row["category"], row["drawn"]) == (expected, expected)


def test_weakly_known_has_the_probability_of_one_hit_in_all_samples() -> None:
    row = label(scores([[0, 0]], [[0.01, 0.02]])).iloc[0]
    assert row["prob_WeaklyKnown"] == pytest.approx(1 - (0.99 * 0.98) ** 16)
    assert row["prob_Unknown"] == pytest.approx((0.99 * 0.98) ** 16)


def test_n_samples_is_the_exponent() -> None:
    assert label(scores([[0]], [[0.5]]), n_samples=1)["prob_Unknown"].item() == 0.5


def test_the_more_likely_category_is_named_on_either_side_of_one_half() -> None:
    half = 1 - 0.5 ** (1 / 16)  # 1 - (1 - p)^16 = 1/2
    frame = label(scores([[0], [0]], [[half * 0.99], [half * 1.01]]))
    assert frame["category"].tolist() == ["Unknown", "WeaklyKnown"]


def test_the_four_probabilities_sum_to_one() -> None:
    rng = np.random.default_rng(0)
    frame = label(scores(rng.random((200, 10)) < 0.1, rng.random((200, 10)) ** 8))
    assert np.allclose(frame[PROBABILITIES].sum(axis=1), 1)
    assert frame[PROBABILITIES].min().min() >= 0


def test_a_greedy_hit_makes_the_category_certain() -> None:
    frame = label(scores([[1, 1], [1, 0]], [[0.2, 0.2], [0.2, 0.0]]))
    assert frame[PROBABILITIES].to_numpy().tolist() == [[1, 0, 0, 0], [0, 1, 0, 0]]


def test_an_answer_cut_off_by_top_k_is_unknown_for_certain() -> None:
    row = label(scores([[0, 0]], [[0, 0]])).iloc[0]
    assert (row["prob_Unknown"], row["p_sampled"]) == (1, 0)


def test_an_answer_of_probability_one_is_weakly_known_for_certain() -> None:
    assert label(scores([[0, 0]], [[1, 0]]))["prob_WeaklyKnown"].item() == 1


def test_a_probability_a_rounding_error_above_one_counts_as_one() -> None:
    above = Scores(np.array([[False]]), np.array([[1e-7]]), np.ones((1, 1)))
    assert label(above)["prob_WeaklyKnown"].item() == 1


def test_p_greedy_and_p_sampled_are_means_over_prompts() -> None:
    row = label(scores([[1, 0, 0, 0]], [[0.8, 0.2, 0.1, 0.1]])).iloc[0]
    assert (row["p_greedy"], row["p_sampled"]) == (0.25, pytest.approx(0.3))


def test_drawn_labels_come_as_often_as_their_probability_says() -> None:
    n, p = 4000, 0.005
    drawn = label(scores([[0] * 10] * n, [[p] * 10] * n), seed=1)["drawn"]
    expected = 1 - (1 - p) ** 160
    band = 4 * math.sqrt(expected * (1 - expected) / n)
    assert abs((drawn == "WeaklyKnown").mean() - expected) < band


def test_drawn_labels_of_one_fact_vary_over_seeds_as_the_probability_says() -> None:
    p = 1 - 0.7 ** (1 / 16)  # P(WeaklyKnown) = 0.3
    one = scores([[0]], [[p]])
    hits = sum(label(one, seed=seed)["drawn"].item() == "WeaklyKnown" for seed in range(300))
    assert abs(hits - 90) < 4 * math.sqrt(300 * 0.3 * 0.7)


def test_the_drawn_label_is_weakly_known_exactly_where_the_draw_has_a_hit() -> None:
    p = np.full((50, 3), 0.02)
    hits = np.random.default_rng(7).binomial(16, p).sum(axis=1)  # the documented protocol, drawn again
    drawn = label(scores(np.zeros((50, 3)), p), seed=7)["drawn"]
    assert (drawn == "WeaklyKnown").tolist() == (hits > 0).tolist()


def test_one_seed_draws_the_same_labels() -> None:
    some = scores(np.zeros((100, 2)), np.full((100, 2), 0.02))
    assert label(some, seed=3)["drawn"].equals(label(some, seed=3)["drawn"])
    assert not label(some, seed=3)["drawn"].equals(label(some, seed=4)["drawn"])


def test_categories_are_ordered_from_known_to_unknown() -> None:
    assert tuple(label(scores([[1]], [[1]]))["category"].cat.categories) == CATEGORIES
    assert label(scores([[1]], [[1]]))["category"].cat.ordered


def test_every_relation_gets_ten_prompts_of_four_of_its_own_exemplars() -> None:
    prompts = draw_prompts(facts("P19", 9) + facts("P36", 9))
    assert {relation: len(drawn) for relation, drawn in prompts.items()} == {"P19": 10, "P36": 10}
    for prompt in prompts["P36"]:
        lines = prompt.prefix.splitlines()
        assert len(set(lines[::2])) == 4 and all(line.startswith("Q: What is the capital of") for line in lines[::2])


def test_one_seed_draws_the_same_prompts_whatever_relations_stand_beside() -> None:
    alone, beside = draw_prompts(facts("P19", 9)), draw_prompts(facts("P36", 9) + facts("P19", 9))
    assert alone["P19"] == beside["P19"]
    assert alone["P19"] != draw_prompts(facts("P19", 9), seed=1)["P19"]


def test_too_few_exemplars_are_counted_and_named() -> None:
    with pytest.raises(CourseError, match="P19: 3 exemplars, 4 are needed; add development facts"):
        draw_prompts(facts("P19", 3))


def test_no_prompts_at_all_are_refused() -> None:
    with pytest.raises(CourseError, match="n_prompts = 0: at least one"):
        draw_prompts(facts("P19", 9), n_prompts=0)


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that greedily knows the facts whose subject ends in an even digit."""
    def score(_model, _tokenizer, asked, prompts, **_) -> Scores:
        known = [[int(fact.subject[-1]) % 2 == 0] * len(prompts) for fact in asked]
        return scores(known, np.where(known, 0.9, 0.0))

    monkeypatch.setattr(slick, "score", score)


def test_rows_keep_the_order_of_the_facts_across_relations(scripted: None) -> None:
    asked = [fact for pair in zip(facts("P19", 4), facts("P36", 4), strict=True) for fact in pair]
    frame = categorize(None, None, asked, facts("P19", 5) + facts("P36", 5))
    assert list(zip(frame["relation"], frame["subject"], strict=True)) == [(f.relation, f.subject) for f in asked]
    assert frame["category"].tolist() == (["HighlyKnown"] * 2 + ["Unknown"] * 2) * 2


def test_columns_are_those_that_the_docstring_names(scripted: None) -> None:
    frame = categorize(None, None, facts("P19", 2), facts("P19", 5))
    assert list(frame) == ["relation", "subject", "object", "question", "p_greedy", "p_sampled", *PROBABILITIES,
                           "category", "drawn"]
    assert frame["question"][0] == "Where was subject 0 born?"
    assert frame.index.equals(pd.RangeIndex(2))


def test_prompts_can_be_given_instead_of_exemplars(scripted: None) -> None:
    frame = categorize(None, None, facts("P19", 1), {"P19": [Prompt("one prompt\n")]})
    assert frame["p_greedy"].tolist() == [1]


def test_relations_without_exemplars_are_named(scripted: None) -> None:
    with pytest.raises(CourseError, match="no exemplars for P26, P36; give development facts"):
        categorize(None, None, facts("P36", 1) + facts("P19", 1) + facts("P26", 1), facts("P19", 5))


def test_no_facts_are_refused_in_words(scripted: None) -> None:
    with pytest.raises(CourseError, match="no facts were given"):
        categorize(None, None, [], facts("P19", 5))


def test_shares_are_fractions_of_the_rows_with_zeros_for_absent_categories() -> None:
    frame = pd.DataFrame({"category": ["Unknown", "Unknown", "MaybeKnown", "HighlyKnown"]})
    assert shares(frame) == {"HighlyKnown": 0.25, "MaybeKnown": 0.25, "WeaklyKnown": 0.0, "Unknown": 0.5}


def test_shares_of_the_drawn_labels_are_had_by_column() -> None:
    frame = pd.DataFrame({"category": ["Unknown"], "drawn": ["WeaklyKnown"]})
    assert shares(frame, column="drawn")["WeaklyKnown"] == 1
