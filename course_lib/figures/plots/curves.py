"""More figures of runs: fitting by category, what is fitted at EARLY_STOP, and other learning rates.

As in :mod:`.style`: data and an ``ax`` go in, the ``ax`` comes out, nothing is shown or saved, and each
figure has a sentence computed from the same data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from course_lib.analysis.stops import STOPS, over_seeds, stops
from course_lib.analysis.tables import fitted_table
from course_lib.data.paper import CATEGORIES
from course_lib.figures.plots.style import COLOURS, MARKERS, new_axes, one_run, plain_text
from course_lib.files import CourseError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["category_curve", "describe_category_curve", "describe_fitted", "describe_rates", "fitted_bars",
           "fitted_lines", "rate_curves"]

STYLES = dict(zip(CATEGORIES, ("o-", "^-", "v-", "s--"), strict=True))
RATES = ("-", "--", ":", "-.")


def _taught(epochs: pd.DataFrame) -> list[str]:
    """The categories that the run has training rows of."""
    one_run(epochs)
    found = [name for name in CATEGORIES if f"train_{name}" in epochs and epochs[f"train_{name}"].notna().any()]
    if not found:
        raise CourseError("no training accuracy by category: these runs were made without it; run them again")
    return found


def category_curve(epochs: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Fig. 1 split by category (v3's Fig. 7): rows of each SliCK category fitted, and dev accuracy, by epoch of a run.

    Raises:
        CourseError: the epochs of several runs, or of none, or without columns train_<category>.
    """
    categories = _taught(epochs)
    ax = new_axes(ax)
    for category in categories:
        ax.plot(epochs["epoch"], epochs[f"train_{category}"], STYLES[category], color=COLOURS[category],
                label=f"{category} rows fitted", markersize=4)
    ax.plot(epochs["epoch"], epochs["dev"], "d-", color=COLOURS["dev"], label="dev accuracy", markersize=4)
    best = stops(epochs).query("stop == 'EARLY_STOP'").iloc[0]
    ax.axvline(best["epoch"], color="grey", linestyle=":", label=f"EARLY_STOP (epoch {best['epoch']:g})")
    ax.set(xlabel="epoch", ylabel="exact match (%)", ylim=(0, 102))
    ax.legend(frameon=False, fontsize="small")
    return ax


def describe_category_curve(epochs: pd.DataFrame) -> str:
    """A sentence for :func:`category_curve`: fitted at both stops, and the epoch by which half is fitted."""
    categories, stopped = _taught(epochs), stops(epochs).set_index("stop")
    parts = []
    for category in categories:
        early, late = (stopped.loc[stop, f"train_{category}"] for stop in STOPS)
        half = epochs.loc[(epochs["epoch"] > 0) & (epochs[f"train_{category}"] >= 50), "epoch"]
        told = f"half by epoch {half.min():g}" if len(half) else "half of them never"
        parts.append(f"{category} {early:.0f} and {late:.0f} % ({told})")
    epoch = stopped.loc["EARLY_STOP", "epoch"]
    return f"Fitted at EARLY_STOP (epoch {epoch:g}) and at CONVERGENCE: {'; '.join(parts)}."


def _shares_of_d(epochs: pd.DataFrame, stop: str) -> pd.DataFrame:
    """Percent of D by share of Unknown: known and unknown rows that are fitted, and those that are not."""
    import pandas as pd

    fitted = fitted_table(epochs, stop=stop).pivot(index="unknown_percent", columns="part", values="mean")
    if fitted.empty:
        raise CourseError(f"no run of D at {stop}; run the sweep, or give all of its epochs")
    unknown = fitted.index.to_numpy(float)
    parts = {}
    for name, rows in (("Known", 100 - unknown), ("Unknown", unknown)):
        share = fitted[name].fillna(0) / 100 if name in fitted else 0
        parts |= {f"{name}, fitted": rows * share, f"{name}, not fitted": rows * (1 - share)}
    return pd.DataFrame(parts, index=fitted.index)


