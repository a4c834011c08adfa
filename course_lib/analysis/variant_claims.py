"""The paper's claims about other training sets: single categories (Table 2) and "I don't know" (Table 3)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from course_lib.analysis.stopping import STOPS
from course_lib.analysis.tables import PRINTED, TESTED, answered_and_right
from course_lib.analysis.verdicts import Claim, Runs, claim, step
from course_lib.data import paper
from course_lib.data.protocol import D_IDK, D_NATURAL, SINGLE, D

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["category_claims", "idk_claims"]

HIGHLY, MAYBE, WEAKLY, UNKNOWN = SINGLES = tuple(SINGLE)


def category_claims(stopped: pd.DataFrame) -> list[Claim]:
    """Table 2: which knowledge helps. A claim is left out where one of its variants or columns is absent."""
    runs = Runs(stopped)
    found = [check(runs) for check in (_maybe_is_best, _highly_is_not_best, _maybe_for_maybe, _unknown_is_worst,
                                       _little_known_fades, _highly_known_are_lost, _no_new_knowledge)]
    return [each for each in found if each]


def _there(runs: Runs, variants: Sequence[str], tested: str = "Full") -> bool:
    return runs.variants >= set(variants) and runs.measured(TESTED[tested])


def _told(cells: dict[str, list[float]]) -> str:
    """Means at both stops, as "MaybeKnown 44.0 / 43.1, ..."."""
    told = ", ".join(f"{name} {early:.1f} / {late:.1f}" for name, (early, late) in cells.items())
    return f"{told} (EARLY_STOP / CONVERGENCE)"


def _ordered(runs: Runs, text: str, pairs: Sequence[tuple[str, str]], *, tested: str = "Full",
             at: Sequence[str] = STOPS) -> Claim | None:
    """The claim that of each pair of variants the first is above the second, at each of these stops, by seed."""
    variants = {name: name.removeprefix("D_") for name in SINGLES if any(name in pair for pair in pairs)}
    if not _there(runs, list(variants), tested):
        return None
    published = {name: [paper.SINGLE_CATEGORY[name][PRINTED[stop]][tested].percent for stop in STOPS]
                 for name in variants.values()}
    measured = {name: [runs(variant, stop, TESTED[tested]).mean() for stop in STOPS]
                for variant, name in variants.items()}
    return claim(text, _told(published), _told(measured),
                 [step(runs(more, stop, TESTED[tested]) - runs(fewer, stop, TESTED[tested]))
                  for stop in at for more, fewer in pairs])


def _maybe_is_best(runs: Runs) -> Claim | None:
    return _ordered(runs, "MaybeKnown rows make the best training set of a single category, at both stops (Table 2)",
                    [(MAYBE, other) for other in (HIGHLY, WEAKLY, UNKNOWN)])


def _highly_is_not_best(runs: Runs) -> Claim | None:
    return _ordered(runs, "HighlyKnown rows alone are not the best: MaybeKnown ones give more at both stops (Table 2)",
                    [(MAYBE, HIGHLY)])


def _maybe_for_maybe(runs: Runs) -> Claim | None:
    return _ordered(runs, "To answer MaybeKnown questions it needs MaybeKnown rows: D_HighlyKnown answers fewer of "
                          "them (Table 2)", [(MAYBE, HIGHLY)], tested="MaybeKnown")


def _unknown_is_worst(runs: Runs) -> Claim | None:
    return _ordered(runs, "Unknown rows make the worst training set of a single category, at both stops (Table 2)",
                    [(other, UNKNOWN) for other in (HIGHLY, MAYBE, WEAKLY)])


def _highly_known_are_lost(runs: Runs) -> Claim | None:
    return _ordered(runs, "Little known rows cost even HighlyKnown questions: at CONVERGENCE fewer are right after "
                          "D_WeaklyKnown and D_Unknown than after D_HighlyKnown and D_MaybeKnown (Table 2)",
                    list(itertools.product((HIGHLY, MAYBE), (WEAKLY, UNKNOWN))), tested="HighlyKnown",
                    at=("CONVERGENCE",))


def _little_known_fades(runs: Runs) -> Claim | None:
    if not _there(runs, SINGLES):
        return None
    lost = {name.removeprefix("D_"): runs(name, "EARLY_STOP") - runs(name, "CONVERGENCE") for name in SINGLES}
    printed = {name: row["ES"]["Full"].percent - row["CONV"]["Full"].percent
               for name, row in paper.SINGLE_CATEGORY.items()}
    highly, maybe, weakly, unknown = lost.values()
    return claim("Long training loses most with Unknown rows, then with WeaklyKnown ones, less with the two others "
                 "(Table 2)", ", ".join(f"{name} {printed[name]:.1f}" for name in lost) + " points",
                 ", ".join(f"{name} {values.mean():.1f}" for name, values in lost.items()) + " points",
                 [step(unknown - weakly), step(weakly - highly), step(weakly - maybe)])


def _no_new_knowledge(runs: Runs) -> Claim | None:
    if not _there(runs, SINGLES, "Unknown"):
        return None
    variants = [name for name in (*SINGLES, D_NATURAL.name) if name in runs.variants]
    values = {(name, stop): runs(name, stop, TESTED["Unknown"]) for name in variants for stop in STOPS}
    most = max(values, key=lambda key: values[key].mean())
    return claim("No training set teaches Unknown test questions: at most 5 % of them are right (Table 2)",
                 f"never above {paper.MOST_OF_UNKNOWN:g} %",
                 f"at most {values[most].mean():.1f} %, {most[0]} at {most[1]}",
                 [step(5 - found, strict=False) for found in values.values()])


def idk_claims(stopped: pd.DataFrame) -> list[Claim]:
    """Table 3: D_IDK against D at 50 % Unknown, in both ways of counting; none where one of the two is absent."""
    both = stopped[(stopped["unknown_percent"] == 50) & stopped["variant"].isin(paper.IDK)]
    runs = Runs(both.assign(**answered_and_right(both)))
    if runs.variants != set(paper.IDK) or runs.stopped["answered"].isna().any():
        return []
    return [_more_reliable(runs), _stays_reliable(runs), _answers_as_often(runs), _costs_answers(runs)]


def _both(runs: Runs, quantity: str) -> str:
    return _told({name: [runs(name, stop, quantity).mean() for stop in STOPS] for name in paper.IDK})


def _published(quantity: str) -> str:
    return _told({name: [getattr(rows[PRINTED[stop]], quantity) for stop in STOPS] for name, rows in paper.IDK.items()})


def _more_reliable(runs: Runs) -> Claim:
    return claim("Taught to say \"I don't know\" for Unknown rows, the model is right more often where it answers, at "
                 "both stops (Table 3)", _published("accuracy"), _both(runs, "accuracy"),
                 [step(runs(D_IDK.name, stop, "accuracy") - runs(D.name, stop, "accuracy")) for stop in STOPS])


def _stays_reliable(runs: Runs) -> Claim:
    lost = {name: runs(name, "EARLY_STOP", "accuracy") - runs(name, "CONVERGENCE", "accuracy") for name in paper.IDK}
    printed = {name: row["ES"].accuracy - row["CONV"].accuracy for name, row in paper.IDK.items()}
    return claim("Long training costs D_IDK less of that accuracy than D (Table 3)",
                 f"D {printed[D.name]:.1f}, D_IDK {printed[D_IDK.name]:.1f} points",
                 f"D {lost[D.name].mean():.1f}, D_IDK {lost[D_IDK.name].mean():.1f} points",
                 [step(lost[D.name] - lost[D_IDK.name])])


def _answers_as_often(runs: Runs) -> Claim:
    early, late = (runs(D_IDK.name, stop, "answered") for stop in STOPS)
    printed = [paper.IDK[D_IDK.name][PRINTED[stop]].answered for stop in STOPS]
    return claim("From EARLY_STOP to CONVERGENCE D_IDK goes on answering: the share falls by 10 points at most (Table "
                 "3)", f"{printed[0]:g} to {printed[1]:g} %", f"{early.mean():.1f} to {late.mean():.1f} %",
                 [step(10 - (early - late), strict=False)])


def _costs_answers(runs: Runs) -> Claim:
    return claim("Counted over all questions D_IDK gives fewer right answers than D, at both stops (worked out from "
                 "Table 3)", _published("correct"), _both(runs, "correct"),
                 [step(runs(D.name, stop) - runs(D_IDK.name, stop)) for stop in STOPS])
