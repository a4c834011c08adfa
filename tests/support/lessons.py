"""The lessons' sources: their cells, functions and exercises, and the mistakes that learners make in these."""

import ast
import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from course_lib.lessons.builder import editions
from course_lib.lessons.builder.notebooks import read_source

__all__ = ["ROOT", "SOURCES", "cells", "found", "learners_cells", "mistakes", "source", "taught"]

ROOT = Path(__file__).parents[2]
SOURCES = {path.stem[:2]: path for path in sorted((ROOT / "notebooks" / "src").glob("*.py"))}  # by lesson, "05"


@cache
def source(lesson: str) -> NotebookNode:
    """A lesson's source, for tests that change nothing in it."""
    return read_source(SOURCES[lesson])


@cache
def learners_cells(lesson: str) -> list[NotebookNode]:
    """The cells of a lesson that a learner sees, with the solutions, without the set-up cell."""
    return [cell for cell in source(lesson).cells if "instructor" not in cell.metadata.get("tags", [])]


def cells(lesson: str, kind: str) -> list[str]:
    """The texts of a lesson's "code" or "markdown" cells that a learner sees."""
    return [cell.source for cell in learners_cells(lesson) if cell.cell_type == kind]


def taught(lesson: str, *names: str, **given: Any) -> Any:
    """The named functions or classes of a lesson, defined as the lesson defines them; nothing else of it is run.

    ``given`` stands for what the lesson has made before, or imports.
    """
    body = [node for text in cells(lesson, "code") for node in ast.parse(text).body
            if isinstance(node, ast.Import | ast.ImportFrom) or getattr(node, "name", None) in names]
    namespace = dict(given)
    exec(compile(ast.Module(body, []), lesson, "exec"), namespace)
    namespace |= given
    return namespace[names[0]] if len(names) == 1 else tuple(namespace[name] for name in names)


@cache
def found(lesson: str) -> tuple[editions.Found, ...]:
    """The exercises of a lesson."""
    return editions.exercises(source(lesson))


@cache
def mistakes(lesson: str) -> list[tuple[str, str, str]]:
    """Number, wrong code and a word of the reason of each typical mistake in the exercises of a lesson."""
    path = Path(__file__).parents[1] / "lessons" / "mistakes" / f"lesson_{lesson}.py"
    spec = importlib.util.spec_from_file_location(f"mistakes_{lesson}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.MISTAKES
