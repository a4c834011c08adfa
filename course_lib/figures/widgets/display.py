"""Show a widget together with a text that says the same, for every reader who gets no widget.

A widget lives only while its kernel does. In a stored notebook, on GitHub or in a site it would leave an empty place.
So one output carries both: the widget, which JupyterLab, Notebook and Colab prefer, and its twin in Markdown, which
all others show. When a notebook is stored, :mod:`.execution` drops the widget and keeps the twin.

Example:
    >>> show(knowledge_explorer(questions))
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from course_lib.files import CourseError
from course_lib.text import in_markdown

if TYPE_CHECKING:
    import ipywidgets

__all__ = ["WIDGET", "WIDGET_NOTE", "bundle", "show"]

WIDGET = "application/vnd.jupyter.widget-view+json"
WIDGET_NOTE = "(interactive: run this cell to use it)"


def bundle(widget: ipywidgets.DOMWidget, twin: str) -> dict[str, object]:
    """The widget and its Markdown twin as one mime bundle (mime type -> content).

    Raises:
        CourseError: the twin is empty, or ``widget`` is no widget that can be displayed.
    """
    if not twin.strip():
        raise CourseError("an empty twin text: say in Markdown what the widget shows, for readers who get no widget")
    if not getattr(widget, "model_id", None):
        raise CourseError(f"{type(widget).__name__} is no widget that can be shown: give the ipywidgets box itself")
    view = {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}
    return {WIDGET: view, "text/markdown": twin, "text/plain": WIDGET_NOTE}


def show(widget: ipywidgets.DOMWidget, twin: str | None = None) -> None:
    """Display a widget; readers without widgets get ``twin`` (Markdown) instead.

    Without ``twin`` it is the sentence that the widget says at its start (:func:`.controls.explorer`).

    Raises:
        CourseError: see :func:`bundle`.
    """
    from IPython.display import display

    display(bundle(widget, _first_sentence(widget) if twin is None else twin), raw=True)


def _first_sentence(widget: ipywidgets.DOMWidget) -> str:
    """What one of the course's own widgets says before anybody moves it; "" of any other."""
    text = getattr(widget, "twin", "")
    lines = in_markdown(text).replace("\n", "  \n")
    return f"*(Interactive when the cell is run.)* At the start: {lines}" if text else ""
