"""Catastrophic forgetting: is a lost answer gone, or no longer produced? Two ways to look for it in a fine-tuned model.

**Ask otherwise.** The question after few-shot prompts, as when the base was measured: an answer that comes there is
still known, only the fine-tuned form does not bring it out.

**Probe.** A linear map M from a layer's hidden state h at the last token of the question to the embedding e of the
answer's first token, fitted by ridge regression on other facts,

    M = argmin sum |M h_i - e_i|^2 + lambda |M|^2,

reads the answer if e is, among the first tokens of all answers of the relation, the nearest to M h (cosine). What a
probe reads of facts that the base never knew is guessing, so they are the control.

The paper leaves the two cases together (App. B, footnote 17).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from course_lib.data.facts import Fact, by_relation
from course_lib.files import CourseError
from course_lib.knowledge.scoring.prompts import INSTRUCTION, Prompt, encode_answers
from course_lib.knowledge.slick import measure

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["few_shot_shares", "first_tokens", "hidden_states", "probe"]


def few_shot_shares(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, facts: Sequence[Fact],
                    prompts: Mapping[str, Sequence[Prompt]]) -> np.ndarray:
    """P_Correct(T=0) of each fact, (Q,): the share of its relation's prompts after which greedy decoding is right."""
    return measure(model, tokenizer, facts, prompts, temperature=None).greedy.mean(axis=1)


def hidden_states(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, facts: Sequence[Fact], *,
                  prompt: Prompt = INSTRUCTION, batch: int = 128) -> np.ndarray:
    """Hidden states (layers + 1, Q, H) at the last token before the answer; layer 0 is the embedding."""
    import torch

    rows, parts = [row.tokens[:row.start] for row in encode_answers(tokenizer, prompt, facts)], []
    for start in range(0, len(rows), batch):
        some = rows[start:start + batch]
        width = max(map(len, some))
        ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in some], device=model.device)  # (B, T)
        last = torch.tensor([len(row) - 1 for row in some], device=model.device)  # (B,): the causal mask hides the rest
        with torch.inference_mode():
            states = model(input_ids=ids, use_cache=False, output_hidden_states=True).hidden_states
        parts.append(torch.stack([layer[torch.arange(len(some)), last] for layer in states]).float().cpu().numpy())
    return np.concatenate(parts, axis=1)


def first_tokens(tokenizer: PreTrainedTokenizerBase, facts: Sequence[Fact], *,
                 prompt: Prompt = INSTRUCTION) -> np.ndarray:
    """The first token of each fact's answer, (Q,)."""
    return np.array([row.tokens[row.start] for row in encode_answers(tokenizer, prompt, facts)])


def probe(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, fit: Sequence[Fact], ask: Sequence[Fact], *,
          ridge: float = 1.0) -> np.ndarray:
    """Fit a linear probe of each layer; returns whether it reads the first token of each answer: bool (layers + 1, Q).

    The probe is fitted on the facts ``fit`` and reads ``ask``. ``ridge`` is lambda in units of the mean squared length
    of a hidden state of that layer.

    Raises:
        CourseError: a fact is in both lists, so that the probe could have learned it by heart.
    """
    if shared := set(fit) & set(ask):
        raise CourseError(f"{len(shared)} facts are fitted and asked, {next(iter(shared))} among them; give the probe "
                          f"other facts to be fitted on")
    embeddings = model.get_input_embeddings().weight.detach().float().cpu().numpy()
    wanted = first_tokens(tokenizer, ask)
    candidates = {relation: np.unique(first_tokens(tokenizer, facts))
                  for relation, facts in by_relation([*fit, *ask]).items()}
    known, asked = (hidden_states(model, tokenizer, facts) for facts in (fit, ask))
    targets = _unit(embeddings[first_tokens(tokenizer, fit)])  # e_i, (n, H)
    right = np.zeros(asked.shape[:2], bool)
    for layer, (inputs, questions) in enumerate(zip(known, asked, strict=True)):
        guesses = _unit(_ridge(inputs, targets, questions, ridge))  # M h, (Q, H)
        for row, fact in enumerate(ask):
            among = candidates[fact.relation]  # the nearest e by cosine, among the relation's first tokens
            right[layer, row] = among[np.argmax(_unit(embeddings[among]) @ guesses[row])] == wanted[row]
    return right


def _ridge(inputs: np.ndarray, targets: np.ndarray, questions: np.ndarray, ridge: float) -> np.ndarray:
    """Fit M on (inputs, targets) and apply it to ``questions``; both are centred on the means of the fitted facts."""
    centre, base = inputs.mean(axis=0), targets.mean(axis=0)
    x = inputs - centre  # (n, H)
    # one token for all gives layer 0 one state for all: then the mean is the best guess
    penalty = max(ridge * (x**2).sum(axis=1).mean(), 1e-6) * np.eye(x.shape[1])
    # M' = (X'X + lambda I)^-1 X'E, (H, H)
    return (questions - centre) @ np.linalg.solve(x.T @ x + penalty, x.T @ (targets - base)) + base


def _unit(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1; a row of zeros stays one."""
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)
