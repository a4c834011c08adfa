"""Base and tuned model side by side: what they say, how sure they are, and what is said about it."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from tiny import FACTS, gpt2_like, tiny_model

from course_lib import ask
from course_lib.answers import INSTRUCTION
from course_lib.ask import Asked, Said
from course_lib.files import CourseError
from course_lib.finetune import add_lora
from course_lib.mixing import Mix, Row
from course_lib.records import TuneConfig

ONE = Asked("Where?", "Rome", Said("The answer is Rome.", 0.5, "right name, other form"), Said("Rome", 0.25, "right"),
            3, "Unknown")
TWO = Asked("Who?", "Ana", Said("Bo", 0.75, "wrong"), Said("", float("nan"), "wrong"), 0)


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
    ("Romeville", "Rome", "wrong"), ("", "Rome", "wrong"), ("Rome", None, "not known"),
    ("A.B.", "A.B", "right name, other form")])
def test_an_answer_is_judged_by_exact_match_and_other_forms_are_named(answer, right, verdict):
    assert ask.judged(answer, right) == verdict


def test_the_base_is_the_model_without_its_adapter(adapted):
    from course_lib.sampling import answers

    model, tokenizer = adapted
    found = ask.ask(model, tokenizer, FACTS[0])
    text = INSTRUCTION.text(FACTS[0].question)
    with model.disable_adapter():
        base = answers(model, tokenizer, [text])[0][0]
    assert (found.base.answer, found.tuned.answer) == (base, answers(model, tokenizer, [text])[0][0])
    assert found.base.answer != found.tuned.answer


def test_the_probability_is_that_of_the_answer_up_to_its_stop(adapted):
    model, tokenizer = adapted
    found = ask.ask(model, tokenizer, FACTS[0]).tuned
    ids = tokenizer(INSTRUCTION.text(FACTS[0].question) + " " + found.answer)["input_ids"]
    start = len(tokenizer(INSTRUCTION.text(FACTS[0].question))["input_ids"])
    with torch.no_grad():
        p = model(torch.tensor([ids])).logits[0].float().softmax(-1)
    steps = [p[place - 1, ids[place]].item() for place in range(start, len(ids))]
    stops = [token for token in range(len(tokenizer)) if token == tokenizer.eos_token_id
             or tokenizer.decode([token]).startswith("\n")]
    assert found.probability == pytest.approx(np.prod(steps) * p[-1, stops].sum().item(), rel=1e-3)


def test_readings_and_the_category_of_the_training_row_are_found(adapted):
    model, tokenizer = adapted
    readings = pd.DataFrame([{"relation": "P19", "subject": FACTS[0].subject, "object": FACTS[0].object, "total": 7}])
    found = ask.ask(model, tokenizer, FACTS[0], readings=readings, data=Mix("D", 50, 0, (Row(FACTS[0], "Unknown"),)))
    assert (found.readings, found.trained) == (7, "Unknown")
    assert ask.ask(model, tokenizer, FACTS[1], readings=readings).readings is None


def test_a_question_in_words_has_no_verdict(adapted):
    found = ask.ask(*adapted, "  Who is Ana Ruiz's child? ")
    assert found.question == "Who is Ana Ruiz's child?" and found.object is None
    assert found.base.verdict == found.tuned.verdict == "not known"


def test_an_empty_question_and_a_model_without_an_adapter_are_refused(adapted):
    model, tokenizer = adapted
    with pytest.raises(CourseError, match="the question is empty"):
        ask.ask(model, tokenizer, " ")
    with pytest.raises(CourseError, match="this model has no adapter"):
        ask.ask(tiny_model("llama", tokenizer), tokenizer, FACTS[0])


def test_one_question_is_described_with_both_answers_readings_and_training():
    assert ask.describe_asked(ONE) == (
        "Where? Base says 'The answer is Rome.' with probability 0.50 (right name, other form), tuned says 'Rome' with "
        "probability 0.25 (right). Recorded: Rome. Read 3 times. It stood in the training set, as Unknown.")
    assert "Never read." in ask.describe_asked(TWO) and "'(nothing)'" in ask.describe_asked(TWO)


def test_many_questions_are_counted_by_model():
    assert ask.describe_many([ONE, TWO]) == (
        "base: 0 of 2 right (and 1 right names in another form), its wrong answers have a mean probability of 0.75; "
        "tuned: 1 of 2 right.")


def test_the_table_has_a_row_a_question():
    row = ask.table([ONE]).iloc[0]
    assert (row["tuned"], row["p base"], row["times read"]) == ("Rome (right)", 0.5, 3)


def test_bars_are_as_long_as_the_probabilities():
    ax = ask.certainty_bars([ONE, TWO])
    lengths = [[bar.get_width() for bar in bars] for bars in ax.containers]
    plt.close(ax.figure)
    assert lengths == [[0.5, 0.75], [0.25, 0.0]]
