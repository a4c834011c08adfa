"""P(True): ask the model whether an answer is true, in place of asking for the answer (Kadavath et al. 2022).

The model reads a question with a proposed answer, here always the right one, and chooses a letter
(arXiv 2207.05221, section 3; Gekhman et al. 2024, arXiv 2405.05904, section 5.4):

    P(True) = P("(A)") / (P("(A)") + P("(B)")),     at temperature 1, over the whole vocabulary.

A fact is called Unknown where P(True) < T. Gekhman et al. compare this with SliCK's Unknown (Fig. 5): for every T in
[0, 1] they draw how many facts are called Unknown (x) and how many of these are answered rightly after fine-tuning
(y). The lower y at the same x, the better the call.

Deviation: the paper gives the wording of the prompt but not its spaces; the layout is that of Kadavath et al. Small
base models hardly know how to choose a letter: look at how P(True) spreads before you read a curve.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from course_lib.files import CourseError
from course_lib.knowledge.scoring.engine import score
from course_lib.knowledge.scoring.prompts import Prompt
from course_lib.knowledge.scoring.token_paths import never_written

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from course_lib.data.facts import Fact

__all__ = ["p_true", "proposal", "roc_auc"]

CHOICES = ("(A)", "(B)")


@dataclass(frozen=True, slots=True)
class _Choice:
    """A text and one of the letters that may follow, in the form that :func:`.engine.score` takes."""

    question: str
    object: str


def proposal(question: str, answer: str) -> str:
    """Prompt for one proposed answer."""
    return (f"Question: {question}\nProposed Answer: {answer}\nIs the proposed answer:\n (A) True\n (B) False\n"
            f"The proposed answer is:")


def p_true(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, facts: Sequence[Fact]) -> np.ndarray:
    """P(True) of the right answer of every fact; shape (Q,), between 0 and 1, NaN where it could not be scored.

    An answer that the tokenizer cannot encode is NaN too: the model would read another one.

    Raises:
        CourseError: the model's own generation settings would change the distribution.
    """
    from scipy.special import expit

    choices = [_Choice(proposal(fact.question, fact.object), letter) for fact in facts for letter in CHOICES]
    # one column a letter: log P("(A)" | x), log P("(B)" | x)
    found = score(model, tokenizer, choices, [Prompt("", "{question}")], temperature=1.0, top_k=0, top_p=1.0,
                  ended=False).log_probability.reshape(len(facts), 2)
    found[list(never_written(tokenizer, model, [Prompt("", "{question}\nProposed Answer:")], facts))] = np.nan
    return expit(found[:, 0] - found[:, 1])  # a / (a + b) = sigmoid(log a - log b): no underflow


def roc_auc(score: Any, truth: Any) -> float:
    """Area under the ROC curve: the chance that a true case has the higher score, ties counted half.

    U / (n_true n_false) of Mann and Whitney; 0.5 is a blind guess. ``score`` and ``truth`` (0 or 1): (Q,). Cases with
    NaN are left out.

    Raises:
        CourseError: lengths differ, or there is no true or no false case.
    """
    from scipy.stats import rankdata

    score, truth = np.asarray(score, float), np.asarray(truth, float)
    if len(score) != len(truth):
        raise CourseError(f"{len(score)} scores and {len(truth)} outcomes; give one of each a fact")
    kept = ~(np.isnan(score) | np.isnan(truth))
    ranks, true = rankdata(score[kept]), truth[kept] > 0  # equal scores share the mean of their ranks
    n_true, n_false = int(true.sum()), int((~true).sum())
    if not n_true or not n_false:
        raise CourseError(f"{n_true} true and {n_false} false cases: the ROC area needs at least one of each")
    return float((ranks[true].sum() - n_true * (n_true + 1) / 2) / (n_true * n_false))  # U / (n_true n_false)
