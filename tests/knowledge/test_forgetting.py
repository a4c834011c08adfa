"""Looking for lost answers: few-shot shares by hand, and a probe that reads what is linearly there."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from course_lib.data.facts import Fact
from course_lib.files import CourseError
from course_lib.knowledge import forgetting
from course_lib.knowledge.forgetting import few_shot_shares, first_tokens, hidden_states, probe
from course_lib.knowledge.scoring.engine import exact_match
from course_lib.knowledge.scoring.prompts import INSTRUCTION, few_shot_prompt
from tests.support.tiny import TOKENIZERS, plain_model

FACTS = [Fact(subject, relation, answer) for subject, relation, answer in [
    ("Ana Ruiz", "P19", "Paris"), ("Bo Chen", "P19", "Ulm"), ("Cem Öz", "P40", "Bo"), ("Dag Lie", "P40", "Fu")]]


@pytest.fixture(scope="module")
def tokenizer():
    return TOKENIZERS["gpt2"]()


@pytest.fixture(scope="module")
def model(tokenizer):
    return plain_model("llama", tokenizer, initializer_range=0.1)


def test_few_shot_shares_are_the_prompts_answered_right(model, tokenizer):
    prompts = {relation: [few_shot_prompt([Fact(subject, relation, "Rome")]) for subject in ("Ida", "Jo")]
               for relation in ("P19", "P40")}
    by_hand = [np.mean([exact_match(model, tokenizer, [fact], prompt)[0] for prompt in prompts[fact.relation]])
               for fact in FACTS]
    assert few_shot_shares(model, tokenizer, FACTS, prompts).tolist() == by_hand


def test_hidden_states_are_those_of_each_question_alone(model, tokenizer):
    states = hidden_states(model, tokenizer, FACTS, batch=3)
    ids = torch.tensor([tokenizer(INSTRUCTION.text(FACTS[1].question))["input_ids"]])
    with torch.no_grad():
        alone = model(input_ids=ids, output_hidden_states=True).hidden_states
    assert states.shape == (len(alone), len(FACTS), 64)
    assert np.allclose(states[:, 1], [layer[0, -1] for layer in alone], atol=1e-5)


def test_the_first_token_is_that_of_the_answer(tokenizer):
    assert first_tokens(tokenizer, FACTS).tolist() == [tokenizer(f" {fact.object}")["input_ids"][0] for fact in FACTS]


def invented(monkeypatch, states_of):
    """A world of 60 facts with 3 answers, whose hidden states ``states_of`` makes from the answer's embedding."""
    embeddings = np.eye(8)
    facts = [Fact(f"S{i}", "P19", str(i % 3)) for i in range(60)]
    rng = np.random.default_rng(0)
    turn = rng.normal(size=(8, 8))
    monkeypatch.setattr(forgetting, "first_tokens", lambda _, some, **__: np.array([int(f.object) for f in some]))
    monkeypatch.setattr(forgetting, "hidden_states", lambda _m, _t, some: np.stack([
        np.zeros((len(some), 8)), np.stack([states_of(embeddings[int(f.object)] @ turn, rng) for f in some])]))
    model = SimpleNamespace(get_input_embeddings=lambda: SimpleNamespace(weight=torch.tensor(embeddings)))
    return probe(model, None, facts[:40], facts[40:])


def test_a_probe_reads_what_is_linearly_there(monkeypatch):
    right = invented(monkeypatch, lambda state, rng: state + rng.normal(scale=0.01, size=8))
    assert right[1].all() and right[0].mean() < 0.5, "a layer with one state for all can only guess"


def test_a_probe_guesses_where_nothing_is_there(monkeypatch):
    assert invented(monkeypatch, lambda _, rng: rng.normal(size=8))[1].mean() < 0.7


def test_a_fact_that_the_probe_learned_from_is_not_asked(model, tokenizer):
    with pytest.raises(CourseError, match="^1 "):
        probe(model, tokenizer, FACTS[:2], FACTS[1:])
