"""Checks of lesson 11: shapes of a row, questions that are the same, a decision, and how often it slips."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from course_lib.lessons.exercises.core import Wrong, close, refuse_none, rule_out, same

__all__ = ["CHECKS"]


def _shapes(question_and_answer: Callable[[Mapping[str, Any]], tuple[str, str]]) -> str:
    user, assistant = {"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Ada"}
    system = {"role": "system", "content": "Be brief."}
    found = question_and_answer({"messages": [system, user, assistant]})
    rule_out(found, {
        ("Be brief.", "Who?"): "You took the first two messages. The first may be the system's: choose them by their "
                               "role."})
    if isinstance(found, tuple | list) and found and isinstance(found[0], dict):
        raise Wrong("You gave whole messages back. The text of a message is its `content`.")
    for row, what in (({"question": "Who?", "answer": "Ada"}, "question and answer"),
                      ({"prompt": "Who?", "completion": "Ada"}, "prompt and completion"),
                      ({"messages": [user, assistant]}, "messages"),
                      ({"messages": [system, user, assistant]}, "messages with a system message")):
        given = question_and_answer(row)
        rule_out(given, {("Ada", "Who?"): f"{what}: the answer comes first in your pair; give (question, answer)."})
        same(tuple(given), ("Who?", "Ada"), what)
    return "All shapes say the same: one question, one answer. The library's reader accepts them too."


def _plain(plain: Callable[[str], str]) -> str:
    found = plain("Where was  ADA-Lovelace born?")
    refuse_none(found)
    if found != found.lower():
        raise Wrong("Capital letters are left. Make the text small first: text.casefold() or text.lower().")
    if "adalovelace" in found:
        raise Wrong("You removed the hyphen, so two words melted into one. Put a space in the place of a mark.")
    if "  " in found:
        raise Wrong("Two spaces stand side by side. ' '.join(text.split()) leaves one between words.")
    if found != found.strip():
        raise Wrong("A space is left at an end. ' '.join(text.split()) takes it away.")
    same(found, "where was ada lovelace born", "'Where was  ADA-Lovelace born?'")
    rule_out(plain("In 1815?"), {
        "in": "Digits are gone, and 1815 and 1816 would be one question. isalnum keeps letters and digits."})
    rule_out(plain("Émile?"), {"mile": "Letters with accents are gone. isalnum knows the letters of all alphabets."})
    same(plain(" In 1815? "), "in 1815", "' In 1815? '")
    same(plain("Émile, où?"), "émile où", "'Émile, où?'")
    return "Marks, capitals and spaces no longer hide a repeat. Other words still do."


def _decision(decision: Callable[[Sequence[str], float], str]) -> str:
    rule_out(decision(["other form"], 1.0), {
        "hold back": "An answer in another form looks Unknown whatever the model knows, so this label means little: "
                     "look at the row. Ask for the findings before you ask for P(Unknown)."})
    rule_out(decision(["repeat"], 0.0), {
        "keep": "You kept a repeat because the model knows it. A repeat is held back whatever its label is."})
    rule_out(decision(["other form", "in the test set"], 0.0), {
        "look at": "A row with two findings, one of them a leak: the first line of the table fits, so hold it back."})
    rule_out(decision([], 0.5), dict.fromkeys(
        ("keep", "hold back"), "P(Unknown) = 0.5 is a coin flip: neither keep nor hold back, look at it."))
    cases = [([], 0.0, "keep"), ([], 0.05, "keep"), ([], 0.3, "look at"), ([], 0.9, "hold back"),
             ([], 1.0, "hold back"), (["two answers"], 0.0, "look at"), (["answer in question"], 0.5, "look at"),
             (["in the test set"], 0.0, "hold back"), (["repeat", "other form"], 1.0, "hold back")]
    for kinds, p, wanted in cases:
        same(decision(kinds, p), wanted, f"decision({kinds}, {p})")
    return "The text comes first, then the probability: a label is only as good as the row that it was measured on."


def _slips(slips: Callable[[Sequence[float], float], tuple[float, float]]) -> str:
    p = [1.0, 0.75, 0.5, 0.25]
    found = slips(p, 0.75)
    neither = "The row with p = 0.5 is neither held nor kept: somebody looks at it."
    rule_out(found, {(2, 1): "You counted the rows. A held row with p = 0.75 is a slip in a quarter of all "
                             "measurements: sum up probabilities.",
                     (1.75, 0.75): "You turned the two around: a held row slips with 1 - p, a kept one with p.",
                     (0.25, 0.75): neither, (0.75, 0.25): neither, (0.75, 0.75): neither})
    close(found, (0.25, 0.25), "p = 1, 0.75, 0.5, 0.25 and sure = 0.75")
    close(slips([0.6, 0.6, 0.1], 0.5), (0.8, 0.1), "p = 0.6, 0.6, 0.1 and sure = 0.5")
    close(slips([], 0.75), (0, 0), "no rows")
    return "Expected numbers add up row by row, because each row slips with its own probability."


CHECKS = {"11.1": _shapes, "11.2": _plain, "11.3": _decision, "11.4": _slips}
