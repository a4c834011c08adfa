"""The numbers behind a figure: lines, points and bars read back from its axes, as a folded table.

Whoever cannot see a figure, or wants its exact values, opens the table under it. It is taken from what was drawn, so
it cannot say anything else than the figure does.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["CLASS", "DataTable", "data_table", "drawn"]

Names = dict[float, str]
CLASS = "data-table"  # marks the folded table in a notebook's outputs: it is no caption
NO_FORMULAS = "tex2jax_ignore mathjax_ignore"  # what MathJax passes over: a dollar sign is a price here


@dataclass(frozen=True, slots=True, eq=False)
class DataTable:
    """Tables of drawn values, one for each axes; shown folded in a notebook, in full as text."""

    names: tuple[str, ...]
    tables: tuple[pd.DataFrame, ...]

    def __str__(self) -> str:
        return "\n\n".join(f"{name}\n{table.to_string(index=False)}"
                           for name, table in zip(self.names, self.tables, strict=True))

    def __repr__(self) -> str:
        return f"The numbers behind this figure:\n{self}"

    def _repr_html_(self) -> str:
        parts = [f"<p>{escape(name)}</p>{table.to_html(index=False, border=0, na_rep='')}"
                 for name, table in zip(self.names, self.tables, strict=True)]
        return (f'<details class="{CLASS}"><summary>The numbers behind this figure</summary>'
                f'<div class="{NO_FORMULAS}">{"".join(parts)}</div></details>')


def data_table(*axes: Axes) -> DataTable:
    """The tables behind one or several axes; a notebook shows them folded under the figure."""
    names = tuple(_read(f"{ax.get_title() or 'Figure'}: {ax.get_xlabel() or 'x'} and {ax.get_ylabel() or 'y'}")
                  for ax in axes)
    return DataTable(names, tuple(drawn(ax) for ax in axes))


def drawn(ax: Axes) -> pd.DataFrame:
    """Read an axes back in long form: columns series, x and y; bars give their ends, stacked ones their parts.

    Lines without a name (grids, markers of a place) and polygons are left out; values are rounded to 4 digits.
    """
    import pandas as pd

    axes = _names(ax.xaxis), _names(ax.yaxis)
    rows = [*_lines(ax, *axes), *_bars(ax, *axes), *_points(ax, *axes)]
    table = pd.DataFrame(rows, columns=["series", "x", "y"])
    return table.map(_rounded)


def _lines(ax: Axes, xs: Names, ys: Names) -> list[tuple[str, Any, Any]]:
    named = {id(bars.lines[0]): bars.get_label() for bars in ax.containers if hasattr(bars, "has_yerr")
             and bars.lines[0] is not None}
    found = []
    for line in ax.lines:
        name = named.get(id(line), line.get_label())
        if str(name).startswith("_") or line.get_transform() != ax.transData:  # a mark across the whole frame
            continue
        found += [(_read(str(name)), _named(xs, x), _named(ys, y))
                  for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)]
    return found


def _bars(ax: Axes, xs: Names, ys: Names) -> list[tuple[str, Any, Any]]:
    found = []
    for bars in ax.containers:
        if not hasattr(bars, "patches"):
            continue
        name = _name(bars)
        for bar in bars.patches:
            upright = getattr(bars, "orientation", "vertical") == "vertical"
            if upright:
                found.append((name, _named(xs, bar.get_x() + bar.get_width() / 2), bar.get_height()))
            else:
                found.append((name, bar.get_width(), _named(ys, bar.get_y() + bar.get_height() / 2)))
    return found


def _points(ax: Axes, xs: Names, ys: Names) -> list[tuple[str, Any, Any]]:
    from matplotlib.collections import PathCollection

    clouds = [cloud for cloud in ax.collections if isinstance(cloud, PathCollection)]
    return [(_name(cloud), _named(xs, x), _named(ys, y)) for cloud in clouds
            for x, y in cloud.get_offsets()]


def _name(artist: Any) -> str:
    """The label of what was drawn; matplotlib's own names for unnamed things begin with a line below."""
    label = str(artist.get_label())
    return "" if label.startswith("_") else _read(label)


def _read(text: str) -> str:
    """A text as it is read in the figure, where :func:`.style.plain_text` put it."""
    return text.replace(r"\$", "$").lstrip()


def _names(axis: Any) -> Names:
    """Place -> name of a category; nothing where the axis has numbers."""
    ticks = axis.get_ticklocs()  # the formatter knows the names on a shared axis too, where labels are hidden
    names = [str(text) for text in axis.get_major_formatter().format_ticks(ticks)]
    words = any(any(letter.isalpha() for letter in text) and "mathdefault" not in text for text in names)
    return dict(zip(map(float, ticks), map(_read, names), strict=False)) if words else {}


def _named(names: Names, place: Any) -> Any:
    """The name of the category at or beside a place, else the place."""
    if not names or isinstance(place, str):
        return place
    near = min(names, key=lambda tick: abs(tick - float(place)))  # bars of a group stand beside their tick
    return names[near] if abs(near - float(place)) < 0.5 and names[near] else place


def _rounded(value: Any) -> Any:
    number = isinstance(value, float | np.floating)
    return float(f"{value:.4g}") if number else value
