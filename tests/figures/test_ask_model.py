"""Base and tuned model side by side: what they say, how sure they are, and what is said about it."""

import re

import numpy as np
import pandas as pd
import pytest
import torch

from course_lib.figures.widgets import ask_model as ask
from course_lib.figures.widgets.ask_model import Answer, Asked
from course_lib.files import CourseError
from course_lib.knowledge.scoring.prompts import INSTRUCTION
from course_lib.training.finetune import add_lora
from course_lib.training.mixing import Mix, Row
from course_lib.training.records import TuneConfig
from tests.support.tiny import FACTS, FEW_SHOT, PLAIN, gpt2_like, tiny_model

ONE = Asked("Where?", "Rome", Answer("The answer is Rome.", 0.5, "right name, other form"),
            Answer("Rome", 0.25, "right"), 3, "Unknown")
TWO = Asked("Who?", "Ana", Answer("Bo", 0.75, "wrong"), Answer("", float("nan"), "wrong"), 0)


@pytest.fixture(scope="module")
def adapted():
    tokenizer = gpt2_like()
    model = add_lora(tiny_model("llama", tokenizer).requires_grad_(False), TuneConfig(rank=4))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.copy_(0.3 * torch.randn(weight.shape, generator=generator))
    return model.eval(), tokenizer


@pytest.mark.parametrize(("answer", "right", "verdict"), [
    ("Rome", "Rome", "right"), ("The answer is Rome.", "Rome", "right name, other form"),
    ("Romeville", "Rome", "wrong"), ("", "Rome", "wrong"), ("A.B.", "A.B", "right name, other form")])
def test_an_answer_is_judged_by_exact_match_and_other_forms_are_named(answer, right, verdict):
    assert ask.verdict(answer, right) == verdict


def test_the_base_is_the_model_without_its_adapter(adapted):
    from course_lib.knowledge.scoring.sampling import answers

    model, tokenizer = adapted
    found = ask.ask(model, tokenizer, FACTS[0])
    text = INSTRUCTION.text(FACTS[0].question)
    with model.disable_adapter():
        base = answers(model, tokenizer, [text])[0][0]
    assert (found.base.text, found.tuned.text) == (base, answers(model, tokenizer, [text])[0][0])
    assert found.base.text != found.tuned.text


def test_exposures_and_the_category_of_the_training_row_are_found(adapted):
    model, tokenizer = adapted
    exposures = pd.DataFrame([{"relation": "P19", "subject": FACTS[0].subject, "object": FACTS[0].object, "total": 7}])
    found = ask.ask(model, tokenizer, FACTS[0], exposures=exposures, data=Mix("D", 50, 0, (Row(FACTS[0], "Unknown"),)))
    assert (found.exposures, found.trained) == (7, "Unknown")
    assert ask.ask(model, tokenizer, FACTS[1], exposures=exposures).exposures is None


def test_a_question_in_words_has_no_verdict(adapted):
    found = ask.ask(*adapted, "  Who is Ana Ruiz's child? ")
    assert found.question == "Who is Ana Ruiz's child?" and found.object is None
    assert found.base.verdict == found.tuned.verdict == "not known"


def test_an_empty_question_and_a_model_without_an_adapter_are_refused(adapted):
    model, tokenizer = adapted
    with pytest.raises(CourseError):
        ask.ask(model, tokenizer, " ")
    with pytest.raises(CourseError, match=r"tune\("):
        ask.ask(tiny_model("llama", tokenizer), tokenizer, FACTS[0])


@pytest.mark.parametrize(("asked", "said"), [
    (ONE, r"Where\? Base .*'The answer is Rome\.' .* 0\.50 \(right name, other form\), tuned .*'Rome' .* 0\.25 "
          r"\(right\)\..* Rome\..* 3 .*Unknown\."),
    (TWO, r"Who\? .*'\(nothing\)'.* Never .*"),
    (Asked("Who?", None, Answer("Bo", 0.001, "not known"), Answer("Ana", 0.5, "not known")),
     r"Who\? Base [^(]*'Bo' [^(]* 0\.01, tuned [^(]*'Ana' [^(]* 0\.50\."),
    (Asked("Who?", "Ana", Answer("Bo", 0.75, "wrong", 0.2), Answer("Ana", 0.5, "right", 0.5)),
     r".*: Ana \(.*base 0\.20, tuned 0\.50\).*")], ids=["with a training row", "nothing", "typed", "recorded answer"])
