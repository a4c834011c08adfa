"""Quizzes: their files, what is said about a choice, the score, and the text for those who see no widget."""

import json
import re

import pytest

from course_lib.files import CourseError, DataError
from course_lib.lessons import quizzes as module
from course_lib.lessons.quizzes import Option, Question, Quiz, as_markdown, feedback, load, score
from tests.support.lessons import SOURCES

ONE = Question("2 + 2?", (Option("3", False, "One too few."), Option("4", True, "Two pairs.")), "05")


@pytest.mark.parametrize("name", [*SOURCES, "course"])
def test_every_lesson_and_the_course_have_a_quiz_of_a_fair_length(name: str) -> None:
    asked = load(name)
    assert (20 <= len(asked.questions) <= 30) if name == "course" else (4 <= len(asked.questions) <= 6)
    assert len({one.question for one in asked.questions}) == len(asked.questions)


@pytest.mark.parametrize("name", [*SOURCES, "course"])
def test_the_right_option_is_not_always_in_one_place_nor_always_the_longest(name: str) -> None:
    questions = load(name).questions
    assert len({one.answer for one in questions}) > 1
    longest = [max(one.options, key=lambda option: len(option.text)).right for one in questions]
    assert sum(longest) <= 0.6 * len(longest) + 0.5


def test_the_course_quiz_asks_about_every_lesson() -> None:
    assert {one.lesson for one in load("course").questions} == set(SOURCES)


def test_a_choice_is_explained_and_in_the_course_quiz_a_wrong_one_points_back() -> None:
    assert feedback(ONE, None) == ""
    assert re.fullmatch("Right.*Two pairs\\.", feedback(ONE, 1))
    assert re.match(r"Not .*One too few\.", feedback(ONE, 0)) and "05" not in feedback(ONE, 0)
    assert re.match(r"Not .*One too few\. .*\b05\b", feedback(ONE, 0, point_back=True))


@pytest.mark.parametrize(("chosen", "said"), [([None, None], r"0 of 2 .*\b2 "), ([1, None], r"1 of 2 .*\b1 "),
                                              ([1, 0], "1 of 2 [^0-9]*$")])
def test_the_score_counts_right_and_open_questions(chosen: list, said: str) -> None:
    assert re.match(said, score([ONE, ONE], chosen))


def test_the_text_has_every_option_and_folds_the_answer() -> None:
    text = as_markdown(Quiz("05", "x", (ONE,)))
    assert text == ("**1.** 2 + 2?\n\n* A. 3\n* B. 4\n\n<details><summary>Answer</summary>"
                    "<p>B. A: One too few. B: Two pairs.</p></details>")


@pytest.mark.parametrize("options", [
    [("a", True, "x"), ("b", True, "x")], [("a", False, "x"), ("b", False, "x")], [("a", True, "x")],
    [("a", True, " "), ("b", False, "x")]], ids=["two right", "none right", "one option", "no explanation"])
def test_a_question_whose_options_are_not_as_they_must_be_is_named(tmp_path, monkeypatch, options: list) -> None:
    written = [dict(zip(("text", "right", "why"), option, strict=True)) for option in options]
    (tmp_path / "05.json").write_text(json.dumps({"title": "x", "questions": [{"question": "?", "options": written}]}))
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    with pytest.raises(DataError, match=r"05\.json question 1: "):
        load("05")


def test_a_quiz_that_does_not_exist_names_those_that_do() -> None:
    with pytest.raises(CourseError, match="'77'; .*00, "):
        load("77")


def test_choosing_shows_the_explanation_and_the_score() -> None:
    board = module._board(Quiz("05", "x", (ONE, ONE)))
    first, total = board.children[0], board.children[-1]
    text, buttons, said = first.children
    assert "2 + 2?" in text.value and buttons.options == ("A", "B") and buttons.value is None
    buttons.value = "A"
    assert "One too few." in said.value
    buttons.value = "B"
    assert "Two pairs." in said.value and re.search(r"1 of 2 .*\b1 ", total.value)
