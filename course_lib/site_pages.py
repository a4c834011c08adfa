"""Pages of the site that nobody writes: taken from the README, the lessons' sources and the modules themselves.

Everything is written once. The site's start is the README's; the notes on each lesson are the cells of the sources that
are tagged ``instructor``; the API reference has the modules of the README's map, in its order, each with what its
``__all__`` names. A link that leads to a file of the repository is turned to that file's page on the site, or, where it
has none, to the file on GitHub (:func:`relink`).
"""

from __future__ import annotations

import hashlib
import importlib
import posixpath
import re
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from course_lib import editions, report
from course_lib.files import CourseError
from course_lib.start import REPOSITORY, TAG

if TYPE_CHECKING:
    from nbformat import NotebookNode

__all__ = ["GROUPS", "Module", "alternative_texts", "api_pages", "docstring", "lesson_notes", "mapped_modules",
           "readme_start", "relink"]

# A group of the API reference begins at this module of the README's map, and goes on to where the next one begins.
GROUPS = {
    "files.py": "Facts, files and machines",
    "models.py": "Models and exact probabilities",
    "slick.py": "What a model knows",
    "mixing.py": "Training sets and training",
    "run_files.py": "Runs and sweeps",
    "forgetting.py": "Results and claims",
    "plots.py": "Figures and widgets",
    "execution.py": "Notebooks, exercises and commands",
    "pocket/schema.py": "The pocket world",
}
# What follows in the README is about the library and the repository; the site has pages for both.
README_END = "\n## Use the library alone\n"

_MAP_LINE = re.compile(r"^ {4}((?:\w+/)?\w+\.py) +(\S.*)$", re.MULTILINE)
_LINK = re.compile(r"(?<=\]\()([^)\s#:]+)(#[^)\s]*)?(?=\))")
_BADGE = re.compile(r"\[!\[([^\]]+)\]\(https?://[^)]+\)\]")
_CODE_OR_BAR = re.compile(r"(`+[^`]*`+)|\|")
_OWN_HEADING = re.compile(r"^## .*\n+")


@dataclass(frozen=True, slots=True)
class Module:
    """A module of the map: its file below ``course_lib/``, and the line that the map has for it."""

    file: str
    about: str

    @property
    def name(self) -> str:
        """As it is imported: ``course_lib.pocket.schema``."""
        return ".".join(["course_lib", *self.file.removesuffix(".py").split("/")]).removesuffix(".__init__")


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
`course build --instructor` writes it to `build/instructor`.

| lesson | minutes to read and run | for the exercises | together |
|---|--:|--:|--:|"""


def mapped_modules(readme: str) -> tuple[Module, ...]:
    """The modules of the README's map, in its order.

    Raises:
        CourseError: the README has no map, or the map lacks a module at which a group of the reference begins.
    """
    _, _, after = readme.partition("\ncourse_lib/\n")
    modules = tuple(Module(file, about.strip()) for file, about in _MAP_LINE.findall(after.partition("\n```")[0]))
    lost = set(GROUPS) - {module.file for module in modules}
    if lost:
        raise CourseError(f"README.md: its map has no {', '.join(sorted(lost))}, where a group of the API reference "
                          f"begins; correct the map, or GROUPS in course_lib/site_pages.py")
    return modules


def api_pages(modules: Sequence[Module]) -> dict[str, str]:
    """The API reference in reStructuredText: file name -> text, an overview and one page for each group."""
    groups: dict[str, list[Module]] = {}
    for module in modules:
        title = GROUPS.get(module.file) or list(groups)[-1]
        groups.setdefault(title, []).append(module)
    pages = {f"{_slug(title)}.rst": _group_page(title, members) for title, members in groups.items()}
    pages["index.rst"] = _overview(groups)
    return pages


def _overview(groups: Mapping[str, Sequence[Module]]) -> str:
    parts = [_heading("API reference", "="),
             "All that can be imported, in the order in which the modules build on one another.",
             ".. toctree::\n   :hidden:\n\n" + "".join(f"   {_slug(title)}\n" for title in groups)]
    for title, members in groups.items():
        listed = "\n".join(f"* :mod:`{module.name}`: {_plain(module.about)}" for module in members)
        parts += [_heading(title, "-"), listed]
    return "\n\n".join(parts) + "\n"


def _group_page(title: str, members: Sequence[Module]) -> str:
    parts = [_heading(title, "=")]
    for module in members:
        elsewhere = _from_elsewhere(module.name)
        left_out = f"\n   :exclude-members: {', '.join(elsewhere)}" if elsewhere else ""
        parts += [_heading(module.name, "-"), f".. automodule:: {module.name}{left_out}"]
        if elsewhere:
            named = ", ".join(f":obj:`~{home}.{name}`" for name, home in elsewhere.items())
            parts.append(f"Can be imported from here as well: {named}.")
    return "\n\n".join(parts) + "\n"


def _from_elsewhere(name: str) -> dict[str, str]:
    """What a module's ``__all__`` takes from another module of ours: name -> that module. It is described there."""
    module = importlib.import_module(name)
    homes = {export: getattr(getattr(module, export), "__module__", None) or name for export in module.__all__}
    return {export: home for export, home in homes.items() if home.startswith("course_lib.") and home != name}


def docstring(lines: Sequence[str]) -> list[str]:
    """Our docstrings in reStructuredText: an indented block is shown as it stands, and ``|D|`` is the size of D.

    Sections such as ``Args:`` are left as they are; their blocks have no blank line above.
    """
    made, literal = [], False
    for place, line in enumerate(lines):
        indented = line.startswith("    ")
        if indented and place > 1 and not lines[place - 1].strip() and not lines[place - 2].startswith(" "):
            literal = True
            if not lines[place - 2].endswith("::"):
                made += ["::", ""]
        literal = literal and (indented or not line.strip())
        made.append(line if literal else _CODE_OR_BAR.sub(lambda found: found[1] or r"\|", line))
    return made


def _heading(text: str, line: str) -> str:
    return f"{text}\n{line * len(text)}"


def _plain(text: str) -> str:
    """Markdown's code marks as those of reStructuredText."""
    return re.sub(r"`([^`]+)`", r"``\1``", text.replace("*", r"\*"))


def _slug(title: str) -> str:
    return "-".join(re.findall(r"\w+", title.lower()))
