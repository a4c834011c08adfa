"""Exact scoring against brute force: generate, plain forward passes and transformers' own warpers, cell by cell."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from course_lib.data.facts import Fact
from course_lib.files import CourseError
from course_lib.knowledge.scoring import engine as scoring
from course_lib.knowledge.scoring.engine import exact_match, score
from course_lib.knowledge.scoring.prompts import Prompt, encode_answers, few_shot_prompt, is_match
from tests.support.plain_passes import (
    Draw,
    check_greedy,
    greedy_cells,
    paths,
    prompt_ids,
    without_cache,
    written_greedily,
)
from tests.support.tiny import (
    ANSWERS,
    FACTS,
    FEW_SHOT,
    PLAIN,
    SUBJECTS,
    TOKENIZERS,
    newlines,
    pair_marks,
    plain_model,
    tiny_model,
)

COMBINATIONS = [pytest.param(a, t, marks=pair_marks(a, t))
                for a in ("llama", "olmo2", "qwen2", "neox") for t in TOKENIZERS]


@pytest.fixture(scope="module")
def qwen(tokenizers):
    """Qwen2 with the tokenizer in which ".\\n" can be one token; its vocabulary is padded, as the real one is."""
    return tiny_model("qwen2", tokenizers["qwen"], padded=9), tokenizers["qwen"]


@pytest.fixture(scope="module")
def llama(tokenizers):
    return tiny_model("llama", tokenizers["llama"]), tokenizers["llama"]


@pytest.fixture(scope="module")
def neox(tokenizers):
    return tiny_model("neox", tokenizers["gpt2"]), tokenizers["gpt2"]


# ---------------------------------------------------------------- greedy


def test_greedy_follows_a_text_spelled_with_other_tokens(neox):
    model, tokenizer = neox
    odd = 0
    for fact, right in greedy_cells(model, tokenizer, FEW_SHOT):
        ids = prompt_ids(tokenizer, FEW_SHOT.text(fact.question))
        out = model.generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)), do_sample=False,
                             max_new_tokens=28)[0].tolist()
        canonical = list(encode_answers(tokenizer, FEW_SHOT, [fact])[0].tokens)
        if right and out[:len(canonical)] != canonical:
            assert exact_match(model, tokenizer, [fact], FEW_SHOT).all()
            odd += 1
    assert odd >= 3


def test_greedy_bits_of_a_sliding_window_model_with_a_longer_prompt_are_what_generate_writes(tokenizers):
    model = tiny_model("mistral", tokenizers["gpt2"], sliding_window=8)
    assert check_greedy(model, tokenizers["gpt2"])[True] >= 5


def test_greedy_bits_in_bfloat16_are_what_generate_writes_where_the_margin_is_clear(tokenizers):
    tokenizer = tokenizers["gpt2"]
    model = tiny_model("llama", tokenizer, seed=1).to(torch.bfloat16)
    for prompt in (FEW_SHOT, PLAIN):
        for fact, truth in greedy_cells(model, tokenizer, prompt, SUBJECTS[:4]):
            scores = score(model, tokenizer, [fact], [prompt], temperature=None)
            assert scores.margin[0, 0] < 0.2 or scores.greedy[0, 0] == truth


def test_an_adapted_model_is_scored_as_generate_writes(tokenizers):
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    model = get_peft_model(tiny_model("llama", tokenizers["gpt2"], seed=1), LoraConfig(
        target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")).eval()
    assert set(check_greedy(model, tokenizers["gpt2"], (FEW_SHOT, PLAIN))) == {True, False}


def test_a_tie_is_broken_as_generate_breaks_it(scripted):
    model, tokenizer = scripted
    model.scale = 0.0
    model.bias[:] = torch.tensor([-9.0, 3.0, 3.0, 3.0, 3.0, 3.0])  # argmax takes the first, </s>: the answer is empty
    found = exact_match(model, tokenizer, [Fact("b", "P19", gold) for gold in ("", "a", "b")], Prompt(""))
    assert found.tolist() == [True, False, False]


def test_a_model_that_writes_spaces_for_ever_comes_to_an_end(scripted):
    model, tokenizer = scripted
    model.scale = 0.0
    model.bias[:] = torch.tensor([-9.0, 0.0, 0.0, 9.0, 0.0, 0.0])
    assert not exact_match(model, tokenizer, [Fact("b", "P19", "a")], Prompt("")).any()


def test_tokens_beyond_the_tokenizer_are_no_text(tokenizers):
    tokenizer = tokenizers["gpt2"]
    model = tiny_model("llama", tokenizer, padded=3)
    with torch.no_grad():
        model.lm_head.bias[-1] = 99.0
    assert not exact_match(model, tokenizer, FACTS, FEW_SHOT).any()


def test_a_tokenizer_larger_than_the_model_is_scored(tokenizers):
    tokenizer = TOKENIZERS["gpt2"]()
    model = tiny_model("llama", tokenizer)
    before = score(model, tokenizer, FACTS, [FEW_SHOT])
    tokenizer.add_tokens(["\nNever", "\n\nSeen"])
    np.testing.assert_array_equal(score(model, tokenizer, FACTS, [FEW_SHOT]).log_probability, before.log_probability)


def test_an_answer_with_outer_spaces_or_a_newline_is_never_right(neox):
    model, tokenizer = neox
    line = next(fact.object for fact, right in greedy_cells(model, tokenizer, PLAIN) if right)
    facts = [Fact(subject, "P19", gold) for subject in SUBJECTS[:4] for gold in (f"{line} ", f" {line}", f"{line}\n")]
    assert not exact_match(model, tokenizer, facts, PLAIN).any()


# ---------------------------------------------------------------- probability


@pytest.mark.parametrize(("architecture", "name"), COMBINATIONS)
def test_probability_is_that_of_single_passes(architecture, name, tokenizers):
    tokenizer = tokenizers[name]
    model = tiny_model(architecture, tokenizer, padded=5, spread=1.0)
    facts = [Fact(SUBJECTS[i % 2], "P19", answer) for i, answer in enumerate(ANSWERS)]
    for settings in ({"temperature": 0.5, "top_k": 40}, {"temperature": 1.3, "top_k": 0}):
        found = score(model, tokenizer, facts, [FEW_SHOT, PLAIN], **settings).log_probability
        for (row, column), value in np.ndenumerate(found):
            text = (FEW_SHOT, PLAIN)[column].text(facts[row].question)
            expected = without_cache(model, tokenizer, text, facts[row].object, Draw(**settings))
            if expected == 0:
                assert value == -np.inf
            else:
                assert value == pytest.approx(np.log(expected), abs=2e-5)
                assert np.exp(value) == pytest.approx(expected, abs=1e-5)


class Scripted(torch.nn.Module):
    """A tiny Llama whose logits are scaled and shifted, so that its texts end after a few letters."""

    def __init__(self, tokenizer):
        super().__init__()
        from transformers import GenerationConfig

        torch.manual_seed(0)
        self.inner = plain_model("llama", tokenizer)
        self.bias, self.scale = torch.tensor([-1e4, 3.0, 3.0, 1.0, 0.0, 0.0]), 4.0
        self.generation_config, self.device = GenerationConfig(), torch.device("cpu")

    def forward(self, **inputs):
        out = self.inner(**inputs)
        out.logits = self.scale * out.logits + self.bias
        return out


@pytest.fixture
def scripted():
    """Letters <unk> </s> \\n space a b, one token each: every text has one spelling."""
    letters = ["<unk>", "</s>", "\n", " ", "a", "b"]
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, [], unk_token="<unk>"))
    tokenizer.decoder = decoders.Fuse()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>")
    return Scripted(fast), fast


# ---------------------------------------------------------------- ends and boundaries


def test_full_stop_and_newline_in_one_token_are_summed(qwen):
    model, tokenizer = qwen
    text = PLAIN.text(FACTS[0].question)
    found = paths(tokenizer, text, "Apple Inc.")
    assert [tokenizer.convert_ids_to_tokens(tokens[-1]) for tokens, _ in found] == [".", "ĠInc"]
    assert tokenizer.convert_tokens_to_ids(".Ċ") in found[1][1]
    value = score(model, tokenizer, [Fact(SUBJECTS[0], "P19", "Apple Inc.")], [PLAIN], top_k=0).log_probability[0, 0]
    assert np.exp(value) == pytest.approx(without_cache(model, tokenizer, text, "Apple Inc.", Draw(top_k=0)), rel=1e-5)


def test_greedy_is_right_where_the_full_stop_merges_with_the_newline(tokenizers):
    tokenizer = tokenizers["qwen"]
    model = tiny_model("qwen2", tokenizer)
    with torch.no_grad():
        model.lm_head.bias[tokenizer.convert_tokens_to_ids(".Ċ")] += 99
    fact = Fact("Bo", "P19", ".")
    assert exact_match(model, tokenizer, [fact], PLAIN).all()


def ends_only(model, tokenizer, end):
    """Scores after all logits but that of ``end`` are low, of the empty continuation of a one-token answer."""
    fact = Fact("Bo", "P19", "1")
    tokens = encode_answers(tokenizer, PLAIN, [fact])[0]
    with torch.no_grad():
        model.lm_head.bias.zero_()
        model.lm_head.weight.zero_()
        model.lm_head.bias[end] = 50.0
        model.lm_head.bias[list(tokens.tokens[tokens.start:])] = 50.0
    p = np.exp(score(model, tokenizer, [fact], [PLAIN], temperature=1, top_k=0).log_probability[0, 0])
    return p * (1 + len(set(tokens.tokens[tokens.start:]))) ** (1 + len(tokens.tokens) - tokens.start)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_every_newline_token_and_the_end_of_text_end_an_answer(name, tokenizers):
    tokenizer = tokenizers[name]
    for end in [tokenizer.eos_token_id, *newlines(tokenizer)]:
        assert ends_only(tiny_model("llama", tokenizer), tokenizer, end) == pytest.approx(1, rel=1e-4)


def test_a_letter_does_not_end_an_answer(tokenizers):
    tokenizer = tokenizers["gpt2"]
    letter = tokenizer("x")["input_ids"][0]
    assert ends_only(tiny_model("llama", tokenizer), tokenizer, letter) < 1e-9


def test_the_models_own_list_of_ends_counts(tokenizers):
    tokenizer, model = tokenizers["qwen"], tiny_model("qwen2", tokenizers["qwen"])
    other = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert ends_only(model, tokenizer, other) < 1e-9
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, other]
    assert ends_only(model, tokenizer, other) == pytest.approx(1, rel=1e-4)


def test_an_end_that_the_model_does_not_have_is_left_out(neox):
    model, tokenizer = neox
    before = score(model, tokenizer, FACTS, [PLAIN]).log_probability
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, 50256]
    after = score(model, tokenizer, FACTS, [PLAIN]).log_probability
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_answers_begin_with_their_space_and_nothing_is_added(name, tokenizers):
    tokenizer = tokenizers[name]
    for fact, encoded in zip(FACTS, encode_answers(tokenizer, FEW_SHOT, FACTS), strict=True):
        assert encoded.tokens[:encoded.start] == encoded.prompt
        assert tokenizer.decode(encoded.tokens[encoded.start:]).strip() == fact.object
        assert tokenizer.eos_token_id not in encoded.tokens
        assert encoded.tokens.count(tokenizer.bos_token_id) == (name in ("llama", "unigram"))
        assert tokenizer.convert_ids_to_tokens(encoded.tokens[encoded.start])[0] in "Ġ▁"


@pytest.fixture(scope="module")
def merging():
    """A tokenizer in which ":" and the space after it are one token before a capital P: ": P"."""
    letters = sorted({*"Q:A\nWhere was b orn?Paris."})
    vocabulary = {token: i for i, token in enumerate(["</s>", *letters, ": ", ": P"])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [(":", " "), (": ", "P")]))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("\n", "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>")


def test_an_answer_that_merges_with_the_prompt_begins_at_the_first_token_that_differs(merging):
    encoded = encode_answers(merging, Prompt(""), [Fact("b", "P19", "Paris")])[0]
    assert merging.convert_ids_to_tokens(encoded.prompt)[-1] == ":"
    assert encoded.start == len(encoded.prompt) - 1
    assert merging.convert_ids_to_tokens(list(encoded.tokens[encoded.start:])) == [": P", *"aris"]


def test_the_probability_of_a_merged_answer_continues_from_that_token(merging):
    model, fact = tiny_model("llama", merging, spread=1.0), Fact("b", "P19", "Paris")
    encoded = encode_answers(merging, Prompt(""), [fact])[0]
    tokens, p = list(encoded.tokens), 1.0
    for i in range(encoded.start, len(tokens)):
        p *= Draw().next_tokens(model, [tokens[:i]])[0, tokens[i]]
    p *= Draw().next_tokens(model, [tokens])[0, [merging.eos_token_id, *newlines(merging)]].sum()
    found = score(model, merging, [fact], [Prompt("")]).log_probability[0, 0]
    assert found == pytest.approx(np.log(p), abs=1e-5)


def test_the_greedy_bit_of_a_merged_answer_is_what_generate_writes_after_the_whole_prompt(merging):
    cells = 0
    for seed in range(12):
        model = tiny_model("llama", merging, seed=seed)
        cells += check_greedy(model, merging, [Prompt("")], ("b",)).total()
        for fact, _ in greedy_cells(model, merging, Prompt(""), ("b",)):
            merged, [text] = f"P{fact.object}", written_greedily(model, merging, [Prompt("").text(fact.question)])
            assert exact_match(model, merging, [Fact("b", "P19", merged)], Prompt(""))[0] == is_match(text, merged)
    assert cells >= 20


def test_a_prompt_without_a_token_before_the_answer_is_refused(merging):
    with pytest.raises(CourseError, match="prompt ''"):
        encode_answers(merging, Prompt("", ""), [Fact("b", "P19", "Paris")])


# ---------------------------------------------------------------- same numbers whatever the batches


def largest_difference(first, second):
    np.testing.assert_array_equal(first.greedy, second.greedy)
    np.testing.assert_allclose(first.margin, second.margin, atol=1e-4)
    both = np.isfinite(first.log_probability)
    np.testing.assert_array_equal(both, np.isfinite(second.log_probability))
    return np.abs(first.log_probability - second.log_probability)[both].max()


@pytest.mark.parametrize("architecture", ["llama", "olmo2", "qwen2", "neox", "mistral"])
def test_batches_padding_and_the_shared_prefix_change_nothing(architecture, tokenizers):
    tokenizer = tokenizers["qwen"]
    more = {"sliding_window": 8} if architecture == "mistral" else {}
    model = tiny_model(architecture, tokenizer, **more)
    at_once = score(model, tokenizer, FACTS, [FEW_SHOT, PLAIN], top_k=0)
    one_by_one = score(model, tokenizer, FACTS, [FEW_SHOT, PLAIN], top_k=0, batch_tokens=1)
    assert largest_difference(at_once, one_by_one) < 1e-4
    rows = [score(model, tokenizer, [fact], [FEW_SHOT, PLAIN], top_k=0) for fact in FACTS]
    for i, row in enumerate(rows):
        np.testing.assert_allclose(row.log_probability[0], at_once.log_probability[i], atol=1e-4)


def test_probabilities_differ_by_less_than_one_in_100000_between_batch_sizes(llama):
    model, tokenizer = llama
    found = [np.exp(score(model, tokenizer, FACTS, [FEW_SHOT], batch_tokens=size).log_probability)
             for size in (1, 40, 4096)]
    assert max(np.abs(found[0] - other).max() for other in found[1:]) < 1e-5


def test_no_facts_give_empty_scores(neox):
    scores = score(*neox, [], [FEW_SHOT])
    assert scores.greedy.shape == scores.log_probability.shape == scores.margin.shape == (0, 1)


def test_a_tokenizer_without_padding_is_scored(llama):
    model, tokenizer = llama
    assert tokenizer.pad_token_id is None
    assert np.isfinite(score(model, tokenizer, FACTS, [FEW_SHOT], top_k=0).log_probability).all()


def test_greedy_alone_finds_the_same_bits_and_no_probability(neox):
    both, alone = score(*neox, FACTS, [PLAIN]), score(*neox, FACTS, [PLAIN], temperature=None)
    np.testing.assert_array_equal(alone.greedy, both.greedy)
    assert (alone.log_probability == -np.inf).all()


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_put_back_into_the_mode_it_was_in(neox, training):
    model, tokenizer = neox
    model.train(training)
    score(model, tokenizer, FACTS, [PLAIN])
    assert model.training == training
    model.eval()


def test_margin_is_the_smallest_gap_of_the_two_best_logits(qwen):
    model, tokenizer = qwen
    for fact, margin in zip(FACTS, score(model, tokenizer, FACTS, [FEW_SHOT]).margin[:, 0], strict=True):
        encoded = encode_answers(tokenizer, FEW_SHOT, [fact])[0]
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([encoded.tokens])).logits[0, encoded.start - 1:]
        best = logits.sort(descending=True).values
        assert margin == pytest.approx((best[:, 0] - best[:, 1]).min().item(), abs=1e-4)


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize(("name", "value"), [("repetition_penalty", 1.1), ("no_repeat_ngram_size", 2), ("num_beams", 4),
                                             ("suppress_tokens", [3]), ("min_new_tokens", 2)])
def test_settings_that_change_what_a_model_says_are_refused_by_name(name, value, tokenizers):
    model = tiny_model("llama", tokenizers["gpt2"])
    setattr(model.generation_config, name, value)
    with pytest.raises(CourseError, match=rf"^generation_config\.{name} = .*model\.generation_config\.{name} = "):
        score(model, tokenizers["gpt2"], FACTS, [PLAIN])


@pytest.mark.parametrize(("name", "value"), [("repetition_penalty", 1.0), ("no_repeat_ngram_size", 0),
                                             ("suppress_tokens", []), ("min_new_tokens", 0)])
def test_settings_that_change_nothing_are_accepted(name, value, tokenizers):
    model = tiny_model("llama", tokenizers["gpt2"])
    setattr(model.generation_config, name, value)
    assert score(model, tokenizers["gpt2"], FACTS[:1], [PLAIN]).greedy.shape == (1, 1)


def test_temperature_and_top_k_stored_with_a_model_play_no_part(tokenizers):
    model, tokenizer = tiny_model("qwen2", tokenizers["qwen"]), tokenizers["qwen"]
    before = score(model, tokenizer, FACTS, [PLAIN])
    model.generation_config.update(do_sample=True, temperature=0.7, top_k=20)
    after = score(model, tokenizer, FACTS, [PLAIN])
    np.testing.assert_array_equal(after.log_probability, before.log_probability)


def test_a_top_p_stored_with_a_model_has_to_be_followed_or_left_out_in_so_many_words(tokenizers):
    model, tokenizer = tiny_model("qwen2", tokenizers["qwen"]), tokenizers["qwen"]
    before = score(model, tokenizer, FACTS, [PLAIN])
    model.generation_config.top_p = 0.8
    with pytest.raises(CourseError, match=r"^generation_config\.top_p = 0\.8 .*top_p=0\.8 .*top_p=1 "):
        score(model, tokenizer, FACTS, [PLAIN])
    left_out = score(model, tokenizer, FACTS, [PLAIN], top_p=1)
    np.testing.assert_array_equal(left_out.log_probability, before.log_probability)
    assert exact_match(model, tokenizer, FACTS[:1], PLAIN).shape == (1,)  # greedy decoding knows no top-p


@pytest.mark.parametrize("temperature", [0, -1.0, float("nan")])
def test_a_temperature_that_is_not_above_zero_is_refused(temperature, neox):
    with pytest.raises(CourseError, match=f"^temperature {temperature}: .*0"):
        score(*neox, FACTS, [PLAIN], temperature=temperature)


# ---------------------------------------------------------------- text


@pytest.mark.parametrize(("generated", "answer", "right"), [
    (" Paris", "Paris", True), (" Paris\nQ: Who", "Paris", True), ("Paris \r\n", "Paris", True),
    (" Parish", "Paris", False), (" Pari", "Paris", False), (" paris", "Paris", False), ("\nParis", "Paris", False),
    ("", "", True), (" \n", "", True), (" Paris", "", False), (" New  York", "New York", False)])
def test_only_the_first_line_without_outer_spaces_is_compared(generated, answer, right):
    assert is_match(generated, answer) == right


def test_solved_examples_stand_in_front_of_the_question():
    prompt = few_shot_prompt([Fact("Ida", "P19", "Ulm")])
    assert prompt.text("Where was Bo born?") == "Q: Where was Ida born?\nA: Ulm\nQ: Where was Bo born?\nA:"


def test_questions_that_were_asked_last_are_laid_out_once(monkeypatch):
    laid, lay_out, tokenizer = [], scoring.lay_out, TOKENIZERS["gpt2"]()
    monkeypatch.setattr(scoring, "lay_out", lambda *given, **more: laid.append(given[3]) or lay_out(*given, **more))
    model, other = tiny_model("llama", tokenizer), FACTS[:2]
    first, again = (exact_match(model, tokenizer, FACTS[:3]) for _ in range(2))
    assert len(laid) == 1 and first.tolist() == again.tolist()
    exact_match(model, tokenizer, other)
    exact_match(model, tokenizer, other, PLAIN)
    exact_match(model, tokenizer, other, PLAIN, accepted=lambda fact: [fact.object])
    tokenizer.add_tokens(["~new~"])
    exact_match(model, tokenizer, other, PLAIN)
    assert len(laid) == 5, "other questions, prompts, texts or tokens are laid out anew"
