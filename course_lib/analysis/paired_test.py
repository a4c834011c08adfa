"""The paper's paired t-test of two fine-tuned models over random parts of the test set (App. I, J).

The questions are split at random into 100 parts; each part gives an accuracy of both models, and the 100 pairs go
into a paired t-test. One star: p < .05; two: p < .01. The test tells whether *these* models differ on other questions
of the kind; whether other seeds would differ the same way is told by intervals over seeds.

Answers are arrays of right or wrong: (Q,), or (S, Q) over S seeds, of which the mean is taken for every question.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from course_lib.analysis.stopping import run_columns, stops
from course_lib.files import CourseError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Paired", "against_the_best", "paired", "right_at_stops"]


@dataclass(frozen=True, slots=True)
class Paired:
    """First minus second in points, Student's t, its two-sided p, and the number of parts that were compared."""

    difference: float
    t: float
    p: float
    parts: int

    @property
    def stars(self) -> str:
        """The paper's marks: "**" for p < .01, "*" for p < .05, "" otherwise (also for NaN)."""
        return "**" if self.p < 0.01 else "*" if self.p < 0.05 else ""


def paired(first: Any, second: Any, *, parts: int = 100, seed: int = 0) -> Paired:
    """Paired t-test of two models over random parts of the questions they both answered.

    ``first`` and ``second``: right or wrong, (Q,) or (S, Q). Fewer questions than parts are compared one by one. p is
    NaN where there are fewer than two questions, and 1 where the two do not differ in any part.

    Raises:
        CourseError: the two have different questions.
    """
    from scipy import stats

    first, second = (np.atleast_2d(np.asarray(answers, float)).mean(0) for answers in (first, second))
    if len(first) != len(second):
        raise CourseError(f"{len(first)} answers on one side and {len(second)} on the other; compare models on the "
                          f"same questions")
    parts = min(parts, len(first))
    if parts < 2:
        return Paired(100 * float((first - second).sum()) if parts else math.nan, math.nan, math.nan, parts)
    part = np.random.default_rng(seed).permutation(len(first)) % parts
    size = np.bincount(part)
    means = [100 * np.bincount(part, answers) / size for answers in (first, second)]
    difference, gaps = 100 * float((first - second).mean()), means[0] - means[1]
    if np.ptp(gaps) < 1e-9:  # without any spread there is no t: the same everywhere, or better by the same everywhere
        return Paired(difference, math.copysign(math.inf, difference) if difference else 0.0,
                      0.0 if abs(difference) > 1e-9 else 1.0, parts)
    found = stats.ttest_rel(*means)
    return Paired(difference, float(found.statistic), float(found.pvalue), parts)


def against_the_best(answers: Mapping[str, Any]) -> dict[str, Paired]:
    """Every model against the one with the highest accuracy; the best against itself has p = 1."""
    best = max(answers, key=lambda name: np.mean(answers[name]))
    return {name: paired(given, answers[best]) for name, given in answers.items()}


def right_at_stops(epochs: pd.DataFrame, right: Mapping[Sequence[Hashable], np.ndarray]
                   ) -> dict[tuple[str, float, str], np.ndarray]:
    """The answers of every mix at EARLY_STOP and CONVERGENCE: (variant, unknown_percent, stop) -> bool (S, Q).

    ``right`` maps (variant, unknown_percent, seed) to right or wrong by epoch and question, (E, Q), row 0 the untuned
    model: what :func:`.read_right` gives for one run and "test" or "ood".

    Raises:
        CourseError: a run of ``epochs`` has no answers, or ``epochs`` has several learning rates.
    """
    if len(run_columns(epochs)) > 3:
        raise CourseError("several learning rates or free mixes in one table; choose one of them first")
    found: dict[tuple[str, float, str], list[np.ndarray]] = {}
    for row in stops(epochs).to_dict("records"):
        run = (row["variant"], row["unknown_percent"], row["seed"])
        if run not in right:
            raise CourseError(f"{run[0]} at {run[1]:g} %, seed {run[2]}: its single answers are missing; read them "
                              f"with course_lib.training.runs.read_right")
        found.setdefault((*run[:2], row["stop"]), []).append(np.asarray(right[run], bool)[int(row["epoch"])])
    return {key: np.stack(answers) for key, answers in found.items()}
