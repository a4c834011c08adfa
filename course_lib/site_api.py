"""The API reference of the site, in reStructuredText: the modules of the README's map, in its order, in groups.

Sphinx's autodoc fills in what each module's ``__all__`` names, from the docstrings. What a module takes over from
another one is described once, where it was made. Docstrings are read as we write them (:func:`docstring`), and a name
in an annotation leads to what the module itself means by it (:func:`meanings`), not to whatever else has that name.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from course_lib.files import CourseError

__all__ = ["GROUPS", "Module", "api_pages", "docstring", "mapped_modules", "meanings"]

# A group of the API reference begins at this module of the README's map, and goes on to where the next one begins.
GROUPS = {
    "files.py": "Facts, files and machines",
    "models.py": "Models and exact probabilities",
    "slick.py": "What a model knows",
    "mixing.py": "Training sets and training",
    "run_files.py": "Runs and sweeps",
    "forgetting.py": "Results and claims",
    "row_checks.py": "The audit of a file",
    "plots.py": "Figures and widgets",
    "exercises/__init__.py": "Exercises, notebooks and commands",
    "pocket/__init__.py": "The pocket world",
}

_MAP_LINE = re.compile(r"^ {4}((?:\w+/)?\w+\.py) +(\S.*)$", re.MULTILINE)
_CODE_OR_BAR = re.compile(r"(`+[^`]*`+)|\|")


@dataclass(frozen=True, slots=True)
class Module:
    """A module of the map: its file below ``course_lib/``, and the line that the map has for it."""

    file: str
    about: str

    @property
    def name(self) -> str:
        """As it is imported: ``course_lib.data.pocket.schema``."""
        return ".".join(["course_lib", *self.file.removesuffix(".py").split("/")]).removesuffix(".__init__")


def mapped_modules(readme: str) -> tuple[Module, ...]:
    """The modules of the README's map, in its order; a package stands before its first module.

    A line that stands for many modules of one form (``lesson_NN.py``) is left out.

    Raises:
        CourseError: the README has no map, or the map lacks a module at which a group of the reference begins.
    """
    _, _, after = readme.partition("\ncourse_lib/\n")
    listed = _MAP_LINE.findall(after.partition("\n```")[0])
    modules: dict[str, Module] = {}
    for file, about in listed:
        folder, slash, _ = file.rpartition("/")
        if slash and f"{folder}/__init__.py" not in modules:
            modules[f"{folder}/__init__.py"] = _package(folder)
        if "NN" not in file:
            modules[file] = Module(file, about.strip())
    lost = set(GROUPS) - set(modules)
    if lost:
        raise CourseError(f"README.md: its map has no {', '.join(sorted(lost))}, where a group of the API reference "
                          f"begins; correct the map, or GROUPS in course_lib/site_api.py")
    return tuple(modules.values())


def _package(folder: str) -> Module:
    """A package of ours, with the first line of what it says of itself."""
    said = importlib.import_module(f"course_lib.{folder}").__doc__ or ""
    return Module(f"{folder}/__init__.py", said.partition("\n")[0].rstrip("."))


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
    exports = importlib.import_module(name).__all__
    return {export: home for export in exports if (home := _home(name, export)) != name}


def _home(module: str, name: str) -> str:
    """The module of ours in which something was made; constants do not say it, and count as made where they stand."""
    home = getattr(getattr(importlib.import_module(module), name, None), "__module__", None) or ""
    return home if home.startswith("course_lib.") else module


def meanings(module: str) -> dict[str, str]:
    """A short name as a module uses it -> the full name of what of ours it means, also where it is imported for types.

    A name that is not among them means something else, such as Python's own ``object``.
    """
    tree = ast.parse(inspect.getsource(importlib.import_module(module)))
    taken = [(alias.asname or alias.name, node.module, alias.name) for node in ast.walk(tree)
             if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("course_lib.")
             for alias in node.names]
    own = [(node.name, module, node.name) for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)]
    return {short: f"{_home(source, name)}.{name}" for short, source, name in [*taken, *own]}


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
    """Markdown's code marks as those of reStructuredText, and nothing else in it marked."""
    return re.sub(r"`([^`]+)`", r"``\1``", re.sub(r"[*|]", r"\\\g<0>", text))


def _slug(title: str) -> str:
    return "-".join(re.findall(r"\w+", title.lower()))
