"""What cannot be scored is named with its row, and the rows beside it get the numbers that they always get."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from course_lib.data.facts import Fact
from course_lib.files import CourseError
from course_lib.knowledge.p_true import p_true
from course_lib.knowledge.scoring import batching as batches
from course_lib.knowledge.scoring import engine as scoring
from course_lib.knowledge.scoring.batching import block_size, default_batch_tokens
from course_lib.knowledge.scoring.engine import score
from course_lib.knowledge.scoring.prompts import Prompt, surface_forms
from course_lib.knowledge.scoring.sampling import sample
from course_lib.knowledge.tokenisation_gap import spelling_gap
from tests.support.tiny import FACTS, FEW_SHOT, PLAIN, TOKENIZERS, plain_model, tiny_model

GOOD = (Fact("Bo", "P19", "Paris"), Fact("Ida", "P19", "New York City"))


def with_good_rows(model, tokenizer, bad, **settings):
    """Scores of a bad row between two good ones; the good ones must be as they are alone."""
    together = score(model, tokenizer, [GOOD[0], bad, GOOD[1]], [FEW_SHOT, PLAIN], **settings)
    alone = score(model, tokenizer, GOOD, [FEW_SHOT, PLAIN], **settings)
    np.testing.assert_allclose(together.log_probability[[0, 2]], alone.log_probability, rtol=1e-6, atol=1e-5)
    np.testing.assert_array_equal(together.greedy[[0, 2]], alone.greedy)
    return together


def is_empty(scores, row):
    return (not scores.greedy[row].any() and np.isnan(scores.log_probability[row]).all()
            and np.isnan(scores.margin[row]).all())


def test_an_answer_with_a_line_break_is_named(tokenizers):
    found = with_good_rows(tiny_model("llama", tokenizers["gpt2"]), tokenizers["gpt2"], Fact("Bo", "P19", "Ulm\nBonn"))
    assert is_empty(found, 1)
    assert list(found.problems) == [1] and "'Ulm\\nBonn'" in found.problems[1]


def test_an_answer_longer_than_the_context_is_named_with_its_tokens(tokenizers):
    model = tiny_model("llama", tokenizers["gpt2"], max_position_embeddings=120)
    found = with_good_rows(model, tokenizers["gpt2"], Fact("Bo", "P19", "Paris " * 60 + "end"), top_k=0)
    assert is_empty(found, 1) and " 120" in found.problems[1]


def letters_only():
    """A tokenizer that can write a, b and spaces only; anything else is unknown to it."""
    vocabulary = {token: number for number, token in enumerate(["<unk>", "</s>", "\n", *" abQA:WherwsonP?()B"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>")


def test_an_answer_that_the_tokenizer_cannot_spell_is_named_as_it_reads_back():
    tokenizer = letters_only()
    found = score(plain_model("llama", tokenizer), tokenizer, [Fact("a", "P19", "ab"), Fact("a", "P19", "a東b")],
                  [Prompt("")])
    assert list(found.problems) == [1] and is_empty(found, 1)
    assert "'a東b'" in found.problems[1] and "'a<unk>b'" in found.problems[1]


@pytest.mark.parametrize("ask", [
    lambda *asked: score(*asked, [Prompt("")], top_p=1.0).problems,
    lambda *asked: sample(*asked, [Prompt("")], n_samples=1).problems,
    lambda *asked: np.flatnonzero(np.isnan(p_true(*asked))),
    lambda *asked: np.flatnonzero(spelling_gap(*asked, [Prompt("")], floor=0.5)["canonical"].isna())],
    ids=["score", "sample", "p_true", "spelling_gap"])
def test_every_way_to_ask_refuses_an_answer_of_unknown_tokens(ask):
    """The last one reads back as it is written, and is no text of the vocabulary all the same."""
    tokenizer = letters_only()
    facts = [Fact("a", "P19", answer) for answer in ("ab", "a東b", "東", "a<unk>b")]
    assert list(ask(plain_model("llama", tokenizer), tokenizer, facts)) == [1, 2, 3]


def test_an_accepted_text_that_cannot_be_spelled_adds_nothing():
    tokenizer = letters_only()
    asked = plain_model("llama", tokenizer), tokenizer, [Fact("a", "P19", "ab")], [Prompt("")]
    more = score(*asked, accepted=lambda _: ("a東", "a<unk>", "東b"))
    assert more.problems == {} and more.log_probability == pytest.approx(score(*asked).log_probability, abs=1e-6)


def test_an_answer_that_another_prompt_alone_makes_not_encodable_is_named():
    """After "ba" the letters of the first answer have merged with the prompt into one unknown token."""
    tokenizer = letters_only()
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace("P ab", "東")
    found = score(plain_model("llama", tokenizer), tokenizer, [Fact("a", "P19", "ab"), Fact("a", "P19", "b")],
                  [Prompt("", "{question}"), Prompt("", "{question} P")])
    assert list(found.problems) == [0]


def test_a_model_without_numbers_is_named_in_every_row_and_breaks_nothing(tokenizers):
    model = tiny_model("llama", tokenizers["gpt2"])
    with torch.no_grad():
        model.lm_head.bias[:] = float("nan")
    found = score(model, tokenizers["gpt2"], FACTS, [FEW_SHOT])
    assert all("NaN" in problem and "float32" in problem for problem in found.problems.values())
    assert len(found.problems) == len(FACTS) and is_empty(found, slice(None))


def test_one_question_that_makes_the_model_overflow_costs_no_other(tokenizers):
    tokenizer = tokenizers["gpt2"]
    model = tiny_model("llama", tokenizer)
    poison = tokenizer(" Zz", add_special_tokens=False)["input_ids"][-1]
    assert poison not in {token for fact in GOOD for token in tokenizer(FEW_SHOT.text(fact.question))["input_ids"]}
    with torch.no_grad():
        model.get_input_embeddings().weight[poison] = float("nan")
    found = with_good_rows(model, tokenizer, Fact("Al Zz", "P19", "Paris"))
    assert list(found.problems) == [1] and is_empty(found, 1)


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("answer", [
    unicodedata.normalize("NFD", "Łódź Café"), "Łódź Café", "מוזיקה", "العربية", "👩‍👩‍👧‍👦 🇫🇷", "東京都",
    "a\u0301\u0323", "ﬁn", "الْعَرَبِيَّة", "\u200bzero", "tab\there"])
def test_unicode_of_every_kind_gets_a_number_or_a_reason(answer, name, tokenizers):
    found = with_good_rows(tiny_model("llama", tokenizers[name]), tokenizers[name], Fact("Bo", "P19", answer), top_k=0)
    if 1 in found.problems:
        assert repr(answer) in found.problems[1] and is_empty(found, 1)
    else:
        assert np.isfinite(found.log_probability[1]).all()


@pytest.mark.slow
def test_an_answer_of_four_thousand_letters_gets_a_number(tokenizers):
    model = tiny_model("llama", tokenizers["gpt2"], max_position_embeddings=8192, num_hidden_layers=1,
                       num_attention_heads=1, num_key_value_heads=1)
    found = score(model, tokenizers["gpt2"], [GOOD[0], Fact("Bo", "P19", "x" * 4096)], [PLAIN], top_k=0)
    assert found.problems == {} and np.isfinite(found.log_probability).all()


@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen"])
def test_byte_level_and_byte_fallback_tokenizers_can_spell_everything(name, tokenizers):
    answers = [unicodedata.normalize("NFD", "Café"), "مرحبا", "👩‍👩‍👧‍👦", "東京都"]
    found = score(tiny_model("llama", tokenizers[name]), tokenizers[name],
                  [Fact("Bo", "P19", answer) for answer in answers], [PLAIN], top_k=0)
    assert found.problems == {}


def test_a_question_with_braces_is_text(tokenizers):
    found = score(tiny_model("llama", tokenizers["gpt2"]), tokenizers["gpt2"], [Fact("{0} {x}", "P19", "Ulm")], [PLAIN])
    assert found.problems == {}


def test_the_same_question_twice_gets_the_same_numbers(tokenizers):
    found = score(tiny_model("llama", tokenizers["gpt2"]), tokenizers["gpt2"], [*GOOD, GOOD[0]], [FEW_SHOT], top_k=0)
    assert found.log_probability[0, 0] == pytest.approx(found.log_probability[2, 0], abs=1e-5)
    assert found.problems == {}


def test_a_model_with_an_encoder_is_refused_by_name(tokenizers):
    from transformers import T5Config, T5ForConditionalGeneration

    model = T5ForConditionalGeneration(T5Config(vocab_size=400, d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=2))
    with pytest.raises(CourseError, match="T5ForConditionalGeneration"):
        score(model, tokenizers["gpt2"], GOOD, [PLAIN])


# ---------------------------------------------------------------- accepted texts


def test_accepted_texts_are_summed(tokenizers):
    model, tokenizer = tiny_model("llama", tokenizers["gpt2"]), tokenizers["gpt2"]
    forms = surface_forms("Paris", aliases=("Ulm",), case=True, full_stop=True)
    each = score(model, tokenizer, [Fact("Bo", "P19", form) for form in forms], [FEW_SHOT, PLAIN], top_k=0)
    found = score(model, tokenizer, GOOD[:1], [FEW_SHOT, PLAIN], top_k=0, accepted=lambda fact: forms)
    np.testing.assert_allclose(np.exp(found.log_probability[0]), np.exp(each.log_probability).sum(0), rtol=1e-5)


def test_forms_with_the_same_tokens_are_counted_once(tokenizers):
    tokenizer = tokenizers["qwen"]  # it normalises to NFC, so both forms are the same tokens
    assert isinstance(tokenizer.backend_tokenizer.normalizer, normalizers.NFC)
    model, composed = tiny_model("qwen2", tokenizer), Fact("Bo", "P19", "São")
    alone = score(model, tokenizer, [composed], [PLAIN], top_k=0)
    both = score(model, tokenizer, [composed], [PLAIN], top_k=0,
                 accepted=lambda fact: [unicodedata.normalize("NFD", fact.object), fact.object])
    assert both.log_probability[0, 0] == pytest.approx(alone.log_probability[0, 0], abs=1e-6)


def test_an_accepted_text_makes_a_greedy_answer_right(tokenizers):
    model, tokenizer = tiny_model("neox", tokenizers["gpt2"], seed=1), tokenizers["gpt2"]
    ids = torch.tensor([tokenizer(PLAIN.text(GOOD[0].question))["input_ids"]])
    written = tokenizer.decode(model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False,
                                              max_new_tokens=28)[0, ids.shape[1]:], skip_special_tokens=True)
    line = written.split("\n")[0].strip()
    assert line != GOOD[0].object
    assert not scoring.exact_match(model, tokenizer, GOOD[:1], PLAIN)[0]
    assert scoring.exact_match(model, tokenizer, GOOD[:1], PLAIN, accepted=lambda fact: [line])[0]


def test_without_the_end_the_beginning_is_more_likely(tokenizers):
    model, tokenizer = tiny_model("llama", tokenizers["gpt2"]), tokenizers["gpt2"]
    whole = score(model, tokenizer, GOOD, [PLAIN], top_k=0).log_probability
    begun = score(model, tokenizer, GOOD, [PLAIN], top_k=0, ended=False).log_probability
    assert (begun > whole).all()


# ---------------------------------------------------------------- memory


class ShortOfMemory:
    """Raises what torch raises when more than ``limit`` rows are asked for at once."""

    def __init__(self, inner, limit):
        self.inner, self.limit, self.refused = inner, limit, 0

    def __call__(self, prompts, rows, steps, columns):
        if len(rows) * len(prompts.prompts[columns]) > self.limit:
            self.refused += 1
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory")
        return self.inner(prompts, rows, steps, columns)


@pytest.mark.parametrize("limit", [3, 2, 1])
def test_out_of_memory_goes_on_with_smaller_batches_and_the_same_numbers(limit, tokenizers, monkeypatch):
    model, tokenizer = tiny_model("llama", tokenizers["gpt2"]), tokenizers["gpt2"]
    plenty = score(model, tokenizer, FACTS, [FEW_SHOT, PLAIN], top_k=0)
    short = ShortOfMemory(scoring.Prompts.logits, limit)
    monkeypatch.setattr(scoring.Prompts, "logits", lambda *args: short(*args))
    scarce = score(model, tokenizer, FACTS, [FEW_SHOT, PLAIN], top_k=0)
    assert short.refused
    np.testing.assert_allclose(scarce.log_probability, plenty.log_probability, rtol=1e-6, atol=1e-5)
    np.testing.assert_array_equal(scarce.greedy, plenty.greedy)


def test_too_little_memory_for_one_row_is_an_error_of_the_course(tokenizers, monkeypatch):
    short = ShortOfMemory(scoring.Prompts.logits, 0)
    monkeypatch.setattr(scoring.Prompts, "logits", lambda *args: short(*args))
    with pytest.raises(CourseError):
        score(tiny_model("llama", tokenizers["gpt2"]), tokenizers["gpt2"], FACTS, [FEW_SHOT])


def test_an_error_that_is_not_of_memory_is_not_swallowed(tokenizers, monkeypatch):
    def broken(*_):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(scoring.Prompts, "logits", broken)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        score(tiny_model("llama", tokenizers["gpt2"]), tokenizers["gpt2"], FACTS, [FEW_SHOT])


def test_blocks_waste_less_than_a_twentieth_on_padding():
    lengths = sorted(np.random.default_rng(0).integers(8, 40, 3000).tolist(), reverse=True)
    padded = 0
    left = lengths
    while left:
        size = block_size(left, 2048)
        padded, left = padded + left[0] * size, left[size:]
    assert padded / sum(lengths) < 1.05


def test_a_block_holds_no_more_than_its_tokens_and_at_least_one_row():
    assert block_size([10] * 50, 100) == 10
    assert block_size([200, 200], 100) == 1


@pytest.mark.parametrize(("free", "tokens"), [(0, 64), (10**12, batches.CPU_TOKENS)])
def test_the_batch_follows_the_free_memory(free, tokens, tokenizers, monkeypatch):
    monkeypatch.setattr(batches, "free_memory", lambda device: free)
    assert default_batch_tokens(tiny_model("llama", tokenizers["gpt2"])) == tokens


def test_thousands_of_questions_are_held_a_chunk_at_a_time(tokenizers, monkeypatch):
    model, tokenizer = tiny_model("llama", tokenizers["gpt2"]), tokenizers["gpt2"]
    whole = score(model, tokenizer, FACTS, [FEW_SHOT, PLAIN], top_k=0)
    seen = []
    lay_out = scoring.lay_out
    monkeypatch.setattr(scoring, "CHUNK", 3)
    monkeypatch.setattr(scoring, "lay_out", lambda t, m, p, facts, **k: seen.append(len(facts)) or lay_out(
        t, m, p, facts, **k))
    parts = score(model, tokenizer, FACTS, [FEW_SHOT, PLAIN], top_k=0)
    assert seen == [3, 3, 2]
    np.testing.assert_allclose(parts.log_probability, whole.log_probability, rtol=1e-6, atol=1e-5)
