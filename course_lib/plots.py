"""Figures from tables: each function takes data and an ``ax``, draws, and returns the ``ax``; none shows or saves.

Colours are Okabe and Ito's, which colour-blind readers can tell apart; markers and line styles repeat what colour
says. For every figure there is a sentence computed from the same data (:func:`describe_curve` and others): print it
under the figure, for readers who cannot see it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from course_lib.analysis import RUN, over_seeds, stops
from course_lib.files import CourseError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["COLOURS", "category_bars", "describe_curve", "describe_run", "describe_shares", "hallucination_curve",
           "new_axes", "reading_groups", "readings_bars", "run_curve"]

COLOURS = {"HighlyKnown": "#009E73", "MaybeKnown": "#56B4E9", "WeaklyKnown": "#E69F00", "Unknown": "#D55E00",
           "known": "#009E73", "unknown": "#D55E00", "dev": "#000000", "test": "#0072B2", "ood": "#CC79A7",
           "EARLY_STOP": "#0072B2", "CONVERGENCE": "#D55E00"}
MARKERS = {"EARLY_STOP": "o", "CONVERGENCE": "s"}
LINES = {"D": "-", "D_Known": ":"}


def new_axes(ax: Axes | None = None) -> Axes:
    """The given axes, or those of a new figure, in the course's style."""
    if ax is None:
        import matplotlib.pyplot as plt

        ax = plt.figure(figsize=(6.4, 4.0), layout="constrained").add_subplot()
    ax.grid(alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _one_run(epochs: pd.DataFrame) -> None:
    runs = epochs.loc[epochs["epoch"] > 0, RUN].drop_duplicates()
    if len(runs) != 1:
        raise CourseError(f"epochs of {len(runs)} runs: choose one, for example "
                          f"epochs.query(\"variant == 'D' and unknown_percent == 50 and seed == 0\")")


def run_curve(epochs: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """One run by epoch (paper, Fig. 1): Known and Unknown rows fitted, dev accuracy, and where EARLY_STOP falls.

    Raises:
        CourseError: the epochs of several runs, or of none.
    """
    _one_run(epochs)
    ax = new_axes(ax)
    for column, name, colour, style in (("known_fitted", "Known rows fitted", "known", "o-"),
                                        ("unknown_fitted", "Unknown rows fitted", "unknown", "s--"),
                                        ("dev", "dev accuracy", "dev", "^-")):
        if epochs[column].notna().any():
            ax.plot(epochs["epoch"], epochs[column], style, color=COLOURS[colour], label=name, markersize=4)
    best = stops(epochs).query("stop == 'EARLY_STOP'").iloc[0]
    ax.axvline(best["epoch"], color="grey", linestyle=":", label=f"EARLY_STOP (epoch {best['epoch']:g})")
    ax.set(xlabel="epoch", ylabel="exact match (%)", ylim=(0, 102))
    ax.legend(frameon=False, fontsize="small")
    return ax


def hallucination_curve(epochs: pd.DataFrame, *, measure: str = "test", variants: tuple[str, ...] = ("D",),
                        published: bool = False, ax: Axes | None = None) -> Axes:
    """Accuracy against % Unknown at EARLY_STOP and CONVERGENCE (paper, Fig. 3); bars are 95 % intervals over seeds.

    ``published`` adds the points that the paper prints (PaLM 2, its own scale).
    """
    ax = new_axes(ax)
    table = over_seeds(stops(epochs), measure)
    for variant in variants:
        for stop in ("EARLY_STOP", "CONVERGENCE"):
            line = table[(table["variant"] == variant) & (table["stop"] == stop)].sort_values("unknown_percent")
            bars = [line["mean"] - line["low"], line["high"] - line["mean"]]
            aside = 1.2 if variant == "D_Known" else 0  # so that its bars do not lie on those of D
            ax.errorbar(line["unknown_percent"] + aside, line["mean"], bars, linestyle=LINES[variant],
                        marker=MARKERS[stop], color=COLOURS[stop], capsize=3, label=f"{stop}, {variant}",
                        fillstyle="full" if variant == "D" else "none")
    if published:
        _published_points(ax)
    top = ax.get_ylim()[1]
    ax.set(xlabel="Unknown facts in the training set (%)", ylabel=f"{measure} accuracy (%)", ylim=(0, top * 1.05))
    ax.legend(frameon=False, fontsize="small")
    return ax


def _published_points(ax: Axes) -> None:
    from course_lib import paper

    for code, stop in (("ES", "EARLY_STOP"), ("CONV", "CONVERGENCE")):
        percents = sorted(paper.UNKNOWN_MIX)
        ax.plot(percents, [paper.UNKNOWN_MIX[p][code] for p in percents], linestyle="", marker=MARKERS[stop],
                markerfacecolor="white", color="grey", label=f"{stop}, published (PaLM 2)")


def category_bars(shares: dict[str, dict[str, float]], *, ax: Axes | None = None) -> Axes:
    """Stacked bars of the four categories, in percent; ``shares`` maps a bar's name to category fractions."""
    ax = new_axes(ax)
    left = dict.fromkeys(shares, 0.0)
    for category in ("HighlyKnown", "MaybeKnown", "WeaklyKnown", "Unknown"):
        for name, parts in shares.items():
            width = 100 * parts[category]
            ax.barh(name, width, left=left[name], color=COLOURS[category], edgecolor="white",
                    label=category if name == next(iter(shares)) else None)
            if width >= 6:
                ax.text(left[name] + width / 2, name, f"{width:.0f}", ha="center", va="center", fontsize=8)
            left[name] += width
    ax.set(xlabel="share of the facts (%)", xlim=(0, 100))
    ax.invert_yaxis()
    ax.legend(ncols=4, frameon=False, fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return ax


def reading_groups(readings: pd.Series) -> pd.Series:
    """Numbers of readings sorted into never, 1-8, 9-32, 33-128, and 129 or more."""
    import pandas as pd

    names = ["never", "1-8", "9-32", "33-128", "129 or more"]
    return pd.cut(readings, [-1, 0, 8, 32, 128, float("inf")], labels=names)


def readings_bars(labelled: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Category shares by how often a fact was read; ``labelled`` has columns category and readings."""
    groups = labelled.groupby(reading_groups(labelled["readings"]), observed=True)["category"]
    shares = {f"{name} (n = {len(group)})": {category: float((group == category).mean()) for category in
              ("HighlyKnown", "MaybeKnown", "WeaklyKnown", "Unknown")} for name, group in groups}
    ax = category_bars(shares, ax=ax)
    ax.set_ylabel("times read in pre-training")
    return ax


def describe_run(epochs: pd.DataFrame) -> str:
    """A sentence for :func:`run_curve`."""
    _one_run(epochs)
    first, last = (stops(epochs).set_index("stop").loc[name] for name in ("EARLY_STOP", "CONVERGENCE"))
    fitted = " and ".join(f"{first[f'{kind}_fitted']:.0f} % of {kind.capitalize()}" for kind in ("known", "unknown")
                          if first[f"{kind}_fitted"] == first[f"{kind}_fitted"])
    return (f"Dev accuracy peaks at epoch {first['epoch']:g} with {first['dev']:.1f} %, when {fitted} rows are fitted; "
            f"at epoch {last['epoch']:g} it is {last['dev']:.1f} %. Test: {first['test']:.1f} % to "
            f"{last['test']:.1f} %.")


def describe_curve(epochs: pd.DataFrame, *, measure: str = "test") -> str:
    """A sentence for :func:`hallucination_curve`."""
    table = over_seeds(stops(epochs), measure).set_index(["variant", "stop", "unknown_percent"]).sort_index()
    parts = []
    for stop in ("EARLY_STOP", "CONVERGENCE"):
        line = table.loc["D", stop]["mean"]
        parts.append(f"at {stop} " + ", ".join(f"{value:.1f}" for value in line))
    percents = ", ".join(f"{percent:g}" for percent in line.index)
    seeds = int(table["n"].max())
    return f"Mean {measure} accuracy over {seeds} seed(s) at {percents} % Unknown: {'; '.join(parts)} %."


def describe_shares(shares: dict[str, float]) -> str:
    """A sentence for one bar of :func:`category_bars`."""
    return ", ".join(f"{name} {100 * value:.1f} %" for name, value in shares.items()) + "."
