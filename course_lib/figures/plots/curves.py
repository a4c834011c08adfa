"""Accuracy against % Unknown: at both stops (Fig. 3), by learning rate (Fig. 6), and after any epoch.

A line is the mean over the seeds of the runs that are given. The curve after any epoch lies over a band from the lowest
to the highest seed of the reference runs (:mod:`.reference`); where a table has several learning rates, the one with
the most runs counts there. The paper prints accuracies for two shares of Unknown only, at EARLY_STOP and CONVERGENCE
(Tables 2 and 3 of arXiv 2405.05904); they stand there as points, at every epoch the same. Otherwise as in
:mod:`.style`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from course_lib.analysis.paper_claims import main_rate
from course_lib.analysis.stopping import STOPS, at_epochs, over_seeds, single_rate, stops
from course_lib.data import paper
from course_lib.data.protocol import D_KNOWN, D
from course_lib.figures.plots.style import COLOURS, MARKERS, interval_bars, new_axes, plain_text
from course_lib.files import CourseError

__all__ = ["SPLITS", "curve_at_epoch", "curve_points", "describe_curve", "describe_epoch", "describe_rates",
           "hallucination_curve", "rate_curves"]

LINES = {D.name: "-", D_KNOWN.name: ":"}  # any other variant is dashed
BETWEEN = "v^<>PX*d"  # markers of fixed numbers of epochs
RATES = ("-", "--", ":", "-.")
SPLITS = ("test", "ood")
NAMES = {"test": "test", "ood": "out of distribution"}
SPLIT_STYLES = {"test": "o-", "ood": "s--"}
PERCENT_UNKNOWN = "Unknown facts in the training set (%)"


def hallucination_curve(epochs: pd.DataFrame, *, measure: str = "test", variants: Sequence[str] = (D.name,),
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
    ax, table = new_axes(ax), _curve_table(epochs, measure, at)
    for variant in variants:
        for stop in (*STOPS, *_fixed(at)):
            line = table[(table["variant"] == variant) & (table["stop"] == stop)].sort_values("unknown_percent")
            aside = 1.2 if variant == D_KNOWN.name else 0  # so that its bars do not lie on those of D
            _mean_line(ax, line, f"{stop}, {plain_text(variant)}", aside=aside, linestyle=LINES.get(variant, "--"),
                       fillstyle="full" if variant == D.name else "none", **_look(stop, at))
    if published:
        _published_points(ax)
    _frame(ax, measure)
    ax.legend(frameon=False, fontsize="small", title=f"{epochs['seed'].nunique()} seed(s)", title_fontsize="small")
    return ax


def _mean_line(ax: Axes, line: pd.DataFrame, label: str, *, aside: float = 0, **style: object) -> None:
    """A line of means by % Unknown, with the intervals over seeds as bars; ``aside`` moves it to the right."""
    ax.errorbar(line["unknown_percent"] + aside, line["mean"], interval_bars(line), capsize=3, label=label, **style)


def _frame(ax: Axes, measure: str) -> None:
    ax.set(xlabel=PERCENT_UNKNOWN, ylabel=f"{plain_text(measure)} accuracy (%)", ylim=(0, 1.05 * ax.get_ylim()[1]))


def _fixed(at: Sequence[int]) -> list[str]:
    return [f"epoch {number:g}" for number in sorted(at)]


def _curve_table(epochs: pd.DataFrame, measure: str, at: Sequence[int]) -> pd.DataFrame:
    """Means over seeds at both stops and at fixed epochs."""
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
    for code, stop in (("ES", "EARLY_STOP"), ("CONV", "CONVERGENCE")):
        percents = sorted(paper.UNKNOWN_MIX)
        ax.plot(percents, [paper.UNKNOWN_MIX[p][code] for p in percents], linestyle="", marker=MARKERS[stop],
                markerfacecolor="white", color="grey", label=f"{stop}, published (PaLM 2)")


def describe_curve(epochs: pd.DataFrame, *, measure: str = "test", variants: Sequence[str] = (D.name,),
                   at: Sequence[int] = ()) -> str:
    """A sentence for :func:`hallucination_curve`.

    Raises:
        CourseError: several learning rates, or a variant that has not run.
    """
    table, parts = _curve_table(epochs, measure, at), []
    for variant in variants:
        own = _of_variant(table, variant)
        means = [f"at {stop} " + ", ".join(f"{value:.1f}" for value in own[own["stop"] == stop].sort_values(
            "unknown_percent")["mean"]) for stop in (*STOPS, *_fixed(at))]
        percents = ", ".join(f"{percent:g}" for percent in sorted(own["unknown_percent"].unique()))
        name = "" if tuple(variants) == (D.name,) else f"{variant} "
        parts.append(f"{name}at {percents} % Unknown: {'; '.join(means)} %")
    return f"Mean {measure} accuracy over {int(table['n'].max())} seed(s) {'. '.join(parts)}."


def _of_variant(table: pd.DataFrame, variant: str) -> pd.DataFrame:
    own = table[table["variant"] == variant]
    if own.empty:
        raise CourseError(f"no run of {variant}; there are {', '.join(sorted(set(table['variant'])))}")
    return own


def _by_rate(epochs: pd.DataFrame, measure: str, variant: str) -> dict[float, pd.DataFrame]:
    if "lr" not in epochs:
        raise CourseError("the runs have no column lr; read them with course_lib.training.runs.read_runs")
    return {rate: over_seeds(stops(group), measure).sort_values("unknown_percent")
            for rate, group in _of_variant(epochs, variant).groupby("lr")}


def rate_curves(epochs: pd.DataFrame, *, measure: str = "test", variant: str = D.name, ax: Axes | None = None) -> Axes:
    """Fig. 6: accuracy against % Unknown for every learning rate, at both stops; bars are intervals over seeds.

    Raises:
        CourseError: the runs do not say their learning rates, or there is no run of ``variant``.
    """
    tables, ax = _by_rate(epochs, measure, variant), new_axes(ax)
    for (rate, table), style in zip(tables.items(), RATES * len(tables), strict=False):
        for stop in STOPS:
            line = table[table["stop"] == stop]
            _mean_line(ax, line, f"{stop}, rate {rate:g} (n = {int(line['n'].max())})", linestyle=style,
                       **_look(stop, ()))
    _frame(ax, measure)
    ax.legend(frameon=False, fontsize="small")
    return ax


def describe_rates(epochs: pd.DataFrame, *, measure: str = "test", variant: str = D.name) -> str:
    """A sentence for :func:`rate_curves`."""
    parts = []
    for rate, table in _by_rate(epochs, measure, variant).items():
        means = table.pivot(index="unknown_percent", columns="stop", values="mean")
        at = "; ".join(f"at {stop} {', '.join(f'{value:.1f}' for value in means[stop])}" for stop in STOPS)
        parts.append(f"rate {rate:g} ({int(table['n'].max())} seed(s), {', '.join(f'{p:g}' for p in means.index)} % "
                     f"Unknown): {at} %")
    return f"Mean {measure} accuracy, {'. '.join(parts)}."


def curve_points(epochs: pd.DataFrame, *, epoch: int, variant: str = D.name, measure: str = "test") -> pd.DataFrame:
    """Columns unknown_percent, mean, low, high (percent, over the seeds) and n: every share after ``epoch`` epochs."""
    main = main_rate(epochs)
    rows = main[(main["variant"] == variant) & (main["epoch"] == epoch)].dropna(subset=[measure])
    return rows.groupby("unknown_percent")[measure].agg(mean="mean", low="min", high="max", n="count").reset_index()


def curve_at_epoch(epochs: pd.DataFrame, *, epoch: int, unknown_percent: float, variant: str = D.name,
                   measures: Sequence[str] = SPLITS, reference: pd.DataFrame | None = None, published: bool = False,
                   ax: Axes | None = None) -> Axes:
    """Accuracy against % Unknown after ``epoch`` epochs, one mix marked; mean over the seeds.

    ``reference`` are the epochs of reference runs, drawn as a band from the lowest to the highest seed. ``published``
    adds the paper's points where they belong: to D and "test".
    """
    ax, which = new_axes(ax), {"epoch": epoch, "variant": variant}
    for measure in measures:
        points = curve_points(epochs, measure=measure, **which)
        ax.plot(points["unknown_percent"], points["mean"], SPLIT_STYLES[measure], color=COLOURS[measure], label=measure)
        if reference is not None:
            points = curve_points(reference, measure=measure, **which)
            seeds = int(points["n"].max()) if len(points) else 0
            ax.fill_between(points["unknown_percent"], points["low"], points["high"], color=COLOURS[measure], alpha=0.2,
                            linewidth=0, hatch="///" if measure == "ood" else None,
                            label=f"{measure}, {seeds} reference seeds")
    ax.axvline(unknown_percent, color="grey", linestyle=":")
    published = published and variant == D.name and "test" in measures
    if published:
        _published_points(ax)
    ax.set(xlabel=PERCENT_UNKNOWN, ylabel="accuracy (%)", ylim=(0, _top(epochs, reference, published=published)),
           title=f"{'' if variant == D.name else plain_text(variant) + ', '}after epoch {epoch}")
    ax.legend(frameon=False, fontsize="small", ncols=2)
    return ax


def _top(*tables: pd.DataFrame | None, published: bool) -> float:
    """The same top of the axis for every epoch, so that a move of the slider does not change the scale."""
    values = [table[list(SPLITS)].max().max() for table in tables if table is not None]
    values += [value for point in paper.UNKNOWN_MIX.values() for value in point.values()] if published else []
    return max(1, 1.1 * max(values))


def describe_epoch(epochs: pd.DataFrame, *, epoch: int, unknown_percent: float, variant: str = D.name,
                   measures: Sequence[str] = SPLITS, reference: pd.DataFrame | None = None) -> str:
    """Describe the marked mix in one sentence, or two with reference runs: means over the seeds."""
    main = main_rate(epochs)
    rows = main[(main["variant"] == variant) & (main["epoch"] == epoch)
                & (main["unknown_percent"] == unknown_percent)].mean(numeric_only=True)
    which = f"{'' if variant == D.name else variant + ' of '}{unknown_percent:g} % Unknown, epoch {epoch}"
    if math.isnan(rows["test"]):
        own = f"{which}: no run has come so far."
    else:
        fitted = ", ".join(f"{rows[f'{kind}_fitted']:.0f} % of {kind.capitalize()} fitted"
                           for kind in ("known", "unknown") if not math.isnan(rows[f"{kind}_fitted"]))
        own = f"{which}: {', '.join(f'{NAMES[measure]} {rows[measure]:.1f} %' for measure in measures)}; {fitted}."
    return own if reference is None else f"{own} {_among(rows, reference, epoch, unknown_percent, variant, measures)}"


def _among(rows: pd.Series, reference: pd.DataFrame, epoch: int, percent: float, variant: str,
           measures: Sequence[str]) -> str:
    """Describe where the reference runs lie, and whether ``rows`` (means) lie among them."""
    parts = []
    for measure in measures:
        points = curve_points(reference, epoch=epoch, variant=variant, measure=measure).set_index("unknown_percent")
        if percent in points.index:
            low, high = points.loc[percent, "low"], points.loc[percent, "high"]
            place = "" if math.isnan(rows[measure]) else (
                ", inside" if low - 1e-9 <= rows[measure] <= high + 1e-9 else ", outside")
            parts.append(f"{NAMES[measure]} {low:.1f} to {high:.1f} %{place}")
    return f"Reference runs: {'; '.join(parts)}." if parts else "No reference run is here."
