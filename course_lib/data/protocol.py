"""The paper's protocol (sections 4, 5 and 7): the kinds of training set, and the epoch of early stopping.

Runs and tables store a kind by its name; :data:`VARIANTS` finds the record of a stored name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from course_lib.data.paper import CATEGORIES
from course_lib.files import CourseError

__all__ = ["D", "D_FREE", "D_IDK", "D_KNOWN", "D_NATURAL", "NO_DEV", "SINGLE", "VARIANTS", "Variant", "early_stop",
           "variant_named"]


@dataclass(frozen=True, slots=True)
class Variant:
    """A kind of training set: which rows it has, and what its Unknown rows teach.

    ``category``: the only category of its rows. ``at_share``: drawn at a chosen share of Unknown rows, which then are
    taught as they are, dropped (``drops_unknown``), or taught to answer "I don't know" (``relabels_unknown``).
    """

    name: str
    category: str | None = None
    at_share: bool = False
    drops_unknown: bool = False
    relabels_unknown: bool = False

    def rows(self, size: float, unknown_percent: float) -> float:
        """The number of its rows where D has ``size``."""
        return size * (1 - unknown_percent / 100 if self.drops_unknown else 1)

    def differs_from_d(self, unknown_percent: float) -> bool:
        """Whether, at this share of Unknown, it has rows and is not D itself."""
        return unknown_percent > 0 and self.rows(1, unknown_percent) > 0


D = Variant("D", at_share=True)
D_KNOWN = Variant("D_Known", at_share=True, drops_unknown=True)
D_IDK = Variant("D_IDK", at_share=True, relabels_unknown=True)
D_NATURAL = Variant("D_Natural")  # each relation keeps its own shares of the categories
D_FREE = Variant("D_Free")  # any shares of the four categories
SINGLE = {f"D_{category}": Variant(f"D_{category}", category=category) for category in CATEGORIES}
VARIANTS = {variant.name: variant for variant in (D, D_KNOWN, *SINGLE.values(), D_NATURAL, D_IDK, D_FREE)}


def variant_named(name: str) -> Variant:
    """The record of a stored name.

    Raises:
        CourseError: there is no such variant.
    """
    if name not in VARIANTS:
        raise CourseError(f"variant {name!r}: use one of {', '.join(VARIANTS)}")
    return VARIANTS[name]


NO_DEV = "no dev questions were asked, so no epoch is the best; give facts with a dev split"


def early_stop(dev: Mapping[int, float | None]) -> int | None:
    """The EARLY_STOP epoch: the first with the best dev accuracy. Epoch 0, before fine-tuning, does not count.

    ``dev``: epoch -> accuracy on the validation (dev) questions, None or NaN where none were asked. Returns None where
    no epoch has one.
    """
    asked = {epoch: value for epoch, value in sorted(dev.items()) if epoch and value is not None and value == value}
    return max(asked, key=asked.get, default=None)
