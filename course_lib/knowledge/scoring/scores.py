"""Results for Q questions after P prompts, and the questions without one, with the reason.

One bad row never costs the others: it is named, its cells are emptied, and the rest is scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import numpy as np

__all__ = ["Cells", "Scores"]


class Cells:
    """Results for Q questions after P prompts: arrays (Q, P), and the reason where a question has none."""

    __slots__ = ()
    problems: dict[int, str]

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays (Q, P) by name."""
        return {f.name: value for f in fields(self) if isinstance(value := getattr(self, f.name), np.ndarray)}

    def reject(self, row: int, why: str) -> None:
        """Take a question out, with the reason; the first reason stands."""
        self.problems.setdefault(row, why)
        for array in self.arrays().values():
            array[row] = np.nan if array.dtype.kind == "f" else 0  # (P,)

    def put(self, rows: Sequence[int], part: Cells, *, columns: Sequence[int] | None = None) -> None:
        """Write ``part`` over these questions, and over these prompts alone where ``columns`` are given."""
        # the cells of these rows and columns, (len(rows), len(columns))
        at = np.ix_(rows, columns if columns is not None else range(next(iter(part.arrays().values())).shape[1]))
        for name, array in self.arrays().items():
            array[at] = part.arrays()[name]
        for row, why in part.problems.items():
            self.reject(rows[row], why)


@dataclass(frozen=True, slots=True)
class Scores(Cells):
    """Scores, each of shape (Q, P).

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
