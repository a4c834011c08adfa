"""A widget is shown with a text that says the same; a stored notebook keeps the text and drops the widget."""

import IPython.display
import ipywidgets
import nbformat
import pytest

from course_lib.figures.widgets.display import bundle, show
from course_lib.files import CourseError
from course_lib.lessons.builder import execution


def test_a_bundle_holds_the_widgets_view_and_the_text() -> None:
    slider = ipywidgets.IntSlider()
    assert bundle(slider, "Three *bars*.") == {
        "application/vnd.jupyter.widget-view+json": {"version_major": 2, "version_minor": 0,
                                                     "model_id": slider.model_id},
        "text/markdown": "Three *bars*.", "text/plain": execution.WIDGET_NOTE}


def test_show_displays_the_bundle_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(IPython.display, "display", lambda data, **how: calls.append((data, how)))
    slider = ipywidgets.IntSlider()
    show(slider, "text")
    assert calls == [(bundle(slider, "text"), {"raw": True})]


def test_a_stored_notebook_keeps_the_text_and_drops_the_widget() -> None:
    data = bundle(ipywidgets.IntSlider(), "See /secret/place.")
    cell = nbformat.v4.new_code_cell(outputs=[nbformat.v4.new_output("display_data", data)])
    execution.clean(nbformat.v4.new_notebook(cells=[cell]), {"/secret": "."})
    assert cell.outputs[0].data == {"text/markdown": "See ./place.", "text/plain": execution.WIDGET_NOTE}


def test_an_empty_text_and_what_is_no_widget_are_refused() -> None:
    with pytest.raises(CourseError, match="Markdown"):
        bundle(ipywidgets.IntSlider(), "  ")
    with pytest.raises(CourseError, match="^int "):
        bundle(3, "text")
