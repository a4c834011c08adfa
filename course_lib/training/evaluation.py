"""What is asked after every epoch of a run: exact match of the greedy answers, over groups of facts.

All groups go through the model together. The answers are kept as percentages of the groups, split by what the base knew
of the questions, and one by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from course_lib.data.facts import Fact, FactSet
from course_lib.knowledge.scoring.engine import exact_match
from course_lib.training.mixing import IDK_ANSWER, Mix
from course_lib.training.records import pack_bits

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["Watched", "evaluate"]


def evaluate(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, groups: Mapping[str, Sequence[Fact]], *,
             batch_tokens: int | None = None) -> dict[str, float | None]:
    """Exact match of the greedy answers in percent for each named group of facts; None for an empty group."""
    return {name: _percent(right) for name, right in
            _ask(model, tokenizer, groups, batch_tokens=batch_tokens).items()}


class Watched:
    """The questions that are asked after every epoch of one run, and what the base knew of them."""

    def __init__(self, data: Mix, facts: FactSet, categories: Mapping[str, Sequence[str]]) -> None:
        self.groups = {"dev": facts.dev, "test": facts.test, "ood": facts.ood,
                       "train": tuple(row.fact for row in data.rows)}
        if data.relabelled:
            self.groups["answered"] = tuple(replace(fact, object=IDK_ANSWER) for fact in facts.test)
        self.categories = {"train": np.array([row.category for row in data.rows])} | {
            split: np.asarray(names, str) for split, names in categories.items() if len(names)}
        self.unknown = np.array([row.unknown for row in data.rows], bool)

    def ask(self, model: PeftModel, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
        """The fields of an :class:`EpochRecord` that come of asking."""
        right = _ask(model, tokenizer, self.groups)
        train, silent = right["train"], right.pop("answered", None)
        kept = {"test": right["test"], "ood": right["ood"]} | ({} if silent is None else {"answered": ~silent})
        return {"dev": _percent(right["dev"]), "test": _percent(right["test"]), "ood": _percent(right["ood"]),
                "known_fitted": _percent(train[~self.unknown]), "unknown_fitted": _percent(train[self.unknown]),
                "answered": None if silent is None else _percent(~silent), "by_category": self._by_category(right),
                "right": {name: pack_bits(bits) for name, bits in kept.items()}}

    def _by_category(self, right: Mapping[str, np.ndarray]) -> dict[str, float]:
        return {f"{split}_{category}": _percent(right[split][names == category])
                for split, names in self.categories.items() for category in sorted(set(names))}


def _ask(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, groups: Mapping[str, Sequence[Fact]], *,
         batch_tokens: int | None = None) -> dict[str, np.ndarray]:
    """Whether each fact of each group is answered exactly right, in one go."""
    everything = [fact for facts in groups.values() for fact in facts]
    right = exact_match(model, tokenizer, everything, batch_tokens=batch_tokens)
    ends = np.cumsum([len(facts) for facts in groups.values()])
    return dict(zip(groups, np.split(right, ends[:-1]), strict=True))


def _percent(right: np.ndarray) -> float | None:
    return 100 * float(right.mean()) if len(right) else None
