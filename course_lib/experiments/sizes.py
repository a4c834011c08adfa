"""The size of a study: how many training questions are measured, from a first look to the paper's whole split.

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
from dataclasses import replace
from itertools import islice, zip_longest
from typing import TYPE_CHECKING

from course_lib.data.facts import Fact, FactSet, by_relation
from course_lib.data.paper import TRAIN_TOTAL
from course_lib.files import CourseError
from course_lib.text import short

if TYPE_CHECKING:
    from course_lib.experiments.study import Settings

__all__ = ["FIRST_LOOK", "NAMES", "WHOLE", "counts", "draw_facts", "resized", "thin_out"]

FIRST_LOOK, WHOLE = 600, TRAIN_TOTAL.total
NAMES = ("first-look", "default", "all")


def resized(settings: Settings, size: int | str, *, place: str = "questions") -> Settings:
    """``settings`` at another size: a number of training questions, or one of :data:`NAMES`.

    Raises:
        CourseError: the size is neither; ``place`` is the option or variable that it comes from.
    """
    if size == "default":
        return settings
    questions = _number(size, place)
    if questions is None:
        # a study that uses its splits whole has a size and a rule of its own for that
        whole = settings.questions is None and not settings.per_relation
        return settings if whole else replace(settings, questions=None, per_relation={}, rule="category", size=WHOLE)
    return replace(settings, questions=questions, per_relation={}, rule="known", size=max(200, questions // 6))


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


def _number(size: int | str, place: str) -> int | None:
    """The number of training questions; None for all."""
    try:
        number = FIRST_LOOK if size == "first-look" else WHOLE if size == "all" else int(str(size).replace(",", ""))
    except ValueError:
        number = 0
    if isinstance(size, bool) or not FIRST_LOOK <= number <= WHOLE:
        raise CourseError(f"{place} = {short(size)}: give a whole number from {FIRST_LOOK} to {WHOLE:,}, or one of "
                          f"{', '.join(NAMES)}")
    return number if number < WHOLE else None


def _first(facts: Sequence[Fact], count: int) -> tuple[Fact, ...]:
    """The first ``count`` facts of the fixed order, put together by relation."""
    return tuple(fact for group in by_relation(islice(_in_turns(facts), count)).values() for fact in group)


def _in_turns(facts: Sequence[Fact]) -> Iterator[Fact]:
    groups = by_relation(facts)
    shuffled = [random.Random(f"0 {relation}").sample(group, len(group)) for relation, group in groups.items()]
    return (fact for turn in zip_longest(*shuffled) for fact in turn if fact is not None)
