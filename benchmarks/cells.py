"""Cells of a table, each measured so that a failure or the end of the time costs that cell alone.

A cell that finds no memory says so and gives the memory back; one that fails otherwise keeps the first line of its
error, and the traceback goes to stderr; one that would begin after the deadline is not begun.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from benchmarks.subjects import tell
from course_lib.models.hardware import out_of_memory
from course_lib.models.memory_usage import release_memory

__all__ = ["OUT_OF_MEMORY", "OUT_OF_TIME", "Attempt", "Cell", "Deadline", "attempt", "in_turn"]

OUT_OF_MEMORY, OUT_OF_TIME = "out of memory", "out of time"


@dataclass(frozen=True, slots=True)
class Cell:
    """One line of a table: numbers by name, or the ``problem`` in place of them.

    ``part`` is the table that it belongs to, ``name`` what it is called in JSON, ``title`` in the table.
    """

    shape: str
    part: str
    name: str
    title: str
    values: dict[str, Any] = field(default_factory=dict)
    problem: str = ""

    @property
    def failed(self) -> bool:
        """Whether something went wrong that is neither memory nor time."""
        return self.problem.startswith("failed")


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a measurement gave, or the problem that it met."""

    value: Any = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment of the clock after which nothing new begins; None is never."""

    at: float | None = None
    clock: Callable[[], float] = time.monotonic

    @property
    def over(self) -> bool:
        """Whether it has passed."""
        return self.at is not None and self.clock() >= self.at

    def share(self, parts: float) -> Deadline:
        """The end of the first of so many equal parts of the time that is left; 1.5 parts leave a third for others."""
        if self.at is None:
            return self
        now = self.clock()
        return Deadline(now + max(0.0, self.at - now) / parts, self.clock)


def attempt(title: str, measure: Callable[[], Any], deadline: Deadline) -> Attempt:
    """Carry out one measurement, if there is time; memory is given back whatever happens."""
    if deadline.over:
        return Attempt(problem=OUT_OF_TIME)
    try:
        found = Attempt(measure())
    except Exception as error:  # whatever it is, the other cells are measured
        found = Attempt(problem=_problem(error))
    release_memory()  # here, where no traceback holds on to tensors
    if found.problem:
        tell(f"{title}: {found.problem}")
    return found


def _problem(error: Exception) -> str:
    if out_of_memory(error) and "illegal" not in str(error):  # an illegal access is a mistake, not a lack
        return OUT_OF_MEMORY
    traceback.print_exception(error)
    lines = str(error).strip().splitlines()
    return f"failed: {type(error).__name__}" + (f": {lines[0][:160]}" if lines else "")


def in_turn(title: str, measures: Mapping[str, Callable[[bool], Any]], *, rounds: int,
            deadline: Deadline) -> dict[str, list[Attempt]]:
    """Each measurement once to warm up, then ``rounds`` times, one after another, each round beginning with another.

    Each is called with True to warm up, then with False; the first attempt of each is the one that warmed up. What
    failed is not tried again; what ran out of time keeps the rounds that it has.
    """
    found = {name: [attempt(f"{title}, {name}", partial(measure, True), deadline)]
             for name, measure in measures.items()}
    names = list(measures)
    for number in range(rounds):
        at = number % max(1, len(names))
        for name in [*names[at:], *names[:at]]:
            if not found[name][-1].problem:
                found[name].append(attempt(f"{title}, {name}", partial(measures[name], False), deadline))
    return found
