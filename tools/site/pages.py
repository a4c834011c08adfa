"""What the pages of the site are made of: the stored notebooks, the instructor's notes, and where a link leads.

A page has the address of its file in the repository, so links between pages need no change.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from course_lib.files import CourseError
from course_lib.lessons.builder import editions, report
from course_lib.lessons.start import REPOSITORY, TAG

if TYPE_CHECKING:
    from nbformat import NotebookNode

__all__ = ["MOVED", "leads_to", "lesson", "lesson_notes"]

# paths of the repository whose page has another name
MOVED = {"README.md": "index", "notebooks/src": "docs/instructor/lessons"}

_OWN_HEADING = re.compile(r"^## .*\n+")
_NOTES_HEAD = """\
# Notes on each lesson

The same notes stand in the instructor's edition of each notebook, where they apply, with all solutions:
`course build --instructor` writes it to `build/instructor`. Here are the minutes of each lesson, then its notes.

| lesson | read, run | exercises | all |
|---|--:|--:|--:|"""


def lesson(text: str) -> str:
    """A stored notebook with its set-up cell folded, and each picture's alternative text where MyST-NB looks for it."""
    import nbformat

    notebook = nbformat.reads(text, as_version=4)
    for cell in notebook.cells:
        if cell.id.endswith("-setup"):  # a reader of the site has nothing to set up
            cell.metadata["tags"] = ["hide-cell"]
        for output in cell.get("outputs", []):
            if alt := output.get("metadata", {}).get("image/png", {}).get("alt"):
                cell.metadata["mystnb"] = {"image": {"alt": alt}}
    return nbformat.writes(notebook)


def leads_to(link: str, *, page: str, root: Path) -> str | None:
    """The page (``docs/glossary``) or else the address on GitHub that a relative link on ``page`` means.

    Returns None where it means nothing that the repository has.
    """
    path, mark, place = link.partition("#")
    path = posixpath.normpath(posixpath.join(posixpath.dirname(page), path))
    if path in MOVED:
        return MOVED[path]
    return f"{REPOSITORY}/blob/{TAG}/{path}{mark}{place}" if (root / path).exists() else None


def lesson_notes(sources: Mapping[str, NotebookNode]) -> str:
    """The instructor's page on all lessons: minutes, then each lesson's notes.

    Args:
        sources: name of each lesson's notebook -> its parsed source, in course order.

    Raises:
        CourseError: a lesson has no cell for the instructor, or its head does not say its minutes.
    """
    rows, notes = [], []
    for name, notebook in sources.items():
        title, took = report.title(notebook), editions.minutes(notebook)
        cells = [cell.source for cell in notebook.cells if "instructor" in cell.metadata.get("tags", [])]
        if not cells:
            raise CourseError(f"{name}: its source has no cell tagged instructor; write the notes of that lesson")
        rows.append(f"| [{title}](../../notebooks/{name}.ipynb) | {took.reading} | {took.exercises} | {took.total} |")
        notes.append("\n\n".join([f"## {title}", *(_OWN_HEADING.sub("", cell) for cell in cells)]))
    return "\n".join([_NOTES_HEAD, *rows, "", "\n\n".join(notes), ""])
