"""Training sets with a chosen share of facts that the model does not know (paper, section 4 and App. E).

D at X % Unknown has a fixed size and a fixed mix of relations: in each relation, X % of its rows are drawn from
Unknown and the others from the Known categories, so |D| and the relations are the same for every X and only what
the model knew differs. D_Known is D with its Unknown rows taken out: |D_Known| = (1 - X) |D|.

The size is a sum over relations. The paper takes the smallest of the four categories of each relation, 6142 rows in
all (``rule="category"``). The smaller of Known and Unknown (``rule="known"``) uses a small world better and is all
that mixes of Known and Unknown need.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from course_lib.facts import Fact
from course_lib.files import CourseError
from course_lib.slick import CATEGORIES

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Mix", "Row", "known_only", "mix", "relation_sizes"]


@dataclass(frozen=True, slots=True)
class Row:
    """One training row: a fact and the category that it had before fine-tuning."""

    fact: Fact
    category: str

    @property
    def unknown(self) -> bool:
        """Whether the base model did not know the fact."""
        return self.category == "Unknown"


@dataclass(frozen=True, slots=True)
class Mix:
    """A training set: ``variant`` "D" or "D_Known", the percentage of Unknown it was drawn with, its rows and seed."""

    variant: str
    unknown_percent: float
    seed: int
    rows: tuple[Row, ...]

    @property
    def known(self) -> tuple[Fact, ...]:
        """The facts that the base model knew."""
        return tuple(row.fact for row in self.rows if not row.unknown)

    @property
    def unknown(self) -> tuple[Fact, ...]:
        """The facts that it did not know."""
        return tuple(row.fact for row in self.rows if row.unknown)


def relation_sizes(labelled: pd.DataFrame, *, rule: str = "category", limit: int | None = None) -> dict[str, int]:
    """Rows of each relation in every variant of D.

    ``labelled`` has columns relation and category (see :func:`course_lib.slick.categorize`). ``limit`` scales the
    sizes down, in proportion, to about that many rows in all.

    Raises:
        CourseError: an unknown rule, nothing to draw from, or a limit that leaves no row.
    """
    if rule not in ("category", "known"):
        raise CourseError(f"rule {rule!r}: use 'category' (the paper's) or 'known'")
    labelled = labelled[_was_asked(labelled)]
    group = labelled["category"].astype(str)
    if rule == "known":
        group = group.where(group == "Unknown", "Known")
    names = CATEGORIES if rule == "category" else ("Known", "Unknown")
    counts = group.groupby(labelled["relation"], sort=False).value_counts().unstack(fill_value=0)
    sizes = counts.reindex(columns=list(names), fill_value=0).min(axis=1)
    if sizes.sum() == 0:
        raise CourseError(f"no relation has rows of every one of {', '.join(names)}: {counts.sum().to_dict()}; label "
                          f"more facts or take rule='known'")
    if limit is not None and limit < sizes.sum():
        scaled = (sizes * limit / sizes.sum()).round()
        if scaled.sum() == 0:
            raise CourseError(f"limit = {limit}: it leaves no row to any of {(sizes > 0).sum()} relations; give at "
                              f"least one row a relation")
        sizes = scaled
    return {relation: int(size) for relation, size in sizes.items() if size}


def mix(facts: Sequence[Fact], labelled: pd.DataFrame, *, unknown_percent: float, sizes: dict[str, int],
        seed: int = 0) -> Mix:
    """Draw D at ``unknown_percent`` % Unknown; row i of ``labelled`` is about ``facts[i]``.

    With one seed the Unknown rows of a smaller share are among those of a larger one, and likewise the Known rows,
    so that two shares differ in nothing but the rows that were exchanged.

    Raises:
        CourseError: the percentage is not within 0 ... 100, a relation has too few rows (the counts are named), or
            ``labelled`` is not about ``facts``.
    """
    if not 0 <= unknown_percent <= 100:
        raise CourseError(f"unknown_percent {unknown_percent}: give a percentage from 0 to 100")
    rows: list[Row] = []
    pools = _pools(facts, labelled)
    for number, (relation, size) in enumerate(sizes.items()):
        rng = random.Random(f"{seed} {relation}")
        # rounded down after adding another fraction in each relation, so that the whole has the share asked for
        n_unknown = math.floor(size * unknown_percent / 100 + (number + 0.5) / len(sizes))
        known, unknown = pools.get((relation, False), []), pools.get((relation, True), [])
        if len(unknown) < n_unknown or len(known) < size - n_unknown:
            raise CourseError(f"{relation}: {size - n_unknown} Known and {n_unknown} Unknown rows are needed, there "
                              f"are {len(known)} and {len(unknown)}; lower the size of this relation or the share")
        rows += rng.sample(known, len(known))[:size - n_unknown] + rng.sample(unknown, len(unknown))[:n_unknown]
    random.Random(seed).shuffle(rows)
    return Mix("D", unknown_percent, seed, tuple(rows))


def known_only(full: Mix) -> Mix:
    """D_Known of a mix: its Unknown rows taken out, nothing put in their place (paper, section 4.2)."""
    return Mix("D_Known", full.unknown_percent, full.seed, tuple(row for row in full.rows if not row.unknown))


def _pools(facts: Sequence[Fact], labelled: pd.DataFrame) -> dict[tuple[str, bool], list[Row]]:
    pools: dict[tuple[str, bool], list[Row]] = {}
    if len(facts) != len(labelled):
        raise CourseError(f"{len(facts)} facts and {len(labelled)} labelled rows: give the rows of these facts alone, "
                          f"for example those of split 'train'")
    asked = _was_asked(labelled)
    for number, (fact, category) in enumerate(zip(facts, labelled["category"].astype(str), strict=True)):
        if not asked.iloc[number]:
            continue
        if category not in CATEGORIES:
            raise CourseError(f"labelled row {number}: category {category!r} is none of {', '.join(CATEGORIES)}; label "
                              f"the facts again")
        row = Row(fact, category)
        pools.setdefault((fact.relation, row.unknown), []).append(row)
    return pools


def _was_asked(labelled: pd.DataFrame) -> pd.Series:
    """False for the rows whose ``problem`` says why they have no category; such facts are not drawn."""
    return labelled["problem"].eq("") if "problem" in labelled else labelled["category"].astype(str).ne("")
