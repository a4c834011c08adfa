"""Which facts are lost? Harm against the number of times that a tested fact was read before (beyond the paper).

A fact is lost by a run if it is answered rightly at EARLY_STOP and wrongly at CONVERGENCE. Only in a known world can
this be set against how often pre-training stated the fact.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from course_lib.analysis.intervals import proportion
from course_lib.files import CourseError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["harm_by_readings", "reading_groups"]


def reading_groups(readings: Any) -> pd.Series:
    """Numbers of readings sorted into never, 1-8, 9-32, 33-128, and 129 or more."""
    import pandas as pd

    names = ["never", "1-8", "9-32", "33-128", "129 or more"]
    return pd.cut(pd.Series(readings), [-1, 0, 8, 32, 128, float("inf")], labels=names)


def harm_by_readings(readings: Any, early: Any, late: Any) -> pd.DataFrame:
    """How much of what was right at EARLY_STOP is wrong at CONVERGENCE, by how often the fact was read.

    ``readings``: (Q,) whole numbers. ``early``, ``late``: right or wrong, (Q,) for one run or (S, Q) for S seeds.

    Columns: group, questions, right_early and right_late (percent of the group's questions, mean over the seeds),
    at_stake (answers right at EARLY_STOP, all seeds together), mean, low, high (percent of these that are lost; see
    :func:`.intervals.proportion`) and n (seeds with some at stake). Groups without questions are left out.

    Raises:
        CourseError: the three are not about the same questions and seeds.
    """
    import pandas as pd

    early, late = (np.atleast_2d(np.asarray(answers, bool)) for answers in (early, late))
    groups = reading_groups(np.asarray(readings))
    if early.shape != late.shape or early.shape[1] != len(groups):
        raise CourseError(f"{len(groups)} readings, answers of shape {early.shape} at EARLY_STOP and {late.shape} at "
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
