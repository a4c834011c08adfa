"""The paper's tables from stored runs, in long form, each cell beside the published one.

Every table has the columns mean, low, high (95 % interval over seeds), n (seeds) and published. Stops are written as
in the runs, EARLY_STOP and CONVERGENCE; :data:`PRINTED` has the paper's names for them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from course_lib.analysis.intervals import Estimate, estimate
from course_lib.analysis.paired_test import against_the_best, paired
from course_lib.analysis.stopping import STOPS, single_rate, stops
from course_lib.data import paper
from course_lib.data.paper import CATEGORIES
from course_lib.data.protocol import D_IDK, D_NATURAL, SINGLE
from course_lib.files import CourseError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PRINTED", "TESTED", "answered_and_right", "early_against_late", "full_from_categories",
           "idk_table", "laid_out", "single_category_table"]

PRINTED = {"EARLY_STOP": "ES", "CONVERGENCE": "CONV"}
TESTED = {"Full": "test"} | {category: f"test_{category}" for category in CATEGORIES}
ORDER = [*SINGLE, D_NATURAL.name]


def laid_out(table: pd.DataFrame, *, index: Sequence[str], columns: str) -> pd.DataFrame:
    """A table of this module as it is printed: texts such as "43.0 [41.2, 44.8]** | 43.6", ours and the published.

    ``index`` and ``columns`` name the columns of ``table`` that go down and across; their order is kept. A cell that
    the table lacks is empty.
    """
    texts = []
    for row in table.to_dict("records"):
        ours = "-" if not row["n"] else str(Estimate(row["mean"], row["low"], row["high"], row["n"]))
        printed = row.get("published", math.nan)
        theirs = "" if math.isnan(printed) else f" | {printed:.1f}{row.get('published_stars', '')}"
        texts.append(f"{ours}{row.get('stars', '')}{theirs}")
    wide = table.assign(text=texts).pivot(index=list(index), columns=columns, values="text")
    down = table[list(index)].drop_duplicates()
    order = [tuple(row) if len(index) > 1 else row[0] for row in down.itertuples(index=False)]
    return wide.reindex(index=order, columns=list(table[columns].unique())).fillna("")


def single_category_table(epochs: pd.DataFrame, *, right: Mapping[tuple[str, float, str], Any] | None = None,
                          categories: Sequence[str] | None = None) -> pd.DataFrame:
    """Table 2: D of one category, or of the natural mix, tested on everything and on each category.

    With ``right``, the answers at both stops (:func:`.paired_test.right_at_stops`), and ``categories`` of
    the test questions, (Q,), the column ``stars`` marks what is worse than the best of its column (App. J).

    Columns: variant, stop, tested ("Full" or a category), mean, low, high, n, stars, published, published_stars.

    Raises:
        CourseError: none of the five variants has run, ``right`` comes without categories, or with another number.
    """
    import pandas as pd

    printed = paper.single_category_frame().set_index(["variant", "stop", "tested"])
    stopped = single_rate(stops(epochs))
    groups = {key: group for key, group in stopped.groupby(["variant", "stop"]) if key[0] in ORDER}
    if not groups:
        raise CourseError(f"no run of {', '.join(ORDER)}; run a sweep with these variants")
    marks = _stars(right, categories) if right is not None else {}
    rows = []
    for variant, stop in sorted(groups, key=lambda key: (STOPS.index(key[1]), ORDER.index(key[0]))):
        for tested, column in TESTED.items():
            if column in groups[variant, stop]:
                cell = printed.loc[variant.removeprefix("D_"), PRINTED[stop], tested]
                rows.append({"variant": variant, "stop": stop, "tested": tested}
                            | asdict(estimate(groups[variant, stop][column]))
                            | {"stars": marks.get((variant, stop, tested), ""), "published": cell["percent"],
                               "published_stars": cell["stars"]})
    return pd.DataFrame(rows)


def _answers(right: Mapping[tuple[str, float, str], Any]) -> dict[tuple[str, str], np.ndarray]:
    """(variant, stop) -> (S, Q); the share of Unknown drawn for D_Natural may differ between its seeds."""
    found: dict[tuple[str, str], list[np.ndarray]] = {}
    for (variant, _, stop), answers in right.items():
        if variant in ORDER:
            found.setdefault((variant, stop), []).append(np.atleast_2d(answers))
    return {key: np.concatenate(answers) for key, answers in found.items()}


def _masks(categories: Sequence[str] | None, questions: int) -> dict[str, np.ndarray]:
    """Tested -> which questions, (Q,)."""
    given = np.asarray([] if categories is None else categories, str)
    if len(given) != questions:
        raise CourseError(f"{len(given)} categories and {questions} answers: give the category of every test question")
    return {"Full": np.ones(questions, bool)} | {name: given == name for name in CATEGORIES}


def _stars(right: Mapping[tuple[str, float, str], Any],
           categories: Sequence[str] | None) -> dict[tuple[str, str, str], str]:
    answers, marks = _answers(right), {}
    for stop in {stop for _, stop in answers}:
        column = {variant: given for (variant, when), given in answers.items() if when == stop}
        for tested, mask in _masks(categories, next(iter(column.values())).shape[1]).items():
            if mask.any():
                cells = {variant: given[:, mask] for variant, given in column.items()}
                for variant, found in against_the_best(cells).items():
                    marks[variant, stop, tested] = found.stars
    return marks


def early_against_late(right: Mapping[tuple[str, float, str], Any]) -> pd.DataFrame:
    """Paired t-test of EARLY_STOP against CONVERGENCE on the whole test set, for each variant (App. J).

    ``right`` as from :func:`.paired_test.right_at_stops`. Columns: variant, difference (points, EARLY_STOP
    minus CONVERGENCE), t, p, parts, stars, published_stars.
    """
    import pandas as pd

    answers, rows = _answers(right), []
    for variant in ORDER:
        if all((variant, stop) in answers for stop in STOPS):
            found = paired(*(answers[variant, stop] for stop in STOPS))
            rows.append({"variant": variant} | asdict(found) | {
                "stars": found.stars, "published_stars": paper.EARLY_AGAINST_LATE[variant.removeprefix("D_")]})
    return pd.DataFrame(rows, columns=["variant", "difference", "t", "p", "parts", "stars", "published_stars"])


def full_from_categories(by_category: Mapping[str, float], counts: Mapping[str, int]) -> float:
    """Accuracy on the whole test set from its four columns: their mean, weighted by their numbers of questions.

    A check of any table of this form; categories without questions are left out.
    """
    used = {name: count for name, count in counts.items() if count}
    return sum(by_category[name] * count for name, count in used.items()) / sum(used.values())


def idk_table(epochs: pd.DataFrame) -> pd.DataFrame:
    """Table 3 in both ways of counting: D and D_IDK at 50 % Unknown, at both stops.

    Quantities, all percent: "answered" is the share not answered "I don't know"; "accuracy" counts right answers over
    the answered questions, as the paper does; "correct" counts them over all, which the paper does not print (its
    number is worked out from the two others). EARLY_STOP is the epoch of the best dev accuracy over all questions.

    Columns: variant, stop, quantity, mean, low, high, n, published.

    Raises:
        CourseError: D or D_IDK has no run at this share.
    """
    import pandas as pd

    stopped = single_rate(stops(epochs[epochs["unknown_percent"] == 50]))
    rows = []
    for variant, printed in paper.IDK.items():
        for stop in STOPS:
            group = stopped[(stopped["variant"] == variant) & (stopped["stop"] == stop)]
            if group.empty:
                raise CourseError(f"no run of {variant} at 50 % Unknown; run a sweep with it")
            published = printed[PRINTED[stop]]
            for quantity, values in answered_and_right(group).items():
                rows.append({"variant": variant, "stop": stop, "quantity": quantity} | asdict(estimate(values))
                            | {"published": getattr(published, quantity)})
    return pd.DataFrame(rows)


def answered_and_right(runs: pd.DataFrame) -> pd.DataFrame:
    """Of each row of ``runs``: accuracy over the answered questions, share answered, right answers over all; percent.

    Columns accuracy (NaN where nothing is answered), answered and correct.
    """
    import pandas as pd

    answered = runs["answered"].astype(float) if "answered" in runs else pd.Series(math.nan, index=runs.index)
    # a model that was not taught to say "I don't know" answers everything
    answered = answered.where(runs["variant"] == D_IDK.name, answered.fillna(100))
    # no right answer is "I don't know", so all that is right was answered; 0 of 0 is NaN
    return pd.DataFrame({"accuracy": 100 * runs["test"] / answered, "answered": answered, "correct": runs["test"]})
