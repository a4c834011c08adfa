"""P(True) by a plain forward pass, and the ROC area by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from course_lib.data.facts import Fact
from course_lib.files import CourseError
from course_lib.knowledge.p_true import p_true, proposal, roc_auc
from tests.support.tiny import FACTS, tiny_model

NAN = math.nan


def test_the_prompt_is_that_of_kadavath() -> None:
    assert proposal("Who wrote Emma?", "Jane Austen") == (
        "Question: Who wrote Emma?\nProposed Answer: Jane Austen\nIs the proposed answer:\n (A) True\n (B) False\n"
        "The proposed answer is:")


def letter_by_hand(model, tokenizer, fact, letter):
    """Probability of the letter's tokens after the prompt, at temperature 1, from one plain pass."""
    before, whole = (tokenizer(proposal(fact.question, fact.object) + text)["input_ids"] for text in ("", f" {letter}"))
    if tokenizer.eos_token_id == whole[-1]:
        before, whole = before[:-1], whole[:-1]
    assert whole[:len(before)] == before
    with torch.no_grad():
        p = model(input_ids=torch.tensor([whole])).logits[0].double().softmax(-1)
    return math.prod(p[at - 1, whole[at]].item() for at in range(len(before), len(whole)))


@pytest.mark.parametrize(("architecture", "name"), [("llama", "llama"), ("qwen2", "qwen"), ("neox", "gpt2"),
                                                    ("olmo2", "unigram")])
def test_p_true_is_the_share_of_the_letter_a(architecture, name, tokenizers):
    tokenizer = tokenizers[name]
    model = tiny_model(architecture, tokenizer, seed=1, padded=5, spread=0.5)
    found = p_true(model, tokenizer, FACTS)
    for fact, value in zip(FACTS, found, strict=True):
        a, b = (letter_by_hand(model, tokenizer, fact, letter) for letter in ("(A)", "(B)"))
        assert value == pytest.approx(a / (a + b), rel=1e-4)
    assert np.ptp(found) > 0.01


def test_braces_in_a_question_are_text(tokenizers):
    tokenizer = tokenizers["gpt2"]
    model, fact = tiny_model("neox", tokenizer, seed=1), Fact("{0} {question} {", "P19", "}{x")
    a, b = (letter_by_hand(model, tokenizer, fact, letter) for letter in ("(A)", "(B)"))
    assert p_true(model, tokenizer, [fact])[0] == pytest.approx(a / (a + b), rel=1e-4)


def test_no_facts_give_no_values(tokenizers):
    tokenizer = tokenizers["gpt2"]
    assert p_true(tiny_model("neox", tokenizer), tokenizer, []).shape == (0,)


# ---------------------------------------------------------------- ROC area


@pytest.mark.parametrize(("score", "truth", "area"), [
    ([1, 2, 3, 4], [0, 0, 1, 1], 1.0), ([1, 2, 3, 4], [1, 1, 0, 0], 0.0), ([1, 1, 1], [0, 1, 0], 0.5),
    ([1, 2, 2, 3], [0, 0, 1, 1], 3.5 / 4),  # pairs 2>1, 2=2, 3>1, 3>2
    ([3, 1, 2, 2, 5], [1, 0, 1, 0, 0], 3.5 / 6),  # pairs 3>1, 3>2, 3<5, 2>1, 2=2, 2<5
    ([-math.inf, 0, NAN, 9], [0, 1, 1, NAN], 1.0)])
def test_the_roc_area_is_the_share_of_pairs_in_the_right_order(score, truth, area) -> None:
    assert roc_auc(score, truth) == pytest.approx(area)


def test_the_roc_area_of_booleans_is_that_of_numbers() -> None:
    assert roc_auc(np.array([0.2, 0.7]), np.array([False, True])) == 1.0


@pytest.mark.parametrize("truth", [[0, 0], [1, 1], []])
def test_the_roc_area_needs_both_kinds(truth) -> None:
    with pytest.raises(CourseError, match=rf"^{sum(truth)} .*\b{len(truth) - sum(truth)} "):
        roc_auc([0.1] * len(truth), truth)


def test_two_lengths_are_refused() -> None:
    with pytest.raises(CourseError, match="^3 .* 2 "):
        roc_auc([0, 1, 1], [0, 1])
