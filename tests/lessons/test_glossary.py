"""The glossary: sorted, without doubles, true to the lessons, and complete: every term that a lesson sets in bold."""

import re
from dataclasses import dataclass
from functools import cache

import pytest

from tests.support.lessons import ROOT, SOURCES, cells, learners_cells

GLOSSARY = ROOT / "docs" / "glossary.md"
SYMBOLS = "## Symbols"

# What the lessons set in bold and is no term, only stressed. Sentences and labels (at their end . ? or :) do not count.
NOT_TERMS = {
    "You will be able to", "4 bits", "A T4 has no bfloat16", "Adapters stay float32", "Licence", "Other words",
    "Privacy", "Wrong answers",
    "and", "both", "for each fact, what the model has read of it", "never", "subjects",
    "the 4-bit model is our base model", "wrong", "wrong answer", "Your own machine", "zero"}
WRITTEN = {"α": "alpha", "β": "beta", "²": "2"}  # how a symbol of the glossary is written in the plain sources


@dataclass(frozen=True)
class Entry:
    """A line of the glossary; ``spellings`` has the term itself first."""

    spellings: tuple[str, ...]
    meaning: str
    lesson: str
    target: str


@cache
def entries(part: int) -> tuple[Entry, ...]:
    """The terms (part 0) or the symbols (part 1)."""
    text = GLOSSARY.read_text(encoding="utf-8").split(SYMBOLS)[part]
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in text.splitlines() if line.startswith("| ")]
    found = []
    for name, meaning, lesson in ([cell.strip().replace("\\|", "|") for cell in row] for row in rows):
        if lesson != "lesson":
            link = re.fullmatch(r"\[(\d\d)\]\(\.\./notebooks/(\w+)\.ipynb\)", lesson)
            assert link, f"{name}: the lesson is to be given as [05](../notebooks/05_what_does_it_know.ipynb)"
            found.append(Entry(tuple(name.split(", ")), meaning, link[1], link[2]))
    return tuple(found)


@cache
def words(lesson: str) -> str:
    """What a learner reads of a lesson, on one line."""
    return " ".join(" ".join(cell.source.split()) for cell in learners_cells(lesson))


def plain(text: str) -> str:
    """Letters and digits alone, small, with Greek ones and powers spelled out."""
    spelled = "".join(WRITTEN.get(letter, letter) for letter in text)
    return re.sub(r"[^a-z0-9]", "", re.sub(r"\\(?:text|beta_|alpha)?", "", spelled).casefold()) or text


def bold(lesson: str) -> set[str]:
    """What a lesson sets in bold and is neither a sentence nor a label."""
    phrases = {" ".join(phrase.split()) for text in cells(lesson, "markdown")
               for phrase in re.findall(r"\*\*([^*]+)\*\*", text)}
    return {phrase for phrase in phrases if not phrase.endswith((".", "?", ":"))} - NOT_TERMS


def known() -> set[str]:
    return {form for part in (0, 1) for entry in entries(part) for name in entry.spellings
            for form in (name.casefold(), f"{name.casefold()}s", f"{name.casefold()}es")}


def test_the_terms_are_sorted() -> None:
    order = [re.sub(r"[^a-z0-9]", "", entry.spellings[0].casefold()) for entry in entries(0)]
    assert order == sorted(order)


def test_each_letter_has_its_heading() -> None:
    text = GLOSSARY.read_text(encoding="utf-8").split(SYMBOLS)[0]
    for part in text.split("\n## ")[1:]:
        first = {line[2].upper() for line in part.splitlines() if line.startswith("| ") and "| term |" not in line}
        assert first == {part[0]}


def test_no_spelling_stands_twice() -> None:
    names = [name for part in (0, 1) for entry in entries(part) for name in entry.spellings]
    assert sorted({name for name in names if names.count(name) > 1}) == []


@pytest.mark.parametrize("part", [0, 1])
def test_a_meaning_is_one_or_two_short_sentences(part: int) -> None:
    for entry in entries(part):
        assert re.search(r"[.?]\Z", entry.meaning), f"{entry.spellings[0]}: no full stop"
        assert len(re.findall(r"[.?]\"?(?= [A-Z]|\Z)", entry.meaning)) <= 2, entry.spellings[0]
        assert len(entry.meaning.split()) <= 40, entry.spellings[0]


@pytest.mark.parametrize("part", [0, 1])
def test_each_entry_names_a_lesson_that_is_there(part: int) -> None:
    assert [entry.spellings[0] for entry in entries(part) if SOURCES[entry.lesson].stem != entry.target] == []


def test_each_term_occurs_in_the_lesson_that_it_names() -> None:
    lost = []
    for entry in entries(0):
        text = words(entry.lesson).casefold()
        if not any(re.search(rf"(?<!\w){re.escape(name.casefold())}", text) for name in entry.spellings):
            lost.append((entry.lesson, entry.spellings[0]))
    assert lost == []


def test_each_symbol_occurs_in_the_lesson_that_it_names() -> None:
    lost = []
    for entry in entries(1):
        text = words(entry.lesson)
        short = [name for name in entry.spellings if len(name) == 1 and name.isascii()]
        if short and any(re.search(rf"(?<![\w.]){name}(?!\w)", text) for name in short):
            continue
        if not any(plain(name) in plain(text) for name in set(entry.spellings) - set(short)):
            lost.append((entry.lesson, entry.spellings[0]))
    assert lost == []


@pytest.mark.parametrize("lesson", SOURCES)
def test_every_term_that_a_lesson_sets_in_bold_is_in_the_glossary(lesson: str) -> None:
    assert sorted(phrase for phrase in bold(lesson) if phrase.casefold() not in known()) == []
