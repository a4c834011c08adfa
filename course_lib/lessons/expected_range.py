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
from typing import TYPE_CHECKING

from course_lib.analysis.stopping import STOPS, stops
from course_lib.data.datasets import DATASETS
from course_lib.data.protocol import D
from course_lib.experiments.reference import StoredRuns, has_reference, reference_runs
from course_lib.files import CourseError

if TYPE_CHECKING:
    from course_lib.experiments.study import Study

__all__ = ["Band", "band", "expect"]

OUTSIDE = ("That is no error by itself. Look first for another preset, other settings or seeds than the lesson's, a "
           "mix that you changed, or other package versions (course doctor).")


@dataclass(frozen=True, slots=True)
class Band:
    """``low`` to ``high``, in percent, from ``seeds`` reference runs."""

    low: float
    high: float
    seeds: int

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f"between {self.low:.1f} and {self.high:.1f} % ({self.seeds} reference seeds)"


def band(measure: str, *, stop: str = "EARLY_STOP", unknown_percent: float, variant: str = D.name,
         preset: str = "pocket") -> Band:
    """The range of ``measure`` ("dev", "test", "ood", "known_fitted", "unknown_fitted") at a stop of a mix.

    Raises:
        CourseError: the preset has no reference runs, or none of this mix.
    """
    from course_lib.analysis.paper_claims import main_rate

    stored = reference_runs(preset)
    table = stops(main_rate(stored.epochs()))
    values = table[(table["variant"] == variant) & (table["unknown_percent"] == unknown_percent)
                   & (table["stop"] == stop)][measure].dropna()
    if stop not in STOPS or values.empty:
        raise CourseError(f"no reference run gives {measure} of {variant} at {unknown_percent:g} % Unknown and {stop}; "
                          f"stops are {' and '.join(STOPS)}")
    share, n = values.mean() / 100, _asked(stored, measure)
    margin = max(1.0, 200 / n, 200 * math.sqrt(share * (1 - share) / n))
    return Band(max(0.0, values.min() - margin), min(100.0, values.max() + margin), len(values))


def _asked(stored: StoredRuns, measure: str) -> int:
    """The number of questions or rows behind a percentage; a mix has at least some 50 rows of a kind."""
    if measure == "dev":
        return DATASETS["pocket"].sizes["dev"]  # the reference runs are the pocket preset's
    return int((stored.questions["split"] == measure).sum()) or 50


def expect(value: float, measure: str, *, study: Study | None = None, stop: str = "EARLY_STOP", unknown_percent: float,
           variant: str = D.name) -> str:
    """A sentence: whether ``value``, in percent, lies where the reference runs lie, and what to think of if not.

    With a study of a preset that has no reference runs it says so, and only that.
    """
    preset = study.name if study else "pocket"
    what = f"{measure} at {stop}, {variant} with {unknown_percent:g} % Unknown: {value:.1f} %"
    if not has_reference(preset):
        return f"{what}. Preset {preset} has no reference runs, so nobody can say where it should lie."
    wanted = band(measure, stop=stop, unknown_percent=unknown_percent, variant=variant, preset=preset)
    if value in wanted:
        return f"{what}, inside the expected range: {wanted}."
    return f"{what}, OUTSIDE the expected range: {wanted}. {OUTSIDE}"
