"""Questions from a file of your own; a row that cannot be asked is named with its number, and all others are kept.

One question a row: a text ``question``, an ``answer`` (text, or a list: the first is the gold answer, the others count
as right too), and, if you like, a ``relation`` and a ``subject``:

    facts.jsonl    {"question": "Where was Ada Lovelace born?", "answer": ["London", "London, England"]}
    facts.json     [{"question": ..., "answer": ...}, ...]
    facts.csv      question,answer,relation

The usual forms of fine-tuning rows are read as well, where they hold one question and one answer; a system message is
left out:

    {"messages": [{"role": "user", "content": ...}, {"role": "assistant", "content": ...}]}
    {"prompt": ..., "completion": ...}
    {"instruction": ..., "input": "", "output": ...}

Few-shot examples are drawn from rows of the same relation, so a relation is a kind of question; rows without one count
as one kind. Rows far longer than their relation's others (4 times the median, and over 200 letters) are asked but serve
as no example: one of them would fill the prompts of all.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from course_lib.facts import by_relation
from course_lib.files import DataError
from course_lib.questions import Problem, Question, QuestionSet

__all__ = ["read_file"]

EXAMPLE_LETTERS, EXAMPLE_TIMES = 200, 4  # a row above both, in letters and times the median, is no example


class _Wrong(Exception):
    """What is wrong with a row; its text goes into a :class:`Problem`."""


def read_file(path: str | Path) -> QuestionSet:
    """Your own questions from a .jsonl, .json or .csv file; the rows are exemplars for the others of their relation.

    Raises:
        DataError: there is no such file, it is no such file as a whole, or no row of it can be asked.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise DataError(f"{path}: no such file; check the path")
    word, read = _READERS[path.suffix.lower()]
    pattern = f"{path.name.replace('{', '{{').replace('}', '}}')} {word} {{row}}"
    questions, problems = [], []
    for row, entry in read(path):
        try:
            questions.append(_question(row, entry() if callable(entry) else entry))
        except _Wrong as error:
            problems.append(Problem(row, pattern.format(row=row), str(error)))
    if not questions:
        first = f"; the first of {len(problems)} bad rows is {problems[0]}" if problems else ", it is empty"
        raise DataError(f"{path}: holds no question that can be asked{first}")
    return QuestionSet(path.name, pattern, tuple(questions), _examples(questions), tuple(problems), shared=True)


def _examples(questions: list[Question]) -> tuple[Question, ...]:
    """The questions that may stand in a prompt, in their order."""
    def letters(question: Question) -> int:
        return len(question.question) + len(question.object)

    longest = {relation: max(EXAMPLE_LETTERS, EXAMPLE_TIMES * median(map(letters, group)))
               for relation, group in by_relation(questions).items()}
    return tuple(question for question in questions if letters(question) <= longest[question.relation])


def _question(row: int, entry: Any) -> Question:
    if not isinstance(entry, dict):
        raise _Wrong('not an object; write {"question": ..., "answer": ...}')
    entry = _one_form(entry)
    question = _text(entry.get("question"), "question")
    if not question:
        raise _Wrong("no question; every fact needs one")
    answers = entry.get("answer", entry.get("answers"))
    if answers is None or answers == []:
        raise _Wrong("no answer; every fact needs one")
    gold, *others = dict.fromkeys(_answer(answer) for answer in (answers if isinstance(answers, list) else [answers]))
    relation, subject = (_text(entry.get(name), name) for name in ("relation", "subject"))
    return Question(question, gold, relation, subject, tuple(others), row)


def _one_form(entry: dict[str, Any]) -> dict[str, Any]:
    """The row with a question and an answer, whichever of the usual forms it has; others stay as they are."""
    if "question" in entry:
        return entry
    if "messages" in entry:
        question, answer = _turns(entry["messages"])
    elif "prompt" in entry:
        question, answer = entry["prompt"], entry.get("completion")
    elif "instruction" in entry:
        if entry.get("input"):
            raise _Wrong("an instruction with an input is no closed-book question; take the row out")
        question, answer = entry["instruction"], entry.get("output")
    else:
        return entry
    return entry | {"question": question, "answer": answer}


