"""Timetables for an instructor: read from ``docs/instructor/timetables.md``, added up against the lessons' own minutes.

A timetable is a table below a heading and a line such as ``**Length.** 90 minutes, breaks included.``::

    | start | minutes | what | notebook |
    |---|--:|---|---|
    | 0:00 | 40 | Whole lesson: read, run, exercises | [00 · Start here](../../notebooks/00_start_here.ipynb) |
    | 0:40 | 10 | Break | |
    | 0:50 | 25 | Part: the three steps of NF4, no exercises | [02 · Quantise](../../notebooks/02_quantise.ipynb) |

The minutes of a lesson stand in its head, and nowhere else; :func:`faults` says where a table and they disagree.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from course_lib.files import DataError
from course_lib.lessons.builder import editions
from course_lib.lessons.builder.editions import Minutes
from course_lib.lessons.builder.notebooks import read_source, source_paths

__all__ = ["BREAK", "PART", "WHOLE", "Row", "Timetable", "faults", "lesson_minutes", "read_timetables"]

WHOLE, PART, BREAK = "Whole lesson", "Part:", "Break"
# After so long without a break a room no longer listens.
LONGEST_SITTING = 95

_HEADING = re.compile(r"^(#+) (.+?)\s*$", re.MULTILINE)
_LENGTH = re.compile(r"\*\*Length\.\*\* (\d+) minutes")
_ROW = re.compile(r"^\| *(\d+):(\d\d) *\| *(\d+) *\| *(.*?) *\| *(.*?) *\|$", re.MULTILINE)
_NOTEBOOK = re.compile(r"\]\([^)]*?(\w+)\.ipynb\)")


@dataclass(frozen=True, slots=True)
class Row:
    """One entry: ``start`` and ``minutes`` in minutes, ``notebook`` the stem of the lesson's file or ""."""

    start: int
    minutes: int
    what: str
    notebook: str


@dataclass(frozen=True, slots=True)
class Timetable:
    """One sitting: its heading, the length that it promises in minutes, and its rows."""

    title: str
    length: int
    rows: tuple[Row, ...]


def lesson_minutes(*, root: str | Path | None = None) -> dict[str, Minutes]:
    """Stem of each lesson's source -> the minutes that its head gives.

    Raises:
        NotebookError: a head without its minutes; the message names the lesson.
    """
    return {path.stem: editions.minutes(read_source(path)) for path in source_paths(root=root)}


def read_timetables(text: str) -> tuple[Timetable, ...]:
    """Every timetable of a page in Markdown: one for each heading with a ``**Length.**`` below it.

    Raises:
        DataError: a length without a table, or a table without a length; the message names the heading.
    """
    headings = list(_HEADING.finditer(text))
    ends = [heading.start() for heading in headings[1:]] + [len(text)]
    found = []
    for heading, end in zip(headings, ends, strict=True):
        body = text[heading.end():end]
        length, rows = _LENGTH.search(body), tuple(_row(row) for row in _ROW.finditer(body))
        if bool(length) != bool(rows):
            lack = "rows such as `| 0:00 | 40 | ... | |`" if length else "a line such as `**Length.** 90 minutes`"
            raise DataError(f"timetable {heading[2]!r}: write {lack} below its heading")
        if length:
            found.append(Timetable(heading[2], int(length[1]), rows))
    return tuple(found)


def _row(row: re.Match[str]) -> Row:
    notebook = _NOTEBOOK.search(row[5])
    return Row(60 * int(row[1]) + int(row[2]), int(row[3]), row[4], notebook[1] if notebook else "")


def faults(table: Timetable, lessons: Mapping[str, Minutes]) -> list[str]:
    """What does not add up in a timetable, given the minutes of the lessons; an empty list when all does."""
    found, clock, seated = [], table.rows[0].start, 0
    for row in table.rows:
        if row.start != clock:
            found.append(f"{_at(row.start)} {row.what!r} should start at {_at(clock)}")
        clock = row.start + row.minutes
        seated = 0 if row.what.startswith(BREAK) else seated + row.minutes
        if seated > LONGEST_SITTING:
            found.append(f"{_at(row.start)} {row.what!r}: {seated} minutes without a break")
        if fault := _lesson_fault(row, lessons):
            found.append(f"{_at(row.start)} {fault}")
    total = sum(row.minutes for row in table.rows)
    if total != table.length:
        found.append(f"the rows add up to {total} minutes, the length says {table.length}")
    return [f"{table.title}: {fault}" for fault in found]


def _lesson_fault(row: Row, lessons: Mapping[str, Minutes]) -> str | None:
    whole, part = row.what.startswith(WHOLE), row.what.startswith(PART)
    if not row.notebook:
        return f"{row.what!r} names no notebook" if whole or part else None
    if row.notebook not in lessons:
        return f"{row.notebook} is no lesson"
    takes = lessons[row.notebook].total
    if whole and row.minutes < takes:
        return f"the whole of {row.notebook} takes {takes} minutes and gets {row.minutes}"
    if part and row.minutes > takes:
        return f"a part of {row.notebook} gets {row.minutes} minutes, the whole takes {takes}"
    if part and len(row.what.removeprefix(PART).split()) < 3:
        return f"{row.what!r} does not say in words which part of {row.notebook}"
    return None if whole or part else f"{row.what!r}: say {WHOLE!r} or {PART!r} and which, for {row.notebook}"


def _at(minutes: int) -> str:
    return f"{minutes // 60}:{minutes % 60:02d}"
