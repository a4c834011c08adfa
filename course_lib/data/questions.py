"""Questions to label, each with the place it came from; and how they are read from a file of your own.

A question has one gold answer, and may have aliases that count as right too. Its few-shot prompts are drawn from the
exemplars of its relation: development facts in the course's data sets (:mod:`.datasets`), and in a file its other rows.

A file has one question a row: a text ``question``, an ``answer`` (text, or a list: the first is the gold answer, the
others are aliases), and, if you like, a ``relation`` and a ``subject``. A row that cannot be asked is named with its
number, and all others are kept:

    facts.jsonl    {"question": "Where was Ada Lovelace born?", "answer": ["London", "London, England"]}
    facts.json     [{"question": ..., "answer": ...}, ...]
    facts.csv      question,answer,relation

The usual forms of fine-tuning rows are read as well, where they hold one question and one answer; a system message is
left out:

    {"messages": [{"role": "user", "content": ...}, {"role": "assistant", "content": ...}]}
    {"prompt": ..., "completion": ...}
    {"instruction": ..., "input": "", "output": ...}

Few-shot examples are drawn from rows of the same relation, so a relation is a kind of question; rows without one count
as one kind. One rule holds in every form: a question, an answer, a relation and a subject are texts, and only
``answer`` (or ``answers``) may be a list of texts. A number, true, null, an object or another list, such as the parts
of a message, is a problem of its row, and is never turned into text; in a CSV file every cell is text.

Rows far longer than their relation's others (4 times the median, and over 200 characters) are asked but serve
as no example: one of them would fill the prompts of all. What no model can be asked is a problem at once: more than
``MAX_LENGTH`` in a text, ``ANSWERS`` in a list, or ``LINE`` on a line. Memory is bounded by these and by ``ROWS``.
"""

from __future__ import annotations

import csv
import io
import json
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from json.decoder import WHITESPACE
from pathlib import Path
from statistics import median
from typing import Any

from course_lib.data.facts import MAX_LENGTH, by_relation
from course_lib.files import FILE_BYTES, CourseError, DataError, loads, open_bytes, read_bytes
from course_lib.text import printable, short

__all__ = ["KINDS", "Problem", "Question", "QuestionSet", "read_file"]

EXAMPLE_LENGTH, EXAMPLE_TIMES = 200, 4  # a row above both, in characters and times the median, is no example
ROWS = 1_000_000  # of a file: labelling that many takes a GPU weeks
LINE = 4 << 20  # bytes of a line: with JSON's longest escapes, texts of MAX_LENGTH need a tenth of it
ANSWERS = 1_000  # of a question: EntityQuestions has far fewer; each one is scored after each prompt


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


def read_file(path: str | Path) -> QuestionSet:
    """Read questions from a .jsonl, .json or .csv file; the rows are exemplars for the others of their relation.

    Raises:
        DataError: there is no such file, it is no such file as a whole, or no row of it can be asked.
    """
    path = Path(os.path.expanduser(path))
    if path.suffix.lower() not in _READERS:
        raise DataError(f"{path}: not a kind of file that is known; give {', '.join(_READERS)}")
    (word, rows), name = _READERS[path.suffix.lower()], printable(path.name)
    pattern = f"{name.replace('{', '{{').replace('}', '}}')} {word} {{row}}"
    questions, problems = [], []
    for row, entry in rows(path):
        if row > ROWS:
            raise DataError(f"{path}: more than {ROWS:,} {word}s; split the file, or draw a part of it")
        try:
            questions.append(_question(row, entry()))
        except DataError as error:
            problems.append(Problem(row, pattern.format(row=row), str(error)))
    if not questions:
        first = f"; the first of {len(problems)} bad rows is {problems[0]}" if problems else ", it is empty"
        raise DataError(f"{path}: holds no question that can be asked{first}")
    return QuestionSet(name, pattern, tuple(questions), _examples(questions), tuple(problems), shared=True)


