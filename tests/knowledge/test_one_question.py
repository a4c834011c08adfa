"""One question in detail: labels by hand, and what the model gives against the engine and its own answers."""

from __future__ import annotations

import numpy as np
import pytest

from course_lib.data.facts import Fact
from course_lib.files import CourseError
from course_lib.knowledge.one_question import OneQuestion, label_probabilities, measure
from course_lib.knowledge.scoring import sampling
from course_lib.knowledge.scoring.engine import score
from course_lib.knowledge.scoring.prompts import few_shot_prompt
from tests.support.tiny import FEW_SHOT, PLAIN, gpt2_like, tiny_model

FACT = Fact("Ana Ruiz", "P19", "Paris")
PROMPTS = [FEW_SHOT, few_shot_prompt([Fact("Jo", "P19", "Ulm")]), PLAIN]


def near(right: list[bool], *p: list[float], temperatures: tuple[float, ...] = (0.5,)) -> OneQuestion:
    return OneQuestion(FACT, ("Rome",) * len(right), np.array(right), temperatures, np.array(p))


@pytest.mark.parametrize(("right", "p", "n", "expected"), [
    ([True, True], [0.9, 0.2], 16, {"HighlyKnown": 1.0}),
    ([True, False], [0.9, 0.0], 16, {"MaybeKnown": 1.0}),
    ([False, False], [0.5, 0.0], 1, {"WeaklyKnown": 0.5, "Unknown": 0.5}),
    ([False, False], [0.5, 0.0], 3, {"WeaklyKnown": 0.875, "Unknown": 0.125}),
    ([False, False], [0.5, 0.2], 2, {"WeaklyKnown": 0.84, "Unknown": 0.16}),
    ([False, False], [0.0, 0.0], 64, {"Unknown": 1.0}),
    ([False, False], [1.0, 0.0], 1, {"WeaklyKnown": 1.0}),
])
def test_label_probabilities_by_hand(right: list[bool], p: list[float], n: int, expected: dict[str, float]) -> None:
    found = label_probabilities(near(right, p), temperature=0.5, n_samples=n)
    nothing = dict.fromkeys(("HighlyKnown", "MaybeKnown", "WeaklyKnown", "Unknown"), 0.0)
    assert found == pytest.approx(nothing | expected, abs=1e-12)


def test_each_temperature_has_its_own_label() -> None:
    question = near([False], [0.0], [0.5], temperatures=(0.1, 1.0))
    unknown = [label_probabilities(question, temperature=t, n_samples=1)["Unknown"] for t in (0.1, 1.0)]
    assert unknown == [1.0, 0.5]


def test_a_temperature_is_found_in_spite_of_rounding() -> None:
    question = near([False], [0.25], temperatures=(0.1 + 0.2,))
    assert question.at(0.3).tolist() == [0.25]


def test_a_temperature_that_was_not_computed_is_refused_with_those_that_were() -> None:
    question = near([False], [0.0], [0.5], temperatures=(0.1, 1.0))
    with pytest.raises(CourseError, match=r"^temperature 0\.5 .*0\.1, 1, "):
        label_probabilities(question, temperature=0.5, n_samples=1)


def test_no_sample_at_all_is_refused() -> None:
    with pytest.raises(CourseError, match="^n_samples = 0: "):
        label_probabilities(near([False], [0.5]), temperature=0.5, n_samples=0)


@pytest.fixture(scope="module")
def tiny():
    tokenizer = gpt2_like()
    return tiny_model("llama", tokenizer, padded=3), tokenizer


def test_probabilities_are_those_of_the_engine_at_each_temperature(tiny) -> None:
    [question] = measure(*tiny, [FACT], PROMPTS, temperatures=(0.3, 1.0, 1.5), top_k=0)
    expected = [score(*tiny, [FACT], PROMPTS, temperature=t, top_k=0).log_probability[0] for t in (0.3, 1.0, 1.5)]
    assert question.p.shape == (3, 3) and question.temperatures == (0.3, 1.0, 1.5)
    assert question.p == pytest.approx(np.exp(expected), rel=1e-6)
    assert (question.p[1] > 0).all()


def test_answers_are_the_greedy_ones_after_each_prompt(tiny) -> None:
    texts = [prompt.text(FACT.question) for prompt in PROMPTS]
    expected = tuple(lines[0] for lines in sampling.answers(*tiny, texts))
    assert measure(*tiny, [FACT], PROMPTS)[0].answers == expected


def test_an_answer_is_right_where_it_is_the_models_own(tiny) -> None:
    own = measure(*tiny, [FACT], PROMPTS)[0].answers
    [question] = measure(*tiny, [Fact(FACT.subject, "P19", own[0])], PROMPTS)
    assert question.right.tolist() == [answer == own[0] for answer in own]
    assert question.right[0]


def test_a_question_that_cannot_be_scored_is_refused_with_the_reason(tiny) -> None:
    with pytest.raises(CourseError, match=r"Where was Ana Ruiz born\?: .*'New\\nYork'"):
        measure(*tiny, [Fact("Ana Ruiz", "P19", "New\nYork")], PROMPTS)


@pytest.mark.parametrize(("prompts", "temperatures", "said"), [([], (0.5,), "^0 .* 1 "),
                                                               (PROMPTS, (), "^3 .* 0 ")])
def test_nothing_to_look_at_is_refused(tiny, prompts: list, temperatures: tuple, said: str) -> None:
    with pytest.raises(CourseError, match=said):
        measure(*tiny, [FACT], prompts, temperatures=temperatures)
