"""Settings of a study, its size among them: how many training questions are measured, from a first look to all.

A size is N, the number of training questions of all relations together, or one of three names:

    first-look    600
    default       what the preset's settings say; 1,800 for EntityQuestions
    all           every fact: 81,700 train, 10,461 dev, 10,481 test and 5,848 out of distribution, the paper's split

Every split is put into one fixed, seeded order, in turns: first one fact of each relation, then the second of each,
and so on, where a relation that has no more is passed over. A size takes the beginning of that order. So the relations
are as even as their facts allow, and a larger size holds all facts of a smaller one, in each split. What scales with N
(:func:`counts`; each split has at most its facts):

    dev     N / 10, at least 240    one question in 240 is 0.4 points: enough to tell the best epoch, EARLY_STOP
    test    N / 5, at least 480     a 95 % interval of about 4 points to each side at 30 % right
    ood     7 N / 60, at least 280  as many of each of the 7 relations as test has of each of the 12
    |D|     at most N / 6 rows, at least 200

With "all" the study is the paper's: whole splits, and |D| by the paper's rule, the smallest of the four categories of
each relation. Below that |D| takes the smaller of Known and Unknown of each relation (``rule="known"``), because the
paper's rule needs the whole split: with the paper's shares it takes 7.5 % of the questions, 45 rows of 600, and less
where chance leaves a category of a relation empty. The other rule gives about 190 of 600, and the full N / 6 of 1,800.
Both draw Known rows of all three Known categories alike; they differ in nothing but the number of rows.

The examples in the few-shot prompts are dev facts of the study, so one fact may be labelled otherwise at another size.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, zip_longest
from typing import Any

from course_lib.data.facts import SPLITS, Fact, FactSet, by_relation
from course_lib.data.paper import TRAIN_TOTAL
from course_lib.files import CourseError
from course_lib.limits import SEED, Check, each, number, one_of, refuse, whole
from course_lib.text import short
from course_lib.training.mixing import RULES
from course_lib.training.records import TuneConfig

__all__ = ["FIRST_LOOK", "NAMES", "RANGES", "SETTINGS", "WHOLE", "Settings", "counts", "draw_facts",
           "thin_out"]

FIRST_LOOK, WHOLE = 600, TRAIN_TOTAL.total
NAMES = ("first-look", "default", "all")


def _per_relation(given: Any) -> None:
    """Split -> facts a relation."""
    if not isinstance(given, Mapping):
        raise ValueError(f"{short(given)}: it must be a mapping of splits to facts a relation")
    for split, limit in given.items():
        one_of("split", (*SPLITS, "ood_dev"))(split)
        whole(0, WHOLE)(limit)


RANGES: dict[str, Check] = {
    "size": whole(1, WHOLE), "rule": one_of("rule", RULES), "percents": each(number(0, 100)),
    "seeds": each(SEED), "per_relation": _per_relation, "questions": whole(FIRST_LOOK, WHOLE)}


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a study: mixes and seeds of the sweep, |D|, and how many facts are used.

    ``rule`` and ``size`` decide |D|: see :func:`.mixing.relation_sizes`. ``size`` is the most rows that a mix
    may have; mixes of single categories take the paper's rule in any case. ``questions`` is the number of training
    questions of all relations together, with the other splits in proportion (:func:`counts`); None takes the
    splits whole, but for ``per_relation``: split -> facts a relation. Ranges: :data:`RANGES`; and a batch beyond
    the default has at most ``size`` rows.

    Raises:
        CourseError: a value out of its range, named.
    """

    tune: TuneConfig = TuneConfig()
    size: int = 600
    rule: str = "category"
    percents: tuple[float, ...] = (0, 25, 50, 75, 100)
    seeds: tuple[int, ...] = (0, 1, 2)
    per_relation: dict[str, int] = field(default_factory=dict)
    questions: int | None = None

    def __post_init__(self) -> None:
        refuse(self, RANGES)
        if self.tune.batch > max(self.size, TuneConfig().batch):
            raise CourseError(f"batch = {self.tune.batch:,}: it must be at most size = {self.size:,}, the rows of a "
                              f"training set")

    def resized(self, size: int | str, *, place: str = "questions") -> Settings:
        """These settings at another size: a number of training questions, or one of :data:`NAMES`.

        Raises:
            CourseError: the size is neither; ``place`` is the option or variable that it comes from.
        """
        if size == "default":
            return self
        questions = _questions(size, place)
        if questions is None and self.questions is None and not self.per_relation:
            return self  # it uses its splits whole already, with a size and a rule of its own for that
        if questions is None:
            return replace(self, questions=None, per_relation={}, rule="category", size=WHOLE)
        return replace(self, questions=questions, per_relation={}, rule="known", size=max(200, questions // 6))


def _questions(size: int | str, place: str) -> int | None:
    """The number of training questions; None for all."""
    try:
        found = FIRST_LOOK if size == "first-look" else WHOLE if size == "all" else int(str(size).replace(",", ""))
    except ValueError:
        found = 0
    if isinstance(size, bool) or not FIRST_LOOK <= found <= WHOLE:
        raise CourseError(f"{place} = {short(size)}: give a whole number from {FIRST_LOOK} to {WHOLE:,}, or one of "
                          f"{', '.join(NAMES)}")
    return found if found < WHOLE else None


SETTINGS: dict[str, Settings] = {
    "pocket": Settings(TuneConfig(epochs=16, lr=4e-4, warmup=3, batch=8)),
    # for a real model on EntityQuestions, within an hour on a T4; never run on real weights by us
    "default": Settings(TuneConfig(epochs=12, lr=2e-4, batch=8), seeds=(0,)).resized(1800),
    # to try the machinery in a minute or two; its numbers mean nothing
    "quick": Settings(TuneConfig(epochs=2, lr=1e-3, warmup=0), size=96, rule="known", percents=(0, 50, 100),
                      seeds=(0, 1), per_relation={"train": 40, "dev": 8, "test": 12, "ood": 12}),
}


def counts(questions: int) -> dict[str, int]:
    """Split -> facts that a study of so many training questions takes of it, where there are as many."""
    return {"train": questions, "dev": max(240, questions // 10), "test": max(480, questions // 5),
            "ood": max(280, 7 * questions // 60)}


def draw_facts(everything: FactSet, questions: int) -> FactSet:
    """The facts of a study of so many training questions; ``ood_dev``, which only gives examples, stays whole.

    Raises:
        CourseError: there are not so many training questions.
    """
    there = len(everything.train)
    if questions > there:
        raise CourseError(f"questions = {questions}: {everything.name} has {there:,} training questions; give at most "
                          f"so many, or all")
    return replace(everything, **{split: _first(getattr(everything, split), count)
                                  for split, count in counts(questions).items()})


def thin_out(everything: FactSet, per_relation: Mapping[str, int]) -> FactSet:
    """At most so many facts of each relation of a split, drawn with a fixed seed; other splits stay whole."""
    drawn = {split: tuple(fact for group in by_relation(getattr(everything, split)).values()
                          for fact in random.Random(0).sample(group, min(limit, len(group))))
             for split, limit in per_relation.items()}
    return replace(everything, **drawn)


def _first(facts: Sequence[Fact], count: int) -> tuple[Fact, ...]:
    """The first ``count`` facts of the fixed order, put together by relation."""
    return tuple(fact for group in by_relation(islice(_in_turns(facts), count)).values() for fact in group)


def _in_turns(facts: Sequence[Fact]) -> Iterator[Fact]:
    groups = by_relation(facts)
    shuffled = [random.Random(f"0 {relation}").sample(group, len(group)) for relation, group in groups.items()]
    return (fact for turn in zip_longest(*shuffled) for fact in turn if fact is not None)
