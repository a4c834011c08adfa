"""The texts that count as an answer."""

from __future__ import annotations

import unicodedata

import pytest

from course_lib.answers import is_match, surface_forms

COMPOSED, DECOMPOSED = "Łódź Café", unicodedata.normalize("NFD", "Łódź Café")


def test_an_answer_alone_has_one_surface_form() -> None:
    assert surface_forms("Ulm") == ("Ulm",)


def test_aliases_follow_the_answer_and_none_comes_twice() -> None:
    assert surface_forms("USA", aliases=("United States", "USA", "US")) == ("USA", "United States", "US")


def test_case_adds_the_first_letter_turned_and_the_whole_in_lower_and_upper_case() -> None:
    assert surface_forms("new York", case=True) == ("new York", "New York", "new york", "NEW YORK")


def test_a_full_stop_is_added_where_there_is_none() -> None:
    assert surface_forms("Ulm", aliases=("Apple Inc.",), full_stop=True) == ("Ulm", "Apple Inc.", "Ulm.")


def test_both_ways_of_unicode_are_listed() -> None:
    assert surface_forms(DECOMPOSED) == (DECOMPOSED, COMPOSED)
    assert surface_forms(COMPOSED) == (COMPOSED,)


@pytest.mark.parametrize(("generated", "answer"), [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED),
                                                   (f" {DECOMPOSED}\nQ:", COMPOSED)])
def test_two_ways_of_unicode_to_write_one_text_match(generated: str, answer: str) -> None:
    assert is_match(generated, answer)


@pytest.mark.parametrize("answer", ["ﬁn", "①", "Ａ"])
def test_letters_that_only_look_alike_do_not_match(answer: str) -> None:
    assert not is_match(unicodedata.normalize("NFKC", answer), answer)
