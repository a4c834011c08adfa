"""Figures from tables: each function takes data and an ``ax``, draws, and returns the ``ax``; none shows or saves.

Names and texts that others wrote enter a figure by :func:`plain_text` alone.

Colours are Okabe and Ito's, which colour-blind readers can tell apart; markers and line styles repeat what colour
says. For every figure there is a sentence computed from the same data (:func:`describe_curve` and others): print it
under the figure, for readers who cannot see it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from course_lib.analysis.harm import reading_groups
from course_lib.analysis.stops import STOPS, at_epochs, over_seeds, run_columns, single_rate, stops
from course_lib.files import CourseError
from course_lib.text import one_line

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

# reading_groups is that of course_lib.analysis.harm, which belongs to the use of readings_bars
__all__ = ["COLOURS", "category_bars", "describe_curve", "describe_run", "describe_shares", "hallucination_curve",
           "new_axes", "new_panels", "one_run", "plain_text", "reading_groups", "readings_bars", "run_curve",
           "run_lines"]

COLOURS = {"HighlyKnown": "#009E73", "MaybeKnown": "#56B4E9", "WeaklyKnown": "#E69F00", "Unknown": "#D55E00",
           "known": "#009E73", "unknown": "#D55E00", "dev": "#000000", "test": "#0072B2", "ood": "#CC79A7",
           "EARLY_STOP": "#0072B2", "CONVERGENCE": "#D55E00"}
MARKERS = {"EARLY_STOP": "o", "CONVERGENCE": "s"}
LINES = {"D": "-", "D_Known": ":"}  # any other variant is dashed
BETWEEN = "v^<>PX*d"  # markers of fixed numbers of epochs


def new_axes(ax: Axes | None = None) -> Axes:
    """The given axes, or those of a new figure, in the course's style."""
    if ax is None:
        import matplotlib.pyplot as plt

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
        import matplotlib.pyplot as plt

        figure = plt.figure(figsize=(width * number, height), layout="constrained")
        axes = figure.subplots(1, number, sharey=True, squeeze=False)[0]
    if len(axes) != number:
        raise CourseError(f"{len(axes)} axes for {number} panels; give one for each")
    return tuple(new_axes(ax) for ax in axes)


def plain_text(text: object, *, longest: int = 44) -> str:
    """A name or a text of others in a figure: one line, not too long, and a dollar sign begins no formula.

    Matplotlib shows the backslash before a dollar sign to nobody. A name that begins with a line below would be left
    out of legends, so a space stands before it.
    """
    shown = one_line(str(text), longest=longest).replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown


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
    ax = run_lines(epochs, ax=ax)
    best = stops(epochs).query("stop == 'EARLY_STOP'").iloc[0]
    ax.axvline(best["epoch"], color="grey", linestyle=":", label=f"EARLY_STOP (epoch {best['epoch']:g})")
    ax.legend(frameon=False, fontsize="small")
    return ax