def _examples(questions: list[Question]) -> tuple[Question, ...]:
    """The questions that may stand in a prompt, in their order."""
    def length(question: Question) -> int:
        return len(question.question) + len(question.object)

    longest = {relation: max(EXAMPLE_LENGTH, EXAMPLE_TIMES * median(map(length, group)))
               for relation, group in by_relation(questions).items()}
    return tuple(question for question in questions if length(question) <= longest[question.relation])


def _question(row: int, entry: Any) -> Question:
    if not isinstance(entry, dict):
        raise DataError('not an object; write {"question": ..., "answer": ...}')
    question, answers = _one_form(entry)
    question = _text(question, "question")
    if not question or not answers:
        raise DataError(f"no {'answer' if question else 'question'}; every fact needs one")
    if len(answers) > ANSWERS:
        raise DataError(f"{len(answers):,} answers, and at most {ANSWERS:,} can count as right; take some out")
    gold, *others = dict.fromkeys(map(_answer, answers))
    relation, subject = (_text(entry.get(name), name) for name in ("relation", "subject"))
    return Question(question, gold, relation, subject, tuple(others), row)


def _one_form(entry: dict[str, Any]) -> tuple[Any, list[Any]]:
    """The question of a row and its answers, whichever of the usual forms it has."""
    if "question" in entry or not entry.keys() & {"messages", "prompt", "instruction"}:
        question, answer = entry.get("question"), entry.get("answer", entry.get("answers"))
        if isinstance(answer, list):
            return question, answer
    elif "messages" in entry:
        question, answer = _turns(entry["messages"])
    elif "prompt" in entry:
        question, answer = entry["prompt"], entry.get("completion")
    else:
        question, answer = entry["instruction"], entry.get("output")
        if entry.get("input") not in (None, ""):
            raise DataError("an instruction with an input is no closed-book question; take the row out")
    return question, [] if answer is None else [answer]


def _turns(messages: Any) -> tuple[Any, Any]:
    """The question of the user and the answer of the assistant, if each speaks once and in this order."""
    if not isinstance(messages, list) or not all(isinstance(turn, dict) for turn in messages):
        raise DataError('the messages are not a list of {"role": ..., "content": ...}')
    spoken = [turn for turn in messages if turn.get("role") != "system"]
    if [turn.get("role") for turn in spoken] != ["user", "assistant"]:
        raise DataError(f"{len(spoken)} turns beside the system message; one question and one answer are needed")
    return spoken[0].get("content"), spoken[1].get("content")


def _answer(answer: Any) -> str:
    text = _text(answer, "answer")
    if not text:
        raise DataError("empty answer; every fact needs one")
    if "\n" in text or "\r" in text:
        raise DataError("the answer has a line break, and an answer ends at the end of its line; take it out")
    return text


