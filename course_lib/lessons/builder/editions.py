"""One source, two editions: what a learner opens, and what an instructor opens.

A source holds the solutions, between nbgrader's marks::

    def bits_a_weight(block):
        ### BEGIN SOLUTION
        return 4 + 32 / block
        ### END SOLUTION

The learner's edition has ``raise NotImplementedError(...)`` in their place, or ``name = ...`` where the solution gives
a value at the top level, and no cell that is tagged ``instructor``. The instructor's edition keeps both. Both get the
set-up cell and the Colab badge (:mod:`.start`) after the head: they are written once, not in each source.
"""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from course_lib.lessons import start
from course_lib.lessons.builder.execution import NotebookError

if TYPE_CHECKING:
    from nbformat import NotebookNode

__all__ = ["BEGIN", "END", "Found", "Minutes", "exercises", "filled", "instructor", "learner", "minutes", "stub"]

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
HEADING = re.compile(r"^### Exercise (\d\d\.\d+) · (.+)$", re.MULTILINE)
EFFORT = re.compile(r"\*Difficulty ([123]) of 3 · (\d+) minutes?\.\*")
TIME = re.compile(r"\*\*Time\.\*\* (\d+) minutes to read and run, (\d+) for the exercises\.")


@dataclass(frozen=True, slots=True)
class Found:
    """An exercise of a source: ``cell`` is the index of its code cell, ``code`` that cell with its solution."""

    id: str
    title: str
    difficulty: int
    minutes: int
    cell: int
    code: str


@dataclass(frozen=True, slots=True)
class Minutes:
    """The minutes that a lesson takes, as its head says."""

    reading: int
    exercises: int

    @property
    def total(self) -> int:
        """Both together."""
        return self.reading + self.exercises


def exercises(notebook: NotebookNode) -> tuple[Found, ...]:
    """All exercises of a source, in order: a heading, then the first code cell that is tagged ``exercise``.

    Raises:
        NotebookError: an exercise without difficulty and minutes, or without a code cell that holds a solution.
    """
    found = []
    for place, cell in enumerate(notebook.cells):
        heading = HEADING.search(cell.source) if cell.cell_type == "markdown" else None
        if not heading:
            continue
        effort, code = EFFORT.search(cell.source), _code_after(notebook, place)
        if not effort or code is None:
            raise NotebookError(f"exercise {heading[1]}: write *Difficulty N of 3 · M minutes.* below its heading, and "
                                f"its code cell with tags=[\"exercise\"] and {BEGIN} next")
        found.append(Found(heading[1], heading[2].strip(), int(effort[1]), int(effort[2]), code,
                           notebook.cells[code].source))
    return tuple(found)


def _code_after(notebook: NotebookNode, place: int) -> int | None:
    """The index of the next code cell, if it is an exercise's."""
    for index in range(place + 1, len(notebook.cells)):
        cell = notebook.cells[index]
        if cell.cell_type == "code":
            return index if _tagged(cell, "exercise") and BEGIN in cell.source else None
    return None


def minutes(notebook: NotebookNode) -> Minutes:
    """Read the minutes that the head of a lesson says.

    Raises:
        NotebookError: it says nothing, or not in the form that is parsed.
    """
    if not (found := TIME.search(notebook.cells[0].source)):
        name = notebook.metadata.get("known_unknowns", {}).get("name", "notebook")
        raise NotebookError(f"{name}: its head needs the line **Time.** N minutes to read and run, M for the "
                            f"exercises.")
    return Minutes(int(found[1]), int(found[2]))


def learner(notebook: NotebookNode) -> NotebookNode:
    """The learner's edition: stubs for solutions, nothing for the instructor alone."""
    made = _edition(notebook, (cell for cell in notebook.cells if not _tagged(cell, "instructor")))
    ids = {notebook.cells[one.cell].id: one.id for one in exercises(notebook)}
    for cell in made.cells:
        if cell.id in ids:
            cell.source = stub(cell.source, ids[cell.id])
    return made


def instructor(notebook: NotebookNode) -> NotebookNode:
    """The instructor's edition: solutions filled in, with the notes."""
    made = _edition(notebook, notebook.cells)
    for cell in made.cells:
        cell.source = filled(cell.source)
    made.metadata["known_unknowns"]["edition"] = "instructor"
    return made


def stub(code: str, number: str) -> str:
    """The code that a learner finds: each solution replaced by a line that says that it is missing."""

    def missing(block: re.Match[str]) -> str:
        if block["indent"]:
            return f'{block["indent"]}raise NotImplementedError("exercise {number}")  # your code here\n'
        names = [target.id for node in ast.parse(block["code"]).body if isinstance(node, ast.Assign)
                 for target in node.targets if isinstance(target, ast.Name)]
        return "".join(f"{name} = ...  # your answer\n" for name in names)

    return _BLOCK.sub(missing, code + "\n").rstrip("\n")


def filled(code: str) -> str:
    """The code with its solutions and without the marks."""
    return _BLOCK.sub(lambda block: block["code"], code + "\n").rstrip("\n") if BEGIN in code else code


_BLOCK = re.compile(rf"(?m)^(?P<indent>[ ]*){BEGIN}\n(?P<code>(?s:.*?))^[ ]*{END}\n")


def _tagged(cell: NotebookNode, tag: str) -> bool:
    return tag in cell.metadata.get("tags", [])


def _edition(notebook: NotebookNode, cells: Iterable[NotebookNode]) -> NotebookNode:
    """A copy with these cells, the badge in its head, and the set-up cell after it."""
    from nbformat.v4 import new_code_cell

    made = copy.deepcopy(notebook)
    made.cells = copy.deepcopy(list(cells))
    head, name = made.cells[0], made.metadata["known_unknowns"]["name"]
    if head.cell_type == "markdown":
        title, _, rest = head.source.partition("\n")
        head.source = f"{title}\n\n{start.badge(name)}\n{rest}"
    setup = new_code_cell(start.CELL.strip("\n"), id=re.sub(r"-\d+$", "-setup", head.id))
    made.cells.insert(int(head.cell_type == "markdown"), setup)
    return made
