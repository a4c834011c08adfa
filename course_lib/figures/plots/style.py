"""Common to all figures: colours, markers, axes, and names that others wrote.

Each plot function of this folder takes data and an ``ax``, draws, and returns the ``ax``; none shows or saves. Names
and texts that others wrote enter a figure by :func:`plain_text` alone.

Colours are Okabe and Ito's, which colour-blind readers can tell apart; markers and line styles repeat what colour
says. For every figure there is a sentence computed from the same data (``describe_...``): print it under the figure,
for readers who cannot see it.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from course_lib.files import CourseError
from course_lib.text import one_line

__all__ = ["COLOURS", "MARKERS", "interval_bars", "new_axes", "new_panels", "plain_text"]

COLOURS = {"HighlyKnown": "#009E73", "MaybeKnown": "#56B4E9", "WeaklyKnown": "#E69F00", "Unknown": "#D55E00",
           "known": "#009E73", "unknown": "#D55E00", "dev": "#000000", "test": "#0072B2", "ood": "#CC79A7",
           "EARLY_STOP": "#0072B2", "CONVERGENCE": "#D55E00"}
MARKERS = {"EARLY_STOP": "o", "CONVERGENCE": "s"}


def new_axes(ax: Axes | None = None) -> Axes:
    """The given axes, or those of a new figure, in the course's style."""
    if ax is None:
        ax = plt.figure(figsize=(6.4, 4.0), layout="constrained").add_subplot()
    ax.grid(alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def new_panels(number: int, axes: Sequence[Axes] | None = None, *, width: float = 3.2,
               height: float = 3.4) -> tuple[Axes, ...]:
    """The given axes, or those of a new figure side by side with one y axis; sizes in inches, of one panel.

    Raises:
        CourseError: another number of axes was given.
    """
    if axes is None:
        figure = plt.figure(figsize=(width * number, height), layout="constrained")
        axes = figure.subplots(1, number, sharey=True, squeeze=False)[0]
    if len(axes) != number:
        raise CourseError(f"{len(axes)} axes for {number} panels; give one for each")
    return tuple(new_axes(ax) for ax in axes)


def interval_bars(table: pd.DataFrame) -> list[pd.Series]:
    """Lengths of error bars below and above the mean; never negative by a rounding error, which matplotlib refuses."""
    return [(table["mean"] - table["low"]).clip(lower=0), (table["high"] - table["mean"]).clip(lower=0)]


def plain_text(text: object, *, longest: int = 44) -> str:
    """A name or a text of others in a figure: one line, not too long, and a dollar sign begins no formula.

    Matplotlib shows the backslash before a dollar sign to nobody. A name that begins with a line below would be left
    out of legends, so a space stands before it.
    """
    shown = one_line(str(text), longest=longest).replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown
