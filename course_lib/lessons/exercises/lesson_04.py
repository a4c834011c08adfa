"""Checks of lesson 04: rows that leak, exact match, a fair score, and the majority answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from course_lib.lessons.exercises.core import Wrong, close, rule_out, same

__all__ = ["CHECKS"]


def _leaks(leaks: Callable[[list[dict[str, Any]], list[dict[str, Any]]], list[str]]) -> str:
    train = [{"subject": "Ana", "answers": ["Rome"]}, {"subject": "Bo", "answers": ["Ulm", "Old Ulm"]},
             {"subject": "Cem", "answers": ["Bonn"]}]
    test = [{"subject": "Cem", "answers": ["Bonn", "Old Bonn"]}, {"subject": "Dag", "answers": ["Rome"]},
            {"subject": "Bo", "answers": ["Oslo"]}]
    found = leaks(train, test)
    rule_out(found if found is None else tuple(found), {
        (): "You found none. Compare the field \"subject\" of both files, not whole records.",
        ("Bo",): "Cem is missing. A test question with several answers asks about its subject as well."})
    if "Ana" in found:
        raise Wrong("Ana is not asked about: only her answer, Rome, stands in the test too. Answers may be shared.")
    if isinstance(found, set):
        raise Wrong("You gave a set, which has no order. Give a list in the order of the training file.")
    same(found, ["Bo", "Cem"], "three training and three test records")
    return "Such rows leave the training set: otherwise the test would ask what training has told."


def _exact(exact: Callable[[str, str], bool]) -> str:
    from course_lib.knowledge.scoring.prompts import is_match

    if exact("Parish", "Paris"):
        raise Wrong("\"Parish\" passes as \"Paris\": the answer must be the whole line, not a part of it.")
    if exact("paris", "Paris"):
        raise Wrong("\"paris\" passes as \"Paris\": exact match does not change letters.")
    if exact(" Paris\nQ: Who owns it?", "Paris") is False:
        raise Wrong("A model often goes on after its answer. Look at the first line only, without spaces at its ends.")
    for generated in ("Paris", " Paris ", "Pa ris", "Paris.", "", "It is Paris", "\tParis\n"):
        same(bool(exact(generated, "Paris")), is_match(generated, "Paris"), f"the model writes {generated!r}")
    return "Strict, cheap, and the same for everybody. It judges as the library does."


def _fair(fair_score: Callable[[float, float], float]) -> str:
    found = fair_score(20.0, 90.0)
    rule_out(found, {30: "You added 10 points. The 10 of 100 are of the answers that were called WRONG, here 80 %.",
                     22: "You took a tenth of the right answers. The forgiven ones come from the wrong answers.",
                     92: "90 of 100 were truly wrong, so only 10 of 100 are forgiven."})
    close(found, 28, "score 20, 90 of 100 truly wrong")
    close(fair_score(40.0, 100.0), 40, "all of them truly wrong: nothing changes")
    return "The lower the score, the more there is to forgive; the order of two models stays."


def _majority(majority_share: Callable[[Sequence[str], Sequence[str]], float]) -> str:
    train, test = ["Ulm", "Ulm", "Rome"], ["Ulm", "Rome", "Rome", "Bonn"]
    found = majority_share(train, test)
    rule_out(found, {50: "You took the most common TEST answer. A model can only have seen the training answers.",
                     200 / 3: "That is the share in the training answers. It has to answer the test questions.",
                     0.25: "This is a share from 0 to 1; the task asks for percent."}, tolerance=1e-4)
    close(found, 25, "training Ulm, Ulm, Rome; test Ulm, Rome, Rome, Bonn")
    close(majority_share(["a", "b", "b"], ["a", "a"]), 0, "a majority answer that no test question has")
    return "Whoever reports a relation's accuracy should report this number beside it."


CHECKS = {"04.1": _leaks, "04.2": _exact, "04.3": _fair, "04.4": _majority}
