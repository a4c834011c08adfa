"""A whole lesson in JupyterLab, as it is stored: it opens without a question, runs to its end, and its widgets live."""

import os

import nbformat
import pytest

from course_lib.experiments.study import open_study
from course_lib.training.runs.folder import is_completed
from tests.browser.harness import REPOSITORY
from tests.browser.notebook_page import Open

pytestmark = pytest.mark.browser
BUILD = REPOSITORY / "build"
LESSON = REPOSITORY / "notebooks" / "08_hallucination_curves.ipynb"
RUN_S = 300


@pytest.fixture
def finished_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip where ``make course`` has not made the runs yet: the lesson would train for minutes."""
    monkeypatch.setenv("COURSE_BUILD", str(BUILD))
    study = open_study("pocket")
    if not (study.folder / "labels" / f"{study.name}.csv").is_file():
        pytest.skip("needs the labels and runs of `make course`")
    if not all(is_completed(spec, study.folder / "runs") for spec in study.plan()):
        pytest.skip("needs the finished runs of `make course`")


def test_lesson_08_runs_to_its_end_and_its_curves_can_be_explored_with_keys(opened: Open, finished_runs: None) -> None:
    sources = [cell.source for cell in nbformat.read(LESSON, as_version=4).cells if cell.cell_type == "code"]
    explorer = 1 + next(place for place, source in enumerate(sources) if "curve_explorer(" in source)
    notebook = opened([f"import os\n\nos.environ['COURSE_BUILD'] = {os.fspath(BUILD)!r}"], LESSON)
    notebook.run(wait_s=RUN_S)
    before = notebook.shows(explorer, "Unknown, epoch 16:")
    notebook.press(explorer, "epoch", "ArrowLeft")
    after = notebook.shows(explorer, "Unknown, epoch 15:")
    assert after.picture != before.picture
    notebook.keep("lesson_08", explorer)
