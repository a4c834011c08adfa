"""Sampling: counts against the exact probabilities, greedy answers against exact match, seeds, batches, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import binom
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from course_lib.data.facts import Fact
from course_lib.files import CourseError
from course_lib.knowledge.scoring import sampling
from course_lib.knowledge.scoring.engine import exact_match, score
from course_lib.knowledge.scoring.prompts import Prompt, end_tokens
from course_lib.knowledge.scoring.sampling import Samples, answers, sample
from tests.support.tiny import FACTS, FEW_SHOT, PLAIN, SUBJECTS, newlines, tiny_model

NAMES = ("Ana", "Bo", "Cem", "Dag")
PLACES = tuple(f"{first}{last}" for first in ("Bor", "Kal", "Lu", "Mor", "Ni") for last in ("by", "dorf", "ham", "mo",
                                                                                          "os", "ra", "stad", "ti"))
TWO = [Prompt("Q: Where was Dag born?\nA: Borby\n"), Prompt("")]


def word_tokenizer():
    """Whole words with the space before them, one token each: every answer has one spelling only."""
    words = ["Q:", "A:", " Where", " was", " born?", *(f" {word}" for word in NAMES + PLACES)]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(["<unk>", "</s>", "\n", *words])},
                                           unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r" ?[^ \n]+|\n"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>")


def word_model(tokenizer, architecture="llama", **more):
    """A model that writes names of places and ends, and no word of a question."""
    model = tiny_model(architecture, tokenizer, **{"end_bias": 3.0, "spread": 1.5} | more)
    with torch.no_grad():
        model.get_output_embeddings().bias[[0, *range(3, 8 + len(NAMES))]] = -1e4
    return model


@pytest.fixture(scope="module")
def tokenizers(tokenizers):
    return tokenizers | {"word": word_tokenizer()}


@pytest.fixture(scope="module")
def words(tokenizers):
    return word_model(tokenizers["word"]), tokenizers["word"]


def born(*places):
    return [Fact(NAMES[i % len(NAMES)], "P19", place) for i, place in enumerate(places)]


def any_place(fact):
    return PLACES


def same(first, second):
    assert first.hits.any()  # else equal counts say nothing
    return np.array_equal(first.greedy, second.greedy) and np.array_equal(first.hits, second.hits)


# ---------------------------------------------------------------- against the exact engine


def golds(model, tokenizer, **settings):
    """Of every name, the two answers that a pilot run writes most often."""
    for fact in born(*NAMES):
        texts = [prompt.text(fact.question) for prompt in TWO]
        pilot = answers(model, tokenizer, texts, n_samples=48, seed=9, max_tokens=8, **settings)
        lines = [line for written in pilot for line in written if line]
        often = sorted(set(lines), key=lambda line: (lines.count(line), line))
        yield from (Fact(fact.subject, "P19", line) for line in often[-2:])


@pytest.mark.parametrize(("architecture", "tiny", "settings"), [
    ("llama", {"seed": 0, "end_bias": 2.0}, {}),
    ("neox", {"seed": 0, "end_bias": 3.0}, {"temperature": 1.0, "top_k": 5}),
    ("qwen2", {"seed": 4, "end_bias": 2.0}, {"top_k": 0, "top_p": 0.8})], ids=str)
def test_shares_of_right_samples_are_the_exact_probabilities(architecture, tiny, settings, tokenizers):
    tokenizer = tokenizers["word"]
    model = word_model(tokenizer, architecture, **tiny)
    facts = list(golds(model, tokenizer, **settings))
    hits = sample(model, tokenizer, facts, TWO, n_samples=400, **settings).hits
    p = np.exp(score(model, tokenizer, facts, TWO, **{"top_p": 1.0} | settings).log_probability)
    assert ((p > 0.05) & (p < 0.95)).sum() >= 5
    low, high = (binom.ppf(edge, 400, p.clip(0, 1)) for edge in (0.0005, 0.9995))  # 16 cells, 99.9 % each
    assert ((low <= hits) & (hits <= high)).all()


def greedy_golds(model, tokenizer, prompts):
    """Every subject with its own greedy lines, and with texts that are wrong by little."""
    for subject in SUBJECTS:
        texts = [prompt.text(Fact(subject, "P19", "").question) for prompt in prompts]
        for line, in answers(model, tokenizer, texts):
            yield from (Fact(subject, "P19", gold) for gold in (line, f"{line}h", line[:-1].strip(), "Paris") if gold)


@pytest.mark.parametrize(("architecture", "name"), [("llama", "llama"), ("qwen2", "qwen"), ("neox", "gpt2"),
                                                    ("olmo2", "unigram")])
def test_greedy_answers_are_those_of_exact_match(architecture, name, tokenizers):
    tokenizer, prompts = tokenizers[name], [FEW_SHOT, PLAIN]
    model = tiny_model(architecture, tokenizer, seed=1, padded=5)
    facts = list(greedy_golds(model, tokenizer, prompts))
    found = sample(model, tokenizer, facts, prompts, n_samples=0, batch_questions=64)
    expected = np.stack([exact_match(model, tokenizer, facts, prompt) for prompt in prompts], axis=1)
    np.testing.assert_array_equal(found.greedy, expected)
    assert expected.sum() >= 5 and found.hits.sum() == 0


def test_an_adapted_model_is_asked(tokenizers):
    from peft import LoraConfig, get_peft_model

    tokenizer = tokenizers["gpt2"]
    model = get_peft_model(tiny_model("llama", tokenizer, seed=1), LoraConfig(
        target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM"))
    facts = [Fact(SUBJECTS[0], "P19", line) for line in answers(model, tokenizer, [PLAIN.text(FACTS[0].question)])[0]]
    assert sample(model, tokenizer, facts, [PLAIN], n_samples=2).greedy.all()


# ---------------------------------------------------------------- what is right


def always(model, *ends):
    """The model writes one of the tokens ``ends``, whatever came before."""
    with torch.no_grad():
        model.lm_head.weight.zero_()
        model.lm_head.bias[:] = -1e4
        model.lm_head.bias[list(ends)] = 0.0
    return model


def test_any_accepted_text_is_right(tokenizers):
    tokenizer = tokenizers["word"]
    model, facts = word_model(tokenizer), born("Borby")
    counts = [sample(model, tokenizer, facts, TWO, n_samples=64, accepted=accepted).hits.sum() for accepted in (
        None, lambda fact: ["Luham"], lambda fact: ["Luham", *PLACES])]
    assert counts[0] <= counts[1] < counts[2]


def test_the_answer_itself_is_right_beside_the_accepted_texts(tokenizers):
    tokenizer = tokenizers["word"]
    model = always(word_model(tokenizer), *tokenizer.convert_tokens_to_ids([" Borby", "\n"]))
    assert sample(model, tokenizer, born("Borby"), TWO, n_samples=64, accepted=lambda fact: ["Nira"]).hits.any()


def test_a_line_is_cut_at_max_tokens(tokenizers):
    tokenizer = tokenizers["word"]
    model = always(word_model(tokenizer), tokenizer.convert_tokens_to_ids(" Borby"))
    assert answers(model, tokenizer, ["Q: Where was Bo born?"], max_tokens=3) == [["Borby Borby Borby"]]


def test_a_line_that_does_not_end_is_never_right(tokenizers):
    tokenizer = tokenizers["gpt2"]
    space, newline = tokenizer.convert_tokens_to_ids(["Ġ", "Ċ"])
    model, facts = tiny_model("llama", tokenizer), [Fact("Bo", "P19", "")]
    assert sample(always(model, newline), tokenizer, facts, [PLAIN], n_samples=3).hits.item() == 3
    found = sample(always(model, space), tokenizer, facts, [PLAIN], n_samples=3)
    assert not found.greedy.any() and not found.hits.any()


def test_the_longest_right_answer_has_room_to_end(tokenizers, monkeypatch):
    tokenizer, given = tokenizers["word"], []
    model = word_model(tokenizer)
    generate = model.generate
    monkeypatch.setattr(model, "generate", lambda **more: given.append(more) or generate(**more))
    sample(model, tokenizer, born("Borby", "Luham Nira"), TWO, accepted=lambda fact: ["Borby Borby Borby"])
    assert {call["max_new_tokens"] for call in given} == {3 + sampling.SLACK}


def test_rows_stop_at_the_first_newline_or_end_of_text(tokenizers, monkeypatch):
    tokenizer, given = tokenizers["qwen"], []
    model = tiny_model("qwen2", tokenizer)
    monkeypatch.setattr(model, "generate", lambda **more: given.append(more) or torch.zeros(1, 99, dtype=torch.long))
    with pytest.raises(AttributeError):
        answers(model, tokenizer, ["Who?"])
    assert given[0]["eos_token_id"] == list(end_tokens(tokenizer, model))
    assert {tokenizer.eos_token_id, *newlines(tokenizer)} <= set(given[0]["eos_token_id"])


def test_an_empty_first_line_is_an_answer(tokenizers):
    tokenizer = tokenizers["word"]
    model = always(word_model(tokenizer), tokenizer.convert_tokens_to_ids("\n"))
    assert answers(model, tokenizer, ["Q: Where was Bo born?"], n_samples=2) == [["", ""]]


# ---------------------------------------------------------------- prompts and padding


@pytest.mark.parametrize("architecture", ["llama", "olmo2", "qwen2", "neox", "mistral"])
def test_a_short_question_is_answered_the_same_beside_a_long_one(architecture, tokenizers):
    tokenizer = tokenizers["gpt2"]
    more = {"sliding_window": 8} if architecture == "mistral" else {}
    model = tiny_model(architecture, tokenizer, seed=1, **more)
    texts = [prompt.text(fact.question) for prompt in (PLAIN, FEW_SHOT) for fact in FACTS[:4]]
    together = answers(model, tokenizer, texts)
    assert together == answers(model, tokenizer, texts, batch_questions=1)
    assert len({line for lines in together for line in lines}) >= 3


@pytest.mark.parametrize(("side", "pad"), [("right", None), ("left", "</s>")])
def test_the_tokenizer_stays_as_it_was(side, pad):
    tokenizer = word_tokenizer()
    tokenizer.padding_side, tokenizer.pad_token = side, pad
    sample(word_model(tokenizer), tokenizer, born("Borby", "Luham"), TWO, n_samples=2)
    assert (tokenizer.padding_side, tokenizer.pad_token) == (side, pad)


def test_an_end_of_text_that_the_tokenizer_appends_is_taken_off_the_prompt(tokenizers):
    tokenizer = tokenizers["unigram"]
    model, text = tiny_model("llama", tokenizer, seed=1), FEW_SHOT.text(FACTS[0].question)
    ids = tokenizer(text)["input_ids"]
    assert ids[-1] == tokenizer.eos_token_id
    out = model.generate(torch.tensor([ids[:-1]]), attention_mask=torch.ones(1, len(ids) - 1), do_sample=False,
                         max_new_tokens=32)[0, len(ids) - 1:]
    line = tokenizer.decode(out, skip_special_tokens=True).split("\n")[0].strip()
    assert line and answers(model, tokenizer, [text]) == [[line]]


# ---------------------------------------------------------------- seeds


def test_the_same_seed_gives_the_same_samples_whatever_ran_before(words):
    first, _, again = (sample(*words, born("Borby", "Luham"), TWO, seed=seed, accepted=any_place) for seed in (3, 4, 3))
    assert same(first, again)


def test_another_seed_gives_other_samples(words):
    text = [TWO[0].text("Where was Bo born?")]
    assert answers(*words, text, n_samples=32, seed=0) != answers(*words, text, n_samples=32, seed=1)


def test_every_batch_and_every_prompt_has_its_own_random_numbers(tokenizers):
    tokenizer = tokenizers["word"]
    model = always(word_model(tokenizer), *tokenizer.convert_tokens_to_ids([" Borby", " Luham", "\n"]))
    text, other = (prompt.text("Where was Bo born?") for prompt in TWO)
    first, second = answers(model, tokenizer, [text, text], n_samples=32, batch_questions=1)
    assert len({str(lines) for lines in (first, second, answers(model, tokenizer, [other], n_samples=32)[0])}) == 3


def test_the_samples_of_a_prompt_do_not_depend_on_the_other_prompts(words):
    alone, beside = (sample(*words, born("Borby", "Luham"), prompts, accepted=any_place) for prompts in (TWO[1:], TWO))
    assert alone.hits.any()
    np.testing.assert_array_equal(beside.hits[:, 1:], alone.hits)


def test_the_callers_random_numbers_go_on_as_if_nothing_had_run(words):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    sample(*words, born("Borby"), TWO)
    assert torch.equal(torch.rand(3), expected)


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_put_back_into_the_mode_it_was_in(words, training):
    model, tokenizer = words
    model.train(training)
    sample(model, tokenizer, born("Borby"), TWO, n_samples=1)
    assert model.training == training
    model.eval()


def test_sampling_settings_stored_with_a_model_play_no_part(tokenizers):
    tokenizer = tokenizers["word"]
    model, texts = word_model(tokenizer), [prompt.text("Where was Bo born?") for prompt in TWO]
    before = [answers(model, tokenizer, texts, n_samples=count) for count in (0, 64)]
    model.generation_config.update(do_sample=True, temperature=3.0, top_p=0.1, top_k=2, max_new_tokens=1,
                                   max_time=1e-9, use_cache=False)
    assert [answers(model, tokenizer, texts, n_samples=count) for count in (0, 64)] == before
    assert len(set(before[1][0])) > 3


def test_settings_that_change_what_a_model_says_are_refused(tokenizers):
    model = word_model(tokenizers["word"])
    model.generation_config.repetition_penalty = 1.3
    for ask in (lambda: sample(model, tokenizers["word"], [], []), lambda: answers(model, tokenizers["word"], [])):
        with pytest.raises(CourseError, match=r"generation_config\.repetition_penalty = 1\.3"):
            ask()


@pytest.mark.parametrize(("name", "value"), [("n_samples", -1), ("temperature", 0), ("temperature", float("nan")),
                                             ("top_k", -1), ("top_p", 0), ("top_p", 1.1), ("batch_questions", 0)])
def test_a_setting_out_of_range_is_refused_by_name(words, name, value):
    with pytest.raises(CourseError, match=rf"^{name} (= )?{value}: "):
        sample(*words, born("Borby"), TWO, **{name: value})


# ---------------------------------------------------------------- what cannot be asked


def test_no_facts_give_empty_counts(words):
    found = sample(*words, [], TWO)
    assert found.greedy.shape == found.hits.shape == (0, 2) and found.n_samples == 16


def test_a_question_too_long_for_the_model_is_a_problem_and_the_others_go_on(tokenizers):
    tokenizer = tokenizers["word"]
    model = word_model(tokenizer, max_position_embeddings=40)
    facts = [*born("Borby", "Luham"), Fact(" ".join(["Bo"] * 40), "P19", "Nira")]
    found, alone = (sample(model, tokenizer, asked, TWO, accepted=any_place) for asked in (facts, facts[:2]))
    assert list(found.problems) == [2] and " 40" in found.problems[2]
    assert same(Samples(found.greedy[:2], found.hits[:2], 16, {}), alone)
    with pytest.raises(CourseError, match=r"\b46 .*\b32 "):
        answers(model, tokenizer, [TWO[1].text(facts[2].question)])


def test_a_prompt_without_a_token_is_a_problem(words):
    found = sample(*words, born("Borby"), [Prompt("", "")])
    assert list(found.problems) == [0] and not found.hits.any()


def test_an_answer_that_no_text_can_equal_is_a_problem_as_for_the_exact_engine(words):
    model, tokenizer = words
    facts = born("Borby", "Luham\nNira", " Luham", "Xyz")
    assert sample(model, tokenizer, facts, TWO).problems == score(model, tokenizer, facts, TWO, top_p=1.0).problems
    assert list(sample(model, tokenizer, facts, TWO).problems) == [1, 2, 3]


def test_logits_that_are_not_finite_are_a_problem_of_their_row_alone(tokenizers):
    tokenizer = tokenizers["word"]
    model, facts = word_model(tokenizer), born("Borby", "Luham", "Nira")
    with torch.no_grad():
        model.get_input_embeddings().weight[tokenizer.convert_tokens_to_ids(" Bo")] = float("nan")
    found = sample(model, tokenizer, facts, TWO[1:], accepted=any_place)
    assert list(found.problems) == [1] and "NaN" in found.problems[1]
    assert not found.hits[1].any() and found.hits[[0, 2]].any()


def test_too_little_memory_names_the_cure(words, monkeypatch):
    def full(**_):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(words[0], "generate", full)
    with pytest.raises(CourseError, match="^8 .*batch_questions"):
        answers(*words, ["Q: Who?", "Q: Where?"], n_samples=4)


# ---------------------------------------------------------------- padding


def test_a_model_whose_batches_show_writes_what_it_writes_alone(tokenizers):
    """RWKV has read what stands before a prompt, be it padding or not, and mixes up the rows of a cache."""
    from transformers import RwkvConfig, RwkvForCausalLM

    tokenizer = tokenizers["word"]
    torch.manual_seed(0)
    model = RwkvForCausalLM(RwkvConfig(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2,
                                       attention_hidden_size=32, bos_token_id=1, eos_token_id=1)).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(std=0.5)
    texts = [f"{prompt.prefix}Q: Where was {name} born?\nA:" for prompt in TWO for name in NAMES[:3]]
    settings = {"max_tokens": 6}
    assert answers(model, tokenizer, texts, **settings) == [
        answers(model, tokenizer, [text], **settings)[0] for text in texts]
