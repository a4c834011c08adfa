"""The README's map of the repository is the truth, and every room keeps the house rules."""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "course_lib"
# A line of the map starts with the module's path, with or without `course_lib/`, after any bullet or table mark.
MAP_LINE = re.compile(r"^[\s|*`\[│├└─-]*(?:course_lib/)?((?:pocket/|exercises/)?\w+\.py)\b", re.MULTILINE)


def modules():
    paths = [path for folder in (PACKAGE, PACKAGE / "pocket", PACKAGE / "exercises") for path in folder.glob("*.py")]
    return sorted(path.relative_to(PACKAGE).as_posix() for path in paths)


def dotted(name):
    return ".".join(["course_lib", *Path(name).with_suffix("").parts]).removesuffix(".__init__")


def test_readme_lists_each_module_once():
    readme = ROOT / "README.md"
    if not readme.exists():
        pytest.skip("README.md is not written yet")
    listed = MAP_LINE.findall(readme.read_text(encoding="utf-8"))
    wanted = {re.sub(r"lesson_\d\d", "lesson_NN", name) for name in modules() if not name.endswith("__init__.py")}
    assert sorted(listed) == sorted(wanted)


@pytest.mark.parametrize("name", modules())
def test_module_opens_with_a_docstring(name):
    assert importlib.import_module(dotted(name)).__doc__


@pytest.mark.parametrize("name", [name for name in modules() if not name.endswith("__init__.py")])
def test_module_names_its_exports_and_they_exist(name):
    module = importlib.import_module(dotted(name))
    assert [export for export in module.__all__ if not hasattr(module, export)] == []
