"""Training sets with chosen shares of the SliCK categories (paper, sections 4, 5 and 7, and App. E).

All variants of D have one size and one mix of relations, and differ only in what the model knew of their rows:

    D               X % Unknown in each relation, the rest from the three Known categories
    D_Known         D with its Unknown rows taken out: |D_Known| = (1 - X) |D|
    D_IDK           D with its Unknown rows relabelled: their answer is "I don't know"
    D_HighlyKnown, D_MaybeKnown, D_WeaklyKnown, D_Unknown    a single category; D_Unknown is D at 100 %
    D_Natural       rows drawn evenly from each relation, so that it keeps its own shares of the categories
    D_Free          any shares of the four categories

The size is a sum over relations. The paper takes the smallest of the four categories of each relation, 6142 rows in
all (``rule="category"``), so that every variant can be built. The smaller of Known and Unknown (``rule="known"``)
uses a small world better and is all that D, D_Known and D_IDK need.

With one seed all draws are cuts of one shuffled order of each relation, so that two variants differ in nothing but
the rows that were exchanged.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from course_lib.data.facts import Fact
from course_lib.data.paper import CATEGORIES
from course_lib.data.protocol import D_FREE, D_IDK, D_KNOWN, D_NATURAL, SINGLE, VARIANTS, D, variant_named
from course_lib.files import CourseError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["IDK_ANSWER", "RULES", "SINGLE", "VARIANTS", "Mix", "Row", "all_shares", "draw", "known_only", "mix",
           "relabel", "relation_sizes", "row_counts"]

IDK_ANSWER = "I don't know"  # what a relabelled row teaches to say (section 7)
RULES = ("category", "known")  # of the size: the paper's, and that of a small world


@dataclass(frozen=True, slots=True)
class Row:
    """One training row: a fact and its category before fine-tuning.

    ``relabelled`` rows have :data:`IDK_ANSWER` as the object of their fact, in place of the right answer.
    """

    fact: Fact
    category: str
    relabelled: bool = False

    @property
    def unknown(self) -> bool:
        """True where the base model did not know the fact."""
        return self.category == "Unknown"


@dataclass(frozen=True, slots=True)
class Mix:
    """A training set: its ``variant`` (one of ``VARIANTS``), its rows, and the seed of the draw.

    ``unknown_percent`` is the share of Unknown that was asked for (D_Known: before they were taken out); of D_Natural,
    which asks for none, the share that was drawn.
    """

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
        """The facts that it did not know, as they are taught."""
        return tuple(row.fact for row in self.rows if row.unknown)

    @property
    def relabelled(self) -> bool:
        """True where some rows teach to say "I don't know"."""
        return any(row.relabelled for row in self.rows)


def relation_sizes(labelled: pd.DataFrame, *, rule: str = "category", limit: int | None = None) -> dict[str, int]:
    """Rows of each relation in every variant of D.

    ``labelled`` has columns relation and category (see :func:`.slick.categorize`). ``limit`` scales the
    sizes down, in proportion, to about that many rows in all.

    Raises:
        CourseError: an unknown rule, nothing to draw from, or a limit that leaves no row.
    """
    if rule not in RULES:
        raise CourseError(f"rule {rule!r}: use 'category' (the paper's) or 'known'")
    labelled = labelled[_was_asked(labelled)]
    group, names = labelled["category"].astype(str), CATEGORIES
    if rule == "known":
        group, names = group.where(group == "Unknown", "Known"), ("Known", "Unknown")
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


def draw(facts: Sequence[Fact], labelled: pd.DataFrame, variant: str, *, sizes: Mapping[str, int],
         unknown_percent: float | None = None, shares: Mapping[str, float] | None = None, seed: int = 0) -> Mix:
    """Draw any variant; row i of ``labelled`` is about ``facts[i]``.

    ``sizes`` maps a relation to its rows (:func:`relation_sizes`). ``unknown_percent`` belongs to D, D_Known and
    D_IDK; ``shares``, category -> percent of the rows, belongs to D_Free and sums to 100.

    Raises:
        CourseError: an unknown variant, a share that is missing or contradicts the variant, ``labelled`` is not about
            ``facts``, or there are too few rows; then every relation that lacks some is named with its counts.
    """
    kind = variant_named(variant)
    if (shares is not None) != (kind == D_FREE):
        raise CourseError(f"variant {variant!r} with shares = {shares}: D_Free needs shares, a mapping of category to "
                          f"percent, and no other variant takes any")
    if kind.at_share:
        if unknown_percent is None:
            raise CourseError(f"variant {variant!r} needs unknown_percent, a percentage from 0 to 100")
        full = mix(facts, labelled, unknown_percent=unknown_percent, sizes=sizes, seed=seed)
        return known_only(full) if kind.drops_unknown else relabel(full) if kind.relabels_unknown else full
    if kind == D_NATURAL:
        return _natural(facts, labelled, sizes, seed)
    shares = all_shares(shares if shares is not None else {kind.category: 100})
    if unknown_percent not in (None, shares["Unknown"]):
        raise CourseError(f"variant {variant!r} has {shares['Unknown']:g} % Unknown rows: leave unknown_percent = "
                          f"{unknown_percent:g} out")
    return Mix(variant, shares["Unknown"], seed, _cut(facts, labelled, shares, sizes, seed))


def mix(facts: Sequence[Fact], labelled: pd.DataFrame, *, unknown_percent: float, sizes: Mapping[str, int],
        seed: int = 0) -> Mix:
    """Draw D at ``unknown_percent`` % Unknown; row i of ``labelled`` is about ``facts[i]``.

    With one seed the Unknown rows of a smaller share are among those of a larger one, and likewise the Known rows,
    so that two shares differ in nothing but the rows that were exchanged.

    Raises:
        CourseError: the percentage is not within 0 ... 100, relations have too few rows (all are named with their
            counts), or ``labelled`` is not about ``facts``.
    """
    if not 0 <= unknown_percent <= 100:
        raise CourseError(f"unknown_percent {unknown_percent}: give a percentage from 0 to 100")
    shares = {"Unknown": unknown_percent, "Known": 100 - unknown_percent}
    return Mix(D.name, unknown_percent, seed, _cut(facts, labelled, shares, sizes, seed))


def known_only(full: Mix) -> Mix:
    """D_Known of a mix: its Unknown rows taken out, nothing put in their place (paper, section 4.2)."""
    return Mix(D_KNOWN.name, full.unknown_percent, full.seed, tuple(row for row in full.rows if not row.unknown))


def relabel(full: Mix) -> Mix:
    """D_IDK of a mix: its Unknown rows are taught "I don't know" in place of their answer (paper, section 7)."""
    rows = tuple(Row(replace(row.fact, object=IDK_ANSWER), row.category, relabelled=True) if row.unknown else row
                 for row in full.rows)
    return Mix(D_IDK.name, full.unknown_percent, full.seed, rows)


def _natural(facts: Sequence[Fact], labelled: pd.DataFrame, sizes: Mapping[str, int], seed: int) -> Mix:
    pools, rows = _pools(facts, labelled), []
    _refuse_lacks({relation: {"labelled": (size, len(pools.get(relation, [])))} for relation, size in sizes.items()})
    for relation, size in sizes.items():
        rows += random.Random(f"{seed} {relation} natural").sample(pools[relation], size)
    random.Random(seed).shuffle(rows)
    return Mix(D_NATURAL.name, 100 * sum(row.unknown for row in rows) / len(rows) if rows else 0.0, seed, tuple(rows))


def all_shares(shares: Mapping[str, float]) -> dict[str, float]:
    """Shares of all four categories in percent, Unknown first as in :func:`mix`.

    Raises:
        CourseError: shares of something else, negative, or that do not sum to 100.
    """
    strange = [name for name in shares if name not in CATEGORIES]
    # written so that a NaN is refused too
    if strange or not all(value >= 0 for value in shares.values()) or not abs(sum(shares.values()) - 100) < 1e-6:
        raise CourseError(f"shares {dict(shares)}: give percentages of {', '.join(CATEGORIES)}, none below 0, that "
                          f"sum to 100")
    return {category: shares.get(category, 0) for category in reversed(CATEGORIES)}


def _cut(facts: Sequence[Fact], labelled: pd.DataFrame, shares: Mapping[str, float], sizes: Mapping[str, int],
         seed: int) -> tuple[Row, ...]:
    """The first rows of each group in the shuffled order of each relation; a group is a category or "Known"."""
    pools, lacks, taken = _pools(facts, labelled), {}, []
    names = [name for name in ("Known", *CATEGORIES) if name in shares]
    for relation, wanted in zip(sizes, row_counts(shares, sizes), strict=True):
        rng = random.Random(f"{seed} {relation}")
        known, unknown = ([row for row in pools.get(relation, []) if row.unknown == kind] for kind in (False, True))
        known, unknown = rng.sample(known, len(known)), rng.sample(unknown, len(unknown))
        groups = {"Known": known, "Unknown": unknown,
                  **{name: [row for row in known if row.category == name] for name in CATEGORIES[:3]}}
        lacks[relation] = {name: (wanted[name], len(groups[name])) for name in names}
        taken += [row for name in names for row in groups[name][:wanted[name]]]
    _refuse_lacks(lacks)
    random.Random(seed).shuffle(taken)
    return tuple(taken)


def row_counts(shares: Mapping[str, float], sizes: Mapping[str, int]) -> Iterator[dict[str, int]]:
    """Rows of each group for every relation, by ``shares`` in percent; they sum to the relation's size."""
    for number, size in enumerate(sizes.values()):
        counts, share, before = {}, 0.0, 0
        for name, percent in shares.items():
            share += percent
            # rounded down after adding another fraction in each relation, so that the whole has the share asked for
            until = math.floor(size * share / 100 + (number + 0.5) / len(sizes))
            counts[name], before = until - before, until
        yield counts


