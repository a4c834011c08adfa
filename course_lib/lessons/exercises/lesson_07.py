"""Checks of lesson 07: EARLY_STOP, patience, lost and gained answers, and a share beside chance.

Values are worked out by hand; EARLY_STOP is compared with :attr:`.History.early_stop` as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from course_lib.lessons.exercises.core import Wrong, close, refuse_none, rule_out, same
from course_lib.training.records import EpochRecord, History

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CHECKS"]


def _early_stop(early_stop: Callable[[pd.DataFrame], Mapping[str, Any]]) -> str:
    found = _epoch(early_stop, [9, 3, 5, 5, 4], [1, 9, 2, 3, 8])
    rule_out(found, {
        0: "you take epoch 0. The untuned model does not count: look from epoch 1 on.",
        1: "you take epoch 1, the best on test. The test questions take no part in the choice: look at dev.",
        3: "you take epoch 3, the last of two with the best dev accuracy. The first one counts: replace the best only "
           "if the new one is higher.",
        4: "you take the last epoch; that is CONVERGENCE."}, case="With dev 9, 3, 5, 5, 4 of epochs 0 to 4: ")
    for dev in ([9, 3, 5, 5, 4], [0, 1, 2, 3, 4], [2, 7, 1, 1, 1], [0, 0, 0, 0, 0]):
        same(_epoch(early_stop, dev, dev), _history(dev, dev).early_stop.epoch, f"the epoch, for dev {dev} from "
                                                                                f"epoch 0 on")
    return "The first epoch with the best dev accuracy; dev chooses, so test stays an unbiased judge."


def _history(dev: Sequence[float], test: Sequence[float]) -> History:
    return History(tuple(EpochRecord(epoch, None, float(d), float(t), 0.0, None, None, 0.0)
                         for epoch, (d, t) in enumerate(zip(dev, test, strict=True))))


def _epoch(early_stop: Callable[[pd.DataFrame], Mapping[str, Any]], dev: Sequence[float],
           test: Sequence[float]) -> int:
    found = early_stop(_history(dev, test).to_frame())
    refuse_none(found)
    try:
        return int(found["epoch"])
    except (TypeError, KeyError, IndexError):
        raise Wrong(f"Give the whole row, in which row['epoch'] is its epoch; you give {found!r}.") from None


def _stopped_after(stopped_after: Callable[[list[float], int], int]) -> str:
    found = stopped_after([30, 34, 33, 34, 31], 2)
    rule_out(found, {
        2: "2 is the best epoch. Its weights are kept, but training stops two epochs later.",
        3: "you say 3. Is your first epoch 0, or did you stop after a single epoch without a better one? Epochs count "
           "from 1, and two in a row must not beat the best.",
        5: "you say 5. Epoch 4 has 34 again: that equals the best and does not beat it, although epoch 3 had less."},
        case="[30, 34, 33, 34, 31], patience 2: ")
    rule_out(stopped_after([30, 35, 31, 32, 36, 33], 2), {
        6: "[30, 35, 31, 32, 36, 33], patience 2: epochs 3 and 4 are both below 35, so it stops after 4. Compare with "
           "the best so far, not with the epoch before."})
    rule_out(stopped_after([30, 29, 31, 30, 32], 2), {
        4: "[30, 29, 31, 30, 32], patience 2: you count all epochs without a better one. They must come in a row: "
           "start again at 0 after each new best."})
    cases = (([30, 34, 33, 34, 31], 2, 4), ([30, 35, 31, 32, 36, 33], 2, 4), ([30, 29, 31, 30, 32], 2, 5),
             ([40, 39], 1, 2), ([1, 2, 3], 1, 3), ([5, 4, 4, 4, 6], 3, 4), ([7], 3, 1))
    for dev, patience, expected in cases:
        same(stopped_after(list(dev), patience), expected, f"{dev}, patience {patience}")
    return "A small patience saves epochs, and now and then it gives up before a later, better one."


def _lost_and_gained(lost_and_gained: Callable[[Sequence[bool], Sequence[bool]], tuple[int, int]]) -> str:
    early, late = [True] * 5 + [False] * 3, [True, True, False, False, False, True, False, False]
    found = lost_and_gained(early, late)
    rule_out(found, {(2, 0): "5 right answers became 3. You counted the difference, 2 and 0. Go through the questions "
                             "one by one: 3 were lost and 1 was gained.",
                     (1, 3): "The two numbers are right, but in the other order: lost first.",
                     (5, 3): "These are the right answers of both models. Lost means right first and wrong then."})
    same(tuple(found), (3, 1), "5 right answers, of which 2 stay right, and 3 wrong ones, of which 1 becomes right")
    same(tuple(lost_and_gained([True, False], [True, False])), (0, 0), "nothing changed")
    return "Lost minus gained is the fall in accuracy; both together say how much has changed."


def _errors_above(errors_above: Callable[[float, float, int], float]) -> str:
    found, case = errors_above(0.3, 0.2, 100), "share 0.3, chance 0.2, 100 answers"
    rule_out(found, {
        0.1 / (0.3 * 0.7 / 100) ** 0.5: "your standard error uses the share that was seen. Ask how far shares stray "
                                        "when chance alone is at work: use the chance.",
        0.1 / (0.2 * 0.8 / 100): "you divided by the variance. The standard error is its square root.",
        0.1 / (0.2 * 0.8) ** 0.5: "n is missing: a share of many answers strays less than one of few.",
        0.1 / ((0.2 * 0.8) ** 0.5 / 100): "divide by n under the root, or by the root of n outside of it.",
        0.1: "that is the difference of the two. Divide it by the standard error."}, case=f"{case}: ")
    close(found, 2.5, case)
    close(errors_above(0.1, 0.2, 400), -5, "share 0.1, chance 0.2, 400 answers")
    return "A difference of 10 points is 2.5 standard errors with 100 answers, and would be 5 with 400."


CHECKS = {"07.1": _early_stop, "07.2": _stopped_after, "07.3": _lost_and_gained, "07.4": _errors_above}
