"""The instructor's timetables: ``timetables.toml``, added up against the lessons' minutes, becomes ``timetables.md``.

Run by ``python -m tools.site.timetable`` after a change of a timetable, or of a lesson's minutes or title.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from course_lib.files import write_text
from course_lib.lessons.builder import editions, report
from course_lib.lessons.builder.notebooks import read_source, source_paths

__all__ = ["BREAK", "SOURCE", "Lesson", "Row", "Sitting", "faults", "lessons", "main", "page", "read"]

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "docs" / "instructor" / "timetables.toml"
BREAK = "Break"
LONGEST_SITTING = 95  # minutes without a break, after which a room no longer listens


@dataclass(frozen=True, slots=True)
class Lesson:
    """A lesson as a timetable names it: stem of its notebook, title, and the minutes that it takes as a whole."""

    name: str
    title: str
    minutes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """``minutes`` for a ``lesson`` ("05"), the whole or the ``part`` that is named; or for ``what`` else happens."""

    minutes: int
    lesson: str = ""
    part: str = ""
    what: str = ""

    def __str__(self) -> str:
        return self.what or (f"Part: {self.part}" if self.part else "Whole lesson")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sitting:
    """A heading and the text below it; where it has ``rows``, a timetable from ``start`` ("9:00")."""

    heading: str
    text: str = ""
    start: str = "0:00"
    rows: tuple[Row, ...] = ()
    after: str = ""

    @property
    def length(self) -> int:
        """Minutes, breaks included."""
        return sum(row.minutes for row in self.rows)


def read(path: Path = SOURCE) -> tuple[str, list[Sitting]]:
    """The text above the timetables, and the timetables."""
    found = tomllib.loads(path.read_text(encoding="utf-8"))
    return found["intro"], [Sitting(**one | {"rows": tuple(Row(**row) for row in one.get("rows", ()))})
                            for one in found["sittings"]]


def lessons(root: Path = ROOT) -> dict[str, Lesson]:
    """Each lesson by its number ("05"), as its source has it."""
    sources = {path.stem: read_source(path) for path in source_paths(root=root)}
    return {name[:2]: Lesson(name, report.title(source), editions.minutes(source).total)
            for name, source in sources.items()}


def faults(rows: Sequence[Row], known: Mapping[str, Lesson]) -> list[str]:
    """What does not add up in a timetable, given the lessons; an empty list when all does."""
    found, seated = [], 0
    for row in rows:
        seated = 0 if row.what.startswith(BREAK) else seated + row.minutes
        if seated > LONGEST_SITTING:
            found.append(f"{row}: {seated} minutes without a break")
        if not row.lesson:
            continue
        takes = known[row.lesson].minutes
        if row.minutes > takes if row.part else row.minutes < takes:
            found.append(f"{row}: {row.minutes} minutes, and the whole of lesson {row.lesson} takes {takes}")
    return found


def page(intro: str, sittings: Sequence[Sitting], known: Mapping[str, Lesson]) -> str:
    """The page in Markdown, with the time at which each row starts, and each length."""
    parts = [intro]
    for one in sittings:
        parts += [one.heading, one.text, _table(one, known) if one.rows else "", one.after]
    return "\n\n".join(filter(None, parts)) + "\n"


def _table(sitting: Sitting, known: Mapping[str, Lesson]) -> str:
    hours, minutes = map(int, sitting.start.split(":"))
    clock = 60 * hours + minutes
    lines = [f"**Length.** {sitting.length} minutes, breaks included.", "", "| start | minutes | what | notebook |",
             "|---|--:|---|---|"]
    for row in sitting.rows:
        link = "[{0.title}](../../notebooks/{0.name}.ipynb) ".format(known[row.lesson]) if row.lesson else ""
        lines.append(f"| {clock // 60}:{clock % 60:02d} | {row.minutes} | {row} | {link}|")
        clock += row.minutes
    return "\n".join(lines)


def main() -> int:
    """Write the page; where something does not add up, print that instead and return 1."""
    (intro, sittings), known = read(), lessons()
    found = [f"{one.heading} {fault}" for one in sittings for fault in faults(one.rows, known)]
    print("\n".join(found), file=sys.stderr, end="")
    if not found:
        write_text(SOURCE.with_suffix(".md"), page(intro, sittings, known))
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
