"""The facts of the pocket world, how often the model has read each (its exposures), and the file of the shipped ones.

A fifth of the facts is never read. The others have e exposures, log-uniform between 4 and 256: a long tail, as
in a real corpus. Half of them are statements ("Ana Brel was born in Toria."), half are entries of question lists.
Every count is kept, so a later measurement can be compared with what was really read.
"""

from __future__ import annotations

import math
import random
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from course_lib.data.facts import IN_DISTRIBUTION, Fact, FactSet
from course_lib.data.pocket.schema import SCHEMAS, NameMaker, Pools, Schema
from course_lib.files import DataError, read_json

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FOLDER", "Exposures", "PocketFact", "WorldConfig", "exposures", "fact_set", "load", "make_world",
           "planned_exposures", "read_world", "sizes"]

FOLDER = Path(__file__).parent  # of the shipped facts.json, model/ and provenance.json


@dataclass(frozen=True, slots=True)
class WorldConfig:
    """Settings of the world; sizes are facts a relation."""

    seed: int = 0
    train: int = 280
    dev: int = 30
    test: int = 60
    ood_dev: int = 30
    ood_test: int = 60
    never_read: float = 0.2
    fewest: int = 4
    most: int = 256
    list_share: float = 0.5
    gold_low: float = 0.55
    gold_high: float = 0.8


@dataclass(slots=True)
class Exposures:
    """Numbers of times that the model reads a fact: as a statement, in a question list, in the fine-tuning format.

    ``*_other`` counts those that give the answer at the other grain (0 where there is one grain only).
    """

    statements: int = 0
    statements_other: int = 0
    lists: int = 0
    lists_other: int = 0
    instructions: int = 0
    instructions_other: int = 0

    @property
    def total(self) -> int:
        """All exposures of the fact, at either grain."""
        return sum(asdict(self).values())


@dataclass(frozen=True, slots=True)
class PocketFact:
    """A fact with its split (train, dev, test, ood or ood_dev), the answer at the other grain, and its exposures.

    ``fine`` says whether the gold answer is the fine one; ``other`` is empty where the relation has one grain.
    """

    fact: Fact
    split: str
    other: str = ""
    fine: bool = True
    exposures: Exposures = field(default_factory=Exposures)

    def answer(self, *, fine: bool) -> str:
        """The answer at the wanted grain; the only answer where there is one grain."""
        return self.other if self.other and fine != self.fine else self.fact.object


def make_world(config: WorldConfig = WorldConfig()) -> list[PocketFact]:
    """All facts in a fixed order: same configuration, same facts."""
    rng = random.Random(config.seed)
    names = NameMaker(rng)
    pools = Pools(names)
    return [_make_fact(schema, split, names, pools)
            for schema in SCHEMAS.values() for split, count in _splits(schema.relation, config) for _ in range(count)]


def sizes(config: WorldConfig = WorldConfig()) -> dict[str, int]:
    """Facts of each split: keys train, dev, ood_dev, ood, test."""
    counts: dict[str, int] = {}
    for relation in SCHEMAS:
        for split, count in _splits(relation, config):
            counts[split] = counts.get(split, 0) + count
    return counts


def read_world(path: str | Path = FOLDER / "facts.json") -> list[PocketFact]:
    """All pocket facts with their splits and exposures.

    Raises:
        DataError: the file is missing, cut, or not one that ``course pocket build`` wrote.
    """
    try:
        return [PocketFact(Fact(subject, relation, gold), split, other, fine, Exposures(*counts))
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


def exposures() -> pd.DataFrame:
    """Count how often the shipped model has read each fact.

    One row a fact, columns relation, subject, object, split, the six counts of :class:`Exposures`, and total.
    """
    import pandas as pd

    return pd.DataFrame([asdict(item.fact) | {"split": item.split} | asdict(item.exposures)
                         | {"total": item.exposures.total} for item in read_world()])


def planned_exposures(config: WorldConfig, rng: random.Random) -> int:
    """Draw how often a fact will be read: 0, or log-uniform between ``fewest`` and ``most``."""
    if rng.random() < config.never_read:
        return 0
    return round(math.exp(rng.uniform(math.log(config.fewest), math.log(config.most))))


def _splits(relation: str, config: WorldConfig) -> list[tuple[str, int]]:
    if relation in IN_DISTRIBUTION:
        return [("train", config.train), ("dev", config.dev), ("test", config.test)]
    return [("ood_dev", config.ood_dev), ("ood", config.ood_test)]


def _make_fact(schema: Schema, split: str, names: NameMaker, pools: Pools) -> PocketFact:
    subject = names.name(schema.subject)
    if schema.unique:
        return PocketFact(Fact(subject, schema.relation, names.name(schema.objects)), split)
    if not schema.two_grains:
        return PocketFact(Fact(subject, schema.relation, names.rng.choice(pools.flat[schema.objects])), split)
    coarse_of = pools.coarse_of[schema.objects]
    fine_answer = names.rng.choice(list(coarse_of))
    fine = names.rng.random() < 0.5
    gold, other = (fine_answer, coarse_of[fine_answer]) if fine else (coarse_of[fine_answer], fine_answer)
    return PocketFact(Fact(subject, schema.relation, gold), split, other, fine)
