"""The paper's linear model of accuracy (Table 1): what fitting Known and Unknown rows is worth.

    Accuracy = b0 + b_kn N_kn / |D| + b_unk N_unk / |D|

N counts the training rows that the model fits; every epoch of every D is one point. The epochs of a run, and the runs
of a seed (whose draws are nested), are no independent points: the intervals leave out one seed at a time (jackknife).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from course_lib.analysis.stopping import single_rate
from course_lib.data import paper
from course_lib.data.protocol import D
from course_lib.files import CourseError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COEFFICIENTS", "linear_fit", "linear_model", "linear_table", "tuned_epochs"]

COEFFICIENTS = ["b0", "b_kn", "b_unk"]


def tuned_epochs(epochs: pd.DataFrame, measure: str) -> pd.DataFrame:
    """The epochs of D after epoch 0 that have ``measure``: the points of the linear model."""
    return epochs[(epochs["variant"] == D.name) & (epochs["epoch"] > 0)].dropna(subset=measure)


def linear_model(epochs: pd.DataFrame, measure: str = "test") -> pd.Series:
    """The paper's Table 1: Accuracy = b0 + b_kn N_kn/|D| + b_unk N_unk/|D|, by least squares over all epochs of D.

    N counts the training rows that the model fits. Returns b0, b_kn, b_unk, r2 and n (epochs). The untuned epoch 0 is
    left out: it does not answer in the form that fine-tuning teaches.

    Raises:
        CourseError: fewer than 4 epochs, or several learning rates.
    """
    import pandas as pd

    rows = single_rate(tuned_epochs(epochs, measure))
    if len(rows) < 4:
        raise CourseError(f"{len(rows)} epochs of D with {measure}: three coefficients need at least 4; give more runs")
    share = rows["unknown_percent"].to_numpy(float) / 100
    known = np.nan_to_num(rows["known_fitted"].to_numpy(float)) / 100 * (1 - share)
    unknown = np.nan_to_num(rows["unknown_fitted"].to_numpy(float)) / 100 * share
    inputs = np.column_stack([np.ones(len(rows)), known, unknown])
    target = rows[measure].to_numpy(float)
    solution, *_ = np.linalg.lstsq(inputs, target, rcond=None)
    spread = ((target - target.mean()) ** 2).sum()
    r2 = 1 - ((target - inputs @ solution) ** 2).sum() / spread if spread else math.nan
    return pd.Series([*solution, r2, len(rows)], index=[*COEFFICIENTS, "r2", "n"], name=measure)


def linear_fit(epochs: pd.DataFrame, measure: str = "test") -> pd.DataFrame:
    """The linear model with 95 % intervals over seeds: rows b0, b_kn, b_unk and r2; columns mean, low, high, n.

    ``mean`` is the fit over all seeds and ``n`` counts them. With b(-s) the fit without seed s, the standard error
    is sqrt((n - 1) / n sum_s (b(-s) - their mean)^2), times Student's t for n - 1: the jackknife over clusters, which
    is fit for few of them. R2 and a single seed have no interval (NaN).

    Raises:
        CourseError: as :func:`linear_model`.
    """
    import pandas as pd
    from scipy import stats

    whole = linear_model(epochs, measure)
    rows = tuned_epochs(epochs, measure)
    seeds, half = rows["seed"].unique(), np.full(3, math.nan)
    left_out = [rows[rows["seed"] != seed] for seed in seeds]
    if len(seeds) > 1 and min(map(len, left_out)) >= 4:
        others = np.array([linear_model(part, measure)[COEFFICIENTS] for part in left_out], float)
        error = np.sqrt((len(seeds) - 1) / len(seeds) * ((others - others.mean(0)) ** 2).sum(0))
        half = stats.t.ppf(0.975, len(seeds) - 1) * error
    mean = whole[COEFFICIENTS].to_numpy(float)
    found = pd.DataFrame({"mean": mean, "low": mean - half, "high": mean + half}, index=COEFFICIENTS)
    found.loc["r2"] = [whole["r2"], math.nan, math.nan]
    return found.assign(n=len(seeds))


def linear_table(epochs: pd.DataFrame) -> pd.DataFrame:
    """Table 1 beside the published one, in and out of distribution.

    Columns: measure ("test", "ood"), coefficient, mean, low, high, n (seeds), epochs, published. A measure that was
    not taken is left out.
    """
    import pandas as pd

    parts = []
    for measure, printed in paper.LINEAR_MODEL.items():
        if epochs.loc[epochs["epoch"] > 0, measure].notna().any():
            found = linear_fit(epochs, measure).rename_axis("coefficient").reset_index()
            found.insert(0, "measure", measure)
            parts.append(found.assign(epochs=int(linear_model(epochs, measure)["n"]), published=[
                printed.intercept, printed.known, printed.unknown, printed.r2]))
    return pd.concat(parts, ignore_index=True)