def _turns(messages: Any) -> tuple[Any, Any]:
    """What the user asks and the assistant answers, if each speaks once and in this order."""
    if not isinstance(messages, list) or not all(isinstance(turn, dict) for turn in messages):
        raise _Wrong('the messages are not a list of {"role": ..., "content": ...}')
    spoken = [turn for turn in messages if turn.get("role") != "system"]
    if [turn.get("role") for turn in spoken] != ["user", "assistant"]:
        raise _Wrong(f"{len(spoken)} turns beside the system message; one question and one answer are needed")
    return spoken[0].get("content"), spoken[1].get("content")


def _answer(answer: Any) -> str:
    text = _text(answer, "answer")
    if not text:
        raise _Wrong("empty answer; every fact needs one")
    if "\n" in text or "\r" in text:
        raise _Wrong("the answer has a line break, and an answer ends at the end of its line; take it out")
    return text


def _text(value: Any, name: str) -> str:
    """A field without the spaces around it; "" where it is absent."""
    if value is None:
        return ""
    if not isinstance(value, str):
        shown = repr(value)
        raise _Wrong(f"the {name} {shown if len(shown) <= 40 else shown[:37] + '...'} is not text; put it in quotes")
    if any("\ud800" <= letter <= "\udfff" for letter in value):
        raise _Wrong(f"the {name} is not whole UTF-8 text; save the file as UTF-8")
    return value.strip()


def _json(text: bytes) -> Any:
    try:
        return json.loads(text.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise _Wrong(f"byte {error.start} is not UTF-8; save the file as UTF-8") from None
    except RecursionError:
        raise _Wrong("lists nested too deep to read; write it anew") from None
    except ValueError as error:
        raise _Wrong(f"not JSON ({error}); mend it") from None


def _jsonl_rows(path: Path) -> Iterator[tuple[int, Callable[[], Any]]]:
    with open(path, "rb") as file:
        for row, line in enumerate(file, 1):
            if line.strip():
                yield row, lambda line=line: _json(line)


def _json_rows(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        entries = _json(path.read_bytes())
    except _Wrong as error:
        raise DataError(f"{path}: {error}") from None
    if not isinstance(entries, list):
        raise DataError(f'{path}: not a list; write [{{"question": ..., "answer": ...}}, ...]')
    yield from enumerate(entries, 1)


def _csv_rows(path: Path) -> Iterator[tuple[int, Callable[[], Any]]]:
    """Rows by the line they begin in; letters that are not UTF-8 become surrogates, which :func:`_text` refuses."""
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        first = file.readline()
        heads = {mark: [name.strip().lower() for name in next(csv.reader([first], delimiter=mark), [])]
                 for mark in ",;\t"}
        mark = next((mark for mark, names in heads.items() if {"question", "answer"} <= set(names)), None)
        if mark is None:
            raise DataError(f"{path}: the first line does not name the columns question and answer; put them there")
        reader = csv.reader(file, delimiter=mark, strict=True)
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
                yield row, lambda cells=cells: _entry(heads[mark], cells)


def _entry(names: list[str], cells: list[str]) -> dict[str, Any]:
    if len(cells) > len(names):
        _refuse(f"{len(cells)} cells under {len(names)} columns; put an answer with a comma in quotes")
    entry: dict[str, Any] = dict(zip(names, cells, strict=False))
    answer = entry.get("answer", "")
    if answer.startswith('["') and answer.endswith('"]'):  # a list, as JSON writes it
        entry["answer"] = _json(answer.encode(errors="surrogateescape"))
    return entry


def _refuse(why: str) -> Any:
    raise _Wrong(why)


_READERS: dict[str, tuple[str, Callable[[Path], Iterator[tuple[int, Any]]]]] = {
    ".jsonl": ("line", _jsonl_rows), ".json": ("record", _json_rows), ".csv": ("line", _csv_rows)}
