"""Checks of lesson 06: how many rows a relation gives, rounding without a drift, nested draws, the control.

Nested draws are compared with :func:`.mixing.mix` on an invented world of one relation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from course_lib.data.facts import Fact
from course_lib.data.paper import CATEGORIES
from course_lib.lessons.exercises.core import Wrong, close, rule_out, same
from course_lib.training.mixing import Row, mix

__all__ = ["CHECKS"]


def _rows_of(rows_of: Callable[[Mapping[str, int], str], int]) -> str:
    counts = dict(zip(CATEGORIES, (70, 30, 12, 50), strict=True))
    small, large = rows_of(dict(counts), "category"), rows_of(dict(counts), "known")
    rule_out(small, {70: "70 is the largest category. A set of WeaklyKnown rows alone can have 12 rows at most: take "
                         "the smallest."})
    same(small, 12, '70, 30, 12 and 50 facts, rule "category"')
    rule_out(large, {12: 'Rule "known" gives 12, the smallest category again. It has two groups only: put the three '
                         "Known categories together first."})
    same(large, 50, '70, 30, 12 and 50 facts, rule "known"')
    few = dict(zip(CATEGORIES, (3, 2, 0, 40), strict=True))
    rule_out(rows_of(dict(few), "known"), {
        40: '3, 2, 0 and 40 facts, rule "known": you took the Unknown facts as the smaller group, but here the 5 Known '
            "ones are fewer."})
    same(rows_of(dict(few), "known"), 5, '3, 2, 0 and 40 facts, rule "known"')
    same(rows_of(dict(few), "category"), 0, '3, 2, 0 and 40 facts, rule "category"')
    return "The smallest group decides: a mix can take no more than that, whatever its share of Unknown."


def _unknown_rows(unknown_rows: Callable[[list[int], float], Sequence[int]]) -> str:
    given = unknown_rows([3, 3, 3, 3, 3], 50)
    rule_out(given, {(each,) * 5: f"Five relations with 3 rows each give {5 * each} Unknown rows together, and 7.5 are "
                                  f"meant: you round all in the same way, and the errors add up. Some must go up and "
                                  f"others down." for each in (1, 2)})
    for sizes, percent in (([3] * 5, 50), ([10, 7, 1, 24, 5], 30), ([1] * 10, 25), ([4, 6, 9], 0), ([4, 6, 9], 100),
                           ([30, 4, 6, 35, 5, 7, 4, 20, 1, 7], 75)):
        _refuse_drift(list(unknown_rows(list(sizes), percent)), sizes, percent)
    return "No relation is off by a whole row, and neither is the sum."


def _refuse_drift(rows: list[int], sizes: list[int], percent: float) -> None:
    """Each number must be the exact one rounded down or up, and the sum within 1 of the exact sum."""
    case = f"sizes {sizes}, {percent} %"
    if len(rows) != len(sizes):
        raise Wrong(f"{case}: {len(sizes)} relations, but you give {len(rows)} numbers.")
    for row, size in zip(rows, sizes, strict=True):
        exact = size * percent / 100
        if row != int(row):
            raise Wrong(f"{case}: {row} is no whole number of rows. Round it down or up.")
        if not math.floor(exact) <= row <= math.ceil(exact):
            raise Wrong(f"{case}: one relation of {size} rows gets {row} Unknown ones, and {exact:g} are meant. Spread "
                        f"the rounding over all relations: each may be off by less than a row.")
    meant = sum(sizes) * percent / 100
    if abs(sum(rows) - meant) > 1:
        raise Wrong(f"{case}: {sum(rows)} Unknown rows together, and {meant:g} are meant. The errors add up: some "
                    f"relations must round up and others down.")


def _common(common: Callable[[float, float], float]) -> str:
    found, turned = common(25, 50), common(50, 25)
    rule_out(found, {
        75: "75 is in percent. Give a share from 0 to 1.",
        0.25: "0.25 are the common Unknown rows. There are common Known rows as well: both mixes have at least 50 %.",
        0.25 * 0.5 + 0.75 * 0.5: "0.5 would be the chance that two rows picked at random are of the same kind. With "
                                 "one seed the smaller pool is part of the larger one."}, case="25 % and 50 %: ")
    if found == 0.75 and turned > 1:
        raise Wrong(f"50 % and 25 % have {turned:g} of their rows in common, more than all: the order of the two must "
                    f"not matter.")
    for x, y in ((25, 50), (50, 25), (0, 100), (40, 40), (10, 90)):
        close(common(x, y), _shared(x, y), f"{x} % and {y} %")
    return "Only |x - y| percent of the rows are exchanged; the library's own draws agree."


def _shared(x: float, y: float) -> float:
    """The share of common rows, counted in two mixes of an invented relation."""
    import pandas as pd

    facts = [Fact(f"s{number}", "P19", "o") for number in range(200)]
    labelled = pd.DataFrame({"relation": "P19", "category": ["HighlyKnown", "Unknown"] * 100})
    first, second = ({row.fact for row in mix(facts, labelled, unknown_percent=percent, sizes={"P19": 100}).rows}
                     for percent in (x, y))
    return len(first & second) / 100


def _without_unknown(without_unknown: Callable[[Sequence[Row]], Sequence[Row]]) -> str:
    names = ("Unknown", "WeaklyKnown", "HighlyKnown", "Unknown", "MaybeKnown")
    rows = tuple(Row(Fact(f"s{number}", "P19", "o"), name) for number, name in enumerate(names))
    wanted, found = (rows[1], rows[2], rows[4]), without_unknown(rows)
    given = list(found) if found is not None else []
    if given and all(isinstance(row, Fact) for row in given):
        raise Wrong("You give facts. Give whole rows: their categories are needed later.")
    if len(given) == len(rows):
        raise Wrong("As many rows come out as went in. D_Known is smaller than D: nothing takes the place of the "
                    "Unknown rows.")
    if given == [rows[0], rows[3]]:
        raise Wrong("You kept the Unknown rows and threw the others away.")
    if given and set(given) < set(wanted):
        raise Wrong("Some Known rows are missing. HighlyKnown, MaybeKnown and WeaklyKnown all count as Known: ask "
                    "row.unknown.")
    if set(given) == set(wanted) and given != list(wanted):
        raise Wrong("The right rows in another order. Keep that of D, so that nothing else differs.")
    if given == list(wanted) and not isinstance(found, tuple):
        raise Wrong(f"The right rows, as a {type(found).__name__}. Make it a tuple: tuple(...).")
    same(found, wanted, "two Unknown rows among five")
    same(without_unknown(rows[:1]), (), "one Unknown row alone")
    return "Nothing in the place of the Unknown rows: that is what makes it a control."


CHECKS = {"06.1": _rows_of, "06.2": _unknown_rows, "06.3": _common, "06.4": _without_unknown}
