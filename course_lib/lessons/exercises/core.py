"""Exercises, and the judgement of an answer: undone, wrong (with the likely reason), or right.

A checker is a function of the learner's answer. It returns the sentence that is shown when all is right, and raises
:class:`Wrong` with the likely reason when it is not. Typical mistakes are tested first, so that the reason can be given
in words; a plain comparison (:func:`close`, :func:`same`) comes last.

An answer is *undone* while it is ``...`` or its code still raises the NotImplementedError of the stub. Whatever else
the learner's code raises becomes a reason as well: judging an answer never stops a notebook.
"""

from __future__ import annotations

import linecache
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["STATES", "Exercise", "Verdict", "Wrong", "close", "judge", "same"]

STATES = ("undone", "wrong", "right")
# code that is not the learner's: this package, Python's own library, installed packages
OTHERS = (str(Path(__file__).parents[2]), str(Path(linecache.__file__).parent), "site-packages")


class Wrong(Exception):
    """An answer that is not right; the text is the likely reason, in words for a learner."""


@dataclass(frozen=True, slots=True)
class Exercise:
    """One exercise: its number ("02.1"), its checker, and three hints from gentle to nearly the answer."""

    id: str
    check: Callable[..., str]
    hints: tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Verdict:
    """A judgement of an answer: one of ``STATES``, and the reason."""

    exercise: str
    state: str
    message: str

    def __str__(self) -> str:
        head = {"undone": "not done yet", "wrong": "not right yet", "right": "right"}[self.state]
        return f"Exercise {self.exercise}: {head}. {self.message}"


def judge(exercise: Exercise, *answers: Any) -> Verdict:
    """Judge the learner's answer or answers; nothing that their code raises comes out of here, but Ctrl-C does."""
    undone = Verdict(exercise.id, "undone", f"Fill in the cell above; hint({exercise.id!r}) helps. You may also go on: "
                                            f"nothing later depends on it.")
    if any(answer is ... for answer in answers):
        return undone
    try:
        return Verdict(exercise.id, "right", exercise.check(*answers))
    except NotImplementedError:
        return undone
    except Wrong as wrong:
        reason = str(wrong)
    except Exception as error:
        reason = _reason(error)
    return Verdict(exercise.id, "wrong", f"{reason} hint({exercise.id!r}) helps.")


def _reason(error: Exception) -> str:
    """Name what the learner's code raised, with its line; or say that the checker could not use what it was given."""
    said = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
    theirs = [frame for frame in traceback.extract_tb(error.__traceback__)
              if not any(other in frame.filename for other in OTHERS)]
    if not theirs:
        return f"Your answer cannot be checked ({said}): does it have the form that the task asks for?"
    line = linecache.getline(theirs[-1].filename, theirs[-1].lineno or 0).strip()
    return f"Your code stopped with {said}" + (f" at the line `{line}`." if line else ".")


def close(found: Any, expected: Any, what: str, *, tolerance: float = 1e-6) -> None:
    """Compare numbers, or arrays of numbers of the same shape; ``what`` says for which input.

    Raises:
        Wrong: they differ by more than ``tolerance``, relative to the size of ``expected`` where that is over 1.
    """
    import numpy as np

    _refuse_none(found, what)
    try:
        ours, theirs = np.asarray(expected, float), np.asarray(_plain(found), float)
    except (TypeError, ValueError):
        raise Wrong(f"{what}: expected {_short(expected)}, a number, got {_short(found)}.") from None
    if ours.shape != theirs.shape:
        raise Wrong(f"{what}: expected the shape {ours.shape}, got {theirs.shape}.")
    if not np.allclose(theirs, ours, rtol=tolerance, atol=tolerance, equal_nan=True):
        raise Wrong(f"{what}: expected {_short(expected)}, got {_short(found)}.")


def same(found: Any, expected: Any, what: str) -> None:
    """Compare anything that knows ``==``; ``what`` says for which input.

    Raises:
        Wrong: the two differ.
    """
    _refuse_none(found, what)
    if found != expected:
        raise Wrong(f"{what}: expected {_short(expected)}, got {_short(found)}.")


def _refuse_none(found: Any, what: str) -> None:
    if found is None:
        raise Wrong(f"{what}: your code gives nothing back (None); did you forget `return`?")


def _plain(value: Any) -> Any:
    """A tensor without its gradient; anything else as it is."""
    return value.detach().cpu() if hasattr(value, "detach") else value


def _short(value: Any, limit: int = 120) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else repr(value)
    return text if len(text) <= limit else f"{text[:limit - 3]}..."
