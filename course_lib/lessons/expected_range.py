"""The expected range of a number, from the reference runs, instead of a single value.

Two independent runs of one setting differ: another seed, another computer. So the course does not say "dev accuracy is
44.2" but "it should lie between 41.5 and 46.8": the lowest and the highest of the reference seeds, and a margin of

    max(1 point, two questions, two standard errors),     standard error = sqrt(p (1 - p) / n) for n questions

on both sides, since other rounding lets some questions fall otherwise. A value outside is no error by itself; what is
said then helps to find out why.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from course_lib.analysis.stopping import STOPS, stops
from course_lib.data.datasets import DATASETS
from course_lib.data.protocol import D
from course_lib.experiments.reference import has_reference, reference_runs
from course_lib.files import CourseError

if TYPE_CHECKING:
    import pandas as pd

    from course_lib.experiments.study import Study

__all__ = ["ExpectedRange", "expect", "reference_range"]

OUTSIDE = ("That is no error by itself. Look first for another preset, other settings or seeds than the lesson's, a "
           "mix that you changed, or other package versions (course doctor).")


@dataclass(frozen=True, slots=True)
class ExpectedRange:
    """``low`` to ``high``, in percent, from ``seeds`` reference runs."""

    low: float
    high: float
    seeds: int

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f"between {self.low:.1f} and {self.high:.1f} % ({self.seeds} reference seeds)"


def expect(value: float, measure: str, *, study: Study | None = None, stop: str = "EARLY_STOP", unknown_percent: float,
           variant: str = D.name) -> str:
    """A sentence: whether ``value``, in percent, lies where the reference runs lie, and what to think of if not.

    With a study of a preset that has no reference runs it says so, and only that.
    """
    preset = study.name if study else "pocket"
    what = f"{measure} at {stop}, {variant} with {unknown_percent:g} % Unknown: {value:.1f} %"
    if not has_reference(preset):
        return f"{what}. Preset {preset} has no reference runs, so nobody can say where it should lie."
    expected = reference_range(measure, stop=stop, unknown_percent=unknown_percent, variant=variant, preset=preset)
    if value in expected:
        return f"{what}, inside the expected range: {expected}."
    return f"{what}, OUTSIDE the expected range: {expected}. {OUTSIDE}"


def reference_range(measure: str, *, stop: str = "EARLY_STOP", unknown_percent: float, variant: str = D.name,
                    preset: str = "pocket") -> ExpectedRange:
    """The range of ``measure`` ("dev", "test", "ood", "known_fitted", "unknown_fitted") at a stop of a mix.

    Raises:
        CourseError: the preset has no reference runs, or none of this mix.
    """
    table = _reference_stops(preset)
    values = table[(table["variant"] == variant) & (table["unknown_percent"] == unknown_percent)
                   & (table["stop"] == stop)][measure].dropna()
    if values.empty:
        raise CourseError(f"no reference run gives {measure} of {variant} at {unknown_percent:g} % Unknown and {stop}; "
                          f"stops are {' and '.join(STOPS)}")
    p, n = values.mean() / 100, _asked(preset, measure)
    margin = max(1.0, 200 / n, 200 * math.sqrt(p * (1 - p) / n))
    return ExpectedRange(max(0.0, values.min() - margin), min(100.0, values.max() + margin), len(values))


@cache
def _reference_stops(preset: str) -> pd.DataFrame:
    return stops(reference_runs(preset).main_rate())


def _asked(preset: str, measure: str) -> int:
    """The number of questions or rows behind a percentage; a mix has at least some 50 rows of a kind."""
    if measure == "dev":
        return DATASETS["pocket"].sizes["dev"]  # the reference runs are the pocket preset's
    return len(reference_runs(preset).asked(measure)) or 50
