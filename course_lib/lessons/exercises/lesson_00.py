"""Checks of lesson 00: a first one that shows the three states, a few-shot prompt, and the greedy token."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from course_lib.lessons.exercises.core import Wrong, close, rule_out, same

__all__ = ["CHECKS"]


def _percent(percent: Callable[[int, int], float]) -> str:
    found = percent(3, 4)
    rule_out(found, {0.75: "You return the share, 0.75 of 1. The task asks for percent, from 0 to 100.",
                     100 * 4 / 3: "You divided asked by right. The right ones are a part of those asked."})
    close(found, 75, "3 right of 4 asked")
    rule_out(percent(1, 3), {33: "You rounded down: 1 of 3 is 33.33..., not 33. Divide by `/`, not by `//`, and do not "
                                 "round."})
    close(percent(1, 3), 100 / 3, "1 right of 3 asked")
    close(percent(0, 7), 0, "0 right of 7 asked")
    return "You have seen the three states: not done yet, not right yet, right. All exercises work like this one."


ONE, TWO = ("2 + 2?", "4"), ("1 + 1?", "2")


def _prompt(prompt_text: Callable[[Sequence[tuple[str, str]], str], str]) -> str:
    wanted = "Q: 2 + 2?\nA: 4\nQ: 3 + 3?\nA:"
    found = prompt_text([ONE], "3 + 3?")
    if not isinstance(found, str):
        same(found, wanted, "one solved question")
    if found != wanted and found.rstrip() == wanted:
        raise Wrong("Something stands behind the last `A:`, a space or a new line. The model wants to write the space "
                    "itself; after a space it would have to begin with a token that it hardly ever saw there.")
    if found == wanted.removesuffix("\nA:"):
        raise Wrong("The prompt ends with the question. Add a new line and `A:`, so that the model knows that it is "
                    "its turn.")
    if found.count("\n") < 3 and found.replace("\n", "") == wanted.replace("\n", ""):
        raise Wrong('New lines are missing: each line but the last ends with "\\n".')
    if found.startswith("Q: 3 + 3?"):
        raise Wrong("Your question comes first. It has to come last: the model continues the end of the text.")
    same(found, wanted, "one solved question")
    same(prompt_text([ONE, TWO], "5 + 1?"), "Q: 2 + 2?\nA: 4\nQ: 1 + 1?\nA: 2\nQ: 5 + 1?\nA:", "two solved questions")
    same(prompt_text([], "5 + 1?"), "Q: 5 + 1?\nA:", "no solved question")
    return "This is the paper's prompt; course_lib.knowledge.scoring.few_shot_prompt makes the same text."


def _greedy(greedy: Callable[[Mapping[str, float]], str]) -> str:
    given = {" the": 0.3, " Paris": 0.5, " Rome": 0.2}
    found = greedy(given)
    rule_out(found, {0.5: "You return the highest probability. The task asks for its token, the key.",
                     " the": "You took the first or the alphabetically last key. What counts is the value of each key: "
                             "give max() a `key`.",
                     " Rome": "You took the token with the lowest probability."})
    same(found, " Paris", "the, Paris, Rome")
    same(greedy({" yes": 0.1, " no": 0.2, "!": 0.7}), "!", "yes, no and !")
    return "The same prompt always gives the same greedy answer: there is no chance in it."


CHECKS = {"00.1": _percent, "00.2": _prompt, "00.3": _greedy}
