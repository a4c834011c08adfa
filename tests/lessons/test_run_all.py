"""Run All never breaks: every lesson, from top to bottom, with each exercise wrong at first, then solved.

They run on the small model that has read real facts, at the size of a first look: one seed, another model, no count
of readings. On the pocket model, in full size and with every exercise undone, ``make course`` and ``course build`` run
them; what these left is looked at here without running it again.
"""

import re

import nbformat
import pytest
from nbformat import NotebookNode

from course_lib.lessons.builder import editions, notebooks, report
from tests.support.lessons import SOURCES, found, mistakes, source
from tests.support.small_course import Made


def edition(lesson: str) -> NotebookNode:
    """The learner's edition with a typical mistake in each exercise; after its check the solution, checked again."""
    made = editions.learner(source(lesson))
    places = {cell.id: place for place, cell in enumerate(made.cells)}
    for one in reversed(found(lesson)):
        place = places[source(lesson).cells[one.cell].id]
        made.cells[place].source = next(wrong for number, wrong, _ in mistakes(lesson) if number == one.id)
        end, check = next((end, cell.source) for end, cell in enumerate(made.cells[place:], place + 1)
                          if cell.cell_type == "code" and f'check("{one.id}"' in cell.source)
        made.cells[end:end] = [nbformat.v4.new_code_cell(text) for text in (editions.filled(one.code), check)]
    return made


def verdicts(notebook) -> list[tuple[str, str]]:
    """Number and verdict of every check that the notebook ran."""
    printed = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    return re.findall(r"^Exercise (\d\d\.\d): (not done yet|not right yet|right)\.", printed, re.M)


@pytest.mark.parametrize("lesson", SOURCES)
def test_the_stored_lesson_ran_to_its_end_with_every_exercise_undone(lesson: str) -> None:
    stored = nbformat.read(SOURCES[lesson].parents[1] / f"{SOURCES[lesson].stem}.ipynb", as_version=4)
    assert verdicts(stored) == [(one.id, "not done yet") for one in found(lesson)]


@pytest.mark.slow
@pytest.mark.parametrize("lesson", SOURCES)
def test_a_lesson_comes_to_its_end(lesson: str, small_course: Made) -> None:
    notebook = edition(lesson)
    notebooks.execute(notebook, cwd=SOURCES[lesson].parents[1], env=small_course.env)
    report.describe(notebook)
    assert notebooks.problems(notebook) == []
    assert verdicts(notebook) == [(one.id, said) for one in found(lesson) for said in ("not right yet", "right")]
