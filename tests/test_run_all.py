"""Run All never breaks: every lesson, from top to bottom, with its exercises wrong, and solved.

Undone they are run in full size by ``course build``; what that gave is looked at here without running it again.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from test_exercises import SOURCES, found, mistakes

from course_lib import editions, notebooks, report
from course_lib.notebooks import read_source

SAID = {"wrong": "not right yet", "solved": "right"}


@pytest.fixture(scope="session")
def small_build(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a notebook whose study is the tiny one."""
    return {"COURSE_BUILD": str(tmp_path_factory.mktemp("small")), "COURSE_PRESET": "pocket", "COURSE_QUICK": "1",
            "HF_HUB_OFFLINE": "1"}


def edition(lesson: str, state: str):
    source = read_source(SOURCES[lesson])
    if state == "solved":
        return editions.instructor(source)
    first = {}
    for number, code, _ in mistakes(lesson):
        first.setdefault(number, code)
    return editions.answered(source, first)


def verdicts(notebook) -> list[tuple[str, str]]:
    """Number and verdict of every check that the notebook ran."""
    printed = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    return re.findall(r"^Exercise (\d\d\.\d): (not done yet|not right yet|right)\.", printed, re.M)


@pytest.mark.parametrize("lesson", SOURCES)
def test_the_stored_lesson_ran_to_its_end_with_every_exercise_undone(lesson: str) -> None:
    import nbformat

    stored = nbformat.read(SOURCES[lesson].parents[1] / f"{SOURCES[lesson].stem}.ipynb", as_version=4)
    assert verdicts(stored) == [(one.id, "not done yet") for one in found(lesson)]


@pytest.mark.slow
@pytest.mark.parametrize("state", SAID)
@pytest.mark.parametrize("lesson", SOURCES)
def test_a_lesson_comes_to_its_end(lesson: str, state: str, small_build: dict[str, str]) -> None:
    notebook = edition(lesson, state)
    notebooks.execute(notebook, cwd=Path(SOURCES[lesson]).parents[1], env=small_build)
    report.describe(notebook)
    assert notebooks.problems(notebook) == []
    assert verdicts(notebook) == [(one.id, SAID[state]) for one in found(lesson)]
