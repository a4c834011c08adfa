"""Figures of single questions: what is lost by how often it was read, and which rule finds the Unknown (Fig. 5).

As in :mod:`.style`: tables and an ``ax`` go in, the ``ax`` comes out, nothing is shown or saved, and each
figure has a sentence computed from the same table.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from course_lib.data import paper
from course_lib.figures.plots.style import COLOURS, interval_bars, new_axes, plain_text
from course_lib.files import CourseError

__all__ = ["describe_lost", "describe_unknown", "lost_bars", "unknown_curve"]


def _at_stake(table: pd.DataFrame) -> pd.DataFrame:
    kept = table[table["at_stake"] > 0]
    if kept.empty:
        raise CourseError("no test question is right at EARLY_STOP, so none can be lost; give a run that learnt")
    return kept


def lost_bars(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Share of the answers that a run loses after EARLY_STOP, by exposures; 95 % intervals.

    ``table`` as from :func:`.lost_by_exposures`; groups with nothing to lose are left out.

    Raises:
        CourseError: no group has anything to lose.
    """
    table = _at_stake(table)
    ax = new_axes(ax)
    names = [f"{plain_text(row['group'])}\n(n = {row['at_stake']})" for row in table.to_dict("records")]
    ax.bar(names, table["mean"], yerr=interval_bars(table), capsize=4, color=COLOURS["CONVERGENCE"], width=0.6)
    ax.set(xlabel="times read in pre-training (n: answers right at EARLY_STOP)", ylabel="lost by CONVERGENCE (%)",
           ylim=(0, 102))
    return ax


def describe_lost(table: pd.DataFrame) -> str:
    """A sentence for :func:`lost_bars`."""
    parts = [f"{row['group']} {row['mean']:.0f} %" + ("" if row["low"] != row["low"] else
                                                      f" [{row['low']:.0f}, {row['high']:.0f}]")
             + f" of {row['at_stake']}" for row in _at_stake(table).to_dict("records")]
    return f"Of the answers right at EARLY_STOP, wrong at CONVERGENCE, by times read: {'; '.join(parts)}."


def _by_method(points: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The points of SliCK, by their number of prompts, and of P(True), as far as they call any question Unknown."""
    found = points[points["questions"] > 0]
    return found[found["method"] == "SliCK"].sort_values("setting"), found[found["method"] == "P(True)"]


def unknown_curve(points: pd.DataFrame, *, published: bool = False, ax: Axes | None = None) -> Axes:
    """Fig. 5: how much of what a rule calls Unknown is right after fine-tuning; lower at the same x is better.

    ``points`` as from :func:`.unknown_points`. SliCK's point with the most prompts is filled,
    those with fewer are hollow. ``published`` adds SliCK's point of the paper at both stops (worked out from its
    tables).
    """
    ax = new_axes(ax)
    slick, curve = _by_method(points)
    if len(curve):
        curve = curve.sort_values("called")
        ax.plot(curve["called"], curve["mean"], "s-", color=COLOURS["WeaklyKnown"], markersize=4, label="P(True) < T")
    if len(slick) > 1:
        ax.plot(slick["called"], slick["mean"], "o-", color=COLOURS["test"], fillstyle="none",
                label="SliCK, fewer prompts")
    for _, full in slick.tail(1).groupby("setting"):
        ax.errorbar(full["called"], full["mean"], interval_bars(full), marker="o", linestyle="", capsize=3,
                    markersize=9, color=COLOURS["test"], label=f"SliCK, {full['setting'].item():g} prompts")
    if published:
        point = paper.SLICK_UNKNOWN
        ax.plot([point.called] * 2, list(point.accuracy.values()), "o", color="grey", markerfacecolor="white",
                label="SliCK, published (PaLM 2)")
    ax.set(xlabel="test questions called Unknown (%)", ylabel="right after fine-tuning (%)", xlim=(0, 102),
           ylim=(0, max(1.0, ax.get_ylim()[1])))
    ax.legend(frameon=False, fontsize="small")
    return ax


def describe_unknown(points: pd.DataFrame) -> str:
    """A sentence for :func:`unknown_curve`: SliCK's points, and P(True) where it calls nearest to as many Unknown."""
    slick, curve = _by_method(points)
    parts = [f"with {row['setting']:g} prompts SliCK calls {row['called']:.1f} % Unknown, {row['mean']:.1f} % of them "
             f"right" for row in slick[::-1].to_dict("records")]
    if len(slick) and len(curve):
        most = slick.loc[slick["setting"].idxmax(), "called"]
        near = curve.loc[(curve["called"] - most).abs().idxmin()]
        parts.append(f"P(True) < {near['setting']:g} calls {near['called']:.1f} %, {near['mean']:.1f} % of them right")
    text = "; ".join(parts) or "no rule calls any question Unknown"
    return f"{text[0].upper()}{text[1:]}."
