"""The walk over all spellings, against sums worked out by hand: models whose next token does not depend on the text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from course_lib.data.facts import Fact
from course_lib.files import CourseError
from course_lib.knowledge import tokenisation_gap as module
from course_lib.knowledge.scoring.prompts import Prompt
from course_lib.knowledge.scoring.scores import Scores
from course_lib.knowledge.tokenisation_gap import Summary, spelling_gap, summary
from tests.support.tiny import TOKENIZERS, tiny_model

BARE = Prompt("", "{question}")
P = {"</s>": 0.3, "\n": 0.2, " ": 0.1, "a": 0.15, "b": 0.05, "ab": 0.2}  # ends weigh 0.5
SPACES = 1 / (1 - P[" "])  # any number of spaces: 1 + p + p^2 + ...


@dataclass(frozen=True)
class Asked:
    question: str
    object: str


def letters(vocabulary, merges=()):
    """A tokenizer of these tokens, joined by ``merges``."""
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(vocabulary)}, list(merges)))
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", clean_up_tokenization_spaces=False)


def constant(tokenizer, probabilities, architecture="llama"):
    """A model that draws every token from ``probabilities`` (token -> p), whatever the text."""
    model = tiny_model(architecture, tokenizer)
    head = model.get_output_embeddings()
    with torch.no_grad():
        head.weight.zero_()
        head.bias.fill_(-1e4)
        for token, p in probabilities.items():
            head.bias[tokenizer.convert_tokens_to_ids(token)] = float(np.log(p))
    return model


@pytest.fixture(scope="module")
def world():
    """(model, tokenizer) of six tokens; "ab" is a token, and "a" "b" spells the same."""
    tokenizer = letters(P, [("a", "b")])
    return constant(tokenizer, P), tokenizer


def gap(world, *answers, prompts=(BARE,), temperature=1.0, top_k=0, **more):
    facts = [Asked("a", answer) for answer in answers]
    return spelling_gap(*world, facts, prompts, temperature=temperature, top_k=top_k, **more)


def only(frame):
    assert len(frame) == 1
    return frame.iloc[0]


def check_interval(cell, text, *, width=1e-5):
    assert cell["lower"] - 1e-6 <= text <= cell["upper"] + 1e-6
    assert cell["upper"] - cell["lower"] <= width


# ---------------------------------------------------------------- which paths count


def test_canonical_tokens_are_one_path_and_all_spellings_are_summed(world):
    cell = only(gap(world, "ab"))
    assert cell["canonical"] == pytest.approx(P[" "] * P["ab"] * 0.5, abs=1e-6)
    check_interval(cell, SPACES * (P["ab"] + P["a"] * P["b"]) * SPACES * 0.5)


def test_spaces_inside_an_answer_are_letters(world):
    word = P["ab"] + P["a"] * P["b"]
    check_interval(only(gap(world, "ab ab")), SPACES * word * P[" "] * word * SPACES * 0.5)


def test_an_answer_is_not_the_beginning_of_a_longer_one(world):
    check_interval(only(gap(world, "a")), SPACES * P["a"] * SPACES * 0.5)


def test_a_path_that_ends_inside_a_token_counts():
    p = P | {" ": 0.08, "b\n": 0.02}
    tokenizer = letters(p, [("a", "b")])  # "ab" then "\n": the canonical tokens never use "b\n"
    spaces = 1 / (1 - p[" "])
    check_interval(only(gap((constant(tokenizer, p), tokenizer), "ab")),
                   spaces * ((p["ab"] + p["a"] * p["b"]) * spaces * 0.5 + p["a"] * p["b\n"]))


def test_nothing_counts_after_a_newline_inside_a_token():
    p = P | {" ": 0.08, "a\nb": 0.02}
    tokenizer = letters(p, [("a", "b")])
    spaces = 1 / (1 - p[" "])
    check_interval(only(gap((constant(tokenizer, p), tokenizer), "a")),
                   spaces * (p["a"] * spaces * 0.5 + p["a\nb"]))


def test_spaces_at_the_ends_of_an_answer_are_no_part_of_it(world):
    check_interval(only(gap(world, " a ")), SPACES * P["a"] * SPACES * 0.5)


def test_accepted_texts_are_summed(world):
    cell = only(gap(world, "ab", accepted=lambda fact: ["a", "ab"]))
    assert cell["canonical"] == pytest.approx(P[" "] * (P["ab"] + P["a"]) * 0.5, abs=1e-6)
    check_interval(cell, SPACES * (P["ab"] + P["a"] * P["b"] + P["a"]) * SPACES * 0.5)


@pytest.mark.parametrize(("name", "parts"), [("gpt2", ["Ã", "©"]), ("llama", ["<0xC3>", "<0xA9>"]),
                                             ("unigram", ["<0xC3>", "<0xA9>"])])
def test_a_letter_spelled_in_bytes_counts(name, parts):
    tokenizer = TOKENIZERS[name]()
    model = constant(tokenizer, {parts[0]: 0.2, parts[1]: 0.3, tokenizer.eos_token: 0.5})
    check_interval(only(gap((model, tokenizer), "é")), 0.2 * 0.3 * 0.5)


def test_letters_and_open_bytes_in_one_run_of_bytes_count():
    tokenizer = TOKENIZERS["llama"]()
    model = constant(tokenizer, {"<0xE6>": 0.1, "<0x9D>": 0.2, "<0xB1>": 0.1, "<0x41>": 0.2, tokenizer.eos_token: 0.4})
    check_interval(only(gap((model, tokenizer), "A東A")), 0.2 * 0.1 * 0.2 * 0.1 * 0.2 * 0.4)


def test_an_answer_that_holds_the_sign_of_broken_bytes_is_measured():
    tokenizer = TOKENIZERS["gpt2"]()  # U+FFFD is EF BF BD; an open "EF" at the end is shown in the same way
    model = constant(tokenizer, {"ï": 0.2, "¿": 0.2, "½": 0.2, tokenizer.eos_token: 0.4})
    cell = only(gap((model, tokenizer), "\ufffd", floor=1e-5))
    assert cell["lower"] >= (0.2**3 + 0.2) * 0.4 - 1e-6 and cell["upper"] < 1

def test_a_letter_written_with_a_mark_of_its_own_counts():
    tokenizer = TOKENIZERS["gpt2"]()  # "é" as "e" and the combining accent, bytes CC 81
    model = constant(tokenizer, {"e": 0.2, "Ì": 0.1, "ģ": 0.1, tokenizer.eos_token: 0.6})
    check_interval(only(gap((model, tokenizer), "é")), 0.2 * 0.1 * 0.1 * 0.6)


def test_special_tokens_inside_an_answer_are_no_text():
    tokenizer = TOKENIZERS["qwen"]()
    model = constant(tokenizer, {"A": 0.3, "<|im_end|>": 0.2, tokenizer.eos_token: 0.5})
    check_interval(only(gap((model, tokenizer), "A")), 0.3 * 0.5 / 0.8**2)


def test_where_the_prompt_merges_with_the_answer_the_tree_begins_inside_the_prompt():
    p = {"</s>": 0.3, "\n": 0.2, " ": 0.1, ":": 0.1, "P": 0.1, ": ": 0.1, ": P": 0.1}
    backend = Tokenizer(models.BPE({token: i for i, token in enumerate(p)}, [(":", " "), (": ", "P")]))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.Split("\n", "isolated"), decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>")
    frame = spelling_gap(constant(tokenizer, p), tokenizer, [Asked("P:", "P")], [BARE], temperature=1, top_k=0)
    assert only(frame)["canonical"] == pytest.approx(p[": P"] * 0.5, abs=1e-6)
    spaces = 1 / (1 - p[" "])
    check_interval(only(frame), (p[": P"] + (p[":"] + p[": "]) * spaces * p["P"]) * spaces * 0.5)


# ---------------------------------------------------------------- the distribution


def test_temperature_is_applied_first(world):
    squares = {token: p * p for token, p in P.items()}
    cold = {token: p / sum(squares.values()) for token, p in squares.items()}
    spaces = 1 / (1 - cold[" "])
    check_interval(only(gap(world, "ab", temperature=0.5)),
                   spaces * (cold["ab"] + cold["a"] * cold["b"]) * spaces * (cold["</s>"] + cold["\n"]))


@pytest.mark.parametrize("settings", [{"top_k": 2}, {"top_k": 3}, {"top_p": 0.6}])
def test_tokens_that_are_cut_off_spell_nothing_and_ties_are_kept(settings, world):
    cell = only(gap(world, "ab", **settings))  # left: </s> 0.3, "\n" 0.2 and "ab" 0.2, of 0.7
    assert cell["canonical"] == 0
    check_interval(cell, (0.2 / 0.7) * (0.5 / 0.7), width=1e-12)


# ---------------------------------------------------------------- the interval


def test_cut_branches_are_added_to_the_upper_bound(world):
    cell = only(gap(world, "ab", floor=0.25))  # of the first tokens " ", "a" and "ab" may continue, "b" may not
    assert cell["lower"] == 0 and cell["upper"] == pytest.approx(P[" "] + P["a"] + P["ab"], abs=1e-6)


def test_a_lower_floor_gives_an_interval_inside_the_one_before(world):
    truth = SPACES * (P["ab"] + P["a"] * P["b"]) * SPACES * 0.5
    cells = [only(gap(world, "ab", floor=floor)) for floor in (0.1, 1e-2, 1e-3, 1e-5, 1e-7)]
    for wide, narrow in zip(cells, cells[1:], strict=False):
        assert wide["lower"] <= narrow["lower"] <= truth + 1e-6
        assert truth - 1e-6 <= narrow["upper"] <= wide["upper"] + 1e-9


def test_a_model_that_writes_spaces_for_ever_comes_to_an_end_with_a_true_interval():
    p = {"</s>": 0.006, "\n": 0.004, " ": 0.98, "a": 0.01}
    tokenizer = letters(p)
    cell = only(gap((constant(tokenizer, p), tokenizer), "a", floor=1e-12))
    assert cell["lower"] < 0.01 / 0.02 * 0.01 / 0.02 < cell["upper"] and cell["upper"] - cell["lower"] > 0.1


@pytest.mark.parametrize("architecture", ["olmo2", "qwen2", "neox"])
def test_other_architectures_are_walked_as_well(architecture, world):
    tokenizer = world[1]
    check_interval(only(gap((constant(tokenizer, P, architecture), tokenizer), "ab")),
                   SPACES * (P["ab"] + P["a"] * P["b"]) * SPACES * 0.5)


def test_more_canonical_probability_than_all_spellings_have_is_an_error(world, monkeypatch):
    monkeypatch.setattr(module, "score", lambda *_, **__: Scores(np.array([[False]]), np.log([[0.9]]), np.ones((1, 1))))
    with pytest.raises(CourseError, match=r"fact 0, prompt 0: .*\b0\.9"):
        gap(world, "ab")


# ---------------------------------------------------------------- the sample


def cells(frame):
    return list(zip(frame["row"], frame["prompt"], strict=True))


def test_all_cells_are_measured_where_there_are_fewer_than_the_sample(world):
    frame = gap(world, "a", "b", "ab", prompts=(BARE, Prompt("b", "{question}")))
    assert cells(frame) == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]


def test_a_sample_is_drawn_without_replacement_and_the_seed_decides_it(world):
    settings = {"prompts": (BARE, Prompt("b", "{question}")), "sample": 5, "floor": 1e-3}
    drawn = [cells(gap(world, *"ab" * 5, seed=seed, **settings)) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert all(len(set(some)) == 5 for some in drawn)


def test_prompts_may_be_given_by_relation():
    tokenizer = TOKENIZERS["gpt2"]()
    facts = [Fact("Bo", "P19", "Ulm"), Fact("Bo", "P26", "Ida")]
    frame = spelling_gap(tiny_model("llama", tokenizer), tokenizer, facts,
                         {"P19": [Prompt("")], "P26": [Prompt(""), Prompt("Q: x\nA: y\n")]}, floor=1e-3)
    assert cells(frame) == [(0, 0), (1, 0), (1, 1)]


def test_a_relation_without_prompts_is_named(world):
    with pytest.raises(CourseError, match="'P26'"):
        spelling_gap(*world, [Fact("Bo", "P26", "Ida")], {"P19": [BARE]})


@pytest.mark.parametrize("settings", [{"floor": 0}, {"floor": 1.0}, {"sample": 0}])
def test_a_floor_or_a_sample_without_sense_is_refused(settings, world):
    with pytest.raises(CourseError, match="{} = {}[:,]".format(*next(iter(settings.items())))):
        gap(world, "a", **settings)


@pytest.mark.parametrize(("answers", "prompts"), [([], (BARE,)), (["a"], ())])
def test_nothing_to_measure_is_an_error(answers, prompts, world):
    with pytest.raises(CourseError):
        gap(world, *answers, prompts=prompts)


def test_a_cell_that_cannot_be_scored_is_nan_and_the_others_are_measured(world):
    frame = gap(world, "a\nb", "a")
    assert frame.loc[0, ["canonical", "lower", "upper"]].isna().all()
    check_interval(frame.loc[1], SPACES * P["a"] * SPACES * 0.5)
    assert summary(frame).cells == 1


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_put_back_into_the_mode_it_was_in(training, world):
    world[0].train(training)
    gap(world, "a", floor=1e-2)
    assert world[0].training == training
    world[0].eval()


# ---------------------------------------------------------------- the summary


def test_summary_counts_the_gap_and_the_labels_that_it_may_move():
    frame = pd.DataFrame({"row": range(4), "prompt": 0, "greedy": [False, False, True, False],
                          "canonical": [0.1, 0.0, 0.2, np.nan], "lower": [0.3, 0.0005, 0.2, np.nan],
                          "upper": [0.31, 0.001, 0.2, np.nan]})
    found = summary(frame)  # 1 - 0.7^16 is 0.18 above 1 - 0.9^16; 1 - 0.9995^16 = 0.008 is less than 0.01
    assert found == Summary(3, *(pytest.approx(x) for x in (0.2, 0.2005 / 3, 0.01, 0.3 / 0.5005)), 2, 1, 0.01)
    assert summary(frame, by=0.005).changed == 2


def test_summary_takes_no_gap_from_rounding():
    frame = pd.DataFrame({"row": [0], "prompt": 0, "greedy": False, "canonical": [0.5 + 1e-7], "lower": 0.5,
                          "upper": 0.5})
    assert summary(frame) == Summary(1, 0, 0, 0, 1, 1, 0, 0.01)


def test_a_frame_without_a_scored_cell_has_no_summary():
    with pytest.raises(CourseError, match=r"Scores\.problems"):
        summary(pd.DataFrame({name: [np.nan] for name in ("greedy", "canonical", "lower", "upper")}))
