"""How many minutes each stage of a study takes: its rows and questions, the work they are, over the speed of a device.

With F facts of the training, test and out-of-distribution splits, R runs of n rows and E epochs, and q questions that
are asked after an epoch (:mod:`.throughput` counts the work of a token)::

    categorising   10 F readings, one after each few-shot prompt
    tuning         R n E rows trained on
    asking         R (E + 1) (q + n) readings, the rows themselves among them
    further        the last two again, for the runs that lessons 08 to 10 need besides the curve

Where runs of this kind have been timed in the study's folder, training and asking take those figures instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from course_lib.data.paper import SLICK
from course_lib.data.protocol import VARIANTS, D
from course_lib.experiments.costs import measured_pace
from course_lib.experiments.executors import default_workers
from course_lib.experiments.reference import has_reference
from course_lib.experiments.sizes import counts
from course_lib.experiments.throughput import Rates, rates_of, reading_work, tuning_work
from course_lib.models.memory import Rows, Shape
from course_lib.models.presets import dataset_of

if TYPE_CHECKING:
    from course_lib.experiments.study import Study

__all__ = ["Minutes", "study_minutes"]

SMALLEST = 0.075  # of the training facts are in the smallest categories of their relations, in the paper (6,142)


@dataclass(frozen=True, slots=True)
class Minutes:
    """Minutes of each stage of a study: categorising, training the curve's ``runs``, the questions after their epochs.

    ``further`` is both for the ``further_runs`` that lessons 08 to 10 make, where no reference runs come with a preset.
    """

    categorising: float
    tuning: float
    asking: float
    further: float
    runs: int
    further_runs: int
    source: str

    @property
    def total(self) -> float:
        """All stages."""
        return self.categorising + self.tuning + self.asking + self.further


def study_minutes(study: Study, shape: Shape, rows: Rows, device: str, *, here: bool) -> Minutes | None:
    """Minutes of each stage on a device by name; ``here`` says that it is this machine, which can be timed.

    None where nothing is known of how fast the device is.
    """
    rates = rates_of(device, here=here)
    if rates is None:
        return None
    facts = _counts(study)
    readings = SLICK.n_prompts * (facts["train"] + facts["test"] + facts["ood"])
    speed, curve = _speed(study, shape, rows, facts, rates, here=here), _curve(study, facts["train"])
    further = [] if has_reference(study.name) else _further(study, facts["train"])
    (tuning, asking), more = speed.of(curve), sum(speed.of(further))
    side = 60 * (default_workers(study) if here else 1)
    return Minutes(_reading(shape, rows, readings) / rates.reading / 60, tuning / side, asking / side, more / side,
                   len(curve), len(further), speed.source)


@dataclass(frozen=True, slots=True)
class _Speed:
    """Seconds for training on a row, for asking that row after an epoch, and for asking all questions."""

    row: float
    asked_row: float
    asked: float
    epochs: int
    source: str

    def of(self, sizes: Sequence[float]) -> tuple[float, float]:
        """Seconds of training runs of so many rows, and of asking after their epochs and before the first."""
        asking = sum(self.asked + size * self.asked_row for size in sizes)
        return self.epochs * sum(sizes) * self.row, (self.epochs + 1) * asking


def _speed(study: Study, shape: Shape, rows: Rows, facts: Mapping[str, int], rates: Rates, *, here: bool) -> _Speed:
    epochs = study.settings.tune.epochs
    pace = measured_pace(study.folder / "runs" / study.name) if here else None
    if pace:
        return _Speed(pace.row_seconds, 0, pace.evaluation_seconds, epochs, pace.source)
    asked = facts["dev"] + facts["test"] + facts["ood"]
    return _Speed(tuning_work(shape, rows.tokens - rows.shared, rows.answer) / rates.tuning,
                  _reading(shape, rows, 1) / rates.reading, _reading(shape, rows, asked) / rates.reading, epochs,
                  rates.source if rates.measured else f"a rough guess, {rates.source}")


def _reading(shape: Shape, rows: Rows, readings: float) -> float:
    """Operations of reading so many questions with their answers; the instruction is read once for all."""
    return reading_work(shape, (rows.tokens - rows.shared) * readings, rows.answer * readings)


def _counts(study: Study) -> dict[str, int]:
    """Facts of each split; where they are not shipped, without reading them, so that nothing is downloaded first."""
    dataset = dataset_of(study.preset)
    if dataset.shipped:
        return study.facts.totals()
    questions, limits = study.settings.questions, study.settings.per_relation
    if limits:
        return {split: count * len(dataset.ood_relations if split == "ood" else dataset.relations)
                for split, count in limits.items()}
    return counts(questions) if questions else dict(dataset.sizes)


def _curve(study: Study, facts: int) -> list[float]:
    """Rows of each run of the curve, as many as there can be of so many training facts."""
    size = _size(study, D.name, facts)
    return [VARIANTS[variant].rows(size, percent)
            for variant, percent in study.variants for _ in study.settings.seeds]


def _further(study: Study, facts: int) -> list[float]:
    """Rows of each run that the lessons make besides."""
    return [_size(study, variant, facts) for variant, _, _ in study.further for _ in study.settings.seeds]


def _size(study: Study, variant: str, facts: int) -> float:
    """The most rows that a variant's rule gives."""
    size = study.settings.size
    return size if study.rule(variant) == "known" else min(size, SMALLEST * facts)