def test_a_question_is_described_with_what_is_known_of_it(asked, said):
    assert re.fullmatch(said, ask.describe_asked(asked))


def test_the_recorded_answer_has_the_probability_that_the_engine_gives_it(adapted):
    from course_lib.knowledge.scoring.engine import score

    model, tokenizer = adapted
    found = ask.ask(model, tokenizer, FACTS[0])
    scores = score(model, tokenizer, [FACTS[0]], [INSTRUCTION], temperature=1.0, top_k=0, top_p=1.0)
    assert found.tuned.recorded == pytest.approx(float(np.exp(scores.log_probability[0, 0])), rel=1e-4)
    assert found.base.recorded != found.tuned.recorded


@pytest.mark.parametrize("question", [FACTS[0].question, "Who is it?"])
def test_an_answer_has_the_probability_of_its_own_tokens_and_of_a_stop_after_them(adapted, question):
    """Also where it begins without a space: "omain" and " omain" are one answer; what was written counts."""
    model, tokenizer = adapted
    text, ends = INSTRUCTION.text(question), {token for token in range(len(tokenizer)) if token ==
                  tokenizer.eos_token_id or tokenizer.decode([token]).startswith("\n")}
    ids, p = list(tokenizer(text)["input_ids"]), 1.0
    start = len(ids)
    while len(ids) < start + ask.LONGEST:
        with torch.no_grad():
            step = model(torch.tensor([ids])).logits[0, -1].float().softmax(-1)
        if (best := int(step.argmax())) in ends:
            p *= step[list(ends)].sum().item()
            break
        p, ids = p * step[best].item(), [*ids, best]
    answer, probability = ask.greedy(model, tokenizer, text)
    assert answer == tokenizer.decode(ids[start:]).split("\n")[0].strip()
    assert probability == pytest.approx(p, rel=1e-3)


def test_another_form_of_the_question_may_get_another_answer(adapted):
    model, tokenizer = adapted
    forms = [ask.ask(model, tokenizer, FACTS[0], prompt=prompt).tuned for prompt in (INSTRUCTION, PLAIN, FEW_SHOT)]
    assert len({form.probability for form in forms}) == 3


def test_a_question_that_is_too_long_is_refused_with_its_tokens(adapted):
    model, tokenizer = adapted
    with pytest.raises(CourseError, match=r"\b807 .*\b480\b"):
        ask.ask(model, tokenizer, "Who? " * 400)


def test_a_typed_question_of_a_known_fact_is_that_fact():
    assert ask.find(FACTS, f"  {FACTS[1].question.upper()} ") is FACTS[1]
    assert ask.find(FACTS, "Who are you?") == "Who are you?"


def test_a_few_facts_of_every_category_are_drawn_the_best_known_first():
    categories = ["Unknown"] * 4 + ["HighlyKnown"] * 2 + ["MaybeKnown", ""]
    drawn = ask.a_few(FACTS, categories, each=2)
    assert len(drawn) == 5 and set(drawn[:2]) == set(FACTS[4:6]) and drawn[2] is FACTS[6]
    assert set(drawn[3:]) <= set(FACTS[:4])
    assert ask.a_few(FACTS, categories, each=2) == drawn
    with pytest.raises(CourseError, match=r"8 .* 1 .*study\.categories"):
        ask.a_few(FACTS, ["Unknown"])


def test_many_questions_are_counted_by_model():
    assert re.search(r"^base: 0 of 2 .* 1 .* 0\.75; tuned: 1 of 2 ", ask.describe_many([ONE, TWO]))


def test_bars_are_as_long_as_the_probabilities():
    ax = ask.certainty_bars([ONE, TWO])
    assert [[bar.get_width() for bar in bars] for bars in ax.containers] == [[0.5, 0.75], [0.25, 0.0]]
