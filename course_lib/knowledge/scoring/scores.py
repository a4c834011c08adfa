"""What is found for Q questions after P prompts, and which questions have nothing, and why.

One bad row never costs the others: it is named, its cells are emptied, and the rest is scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

__all__ = ["Samples", "Scores"]


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of Q questions after P prompts, each array of shape (Q, P).

    ``greedy``: whether the greedy answer is exactly right. ``log_probability``: natural logarithm of the exact
    probability of the answer at the temperature and top-k asked for; -inf where a token is cut off. ``margin``: the
    smallest difference between the two best logits along the answer, so that near ties can be seen.

    ``problems``: number of a question -> why it could not be scored. Its row is False, nan and nan.
    """

    greedy: np.ndarray
    log_probability: np.ndarray
    margin: np.ndarray
    problems: dict[int, str] = field(default_factory=dict)

    @classmethod
    def empty(cls, questions: int, prompts: int) -> Scores:
        """Nothing found yet: no greedy hit, probability 0."""
        shape = (questions, prompts)
        return cls(np.zeros(shape, bool), np.full(shape, -np.inf), np.full(shape, np.inf))

    def reject(self, row: int, why: str) -> None:
        """Take a question out, with the reason; the first reason stands."""
        self.problems.setdefault(row, why)
        self.greedy[row], self.log_probability[row], self.margin[row] = False, np.nan, np.nan

    def put(self, rows: Sequence[int], part: Scores, *, columns: Sequence[int] | None = None) -> None:
        """Write ``part`` over these questions, and over these prompts alone where ``columns`` are given."""
        at = np.ix_(rows, range(part.greedy.shape[1]) if columns is None else columns)
        for name in ("greedy", "log_probability", "margin"):
            getattr(self, name)[at] = getattr(part, name)
        for row, why in part.problems.items():
            self.reject(rows[row], why)


@dataclass(frozen=True, slots=True)
class Samples:
    """What a model wrote, counted: the paper's protocol for Q questions after P prompts.

    ``greedy`` (Q, P), bool: whether the greedy answer is right. ``hits`` (Q, P), int: how many of the ``n_samples``
    samples are right. ``problems``: number of a question -> why it could not be asked; its row means nothing.
    """

    greedy: np.ndarray
    hits: np.ndarray
    n_samples: int
    problems: dict[int, str] = field(default_factory=dict)

    @classmethod
    def empty(cls, questions: int, prompts: int, n_samples: int) -> Samples:
        """Nothing found yet: no hit."""
        return cls(np.zeros((questions, prompts), bool), np.zeros((questions, prompts), int), n_samples)
