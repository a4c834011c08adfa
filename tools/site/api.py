"""What the template of the API reference asks about ``course_lib``, and how its docstrings become reStructuredText.

Sphinx's autosummary makes a page of each folder, autodoc fills it from the docstrings. The page lists what can be
imported from the folder (its ``__all__``); a name is described once, in the module where it was made.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Sequence
from functools import cache
from pkgutil import iter_modules

__all__ = ["context", "docstring", "meanings", "taken"]

_CODE_OR_BAR = re.compile(r"(`+[^`]*`+)|\|")


def context() -> dict[str, dict[str, list[str] | dict[str, str]]]:
    """What the template reads: folders and modules in each folder, and what each module has :func:`taken`."""
    names = ["course_lib"]
    for name in names:
        names += [*_inside(name, folders=True), *_inside(name)]
    return {"inner_folders": {name: _inside(name, folders=True) for name in names},
            "inner_modules": {name: _inside(name) for name in names}, "taken": {name: taken(name) for name in names}}


def _inside(package: str, *, folders: bool = False) -> list[str]:
    """Full names of the modules in a package, or of its folders; none for a module."""
    found = iter_modules(getattr(importlib.import_module(package), "__path__", []))
    return [f"{package}.{one.name}" for one in found if one.ispkg == folders]


def taken(name: str) -> dict[str, str]:
    """What a module's ``__all__`` takes from another of our modules: name -> full name of what it is there."""
    module = importlib.import_module(name)
    homes = {export: _home(name, export) for export in getattr(module, "__all__", [])}
    return {export: home for export, home in homes.items() if home != f"{name}.{export}"}


def _home(module: str, name: str) -> str:
    """The full name that something of ours was made with; a constant counts as made in the innermost module with it."""
    value = getattr(importlib.import_module(module), name, None)
    if inspect.ismodule(value):
        return value.__name__
    if hasattr(value, "__qualname__"):
        home = value.__module__
    else:
        below = [inner for inner in [*_inside(module), *_inside(module, folders=True)]
                 if getattr(importlib.import_module(inner), name, None) is value]
        return _home(below[0], name) if below and value is not None else f"{module}.{name}"
    return f"{home}.{name}" if home.startswith("course_lib.") else f"{module}.{name}"


@cache
def meanings(module: str) -> dict[str, str]:
    """A short name as a module uses it -> the full name of what of ours it means, also where it is imported for types.

    A name that is not among them means something else, such as Python's own ``object``. A folder's page shows the first
    sentences of other modules, so there a name means what it means to them.
    """
    exports = taken(module)
    quoted = sorted({full.rpartition(".")[0] for full in exports.values()} if _inside(module) else ())
    tree = ast.parse(inspect.getsource(importlib.import_module(module)))
    imported = [(alias.asname or alias.name, node.module, alias.name) for node in ast.walk(tree)
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("course_lib.")
                for alias in node.names]
    own = [(node.name, module, node.name) for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)]
    return {short: full for name in quoted for short, full in meanings(name).items()} | exports | {
        short: _home(source, name) for short, source, name in [*imported, *own]}


def docstring(lines: Sequence[str]) -> list[str]:
    """Our docstrings in reStructuredText: an indented block is shown as it stands, and ``|D|`` is the size of D.

    Sections such as ``Args:`` are left as they are; their blocks have no blank line above. Where "..." is followed by a
    space, autosummary would see the end of a sentence.
    """
    made, literal = [], False
    for place, line in enumerate(lines):
        indented = line.startswith("    ")
        if indented and place > 1 and not lines[place - 1].strip() and not lines[place - 2].startswith(" "):
            literal = True
            if not lines[place - 2].endswith("::"):
                made += ["::", ""]
        literal = literal and (indented or not line.strip())
        made.append(line if literal else _CODE_OR_BAR.sub(lambda found: found[1] or r"\|", line.replace("... ", "… ")))
    return made
