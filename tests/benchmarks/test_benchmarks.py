"""The rivals are honest and right, and the table says what was measured. Nothing is timed here."""

import json
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import torch
from scipy.stats import binom

from benchmarks import agreement, cached, comparison, rivals, slick, subjects, timing
from course_lib.data import pocket
from course_lib.data.facts import Fact
from course_lib.files import CourseError
from course_lib.knowledge.scoring.engine import score
from course_lib.knowledge.scoring.prompts import Prompt, few_shot_prompt
from course_lib.knowledge.scoring.scores import Scores
from course_lib.knowledge.slick import draw_prompts, label
from course_lib.models.loading import load
from tests.support.tiny import ANSWERS, FACTS, FEW_SHOT, TOKENIZERS, tiny_model

PROMPTS = (FEW_SHOT, few_shot_prompt([Fact("Kim", "P19", "Ulm"), Fact("Lea", "P19", "1984")]))
SAMPLES = 100


@pytest.fixture(scope="module")
def llama():
    tokenizer = TOKENIZERS["gpt2"]()
    return tiny_model("llama", tokenizer, seed=3), tokenizer


@pytest.fixture(scope="module")
def small():
    """The pocket model as it is stored: it answers, sometimes rightly, and its answers end."""
    loaded = load("pocket", device="cpu", four_bit=False)
    return loaded.model, loaded.tokenizer


@pytest.fixture(scope="module")
def part(small) -> subjects.Part:
    """Six uncertain answers, one known and one never given; two prompts with one example each, to save time."""
    world = pocket.load()
    prompts = draw_prompts(world.exemplars, n_prompts=2, shots=1)["P26"]
    asked = [fact for fact in world.train if fact.relation == "P26"][:80]
    p = np.exp(score(*small, asked, prompts).log_probability).mean(1)
    uncertain = [fact for fact, value in zip(asked, p, strict=True) if 0.1 < value < 0.9][:6]
    never = replace(asked[0], object="Who?")
    return subjects.Part((*uncertain, asked[int(p.argmax())], never), tuple(prompts), tuple(range(8)))


def sampled(name, loaded, part, *, batch, **settings) -> rivals.Sampled:
    """What a rival finds: the paper's protocol, or the cached one in a layout."""
    how, given = {"batch": batch, "protocol": rivals.Protocol(10, **settings)}, (*loaded, part.facts, part.prompts)
    if name == "paper":
        return rivals.paper_protocol(*given, **how)
    return cached.cached_sampling(*given, **how, layout=name, prefixes=cached.prefill(*loaded, part.prompts))


samplers = pytest.mark.parametrize("name", ["paper", *cached.LAYOUTS])


@pytest.mark.slow
@samplers
def test_hit_shares_of_a_sampler_lie_in_binomial_bands_around_the_exact_probability(small, part, name) -> None:
    found = sampled(name, small, part, batch=5, n_samples=SAMPLES, seed=1)
    p = np.exp(score(*small, part.facts, part.prompts).log_probability).clip(0, 1)
    assert ((p > 0.05) & (p < 0.95)).sum() >= 6  # else the bands would say nothing
    inside = (binom.ppf(5e-5, SAMPLES, p) <= found.hits) & (found.hits <= binom.ppf(1 - 5e-5, SAMPLES, p))
    assert inside.all(), (found.hits / SAMPLES, p)
    again, other = (sampled(name, small, part, batch=4, seed=seed).hits for seed in (5, 6))
    assert (sampled(name, small, part, batch=4, seed=5).hits == again).all() and not (other == again).all()


@samplers
def test_greedy_answers_are_those_of_exact_scoring_and_one_likely_token_repeats_them(small, part, name) -> None:
    found = sampled(name, small, part, batch=3, n_samples=5, top_k=1)
    wanted = score(*small, part.facts, part.prompts, temperature=None).greedy
    assert wanted.any() and not wanted.all()
    assert found.greedy.tolist() == wanted.tolist()
    assert found.hits.tolist() == (5 * found.greedy).tolist()


@pytest.mark.parametrize("architecture, tokens", [("neox", "gpt2"), ("qwen2", "qwen"), ("olmo2", "llama"),
                                                  ("llama", "unigram")])
