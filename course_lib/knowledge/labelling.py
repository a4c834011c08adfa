"""SliCK of many questions in shards on disk: a session that is lost loses a minute, not the whole measurement.

    FOLDER/slick.json                what is measured with what, and the tokens of a forward pass: written first
    FOLDER/parts/00000.safetensors   the scores of one finished unit

The work is cut beforehand into units of questions of one relation, the same however often it was stopped; each is on
disk before the next begins. What a unit gives depends on nothing but its questions and the tokens of a forward pass,
which are chosen once and written down first. So a run that was killed and resumed gives, byte for byte, the labels of
one that was not (same machine, same number of threads). A fingerprint of everything that decides the result stands in
each shard, and shards of another run are never mixed in. Tokens and logits live for one unit; what grows with the work
is the questions and their scores, 17 bytes for each question and prompt.

``course slick`` labels the questions of a person so (:mod:`.label_questions`), and a study its facts
(:func:`label_facts`), in a folder that lives until the table is written.

Shapes: Q questions, P prompts.
"""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from course_lib import files
from course_lib.data.facts import Fact
from course_lib.data.paper import CATEGORIES
from course_lib.data.questions import Question
from course_lib.files import CourseError, disk_errors, read_json, write_bytes, write_json
from course_lib.knowledge import slick
from course_lib.knowledge.scoring.batching import default_batch_tokens
from course_lib.knowledge.scoring.prompts import Prompt
from course_lib.knowledge.scoring.scores import Scores
from course_lib.models.four_bit import merged_for_evaluation
from course_lib.models.loading import Loaded

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ARRAYS", "RECORD", "UNIT", "Shard", "Shards", "Unit", "delete_shards", "digest", "label_facts",
           "number_of_questions", "timed", "write_shard"]

UNIT, FACTS_UNIT = 256, 1024  # questions whose work a kill can lose, of a person and of a study
ARRAYS = ("greedy", "log_probability", "margin")
RECORD = "slick.json"


@dataclass(frozen=True, slots=True)
class Unit:
    """Questions ``rows`` of one relation, and the file for their scores."""

    relation: str
    rows: tuple[int, ...]
    path: Path


@dataclass(frozen=True, slots=True)
class Shard:
    """Scores of one unit, and the seconds that they took."""

    scores: Scores
    seconds: float


def digest(value: Any) -> str:
    """16 hex digits that stand for a value of JSON's kinds; the order of its keys does not count."""
    return files.digest(json.dumps(value, sort_keys=True))


def timed(measure: Callable[[], Scores]) -> Shard:
    """Measure, with the seconds that it took."""
    began = time.perf_counter()
    scores = measure()
    return Shard(scores, time.perf_counter() - began)


def number_of_questions(units: Sequence[Unit]) -> int:
    """Number of questions of all these units."""
    return sum(len(unit.rows) for unit in units)


class Shards:
    """The units of a measurement and what is known of its ``scores`` (Q, P), ``counts`` (category -> labels), seconds.

    ``run`` is the fingerprint of everything that decides the result. Questions of other ``relations`` are left out.
    """

    def __init__(self, questions: Sequence[Question | Fact], folder: Path, *, run: str, prompts: int, unit: int,
                 samples: int = 16, relations: Container[str] | None = None) -> None:
        self.run, self.samples, self.seconds, self.counts = run, samples, 0.0, Counter()
        self.scores = Scores.empty(len(questions), prompts)
        rows: dict[str, list[int]] = {}
        for row, question in enumerate(questions):
            rows.setdefault(question.relation, []).append(row)
        chunks = [(relation, tuple(group[first:first + unit])) for relation, group in rows.items()
                  for first in range(0, len(group), unit)]
        self.units = [Unit(relation, chunk, folder / "parts" / f"{number:05}.safetensors")
                      for number, (relation, chunk) in enumerate(chunks) if relations is None or relation in relations]

    def collect(self) -> list[Unit]:
        """Read the shards that are finished; returns the units that are not."""
        missing = []
        for unit in self.units:
            if (shard := read_shard(unit, run=self.run, prompts=self.scores.greedy.shape[1])) is None:
                missing.append(unit)
            else:
                self._take(unit, shard)
        return missing

    def measure(self, missing: Sequence[Unit], score: Callable[[Unit], Shard], *, progress: bool) -> None:
        """Score what is missing, unit by unit; each is on disk before the next begins."""
        from tqdm.auto import tqdm

        total = number_of_questions(self.units)
        with tqdm(total=total, initial=total - number_of_questions(missing), desc="what it knows", unit="question",
                  disable=not progress) as bar:
            for unit in missing:
                shard = score(unit)
                write_shard(unit, shard, run=self.run)
                self._take(unit, shard)
                bar.set_postfix_str("  ".join(f"{name} {self.counts[name]:,}" for name in CATEGORIES))
                bar.update(len(unit.rows))

    def _take(self, unit: Unit, shard: Shard) -> None:
        self.scores.put(unit.rows, shard.scores)
        self.seconds += shard.seconds
        self.counts.update(slick.label(shard.scores, n_samples=self.samples)["category"].dropna().tolist())


