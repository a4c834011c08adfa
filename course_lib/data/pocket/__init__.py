"""The pocket world: invented facts, a small Llama that has read them, and the record of how often it read each.

Everything is shipped beside this file: ``facts.json``, ``model/`` (safetensors and tokenizer) and
``provenance.json`` (seeds, versions, command, SHA-256 sums). ``course pocket build`` makes it all again.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from course_lib.data.facts import Fact, FactSet
from course_lib.data.pocket.world import PocketFact, Readings
from course_lib.files import DataError, read_json

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FOLDER", "fact_set", "load", "read_world", "readings"]

FOLDER = Path(__file__).parent


def read_world(path: str | Path = FOLDER / "facts.json") -> list[PocketFact]:
    """All pocket facts with their splits and readings.

    Raises:
        DataError: the file is missing, cut, or not one that ``course pocket build`` wrote.
    """
    try:
        return [PocketFact(Fact(subject, relation, gold), split, other, fine, Readings(*counts))
                for relation, subject, gold, split, other, fine, counts in read_json(path)["facts"]]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not a file of pocket facts ({error}); make it with `course pocket build`") from None


def fact_set(world: list[PocketFact]) -> FactSet:
    """The facts of a world in the course's splits."""
    splits = {name: tuple(item.fact for item in world if item.split == name)
              for name in ("train", "dev", "test", "ood", "ood_dev")}
    return FactSet(name="pocket", **splits)


def load() -> FactSet:
    """The shipped facts."""
    return fact_set(read_world())


def readings(world: list[PocketFact] | None = None) -> pd.DataFrame:
    """What the model has read: one row a fact, columns relation, subject, object, split and the six counts, total."""
    import dataclasses

    import pandas as pd

    return pd.DataFrame([dataclasses.asdict(item.fact) | {"split": item.split} | dataclasses.asdict(item.readings)
                         | {"total": item.readings.total} for item in (world or read_world())])
