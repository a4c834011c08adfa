"""Questions to label, each with the place it came from.

A question has one gold answer, and may have aliases that count as right too. Its few-shot prompts are drawn from the
exemplars of its relation: development facts in the course's data sets (:mod:`.datasets`), and in a file of your own its
other rows (:mod:`.question_files`).
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from course_lib.data.facts import by_relation
from course_lib.files import CourseError

__all__ = ["Problem", "Question", "QuestionSet"]


@dataclass(frozen=True, slots=True)
class Question:
    """One question and its gold answer ``object``; ``aliases`` count as right beside it.

    ``row`` is its number in the source, from 1. The names are those of :class:`.facts.Fact`.
    """

    question: str
    object: str
    relation: str = ""
    subject: str = ""
    aliases: tuple[str, ...] = ()
    row: int = 0


@dataclass(frozen=True, slots=True)
class Problem:
    """A row that cannot be asked and why; ``place`` names it for people, ``row`` for programs."""

    row: int
    place: str
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """Questions to label and the exemplars for their few-shot prompts.

    ``pattern`` names the place of a question, with its fields in braces. ``problems`` are the rows that were left out.
    ``shared`` says that the exemplars are drawn from the questions themselves.
    """

    name: str
    pattern: str
    questions: tuple[Question, ...]
    exemplars: tuple[Question, ...]
    problems: tuple[Problem, ...] = ()
    shared: bool = False

    def problem(self, question: Question, text: str) -> Problem:
        """``text`` with the place of ``question``."""
        return Problem(question.row, self.place(question), text)

    def place(self, question: Question) -> str:
        """The place of a question in its source, such as "facts.jsonl line 41"."""
        return self.pattern.format(relation=question.relation, row=question.row)

    def duplicates(self) -> tuple[Problem, ...]:
        """Questions that are asked before in the same relation; they are labelled all the same."""
        first: dict[tuple[str, str], Question] = {}
        found = []
        for question in self.questions:
            before = first.setdefault((question.relation, question.question), question)
            if before is not question:
                other = "" if before.object == question.object else ", with another answer"
                found.append(self.problem(question, f"the same question as {self.place(before)}{other}; both are "
                                                    f"labelled"))
        return tuple(found)

    def limited(self, limit: int | None, *, seed: int = 0) -> QuestionSet:
        """At most ``limit`` questions of each relation, drawn at random, in their old order; all exemplars stay."""
        if limit is None:
            return self
        if limit < 1:
            raise CourseError(f"limit = {limit}: at least one question a relation is needed")
        kept = {id(question) for relation, group in by_relation(self.questions).items()
                for question in random.Random(f"{seed} {relation}").sample(group, min(limit, len(group)))}
        return replace(self, questions=tuple(question for question in self.questions if id(question) in kept))
