"""A lesson's quiz in JupyterLab: the explanation comes with the choice, by keyboard alone."""

import pytest

from course_lib.lessons.quizzes import LETTERS, feedback, load, score
from tests.browser.notebook_page import Open

pytestmark = pytest.mark.browser


def test_choosing_an_answer_with_the_keyboard_shows_its_explanation_and_the_score(opened: Open) -> None:
    asked = load("08")
    first, count = asked.questions[0], len(asked.questions)
    notebook = opened(['from course_lib.lessons.quizzes import quiz\n\nquiz("08")'])
    notebook.run()
    notebook.shows(0, score(asked.questions, [None] * count))
    wrong = next(place for place in range(len(first.options)) if place != first.answer)
    notebook.press(0, "Answer 1", "Space", place=wrong)
    notebook.shows(0, feedback(first, wrong))
    notebook.press(0, "Answer 1", "Space", place=first.answer)
    view = notebook.shows(0, feedback(first, first.answer))
    assert score(asked.questions, [first.answer] + [None] * (count - 1)) in view.text
    assert first.options[wrong].why not in view.text
    notebook.keep("quiz", 0)
    assert notebook.tab_stops(0) == [f"Answer {number}" for number in range(1, count + 1)]
    assert notebook.layout(0) == []
    assert notebook.output(0).locator("input[type=radio]").count() == sum(len(one.options) for one in asked.questions)
    assert LETTERS[first.answer] in notebook.control(0, "Answer 1").nth(first.answer).locator("..").inner_text()
