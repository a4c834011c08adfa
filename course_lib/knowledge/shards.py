"""A long measurement in pieces on disk: what is finished stays finished, and two measurements never mix.

    OUT/slick.json                what is measured with what, written before the work begins
    OUT/parts/00000.safetensors   the scores of one finished unit

The work is cut beforehand into units of at most 256 questions of one relation, the same however often it was stopped.
A digest of everything that decides the result stands in each file: a folder with another digest is left as it is, and
the next of OUT-2, OUT-3 ... is taken. So one command always finds its own folder again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from course_lib import files, limits
from course_lib.data.facts import Fact
from course_lib.data.questions import Question
from course_lib.files import CourseError, read_json, write_bytes
from course_lib.knowledge.scoring.scores import Scores

__all__ = ["UNIT", "Part", "Unit", "choose_folder", "cut", "digest", "read_part", "write_part"]

UNIT = 256  # questions whose work a kill can lose
ARRAYS = ("greedy", "log_probability", "margin")
RECORD = "slick.json"


@dataclass(frozen=True, slots=True)
class Unit:
    """Questions ``rows`` of one relation, and the file for their scores."""

    relation: str
    rows: tuple[int, ...]
    path: Path


@dataclass(frozen=True, slots=True)
class Part:
    """Scores of one unit, and the seconds that they took."""

    scores: Scores
    seconds: float


def digest(value: Any) -> str:
    """16 hex digits that stand for a value of JSON's kinds; the order of its keys does not count."""
    return files.digest(json.dumps(value, sort_keys=True))


def cut(questions: Sequence[Question | Fact], folder: Path, *, unit: int | None = None) -> list[Unit]:
    """All units of the work, each at most ``unit`` (else UNIT) questions of one relation; its file is in ``folder``."""
    unit = unit or UNIT  # looked up at each call, not once for ever
    rows: dict[str, list[int]] = {}
    for row, question in enumerate(questions):
        rows.setdefault(question.relation, []).append(row)
    chunks = [(relation, tuple(group[first:first + unit])) for relation, group in rows.items()
              for first in range(0, len(group), unit)]
    return [Unit(relation, chunk, folder / f"{number:05}.safetensors")
            for number, (relation, chunk) in enumerate(chunks)]


def write_part(unit: Unit, part: Part, *, run: str) -> None:
    """Keep the scores of a unit of the run whose digest is ``run``."""
    from safetensors.numpy import save

    arrays = {name: np.ascontiguousarray(getattr(part.scores, name)) for name in ARRAYS}
    about = {"run": run, "sums": _sums(arrays), "seconds": f"{part.seconds:.3f}",
             "problems": json.dumps(part.scores.problems, ensure_ascii=False)}
    write_bytes(unit.path, save(arrays, about))


def read_part(unit: Unit, *, run: str, prompts: int) -> Part | None:
    """The scores of a unit; None where the file is missing, damaged or of another run or size."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(unit.path, framework="numpy") as file:
            about, arrays = file.metadata() or {}, {name: file.get_tensor(name) for name in ARRAYS}
        shapes = {array.shape for array in arrays.values()}
        if (about["run"], about["sums"]) != (run, _sums(arrays)) or shapes != {(len(unit.rows), prompts)}:
            return None
        problems = {int(row): why for row, why in json.loads(about["problems"]).items()}
        return Part(Scores(*(arrays[name] for name in ARRAYS), problems), float(about["seconds"]))
    except (OSError, SafetensorError, KeyError, ValueError):
        return None


def choose_folder(out: str | Path, decides: dict[str, Any], say: Callable[[str], None]) -> Path:
    """``out``, or the first of OUT-2, OUT-3 ... that is empty or holds the run that ``decides`` describes.

    ``decides`` is flat: field -> value. What differs in a folder that is passed over is said by field.
    """
    out = limits.folder(out, "out", write=True).resolve()
    folder, number = out, 1
    while (held := _held(folder)) is not None and held.get("digest") != digest(decides):
        before = held.get("decides", {})
        changed = "; ".join(f"{name}: {before.get(name)} -> {value}" for name, value in decides.items()
                            if before.get(name) != value)
        number += 1
        following = out.parent / f"{out.name}-{number}"
        say(f"{folder} holds {f'another run ({changed})' if before else 'files that are no such run'}; it is left as "
            f"it is, {following} is next")
        folder = following
    return folder


def _held(folder: Path) -> dict[str, Any] | None:
    """The record of the run in a folder; {} for other files, None for an empty folder or none."""
    if not folder.is_dir() or all(path.name.startswith(f".{RECORD}.") for path in folder.iterdir()):
        return None  # the rest of a first write that was killed is nothing
    try:
        record = read_json(folder / RECORD)
    except CourseError:
        return {}
    return record if isinstance(record, dict) else {}


def _sums(arrays: dict[str, np.ndarray]) -> str:
    return " ".join(f"{name} {array.dtype} {files.digest(array.tobytes())}"
                    for name, array in arrays.items())
