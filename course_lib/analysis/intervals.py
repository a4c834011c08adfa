"""Means and shares with their 95 % intervals: over seeds by Student's t, over single questions by Wilson's score.

A run differs from another of the same mix by its seed, which draws the rows, the order and the adapter. So a number
about the method needs an interval over seeds; with one seed there is none, and it is missing rather than zero. The
questions of one run give an interval about that run alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Estimate", "estimate", "proportion"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over n seeds with its 95 % t-interval; ``low`` and ``high`` are NaN for one seed, never equal to it."""

    mean: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        if math.isnan(self.low):
            return f"{self.mean:.1f} (n = {self.n}, no interval)"
        return f"{self.mean:.1f} [{self.low:.1f}, {self.high:.1f}]"


def estimate(values: Any) -> Estimate:
    """Mean and 95 % interval of a few values (Student's t); missing values are left out."""
    from scipy import stats

    kept = np.asarray(values, float)
    kept = kept[~np.isnan(kept)]
    if len(kept) < 2:
        return Estimate(float(kept.mean()) if len(kept) else math.nan, math.nan, math.nan, len(kept))
    half = stats.t.ppf(0.975, len(kept) - 1) * stats.sem(kept)
    return Estimate(float(kept.mean()), float(kept.mean() - half), float(kept.mean() + half), len(kept))


def proportion(hits: Any, of: Any) -> Estimate:
    """``hits`` out of ``of`` in percent; both are numbers, or arrays (seeds,).

    One seed: Wilson's interval over its questions. Several: the t-interval over the seeds' percentages, cut off at 0
    and 100, and at least as wide as Wilson's for the questions of a mean seed, since all seeds answer the same few
    questions. ``n`` counts the seeds; those with nothing to count are left out. NaN where there is nothing at all.
    """
    from scipy.stats import binomtest

    hits, of = np.atleast_1d(hits).astype(int), np.atleast_1d(of).astype(int)
    hits, of = hits[of > 0], of[of > 0]
    found = estimate(100 * hits / of)
    if not len(of):
        return found
    band = binomtest(round(hits.mean()), round(of.mean())).proportion_ci(method="wilson")
    low, high = np.fmin(found.low, 100 * band.low), np.fmax(found.high, 100 * band.high)  # fmin passes over NaN
    return Estimate(found.mean, float(np.clip(low, 0, 100)), float(np.clip(high, 0, 100)), found.n)
