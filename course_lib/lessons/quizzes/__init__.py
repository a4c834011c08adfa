"""Questions with explained answers: ``quiz("02")`` after a lesson, ``quiz("course")`` after the last.

The questions are data, ``quizzes/NN.json``. What is said about a choice (:func:`feedback`) and about all of them
(:func:`score`) are plain functions; the radio buttons only call them. Where no widget can be shown, on GitHub or on
paper, the same questions stand as text, with folded answers (:func:`as_markdown`). No choice is recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_lib.files import CourseError, DataError, read_json

if TYPE_CHECKING:
    import ipywidgets

__all__ = ["FOLDER", "LETTERS", "Option", "Question", "Quiz", "as_markdown", "feedback", "load", "quiz", "score"]

FOLDER = Path(__file__).parent
LETTERS = "ABCD"


@dataclass(frozen=True, slots=True)
class Option:
    """One possible answer, and why it is right or wrong."""

    text: str
    right: bool
    why: str


@dataclass(frozen=True, slots=True)
class Question:
    """A question with two to four options, one of them right; ``lesson`` is where it is taught."""

    question: str
    options: tuple[Option, ...]
    lesson: str

    @property
    def answer(self) -> int:
        """The place of the right option, from 0."""
        return next(place for place, option in enumerate(self.options) if option.right)


@dataclass(frozen=True, slots=True)
class Quiz:
    """The questions of a lesson, or of the whole course."""

    name: str
    title: str
    questions: tuple[Question, ...]


def load(name: str) -> Quiz:
    """Read a quiz, "02" or "course".

    Raises:
        CourseError: there is no quiz of that name.
        DataError: its file has a question without exactly one right option, or an option without its explanation.
    """
    path = FOLDER / f"{name}.json"
    if not path.is_file():
        have = ", ".join(sorted(file.stem for file in FOLDER.glob("*.json"))) or "none"
        raise CourseError(f"no quiz {name!r}; there are: {have}")
    raw = read_json(path)
    questions = tuple(_question(one, name, f"{path.name} question {number}")
                      for number, one in enumerate(raw["questions"], 1))
    return Quiz(name, raw["title"], questions)


def _question(raw: dict[str, Any], name: str, where: str) -> Question:
    options = tuple(Option(one["text"], one["right"], one["why"]) for one in raw["options"])
    if sum(option.right for option in options) != 1 or not 2 <= len(options) <= len(LETTERS):
        raise DataError(f"{where}: give two to four options, exactly one of them right")
    if not all(option.text.strip() and option.why.strip() for option in options):
        raise DataError(f"{where}: an option without text or without its explanation")
    return Question(raw["question"], options, raw.get("lesson", name))


def feedback(question: Question, chosen: int | None, *, point_back: bool = False) -> str:
    """Explain a choice; nothing before there is one. ``point_back`` names the lesson after a wrong one."""
    if chosen is None:
        return ""
    option = question.options[chosen]
    if option.right:
        return f"Right. {option.why}"
    back = f" Lesson {question.lesson} explains it." if point_back else ""
    return f"Not this one. {option.why}{back} Try another."


def score(questions: Sequence[Question], chosen: Sequence[int | None]) -> str:
    """Count the questions that are answered right by now, and those still open."""
    right = sum(choice == one.answer for one, choice in zip(questions, chosen, strict=True))
    left = sum(choice is None for choice in chosen)
    return f"{right} of {len(questions)} right" + (f", {left} not answered yet." if left else ".")


def as_markdown(asked: Quiz) -> str:
    """The same questions as text, each with its explained answer folded away."""
    parts = []
    for number, one in enumerate(asked.questions, 1):
        options = "\n".join(f"* {letter}. {option.text}" for letter, option in zip(LETTERS, one.options, strict=False))
        why = " ".join(f"{letter}: {option.why}" for letter, option in zip(LETTERS, one.options, strict=False))
        parts.append(f"**{number}.** {one.question}\n\n{options}\n\n<details><summary>Answer</summary>"
                     f"<p>{LETTERS[one.answer]}. {escape(why, quote=False)}</p></details>")
    return "\n\n".join(parts)


def quiz(name: str) -> None:
    """Show a quiz: radio buttons with an explanation after each choice, or the text where no widget can be shown.

    Raises:
        CourseError: see :func:`load`.
    """
    from course_lib.figures.widgets.display import show

    asked = load(name)
    show(_board(asked), as_markdown(asked))


def _board(asked: Quiz) -> ipywidgets.VBox:
    """All questions, one below the other, and the score."""
    import ipywidgets

    buttons = [_buttons(one, number) for number, one in enumerate(asked.questions, 1)]
    comments, total = [ipywidgets.HTML() for _ in buttons], ipywidgets.HTML()

    def update(_: object = None) -> None:
        for one, choice, comment in zip(asked.questions, buttons, comments, strict=True):
            text = feedback(one, choice.index, point_back=asked.name == "course")
            comment.value = f"<p role='status'>{escape(text)}</p>" if text else ""
        total.value = f"<p>{escape(score(asked.questions, [choice.index for choice in buttons]))}</p>"

    for choice in buttons:
        choice.observe(update, names="index")
    update()
    rows = [ipywidgets.VBox([ipywidgets.HTML(_html(one, number)), choice, comment]) for number, (one, choice, comment)
            in enumerate(zip(asked.questions, buttons, comments, strict=True), 1)]
    return ipywidgets.VBox([*rows, total])


def _buttons(one: Question, number: int) -> ipywidgets.RadioButtons:
    """Lettered buttons: a long answer wraps in the text above them, where a button's own label would be cut off."""
    import ipywidgets

    return ipywidgets.RadioButtons(options=list(LETTERS[:len(one.options)]), value=None,
                                   description=f"Answer {number}", style={"description_width": "80px"})


def _html(one: Question, number: int) -> str:
    options = "".join(f"<li>{escape(option.text)}</li>" for option in one.options)
    return (f"<p><b>{number}.</b> {escape(one.question)}</p>"
            f"<ol type='A' style='margin: 0 0 0 1.5em; padding: 0'>{options}</ol>")