@pytest.mark.parametrize("layout", cached.LAYOUTS)
def test_cached_sampling_writes_the_greedy_answers_of_generate(architecture, tokens, layout) -> None:
    tokenizer = TOKENIZERS[tokens]()
    model = tiny_model(architecture, tokenizer, end_bias=4.0)
    reader, texts = rivals.Reader.of(tokenizer, model), [PROMPTS[0].text(fact.question) for fact in FACTS]
    prompts = cached.encode(tokenizer, texts)
    prefix = cached.prefill(model, tokenizer, PROMPTS[:1])[PROMPTS[0]]
    shared = min(min(cached.common_length(prefix.tokens, row), len(row) - 1) for row in prompts)
    writer = cached._Writer(model, rivals.Protocol(10, n_samples=3), torch.tensor(sorted(reader.stops)))
    with torch.inference_mode():
        asked = cached._ask(model, prefix, [row[shared:] for row in prompts], shared)
        lines = cached.LAYOUTS[layout](writer, asked)[:, 0].tolist()
    wanted = rivals._generate(model, reader, prompts, 0, rivals.Protocol(10))
    assert [to_end(line, reader) for line in lines] == [to_end(line, reader) for [line] in wanted]


def to_end(line: list[int], reader: rivals.Reader) -> list[int]:
    return line[:next((i + 1 for i, token in enumerate(line) if token in reader.stops), len(line))]


@pytest.mark.parametrize("architecture, tokens, right, wrong", [
    ("llama", "gpt2", [" Ulm\n", " Ulm<|endoftext|>", " Ulm\nParis\n"], [" Ulm", " Ulmer\n", " Paris\n", "\n Ulm"]),
    ("qwen2", "qwen", [" Apple Inc.\n"], [" Apple Inc."])])  # whose full stop melts with the newline into one token
def test_the_reader_counts_whole_first_lines_only(architecture, tokens, right, wrong) -> None:
    tokenizer = TOKENIZERS[tokens]()
    reader = rivals.Reader.of(tokenizer, tiny_model(architecture, tokenizer))
    answer = right[0].strip()
    assert reader.count(tokenizer(right)["input_ids"], answer) == len(right)
    assert reader.count(tokenizer(wrong)["input_ids"], answer) == 0


def test_sampled_labels_follow_the_inequalities_of_the_paper() -> None:
    greedy, hits = np.array([[1, 1], [1, 0], [0, 0], [0, 0]], bool), np.array([[0, 0], [9, 9], [0, 1], [0, 0]])
    assert rivals.Sampled(greedy, hits, 16).labels() == ["HighlyKnown", "MaybeKnown", "WeaklyKnown", "Unknown"]


def test_results_of_several_rounds_are_joined_question_after_question() -> None:
    one, two = rivals.Sampled(np.ones((1, 2), bool), np.array([[1, 2]]), 16), rivals.Sampled.empty(2, 2, 16)
    both = rivals.joined([one, two])
    assert (both.hits.tolist(), both.greedy.shape, both.n_samples) == ([[1, 2], [0, 0], [0, 0]], (3, 2), 16)


def test_lm_eval_gives_the_log_likelihood_of_the_answer_at_temperature_one(llama) -> None:
    pytest.importorskip("lm_eval")
    asked = [Fact(FACTS[row].subject, "P19", text) for row, text in enumerate(("Ulm", "Paris", "A.B.", "1984", "Who?"))]
    found = rivals.log_likelihoods(rivals.lm_eval_harness(*llama), asked, PROMPTS, batch=3)
    wanted = [[by_hand(*llama, prompt, fact) for prompt in PROMPTS] for fact in asked]
    assert found.log_probability == pytest.approx(np.array(wanted), abs=1e-4)


def by_hand(model, tokenizer, prompt: Prompt, fact: Fact) -> float:
    """Natural logarithm of the probability of an answer's tokens, one plain pass."""
    before, ids = (tokenizer(text)["input_ids"] for text in
                   (prompt.text(fact.question), f"{prompt.text(fact.question)} {fact.object}"))
    with torch.inference_mode():
        log_p = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    return sum(float(log_p[at - 1, ids[at]]) for at in range(len(before), len(ids)))


FULL = RuntimeError("DefaultCPUAllocator: can't allocate memory")


@pytest.mark.parametrize("seconds, largest, budget, tried, best", [
    ([4.0, 2.0, 1.0, 1.5, 1.2], 64, 1000, [1, 2, 4, 8, 16], 4), ([1.0, 0.5, 0.25], 4, 1000, [1, 2, 4], 4),
    ([1.0], 64, 0.5, [1], 1), ([1.0, 0.5, FULL], 64, 1000, [1, 2], 2)],
    ids=["two that are no faster end it", "the largest size", "no time is left", "no memory is left"])
