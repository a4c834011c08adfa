"""From a claim of the paper to a verdict: "holds", "holds weakly" or "does not", computed by one rule for all claims.

A claim says that some quantities are above zero: a difference of two runs, a margin to a threshold. Each is taken per
seed (runs of one seed are paired) and has a mean and a 95 % interval over the seeds.

    holds           every quantity has the right sign, and no interval includes zero
    holds weakly    every mean has the right sign, but an interval includes zero or, with one seed, there is none;
                    or one step of a series has the wrong sign within noise: its interval includes zero
    does not        anything else
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from course_lib.analysis.intervals import Estimate, estimate

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Claim", "Runs", "Step", "claim", "step", "verdict"]


@dataclass(frozen=True, slots=True)
class Claim:
    """One statement of the paper, what it says in numbers, what these runs say, and the verdict."""

    claim: str
    published: str
    measured: str
    verdict: str

    @property
    def holds(self) -> bool:
        """True if it holds, if only weakly."""
        return self.verdict != "does not"


@dataclass(frozen=True, slots=True)
class Step:
    """A quantity that should be above zero; where it is not ``strict``, zero will do (margins to a threshold)."""

    margin: Estimate
    strict: bool = True

    @property
    def right(self) -> bool:
        """The mean has the right sign."""
        return self.margin.mean > 0 or (not self.strict and self.margin.mean == 0)

    @property
    def sure(self) -> bool:
        """The whole interval has it too; never with one seed."""
        return self.right and (self.margin.low > 0 or (not self.strict and self.margin.low == 0))

    @property
    def within_noise(self) -> bool:
        """The interval includes zero; False where there is no interval."""
        return self.margin.low <= 0 <= self.margin.high


def step(values: Any, *, strict: bool = True) -> Step:
    """A step from one value a seed."""
    return Step(estimate(values), strict)


def verdict(steps: Sequence[Step], *, series: Sequence[Step] = ()) -> str:
    """The rule above; one of the steps of a ``series`` may fail within noise if it has several."""
    every = [*steps, *series]
    if all(each.sure for each in every):
        return "holds"
    wrong = [each for each in every if not each.right]
    slip = len(series) > 1 and len(wrong) == 1 and any(each is wrong[0] for each in series) and wrong[0].within_noise
    return "holds weakly" if not wrong or slip else "does not"


def claim(text: str, published: str, measured: str, steps: Sequence[Step], *, series: Sequence[Step] = ()) -> Claim:
    """A claim with its verdict."""
    return Claim(text, published, measured, verdict(steps, series=series))


class Runs:
    """Values at the stops of :func:`.stopping.stops`, looked up by variant; all have one learning rate."""

    def __init__(self, stopped: pd.DataFrame) -> None:
        self.stopped = stopped
        self.variants = set(stopped["variant"])
        self._groups = {key: rows.set_index("seed") for key, rows in stopped.groupby(["variant", "stop"])}

    def __call__(self, variant: str, stop: str, measure: str = "test", percent: float | None = None) -> pd.Series:
        """One value a seed, indexed by seed, so that differences are paired."""
        rows = self._groups[variant, stop]
        values = rows[measure] if percent is None else rows.loc[rows["unknown_percent"] == percent, measure]
        return values if values.index.is_unique else values.groupby(level="seed").mean()

    def percents(self, variant: str) -> list[float]:
        """The shares of Unknown at which this variant has run, in order."""
        return sorted(self.stopped.loc[self.stopped["variant"] == variant, "unknown_percent"].unique())

    def measured(self, measure: str) -> bool:
        """True if the runs have this column, with a value in it."""
        return measure in self.stopped and bool(self.stopped[measure].notna().any())
