"""Figures of one run by epoch (Fig. 1): rows fitted and dev accuracy, in all and by category.

As in :mod:`.style`: data and an ``ax`` go in, the ``ax`` comes out, nothing is shown or saved, and each figure has a
sentence computed from the same data.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from course_lib.analysis.stopping import STOPS, run_columns, stops
from course_lib.data.paper import CATEGORIES
from course_lib.figures.plots.style import COLOURS, new_axes
from course_lib.files import CourseError

__all__ = ["category_curve", "describe_category_curve", "describe_run", "one_run", "run_curve", "run_lines"]

# column of a run -> its name in the figure, colour and style
RUN_LINES = {"known_fitted": ("Known rows fitted", COLOURS["known"], "o-"),
             "unknown_fitted": ("Unknown rows fitted", COLOURS["unknown"], "s--"),
             "dev": ("dev accuracy", COLOURS["dev"], "^-")}
CATEGORY_LINES = {f"train_{name}": (f"{name} rows fitted", COLOURS[name], style)
                  for name, style in zip(CATEGORIES, ("o-", "^-", "v-", "s--"), strict=True)}
CATEGORY_LINES["dev"] = ("dev accuracy", COLOURS["dev"], "d-")


def one_run(epochs: pd.DataFrame) -> None:
    """Refuse a table that is not about a single run.

    Raises:
        CourseError: the epochs of several runs, or of none.
    """
    runs = epochs.loc[epochs["epoch"] > 0, run_columns(epochs)].drop_duplicates()
    if len(runs) != 1:
        raise CourseError(f"epochs of {len(runs)} runs: choose one, for example "
                          f"epochs.query(\"variant == 'D' and unknown_percent == 50 and seed == 0\")")


def run_curve(epochs: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """One run by epoch (paper, Fig. 1): Known and Unknown rows fitted, dev accuracy, and where EARLY_STOP falls.

    Raises:
        CourseError: the epochs of several runs, or of none.
    """
    one_run(epochs)
    return _mark_early_stop(run_lines(epochs, ax=ax), epochs)


def run_lines(epochs: pd.DataFrame, *, lines: dict[str, tuple[str, str, str]] = RUN_LINES, ax: Axes | None = None
              ) -> Axes:
    """The ``lines`` of :func:`run_curve` alone, as far as there are values, for a run that may still go on."""
    ax = new_axes(ax)
    for column, (name, colour, style) in lines.items():
        if column in epochs and epochs[column].notna().any():
            ax.plot(epochs["epoch"], epochs[column], style, color=colour, label=name, markersize=4)
    ax.set(xlabel="epoch", ylabel="exact match (%)", ylim=(0, 102))
    return ax


def _mark_early_stop(ax: Axes, epochs: pd.DataFrame) -> Axes:
    best = stops(epochs).query("stop == 'EARLY_STOP'").iloc[0]
    ax.axvline(best["epoch"], color="grey", linestyle=":", label=f"EARLY_STOP (epoch {best['epoch']:g})")
    ax.legend(frameon=False, fontsize="small")
    return ax


def describe_run(epochs: pd.DataFrame) -> str:
    """A sentence for :func:`run_curve`."""
    one_run(epochs)
    first, last = (stops(epochs).set_index("stop").loc[name] for name in STOPS)
    fitted = " and ".join(f"{first[f'{kind}_fitted']:.0f} % of {kind.capitalize()}" for kind in ("known", "unknown")
                          if first[f"{kind}_fitted"] == first[f"{kind}_fitted"])
    return (f"Dev accuracy peaks at epoch {first['epoch']:g} with {first['dev']:.1f} %, when {fitted} rows are fitted; "
            f"at epoch {last['epoch']:g} it is {last['dev']:.1f} %. Test: {first['test']:.1f} % to "
            f"{last['test']:.1f} %.")


def category_curve(epochs: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Fig. 1 split by category (v3's Fig. 7): rows of each SliCK category fitted, and dev accuracy, by epoch of a run.

    Raises:
        CourseError: the epochs of several runs, or of none, or without columns train_<category>.
    """
    _trained_categories(epochs)
    return _mark_early_stop(run_lines(epochs, lines=CATEGORY_LINES, ax=ax), epochs)


def _trained_categories(epochs: pd.DataFrame) -> list[str]:
    """The categories that the run has training rows of."""
    one_run(epochs)
    found = [name for name in CATEGORIES if f"train_{name}" in epochs and epochs[f"train_{name}"].notna().any()]
    if not found:
        raise CourseError("no training accuracy by category: these runs were made without it; run them again")
    return found


def describe_category_curve(epochs: pd.DataFrame) -> str:
    """A sentence for :func:`category_curve`: fitted at both stops, and the epoch by which half is fitted."""
    categories, stopped = _trained_categories(epochs), stops(epochs).set_index("stop")
    parts = []
    for category in categories:
        early, late = (stopped.loc[stop, f"train_{category}"] for stop in STOPS)
        half = epochs.loc[(epochs["epoch"] > 0) & (epochs[f"train_{category}"] >= 50), "epoch"]
        when = f"half by epoch {half.min():g}" if len(half) else "half of them never"
        parts.append(f"{category} {early:.0f} and {late:.0f} % ({when})")
    epoch = stopped.loc["EARLY_STOP", "epoch"]
    return f"Fitted at EARLY_STOP (epoch {epoch:g}) and at CONVERGENCE: {'; '.join(parts)}."
