"""Single questions: which facts are lost, by how often they were read, and which rule finds the Unknown.

A fact is lost by a run (beyond the paper) if it is answered rightly at EARLY_STOP and wrongly at CONVERGENCE. Only in a
known world can this be set against how often pre-training stated the fact.

A rule for "the model does not know this" (section 5.4, Fig. 5) calls some test questions Unknown. Its point in the
figure: x = how many percent it calls so, y = how many percent of these the model answers rightly after fine-tuning on
D_Natural. The lower y at the same x, the better the rule. SliCK is one point, and with fewer few-shot prompts another;
P(True) < T gives one for every threshold T.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from course_lib.analysis.intervals import proportion
from course_lib.files import CourseError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Rule", "exposure_groups", "lost_by_exposures", "p_true_rules", "slick_rules", "unknown_points"]

def exposure_groups(exposures: Any) -> pd.Series:
    """Numbers of exposures sorted into never, 1-8, 9-32, 33-128, and 129 or more."""
    import pandas as pd

    names = ["never", "1-8", "9-32", "33-128", "129 or more"]
    return pd.cut(pd.Series(exposures), [-1, 0, 8, 32, 128, float("inf")], labels=names)


def lost_by_exposures(exposures: Any, early: Any, late: Any) -> pd.DataFrame:
    """The share of answers right at EARLY_STOP that are wrong at CONVERGENCE, by exposures (readings of a fact).

    ``exposures``: (Q,) whole numbers. ``early``, ``late``: right or wrong, (Q,) for one run or (S, Q) for S seeds.

    Columns: group, questions, right_early and right_late (percent of the group's questions, mean over the seeds),
    at_stake (answers right at EARLY_STOP, all seeds together), mean, low, high (percent of these that are lost; see
    :func:`.intervals.proportion`) and n (seeds with some at stake). Groups without questions are left out.

    Raises:
        CourseError: the three are not about the same questions and seeds.
    """
    import pandas as pd

    early, late = (np.atleast_2d(np.asarray(answers, bool)) for answers in (early, late))
    groups = exposure_groups(np.asarray(exposures))
    if early.shape != late.shape or early.shape[1] != len(groups):
        raise CourseError(f"{len(groups)} exposures, answers of shape {early.shape} at EARLY_STOP and {late.shape} at "
                          f"CONVERGENCE: give (seeds, questions) of the same questions")
    rows = []
    for name in groups.cat.categories:
        here = (groups == name).to_numpy()
        if here.any():
            first, last = early[:, here], late[:, here]
            rows.append({"group": name, "questions": int(here.sum()), "right_early": 100 * first.mean(),
                         "right_late": 100 * last.mean(), "at_stake": int(first.sum())}
                        | asdict(proportion((first & ~last).sum(1), first.sum(1))))
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class Rule:
    """One rule: its ``method``, the ``setting`` it was used with, and which questions it calls Unknown, (Q,) bool."""

    method: str
    setting: float
    unknown: np.ndarray


def slick_rules(categories: Mapping[int, Sequence[str]]) -> list[Rule]:
    """SliCK with different numbers of prompts: number of prompts -> category of every question, (Q,)."""
    return [Rule("SliCK", prompts, np.asarray(given, str) == "Unknown") for prompts, given in categories.items()]


def p_true_rules(p: Any, *, thresholds: Sequence[float]) -> list[Rule]:
    """P(True) < T for every threshold; ``p`` (Q,), NaN is never called Unknown."""
    return [Rule("P(True)", float(threshold), np.asarray(p, float) < threshold) for threshold in thresholds]


def unknown_points(rules: Sequence[Rule], right: Any) -> pd.DataFrame:
    """The points of Fig. 5; ``right``: answers after D_Natural, (Q,) for one run or (S, Q) for several seeds.

    Columns: method, setting, called (percent of the questions), questions (called Unknown), mean, low, high (percent
    right of these; see :func:`.intervals.proportion`) and n (seeds). A rule that calls nothing Unknown has
    called = 0 and no accuracy (NaN).

    Raises:
        CourseError: a rule is about another number of questions.
    """
    import pandas as pd

    right, rows = np.atleast_2d(np.asarray(right, bool)), []
    for rule in rules:
        unknown = np.asarray(rule.unknown, bool)
        if unknown.shape != right.shape[1:]:
            raise CourseError(f"{rule.method} with {rule.setting:g}: {unknown.size} questions are judged, "
                              f"{right.shape[1]} were answered; give both for the same test questions")
        count = int(unknown.sum())
        found = proportion((right & unknown).sum(1), np.full(len(right), count))
        rows.append({"method": rule.method, "setting": rule.setting, "called": 100 * count / len(unknown),
                     "questions": count} | asdict(found))
    return pd.DataFrame(rows)
