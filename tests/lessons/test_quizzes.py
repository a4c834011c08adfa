"""Quizzes: their files, what is said about a choice, the score, and the text for those who see no widget."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from course_lib.files import CourseError, DataError
from course_lib.lessons import quizzes as module
from course_lib.lessons.quizzes import Option, Question, Quiz, as_markdown, feedback, load, score

SOURCES = [path.stem[:2] for path in sorted((Path(__file__).parents[2] / "notebooks" / "src").glob("*.py"))]
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


def test_before_a_choice_nothing_is_said() -> None:
    assert feedback(ONE, None) == ""


def test_a_right_choice_is_explained() -> None:
    assert feedback(ONE, 1) == "Right. Two pairs."


def test_a_wrong_choice_is_explained_and_in_the_course_quiz_points_back() -> None:
    assert feedback(ONE, 0) == "Not this one. One too few. Try another."
    assert feedback(ONE, 0, point_back=True) == "Not this one. One too few. Lesson 05 explains it. Try another."


@pytest.mark.parametrize(("chosen", "said"), [([None, None], "0 of 2 right, 2 not answered yet."),
                                              ([1, None], "1 of 2 right, 1 not answered yet."),
                                              ([1, 0], "1 of 2 right.")])
def test_the_score_counts_right_and_open_questions(chosen: list, said: str) -> None:
    assert score([ONE, ONE], chosen) == said


def test_the_text_has_every_option_and_folds_the_answer() -> None:
    text = as_markdown(Quiz("05", "x", (ONE,)))
    assert text == ("**1.** 2 + 2?\n\n* A. 3\n* B. 4\n\n<details><summary>Answer</summary>"
                    "<p>B. A: One too few. B: Two pairs.</p></details>")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    return tmp_path


@pytest.mark.parametrize("options", [
    [{"text": "a", "right": True, "why": "x"}, {"text": "b", "right": True, "why": "x"}],
    [{"text": "a", "right": False, "why": "x"}, {"text": "b", "right": False, "why": "x"}],
    [{"text": "a", "right": True, "why": "x"}]], ids=["two right", "none right", "one option"])
def test_a_question_without_exactly_one_right_option_is_named(folder: Path, options: list) -> None:
    (folder / "05.json").write_text(json.dumps({"title": "x", "questions": [{"question": "?", "options": options}]}))
    with pytest.raises(DataError, match="05.json question 1: give two to four options, exactly one of them right"):
        load("05")


def test_an_option_without_an_explanation_is_named(folder: Path) -> None:
    options = [{"text": "a", "right": True, "why": " "}, {"text": "b", "right": False, "why": "x"}]
    (folder / "05.json").write_text(json.dumps({"title": "x", "questions": [{"question": "?", "options": options}]}))
    with pytest.raises(DataError, match="question 1: an option without text or without its explanation"):
        load("05")


def test_a_quiz_that_does_not_exist_names_those_that_do() -> None:
    with pytest.raises(CourseError, match="no quiz '77'; there are: 00, "):
        load("77")


def test_choosing_shows_the_explanation_and_the_score() -> None:
    board = module._board(Quiz("05", "x", (ONE, ONE)))
    first, total = board.children[0], board.children[-1]
    text, buttons, said = first.children
    assert "2 + 2?" in text.value and buttons.options == ("A", "B") and buttons.value is None
    buttons.value = "A"
    assert "Not this one. One too few." in said.value
    buttons.value = "B"
    assert "Right. Two pairs." in said.value and "1 of 2 right, 1 not answered yet." in total.value