def write_shard(unit: Unit, shard: Shard, *, run: str) -> None:
    """Keep the scores of a unit of the run with this fingerprint."""
    from safetensors.numpy import save

    arrays = {name: np.ascontiguousarray(getattr(shard.scores, name)) for name in ARRAYS}
    about = {"run": run, "sums": _sums(arrays), "seconds": f"{shard.seconds:.3f}",
             "problems": json.dumps(shard.scores.problems, ensure_ascii=False)}
    write_bytes(unit.path, save(arrays, about))


def read_shard(unit: Unit, *, run: str, prompts: int) -> Shard | None:
    """Read the scores of a unit; None where the file is missing, damaged or of another run or size."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(unit.path, framework="numpy") as file:
            about, arrays = file.metadata() or {}, {name: file.get_tensor(name) for name in ARRAYS}
        shapes = {array.shape for array in arrays.values()}
        if (about["run"], about["sums"]) != (run, _sums(arrays)) or shapes != {(len(unit.rows), prompts)}:
            return None
        problems = {int(row): why for row, why in json.loads(about["problems"]).items()}
        return Shard(Scores(*(arrays[name] for name in ARRAYS), problems), float(about["seconds"]))
    except (OSError, SafetensorError, KeyError, ValueError):
        return None


def _sums(arrays: Mapping[str, np.ndarray]) -> str:
    return " ".join(f"{name} {array.dtype} {files.digest(array.tobytes())}" for name, array in arrays.items())


def label_facts(load: Callable[[], Loaded], facts: Sequence[Fact], prompts: Mapping[str, list[Prompt]], folder: Path,
                decides: Mapping[str, Any], *, progress: bool = False) -> pd.DataFrame:
    """Label a study's facts as :func:`.slick.categorize` does, resumed from the shards of this very measurement.

    ``decides`` is everything that decides the result, as values of JSON's kinds. ``load`` is called only where
    something is left to measure.

    Raises:
        CourseError: the model cannot be loaded or scored, or the disk is full, over its quota, failing or gone.
    """
    run = digest({**decides, "unit": FACTS_UNIT})
    shards = Shards(facts, folder, run=run, prompts=len(next(iter(prompts.values()))), unit=FACTS_UNIT)
    record = _record(folder, run)
    missing = shards.collect() if record else shards.units
    if missing:
        loaded = load()
        if not record:
            delete_shards(folder)  # of another measurement
            record = {"run": run, "decides": dict(decides), "batch_tokens": default_batch_tokens(loaded.model)}
            write_json(folder / RECORD, record)
        with merged_for_evaluation(loaded.model):
            shards.measure(missing, lambda unit: timed(lambda: slick.measure(
                loaded.model, loaded.tokenizer, [facts[row] for row in unit.rows], prompts,
                batch_tokens=record["batch_tokens"])), progress=progress)
    return slick.tabulate(facts, shards.scores)


def _record(folder: Path, run: str) -> dict[str, Any]:
    """The record of before, if it is that of this very measurement; else {}."""
    try:
        record = read_json(folder / RECORD)
    except CourseError:  # there is none, or a damaged one
        return {}
    return record if isinstance(record, dict) and record.get("run") == run else {}


def delete_shards(folder: Path) -> None:
    """Delete the folder of :func:`label_facts`: the table is written, or the shards are of another measurement."""
    with disk_errors(folder):
        (folder / RECORD).unlink(missing_ok=True)  # first: what a kill leaves is then no measurement
        shutil.rmtree(folder, ignore_errors=True)
