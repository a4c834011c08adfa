"""All code of the notebooks compiles under the Pythons that Colab and Kaggle run, not only under this one."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from course_lib.lessons import start
from course_lib.lessons.builder import editions
from tests.support.lessons import SOURCES, source

# Says which cells of a JSON file {name: code} do not compile; top-level await is what IPython allows too.
COMPILE = """
import ast, json, sys
for name, code in json.load(open(sys.argv[1], encoding="utf-8")).items():
    try:
        compile(code, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    except SyntaxError as error:
        print(f"{name} line {error.lineno}: {error.msg}")
"""


def interpreter(version):
    """A Python of that version on PATH or under pyenv that really starts (pyenv leaves shims that do not)."""
    pyenv = Path.home() / ".pyenv" / "versions"
    found = [shutil.which(f"python{version}"), *sorted(map(str, pyenv.glob(f"{version}.*/bin/python{version}")))]
    for path in filter(None, found):
        said = subprocess.run([path, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], capture_output=True,
                              text=True)
        if said.stdout.strip() == version:
            return path
    pytest.skip(f"no Python {version} on PATH or in ~/.pyenv/versions")


@pytest.fixture(scope="module")
def cells():
    """Every code cell of every lesson, solutions included, the learner's stubs beside them, and the set-up cell."""
    code = {"set-up": start.CELL}
    for lesson in SOURCES:
        for edition, made in (("source", source(lesson)), ("learner", editions.learner(source(lesson)))):
            code |= {f"{edition} {cell.id}": cell.source for cell in made.cells if cell.cell_type == "code"}
    return code


def failures(python, cells, folder):
    file = folder / "cells.json"
    file.write_text(json.dumps(cells), encoding="utf-8")
    return subprocess.run([python, "-c", COMPILE, str(file)], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("version", ["3.12", "3.13"])
def test_every_cell_compiles(cells, tmp_path, version):
    assert len(cells) > 200
    assert failures(interpreter(version), cells, tmp_path) == ""


@pytest.mark.parametrize("version", ["3.12", "3.13"])
def test_a_cell_that_does_not_compile_is_named(tmp_path, version):
    broken = {"05-001": "x = 1", "05-002": "x = 1\nprint 'hello'"}
    assert failures(interpreter(version), broken, tmp_path).startswith("05-002 line 2: Missing parentheses")
