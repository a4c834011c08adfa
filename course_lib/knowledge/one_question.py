"""One question in detail: after each of its prompts, at many temperatures, with any number of samples.

SliCK's label of a question rests on two things alone: which of its P greedy answers are right, which no temperature
changes, and the probability p_i of a right sample after prompt i, which grows or shrinks with the temperature. Where
no greedy answer is right, n samples a prompt give

    P(Unknown) = prod_i (1 - p_i)^n,     P(WeaklyKnown) = 1 - P(Unknown).

So a :class:`OneQuestion` holds these two, computed once; a label at another temperature or budget is then arithmetic
(:func:`label_probabilities`), quick enough for a slider. Shapes: Q questions, T temperatures, P prompts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from course_lib.data.facts import Fact
from course_lib.data.paper import CATEGORIES
from course_lib.files import CourseError
from course_lib.knowledge.scoring import sampling
from course_lib.knowledge.scoring.engine import TOP_K, score
from course_lib.knowledge.scoring.prompts import Prompt
from course_lib.knowledge.scoring.scores import Scores
from course_lib.knowledge.slick import label

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["OneQuestion", "label_probabilities", "measure"]


@dataclass(frozen=True, slots=True, eq=False)
class OneQuestion:
    """One question and what a model does with it.

    ``answers``: P greedy answers; ``right`` (P,), bool: which of them are right. ``p`` (T, P), float64: probability
    that a sample after each prompt is right, one row for each of ``temperatures``.
    """

    fact: Fact
    answers: tuple[str, ...]
    right: np.ndarray
    temperatures: tuple[float, ...]
    p: np.ndarray

    def at(self, temperature: float) -> np.ndarray:
        """Probabilities (P,) at one of the temperatures.

        Raises:
            CourseError: another temperature.
        """
        for row, known in enumerate(self.temperatures):
            if math.isclose(known, temperature, abs_tol=1e-9):
                return self.p[row]
        known = ", ".join(f"{value:g}" for value in self.temperatures)
        raise CourseError(f"temperature {temperature:g} was not computed; take one of {known}, or measure it anew")


def measure(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, facts: Sequence[Fact],
            prompts: Sequence[Prompt], *, temperatures: Sequence[float] = (0.5,), top_k: int = TOP_K,
            max_tokens: int = 32) -> tuple[OneQuestion, ...]:
    """Measure Q questions of one relation, each in detail: P greedy answers, and one scoring for each temperature.

    No fact may stand among the solved examples of ``prompts``. An answer is shown up to ``max_tokens`` tokens; whether
    it is right is found from all of it.

    Raises:
        CourseError: no prompt or no temperature, a question that cannot be scored, which is named, or see
            :func:`.engine.score`.
    """
    if not prompts or not temperatures:
        raise CourseError(f"{len(prompts)} prompts and {len(temperatures)} temperatures: give at least one of each")
    every = [score(model, tokenizer, facts, prompts, temperature=temperature, top_k=top_k, top_p=1.0)
             for temperature in temperatures]
    for number, problem in every[0].problems.items():
        raise CourseError(f"{facts[number].question}: {problem}")
    right, p = every[0].greedy, np.exp(np.stack([scores.log_probability for scores in every]))  # (Q, P), (T, Q, P)
    # a right greedy answer is the fact's own text; only the wrong ones have to be written
    wrong = list(zip(*np.nonzero(~right), strict=True))
    written = sampling.answers(model, tokenizer, [prompts[column].text(facts[row].question) for row, column in wrong],
                               max_tokens=max_tokens)
    texts = dict(zip(wrong, (lines[0] for lines in written), strict=True))  # (question, prompt) -> greedy answer
    return tuple(OneQuestion(fact, tuple(texts.get((row, column), fact.object) for column in range(len(prompts))),
                             right[row], tuple(map(float, temperatures)), p[:, row]) for row, fact in enumerate(facts))


def label_probabilities(question: OneQuestion, *, temperature: float, n_samples: int) -> dict[str, float]:
    """Probability of each category under the protocol with ``n_samples`` samples a prompt.

    Raises:
        CourseError: the temperature was not computed, or there is not even one sample.
    """
    if n_samples < 1:
        raise CourseError(f"n_samples = {n_samples}: take at least one sample a prompt")
    with np.errstate(divide="ignore"):  # log 0 is -inf, which is what a token that is cut off has
        log_p = np.log(question.at(temperature))[None]  # (1, P)
    row = label(Scores(question.right[None], log_p, np.zeros_like(log_p)), n_samples=n_samples).iloc[0]
    return {name: float(row[f"prob_{name}"]) for name in CATEGORIES}
