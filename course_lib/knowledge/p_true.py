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

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from course_lib.files import CourseError
from course_lib.knowledge.scoring.engine import score
from course_lib.knowledge.scoring.prompts import Prompt
from course_lib.knowledge.scoring.token_paths import never_written

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from course_lib.data.facts import Fact

__all__ = ["Called", "called", "calls_unknown", "p_true", "proposal", "separation", "threshold_curve"]

CHOICES = ("(A)", "(B)")


@dataclass(frozen=True, slots=True)
class _Choice:
    """A text and one of the letters that may follow, in the form that :func:`.engine.score` takes."""

    question: str
    object: str


def proposal(question: str, answer: str) -> str:
    """The whole prompt for one proposed answer."""
    return (f"Question: {question}\nProposed Answer: {answer}\nIs the proposed answer:\n (A) True\n (B) False\n"
            f"The proposed answer is:")


def p_true(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, facts: Sequence[Fact], *,
           batch_tokens: int | None = None) -> np.ndarray:
    """P(True) of the right answer of every fact; shape (Q,), between 0 and 1, NaN where it could not be scored.

    An answer that the tokenizer cannot spell is NaN too: the model would read another one.

    Raises:
        CourseError: the model's own generation settings would change the distribution.
    """
    from scipy.special import expit

    choices = [_Choice(proposal(fact.question, fact.object), letter) for fact in facts for letter in CHOICES]
    found = score(model, tokenizer, choices, [Prompt("", "{question}")], temperature=1.0, top_k=0, top_p=1.0,
                  ended=False, batch_tokens=batch_tokens).log_probability.reshape(len(facts), 2)
    found[list(never_written(tokenizer, model, [Prompt("", "{question}\nProposed Answer:")], facts))] = np.nan
    return expit(found[:, 0] - found[:, 1])  # a / (a + b) from logarithms, without the underflow of small a and b


def calls_unknown(p: Any, *, threshold: float) -> np.ndarray:
    """Which facts are called Unknown: P(True) < ``threshold``; shape (Q,), bool. NaN is never called Unknown.

    Raises:
        CourseError: the threshold is not in [0, 1].
    """
    if not 0 <= threshold <= 1:
        raise CourseError(f"threshold {threshold}: P(True) lies between 0 and 1; give a number in [0, 1]")
    return np.asarray(p, float) < threshold


@dataclass(frozen=True, slots=True)
class Called:
    """The facts that are called Unknown: how many, their share of all (x of Fig. 5), the mean outcome on them (y).

    ``outcome`` is NaN where no fact is called Unknown.
    """

    count: int
    share: float
    outcome: float


def called(unknown: Any, outcome: Any) -> Called:
    """One point of Fig. 5; for SliCK's own point give ``frame["category"] == "Unknown"``.

    ``unknown``: (Q,), bool. ``outcome``: (Q,), 0 or 1, for example whether the fine-tuned model answers the fact
    rightly, or whether the fact was ever read. Facts whose outcome is NaN are left out of x and y.

    Raises:
        CourseError: the two do not have the same length.
    """
    unknown, outcome = np.asarray(unknown, bool), np.asarray(outcome, float)
    _same_length(unknown, outcome)
    told = ~np.isnan(outcome)
    chosen = outcome[told & unknown]
    return Called(len(chosen), len(chosen) / int(told.sum()) if told.any() else math.nan,
                  float(chosen.mean()) if len(chosen) else math.nan)


def threshold_curve(p: Any, outcome: Any, *, thresholds: Sequence[float] | None = None) -> pd.DataFrame:
    """Fig. 5 for P(True): one row a threshold, columns threshold, count, share, outcome as in :class:`Called`.

    ``p`` and ``outcome``: (Q,). Facts whose P(True) is NaN are left out. By default 101 thresholds, 0 to 1.

    Raises:
        CourseError: lengths differ, or a threshold is not in [0, 1].
    """
    import pandas as pd

    p, outcome = np.asarray(p, float), np.asarray(outcome, float)
    _same_length(p, outcome)
    scored = ~np.isnan(p)
    return pd.DataFrame([{"threshold": float(threshold)}
                         | asdict(called(calls_unknown(p[scored], threshold=threshold), outcome[scored]))
                         for threshold in (np.linspace(0, 1, 101) if thresholds is None else thresholds)],
                        columns=["threshold", "count", "share", "outcome"])


def separation(score: Any, truth: Any) -> float:
    """How well a score tells true from false: the chance that a true case has the higher one, ties counted half.

    This is the area under the ROC curve, U / (n_true n_false) of Mann and Whitney; 0.5 is a blind guess. ``score`` and
    ``truth`` (0 or 1): (Q,). Cases with NaN are left out.

    Raises:
        CourseError: lengths differ, or there is no true or no false case.
    """
    from scipy.stats import rankdata

    score, truth = np.asarray(score, float), np.asarray(truth, float)
    _same_length(score, truth)
    kept = ~(np.isnan(score) | np.isnan(truth))
    ranks, true = rankdata(score[kept]), truth[kept] > 0  # equal scores share the mean of their ranks
    n_true, n_false = int(true.sum()), int((~true).sum())
    if not n_true or not n_false:
        raise CourseError(f"{n_true} true and {n_false} false cases: a separation needs at least one of each")
    return float((ranks[true].sum() - n_true * (n_true + 1) / 2) / (n_true * n_false))


def _same_length(first: np.ndarray, second: np.ndarray) -> None:
    if len(first) != len(second):
        raise CourseError(f"{len(first)} values on one side and {len(second)} on the other; give one of each a fact")
