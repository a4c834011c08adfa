"""The curve after any epoch: accuracy against % Unknown, your own runs laid over the band of the reference runs.

A line is the mean over seeds of the runs that you give. The band goes from the lowest to the highest seed of the
reference runs (:mod:`.reference`). Where a table has several learning rates, the one with the most runs
counts. The paper prints accuracies for two shares of Unknown only, at EARLY_STOP and CONVERGENCE (Tables 2 and 3 of
arXiv 2405.05904); they stand there as points, at every epoch the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from course_lib.analysis.summary import main_rate
from course_lib.data import paper
from course_lib.figures.plots.style import COLOURS, new_axes, new_panels, plain_text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["SPLITS", "curve_at_epoch", "curve_grid", "curve_points", "describe_epoch", "describe_grid"]

SPLITS = ("test", "ood")
NAMES = {"test": "test", "ood": "out of distribution"}
STYLES = {"test": "o-", "ood": "s--"}
PUBLISHED = (("ES", "EARLY_STOP", "o"), ("CONV", "CONVERGENCE", "s"))
MARKERS = "os^Dv<>P"


def curve_points(epochs: pd.DataFrame, *, epoch: int, variant: str = "D", measure: str = "test") -> pd.DataFrame:
    """Columns unknown_percent, mean, low, high (percent, over the seeds) and n: every share after ``epoch`` epochs."""
    main = main_rate(epochs)
    rows = main[(main["variant"] == variant) & (main["epoch"] == epoch)].dropna(subset=[measure])
    parts = rows.groupby("unknown_percent")[measure].agg(["mean", "min", "max", "count"]).reset_index()
    return parts.rename(columns={"min": "low", "max": "high", "count": "n"})


def curve_at_epoch(epochs: pd.DataFrame, *, epoch: int, unknown_percent: float, variant: str = "D",
                   measures: Sequence[str] = SPLITS, band: pd.DataFrame | None = None, published: bool = False,
                   ax: Axes | None = None) -> Axes:
    """Accuracy against % Unknown after ``epoch`` epochs, one mix marked; mean over the seeds.

    ``band`` are the epochs of reference runs, drawn from the lowest to the highest seed. ``published`` adds the
    paper's points where they belong: to D and "test".
    """
    ax = new_axes(ax)
    for measure in measures:
        points = curve_points(epochs, epoch=epoch, variant=variant, measure=measure)
        ax.plot(points["unknown_percent"], points["mean"], STYLES[measure], color=COLOURS[measure], label=measure)
        if band is not None:
            _band(ax, curve_points(band, epoch=epoch, variant=variant, measure=measure), measure)
    ax.axvline(unknown_percent, color="grey", linestyle=":")
    published = published and variant == "D" and "test" in measures
    if published:
        _published(ax)
    ax.set(xlabel="Unknown facts in the training set (%)", ylabel="accuracy (%)",
           title=f"{'' if variant == 'D' else plain_text(variant) + ', '}after epoch {epoch}",
           ylim=(0, _top([epochs] if band is None else [epochs, band], published=published)))
    ax.legend(frameon=False, fontsize="small", ncols=2)
    return ax


def _band(ax: Axes, points: pd.DataFrame, measure: str) -> None:
    seeds = int(points["n"].max()) if len(points) else 0
    ax.fill_between(points["unknown_percent"], points["low"], points["high"], color=COLOURS[measure], alpha=0.2,
                    linewidth=0, hatch="///" if measure == "ood" else None, label=f"{measure}, {seeds} reference seeds")


def _published(ax: Axes) -> None:
    percents = sorted(paper.UNKNOWN_MIX)
    for code, stop, marker in PUBLISHED:
        ax.plot(percents, [paper.UNKNOWN_MIX[percent][code] for percent in percents], linestyle="", marker=marker,
                color="grey", markerfacecolor="white", label=f"paper, {stop}")


def _top(tables: Sequence[pd.DataFrame], *, published: bool) -> float:
    """The same top of the axis for every epoch, so that a move of the slider does not change the scale."""
    values = [table[list(SPLITS)].max().max() for table in tables]
    values += [value for point in paper.UNKNOWN_MIX.values() for value in point.values()] if published else []
    return max(1, 1.1 * max(values))


def describe_epoch(epochs: pd.DataFrame, *, epoch: int, unknown_percent: float, variant: str = "D",
                   measures: Sequence[str] = SPLITS, band: pd.DataFrame | None = None) -> str:
    """What the marked mix has reached, in one sentence, or two with a band: means over the seeds."""
    main = main_rate(epochs)
    rows = main[(main["variant"] == variant) & (main["epoch"] == epoch)
                & (main["unknown_percent"] == unknown_percent)].mean(numeric_only=True)
    which = f"{'' if variant == 'D' else variant + ' of '}{unknown_percent:g} % Unknown, epoch {epoch}"
    if math.isnan(rows["test"]):
        own = f"{which}: no run has come so far."
    else:
        fitted = ", ".join(f"{rows[f'{kind}_fitted']:.0f} % of {kind.capitalize()} fitted"
                           for kind in ("known", "unknown") if rows[f"{kind}_fitted"] == rows[f"{kind}_fitted"])
        told = ", ".join(f"{NAMES[measure]} {rows[measure]:.1f} %" for measure in measures)
        own = f"{which}: {told}; {fitted}."
    return own if band is None else f"{own} {_reference(rows, band, epoch, unknown_percent, variant, measures)}"


def _reference(rows: pd.Series, band: pd.DataFrame, epoch: int, percent: float, variant: str,
               measures: Sequence[str]) -> str:
    """Where the reference runs lie there, and whether ``rows`` (means) lie among them."""
    told = []
    for measure in measures:
        points = curve_points(band, epoch=epoch, variant=variant, measure=measure).set_index("unknown_percent")
        if percent in points.index:
            low, high = points.loc[percent, "low"], points.loc[percent, "high"]
            place = "" if math.isnan(rows[measure]) else (
                ", inside" if low - 1e-9 <= rows[measure] <= high + 1e-9 else ", outside")
            told.append(f"{NAMES[measure]} {low:.1f} to {high:.1f} %{place}")
    return f"Reference runs: {'; '.join(told)}." if told else "No reference run is here."


def curve_grid(epochs: pd.DataFrame, *, at: Sequence[int], measure: str = "test", variants: Sequence[str] =
               ("D", "D_Known"), axes: Sequence[Axes] | None = None) -> tuple[Axes, ...]:
    """The explorer without controls: a panel for each variant, in it a line for each of the epochs ``at``."""
    panels = new_panels(len(variants), axes)
    for ax, variant in zip(panels, variants, strict=True):
        for number, epoch in enumerate(sorted(at)):
            points = curve_points(epochs, epoch=epoch, variant=variant, measure=measure)
            shade = str(0.75 * (1 - number / max(1, len(at) - 1)))  # early epochs are light, late ones black
            ax.plot(points["unknown_percent"], points["mean"], marker=MARKERS[number % len(MARKERS)], color=shade,
                    label=f"epoch {epoch}")
        ax.set(title=plain_text(variant), xlabel="Unknown facts (%)", xlim=(-5, 105),
               ylim=(0, _top([epochs], published=False)))
    panels[0].set_ylabel(f"{plain_text(measure)} accuracy (%)")
    panels[0].legend(frameon=False, fontsize="small")
    return panels


def describe_grid(epochs: pd.DataFrame, *, at: Sequence[int], measure: str = "test",
                  variants: Sequence[str] = ("D", "D_Known")) -> str:
    """A sentence for :func:`curve_grid`: how far each line falls from its smallest to its largest share of Unknown."""
    told = []
    for variant in variants:
        lines = {epoch: curve_points(epochs, epoch=epoch, variant=variant, measure=measure) for epoch in sorted(at)}
        falls = [f"{line['mean'].iloc[-1] - line['mean'].iloc[0]:+.1f} after epoch {epoch}"
                 for epoch, line in lines.items() if len(line)]
        told.append(f"{variant} {', '.join(falls) or 'has no run'}")
    return (f"Change of {NAMES[measure]} accuracy from the smallest to the largest share of Unknown, in points: "
            f"{'; '.join(told)}.")
