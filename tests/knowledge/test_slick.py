"""SliCK: the four categories by hand, the seeded draw against its probability, prompts and the table of facts."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from course_lib.data.facts import Fact
from course_lib.data.paper import CATEGORIES
from course_lib.files import CourseError
from course_lib.knowledge import slick
from course_lib.knowledge.scoring.prompts import Prompt
from course_lib.knowledge.scoring.sampling import Samples
from course_lib.knowledge.scoring.scores import Scores
from course_lib.knowledge.slick import categorize, draw_prompts, label, label_samples, measure, shares, shares_by_budget

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


@pytest.mark.parametrize(("greedy", "p", "samples", "expected"), [
    ([0, 0], [0.01, 0.02], 16, [0, 0, 1 - (0.99 * 0.98) ** 16, (0.99 * 0.98) ** 16]), ([0], [0.5], 1, [0, 0, 0.5, 0.5]),
    ([1, 1], [0.2, 0.2], 16, [1, 0, 0, 0]), ([1, 0], [0.2, 0.0], 16, [0, 1, 0, 0]),  # a greedy hit makes it certain
    ([0, 0], [0, 0], 16, [0, 0, 0, 1]),  # cut off by top-k
    ([0, 0], [1, 0], 16, [0, 0, 1, 0]), ([0], [1 + 1e-7], 16, [0, 0, 1, 0])])  # one, and a rounding error above it
def test_the_probability_of_each_label_by_hand(greedy, p, samples, expected) -> None:
    assert label(scores([greedy], [p]), n_samples=samples)[PROBABILITIES].iloc[0].tolist() == pytest.approx(expected)


def test_the_more_likely_category_is_named_on_either_side_of_one_half() -> None:
    half = 1 - 0.5 ** (1 / 16)  # 1 - (1 - p)^16 = 1/2
    frame = label(scores([[0], [0]], [[half * 0.99], [half * 1.01]]))
    assert frame["category"].tolist() == ["Unknown", "WeaklyKnown"]


def test_the_four_probabilities_sum_to_one() -> None:
    rng = np.random.default_rng(0)
    frame = label(scores(rng.random((200, 10)) < 0.1, rng.random((200, 10)) ** 8))
    assert np.allclose(frame[PROBABILITIES].sum(axis=1), 1)
    assert frame[PROBABILITIES].min().min() >= 0


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


def test_a_relation_with_too_few_exemplars_gets_no_prompts() -> None:
    assert set(draw_prompts(facts("P19", 3) + facts("P36", 4))) == {"P36"}


@pytest.mark.parametrize(("exemplars", "prompts", "why"), [(3, 10, "P19: 3 .* 4 "), (9, 0, "^n_prompts = 0: ")])
def test_too_few_exemplars_or_no_prompts_at_all_are_refused(exemplars, prompts, why) -> None:
    with pytest.raises(CourseError, match=why):
        draw_prompts(facts("P19", exemplars), n_prompts=prompts)


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
                           "disagreement", "category", "drawn", "problem"]
    assert frame["question"][0] == "Where was subject 0 born?"
    assert frame.index.equals(pd.RangeIndex(2))


def test_prompts_can_be_given_instead_of_exemplars(scripted: None) -> None:
    frame = categorize(None, None, facts("P19", 1), {"P19": [Prompt("one prompt\n")]})
    assert frame["p_greedy"].tolist() == [1]


@pytest.mark.parametrize(("asked", "why"), [([], r"facts\.test"), (facts("P36", 1) + facts("P26", 1), "P26, P36;")])
def test_no_facts_and_facts_without_any_exemplars_are_refused(scripted: None, asked, why) -> None:
    with pytest.raises(CourseError, match=why):
        categorize(None, None, asked, facts("P19", 5))


def test_a_relation_with_too_few_exemplars_is_named_and_the_others_are_labelled(scripted: None) -> None:
    frame = categorize(None, None, facts("P36", 1) + facts("P19", 2), facts("P19", 5) + facts("P36", 3))
    assert "P36" in frame["problem"][0] and frame["problem"].tolist()[1:] == ["", ""]
    assert frame["category"].isna().tolist() == [True, False, False]
    assert frame[["p_greedy", "p_sampled", *PROBABILITIES, "disagreement"]].iloc[0].isna().all()


@pytest.mark.parametrize(("answer", "why"), [("", "answer"), (" \t", "answer"), ("Ulm ", "'Ulm '")])
def test_an_answer_that_cannot_be_asked_is_named_and_the_others_are_labelled(scripted: None, answer, why) -> None:
    asked = [*facts("P19", 2), Fact("Bo", "P19", answer)]
    frame = categorize(None, None, asked, {"P19": [Prompt("one prompt\n")]})
    assert frame["problem"].tolist()[:2] == ["", ""] and why in frame["problem"][2]


def test_a_relation_without_a_question_is_named(scripted: None) -> None:
    frame = categorize(None, None, [*facts("P19", 1), Fact("Bo", "P0", "Ulm")],
                       {"P19": [Prompt("one\n")], "P0": [Prompt("one\n")]})
    assert "'P0'" in frame["problem"][1]


class Asked:
    """Remembers what is asked after what; every answer is right."""

    def __init__(self) -> None:
        self.cells: list[tuple[str, Prompt]] = []

    def __call__(self, _model, _tokenizer, asked, prompts, **_) -> Scores:
        self.cells += [(fact.question, prompt) for fact in asked for prompt in prompts]
        return scores(np.ones((len(asked), len(prompts))), np.full((len(asked), len(prompts)), 0.5))


def test_a_fact_is_asked_again_where_it_was_its_own_example(monkeypatch: pytest.MonkeyPatch) -> None:
    remembered = Asked()
    monkeypatch.setattr(slick, "score", remembered)
    everybody = facts("P19", 5)
    prompts = draw_prompts(everybody, n_prompts=6)
    own = [prompt for prompt in prompts["P19"] if everybody[0] in prompt.solved]
    measure(None, None, everybody[:1], prompts)
    again = remembered.cells[6:]
    assert own and len(again) == len(own)
    for (question, prompt), before in zip(again, own, strict=True):
        assert question not in prompt.prefix and len(prompt.solved) == 4
        assert set(prompt.solved) - set(before.solved) == {before.spare}


def test_a_prompt_has_one_spare_example_where_there_are_enough() -> None:
    assert all(prompt.spare not in prompt.solved for prompt in draw_prompts(facts("P19", 5))["P19"])
    assert all(prompt.spare is None for prompt in draw_prompts(facts("P19", 4))["P19"])


def test_a_fact_that_is_one_of_only_four_examples_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slick, "score", Asked())
    found = measure(None, None, facts("P19", 5), draw_prompts(facts("P19", 4)))
    assert sorted(found.problems) == [0, 1, 2, 3]
    assert re.match(r"P19: .*\b5 ", found.problems[0])
    assert found.greedy[4].all()


def test_disagreement_is_the_chance_that_two_labels_differ() -> None:
    half = 1 - 0.5 ** (1 / 16)
    frame = label(scores([[0], [0], [1]], [[half], [0], [0.3]]))
    assert frame["disagreement"].tolist() == pytest.approx([0.5, 0, 0])


def test_disagreement_is_that_of_two_seeded_draws() -> None:
    some = scores(np.zeros((3000, 4)), np.random.default_rng(0).random((3000, 4)) ** 6 / 20)
    expected = label(some)["disagreement"].sum()
    differ = (label(some, seed=1)["drawn"] != label(some, seed=2)["drawn"]).sum()
    assert abs(differ - expected) < 4 * math.sqrt(expected)


def test_an_unscored_question_has_no_label_and_its_reason() -> None:
    some = scores([[1], [0]], [[0.5], [0.1]])
    some.reject(0, "why")
    frame = label(some)
    assert frame["category"].isna().tolist() == frame["drawn"].isna().tolist() == [True, False]
    assert frame["problem"].tolist() == ["why", ""] and shares(frame)["WeaklyKnown"] == 1


def test_counted_samples_are_labelled_by_what_was_seen() -> None:
    counted = Samples(np.array([[1, 1], [1, 0], [0, 0], [0, 0]], bool), np.array([[4, 4], [0, 0], [0, 1], [0, 0]]), 4)
    frame = label_samples(counted)
    assert frame["category"].tolist() == frame["drawn"].tolist() == list(CATEGORIES)
    assert frame["p_sampled"].tolist() == [1, 0, 1 / 8, 0] and frame[PROBABILITIES].isna().all(axis=None)


# ---------------------------------------------------------------- budgets


def one_budget(some: Scores, prompts: int, samples: int) -> list[float]:
    return shares_by_budget(some, prompts=[prompts], samples=[samples])[list(CATEGORIES)].iloc[0].tolist()


def test_with_all_prompts_a_budget_gives_the_mean_label_probabilities() -> None:
    rng = np.random.default_rng(0)
    some = scores(rng.random((50, 10)) < 0.1, rng.random((50, 10)) ** 8)
    assert one_budget(some, 10, 16) == pytest.approx(label(some)[PROBABILITIES].mean().tolist())


@pytest.mark.parametrize(("greedy", "p", "prompts", "expected"), [
    ([1, 0], [0.9, 0.5], 1, [0.5, 0, 0.25, 0.25]),  # the hit: HighlyKnown; the miss: one sample of p = 1/2
    # of three pairs two with the hit are Maybe; the one without is missed with 0.5 * 0.9
    ([1, 0, 0], [1, 0.5, 0.1], 2, [0, 2 / 3, (1 - 0.45) / 3, 0.45 / 3])])
def test_a_budget_by_hand(greedy, p, prompts, expected) -> None:
    assert one_budget(scores([greedy], [p]), prompts, 1) == pytest.approx(expected)


def test_more_samples_make_fewer_facts_unknown() -> None:
    table = shares_by_budget(scores(np.zeros((1, 4)), [[0.1] * 4]), prompts=(2,), samples=(1, 4, 16))
    assert table["Unknown"].tolist() == pytest.approx([0.9**2, 0.9**8, 0.9**32])


def test_more_prompts_than_there_are_scores_are_refused() -> None:
    with pytest.raises(CourseError, match=r"^prompts = \(2,\): .*1 to 1$"):
        shares_by_budget(scores([[1]], [[1]]), prompts=(2,))


def test_a_question_with_a_problem_does_not_count_in_a_budget() -> None:
    some = scores([[1], [0]], [[1], [0]])
    some.reject(1, "why")
    assert one_budget(some, 1, 1) == [1, 0, 0, 0]


def test_shares_are_fractions_of_the_rows_with_zeros_for_absent_categories() -> None:
    frame = pd.DataFrame({"category": ["Unknown", "Unknown", "MaybeKnown", "HighlyKnown"]})
    assert shares(frame) == {"HighlyKnown": 0.25, "MaybeKnown": 0.25, "WeaklyKnown": 0.0, "Unknown": 0.5}
