"""Pages of the site that nobody writes: taken from the README and from the lessons.

Everything is written once. The site's start is the README's; the notes on each lesson are the cells of the sources that
are tagged ``instructor``; a picture's alternative text is what its cell said of it. A link that leads to a file of the
repository is turned to that file's page on the site, or, where it has none, to the file on GitHub (:func:`relink`).
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from base64 import b64decode
from collections.abc import Mapping
from typing import TYPE_CHECKING

from course_lib.files import CourseError
from course_lib.lessons.builder import editions, report
from course_lib.lessons.start import REPOSITORY, TAG

if TYPE_CHECKING:
    from nbformat import NotebookNode

__all__ = ["alternative_texts", "lesson_notes", "readme_start", "relink"]

# What follows in the README is about the library and the repository; the site has pages for both.
README_END = "\n## Use the library alone\n"

_LINK = re.compile(r"(?<=\]\()([^)\s#:]+)(#[^)\s]*)?(?=\))")
_BADGE = re.compile(r"\[!\[([^\]]+)\]\(https?://[^)]+\)\]")
_OWN_HEADING = re.compile(r"^## .*\n+")


def readme_start(readme: str) -> str:
    """The README up to the part about the library.

    Raises:
        CourseError: that part has another heading now.
    """
    start, end, _ = readme.partition(README_END)
    if not end:
        raise CourseError(f"README.md: no heading {README_END.strip()!r}; name the first one that the site's start "
                          f"leaves out in course_lib/site_pages.py")
    return start.rstrip() + "\n"


def relink(text: str, *, at: str, page: str, places: Mapping[str, str], files: frozenset[str] = frozenset()) -> str:
    """Turn the Markdown links of a file to where they lead on the site.

    Args:
        text: Markdown.
        at: path of the file in the repository, with ``/``.
        page: path of the page that it becomes in the site's source.
        places: path in the repository -> path in the site's source, for all that the site has.
        files: other paths of the repository, folders too, which are linked on GitHub; any other link is left as it is.
    """

    def turned(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(at), link[1]))
        if path in places:
            return posixpath.relpath(places[path], posixpath.dirname(page) or ".") + (link[2] or "")
        return f"{REPOSITORY}/blob/{TAG}/{path}{link[2] or ''}" if path in files else link[0]

    # A badge is a picture that the page would fetch from elsewhere; its words do as well.
    return _LINK.sub(turned, _BADGE.sub(r"[\1]", text))


def alternative_texts(notebook: NotebookNode) -> dict[str, str]:
    """SHA-256 of each picture among the outputs (its PNG bytes) -> its alternative text.

    That is what the build stored beside the picture, else the sentence that its cell printed.
    """
    pictures = [output for cell in notebook.cells for output in cell.get("outputs", [])
                if "image/png" in output.get("data", {})]
    texts = {}
    for figure, output in zip(report.figures(notebook), pictures, strict=True):
        stored = output.get("metadata", {}).get("image/png", {}).get("alt")
        texts[hashlib.sha256(b64decode(figure.png)).hexdigest()] = stored or " ".join(figure.caption.split())
    return texts


def lesson_notes(sources: Mapping[str, NotebookNode]) -> str:
    """The instructor's page on all lessons: minutes, then each lesson's notes.

    Args:
        sources: path of each lesson's notebook in the repository -> its parsed source, in course order.

    Raises:
        CourseError: a lesson has no cell for the instructor, or its head does not say its minutes.
    """
    rows, notes = [], []
    for path, notebook in sources.items():
        title, took = report.title(notebook), editions.minutes(notebook)
        cells = [cell.source for cell in notebook.cells if "instructor" in cell.metadata.get("tags", [])]
        if not cells:
            raise CourseError(f"{path}: its source has no cell tagged instructor; write the notes of that lesson")
        rows.append(f"| [{title}](../../{path}) | {took.reading} | {took.exercises} | {took.total} |")
        notes.append("\n\n".join([f"## {title}", *(_OWN_HEADING.sub("", cell) for cell in cells)]))
    return "\n".join([_NOTES_HEAD, *rows, "", "\n\n".join(notes), ""])


_NOTES_HEAD = """\
# Notes on each lesson

The same notes stand in the instructor's edition of each notebook, where they apply, with all solutions:
`course build --instructor` writes it to `build/instructor`. Here are the minutes of each lesson, then its notes.

| lesson | read, run | exercises | all |
|---|--:|--:|--:|"""
