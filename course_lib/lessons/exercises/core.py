"""Exercises, and the judgement of an answer: undone, wrong (with the likely reason), or right.

A checker is a function of the learner's answer. It returns the sentence that is shown when all is right, and raises
:class:`Wrong` with the likely reason when it is not. Typical mistakes are tested first (:func:`rule_out`), so that the
reason can be given in words; a plain comparison (:func:`close`, :func:`same`) comes last.

An answer is *undone* while it is ``...`` or its code still raises the NotImplementedError of the stub. Whatever else
the learner's code raises becomes a reason as well: judging an answer never stops a notebook.
"""

from __future__ import annotations

import linecache
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from course_lib.text import short

__all__ = ["STATES", "Exercise", "Verdict", "Wrong", "close", "judge", "refuse_none", "rule_out", "same"]

# state of an answer -> how a verdict begins
STATES = {"undone": "not done yet", "wrong": "not right yet", "right": "right"}
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
        return f"Exercise {self.exercise}: {STATES[self.state]}. {self.message}"


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
    what = f"{type(error).__name__}: {str(error).partition(chr(10))[0] or 'no message'}"
    theirs = [frame for frame in traceback.extract_tb(error.__traceback__)
              if not any(other in frame.filename for other in OTHERS)]
    if not theirs:
        return f"Your answer cannot be checked ({what}): does it have the form that the task asks for?"
    line = linecache.getline(theirs[-1].filename, theirs[-1].lineno or 0).strip()
    return f"Your code stopped with {what}" + (f" at the line `{line}`." if line else ".")


def rule_out(found: Any, mistakes: Mapping[Any, str], *, case: str = "", tolerance: float = 1e-6) -> None:
    """Compare with what typical mistakes give, each with its reason, a sentence after ``case``.

    Numbers, and tuples of numbers, are compared as by :func:`close`, everything else by ``==``.

    Raises:
        Wrong: it is one of them, or None.
    """
    refuse_none(found)
    for result, reason in mistakes.items():
        if _alike(found, result, tolerance):
            raise Wrong(f"{case}{reason}")


def close(found: Any, expected: Any, what: str, *, tolerance: float = 1e-6) -> None:
    """Compare numbers, or arrays of numbers of the same shape; ``what`` says for which input.

    Raises:
        Wrong: they differ by more than ``tolerance``, relative to the size of ``expected`` where that is over 1.
    """
    refuse_none(found)
    try:
        ours, theirs = _numbers(expected), _numbers(found)
    except (TypeError, ValueError):
        raise Wrong(f"{what}: expected {_short(expected)}, a number, got {_short(found)}.") from None
    if ours.shape != theirs.shape:
        raise Wrong(f"{what}: expected the shape {ours.shape}, got {theirs.shape}.")
    if not _alike(theirs, ours, tolerance):
        raise Wrong(f"{what}: expected {_short(expected)}, got {_short(found)}.")


def same(found: Any, expected: Any, what: str) -> None:
    """Compare anything that knows ``==``; ``what`` says for which input.

    Raises:
        Wrong: the two differ.
    """
    refuse_none(found)
    if found != expected:
        raise Wrong(f"{what}: expected {_short(expected)}, got {_short(found)}.")


def refuse_none(found: Any) -> None:
    """Raise :class:`Wrong` for a function that returns nothing."""
    if found is None:
        raise Wrong("Your code gives nothing back (None); did you forget `return`?")


def _alike(found: Any, expected: Any, tolerance: float) -> bool:
    try:
        theirs, ours = _numbers(found), _numbers(expected)
    except (TypeError, ValueError):
        return bool(found == expected)
    return ours.shape == theirs.shape and np.allclose(theirs, ours, rtol=tolerance, atol=tolerance, equal_nan=True)


def _numbers(value: Any) -> np.ndarray:
    """An array of floats, of a tensor without its gradient."""
    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value, float)


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else short(value)
