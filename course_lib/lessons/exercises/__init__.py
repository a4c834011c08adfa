"""Exercises of the lessons: ``check`` an answer, ask for a ``hint``, see the ``solution``.

The stub of an exercise and its solution stand in the lesson's source (``notebooks/src``), its checker in
``lesson_NN.py`` here, its three hints in ``hints.json``. ``course build`` collects titles, minutes and solutions into
``solutions.json``, so that they are there for a learner who has the notebook and the package alone, as on Colab.
"""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path
from typing import Any

from course_lib.files import CourseError, read_json
from course_lib.lessons.exercises.core import Exercise, Verdict, Wrong, judge

__all__ = ["HINTS", "SOLUTIONS", "Exercise", "Verdict", "Wrong", "check", "exercise", "hint", "judge", "lesson",
           "solution"]

HINTS, SOLUTIONS = (Path(__file__).parent / name for name in ("hints.json", "solutions.json"))
_hints_given: Counter[str] = Counter()


def lesson(number: str) -> tuple[Exercise, ...]:
    """The exercises of a lesson ("02"), in order; none where a lesson has none."""
    name = f"{__name__}.lesson_{number}"
    if not number.isalnum() or importlib.util.find_spec(name) is None:
        return ()
    hints = read_json(HINTS)
    return tuple(Exercise(one, check, tuple(hints[one])) for one, check in importlib.import_module(name).CHECKS.items())


def exercise(number: str) -> Exercise:
    """The exercise of that number, "02.1".

    Raises:
        CourseError: there is none; the message names those of the lesson.
    """
    found = {one.id: one for one in lesson(number.partition(".")[0])}
    if number not in found:
        raise CourseError(f"no exercise {number!r}; in this lesson there are: {', '.join(found) or 'none'}")
    return found[number]


def check(number: str, *answers: Any) -> None:
    """Say whether the answer to an exercise is undone, wrong (and the likely reason), or right."""
    print(judge(exercise(number), *answers))


def hint(number: str, which: int | None = None) -> None:
    """Print the next hint of an exercise, or the one asked for: 1, 2 or 3."""
    hints = exercise(number).hints
    _hints_given[number] = min(len(hints), which or _hints_given[number] + 1)
    shown = max(1, _hints_given[number])
    more = f" hint({number!r}) gives the next one." if shown < len(hints) else f" The solution: solution({number!r})."
    print(f"Hint {shown} of {len(hints)} for exercise {number}: {hints[shown - 1]}{more}")


def solution(number: str) -> None:
    """Print the solution's code of an exercise, as its lesson's source gives it.

    Raises:
        CourseError: there is no such exercise, or the collection is older than the lesson.
    """
    exercise(number)
    collected = read_json(SOLUTIONS)
    if number not in collected:
        raise CourseError(f"exercise {number}: no solution in {SOLUTIONS.name} yet; run `course build` in the "
                          f"repository")
    print(collected[number]["solution"])