def _text(value: Any, name: str) -> str:
    """A field without the spaces around it; "" where it is absent, or has no visible character."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DataError(f"the {name} {short(value)} is not text; put it in quotes")
    if len(value) > MAX_LENGTH:
        raise DataError(f"the {name} has {len(value):,} characters, and at most {MAX_LENGTH:,} can be asked")
    if any("\ud800" <= char <= "\udfff" for char in value):
        raise DataError(f"the {name} is not whole UTF-8 text; save the file as UTF-8")
    if "\0" in value:
        raise DataError(f"the {name} has a NUL character; take it out")
    return value.strip() if any(char.isprintable() and char != " " for char in value) else ""


def _lines(file: io.BufferedIOBase | io.TextIOBase) -> Iterator[Any]:
    """The lines of a file; of one longer than LINE only that much is read, and the rest is passed over."""
    while line := file.readline(LINE):
        yield line
        while len(line) == LINE and line[-1:] not in (b"\n", "\n", "\r"):
            line = file.readline(LINE)


def _jsonl_rows(path: Path) -> Iterator[tuple[int, Callable[[], Any]]]:
    with open_bytes(path, most=FILE_BYTES) as file:
        for row, line in enumerate(_lines(file), 1):
            if len(line) == LINE:
                yield row, lambda: _refuse(f"longer than {LINE:,} bytes; shorten it, or break the line")
            elif line.strip():
                yield row, lambda line=line: loads(line)


def _json_rows(path: Path) -> Iterator[tuple[int, Callable[[], Any]]]:
    data = read_bytes(path)
    try:
        for row, part in enumerate(_elements(data.decode("utf-8-sig")), 1):
            yield row, lambda part=part: loads(part.encode())
    except (ValueError, RecursionError):
        if not isinstance(loads(data, str(path)), list):  # it says why, if that is no JSON
            raise DataError(f'{path}: not a list; write [{{"question": ..., "answer": ...}}, ...]') from None
        raise


def _elements(text: str) -> Iterator[str]:
    """The texts of the elements of a JSON list; a ValueError or RecursionError says that it is none."""
    mark, at = _mark(text, 0)
    if mark != "[":
        raise ValueError("no list")
    while mark != "]":
        start = _mark(text, at)[1] - 1
        if mark == "[" and text[start:start + 1] == "]":  # an empty list
            end = start
        else:
            end = _ELEMENT.raw_decode(text, start)[1]
            yield text[start:end]
        mark, at = _mark(text, end)
        if mark not in (",", "]"):
            raise ValueError("no end of an element")
    if _mark(text, at)[0]:
        raise ValueError("more than a list")


def _mark(text: str, at: int) -> tuple[str, int]:
    """The next character that is no space, "" at the end, and the place behind it."""
    at = WHITESPACE.match(text, at).end()
    return text[at:at + 1], at + 1


_ELEMENT = json.JSONDecoder(parse_int=str, parse_float=str)  # its values are not used


def _csv_rows(path: Path) -> Iterator[tuple[int, Callable[[], Any]]]:
    """Rows by the line they begin in; bytes that are not UTF-8 become surrogates, which :func:`_text` refuses."""
    with (open_bytes(path, most=FILE_BYTES) as file,
          io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="") as text):
        lines = _lines(text)
        names, mark = _head(next(lines, ""), path)
        reader = csv.reader(lines, delimiter=mark, strict=True)
        while True:
            row = reader.line_num + 2
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield row, lambda why=error: _refuse(f"not CSV ({why}); mend it")
                continue
            if cells:
                yield row, lambda cells=cells: _entry(names, cells)


def _head(first: str, path: Path) -> tuple[list[str], str]:
    """The names of the columns, and the mark between cells."""
    for mark in ",;\t":
        try:
            names = [name.strip().lower() for name in next(csv.reader([first], delimiter=mark), [])]
        except csv.Error as error:
            raise DataError(f"{path} line 1: not CSV ({error}); name the columns question and answer there") from None
        if {"question", "answer"} <= set(names):
            twice = [name for name in ("question", "answer", "relation", "subject") if names.count(name) > 1]
            if twice:
                raise DataError(f"{path} line 1: the column {twice[0]} stands there twice; keep one of them")
            return names, mark
    raise DataError(f"{path}: the first line does not name the columns question and answer; put them there")


def _entry(names: list[str], cells: list[str]) -> dict[str, Any]:
    if len(cells) > len(names):
        _refuse(f"{len(cells)} cells under {len(names)} columns; put an answer with a comma in quotes")
    entry: dict[str, Any] = dict(zip(names, cells, strict=False))
    answer = entry.get("answer", "")
    if answer.startswith('["') and answer.endswith('"]'):  # a list, as JSON writes it
        entry["answer"] = loads(answer.encode(errors="surrogateescape"))
    return entry


def _refuse(why: str) -> Any:
    raise DataError(why)


_READERS: dict[str, tuple[str, Callable[[Path], Iterator[tuple[int, Callable[[], Any]]]]]] = {
    ".jsonl": ("line", _jsonl_rows), ".json": ("record", _json_rows), ".csv": ("line", _csv_rows)}
KINDS = tuple(_READERS)
