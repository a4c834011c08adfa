"""The facts of the pocket world, and how often each will be read.

A quarter of the facts is never read. The others are read e times, log-uniform between 4 and 256: a long tail, as
in a real corpus. Half of the readings are statements ("Ana Brel was born in Toria."), half are entries of
question lists. Every count is kept, so a later measurement can be held against what was really read.
"""

from __future__ import annotations

import math
import random
from dataclasses import asdict, dataclass, field

from course_lib.data.facts import IN_DISTRIBUTION, Fact
from course_lib.data.pocket.schema import SCHEMAS, NameMaker, Pools, Schema

__all__ = ["PocketFact", "Readings", "WorldConfig", "make_world"]


@dataclass(frozen=True, slots=True)
class WorldConfig:
    """The dials of the world; sizes are facts a relation."""

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
class Readings:
    """How often a fact is read: as a statement, in a question list, in the instruction format.

    ``*_other`` counts the readings that give the answer at the other grain (0 where there is one grain only).
    """

    statements: int = 0
    statements_other: int = 0
    lists: int = 0
    lists_other: int = 0
    instructions: int = 0
    instructions_other: int = 0

    @property
    def total(self) -> int:
        """All readings of the fact, at either grain."""
        return sum(asdict(self).values())


@dataclass(frozen=True, slots=True)
class PocketFact:
    """A fact with its split (train, dev, test, ood or ood_dev), the answer at the other grain, and its readings.

    ``fine`` says whether the gold answer is the fine one; ``other`` is empty where the relation has one grain.
    """

    fact: Fact
    split: str
    other: str = ""
    fine: bool = True
    readings: Readings = field(default_factory=Readings)

    def answer(self, *, fine: bool) -> str:
        """The answer at the asked grain; the only answer where there is one grain."""
        return self.other if self.other and fine != self.fine else self.fact.object


def make_world(config: WorldConfig = WorldConfig()) -> list[PocketFact]:
    """All facts in a fixed order: same configuration, same facts."""
    rng = random.Random(config.seed)
    names = NameMaker(rng)
    pools = Pools(names)
    return [_make_fact(schema, split, names, pools)
            for schema in SCHEMAS.values() for split, count in _splits(schema.relation, config) for _ in range(count)]


def planned_readings(config: WorldConfig, rng: random.Random) -> int:
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
