"""How many minutes each stage of a study takes: its rows and questions, the work they are, over the speed of a device.

With F facts of the training, test and out-of-distribution splits, R runs of n rows and E epochs, and q questions that
are asked after an epoch (:mod:`course_lib.rates` counts the work of a token)::

    categorising   10 F readings, one after each few-shot prompt
    tuning         R n E rows trained on
    asking         R (E + 1) (q + n) readings, the rows themselves among them

Where runs of this kind have been timed in the study's folder, training and asking take those figures instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from course_lib import presets
from course_lib.costs import measured_pace
from course_lib.dial import counts
from course_lib.facts import IN_DISTRIBUTION, OUT_OF_DISTRIBUTION
from course_lib.hardware import usable_cores
from course_lib.loop_memory import Rows
from course_lib.memory import Shape
from course_lib.rates import Rates, rates_of, reading_work, tuning_work

if TYPE_CHECKING:
    from course_lib.study import Study

__all__ = ["Minutes", "study_minutes"]

PROMPTS = 10  # few-shot prompts that SliCK asks each question after
WHOLE_SPLITS = {"train": 81_700, "dev": 10_461, "test": 10_481, "ood": 5_848}  # facts.py
SMALLEST = 0.075  # of the training facts are in the smallest categories of their relations, in the paper (6,142)


@dataclass(frozen=True, slots=True)
class Minutes:
    """Minutes of each stage of a study: categorising, all training, the questions after all epochs; of all ``runs``."""

    categorising: float
    tuning: float
    asking: float
    runs: int
    source: str

    @property
    def total(self) -> float:
        """All stages."""
        return self.categorising + self.tuning + self.asking


def study_minutes(study: Study, shape: Shape, rows: Rows, device: str, *, cpu: bool, here: bool) -> Minutes | None:
    """Minutes of each stage on a device by name; ``here`` says that it is this machine, which can be timed.

    None where nothing is known of how fast the device is.
    """
    rates = rates_of(device, here=here)
    if rates is None:
        return None
    facts, specs, own = _counts(study), _planned_rows(study), rows.tokens - rows.shared
    asked = facts["dev"] + facts["test"] + facts["ood"]
    readings = PROMPTS * (facts["train"] + facts["test"] + facts["ood"])
    categorising = reading_work(shape, own * readings, rows.answer * readings) / rates.reading
    epochs, every = study.settings.tune.epochs, sum(specs)
    pace = measured_pace(study.folder / "runs" / study.name) if here else None
    if pace:
        tuning = epochs * every * pace.row_seconds
        asking = (epochs + 1) * len(specs) * pace.evaluation_seconds
    else:
        answers = (epochs + 1) * (len(specs) * asked + every)
        tuning = tuning_work(shape, own * epochs * every, rows.answer * epochs * every) / rates.tuning
        asking = reading_work(shape, own * answers, rows.answer * answers) / rates.reading
    side = usable_cores() if _is_pocket(study.preset) and cpu else 1  # as the sweep does it
    return Minutes(categorising / 60, tuning / side / 60, asking / side / 60, len(specs),
                   pace.source if pace else _told(rates))


def _counts(study: Study) -> dict[str, int]:
    """Facts of each split; of EntityQuestions without reading them, so that nothing has to be fetched first."""
    if _is_pocket(study.preset):
        return study.facts.totals()
    questions, limits = study.settings.questions, study.settings.per_relation
    if limits:
        return {split: count * (len(OUT_OF_DISTRIBUTION) if split == "ood" else len(IN_DISTRIBUTION))
                for split, count in limits.items()}
    return counts(questions) if questions else dict(WHOLE_SPLITS)


def _planned_rows(study: Study) -> list[float]:
    """Rows of each run of the curve, as many as there can be."""
    settings = study.settings
    size = settings.size if settings.rule == "known" else min(settings.size, SMALLEST * _counts(study)["train"])
    return [size * (1 - percent / 100 if variant == "D_Known" else 1)
            for variant, percent in study.variants for _ in settings.seeds]


def _is_pocket(preset: str) -> bool:
    return preset in presets.PRESETS and presets.PRESETS[preset].facts == "pocket"


def _told(rates: Rates) -> str:
    return rates.source if rates.measured else f"a rough guess, {rates.source}"
