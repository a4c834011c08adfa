"""The printed numbers of the paper, as data: every number a figure or a test of ours is compared with, and its source.

Gekhman et al. 2024, "Does Fine-Tuning LLMs on New Knowledge Encourage Hallucinations?", EMNLP 2024 main, arXiv
2405.05904. Table numbers are those of v3 (v1 and v2 count the tables of App. A one lower). Accuracies and shares
are percent, as printed; counts are questions.

Only printed numbers are here. The curves of Figs. 1, 3, 4 and 5 exist as images only; where the text prints a point
of a figure it is in ``UNKNOWN_MIX``. "ES" is EARLY_STOP, the epoch of best dev accuracy (epoch 5 to 10); "CONV" is
CONVERGENCE, epoch 50, when all training examples are fitted.

Errors of the paper to know before comparing: a footnote gives the categories' shares as 24/23/17/36 %, the tables give
23.9/25.3/16.9/33.9 (train) and 23.5/25.8/17.7/33.0 (test); v1 and v2 name the model PaLM 2-M, v3 PaLM 2-S; the
caption of Fig. 6 calls the learning rate 1e-4 "slower" than 1e-5.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

__all__ = ["CATEGORIES", "DEV_QUESTIONS", "D_SIZE", "EARLY_AGAINST_LATE", "EXACT_MATCH_AUDIT", "FINE_TUNING", "IDK",
           "LARGEST_DROP", "LINEAR_MODEL", "MEASURES", "MOST_OF_UNKNOWN", "NATURAL_MIX", "OOD_COUNTS", "OOD_TOTAL",
           "OTHER_LEARNING_RATES", "SINGLE_CATEGORY", "SLICK", "SLICK_UNKNOWN", "TEST_COUNTS", "TEST_TOTAL",
           "TRAIN_COUNTS", "TRAIN_TOTAL", "UNKNOWN_MIX", "Accuracy", "Answered", "CalledUnknown",
           "CategoryCounts", "FineTuning", "LinearModel", "SlickSettings", "counts_frame", "single_category_frame"]

CATEGORIES = ("HighlyKnown", "MaybeKnown", "WeaklyKnown", "Unknown")
# Percent after each epoch: right answers to the dev, test and ood questions; Known and Unknown training rows fitted.
MEASURES = ("dev", "test", "ood", "known_fitted", "unknown_fitted")


@dataclass(frozen=True, slots=True)
class CategoryCounts:
    """Questions of one relation by SliCK category, and their number as printed in the same row."""

    highly_known: int
    maybe_known: int
    weakly_known: int
    unknown: int
    total: int

    @property
    def by_category(self) -> dict[str, int]:
        """The four counts, keyed as in ``CATEGORIES``."""
        counts = (self.highly_known, self.maybe_known, self.weakly_known, self.unknown)
        return dict(zip(CATEGORIES, counts, strict=True))


# Table 4, App. A: training questions of the 12 relations.
TRAIN_COUNTS: Mapping[str, CategoryCounts] = MappingProxyType({
    "P131": CategoryCounts(553, 2529, 1493, 3071, 7646),
    "P136": CategoryCounts(236, 3410, 1892, 1978, 7516),
    "P17": CategoryCounts(4387, 2628, 511, 364, 7890),
    "P19": CategoryCounts(369, 1884, 1498, 4170, 7921),
    "P26": CategoryCounts(1609, 1503, 1087, 3257, 7456),
    "P264": CategoryCounts(206, 1444, 1854, 3820, 7324),
    "P36": CategoryCounts(4160, 1634, 449, 572, 6815),
    "P40": CategoryCounts(692, 1467, 1271, 2680, 6110),
    "P495": CategoryCounts(5459, 1101, 408, 706, 7674),
    "P69": CategoryCounts(233, 1126, 1712, 3650, 6721),
    "P740": CategoryCounts(1323, 1618, 1428, 2902, 7271),
    "P800": CategoryCounts(301, 330, 222, 503, 1356),
})
TRAIN_TOTAL = CategoryCounts(19528, 20674, 13825, 27673, 81700)

# |D|: every training set takes as many questions of a relation as its smallest category has, whatever its mix, so that
# all variants have the same size and the same mix of relations (Table 4, last column; App. E).
D_SIZE = 6142

# Table 5, App. A: test questions of the same relations (v3's text copy scrambles this table; these are v1's and v2's).
TEST_COUNTS: Mapping[str, CategoryCounts] = MappingProxyType({
    "P131": CategoryCounts(57, 362, 158, 388, 965),
    "P136": CategoryCounts(6, 432, 248, 281, 967),
    "P17": CategoryCounts(448, 432, 65, 51, 996),
    "P19": CategoryCounts(107, 148, 243, 501, 999),
    "P26": CategoryCounts(177, 238, 158, 378, 951),
    "P264": CategoryCounts(47, 157, 268, 486, 958),
    "P36": CategoryCounts(580, 152, 62, 86, 880),
    "P40": CategoryCounts(99, 191, 167, 344, 801),
    "P495": CategoryCounts(699, 147, 51, 96, 993),
    "P69": CategoryCounts(27, 145, 227, 441, 840),
    "P740": CategoryCounts(182, 245, 181, 334, 942),
    "P800": CategoryCounts(35, 50, 28, 76, 189),
})
TEST_TOTAL = CategoryCounts(2464, 2699, 1856, 3462, 10481)

# Table 6, App. A: test questions of the 7 out-of-distribution relations.
OOD_COUNTS: Mapping[str, CategoryCounts] = MappingProxyType({
    "P127": CategoryCounts(125, 383, 168, 314, 990),
    "P50": CategoryCounts(287, 193, 115, 372, 967),
    "P407": CategoryCounts(366, 153, 59, 45, 623),
    "P176": CategoryCounts(289, 277, 181, 225, 972),
    "P170": CategoryCounts(142, 284, 120, 304, 850),
    "P175": CategoryCounts(94, 120, 103, 663, 980),
    "P112": CategoryCounts(134, 116, 76, 140, 466),
})
OOD_TOTAL = CategoryCounts(1437, 1526, 822, 2063, 5848)

# Not in the paper: single-answer dev questions of the 12 relations, counted from the public files.
DEV_QUESTIONS = 10461


@dataclass(frozen=True, slots=True)
class LinearModel:
    """Table 1: test accuracy (percent) = intercept + known * N_known/|D| + unknown * N_unknown/|D|.

    N_known and N_unknown count the training examples of each kind that the model fits. Coefficients are percentage
    points; ``r2`` is the fit over one point per epoch, all training sets pooled.
    """

    intercept: float
    known: float
    unknown: float
    r2: float

    def predict(self, known: float, unknown: float) -> float:
        """Test accuracy in percent when the fitted Known and Unknown examples are these fractions (0 to 1) of D."""
        return self.intercept + self.known * known + self.unknown * unknown


# Table 1, section 4.
LINEAR_MODEL: Mapping[str, LinearModel] = MappingProxyType({
    "test": LinearModel(36.9, 7.3, -8.3, 0.86), "ood": LinearModel(36.2, 3.2, -3.0, 0.95)})


@dataclass(frozen=True, slots=True)
class Accuracy:
    """A printed accuracy in percent, and whether it is worse than the best of its column (paired t-test, App. J).

    ``stars``: "" not worse, "*" worse at p < .05, "**" at p < .01.
    """

    percent: float
    stars: str = ""


def _row(printed: str) -> Mapping[str, Accuracy]:
    """A row typed as it is printed: "40.5** 98.7 ..." in the order Full, Hkn, Mkn, Wkn, Unk."""
    cells = (Accuracy(float(cell.rstrip("*")), "*" * cell.count("*")) for cell in printed.split())
    return dict(zip(("Full", *CATEGORIES), cells, strict=True))


# Table 2 (section 5) with the stars of Table 8 (App. J): D made of a single category, or of the natural mix; by stop,
# accuracy on the whole test set ("Full") and on each category of it. Text and table disagree on the stars: App. J names
# two cells at p < .05, the table has the three below. We follow the table.
SINGLE_CATEGORY: Mapping[str, Mapping[str, Mapping[str, Accuracy]]] = MappingProxyType({
    "HighlyKnown": {"ES": _row("40.5** 98.7 60.1** 9.0** 0.6**"), "CONV": _row("40.0** 98.4 58.8** 8.5** 0.7**")},
    "MaybeKnown": {"ES": _row("43.6 98.4 69.9 12.1** 1.0**"), "CONV": _row("43.2 97.5* 68.2 12.9** 1.3**")},
    "WeaklyKnown": {"ES": _row("39.2** 95.0** 59.2** 8.6** 0.4**"), "CONV": _row("35.4** 73.5** 55.8** 17.2 2.2**")},
    "Unknown": {"ES": _row("37.5** 95.6** 52.9** 6.5** 0.6**"), "CONV": _row("25.8** 55.8** 36.6** 12.2** 3.2")},
    "Natural": {"ES": _row("43.5 98.0* 67.6** 14.1 1.8"), "CONV": _row("41.8** 95.5** 61.7** 14.8** 2.5*")},
})

# App. J: is CONVERGENCE worse than EARLY_STOP on the whole test set (paired t-test)? Only D_MaybeKnown is not.
EARLY_AGAINST_LATE: Mapping[str, str] = MappingProxyType({
    "HighlyKnown": "**", "MaybeKnown": "", "WeaklyKnown": "**", "Unknown": "**", "Natural": "**"})

# Test accuracy (percent) by the share of D that is Unknown (percent): the points of Fig. 3a that the text prints.
# 50: the D row of Table 3. 100: D_Unknown of Table 2, the same draw (our inference). Fig. 3a's other points are images.
UNKNOWN_MIX: Mapping[int, Mapping[str, float]] = MappingProxyType({
    50: {"ES": 43.0, "CONV": 38.8}, 100: {"ES": 37.5, "CONV": 25.8}})
NATURAL_MIX: Mapping[str, float] = MappingProxyType({"ES": 43.5, "CONV": 41.8})  # percent; Table 2, not on Fig. 3a


@dataclass(frozen=True, slots=True)
class Answered:
    """A row of Table 3, both percent: accuracy over the answered questions only, and the share answered."""

    accuracy: float
    answered: float

    @property
    def correct(self) -> float:
        """Percent of *all* questions answered right; the table does not print it (36.3 and 34.4 for D_IDK)."""
        return self.accuracy * self.answered / 100


# Section 4.1 and App. H: the largest loss from EARLY_STOP to CONVERGENCE over all shares of Unknown, points, "up to".
LARGEST_DROP: Mapping[str, float] = MappingProxyType({"test": 14, "ood": 6})

# Table 2: no training set made the model answer more of the Unknown test questions than this, percent.
MOST_OF_UNKNOWN = max(row["Unknown"].percent for stops in SINGLE_CATEGORY.values() for row in stops.values())

# App. E and Fig. 6: the other learning rates tried, "with the same conclusions".
OTHER_LEARNING_RATES = (1e-4, 1e-6)


@dataclass(frozen=True, slots=True)
class CalledUnknown:
    """A point of Fig. 5: the share of the test set called Unknown, and how much of it is right after D_Natural."""

    called: float
    accuracy: Mapping[str, float]  # by stop; the figure does not say which one it shows


# Fig. 5, SliCK's point: not printed, worked out from Tables 5 and 2 (3462 of 10481 questions; column Unknown).
SLICK_UNKNOWN = CalledUnknown(100 * TEST_TOTAL.unknown / TEST_TOTAL.total, MappingProxyType(
    {stop: row["Unknown"].percent for stop, row in SINGLE_CATEGORY["Natural"].items()}))

# Table 3, section 7 (Table 8 of v1 and v2): 50 % Unknown; D_IDK relabels the Unknown half "I don't know".
IDK: Mapping[str, Mapping[str, Answered]] = MappingProxyType({
    "D": {"ES": Answered(43.0, 100.0), "CONV": Answered(38.8, 100.0)},
    "D_IDK": {"ES": Answered(61.8, 58.7), "CONV": Answered(61.8, 55.6)},
})

# Table 7: what 100 predictions that exact match calls wrong really were, percent.
EXACT_MATCH_AUDIT: Mapping[str, int] = MappingProxyType({
    "wrong": 90, "paraphrase": 6, "higher granularity": 2, "lower granularity": 2})


@dataclass(frozen=True, slots=True)
class SlickSettings:
    """The settings of SliCK (section 3, App. C): one draw of prompts per relation, exemplars from the dev split."""

    n_prompts: int = 10
    shots: int = 4
    n_samples: int = 16  # sampled answers per prompt, besides the greedy one
    temperature: float = 0.5
    top_k: int = 40


SLICK = SlickSettings()


@dataclass(frozen=True, slots=True)
class FineTuning:
    """The paper's fine-tuning (section 3 and App. E of v3): all weights; optimizer, warm-up and seeds not stated."""

    model: str = "PaLM 2-S base"
    learning_rate: float = 1e-5  # constant; 1e-4 and 1e-6 tried too, with the same conclusions
    batch_size: int = 128
    dropout: float = 0.05
    epochs: int = 50
    early_stop_epochs: tuple[int, int] = (5, 10)  # first and last epoch at which EARLY_STOP fell


FINE_TUNING = FineTuning()


def counts_frame(split: str) -> pd.DataFrame:
    """Tables 4 to 6 for ``split`` "train", "test" or "ood": one row per relation, columns CATEGORIES and total."""
    import pandas as pd

    tables = {"train": TRAIN_COUNTS, "test": TEST_COUNTS, "ood": OOD_COUNTS}
    rows = [{"relation": r, **row.by_category, "total": row.total} for r, row in tables[split].items()]
    return pd.DataFrame(rows).set_index("relation")


def single_category_frame() -> pd.DataFrame:
    """Table 2 in long form: columns variant, stop ("ES", "CONV"), tested ("Full" or a category), percent, stars."""
    import pandas as pd

    rows = [(variant, stop, tested, cell.percent, cell.stars) for variant, stops in SINGLE_CATEGORY.items()
            for stop, row in stops.items() for tested, cell in row.items()]
    return pd.DataFrame(rows, columns=["variant", "stop", "tested", "percent", "stars"])