def test_the_best_batch_is_the_fastest_an_item(seconds, largest, budget, tried, best) -> None:
    found = timing.best_batch(mock.Mock(side_effect=seconds), largest=largest, budget=budget)
    assert (sorted(found.tried), found.size) == (tried, best)


def test_a_failure_other_than_memory_is_not_hidden() -> None:
    with pytest.raises(RuntimeError, match="shapes"):
        timing.best_batch(mock.Mock(side_effect=[1.0, RuntimeError("shapes")]), largest=64, budget=1000)


def test_traffic_counts_positions_and_padding(llama) -> None:
    model, tokenizer = llama
    pad = tokenizer.pad_token_id
    with timing.count_traffic(model, {pad}) as traffic, torch.inference_mode():
        model(input_ids=torch.tensor([[5, 6, 7], [8, pad, pad]]), logits_to_keep=1)
    model(input_ids=torch.tensor([[5]]))  # after the block: not counted
    assert (traffic.positions, traffic.filler, traffic.output_rows) == (6, 2, 2)


PARTS = (subjects.Part(FACTS[:4], PROMPTS, (0, 1, 2, 3)), subjects.Part(FACTS[4:8], PROMPTS[:1], (4, 5, 6, 7)))


@pytest.mark.parametrize("count, number, rows", [(4, 0, [[0, 1], [4, 5]]), (4, 1, [[2, 3], [6, 7]]),
                                                 (4, 2, [[0, 1], [4, 5]]), (1, 1, [[1]]), (8, 0, [[0, 1, 2, 3],
                                                                                                 [4, 5, 6, 7]])])
def test_each_round_asks_other_questions_of_every_part(count, number, rows) -> None:
    chosen = subjects.window(PARTS, count, number)
    assert [list(part.rows) for part in chosen] == rows
    assert [[FACTS.index(fact) for fact in part.facts] for part in chosen] == rows


def exact_scores(greedy, p) -> Scores:
    with np.errstate(divide="ignore"):
        return Scores(np.array(greedy, bool), np.log(np.array(p, float)), np.ones(np.shape(greedy)))


def test_labels_are_compared_apart_where_the_exact_label_is_certain() -> None:
    half = 1 - 0.5 ** (1 / 16)  # P(WeaklyKnown) = 1/2 and a little
    frame = label(exact_scores([[1], [0], [0]], [[0.9], [0.0], [half * 1.0001]]))
    found = agreement.label_agreement(frame, ["HighlyKnown", "Unknown", "Unknown"])
    assert (found.questions, found.sure, found.on_sure) == (3, 2, 1.0)
    assert found.overall == pytest.approx(2 / 3)
    assert found.expected == pytest.approx((1 + 1 + 0.5) / 3, abs=1e-3)


def test_the_remark_gives_equal_greedy_bits_and_both_shares_of_right_samples() -> None:
    exact = exact_scores([[1, 0]], [[0.5, 0.25]])
    text = agreement.remark(exact, rivals.Sampled(np.array([[True, True]]), np.array([[8, 4]]), 16))
    assert "greedy bits 50.00%" in text and "samples 37.50%, exact 37.50%" in text


def test_precision_compares_bits_probabilities_and_labels() -> None:
    full, reduced = exact_scores([[1, 0], [0, 0]], [[0.5, 0.2], [0.0, 0.0]]), exact_scores(
        [[0, 0], [0, 0]], [[0.5, 0.3], [0.0, 0.0]])
    found = agreement.precision("bfloat16", full, reduced)
    assert (found.questions, found.greedy_equal, found.labels_equal) == (2, 0.75, 0.5)
    assert found.largest_dp == pytest.approx(0.1)


def row(name: str, seconds: float) -> comparison.Row:
    return comparison.Row(name, f"the {name}", 20, 4, seconds, 0.125, seconds / 0.01, 180.0, 0.04, 45.0, "")


