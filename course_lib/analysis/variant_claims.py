"""The paper's claims about other training sets: single categories (Table 2) and "I don't know" (Table 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from course_lib.analysis.stopping import STOPS
from course_lib.analysis.tables import PRINTED, TESTED, answered_and_right
from course_lib.analysis.verdicts import Claim, Runs, Step, claim, step
from course_lib.data import paper
from course_lib.data.protocol import D_IDK, D_NATURAL, SINGLE, D

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["category_claims", "idk_claims"]

HIGHLY, MAYBE, WEAKLY, UNKNOWN = SINGLES = tuple(SINGLE)


def category_claims(stopped: pd.DataFrame) -> list[Claim]:
    """Table 2: which knowledge helps. A claim is left out where one of its variants or columns is absent."""
    runs = Runs(stopped)
    checks = [(_maybe_is_best, SINGLES, "Full"), (_highly_is_not_best, (HIGHLY, MAYBE), "Full"),
              (_maybe_for_maybe, (HIGHLY, MAYBE), "MaybeKnown"), (_unknown_is_worst, SINGLES, "Full"),
              (_little_known_fades, SINGLES, "Full"), (_highly_known_are_lost, SINGLES, "HighlyKnown"),
              (_no_new_knowledge, SINGLES, "Unknown")]
    return [check(runs) for check, variants, tested in checks
            if runs.variants >= set(variants) and runs.measured(TESTED[tested])]


def _here(runs: Runs, variants: Sequence[str], tested: str = "Full") -> str:
    """Means at both stops, as "MaybeKnown 44.0 / 43.1, ..."."""
    return _told({variant.removeprefix("D_"): [runs(variant, stop, TESTED[tested]).mean() for stop in STOPS]
                  for variant in variants})


def _printed(variants: Sequence[str], tested: str = "Full") -> str:
    rows = {variant.removeprefix("D_"): paper.SINGLE_CATEGORY[variant.removeprefix("D_")] for variant in variants}
    return _told({name: [row[PRINTED[stop]][tested].percent for stop in STOPS]
                  for name, row in rows.items()})


def _told(cells: dict[str, list[float]]) -> str:
    told = ", ".join(f"{name} {early:.1f} / {late:.1f}" for name, (early, late) in cells.items())
    return f"{told} (EARLY_STOP / CONVERGENCE)"


def _above(runs: Runs, best: str, others: Sequence[str], tested: str = "Full",
           stops: Sequence[str] = STOPS) -> list[Step]:
    """``best`` is above every one of the others at each stop, by seed."""
    return [step(runs(best, stop, TESTED[tested]) - runs(other, stop, TESTED[tested]))
            for stop in stops for other in others]


def _maybe_is_best(runs: Runs) -> Claim:
    return claim("MaybeKnown rows make the best training set of a single category, at both stops (Table 2)",
                 _printed(SINGLES), _here(runs, SINGLES), _above(runs, MAYBE, (HIGHLY, WEAKLY, UNKNOWN)))


def _highly_is_not_best(runs: Runs) -> Claim:
    return claim("HighlyKnown rows alone are not the best: MaybeKnown ones give more at both stops (Table 2)",
                 _printed((HIGHLY, MAYBE)), _here(runs, (HIGHLY, MAYBE)), _above(runs, MAYBE, (HIGHLY,)))


def _maybe_for_maybe(runs: Runs) -> Claim:
    tested = "MaybeKnown"
    return claim("To answer MaybeKnown questions it needs MaybeKnown rows: D_HighlyKnown answers fewer of them (Table "
                 "2)", _printed((HIGHLY, MAYBE), tested), _here(runs, (HIGHLY, MAYBE), tested),
                 _above(runs, MAYBE, (HIGHLY,), tested))


def _unknown_is_worst(runs: Runs) -> Claim:
    others = (HIGHLY, MAYBE, WEAKLY)
    return claim("Unknown rows make the worst training set of a single category, at both stops (Table 2)",
                 _printed(SINGLES), _here(runs, SINGLES),
                 [margin for other in others for margin in _above(runs, other, (UNKNOWN,))])


def _little_known_fades(runs: Runs) -> Claim:
    lost = {name: runs(name, "EARLY_STOP") - runs(name, "CONVERGENCE") for name in SINGLES}
    printed = {name: row["ES"]["Full"].percent - row["CONV"]["Full"].percent
               for name, row in paper.SINGLE_CATEGORY.items()}
    return claim("Long training loses most with Unknown rows, then with WeaklyKnown ones, less with the two others "
                 "(Table 2)", ", ".join(f"{name.removeprefix('D_')} {printed[name.removeprefix('D_')]:.1f}"
                                        for name in SINGLES) + " points",
                 ", ".join(f"{name.removeprefix('D_')} {values.mean():.1f}" for name, values in lost.items())
                 + " points", [step(lost[UNKNOWN] - lost[WEAKLY]), step(lost[WEAKLY] - lost[HIGHLY]),
                               step(lost[WEAKLY] - lost[MAYBE])])


def _highly_known_are_lost(runs: Runs) -> Claim:
    tested = "HighlyKnown"
    return claim("Little known rows cost even HighlyKnown questions: at CONVERGENCE fewer are right after "
                 "D_WeaklyKnown and D_Unknown than after D_HighlyKnown and D_MaybeKnown (Table 2)",
                 _printed(SINGLES, tested), _here(runs, SINGLES, tested),
                 [margin for best in (HIGHLY, MAYBE)
                  for margin in _above(runs, best, (WEAKLY, UNKNOWN), tested, ("CONVERGENCE",))])


def _no_new_knowledge(runs: Runs) -> Claim:
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
