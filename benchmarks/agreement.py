"""Whether a rival says what we say.

Our label is the most likely category, the rival's comes from its samples. Where the exact probability p of our label
is above 95 %, an honest rival should say the same. Elsewhere two honest runs differ, and mean(1 - p) is the share of
all questions on which one run is expected to differ from us.

Shapes: Q questions, P prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from benchmarks.rivals import Likelihoods, Sampled
    from course_lib.knowledge.scoring.scores import Scores

__all__ = ["Agreement", "Precision", "label_agreement", "precision", "remark"]

SURE = 0.95


@dataclass(frozen=True, slots=True)
class Agreement:
    """Labels of a sampler beside ours, as shares of ``questions``.

    ``on_sure``: equal labels among the ``sure`` questions, where ours has a probability above 95 %; None if there are
    none. ``overall``: equal labels among all; ``expected``: what is expected of it.
    """

    questions: int
    sure: int
    on_sure: float | None
    overall: float
    expected: float

    def __str__(self) -> str:
        sure = "no question is certain" if self.on_sure is None else f"{self.on_sure:.1%} of {self.sure} certain ones"
        return (f"{self.questions} questions: labels equal on {sure}, {self.overall:.1%} of all; expected "
                f"disagreement with one honest run {1 - self.expected:.1%}, found {1 - self.overall:.1%}")


def label_agreement(frame: pd.DataFrame, labels: Sequence[str]) -> Agreement:
    """Compare rows of :func:`.slick.label` with the labels that a sampler gave the same questions."""
    ours = frame["category"].astype(str).tolist()
    chance = np.array([frame[f"prob_{name}"].iloc[row] for row, name in enumerate(ours)])
    same = np.array([mine == theirs for mine, theirs in zip(ours, labels, strict=True)])
    sure = chance > SURE
    on_sure = float(same[sure].mean()) if sure.any() else None
    return Agreement(len(same), int(sure.sum()), on_sure, float(same.mean()), float(chance.mean()))


def remark(exact: Scores, found: Sampled | Likelihoods) -> str:
    """In words, how the cells (Q, P) of a rival lie beside ours."""
    equal = (exact.greedy == found.greedy).mean()
    if not hasattr(found, "hits"):
        return f"greedy bits {equal:.2%} equal; it does not ask whether the answer ends"
    hits, expected = found.hits.mean() / found.n_samples, np.exp(exact.log_probability).mean()
    return f"greedy bits {equal:.2%} equal; right samples {hits:.2%}, exact {expected:.2%}"


@dataclass(frozen=True, slots=True)
class Precision:
    """A reduced number format beside float32: shares of equal greedy bits and labels, largest difference of p."""

    dtype: str
    questions: int
    greedy_equal: float
    largest_dp: float
    mean_dp: float
    labels_equal: float

    def __str__(self) -> str:
        return (f"{self.dtype} beside float32, {self.questions} questions: greedy bits {self.greedy_equal:.2%} equal, "
                f"|dp| at most {self.largest_dp:.3g} and {self.mean_dp:.2g} on average, labels {self.labels_equal:.1%} "
                f"equal")


def precision(dtype: str, full: Scores, reduced: Scores) -> Precision:
    """Compare the scores (Q, P) of one model in two number formats."""
    from course_lib.knowledge.slick import label

    dp = np.abs(np.exp(full.log_probability) - np.exp(reduced.log_probability))
    same = label(full)["category"].astype(str) == label(reduced)["category"].astype(str)
    return Precision(dtype, len(dp), float((full.greedy == reduced.greedy).mean()), float(dp.max()), float(dp.mean()),
                     float(same.mean()))
