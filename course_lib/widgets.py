"""Sliders over stored runs: thin ipywidgets over :mod:`course_lib.plots`; nothing is computed by moving a slider.

Only what ipywidgets 7.7 and 8.1 share is used, and figures are drawn inline into one output.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from course_lib.files import CourseError
from course_lib.plots import COLOURS, new_axes

if TYPE_CHECKING:
    import ipywidgets
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["curve_at_epoch", "curve_explorer", "describe_epoch"]


def curve_at_epoch(epochs: pd.DataFrame, *, epoch: int, unknown_percent: float, ax: Axes | None = None) -> Axes:
    """Test and ood accuracy against % Unknown after ``epoch`` epochs, one mix marked; mean over the seeds."""
    ax = new_axes(ax)
    rows = epochs[(epochs["variant"] == "D") & (epochs["epoch"] == epoch)]
    means = rows.groupby("unknown_percent")[["test", "ood"]].mean()
    for measure, style in (("test", "o-"), ("ood", "s--")):
        ax.plot(means.index, means[measure], style, color=COLOURS[measure], label=measure)
    ax.axvline(unknown_percent, color="grey", linestyle=":")
    ax.set(xlabel="Unknown facts in the training set (%)", ylabel="accuracy (%)", title=f"after epoch {epoch}",
           ylim=(0, max(1, 1.1 * epochs[["test", "ood"]].max().max())))
    ax.legend(frameon=False)
    return ax


def describe_epoch(epochs: pd.DataFrame, *, epoch: int, unknown_percent: float) -> str:
    """What the marked mix has reached, in one sentence: means over the seeds."""
    rows = epochs[(epochs["variant"] == "D") & (epochs["epoch"] == epoch)
                  & (epochs["unknown_percent"] == unknown_percent)].mean(numeric_only=True)
    if math.isnan(rows["test"]):
        return f"{unknown_percent:g} % Unknown, epoch {epoch}: no run has come so far."
    fitted = ", ".join(f"{rows[f'{kind}_fitted']:.0f} % of {kind.capitalize()} fitted" for kind in ("known", "unknown")
                       if rows[f"{kind}_fitted"] == rows[f"{kind}_fitted"])
    return (f"{unknown_percent:g} % Unknown, epoch {epoch}: test {rows['test']:.1f} %, out of distribution "
            f"{rows['ood']:.1f} %; {fitted}.")


def curve_explorer(epochs: pd.DataFrame) -> ipywidgets.VBox:
    """Two sliders, % Unknown and epoch, over the stored runs.

    Raises:
        CourseError: there is no run of D.
    """
    import ipywidgets
    import matplotlib.pyplot as plt
    from IPython.display import display

    wide = {"layout": {"width": "420px"}, "style": {"description_width": "110px"}, "continuous_update": False}
    percents = sorted(float(percent) for percent in epochs.query("variant == 'D'")["unknown_percent"].unique())
    if not percents:
        raise CourseError("no run of D to explore; run the sweep, or give all of its epochs")
    percent = ipywidgets.SelectionSlider(options=[(f"{p:g}", p) for p in percents], value=percents[len(percents) // 2],
                                         description="% Unknown", **wide)
    epoch = ipywidgets.IntSlider(min=int(epochs["epoch"].min()), max=int(epochs["epoch"].max()),
                                 value=int(epochs["epoch"].max()), description="epoch", **wide)
    output = ipywidgets.Output()

    def draw(_: object = None) -> None:
        with output:
            output.clear_output(wait=True)
            ax = curve_at_epoch(epochs, epoch=epoch.value, unknown_percent=percent.value)
            display(ax.figure)
            plt.close(ax.figure)
            print(describe_epoch(epochs, epoch=epoch.value, unknown_percent=percent.value))

    for slider in (percent, epoch):
        slider.observe(draw, names="value")
    draw()
    return ipywidgets.VBox([percent, epoch, output])