def run_lines(epochs: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """The three lines of :func:`run_curve` alone, for a run that may still go on; columns as in its table."""
    ax = new_axes(ax)
    for column, name, colour, style in (("known_fitted", "Known rows fitted", "known", "o-"),
                                        ("unknown_fitted", "Unknown rows fitted", "unknown", "s--"),
                                        ("dev", "dev accuracy", "dev", "^-")):
        if epochs[column].notna().any():
            ax.plot(epochs["epoch"], epochs[column], style, color=COLOURS[colour], label=name, markersize=4)
    ax.set(xlabel="epoch", ylabel="exact match (%)", ylim=(0, 102))
    return ax


def hallucination_curve(epochs: pd.DataFrame, *, measure: str = "test", variants: Sequence[str] = ("D",),
                        at: Sequence[int] = (), published: bool = False, ax: Axes | None = None) -> Axes:
    """Accuracy against % Unknown at EARLY_STOP and CONVERGENCE (paper, Fig. 3); bars are 95 % intervals over seeds.

    ``at`` adds a line for each of these numbers of epochs (Fig. 3a). ``published`` adds the points that the paper
    prints (PaLM 2, its own scale).

    Raises:
        CourseError: several learning rates, an epoch that no run has, or published points for another measure than
            "test", of which the paper prints none.
    """
    if published and measure != "test":
        raise CourseError(f"published points of {measure}: the paper prints them for test only; leave published out")
    ax = new_axes(ax)
    table = _curve_table(epochs, measure, at)
    for variant in variants:
        for stop in (*STOPS, *_fixed(at)):
            line = table[(table["variant"] == variant) & (table["stop"] == stop)].sort_values("unknown_percent")
            bars = [line["mean"] - line["low"], line["high"] - line["mean"]]
            aside = 1.2 if variant == "D_Known" else 0  # so that its bars do not lie on those of D
            ax.errorbar(line["unknown_percent"] + aside, line["mean"], bars, linestyle=LINES.get(variant, "--"),
                        capsize=3, label=f"{stop}, {plain_text(variant)}",
                        fillstyle="full" if variant == "D" else "none", **_look(stop, at))
    if published:
        _published_points(ax)
    top = ax.get_ylim()[1]
    ax.set(xlabel="Unknown facts in the training set (%)", ylabel=f"{plain_text(measure)} accuracy (%)",
           ylim=(0, top * 1.05))
    ax.legend(frameon=False, fontsize="small", title=f"{epochs['seed'].nunique()} seed(s)", title_fontsize="small")
    return ax


def _fixed(at: Sequence[int]) -> list[str]:
    return [f"epoch {number:g}" for number in sorted(at)]


def _curve_table(epochs: pd.DataFrame, measure: str, at: Sequence[int]) -> pd.DataFrame:
    """Means over seeds at both stops and at fixed epochs."""
    import pandas as pd

    single_rate(epochs)
    stopped = [stops(epochs)] + ([at_epochs(epochs, at)] if at else [])
    return over_seeds(pd.concat(stopped, ignore_index=True), measure)


def _look(stop: str, at: Sequence[int]) -> dict[str, object]:
    """Colour and marker of a line; fixed epochs go from light to dark grey."""
    if stop in MARKERS:
        return {"color": COLOURS[stop], "marker": MARKERS[stop]}
    place = _fixed(at).index(stop)
    return {"color": str(0.75 - 0.5 * place / max(1, len(at) - 1)), "marker": BETWEEN[place % len(BETWEEN)],
            "linewidth": 1}


def _published_points(ax: Axes) -> None:
    from course_lib.data import paper

    for code, stop in (("ES", "EARLY_STOP"), ("CONV", "CONVERGENCE")):
        percents = sorted(paper.UNKNOWN_MIX)
        ax.plot(percents, [paper.UNKNOWN_MIX[p][code] for p in percents], linestyle="", marker=MARKERS[stop],
                markerfacecolor="white", color="grey", label=f"{stop}, published (PaLM 2)")


def category_bars(shares: dict[str, dict[str, float]], *, ax: Axes | None = None) -> Axes:
    """Stacked bars of the four categories, in percent; ``shares`` maps a bar's name to category fractions."""
    ax, left = new_axes(ax), [0.0] * len(shares)
    for category in ("HighlyKnown", "MaybeKnown", "WeaklyKnown", "Unknown"):
        for place, parts in enumerate(shares.values()):
            width = 100 * parts[category]
            ax.barh(place, width, left=left[place], color=COLOURS[category], edgecolor="white",
                    label=None if place else category)
            if width >= 6:
                ax.text(left[place] + width / 2, place, f"{width:.0f}", ha="center", va="center", fontsize=8)
            left[place] += width
    ax.set_yticks(range(len(shares)), [plain_text(name) for name in shares])
    ax.set(xlabel="share of the facts (%)", xlim=(0, 100))
    ax.invert_yaxis()
    ax.legend(ncols=4, frameon=False, fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return ax


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
    one_run(epochs)
    first, last = (stops(epochs).set_index("stop").loc[name] for name in ("EARLY_STOP", "CONVERGENCE"))
    fitted = " and ".join(f"{first[f'{kind}_fitted']:.0f} % of {kind.capitalize()}" for kind in ("known", "unknown")
                          if first[f"{kind}_fitted"] == first[f"{kind}_fitted"])
    return (f"Dev accuracy peaks at epoch {first['epoch']:g} with {first['dev']:.1f} %, when {fitted} rows are fitted; "
            f"at epoch {last['epoch']:g} it is {last['dev']:.1f} %. Test: {first['test']:.1f} % to "
            f"{last['test']:.1f} %.")


def describe_curve(epochs: pd.DataFrame, *, measure: str = "test", variants: Sequence[str] = ("D",),
                   at: Sequence[int] = ()) -> str:
    """A sentence for :func:`hallucination_curve`.

    Raises:
        CourseError: several learning rates, or a variant that has not run.
    """
    table, parts = _curve_table(epochs, measure, at), []
    for variant in variants:
        own = table[table["variant"] == variant]
        if own.empty:
            raise CourseError(f"no run of {variant}; there are {', '.join(sorted(set(table['variant'])))}")
        told = [f"at {stop} " + ", ".join(f"{value:.1f}" for value in own[own["stop"] == stop].sort_values(
            "unknown_percent")["mean"]) for stop in (*STOPS, *_fixed(at))]
        percents = ", ".join(f"{percent:g}" for percent in sorted(own["unknown_percent"].unique()))
        name = "" if tuple(variants) == ("D",) else f"{variant} "
        parts.append(f"{name}at {percents} % Unknown: {'; '.join(told)} %")
    return f"Mean {measure} accuracy over {int(table['n'].max())} seed(s) {'. '.join(parts)}."


def describe_shares(shares: dict[str, float]) -> str:
    """A sentence for one bar of :func:`category_bars`."""
    return ", ".join(f"{name} {100 * value:.1f} %" for name, value in shares.items()) + "."
