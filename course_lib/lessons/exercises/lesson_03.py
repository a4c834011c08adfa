"""Checks of lesson 03: count LoRA's weights, merge, find what the loss sees, and compute it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from course_lib.lessons.exercises.core import Wrong, close, rule_out, same

__all__ = ["CHECKS"]


def _count(lora_weights: Callable[[Sequence[tuple[int, int]], int], int]) -> str:
    found = lora_weights([(4, 3)], 2)
    single = "You counted one of the two matrices only. A has rank x in weights, B has out x rank."
    rule_out(found, {24: "You multiplied rank, out and in (24). A is rank x in and B is out x rank: add the two.",
                     12: "You counted W itself (4 x 3). Its weights are frozen; count A and B.", 6: single, 8: single})
    same(found, 14, "one layer of (4, 3) at rank 2")
    same(lora_weights([(4, 3), (10, 10)], 1), 27, "two layers at rank 1")
    return "rank x (in + out) for each layer: it grows with the width, W with its square."


def _merge(merged: Callable[..., np.ndarray]) -> str:
    W, A, B = np.eye(2, 3), np.array([[1.0, 0.0, 2.0], [0.0, 1.0, 0.0]]), np.array([[1.0, 0.0], [1.0, 1.0]])
    found = merged(W, A, B, 4)
    for scale, base, why in ((4, W, "You scaled by alpha. The formula has alpha / r, and r is 2 here: len(A)."),
                             (1, W, "The scale alpha / r is missing."),
                             (2, 0, "That is the correction alone. Add it to W."),
                             (4 / 3, W, "You divided by the width of A (3). The rank r is its number of rows (2).")):
        rule_out(found, {tuple(map(tuple, base + scale * B @ A)): why})
    close(found, W + 2 * B @ A, "W (2, 3), r = 2, alpha = 4")
    return "One matrix instead of two paths: no slower than the base, but no longer on 4-bit levels."


def _diagnose(diagnose: Callable[[Sequence[int], int, int], str]) -> str:
    if diagnose([-100, -100, 7, 8, 0], 2, 0) != "fine":
        raise Wrong("[-100, -100, 7, 8, 0] with start 2 and end 0 is fine: only the answer and the end count.")
    rule_out(diagnose([5, 6, 7, 8], 2, 0), {
        "no end": "[5, 6, 7, 8] has both mistakes. The task names \"question counted\" first."})
    if diagnose([-100, 6, 7, 8, 0], 2, 0) != "question counted":
        raise Wrong("In [-100, 6, 7, 8, 0] place 1 lies before the answer and counts. Look at all places before it.")
    same(diagnose([5, 6, 7, 8], 2, 0), "question counted", "labels [5, 6, 7, 8]")
    same(diagnose([-100, -100, 7, 8], 2, 0), "no end", "labels [-100, -100, 7, 8]")
    same(diagnose([-100, 0, 7], 1, 7), "fine", "labels [-100, 0, 7] with start 1 and end 7")
    return "The first mistake teaches the model to ask, the second to talk for ever."


def _surprise(mean_surprise: Callable[[Sequence[float]], float]) -> str:
    found = mean_surprise([1.0, 0.5])
    rule_out(found, {
        math.log(2): "You have the sum. Divide by the number of tokens: the task asks for the mean.",
        0.5: "You took the logarithm to base 2, which gives bits. Nats need the natural one: math.log(p).",
        -math.log(0.75): "You took the logarithm of the mean. Take the mean of the logarithms."})
    if found < 0:
        raise Wrong("The logarithm of a probability is negative. The surprise is MINUS the logarithm.")
    close(found, math.log(2) / 2, "probabilities 1.0 and 0.5")
    close(mean_surprise([0.25]), math.log(4), "one token with probability 0.25")
    return "A token that was certain costs nothing; one that was given 1 % costs 4.6 nats."


CHECKS = {"03.1": _count, "03.2": _merge, "03.3": _diagnose, "03.4": _surprise}
