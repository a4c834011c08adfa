"""Controls over what is already computed: thin ipywidgets over plots; moving a slider runs no model.

Only what ipywidgets 7.7 and 8.1 share is used, and figures are drawn inline into one output.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from course_lib.closeup import Closeup
from course_lib.files import CourseError
from course_lib.knowledge_plots import closeup_bars, describe_closeup
from course_lib.plots import COLOURS, new_axes

if TYPE_CHECKING:
    import ipywidgets
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["curve_at_epoch", "curve_explorer", "describe_epoch", "knowledge_explorer"]


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

    percents = sorted(float(percent) for percent in epochs.query("variant == 'D'")["unknown_percent"].unique())
    if not percents:
        raise CourseError("no run of D to explore; run the sweep, or give all of its epochs")
    percent = ipywidgets.SelectionSlider(options=[(f"{p:g}", p) for p in percents], value=percents[len(percents) // 2],
                                         description="% Unknown", **_slider())
    epoch = ipywidgets.IntSlider(min=int(epochs["epoch"].min()), max=int(epochs["epoch"].max()),
                                 value=int(epochs["epoch"].max()), description="epoch", **_slider())

    def figure() -> Axes:
        return curve_at_epoch(epochs, epoch=epoch.value, unknown_percent=percent.value)

    def sentence() -> str:
        return describe_epoch(epochs, epoch=epoch.value, unknown_percent=percent.value)

    return _explorer([percent, epoch], figure, sentence)


def knowledge_explorer(closeups: Sequence[Closeup]) -> ipywidgets.VBox:
    """A choice of questions, and two sliders: temperature, and samples a prompt (1 to 64).

    It starts at the paper's values, 0.5 (or the computed temperature next to it) and 16.

    Raises:
        CourseError: no question to explore, or questions that were computed at different temperatures.
    """
    import ipywidgets

    grids = {closeup.temperatures for closeup in closeups}
    if len(grids) != 1:
        raise CourseError(f"{len(closeups)} questions, {len(grids)} sets of temperatures: give closeup() the same "
                          f"temperatures for each question, and at least one question")
    grid = grids.pop()
    questions = [(f"{number}. {closeup.fact.question}", number - 1) for number, closeup in enumerate(closeups, 1)]
    chosen = ipywidgets.Dropdown(options=questions, value=0, description="question", **_wide())
    temperature = ipywidgets.SelectionSlider(options=[(f"{value:g}", value) for value in grid],
                                             value=min(grid, key=lambda value: abs(value - 0.5)),
                                             description="temperature", **_slider())
    samples = ipywidgets.IntSlider(min=1, max=64, value=16, description="samples", **_slider())

    def figure() -> Axes:
        return closeup_bars(closeups[chosen.value], temperature=temperature.value, n_samples=samples.value)

    def sentence() -> str:
        return describe_closeup(closeups[chosen.value], temperature=temperature.value, n_samples=samples.value)

    return _explorer([chosen, temperature, samples], figure, sentence)


def _wide() -> dict[str, object]:
    return {"layout": {"width": "420px"}, "style": {"description_width": "110px"}}


def _slider() -> dict[str, object]:
    return _wide() | {"continuous_update": False}


def _explorer(controls: list[ipywidgets.Widget], figure: Callable[[], Axes],
              sentence: Callable[[], str]) -> ipywidgets.VBox:
    """The controls, and under them the figure and its sentence, drawn anew whenever one of them moves."""
    import ipywidgets
    import matplotlib.pyplot as plt
    from IPython.display import display

    output = ipywidgets.Output()

    def draw(_: object = None) -> None:
        with output:
            output.clear_output(wait=True)
            ax = figure()
            display(ax.figure)
            plt.close(ax.figure)
            print(sentence())

    for control in controls:
        control.observe(draw, names="value")
    draw()
    return ipywidgets.VBox([*controls, output])
