"""Checks of lesson 01: what to try first, a hold-out that holds, rows without facts, swaps, and enough rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product

from course_lib.lessons.exercises.core import Wrong, rule_out, same

__all__ = ["CHECKS"]


def _first_choice(first_choice: Callable[[bool, bool, bool], str]) -> str:
    rule_out(first_choice(False, False, True), {
        "fine-tune": "You fine-tune when facts are missing. Rows of new facts are learned late and do harm: missing "
                     "facts go into the prompt by retrieval."})
    if first_choice(True, False, True) != "prompt":
        raise Wrong("A prompt that is enough comes first, whatever else holds: nothing is cheaper.")
    rule_out(first_choice(False, True, True), {
        "retrieval": "A program and facts are both missing here: the order of the task says tool before retrieval."})
    for enough, program, facts in product((False, True), repeat=3):
        wanted = "prompt" if enough else "tool" if program else "retrieval" if facts else "fine-tune"
        same(first_choice(enough, program, facts), wanted, f"first_choice({enough}, {program}, {facts})")
    return "Fine-tuning is what is left when prompt, tool and retrieval are not the cure: the behaviour itself."


def _leaked(leaked: Callable[[Sequence[str], Sequence[str]], Sequence[str]]) -> str:
    train = ["Where was Ada Berg born?", "who owns  Toria Mill?", "Where is Ulm?"]
    held_out = ["Where was Ada Berg born?", "Who owns Toria Mill? ", "Who founded Ulm?", "where IS Ulm?"]
    wanted = [held_out[0], held_out[1], held_out[3]]
    found = leaked(train, held_out)
    if isinstance(found, int | float):
        raise Wrong(f"You give a number ({found}). The task asks for the questions, so that they can be taken out.")
    rule_out(found if found is None else tuple(found), {
        (held_out[0],): "You compare the questions letter by letter. 'Who owns Toria Mill? ' and 'who owns  Toria "
                        "Mill?' are the same question: make both plain before comparing.",
        (held_out[0], held_out[3]): "Spaces still matter in your comparison. There may be two inside a question, and "
                                    "one at its end: \" \".join(question.split()) leaves one between words."})
    if held_out[0] not in found and held_out[0].lower() in found:
        raise Wrong("You give the questions in your plain form. The task wants them as they are written in held_out.")
    same(list(found) if isinstance(found, tuple | set) else found, wanted, "three of four questions leak")
    same(list(leaked([], held_out)), [], "an empty training set")
    return "Take them out before you measure: a question from the training set tests memory."


def _safe(safe: Mapping[str, bool]) -> str:
    if set(safe) != set("abcde"):
        raise Wrong('Give all five rows: {"a": ..., "b": ..., "c": ..., "d": ..., "e": ...} with True or False.')
    if not safe["c"]:
        raise Wrong("Row c has its passage with it: the answer can be read there. It teaches to use a passage, not the "
                    "opening hours.")
    if safe["d"]:
        raise Wrong("Rows c and d have the same answer, but d has no passage: the base has never read when this shop "
                    "opens, so d teaches a new fact.")
    if safe["b"]:
        raise Wrong("Row b: the base has never read who leads this shop. The name is a new fact.")
    for row in "ae":
        if not safe[row]:
            raise Wrong(f"Row {row} holds no fact about the world. It shows a tone, or when to ask back: a behaviour.")
    return "Rows b and d belong into a document that retrieval finds; a, c and e may be trained."


def _swaps(swaps: Callable[[Sequence[bool], Sequence[bool]], tuple[int, int]]) -> str:
    before, after = [True, True, True, False, False, True], [True, False, True, True, False, False]
    found = swaps(before, after)
    if isinstance(found, int | float):
        raise Wrong(f"You give one number ({found}). The task asks for two: (gained, lost).")
    totals = "You compared the two totals. They hide the swaps: compare question by question."
    rule_out(found, {(2, 1): "You have gained and lost the wrong way round: gained is wrong before and right after.",
                     (3, 4): "You counted all right answers, after and before. Count the questions that changed.",
                     (0, 1): totals, (-1, 1): totals})
    same(tuple(found), (1, 2), "six questions, one gained and two lost")
    same(tuple(swaps([False, True], [False, True])), (0, 0), "nothing changed")
    return "The change in accuracy is (gained - lost) / n: many swaps can hide behind a small change."


def _rows_needed(rows_needed: Callable[[Mapping[int, float], float], int | None]) -> str:
    found = rows_needed({1: 20, 4: 40, 16: 35, 64: 44}, 44)
    rule_out(found, {4: "You stop at the first size that is high enough (4). Size 16 falls below again: every size "
                        "from your answer on must reach it."})
    rule_out(rows_needed({1: 30, 4: 39.9, 16: 44}, 44), {
        16: "You ask for the whole reference. Nine tenths of it are enough: 0.9 * reference."})
    rule_out(rows_needed({16: 44, 1: 20, 4: 41}, 44), {16: "The sizes may come in any order: sort them first."})
    same(found, 64, "a curve that falls once")
    same(rows_needed({1: 30, 4: 39.9, 16: 44}, 44), 4, "nine tenths of 44 are 39.6")
    if rows_needed({1: 10, 4: 20}, 44) is not None:
        raise Wrong("No size reaches nine tenths here: give None, not a size.")
    if rows_needed({1: 10, 4: 42, 16: 20}, 44) is not None:
        raise Wrong("The largest size falls below here, so there is no size from which on all reach it: give None.")
    return "A curve that wobbles needs such a rule; and each of its points still has an interval."


CHECKS = {"01.1": _first_choice, "01.2": _leaked, "01.3": _safe, "01.4": _swaps, "01.5": _rows_needed}