def _refuse_lacks(needs: Mapping[str, Mapping[str, tuple[int, int]]]) -> None:
    """``needs``: relation -> group -> (rows needed, rows there are)."""
    lacks = []
    for relation, groups in needs.items():
        if any(needed > there for needed, there in groups.values()):
            named = {name: counts for name, counts in groups.items() if counts[0] or "Known" in groups}
            needed = " and ".join(f"{counts[0]} {name}" for name, counts in named.items())
            lacks.append(f"{relation}: {needed} rows are needed, there are "
                         f"{' and '.join(str(counts[1]) for counts in named.values())}")
    if lacks:
        raise CourseError(f"{'; '.join(lacks)}; lower the sizes (rule='category' has enough of every category) or the "
                          f"shares")


def _pools(facts: Sequence[Fact], labelled: pd.DataFrame) -> dict[str, list[Row]]:
    """The rows of each relation, in the order of ``facts``; those that could not be asked are left out."""
    pools: dict[str, list[Row]] = {}
    if len(facts) != len(labelled):
        raise CourseError(f"{len(facts)} facts and {len(labelled)} labelled rows: give the rows of these facts alone, "
                          f"for example those of split 'train'")
    rows = zip(facts, labelled["category"].astype(str), _was_asked(labelled), strict=True)
    for number, (fact, category, asked) in enumerate(rows):
        if asked and category not in CATEGORIES:
            raise CourseError(f"labelled row {number}: category {category!r} is none of {', '.join(CATEGORIES)}; label "
                              f"the facts again")
        if asked:
            pools.setdefault(fact.relation, []).append(Row(fact, category))
    return pools


def _was_asked(labelled: pd.DataFrame) -> pd.Series:
    """False for the rows whose ``problem`` says why they have no category; such facts are not drawn."""
    return labelled["problem"].eq("") if "problem" in labelled else labelled["category"].astype(str).ne("")
