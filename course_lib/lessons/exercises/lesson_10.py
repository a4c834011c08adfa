"""Checks of lesson 10: right and wrong answers over all questions, selective refusal, and a choice with a price."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from course_lib.lessons.exercises.core import close, rule_out, same

__all__ = ["CHECKS"]


def _over_all(over_all: Callable[[float, float], float]) -> str:
    found = over_all(50.0, 60.0)
    rule_out(found, {3000: "You multiplied two percentages (3000). Divide by 100 once: 50 % of 60 % is 30 %.",
                     50: "You gave the accuracy over the answered questions. The declined ones count as well."})
    close(found, 30, "50 % right of 60 % answered")
    close(over_all(61.8, 58.7), 36.2766, "the paper's D_IDK at EARLY_STOP")
    return "The paper's D_IDK: 61.8 % of 58.7 % are 36.3 % of all questions; D has 43.0 %."


def _wrong(wrong_over_all: Callable[[float, float], float]) -> str:
    found = wrong_over_all(50.0, 60.0)
    rule_out(found, {
        70: "You counted the declined questions as wrong (70). Only an answer that was given can be wrong.",
        50: "That is the share of wrong answers among the answered ones. Multiply by how many were answered."})
    close(found, 30, "50 % right of 60 % answered")
    close(wrong_over_all(43.0, 100.0), 57, "43 % right, all answered")
    return "The paper's D_IDK is wrong on 22.4 % of all questions, D on 57.0 %."


def _selectivity(selectivity: Callable[[Mapping[str, float]], float]) -> str:
    declined = {"HighlyKnown": 10.0, "MaybeKnown": 20.0, "WeaklyKnown": 30.0, "Unknown": 50.0}
    found = selectivity(declined)
    rule_out(found, {-30: "The sign is turned around: Unknown minus Known.",
                     40: "You compared with HighlyKnown alone. Known means the first three categories.",
                     22.5: "Your mean holds Unknown too. Leave it out of the Known ones."})
    close(found, 30, "50 for Unknown and 10, 20, 30 for the others")
    close(selectivity(dict.fromkeys(declined, 40.0)), 0, "everything declined equally often")
    return "Zero means: the model has learned the phrase, not when to say it."


def _choice(best_remedy: Callable[[Mapping[str, tuple[float, float]], float], str]) -> str:
    remedies = {"D": (43.0, 57.0), "D_IDK": (36.0, 22.0)}
    rule_out(best_remedy(remedies, 0), {
        "D_IDK": "At price 0 a wrong answer costs nothing, so most right answers win: D."})
    rule_out(best_remedy(remedies, 1), {
        "D": "At price 1, D is worth 43 - 57 = -14 and D_IDK 36 - 22 = 14. Does your code use the price?"})
    same(best_remedy(remedies, 1), "D_IDK", "price 1")
    same(best_remedy(remedies, 0.1), "D", "price 0.1: 37.3 against 33.8")
    same(best_remedy({"a": (10.0, 0.0), "b": (50.0, 50.0), "c": (20.0, 5.0)}, 2), "a", "three remedies at price 2")
    return "There is no best remedy, only a best one for your price of a wrong answer."


CHECKS = {"10.1": _over_all, "10.2": _wrong, "10.3": _selectivity, "10.4": _choice}
