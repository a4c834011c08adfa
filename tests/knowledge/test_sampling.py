"""Written answers: samples against exact probabilities, greedy ones against exact match, seeds, batches, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import binom
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from course_lib.data.facts import Fact
from course_lib.files import CourseError
from course_lib.knowledge.scoring.engine import exact_match, score
from course_lib.knowledge.scoring.prompts import Prompt, end_tokens, is_match
from course_lib.knowledge.scoring.sampling import answers
from tests.support.tiny import FACTS, FEW_SHOT, PLAIN, SUBJECTS, TOKENIZERS, newlines, tiny_model

NAMES = ("Ana", "Bo", "Cem", "Dag")
PLACES = tuple(f"{first}{last}" for first in ("Bor", "Kal", "Lu", "Mor", "Ni") for last in ("by", "dorf", "ham", "mo",
                                                                                          "os", "ra", "stad", "ti"))
TWO = [Prompt("Q: Where was Dag born?\nA: Borby\n"), Prompt("")]
TEXTS = [prompt.text("Where was Bo born?") for prompt in TWO]


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
def tokenizers():
    return {name: make() for name, make in TOKENIZERS.items()} | {"word": word_tokenizer()}


@pytest.fixture(scope="module")
def words(tokenizers):
    return word_model(tokenizers["word"]), tokenizers["word"]


def always(model, *ends):
    """The model writes one of the tokens ``ends``, whatever came before."""
    with torch.no_grad():
        model.lm_head.weight.zero_()
        model.lm_head.bias[:] = -1e4
        model.lm_head.bias[list(ends)] = 0.0
    return model


# ---------------------------------------------------------------- against the exact engine


@pytest.mark.parametrize(("architecture", "tiny", "settings"), [
    ("llama", {"seed": 0, "end_bias": 2.0}, {}),
    ("neox", {"seed": 0, "end_bias": 3.0}, {"temperature": 1.0, "top_k": 5}),
    ("qwen2", {"seed": 4, "end_bias": 2.0}, {"top_k": 0, "top_p": 0.8})], ids=str)
def test_shares_of_right_samples_are_the_exact_probabilities(architecture, tiny, settings, tokenizers):
    """Of every name the two answers that a pilot run writes most often; then 400 other samples after each prompt."""
    tokenizer, inside, decided = tokenizers["word"], [], 0
    model = word_model(tokenizer, architecture, **tiny)
    for name in NAMES:
        texts = [prompt.text(Fact(name, "P19", "").question) for prompt in TWO]
        pilot = [line for lines in answers(model, tokenizer, texts, n_samples=48, seed=9, max_tokens=8, **settings)
                 for line in lines if line]
        golds = sorted(set(pilot), key=lambda line: (pilot.count(line), line))[-2:]
        drawn = answers(model, tokenizer, texts, n_samples=400, max_tokens=12, **settings)
        p = np.exp(score(model, tokenizer, [Fact(name, "P19", gold) for gold in golds], TWO,
                         **{"top_p": 1.0} | settings).log_probability).clip(0, 1)
        hits = np.array([[lines.count(gold) for lines in drawn] for gold in golds])
        inside += list(((binom.ppf(0.0005, 400, p) <= hits) & (hits <= binom.ppf(0.9995, 400, p))).flat)
        decided += ((p > 0.05) & (p < 0.95)).sum()
    assert len(inside) == 16 and all(inside) and decided >= 5


@pytest.mark.parametrize(("architecture", "name"), [("llama", "llama"), ("qwen2", "qwen"), ("neox", "gpt2"),
                                                    ("olmo2", "unigram")])
def test_greedy_answers_are_those_of_exact_match(architecture, name, tokenizers):
    tokenizer, prompts = tokenizers[name], [FEW_SHOT, PLAIN]
    model, right = tiny_model(architecture, tokenizer, seed=1, padded=5), 0
    for prompt in prompts:
        texts = [prompt.text(Fact(subject, "P19", "").question) for subject in SUBJECTS]
        written, longer = (answers(model, tokenizer, texts, max_tokens=most, batch_questions=64) for most in (32, 48))
        cells = [(Fact(subject, "P19", gold), is_match(line, gold))
                 for subject, [line], [whole] in zip(SUBJECTS, written, longer, strict=True) if line == whole  # ended
                 for gold in (line, f"{line}h", line[:-1].strip(), "Paris") if gold]
        found = exact_match(model, tokenizer, [fact for fact, _ in cells], prompt)
        assert [(fact, bool(bit)) for (fact, _), bit in zip(cells, found, strict=True)] == cells
        right += found.sum()
    assert right >= 5


def test_an_adapted_model_is_asked(tokenizers):
    from peft import LoraConfig, get_peft_model

    tokenizer = tokenizers["gpt2"]
    model = get_peft_model(tiny_model("llama", tokenizer, seed=1), LoraConfig(
        target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM"))
    [[line]] = answers(model, tokenizer, [PLAIN.text(FACTS[0].question)])
    assert exact_match(model.eval(), tokenizer, [Fact(SUBJECTS[0], "P19", line)], PLAIN).all()


# ---------------------------------------------------------------- lines


def test_a_line_is_cut_at_max_tokens(tokenizers):
    tokenizer = tokenizers["word"]
    model = always(word_model(tokenizer), tokenizer.convert_tokens_to_ids(" Borby"))
    assert answers(model, tokenizer, TEXTS[1:], max_tokens=3) == [["Borby Borby Borby"]]


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
    assert answers(model, tokenizer, TEXTS[1:], n_samples=2) == [["", ""]]


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
    answers(word_model(tokenizer), tokenizer, TEXTS, n_samples=2)
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
    texts = [prompt.text(f"Where was {name} born?") for prompt in TWO for name in NAMES[:3]]
    assert answers(model, tokenizer, texts, max_tokens=6) == [
        answers(model, tokenizer, [text], max_tokens=6)[0] for text in texts]


# ---------------------------------------------------------------- seeds


def test_the_seed_decides_the_samples_whatever_ran_before(words):
    first, other, again = (answers(*words, TEXTS, n_samples=32, seed=seed) for seed in (3, 4, 3))
    assert first == again != other


def test_every_batch_and_every_prompt_has_its_own_random_numbers(tokenizers):
    tokenizer = tokenizers["word"]
    model = always(word_model(tokenizer), *tokenizer.convert_tokens_to_ids([" Borby", " Luham", "\n"]))
    first, second = answers(model, tokenizer, TEXTS[:1] * 2, n_samples=32, batch_questions=1)
    assert len({str(lines) for lines in (first, second, answers(model, tokenizer, TEXTS[1:], n_samples=32)[0])}) == 3


def test_the_callers_random_numbers_continue_as_if_nothing_had_run(words):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    answers(*words, TEXTS, n_samples=2)
    assert torch.equal(torch.rand(3), expected)


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_put_back_into_the_mode_it_was_in(words, training):
    model, tokenizer = words
    model.train(training)
    answers(model, tokenizer, TEXTS, n_samples=1)
    assert model.training == training
    model.eval()


def test_sampling_settings_stored_with_a_model_play_no_part(tokenizers):
    model = word_model(tokenizers["word"])
    before = [answers(model, tokenizers["word"], TEXTS, n_samples=count) for count in (0, 64)]
    model.generation_config.update(do_sample=True, temperature=3.0, top_p=0.1, top_k=2, max_new_tokens=1,
                                   max_time=1e-9, use_cache=False)
    assert [answers(model, tokenizers["word"], TEXTS, n_samples=count) for count in (0, 64)] == before
    assert len(set(before[1][0])) > 3


def test_settings_that_change_what_a_model_says_are_refused(tokenizers):
    model = word_model(tokenizers["word"])
    model.generation_config.repetition_penalty = 1.3
    with pytest.raises(CourseError, match=r"^generation_config.repetition_penalty = 1\.3 "):
        answers(model, tokenizers["word"], [])


@pytest.mark.parametrize(("name", "value"), [
    ("n_samples", -1), ("temperature", 0), ("temperature", float("nan")), ("top_k", -1), ("top_p", 0), ("top_p", 1.1),
    ("batch_questions", 0), ("max_tokens", 0)])
def test_a_setting_out_of_range_is_refused_by_name(words, name, value):
    with pytest.raises(CourseError, match=rf"^{name} (= )?{value}: "):
        answers(*words, TEXTS, **{name: value})


# ---------------------------------------------------------------- what cannot be asked


def test_no_texts_give_no_answers(words):
    assert answers(*words, []) == []


def test_a_prompt_that_is_too_long_or_has_no_token_is_refused_by_name(tokenizers):
    tokenizer = tokenizers["word"]
    model, long = word_model(tokenizer, max_position_embeddings=40), TWO[1].text(" ".join(["Bo"] * 40))
    with pytest.raises(CourseError, match=r"Bo.*: 43 .*\b32 .*\b40\b"):
        answers(model, tokenizer, [TEXTS[1], long])
    with pytest.raises(CourseError, match="^'' "):
        answers(model, tokenizer, [TEXTS[1], ""])


def test_non_finite_logits_are_refused_with_the_text(tokenizers):
    tokenizer = tokenizers["word"]
    model, texts = word_model(tokenizer), [TWO[1].text(f"Where was {name} born?") for name in NAMES[:3]]
    with torch.no_grad():
        model.get_input_embeddings().weight[tokenizer.convert_tokens_to_ids(" Bo")] = float("nan")
    with pytest.raises(CourseError, match=r"Bo born.*\bNaN\b"):
        answers(model, tokenizer, texts)
    assert len(answers(model, tokenizer, texts[::2])) == 2


def test_too_little_memory_names_the_cure(words, monkeypatch):
    def full(**_):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(words[0], "generate", full)
    with pytest.raises(CourseError, match=r"^8 .*\bbatch_questions"):
        answers(*words, ["Q: Who?", "Q: Where?"], n_samples=4)
