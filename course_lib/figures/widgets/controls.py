"""The one layer under all widgets: controls above, and one output below with a figure and its sentence.

A widget is then little more than two functions of its controls: what to draw and what to say. Only what ipywidgets 7.7
and 8.1 share is used: no threads, no JavaScript of our own, and the figure is drawn inline into one output. Whenever a
control moves, the output is drawn anew.

The box carries the sentence of its start as ``twin``, the text for readers without widgets (:mod:`.display`).
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import IPython.display
import ipywidgets
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from course_lib.files import CourseError

__all__ = ["draw_into", "dropdown", "explorer", "line", "slider", "steps", "toggles"]

Options = Sequence[Any]  # values, or (name, value) pairs
LINE = 88  # characters; a longer line is broken within a word by JupyterLab on a small screen
SLIDER, WIDE = {"width": "420px"}, {"width": "640px"}
STYLE = {"description_width": "110px"}


def explorer(controls: Sequence[ipywidgets.Widget], figure: Callable[[], Axes], sentence: Callable[[], str], *,
             settle: Callable[[dict[str, Any]], None] | None = None) -> ipywidgets.VBox:
    """The controls, and under them the figure and its sentence, drawn anew whenever one of them moves.

    ``figure`` returns one of the figure's Axes. ``settle`` is called first, with the change that traitlets
    gives, and may move other controls: all of that is drawn once.
    """
    output, settling = ipywidgets.Output(), []

    def moved(change: dict[str, Any]) -> None:
        if settling:  # a control that settle moves is no move of the user's
            return
        settling.append(change)
        try:
            if settle:
                settle(change)
        finally:
            settling.clear()
        draw_into(output, figure, sentence)

    for control in controls:
        if control.has_trait("value"):
            control.observe(moved, names="value")
    box = ipywidgets.VBox([*controls, output])
    box.twin = draw_into(output, figure, sentence)
    return box


def draw_into(output: ipywidgets.Output, figure: Callable[[], Axes], sentence: Callable[[], str]) -> str:
    """Put a figure and its sentence into an output in place of what stood there; returns the sentence.

    The figure is closed. What a user can cure (a :class:`CourseError`) is printed instead of the figure.
    """
    text, interrupt = "", None
    with output:
        output.clear_output(wait=True)
        before = set(plt.get_fignums())
        try:
            text = sentence()
            IPython.display.display(figure().figure)
        except CourseError as error:
            text = str(error)
        except KeyboardInterrupt as error:  # an output would swallow it, and whoever waits for it would go on
            interrupt = error
        finally:
            for number in set(plt.get_fignums()) - before:  # those of the reader stay open
                plt.close(number)
        print("\n".join(textwrap.fill(line, LINE) for line in text.splitlines()))
    if interrupt:
        raise interrupt
    return text


def slider(description: str, low: int, high: int, value: int) -> ipywidgets.IntSlider:
    """A slider over whole numbers, which reports a move when it is released."""
    return ipywidgets.IntSlider(min=low, max=high, value=value, description=description, layout=SLIDER, style=STYLE,
                                continuous_update=False)


def steps(description: str, options: Options, value: Any) -> ipywidgets.SelectionSlider:
    """A slider over these values alone."""
    return ipywidgets.SelectionSlider(options=options, value=value, description=description, layout=SLIDER,
                                      style=STYLE, continuous_update=False)


def dropdown(description: str, options: Options, value: Any) -> ipywidgets.Dropdown:
    """A list to choose from, wide enough for a question."""
    return ipywidgets.Dropdown(options=options, value=value, description=description, layout=WIDE, style=STYLE)


def line(description: str, placeholder: str) -> ipywidgets.Text:
    """A line to type in, which reports a change at Enter, or when it is left."""
    return ipywidgets.Text(description=description, placeholder=placeholder, continuous_update=False, layout=WIDE,
                           style=STYLE)


def toggles(description: str, options: Options, value: Any) -> ipywidgets.ToggleButtons:
    """A few buttons, of which one is down."""
    return ipywidgets.ToggleButtons(options=options, value=value, description=description,
                                    style=STYLE | {"button_width": "auto"})
