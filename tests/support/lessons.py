"""The lessons' sources, their exercises, and the mistakes that learners make in them."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

from nbformat import NotebookNode

from course_lib.lessons.builder import editions
from course_lib.lessons.builder.notebooks import read_source

__all__ = ["ROOT", "SOURCES", "found", "mistakes", "source"]

ROOT = Path(__file__).parents[2]
SOURCES = {path.stem[:2]: path for path in sorted((ROOT / "notebooks" / "src").glob("*.py"))}


@cache
def source(lesson: str) -> NotebookNode:
    """A lesson's source, for tests that change nothing in it."""
    return read_source(SOURCES[lesson])


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
