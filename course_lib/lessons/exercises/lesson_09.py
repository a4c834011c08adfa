"""Checks of lesson 09: a weighted mean, Student's t, two tests at once, and the point of a rule in Fig. 5."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from course_lib.lessons.exercises.core import Wrong, close, rule_out, same

__all__ = ["CHECKS"]


def _weighted(full_by_hand: Callable[[Mapping[str, float], Mapping[str, int]], float]) -> str:
    accuracy, counts = {"HighlyKnown": 90.0, "Unknown": 0.0}, {"HighlyKnown": 10, "Unknown": 30}
    found = full_by_hand(accuracy, counts)
    rule_out(found, {
        45: "You took the plain mean of the accuracies (45). A category with more questions must count more.",
        900: "You have the sum of accuracy times questions (900). Divide it by the number of all questions."})
    close(found, 22.5, "90 % of 10 questions and 0 % of 30")
    close(full_by_hand({"a": 98.0, "b": 60.0, "c": 10.0, "d": 1.0}, {"a": 200, "b": 100, "c": 100, "d": 100}), 53.4,
          "four categories")
    return "Accuracy times questions, summed, over all questions: the paper's column Full is made like this."


def _t(t_of: Callable[[np.ndarray], float]) -> str:
    gaps = np.array([1.0, 2.0, 3.0])
    found = t_of(gaps)
    rule_out(found, {2 / (gaps.std() / np.sqrt(3)): "Your standard deviation divides by n. A sample's divides by "
                                                    "n - 1: np.std(gaps, ddof=1).",
                     2: "You divided by the standard deviation of one difference. The mean of n of them is less noisy: "
                        "divide s by sqrt(n)."})
    close(found, 2 * np.sqrt(3), "the gaps 1, 2, 3")
    close(t_of(np.array([-1.0, 1.0, 0.0, 4.0])), 1 / (np.sqrt(14 / 3) / 2), "the gaps -1, 1, 0, 4")
    return "The mean difference in units of its own noise: beyond about 2 it is hard to call it chance."


def _believable(believable: Callable[[float, float, float], bool]) -> str:
    if believable(0.01, -0.4, 2.2) or believable(0.6, 0.4, 2.2):
        raise Wrong("You say True where only one of the two tests sees a difference. Both must: join them by `and`.")
    if not believable(0.01, -2.2, -0.4):
        raise Wrong("An interval from -2.2 to -0.4 leaves out zero as well: the difference may be negative.")
    same(bool(believable(0.01, 0.4, 2.2)), True, "p = .01, interval 0.4 to 2.2")
    same(bool(believable(0.05, 0.4, 2.2)), False, "p = .05 exactly, which is not below .05")
    same(bool(believable(0.01, 0.0, 2.2)), False, "p = .01, an interval that begins at zero")
    return "Other questions and other seeds: a difference that survives both is worth a sentence."


def _point(point_of: Callable[[np.ndarray, np.ndarray], tuple[float, float]]) -> str:
    called = np.array([True, True, True, True, False, False, False, False, False, False])
    right = np.array([True, False, False, False, True, True, True, False, False, False])
    found = point_of(called, right)
    shares = "These are shares from 0 to 1; the task asks for percent."
    rule_out(found, {
        (40, 10): "Your second number is the right ones among ALL questions (10). Divide by the called ones only.",
        (40, 40): "Your second number counts every right answer (40 %). Only those of called questions matter here.",
        (0.4, 0.25): shares, (0.4, 0.1): shares, (0.4, 0.4): shares})
    close(found, [40, 25], "4 of 10 called, 1 of these right")
    return "Low and far to the right is good: many questions called Unknown, and they stay wrong."


CHECKS = {"09.1": _weighted, "09.2": _t, "09.3": _believable, "09.4": _point}
