"""Checks of lesson 05: what a sampler draws from, the four categories, and how sure a label is.

Most values are worked out by hand; the categories are compared with :func:`.slick.label` on all outcomes
that ten prompts can have.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from course_lib.data.paper import CATEGORIES
from course_lib.knowledge.scoring.scores import Scores
from course_lib.knowledge.slick import label
from course_lib.lessons.exercises.core import Wrong, close, rule_out, same

__all__ = ["CHECKS"]


def _sampler(sampler: Callable[[Sequence[float], float, int], Any]) -> str:
    logits = [2.0, 1.0, 0.0]
    warm, cold = (np.asarray(sampler(logits, temperature, 3), float) for temperature in (1, 0.5))
    if warm.shape == (3,) and np.allclose(cold, warm):
        raise Wrong("T = 1 and T = 0.5 give the same: the temperature has no effect. Divide the logits by it, before "
                    "the softmax; probabilities that are divided and then scaled back to 1 do not change.")
    if warm.shape == (3,) and np.allclose(cold, _softmax(np.array(logits) * 0.5)):
        raise Wrong("At T = 0.5 the likely tokens lost: you multiplied by the temperature. Divide by it, so that a T "
                    "below 1 makes the differences between logits larger.")
    given = sampler(logits, 1, 2)
    cut = np.asarray(given, float)
    if cut.shape == (3,) and cut[2] > 0:
        raise Wrong(f"With k = 2 the third token still has probability {cut[2]:.3f}. Top-k keeps the k best alone; the "
                    f"others get 0.")
    if cut.shape == (3,) and abs(cut.sum() - 1) > 1e-6:
        raise Wrong(f"With k = 2 the probabilities sum to {cut.sum():.3f}. After a token is cut off, the others must "
                    f"be scaled up to sum to 1 again: cut before the softmax.")
    close(given, [0.7310586, 0.2689414, 0], "logits 2, 1, 0 at T = 1 and k = 2")
    close(sampler([0.0, 3.0, 1.0, 2.0], 0.5, 2), [0, 0.8807971, 0, 0.1192029], "logits 0, 3, 1, 2 at T = 0.5 and k = 2")
    close(sampler(logits, 0.5, 1), [1, 0, 0], "k = 1")
    return "At T = 0.5 a lead of 1 in the logits makes a token 7.4 times as likely; at T = 1 only 2.7 times."


def _softmax(logits: np.ndarray) -> np.ndarray:
    return np.exp(logits) / np.exp(logits).sum()


def _category(category: Callable[[float, float], str]) -> str:
    rule_out(category(0.0, 0.5), {
        "Unknown": "No greedy answer right, half of the samples right: you counted a wrong greedy answer as Unknown; "
                   "Unknown also needs no right sample."})
    rule_out(category(0.9, 1.0), {"HighlyKnown": "9 of 10 greedy answers right: HighlyKnown needs every greedy answer "
                                                 "right. One miss makes it MaybeKnown."})
    rule_out(category(0.3, 0.0), dict.fromkeys(("Unknown", "WeaklyKnown"), (
        "3 of 10 greedy answers right, no sample right: one right greedy answer is enough for MaybeKnown; then the "
        "samples do not matter.")))
    rule_out(category(1.0, 0.9), {"MaybeKnown": "All greedy answers right, 9 of 10 samples right: the greedy answers "
                                                "alone decide that this is HighlyKnown; the samples do not matter."})
    for right in range(11):
        for sampled in (0.0, 1 / 160, 0.5, 1.0):
            same(category(right / 10, sampled), _by_library(right, sampled),
                 f"{right} of 10 greedy answers right, P_Correct of the samples {sampled:.3f}")
    return "The greedy answers decide first; the samples only tell WeaklyKnown from Unknown."


def _by_library(right: int, sampled: float) -> str:
    """The label of a fact with this many right greedy answers; a sample is surely right, or surely wrong."""
    greedy = np.array([[True] * right + [False] * (10 - right)])
    with np.errstate(divide="ignore"):
        log_p = np.log(np.full((1, 10), float(sampled > 0)))
    return CATEGORIES[label(Scores(greedy, log_p, np.ones((1, 10))))["category"].cat.codes[0]]


def _prob_unknown(prob_unknown: Callable[..., float]) -> str:
    given = prob_unknown([0.5, 0], samples=2)
    found = np.asarray(given, float)
    if found.shape:
        raise Wrong(f"You give {found.size} numbers, one a prompt. The samples after all prompts must miss together: "
                    f"multiply the numbers.")
    averaged = ("you averaged the chances first. Four misses in a row at chance 0.75 are something else than two at "
                "0.5 and two at 1: multiply the prompts' own chances.")
    rule_out(given, {0.75: "you say 0.75. That is the chance that some sample is right, and so the probability of "
                           "WeaklyKnown. Unknown is the rest.",
                     0.5: "you say 0.5, which is right for one sample a prompt. Each of the samples must miss.",
                     0.75**4: averaged, 0.75**2: averaged}, case="For p = [0.5, 0] and 2 samples: ")
    close(given, 0.25, "p = [0.5, 0], 2 samples")
    close(prob_unknown([0.0] * 10), 1, "p = 0 after each prompt")
    close(prob_unknown([0.01] * 10), 0.99**160, "p = 0.01 after each of ten prompts, 16 samples")
    return "With p = 0.01 after each of ten prompts the label is Unknown with probability 0.200: luck decides."


def _disagreement(disagreement: Callable[[Sequence[float]], float]) -> str:
    half, sure = disagreement([0, 0, 0.5, 0.5]), disagreement([0, 1, 0, 0])
    rule_out(half, {0.25: "0.25 is the chance that the first team says WeaklyKnown and the second Unknown. The other "
                          "way round they differ as well."})
    rule_out(sure, {1: "A label that is certain gives 1: you found the chance that the teams agree. Take the rest."})
    uneven = disagreement([0, 0, 0.9, 0.1])
    rule_out(uneven, {0.1: "For 0.9 and 0.1 you say 0.1, the chance that one team misses the most likely label. Both "
                           "teams draw, and both may miss it."})
    close(half, 0.5, "a fair coin")
    close(sure, 0, "a label that is certain")
    close(uneven, 0.18, "probabilities 0.9 and 0.1")
    close(disagreement([0.25] * 4), 0.75, "four labels, all equally likely")
    return "1 minus the chance of agreeing; with two labels that is 2P(1-P), largest at P = 0.5."


def _separation(separation_by_hand: Callable[[Sequence[float], Sequence[float]], float]) -> str:
    found = separation_by_hand([3, 2], [2, 1])
    rule_out(found, {
        0.75: "a tie counts half: of four pairs three are in order and one is a tie, which makes 3.5 of 4.",
        1.0: "you get 1, as if every pair were in order. Compare each score of yes with each of no, not their means; "
             "and a tie counts half.",
        0.125: "you counted the pairs in which no is higher; the share of those in which yes is higher is asked.",
        3.5: "3.5 is a number of pairs. Divide by how many pairs there are."},
        case="For yes = [3, 2] and no = [2, 1]: ")
    close(found, 0.875, "yes = [3, 2], no = [2, 1]")
    close(separation_by_hand([1, 1], [1]), 0.5, "all scores equal")
    close(separation_by_hand([0.2, 0.9, 0.4], [0.3]), 2 / 3, "yes = [0.2, 0.9, 0.4], no = [0.3]")
    close(separation_by_hand([1], [2, 3]), 0, "yes below no")
    return "All pairs compared. The library sorts instead, which is quicker and gives the same."


CHECKS = {"05.1": _sampler, "05.2": _category, "05.3": _prob_unknown, "05.4": _disagreement, "05.5": _separation}
