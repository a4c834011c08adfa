"""Checks of lesson 08: the largest fall, an interval by hand, pairs of seeds, and the linear model of Table 1."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from course_lib.lessons.exercises.core import Wrong, close, rule_out, same

__all__ = ["CHECKS"]


def _fall(largest_fall: Callable[[Mapping[int, float], Mapping[int, float]], int]) -> str:
    early, late = {0: 40.0, 50: 39.0, 100: 36.0}, {0: 39.0, 50: 25.0, 100: 24.0}
    found = largest_fall(early, late)
    rule_out(found, {
        14: "You gave the size of the fall (14 points). The task asks at which share of Unknown it is.",
        100: "At 100 % the accuracy is lowest, but there it falls by 12 points only; at 50 % by 14.",
        0: "At 0 % it falls least (1 point). Is your difference the right way around: early minus late?"})
    same(found, 50, "falls of 1, 14 and 12 points")
    return "The largest fall, not the lowest point: the two need not be at the same share."


def _interval(interval: Callable[[Sequence[float]], tuple[float, float]]) -> str:
    found = interval([40.0, 42.0, 41.0])
    halves = {  # of the interval, by mistake
        4.302653 * np.sqrt(2 / 9): "Your standard deviation divides by n. A sample's divides by n - 1: np.std(values, "
                                   "ddof=1).",
        4.302653: "You forgot the root of n: the mean of three values is less noisy than one. Divide s by sqrt(n).",
        1.96 / np.sqrt(3): "You took 1.96, which holds for many values. For three seeds Student's t is 4.30.",
        2.919986 / np.sqrt(3): "You took t at 0.95. Two sides of 2.5 % each are left out, so take it at 0.975."}
    rule_out(found, {(41 - half, 41 + half): why for half, why in halves.items()}, tolerance=1e-4)
    close(found, [38.5159, 43.4841], "40, 42, 41", tolerance=1e-4)
    close(interval([5.0, 5.0, 5.0]), [5, 5], "three equal values")
    return "With three seeds the interval is wide. That is as it should be, and a reason for more seeds."


def _paired(paired_difference: Callable[[Mapping[int, float], Mapping[int, float]], float]) -> str:
    first, second = {0: 40.0, 1: 50.0}, {0: 38.0, 2: 20.0}
    found = paired_difference(first, second)
    rule_out(found, {
        16: "You compared the two means (45 and 29): seed 1 is only on one side, seed 2 only on the other.",
        -2: "The sign is turned around: first minus second.",
        1: "You divided by all seeds of the first side. Only seed 0 makes a pair."})
    close(found, 2, "one common seed")
    close(paired_difference({0: 1.0, 1: 5.0, 2: 3.0}, {2: 1.0, 1: 2.0, 0: 0.0}), 2, "three seeds in another order")
    return "The same seed draws nested training sets, so its luck cancels in the difference."


def _predicted(predicted: Callable[..., float]) -> str:
    found = predicted(30.0, 8.0, -6.0, 50, 50, 50)
    rule_out(found, {
        31: "You multiplied with what is fitted, but not with its share of |D|: at 50 % half of D is Known.",
        33.5: "You subtracted the Unknown part. The formula adds it: the coefficient is negative already."})
    if abs(found) > 100:
        raise Wrong("Your result is far outside of 0 to 100 %. The formula takes shares from 0 to 1: divide by 100.")
    close(found, 30.5, "30, 8, -6 at 50 %, half of both fitted")
    swapped = predicted(30.0, 8.0, -6.0, 25, 100, 0)
    rule_out(swapped, {32: "At 25 % Unknown, 75 % of the rows are Known. You swapped the two shares."})
    close(swapped, 36, "25 % Unknown, all Known and no Unknown rows fitted")
    return f"With the paper's coefficients, 50 % and all fitted: {predicted(36.9, 7.3, -8.3, 50, 100, 100):.1f} %."


CHECKS = {"08.1": _fall, "08.2": _interval, "08.3": _paired, "08.4": _predicted}
