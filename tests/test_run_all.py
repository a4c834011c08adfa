"""Run All never breaks: every lesson, from top to bottom, with its exercises undone, wrong, and solved."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from test_exercises import SOURCES, found, mistakes

from course_lib import editions, notebooks, report
from course_lib.notebooks import read_source

pytestmark = pytest.mark.slow
SAID = {"undone": "not done yet", "wrong": "not right yet", "solved": "right"}


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
    return editions.answered(source, first if state == "wrong" else {})


@pytest.mark.parametrize("state", SAID)
@pytest.mark.parametrize("lesson", SOURCES)
def test_a_lesson_comes_to_its_end(lesson: str, state: str, small_build: dict[str, str]) -> None:
    notebook = edition(lesson, state)
    notebooks.execute(notebook, cwd=Path(SOURCES[lesson]).parents[1], env=small_build)
    report.describe(notebook)
    assert notebooks.problems(notebook) == []
    printed = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    verdicts = re.findall(r"^Exercise (\d\d\.\d): (not done yet|not right yet|right)\.", printed, re.M)
    assert verdicts == [(one.id, SAID[state]) for one in found(lesson)]
