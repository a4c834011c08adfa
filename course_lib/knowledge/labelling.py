"""SliCK of a study's facts in parts on disk: a session that is lost loses a minute, not the whole measurement.

    labels/<name>.parts/             only until the table is written
        slick.json                   what is measured with what, and the tokens of a pass
        parts/00000.safetensors      the scores of one finished unit, see course_lib.knowledge.shards

The work is cut beforehand into units of at most 1,024 questions of one relation; each is on disk before the next
begins. What a unit gives depends on nothing but its questions and the tokens of a pass, which are chosen once and
written down first. So the table of a measurement that was stopped is, byte for byte, that of one that was not (same
machine, same number of threads). Parts of other facts, prompts or weights are never mixed in: they are deleted.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_lib.data.facts import Fact
from course_lib.files import CourseError, disk_errors, read_json, write_json
from course_lib.knowledge import slick
from course_lib.knowledge.scoring.engine import default_batch_tokens
from course_lib.knowledge.scoring.prompts import Prompt
from course_lib.knowledge.scoring.scores import Scores
from course_lib.knowledge.shards import RECORD, Part, Unit, cut, digest, read_part, write_part
from course_lib.models.four_bit import merged_for_evaluation
from course_lib.models.loading import Loaded

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LABEL_UNIT", "Parts", "label_in_parts"]

LABEL_UNIT = 1024  # questions; about 40 seconds for a model of 1.7 billion weights at 15 TFLOP/s


@dataclass(frozen=True, slots=True)
class Parts:
    """The folder of a measurement, and everything that decides its result, as values of JSON's kinds."""

    folder: Path
    decides: Mapping[str, Any]

    @property
    def run(self) -> str:
        """What stands in each part: a digest of what decides."""
        return digest({**self.decides, "unit": LABEL_UNIT})

    @property
    def begun(self) -> bool:
        """Whether the folder holds parts of this very measurement."""
        return self._record() is not None

    def open(self, batch_tokens: Callable[[], int]) -> int:
        """Take the folder over, or begin it anew; returns the tokens of a pass, those of before where there are some.

        Raises:
            CourseError: the disk is full, over its quota, failing or gone.
        """
        record = self._record()
        if record is None:
            self.delete()
            record = {"run": self.run, "decides": dict(self.decides), "batch_tokens": batch_tokens()}
            write_json(self.folder / RECORD, record)
        return record["batch_tokens"]

    def _record(self) -> dict[str, Any] | None:
        """What was written down before, if that is this very measurement."""
        try:
            record = read_json(self.folder / RECORD)
        except CourseError:  # there is none, or a damaged one
            return None
        return record if isinstance(record, dict) and record.get("run") == self.run else None

    def delete(self) -> None:
        """Forget all parts: the table is written, or they belong to another measurement."""
        with disk_errors(self.folder):
            (self.folder / RECORD).unlink(missing_ok=True)  # first: what a kill leaves is then no measurement
            shutil.rmtree(self.folder, ignore_errors=True)


def label_in_parts(load: Callable[[], Loaded], facts: Sequence[Fact], prompts: Mapping[str, list[Prompt]],
                   parts: Parts, *, progress: bool = False) -> pd.DataFrame:
    """What :func:`.slick.categorize` gives for these facts and prompts; goes on from finished parts.

    ``load`` is called only where something is left to measure.

    Raises:
        CourseError: the model cannot be loaded or scored, or the disk is full.
    """
    found = {}
    units = cut(facts, parts.folder / "parts", unit=LABEL_UNIT)
    width = len(next(iter(prompts.values())))
    if parts.begun:
        found = {unit: part for unit in units if (part := read_part(unit, run=parts.run, prompts=width))}
    missing = [unit for unit in units if unit not in found]
    if missing:
        found |= _measure(load(), facts, prompts, parts, missing, done=found, progress=progress)
    scores = Scores.empty(len(facts), width)
    for unit, part in found.items():
        scores.put(unit.rows, part.scores)
    return slick.tabulate(facts, scores)


def _measure(loaded: Loaded, facts: Sequence[Fact], prompts: Mapping[str, list[Prompt]], parts: Parts,
             missing: Sequence[Unit], *, done: Mapping[Unit, Part], progress: bool) -> dict[Unit, Part]:
    """Score what is missing; each unit is on disk before the next begins."""
    from tqdm.auto import tqdm

    limit, found = parts.open(lambda: default_batch_tokens(loaded.model)), {}
    before = sum(len(unit.rows) for unit in done)
    with merged_for_evaluation(loaded.model), tqdm(
            total=len(facts), initial=before, desc="what it knows", unit="question", disable=not progress) as bar:
        for unit in missing:
            began = time.perf_counter()
            scores = slick.measure(loaded.model, loaded.tokenizer, [facts[row] for row in unit.rows], prompts,
                                   batch_tokens=limit)
            found[unit] = Part(scores, time.perf_counter() - began)
            write_part(unit, found[unit], run=parts.run)
            bar.update(len(unit.rows))
    return found
