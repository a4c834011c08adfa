"""Every exercise of the course in its three states, and how an answer is judged."""

import ast
import re
from functools import cache

import numpy as np
import pytest
import torch

from course_lib.files import CourseError
from course_lib.lessons import exercises
from course_lib.lessons.builder import editions
from course_lib.lessons.exercises.core import Exercise, Verdict, Wrong, close, judge, same
from tests.support.lessons import SOURCES, found, mistakes, source


@cache
def arguments(lesson: str) -> dict[str, list[str]]:
    """Number -> what the lesson gives to ``check`` after it: names that the exercise's cell defines."""
    calls = [node for cell in source(lesson).cells if cell.cell_type == "code" and "check(" in cell.source
             for node in ast.walk(ast.parse(cell.source))
             if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "check"]
    return {call.args[0].value: [ast.unparse(argument) for argument in call.args[1:]] for call in calls}


def verdict(lesson: str, number: str, code: str) -> Verdict:
    """Run an exercise's cell by itself, as a learner would have filled it in, and judge it."""
    namespace: dict[str, object] = {"__name__": "exercise"}
    exec(compile(code, f"exercise {number}", "exec"), namespace)
    return judge(exercises.exercise(number), *(eval(name, namespace) for name in arguments(lesson)[number]))


ALL = [(lesson, one.id) for lesson in SOURCES for one in found(lesson)]
WRONG = [(lesson, *one) for lesson in SOURCES for one in mistakes(lesson)]


def code_of(lesson: str, number: str) -> str:
    return next(one.code for one in found(lesson) if one.id == number)


@pytest.mark.parametrize("lesson", SOURCES)
def test_a_lesson_has_three_to_five_exercises_each_with_a_checker(lesson: str) -> None:
    numbers = [one.id for one in found(lesson)]
    assert numbers == [f"{lesson}.{place}" for place in range(1, len(numbers) + 1)] and 3 <= len(numbers) <= 5
    assert [one.id for one in exercises.lesson(lesson)] == numbers


@pytest.mark.parametrize("lesson", SOURCES)
def test_the_head_gives_the_sum_of_the_minutes_of_the_exercises(lesson: str) -> None:
    assert editions.minutes(source(lesson)).exercises == sum(one.minutes for one in found(lesson))


@pytest.mark.parametrize(("lesson", "number"), ALL)
def test_an_untouched_exercise_is_undone(lesson: str, number: str) -> None:
    assert verdict(lesson, number, editions.stub(code_of(lesson, number), number)).state == "undone"


@pytest.mark.parametrize(("lesson", "number"), ALL)
def test_the_solution_is_right(lesson: str, number: str) -> None:
    told = verdict(lesson, number, editions.filled(code_of(lesson, number)))
    assert (told.state, bool(told.message)) == ("right", True), told


@pytest.mark.parametrize(("lesson", "number", "code", "reason"), WRONG)
def test_a_typical_mistake_is_wrong_for_its_reason(lesson: str, number: str, code: str, reason: str) -> None:
    told = verdict(lesson, number, code)
    assert told.state == "wrong" and reason in told.message, told


@pytest.mark.parametrize(("lesson", "number"), ALL)
def test_an_exercise_has_two_typical_mistakes_three_hints_and_a_check_right_below(lesson: str, number: str) -> None:
    assert sum(one[0] == number for one in mistakes(lesson)) >= 2
    hints = exercises.exercise(number).hints
    assert len(hints) == 3 and len(set(hints)) == 3 and all(len(hint) > 15 for hint in hints)
    cells = source(lesson).cells
    place = next(one.cell for one in found(lesson) if one.id == number)
    below = [cell.source for cell in cells[place + 1:place + 3] if cell.cell_type == "code"]
    assert any(f'check("{number}"' in text for text in below)


# ---------------------------------------------------------------- how an answer is judged


def _double(double) -> str:
    if double(3) == 9:
        raise Wrong("you squared it")
    close(double(2), 4, "twice 2")
    return "Twice."


ONE = Exercise("99.1", _double, ("a", "b", "c"))


def dots(x):
    raise NotImplementedError("exercise 99.1")


@pytest.mark.parametrize(("answer", "state", "said"), [
    (..., "undone", r"hint\('99\.1'\)"), (dots, "undone", r"hint\('99\.1'\)"),
    (lambda x: 2 * x, "right", r"^Twice\."), (lambda x: x * x, "wrong", "you squared it"),
    (lambda x: 5, "wrong", "twice 2: .*4.*5"), (lambda x: None, "wrong", "`return`"),
    (lambda x: "four", "wrong", "4, .*'four'"), (lambda x: [4, 4], "wrong", r" \(\), .*\(2,\)"),
    (lambda x: 1 / 0, "wrong", "ZeroDivisionError: division by zero"),
    (lambda x: np.zeros(2).reshape(3), "wrong", r"`\(lambda x: np\.zeros\(2\)\.reshape\(3\)")])
def test_an_answer_is_judged_with_its_reason(answer: object, state: str, said: str) -> None:
    told = judge(ONE, answer)
    assert told.state == state and re.search(said, told.message)


def test_the_line_that_stopped_is_shown() -> None:
    def broken(x):
        return x.no_such_thing

    assert "`return x.no_such_thing`" in judge(ONE, broken).message


def test_an_answer_of_another_kind_is_said_to_have_the_wrong_form() -> None:
    told = judge(exercises.exercise("09.1"), 7)
    assert told.state == "wrong" and "(TypeError: " in told.message


def test_ctrl_c_is_not_taken_for_a_mistake() -> None:
    def long(x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        judge(ONE, long)


def test_the_verdict_is_one_line_that_names_the_exercise() -> None:
    assert str(judge(ONE, lambda x: 2 * x)).endswith("99.1: right. Twice.")


@pytest.mark.parametrize("value", [[1.0, 2.0], np.array([1.0, 2.0]), torch.tensor([1.0, 2.0], requires_grad=True)])
def test_lists_arrays_and_tensors_are_compared_as_numbers(value: object) -> None:
    close(value, [1.0, 2.0 + 1e-9], "two numbers")


def test_a_small_difference_counts() -> None:
    with pytest.raises(Wrong, match=r"^one: .*\b1, .*\b1\.001\b"):
        close(1.001, 1.0, "one")


def test_what_is_not_equal_is_shown_in_short() -> None:
    with pytest.raises(Wrong, match=r"^a list: .*\[1\], .*\[0, .*\.\.\."):
        same(list(range(1000)), [1], "a list")


def test_an_unknown_number_names_those_that_exist() -> None:
    with pytest.raises(CourseError, match="'99.1'"):
        exercises.exercise("99.1")


def test_hints_come_one_after_the_other_and_then_the_solution(capsys: pytest.CaptureFixture[str]) -> None:
    lesson, number = ALL[0]
    exercises._hints_given.clear()
    for _ in range(4):
        exercises.hint(number)
    exercises.hint(number, 1)
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Hint")]
    assert [line[:11] for line in said] == ["Hint 1 of 3", "Hint 2 of 3", "Hint 3 of 3", "Hint 3 of 3", "Hint 1 of 3"]


def test_the_solution_is_shown_without_marks(capsys: pytest.CaptureFixture[str]) -> None:
    _, number = ALL[0]
    exercises.solution(number)
    shown = capsys.readouterr().out
    assert shown.strip() and "SOLUTION" not in shown