def report(subject: str, rivals_measured=("sampling", "cached_sampling", "lm_eval")) -> slick.Report:
    rows = (row("ours", 0.01), *(row(name, 0.5 + i) for i, name in enumerate(rivals_measured)))
    labels = agreement.Agreement(20, 15, 0.9876543, 0.9, 0.95)
    found = comparison.Comparison(subject, "a model", 300, 10, 9, rows, labels, {"sampling": {1: 2.0, 2: 1.0}})
    machine = {"date": "2026-11-20", "device": "cpu", "cpu": "Some CPU", "gpu": None, "threads": 2,
               "versions": {"torch": "2.13", "lm_eval": None}}
    return slick.Report(found, (slick.Growth(75, 10, 0.8, 700.0), slick.Growth(300, 10, 3.1, 705.0)),
                        agreement.Precision("bfloat16", 200, 0.995, 0.01, 0.001, 0.99), machine)


def test_the_last_line_is_json_with_the_ratios_of_every_model() -> None:
    # cached sampling counts in its faster layout, and a rival that is not installed is null
    found = json.loads(slick.last_line([report("pocket"), report("a-shape", ("tree_sampling", "sampling",
                                                                             "cached_sampling"))]))
    assert found == {"pocket": {"vs_sampling": 50.0, "vs_cached_sampling": 150.0, "vs_lm_eval": 250.0,
                                "label_agreement": 0.9877},
                     "a-shape": {"vs_sampling": 150.0, "vs_cached_sampling": 50.0, "vs_lm_eval": None,
                                 "label_agreement": 0.9877}}


def test_the_table_has_a_line_for_every_method_and_all_that_was_measured() -> None:
    text = slick.table(report("pocket"))
    assert "| the sampling | 20 | 4 | 0.5 | 12% | 50.0 | 180 | 4.0% | 45 |  |" in text
    assert all(part in text for part in ("98.8% of 15 ", "90.0% of all", "| 300 | 10 | 3.1 | 705 |", "200 questions",
                                         "2026-11-20, Some CPU, 2 CPU threads, torch 2.13."))


def test_results_are_stored_by_model_device_and_date_and_a_quick_run_replaces_no_real_one(tmp_path) -> None:
    slick.store(report("pocket"), tmp_path)
    slick.store(report("pocket"), tmp_path, quick=True)
    assert {path.name for path in tmp_path.iterdir()} == {
        f"slick-pocket-cpu-2026-11-20{end}" for end in (".json", ".md", "-quick.json", "-quick.md")}
    stored = json.loads((tmp_path / "slick-pocket-cpu-2026-11-20.json").read_text())
    assert stored["comparison"]["rows"][1]["name"] == "sampling" and stored["machine"]["threads"] == 2


def test_a_whole_measurement_of_a_tiny_model_ends_in_a_table(llama, monkeypatch) -> None:
    model, tokenizer = llama
    monkeypatch.setattr(rivals, "has_lm_eval", lambda: False)
    parts = (subjects.Part(tuple(Fact(s, "P19", a) for s, a in zip(("Ida", "Jo", "Kim", "Lea"), ANSWERS, strict=False)),
                           PROMPTS, (0, 1, 2, 3)),)
    subject = subjects.Subject("tiny", "a tiny model", model, tokenizer, parts, 6)
    found = slick.measure(subject, comparison.Plan(rounds=1, seconds=0.01, search=0.01))
    assert [row.name for row in found.comparison.rows] == ["ours", "sampling", "cached_sampling", "tree_sampling"]
    assert [at.questions for at in found.growth] == [1, 2, 4, 4]
    assert set(json.loads(slick.last_line([found]))["tiny"]) == {"vs_sampling", "vs_cached_sampling", "vs_lm_eval",
                                                                "label_agreement"}


def test_questions_of_a_model_are_numbered_through_and_share_their_prompts() -> None:
    parts = subjects.parts_of(pocket.load(), questions=6, relations=("P19", "P36"), prompts=3)
    assert [part.rows for part in parts] == [(0, 1, 2), (3, 4, 5)]
    assert all(len(part.prompts) == 3 and len({fact.relation for fact in part.facts}) == 1 for part in parts)
    with pytest.raises(CourseError, match="P999: .*P131"):
        subjects.parts_of(pocket.load(), questions=6, relations=["P999"])


def test_a_widened_tokenizer_splits_texts_as_before_and_gives_every_token_a_text(small) -> None:
    wide = subjects.widened_tokenizer(5000)
    text = PROMPTS[0].text("Where was ~4321 born?")
    assert len(wide) == 5000 and wide(text)["input_ids"] == small[1](text)["input_ids"]
    assert wide.decode([4321]) == "~4321" and (wide.eos_token_id, wide.pad_token_id) == (0, 1)
