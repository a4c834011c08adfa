"""The course's widgets in JupyterLab, moved with the keyboard: picture and sentence follow, and all of it fits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from notebook_page import NotebookPage

from course_lib.knowledge_plots import describe_closeup
from course_lib.reference import reference
from course_lib.widgets import describe_epoch

pytestmark = pytest.mark.browser
Open = Callable[..., NotebookPage]

CURVES = """from course_lib import widgets
from course_lib.reference import reference

widgets.curve_explorer(reference().epochs())"""
QUESTIONS = """import numpy as np
from course_lib.closeup import Closeup
from course_lib.facts import Fact

temperatures = (0.1, 0.5, 1.5)
one = Closeup(Fact("Ana Maria Castellanos", "P19", "Oslo"), ("Oslo", "Bergen") * 5, np.array([True, False] * 5),
              temperatures, np.linspace(0.1, 0.9, 30).reshape(3, 10))
two = Closeup(Fact("Bo Larsen", "P26", "Ida Larsen"), ("Eva Holm",) * 10, np.array([False] * 10),
              temperatures, np.linspace(0.0, 0.02, 30).reshape(3, 10))
closeups = [one, two]"""
KNOWLEDGE = """from course_lib import widgets

widgets.knowledge_explorer(closeups)"""


def test_keys_on_the_sliders_of_the_curve_explorer_change_the_figure_and_its_sentence(opened: Open) -> None:
    notebook, epochs = opened([CURVES]), reference().epochs()
    notebook.run()
    first = int(epochs["epoch"].min())
    seen = [notebook.shows(0, describe_epoch(epochs, epoch=16, unknown_percent=50))]
    notebook.keep("curve_explorer", 0)
    for label, key, epoch, percent in (("epoch", "ArrowLeft", 15, 50), ("epoch", "Home", first, 50),
                                       ("% Unknown", "End", first, 100), ("% Unknown", "Home", first, 0),
                                       ("epoch", "End", 16, 0), ("% Unknown", "ArrowRight", 16, 25)):
        notebook.press(0, label, key)
        seen.append(notebook.shows(0, describe_epoch(epochs, epoch=epoch, unknown_percent=percent)))
    assert len({view.picture for view in seen}) == 7, "each move draws another figure"
    assert notebook.tab_stops(0) == ["% Unknown", "epoch"]
    assert notebook.layout(0) == []


def test_keys_on_list_and_sliders_of_the_knowledge_explorer_change_the_figure_and_its_sentence(opened: Open) -> None:
    notebook = opened([QUESTIONS, KNOWLEDGE])
    notebook.run()
    seen = [notebook.shows(1, said(0, 0.5, 16))]
    notebook.keep("knowledge_explorer", 1)
    for label, keys, expected in (("question", ("Space", "ArrowDown", "Enter"), (1, 0.5, 16)),
                                  ("temperature", ("ArrowRight",), (1, 1.5, 16)),
                                  ("samples", ("Home",), (1, 1.5, 1)), ("samples", ("ArrowRight",), (1, 1.5, 2)),
                                  ("samples", ("End",), (1, 1.5, 64)), ("temperature", ("Home",), (1, 0.1, 64))):
        notebook.press(1, label, *keys)
        seen.append(notebook.shows(1, said(*expected)))
    assert len({view.picture for view in seen}) == 7, "each move draws another figure"
    assert notebook.tab_stops(1) == ["question", "temperature", "samples"]
    assert notebook.layout(1) == []


def said(place: int, temperature: float, n_samples: int) -> str:
    """The sentence about a question of the second notebook, made here from the same source."""
    made: dict[str, Any] = {}
    exec(QUESTIONS, made)
    return describe_closeup(made["closeups"][place], temperature=temperature, n_samples=n_samples)
