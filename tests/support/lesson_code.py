"""The code of a lesson's source: its cells, and functions taken out of them without running anything else."""

import ast
from functools import cache
from pathlib import Path
from typing import Any

from course_lib.lessons.builder.notebooks import read_source

SOURCES = Path(__file__).parents[2] / "notebooks" / "src"


@cache
def cells(lesson: str, kind: str) -> list[str]:
    """The sources of a lesson's "code" or "markdown" cells; ``lesson`` is its number, or its name."""
    return [cell.source for cell in read_source(next(SOURCES.glob(f"{lesson}*.py"))).cells if cell.cell_type == kind]


def taught(lesson: str, *names: str, **given: Any) -> Any:
    """The named functions or classes of a lesson, defined as the lesson defines them.

    ``given`` stands for what the lesson has made before, or imports.
    """
    body = [node for source in cells(lesson, "code") for node in ast.parse(source).body
            if isinstance(node, ast.Import | ast.ImportFrom) or getattr(node, "name", None) in names]
    namespace = dict(given)
    exec(compile(ast.Module(body, []), lesson, "exec"), namespace)
    namespace |= given
    return namespace[names[0]] if len(names) == 1 else tuple(namespace[name] for name in names)
