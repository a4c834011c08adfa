"""The mixing board: choose the shares of the four categories with |D| fixed, and see whether such a set can be built.

The size of D is a sum over relations (:func:`.mixing.relation_sizes`), and every relation gives the same
shares. So one relation with too few rows of one category is enough: the whole set cannot be built. The rows that are
needed are counted by the rule that draws them (:func:`.mixing.row_counts`), variant D_Free.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes

from course_lib.data.facts import Fact
from course_lib.data.paper import CATEGORIES
from course_lib.data.protocol import D_FREE
from course_lib.figures.plots.style import COLOURS, new_panels, plain_text
from course_lib.training.mixing import Mix, all_shares, draw, relation_sizes, row_counts

__all__ = ["RULES", "Board", "board", "board_bars", "board_grid", "describe_board", "example_rows", "examples",
           "rebalance"]

RULES = {"smallest category (the paper)": "category", "smaller of Known, Unknown": "known"}
AVAILABLE, LACKING, CROSS = "#cccccc", "xxx", "\u2717"


@dataclass(frozen=True, slots=True, eq=False)
class Board:
    """A training set before it is drawn. ``needed`` and ``available``: rows by relation (index) and category (columns).

    ``shares``: category -> percent. ``sizes``: relation -> rows.
    """

    shares: dict[str, float]
    sizes: dict[str, int]
    needed: pd.DataFrame
    available: pd.DataFrame

    @property
    def missing(self) -> pd.DataFrame:
        """Rows that are needed and not there, by relation and category."""
        return (self.needed - self.available).clip(lower=0)

    @property
    def possible(self) -> bool:
        """True if every relation has the rows that are needed."""
        return not self.missing.to_numpy().any()


def rebalance(shares: Mapping[str, int], moved: str, value: int) -> dict[str, int]:
    """Whole percentages that sum to 100 again after ``moved`` was set to ``value`` (0 ... 100).

    The others keep their proportions; where all of them are 0, they share the rest evenly.
    """
    rest, others = 100 - value, [name for name in shares if name != moved]
    weights = [shares[name] for name in others]
    weights = weights if sum(weights) else [1] * len(others)
    exact = [rest * weight / sum(weights) for weight in weights]
    found = {name: int(part) for name, part in zip(others, exact, strict=True)}
    largest = sorted(range(len(others)), key=lambda place: int(exact[place]) - exact[place])
    for place in largest[:rest - sum(found.values())]:  # the largest remainders get what rounding down has left
        found[others[place]] += 1
    return {name: value if name == moved else found[name] for name in shares}


def board(labelled: pd.DataFrame, shares: Mapping[str, float], *, rule: str = "category",
          limit: int | None = None) -> Board:
    """Count what a set with these ``shares`` (category -> percent, summing to 100) needs, and what there is.

    ``labelled``, ``rule`` and ``limit`` are those of :func:`.mixing.relation_sizes`.

    Raises:
        CourseError: shares of something else, or that do not sum to 100; or there is nothing to draw from.
    """
    whole, sizes = all_shares(shares), relation_sizes(labelled, rule=rule, limit=limit)
    needed = pd.DataFrame(dict(zip(sizes, row_counts(whole, sizes), strict=True))).T
    available = pd.crosstab(labelled["relation"], labelled["category"].astype(str))
    columns, relations = list(CATEGORIES), list(sizes)
    return Board({name: whole[name] for name in CATEGORIES}, sizes, needed[columns].astype(int),
                 available.reindex(index=relations, columns=columns, fill_value=0))


def example_rows(facts: Sequence[Fact], labelled: pd.DataFrame, chosen: Board, *, number: int = 4,
                 seed: int = 0) -> str:
    """The set itself is drawn (D_Free) and its first rows described, a line each; "" where it cannot be built."""
    if not chosen.possible:
        return ""
    drawn: Mix = draw(facts, labelled, D_FREE.name, sizes=chosen.sizes, shares=chosen.shares, seed=seed)
    lines = [f"  {row.fact.question} {row.fact.object} ({row.category})" for row in drawn.rows[:number]]
    return "\n".join([f"The first {len(lines)} of {len(drawn.rows)} rows:", *lines])


def board_bars(chosen: Board, *, axes: Sequence[Axes] | None = None) -> tuple[Axes, ...]:
    """Four panels, one for each category: by relation the rows that are there (grey) and that are needed (colour).

    Where too few are there, the needed bar is hatched and marked by a cross.
    """
    panels = new_panels(len(CATEGORIES), axes, width=2.5, height=4.0)
    most = max(chosen.available.to_numpy().max(), chosen.needed.to_numpy().max())
    for ax, category in zip(panels, CATEGORIES, strict=True):
        _pairs(ax, chosen.available[category], chosen.needed[category], chosen.missing[category],
               [COLOURS[category]] * len(chosen.needed), most)
        ax.set_title(f"{category}: {chosen.shares[category]:g} %", fontsize=10)
    panels[0].invert_yaxis()
    return panels


def _pairs(ax: Axes, there: pd.Series, wanted: pd.Series, missing: pd.Series, colours: Sequence[str],
           most: int) -> None:
    """For each name a grey bar of what is there and a narrow one of what is needed, with both numbers."""
    ax.grid(visible=False, axis="y")
    places = range(len(there))
    ax.barh(places, there, height=0.8, color=AVAILABLE, label="available")
    bars = ax.barh(places, wanted, height=0.45, color=colours, label="needed")
    for place, (bar, lack) in enumerate(zip(bars, missing, strict=True)):
        bar.set(hatch=LACKING if lack else "", edgecolor="black" if lack else "none")
        ax.text(max(there.iloc[place], wanted.iloc[place]), place,
                f" {CROSS + ' ' if lack else ''}{wanted.iloc[place]} of {there.iloc[place]}", va="center", fontsize=7)
    ax.set_yticks(places, [plain_text(name) for name in there.index])
    ax.set(xlabel="rows: there (grey), needed", xlim=(0, 1.5 * most))


def describe_board(chosen: Board) -> str:
    """Describe what will be trained, and say whether it can be built."""
    counts = ", ".join(f"{count} {name}" for name, count in chosen.needed.sum().items() if count)
    size = f"|D| = {sum(chosen.sizes.values())} rows: {counts}."
    if chosen.possible:
        return f"{size} It can be built: every relation has enough rows of every category."
    lacks = [(relation, category) for relation, row in chosen.missing.iterrows() for category, lack in row.items()
             if lack]
    first = "; ".join(f"{relation} needs {chosen.needed.loc[relation, category]} {category} and has "
                      f"{chosen.available.loc[relation, category]}" for relation, category in lacks[:3])
    more = f"; and {len(lacks) - 3} more" if len(lacks) > 3 else ""
    names = " and ".join(dict.fromkeys(category for _, category in lacks))
    return f"{size} It cannot be built: {first}{more}. Lower the share of {names}, or take the smaller size."


def examples(labelled: pd.DataFrame, *, limit: int | None = None) -> dict[str, Board]:
    """Four sets to compare, name -> board: even shares by the paper's rule, and three of the larger size."""
    even = dict.fromkeys(CATEGORIES, 25.0)
    chosen = {"even, paper's size": (even, "category"), "even, larger": (even, "known"),
              "WeaklyKnown only": ({"WeaklyKnown": 100.0}, "known"), "Unknown only": ({"Unknown": 100.0}, "known")}
    return {name: board(labelled, shares, rule=rule, limit=limit) for name, (shares, rule) in chosen.items()}


def board_grid(boards: Mapping[str, Board], *, axes: Sequence[Axes] | None = None) -> tuple[Axes, ...]:
    """The board without controls: a panel for each set, with all relations added up, and whether it can be built."""
    panels = new_panels(len(boards), axes, width=2.6, height=3.0)
    most = max(max(one.available.sum().max(), one.needed.sum().max()) for one in boards.values())
    for ax, (name, chosen) in zip(panels, boards.items(), strict=True):
        _pairs(ax, chosen.available.sum(), chosen.needed.sum(), chosen.missing.sum(),
               [COLOURS[category] for category in CATEGORIES], most)
        lacking = int((chosen.missing.sum(axis=1) > 0).sum())
        verdict = "can be built" if chosen.possible else f"{CROSS} {lacking} of {len(chosen.sizes)} relations lack rows"
        ax.set_title(f"{plain_text(name)}\n{verdict}", fontsize=9)
    panels[0].invert_yaxis()
    return panels
