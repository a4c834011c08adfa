"""Texts of others, shown in an error, on one line and in Markdown."""

from pathlib import Path

import pytest

from course_lib.files import DataError
from course_lib.text import in_markdown, one_line, short


def test_an_error_can_be_shown_on_every_terminal() -> None:
    assert str(DataError("a\x1b[31m\udcff\u202eb\nc")) == "a\\x1b[31m\\udcff\\u202eb\nc"


@pytest.mark.parametrize(("value", "said"), [
    (Path("a/b"), "'a/b'"), (7, "7"), ("x" * 200, f"'{'x' * 37}...{'x' * 38}'"),
    ([[[[[[[[1]]]]]]]], "[[[[[[[...]]]]]]]")])
def test_a_value_is_named_shortly(value, said) -> None:
    assert short(value) == said


def test_an_integer_of_more_digits_than_python_writes_is_named_too() -> None:
    assert short(10**5000).startswith("an integer")


@pytest.mark.parametrize(("text", "shown"), [
    ("<b>[x](y)</b>", r"\<b\>\[x\](y)\</b\>"), ("5 & $6 | a_b", r"5 \& \$6 \| a\_b"),
    ("http://a.example, WWW.a.example", r"http:\//a.example, WWW\.a.example"),
    ("A, b: (c) 1.5 - 2!", "A, b: (c) 1.5 - 2!")])
def test_a_text_has_no_meaning_in_markdown(text: str, shown: str) -> None:
    assert in_markdown(text) == shown


@pytest.mark.parametrize(("text", "shown"), [
    (" a\n\tb ", "a b"), ("a\x07\u202eb\u200d", "ab"), ("abcdefgh", "abcdefgh"), ("abcdefghi", "abcde..."),
    ("ab" + " " * 99, "ab..."), ("", "")])
def test_a_text_of_others_is_one_line_of_at_most_so_many_letters(text: str, shown: str) -> None:
    assert one_line(text, longest=8) == shown
