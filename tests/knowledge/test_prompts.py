"""The texts that count as an answer."""

from __future__ import annotations

import unicodedata

import pytest
from tokenizers import decoders, normalizers, pre_tokenizers, processors

from course_lib.data.facts import Fact
from course_lib.knowledge.scoring.engine import score
from course_lib.knowledge.scoring.prompts import Prompt, fingerprint, is_match, surface_forms
from tests.support.tiny import FEW_SHOT, TOKENIZERS, tiny_model

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


# ---------------------------------------------------------------- changed in place


def begin_with_newline(tokenizer) -> None:
    newline = tokenizer.convert_ids_to_tokens(tokenizer("\n")["input_ids"])[0]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{newline} $A", special_tokens=[(newline, tokenizer.convert_tokens_to_ids(newline))])


CHANGES = {
    "token": lambda tokenizer: tokenizer.add_tokens(["Paris"]),
    "special token": lambda tokenizer: tokenizer.add_special_tokens({"extra_special_tokens": ["aris"]}),
    "end": lambda tokenizer: setattr(tokenizer, "eos_token", "e"),
    "beginning": begin_with_newline,
    "normalizer": lambda tokenizer: setattr(tokenizer.backend_tokenizer, "normalizer", normalizers.Lowercase()),
    "pieces": lambda tokenizer: setattr(tokenizer.backend_tokenizer, "pre_tokenizer", pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=True)])),
    "decoder": lambda tokenizer: setattr(tokenizer.backend_tokenizer, "decoder", decoders.Fuse()),
    "dropout": lambda tokenizer: setattr(tokenizer.backend_tokenizer.model, "dropout", 1.0),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_tokenizer_changed_in_place_gets_the_numbers_of_a_new_one(change: str) -> None:
    old, new = TOKENIZERS["gpt2"](), TOKENIZERS["gpt2"]()
    model = tiny_model("llama", old, padded=8)
    asked = [Fact("Bo", "P19", "Paris"), Fact("Ida", "P19", "Rome (Italy) 1984")], [FEW_SHOT, Prompt("")]
    before = score(model, old, *asked, top_k=0)
    for tokenizer in (old, new):
        CHANGES[change](tokenizer)
    found, wanted = (score(model, tokenizer, *asked, top_k=0) for tokenizer in (old, new))
    assert found.problems == wanted.problems
    assert found.log_probability == pytest.approx(wanted.log_probability, abs=1e-6, nan_ok=True)
    assert found.problems != before.problems or found.log_probability != pytest.approx(before.log_probability, abs=1e-3)


def test_what_has_not_changed_keeps_its_fingerprint() -> None:
    tokenizer = TOKENIZERS["llama"]()
    model = tiny_model("llama", tokenizer)
    marks = fingerprint(tokenizer), fingerprint(model)
    score(model, tokenizer, [Fact("Bo", "P19", "Paris")], [FEW_SHOT])
    assert marks == (fingerprint(tokenizer), fingerprint(model))
