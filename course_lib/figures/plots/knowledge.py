"""Figures of what a model knows: shares of the categories, one question in detail, and a score of two groups.

As in :mod:`.style`: data and an ``ax`` go in, the ``ax`` comes out, nothing is shown or saved, and each figure has a
sentence for readers who cannot see it. Right and wrong are blue and grey, and a tick or a cross says it again; the
colours of the four categories are kept for labels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from course_lib.analysis.single_questions import exposure_groups
from course_lib.data.paper import CATEGORIES
from course_lib.figures.plots.style import COLOURS, new_axes, plain_text
from course_lib.files import CourseError
from course_lib.knowledge.one_question import OneQuestion, label_probabilities

__all__ = ["category_bars", "describe_groups", "describe_question", "describe_shares", "exposure_bars",
           "group_histograms", "question_bars"]

RIGHT, WRONG = "#0072B2", "#999999"
TICK, CROSS = "\u2713", "\u2717"
GROUPS = (("#0072B2", "-"), ("#D55E00", "--"))


def category_bars(shares: dict[str, dict[str, float]], *, ax: Axes | None = None) -> Axes:
    """Stacked bars of the four categories, in percent; ``shares`` maps a bar's name to category fractions."""
    ax, left = new_axes(ax), [0.0] * len(shares)
    for category in CATEGORIES:
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


def describe_shares(shares: dict[str, float]) -> str:
    """A sentence for one bar of :func:`category_bars`."""
    return ", ".join(f"{name} {100 * value:.1f} %" for name, value in shares.items()) + "."


def exposure_bars(labelled: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Category shares by how often a fact was read; ``labelled`` has columns category and readings."""
    groups = labelled.groupby(exposure_groups(labelled["readings"]), observed=True)["category"]
    shares = {f"{name} (n = {len(group)})": group.value_counts(normalize=True).reindex(CATEGORIES, fill_value=0.0)
              for name, group in groups}
    ax = category_bars(shares, ax=ax)
    ax.set_ylabel("times read in pre-training")
    return ax


def question_bars(question: OneQuestion, *, temperature: float, n_samples: int, ax: Axes | None = None) -> Axes:
    """One question: a bar for each prompt, named by the greedy answer after it, and the probable label as a last bar.

    A bar is the probability that a sample after this prompt is the right answer.

    Raises:
        CourseError: see :func:`.one_question.label_probabilities`.
    """
    parts = label_probabilities(question, temperature=temperature, n_samples=n_samples)
    ax, p = new_axes(ax), question.at(temperature)
    ax.grid(visible=False, axis="y")
    ax.barh(range(len(p)), p, color=[RIGHT if right else WRONG for right in question.right])
    for row, value in enumerate(p):
        ax.text(value + 0.015, row, _short_number(value), va="center", fontsize=8)
    below, left = len(p) + 0.5, 0.0
    for category, part in parts.items():
        ax.barh(below, part, left=left, color=COLOURS[category], edgecolor="white")
        if part >= 0.3:
            ax.text(left + part / 2, below, f"{category} {100 * part:.0f} %", ha="center", va="center", fontsize=8)
        left += part
    names = [f"{plain_text(answer, longest=28)} {TICK if right else CROSS}"
             for answer, right in zip(question.answers, question.right, strict=True)]
    ax.set_yticks([*range(len(p)), below], [*names, "label"], fontsize=8)
    ax.set(xlim=(0, 1.15), xticks=[0, 0.25, 0.5, 0.75, 1], xlabel="probability",
           title=f"temperature {temperature:g}, {n_samples} samples a prompt")
    ax.title.set_fontsize(10)
    ax.invert_yaxis()
    return ax


def _short_number(p: float) -> str:
    if p == 0:
        return "0"
    return "< 0.001" if p < 0.0005 else f"{p:.3f}"


def describe_question(question: OneQuestion, *, temperature: float, n_samples: int) -> str:
    """A sentence for :func:`question_bars`."""
    parts = label_probabilities(question, temperature=temperature, n_samples=n_samples)
    p = question.at(temperature)
    label = ", ".join(f"{name} {100 * part:.1f} %" for name, part in parts.items() if part >= 0.0005)
    chance = " to ".join(dict.fromkeys(f"{value:.2g}" for value in (p.min(), p.max())))
    return (f"{question.fact.question} ({question.fact.object}): {question.right.sum()} of {len(p)} greedy answers are "
            f"right. At temperature {temperature:g} a sample is right with probability {chance}, by prompt; with "
            f"{n_samples} samples a prompt the label is {label}.")


def group_histograms(score: Any, truth: Any, *, names: tuple[str, str], xlabel: str, bins: int = 20,
                     ax: Axes | None = None) -> Axes:
    """Histograms of a score in two groups, each in percent of its own size; ``truth`` (Q,) says who is in the first.

    ``names`` are those of the first and the second group. NaN scores are left out.

    Raises:
        CourseError: one of the groups is empty.
    """
    ax, groups = new_axes(ax), _two_groups(score, truth, names)
    edges = np.histogram_bin_edges(np.concatenate(list(groups.values())), bins)
    for (name, values), (colour, style) in zip(groups.items(), GROUPS, strict=True):
        ax.hist(values, edges, weights=np.full(len(values), 100 / len(values)), histtype="step", color=colour,
                linestyle=style, linewidth=1.8, label=f"{plain_text(name)} (n = {len(values)})")
    ax.set(xlabel=plain_text(xlabel, longest=80), ylabel="% of the group")
    ax.legend(frameon=False, fontsize="small")
    return ax


def describe_groups(score: Any, truth: Any, *, names: tuple[str, str], xlabel: str) -> str:
    """A sentence for :func:`group_histograms`: the middle half of each group."""
    halves = [f"{name} (n = {len(values)}): half lie between {np.quantile(values, 0.25):.3g} and "
            f"{np.quantile(values, 0.75):.3g}" for name, values in _two_groups(score, truth, names).items()]
    return f"{xlabel[:1].upper()}{xlabel[1:]}, {'; '.join(halves)}."


def _two_groups(score: Any, truth: Any, names: tuple[str, str]) -> dict[str, np.ndarray]:
    score, truth = np.asarray(score, float), np.asarray(truth, bool)
    known = ~np.isnan(score)
    groups = {names[0]: score[known & truth], names[1]: score[known & ~truth]}
    for name, values in groups.items():
        if not len(values):
            raise CourseError(f"no fact is in the group {name!r}; give more facts")
    return groups