def fitted_bars(epochs: pd.DataFrame, *, stop: str = "EARLY_STOP", ax: Axes | None = None) -> Axes:
    """Fig. 4: which part of D is fitted at ``stop``, a stacked bar for each share of Unknown; means over seeds.

    Raises:
        CourseError: there is no run of D, or there are several learning rates.
    """
    shares = _shares_of_d(epochs, stop)
    ax = new_axes(ax)
    names, left = [f"{percent:g} %" for percent in shares.index], 0
    for part in shares:
        colour = COLOURS["known" if part.startswith("Known") else "unknown"]
        full = part.endswith(", fitted")
        ax.barh(names, shares[part], left=left, color=colour if full else "white", edgecolor=colour,
                hatch=None if full else "///", label=part)
        left = left + shares[part]
    ax.set(xlabel=f"share of D at {stop} (%)", ylabel="Unknown facts in D", xlim=(0, 100))
    ax.invert_yaxis()
    ax.legend(ncols=4, frameon=False, fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return ax


def fitted_lines(epochs: pd.DataFrame, *, stop: str = "EARLY_STOP", ax: Axes | None = None) -> Axes:
    """Fig. 4 by category: percent of each category's rows that is fitted at ``stop``, against % Unknown.

    Bars are 95 % intervals over seeds.

    Raises:
        CourseError: the runs have no accuracies by category, or there are several learning rates.
    """
    table = fitted_table(epochs, stop=stop)
    if not set(table["part"]) & set(CATEGORIES[:3]):
        raise CourseError("no training accuracy by category: these runs were made without it; run them again")
    ax = new_axes(ax)
    for category in CATEGORIES:
        line = table[table["part"] == category]
        if len(line):
            bars = [line["mean"] - line["low"], line["high"] - line["mean"]]
            ax.errorbar(line["unknown_percent"], line["mean"], bars, fmt=STYLES[category], color=COLOURS[category],
                        capsize=3, label=f"{category} (n = {int(line['n'].max())})")
    ax.set(xlabel="Unknown facts in the training set (%)", ylabel=f"fitted at {stop} (%)", ylim=(0, 102))
    ax.legend(frameon=False, fontsize="small")
    return ax


def describe_fitted(epochs: pd.DataFrame, *, stop: str = "EARLY_STOP") -> str:
    """A sentence for :func:`fitted_bars` and :func:`fitted_lines`, with the share of each part that is fitted."""
    table = fitted_table(epochs, stop=stop)
    parts = []
    for percent, group in table.groupby("unknown_percent"):
        means = group.set_index("part")["mean"]
        told = ", ".join(f"{value:.0f} % of {name}" for name, value in means.items())
        parts.append(f"at {percent:g} % Unknown {told}")
    return f"Rows fitted at {stop}, means over {int(table['n'].max())} seed(s): {'; '.join(parts)}."


def _by_rate(epochs: pd.DataFrame, measure: str, variant: str) -> dict[float, pd.DataFrame]:
    if "lr" not in epochs:
        raise CourseError("the runs have no column lr; read them with course_lib.training.runs.writer.read_runs")
    own = epochs[epochs["variant"] == variant]
    if own.empty:
        raise CourseError(f"no run of {variant}; there are {', '.join(sorted(set(epochs['variant'])))}")
    return {rate: over_seeds(stops(group), measure).sort_values("unknown_percent")
            for rate, group in own.groupby("lr")}


def rate_curves(epochs: pd.DataFrame, *, measure: str = "test", variant: str = "D", ax: Axes | None = None) -> Axes:
    """Fig. 6: accuracy against % Unknown for every learning rate, at both stops; bars are intervals over seeds.

    Raises:
        CourseError: the runs do not say their learning rates, or there is no run of ``variant``.
    """
    tables = _by_rate(epochs, measure, variant)
    ax = new_axes(ax)
    for (rate, table), style in zip(tables.items(), RATES * len(tables), strict=False):
        for stop in STOPS:
            line = table[table["stop"] == stop]
            bars = [line["mean"] - line["low"], line["high"] - line["mean"]]
            ax.errorbar(line["unknown_percent"], line["mean"], bars, linestyle=style, marker=MARKERS[stop],
                        color=COLOURS[stop], capsize=3, label=f"{stop}, rate {rate:g} (n = {int(line['n'].max())})")
    ax.set(xlabel="Unknown facts in the training set (%)", ylabel=f"{plain_text(measure)} accuracy (%)",
           ylim=(0, ax.get_ylim()[1] * 1.05))
    ax.legend(frameon=False, fontsize="small")
    return ax


def describe_rates(epochs: pd.DataFrame, *, measure: str = "test", variant: str = "D") -> str:
    """A sentence for :func:`rate_curves`."""
    parts = []
    for rate, table in _by_rate(epochs, measure, variant).items():
        means = table.pivot(index="unknown_percent", columns="stop", values="mean")
        told = "; ".join(f"at {stop} {', '.join(f'{value:.1f}' for value in means[stop])}" for stop in STOPS)
        parts.append(f"rate {rate:g} ({int(table['n'].max())} seed(s), {', '.join(f'{p:g}' for p in means.index)} % "
                     f"Unknown): {told} %")
    return f"Mean {measure} accuracy, {'. '.join(parts)}."
