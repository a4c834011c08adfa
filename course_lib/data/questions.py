"""Questions to label, from the course's own worlds or from your file, each with the place it came from.

A question has one gold answer, and may have aliases that count as right too. Its few-shot prompts are drawn from the
exemplars of its relation: development facts in the course's worlds, and in a file of your own its other rows
(:mod:`.question_files`).
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from course_lib.data.facts import (
    QUESTIONS,
    SPLITS,
    Fact,
    FactSet,
    by_relation,
    load_entityquestions,
    read_entityquestions,
)
from course_lib.files import CourseError, DataError

__all__ = ["Problem", "Question", "QuestionSet", "load_questions"]

FILES = (".jsonl", ".json", ".csv")


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
    """What is wrong with one row, and where: ``place`` is for people, ``row`` for programs."""

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
        """Where a question stands in its source, such as "facts.jsonl line 41"."""
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


def load_questions(data: str | Path | None = None, *, pocket: bool = False, split: str = "test",
                   relations: str = "paper", verify: bool = True) -> QuestionSet:
    """The questions behind ``--data``.

    Args:
        data: "pocket"; a folder or .zip of EntityQuestions; your own .jsonl, .json or .csv file; or None for the
            pocket world where ``pocket`` is true, and otherwise for EntityQuestions from the environment variable
            COURSE_DATA or, without it, downloaded once.
        split: train, dev, test or ood; your own file has none.
        relations: "paper" for the relations and the one-answer questions of the paper's split; "all" for every
            question of the split's files in all 24 relations, where each of several answers counts as right. In the
            pocket world "all" adds the out-of-distribution relations.
        verify: compare EntityQuestions with its published sums.

    Raises:
        CourseError: the data cannot be read, has no question, or there is no such split; the message says which.
    """
    if split not in SPLITS or relations not in ("paper", "all") or (split == "ood" and relations == "all"):
        raise CourseError(f"split {split!r} of {relations!r} relations: take train, dev, test or ood of 'paper', or "
                          f"train, dev or test of 'all'")
    if data is not None and Path(data).suffix.lower() in FILES:
        if split != "test":
            raise CourseError(f"{data}: a file of your own has no split {split!r}; leave it out")
        from course_lib.data.question_files import read_file

        return read_file(data)
    if data == "pocket" or (data is None and pocket):
        from course_lib.data.pocket import load

        return _of_fact_set(load(), split, ood=relations == "all")
    if data is not None and os.path.isfile(data) and Path(data).suffix.lower() != ".zip":
        raise DataError(f"{data}: not a kind of file that is known; give {', '.join(FILES)}, a folder or a .zip")
    source = data or os.environ.get("COURSE_DATA")
    if relations == "paper":
        return _of_fact_set(load_entityquestions(source, verify=verify), split)
    return _of_all_relations(source, split, verify=verify)


def _of_fact_set(facts: FactSet, split: str, *, ood: bool = False) -> QuestionSet:
    more = {"test": facts.ood, "dev": facts.ood_dev}.get(split, ()) if ood else ()
    chosen = _numbered((*getattr(facts, split), *more))
    if not chosen:
        raise DataError(f"{facts.name}: the split {split} is empty; take another")
    name = f"{facts.name} {split}" + (" and ood" if more else "")
    return QuestionSet(name, f"{name} {{row}}", chosen, _numbered(facts.exemplars), shared=split == "dev")


def _numbered(facts: Iterable[Fact]) -> tuple[Question, ...]:
    return tuple(Question(fact.question, fact.object, fact.relation, fact.subject, row=row)
                 for row, fact in enumerate(facts, 1))


def _of_all_relations(source: str | Path | None, split: str, *, verify: bool) -> QuestionSet:
    records = read_entityquestions(source, splits=(split, "dev"), verify=verify)

    def questions(split: str) -> Iterator[Question]:
        for relation, template in QUESTIONS.items():
            for row, record in enumerate(records[split, relation], 1):
                gold, *others = dict.fromkeys(record.answers)
                yield Question(template.replace("[E]", record.subject), gold, relation, record.subject, tuple(others),
                               row)

    exemplars = tuple(question for question in questions("dev") if not question.aliases)  # as in the paper
    return QuestionSet(f"entityquestions {split}, all relations", f"{{relation}}.{split}.json record {{row}}",
                       tuple(questions(split)), exemplars, shared=split == "dev")
