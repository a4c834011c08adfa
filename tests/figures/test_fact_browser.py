"""Facts to browse: which are drawn, what stands beside them, and that together they are looked at as one by one."""

import re

import numpy as np
import pandas as pd
import pytest

from course_lib.data.facts import Fact
from course_lib.figures.widgets.fact_browser import Browse, asked_text, browse, relation_name
from course_lib.files import CourseError
from course_lib.knowledge.one_question import OneQuestion, measure
from course_lib.knowledge.scoring.prompts import few_shot_prompt
from tests.support.tiny import FEW_SHOT, PLAIN, SUBJECTS, gpt2_like, tiny_model

BORN = [Fact(subject, "P19", "Paris") for subject in SUBJECTS]
CHILD = [Fact(subject, "P40", "Ana Ruiz") for subject in SUBJECTS]
FACTS = [*BORN, *CHILD]
# P19: three HighlyKnown, three Unknown, two that could not be asked; P40: all WeaklyKnown
LABELLED = pd.DataFrame({"category": ["HighlyKnown"] * 3 + ["Unknown"] * 3 + [""] * 2 + ["WeaklyKnown"] * 8})
PROMPTS = {"P19": [FEW_SHOT, PLAIN], "P40": [few_shot_prompt([Fact("Jo", "P40", "Ida")]), PLAIN]}


@pytest.fixture(scope="module")
def tiny():
    tokenizer = gpt2_like()
    return tiny_model("llama", tokenizer, padded=3), tokenizer


@pytest.fixture(scope="module")
def found(tiny) -> Browse:
    return browse(*tiny, FACTS, LABELLED, PROMPTS, each=2, temperatures=(0.5, 1.0), progress=False)


def test_so_many_facts_of_each_relation_and_category_are_drawn(found: Browse) -> None:
    drawn = [(one.fact.relation, label) for one, label in zip(found.questions, found.categories, strict=True)]
    assert drawn == [("P19", "HighlyKnown")] * 2 + [("P19", "Unknown")] * 2 + [("P40", "WeaklyKnown")] * 2
    assert {one.fact for one in found.questions[:2]} <= set(BORN[:3])
    assert {one.fact for one in found.questions[2:4]} <= set(BORN[3:6]), "those that could not be asked stay out"


def test_a_seed_draws_the_same_facts_again_and_a_small_category_gives_what_it_has(tiny, found: Browse) -> None:
    again, every = (browse(*tiny, FACTS, LABELLED, PROMPTS, each=each, temperatures=(0.5,), progress=False)
                    for each in (2, 99))
    assert [one.fact for one in again.questions] == [one.fact for one in found.questions]
    assert len(every.questions) == 14


def test_relation_and_category_narrow_the_choice(found: Browse) -> None:
    assert found.relations == ["P19", "P40"]
    assert found.chosen() == [0, 1, 2, 3, 4, 5]
    assert found.chosen(relation="P19", category="Unknown") == [2, 3]
    assert found.chosen(relation="P40", category="Unknown") == []


def test_together_facts_are_looked_at_as_one_by_one(tiny, found: Browse) -> None:
    for one in found.questions:
        [alone] = measure(*tiny, [one.fact], PROMPTS[one.fact.relation], temperatures=(0.5, 1.0))
        assert (one.answers, one.right.tolist()) == (alone.answers, alone.right.tolist())
        assert one.p == pytest.approx(alone.p, abs=1e-5)


def test_right_answers_are_not_written_and_still_told(tiny) -> None:
    own = measure(*tiny, BORN[:1], PROMPTS["P19"])[0].answers[0]
    asked = [Fact(BORN[0].subject, "P19", own), BORN[1]]
    both = measure(*tiny, asked, PROMPTS["P19"])
    assert both[0].right[0] and both[0].answers[0] == own


def test_a_relation_is_named_by_its_question() -> None:
    assert relation_name("P19").startswith("P19: Where was ")
    assert relation_name("mine") == "mine"


ONE = Browse((OneQuestion(Fact("Ana", "P19", "Oslo"), ("Oslo", "Rome"), np.array([True, False]), (0.5,),
                          np.array([[0.9, 0.1]])),), ("MaybeKnown",), PROMPTS)


def test_a_prompt_is_shown_with_what_the_model_answered() -> None:
    assert re.search(r"2 of 2:\nWhere was Ana born\? >>> Rome \(wrong.*Oslo\)$", asked_text(ONE, 0, 2))
    first = asked_text(ONE, 0, 1)
    assert first.startswith("Prompt 1 of 2:\nQ: Where was Ida born?\nA: Apple Inc.\n")
    assert first.endswith("Q: Where was Ana born?\nA: >>> Oslo (right)")


def test_a_prompt_that_is_not_there_is_refused() -> None:
    with pytest.raises(CourseError, match="prompt 3 of P19: .*2"):
        asked_text(ONE, 0, 3)


@pytest.mark.parametrize(("labelled", "prompts", "match"), [
    (LABELLED[:1], PROMPTS, "16 .* 1 "), (LABELLED, {"P19": PROMPTS["P19"]}, "P40"),
    (LABELLED.assign(category=""), PROMPTS, "category")])
def test_nothing_to_browse_is_refused(tiny, labelled, prompts, match: str) -> None:
    with pytest.raises(CourseError, match=match):
        browse(*tiny, FACTS, labelled, prompts)
