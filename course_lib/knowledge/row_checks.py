"""Faults in the rows of a fine-tuning file that show in the text alone, before any model is asked.

    repeat              an earlier row asks the same question and gives the same answer
    in the test set     a question that you test with: training on it gives its answer away
    two answers         another row asks the same question and gives another answer
    answer in question  the answer stands in the question, so that no memory is needed to give it
    other form          the answer is written unlike those of its relation: a full stop, a small letter, or far longer

Two questions are the same if their letters and digits are, word by word (:func:`plain`): letter case, spaces and marks
do not count. **A reworded question is another question here**, so repeats and leaks in other words are not found.

The last three also spoil a measurement: SliCK compares exactly, so an answer in another form looks Unknown, and a row
of two answers is right at most half of the time. :func:`with_clean_examples` keeps all of them out of the prompts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from statistics import median

from course_lib.data.facts import by_relation
from course_lib.data.questions import Question, QuestionSet
from course_lib.files import CourseError
from course_lib.text import short

__all__ = ["KINDS", "Finding", "check_rows", "plain", "with_clean_examples"]

KINDS = ("repeat", "in the test set", "two answers", "answer in question", "other form")
FEW = 5  # rows of a relation from which a common form can be seen
RARE = 0.2  # a form is another one if at most this share of its relation's rows has it
NAMED = 20  # answers of other rows that one finding names
LONG_WORDS, LONG_TIMES = 5, 3  # a long answer has more words than this, and than so many times the median


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that may be wrong: ``row`` is its number in the file, ``kind`` one of ``KINDS``, ``text`` says more."""

    row: int
    kind: str
    text: str


def plain(text: str) -> str:
    """A text as lower-case words of letters and digits, one space apart: what is compared to find repeats."""
    return " ".join("".join(letter if letter.isalnum() else " " for letter in text.casefold()).split())


def check_rows(data: QuestionSet, *, tested: Iterable[str] = ()) -> tuple[Finding, ...]:
    """Find what the texts of ``data`` show, by row; ``tested`` are the questions that the model will be tested with."""
    found = [*_same_questions(data), *_leaks(data, set(map(plain, tested)))]
    for group in by_relation(data.questions).values():
        found += [*_given_away(group), *_other_forms(group)]
    return tuple(sorted(found, key=lambda finding: (finding.row, KINDS.index(finding.kind))))


def with_clean_examples(data: QuestionSet, findings: Iterable[Finding]) -> QuestionSet:
    """The same questions; rows with a finding no longer serve as solved examples in the prompts of the others.

    Raises:
        CourseError: every row has a finding.
    """
    found = {finding.row for finding in findings}
    clean = tuple(example for example in data.exemplars if example.row not in found)
    if not clean:
        raise CourseError(f"{data.name}: every row has a finding, so none can be a solved example; correct some first")
    return replace(data, exemplars=clean)


def _same_questions(data: QuestionSet) -> Iterator[Finding]:
    groups: dict[str, list[Question]] = {}
    for question in data.questions:
        groups.setdefault(plain(question.question), []).append(question)
    for group in groups.values():
        firsts: list[Question] = []  # one row for each different answer
        given: dict[str, int] = {}  # answer -> its place in firsts
        for question in group:
            answers = _answers(question)
            before = min((given[answer] for answer in answers if answer in given), default=None)
            if before is None:
                given |= dict.fromkeys(answers, len(firsts))
                firsts.append(question)
            else:
                yield Finding(question.row, "repeat", f"asks and answers what row {firsts[before].row} does")
        for question in firsts if len(firsts) > 1 else ():
            yield Finding(question.row, "two answers", f"the same question has the answer {_others(question, firsts)}")


def _others(question: Question, firsts: list[Question]) -> str:
    """The answers of the other rows, the first few of them."""
    others = [other for other in firsts[:NAMED + 1] if other is not question][:NAMED]
    more = f" and {len(firsts) - 1 - NAMED:,} more" if len(firsts) - 1 > NAMED else ""
    return ", ".join(f"{short(other.object)} in row {other.row}" for other in others) + more


def _answers(question: Question) -> set[str]:
    return {plain(answer) for answer in (question.object, *question.aliases)}


def _leaks(data: QuestionSet, tested: set[str]) -> Iterator[Finding]:
    for question in data.questions:
        if plain(question.question) in tested:
            yield Finding(question.row, "in the test set", "you test with this question")


def _given_away(group: list[Question]) -> Iterator[Finding]:
    for question in group:
        answer = plain(question.object)
        if answer and f" {answer} " in f" {plain(question.question)} ":
            yield Finding(question.row, "answer in question", f"the question holds its answer {short(question.object)}")


def _other_forms(group: list[Question]) -> Iterator[Finding]:
    if len(group) < FEW:
        return
    usual_length = median(len(question.object.split()) for question in group)
    marked = [question.object.endswith((".", "!", "?")) for question in group]
    small = [question.object[0].islower() for question in group]
    rare_mark, rare_case = _rare(marked), _rare(small)
    for row, question in enumerate(group):
        words = len(question.object.split())
        if words > max(LONG_WORDS, LONG_TIMES * usual_length):
            yield Finding(question.row, "other form", f"{words} words, where {usual_length:g} are usual")
        elif marked[row] in rare_mark:
            yield Finding(question.row, "other form", f"{'a' if marked[row] else 'no'} mark at the end, unlike most")
        elif small[row] in rare_case:
            case = "small" if small[row] else "capital"
            yield Finding(question.row, "other form", f"a {case} first letter, unlike most")


def _rare(marks: list[bool]) -> set[bool]:
    """The forms that few rows have."""
    return {mark for mark in (True, False) if marks.count(mark) <= RARE * len(marks)}
