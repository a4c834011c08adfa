"""The rivals are honest and right, and the table says what was measured. Nothing is timed here."""

from __future__ import annotations

import json
from dataclasses import replace

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
TESTED = ("Ulm", "Paris", "A.B.", "1984", "Who?")
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


def protocol(**more) -> rivals.Protocol:
    return rivals.Protocol(10, **more)


def by_rows(model, tokenizer, facts, prompts, *, batch, protocol, layout="rows"):
    prefixes = cached.prefill(model, tokenizer, prompts)
    return cached.cached_sampling(model, tokenizer, facts, prompts, batch=batch, protocol=protocol, prefixes=prefixes,
                                  layout=layout)


def by_tree(*given, **how):
    return by_rows(*given, layout="tree", **how)


SAMPLERS = {"paper": rivals.paper_protocol, "rows": by_rows, "tree": by_tree}


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLERS)
def test_hit_shares_of_a_sampler_lie_in_binomial_bands_around_the_exact_probability(small, part, name) -> None:
    found = SAMPLERS[name](*small, part.facts, part.prompts, batch=5, protocol=protocol(n_samples=SAMPLES, seed=1))
    p = np.exp(score(*small, part.facts, part.prompts).log_probability).clip(0, 1)
    assert ((p > 0.05) & (p < 0.95)).sum() >= 6  # else the bands would say nothing
    inside = (binom.ppf(5e-5, SAMPLES, p) <= found.hits) & (found.hits <= binom.ppf(1 - 5e-5, SAMPLES, p))
    assert inside.all(), (found.hits / SAMPLES, p)


@pytest.mark.parametrize("name", SAMPLERS)
def test_greedy_answers_of_a_sampler_are_those_of_exact_scoring(small, part, name) -> None:
    found = SAMPLERS[name](*small, part.facts, part.prompts, batch=3, protocol=protocol(n_samples=2))
    wanted = score(*small, part.facts, part.prompts, temperature=None).greedy
    assert wanted.any() and not wanted.all()
    assert found.greedy.tolist() == wanted.tolist()


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
    writer = cached._Writer(model, protocol(n_samples=3), torch.tensor(sorted(reader.stops)))
    with torch.inference_mode():
        asked = cached._ask(model, prefix, [row[shared:] for row in prompts], shared)
        lines = cached.LAYOUTS[layout](writer, asked)[:, 0].tolist()
    wanted = rivals._generate(model, reader, prompts, 0, protocol())
    assert [to_end(line, reader) for line in lines] == [to_end(line, reader) for [line] in wanted]


def to_end(line: list[int], reader: rivals.Reader) -> list[int]:
    return line[:next((i + 1 for i, token in enumerate(line) if token in reader.stops), len(line))]


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_with_one_likely_token_repeats_the_greedy_answer(small, part, name) -> None:
    found = SAMPLERS[name](*small, part.facts, part.prompts, batch=2, protocol=protocol(n_samples=5, top_k=1))
    assert found.hits.tolist() == (5 * found.greedy).tolist()


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLERS)
def test_one_seed_gives_a_sampler_the_same_hits(small, part, name) -> None:
    runs = [SAMPLERS[name](*small, part.facts, part.prompts, batch=4, protocol=protocol(seed=seed)).hits
            for seed in (5, 5, 6)]
    assert (runs[0] == runs[1]).all() and not (runs[0] == runs[2]).all()


def test_the_reader_counts_whole_first_lines_only(llama) -> None:
    model, tokenizer = llama
    reader = rivals.Reader.of(tokenizer, model)

    def ids(text: str) -> list[int]:
        return tokenizer(text)["input_ids"]

    end = [tokenizer.eos_token_id]
    assert reader.count([ids(" Ulm\n"), ids(" Ulm") + end, ids(" Ulm\nParis\n")], "Ulm") == 3
    assert reader.count([ids(" Ulm"), ids(" Ulmer\n"), ids(" Paris\n"), ids("\n Ulm")], "Ulm") == 0


def test_a_full_stop_that_melts_with_the_newline_is_read() -> None:
    tokenizer = TOKENIZERS["qwen"]()
    reader = rivals.Reader.of(tokenizer, tiny_model("qwen2", tokenizer))
    ids = tokenizer(" Apple Inc.\n")["input_ids"]
    assert tokenizer.decode(ids[-1:]) == ".\n"
    assert reader.count([ids], "Apple Inc.") == 1


def test_sampled_labels_follow_the_inequalities_of_the_paper() -> None:
    greedy, hits = np.array([[1, 1], [1, 0], [0, 0], [0, 0]], bool), np.array([[0, 0], [9, 9], [0, 1], [0, 0]])
    assert rivals.Sampled(greedy, hits, 16).labels() == ["HighlyKnown", "MaybeKnown", "WeaklyKnown", "Unknown"]


def test_results_of_several_rounds_are_joined_question_after_question() -> None:
    one, two = rivals.Sampled(np.ones((1, 2), bool), np.array([[1, 2]]), 16), rivals.Sampled.empty(2, 2, 16)
    both = rivals.joined([one, two])
    assert (both.hits.tolist(), both.greedy.shape, both.n_samples) == ([[1, 2], [0, 0], [0, 0]], (3, 2), 16)


def test_lm_eval_gives_the_log_likelihood_of_the_answer_at_temperature_one(llama) -> None:
    pytest.importorskip("lm_eval")
    model, tokenizer = llama
    asked = [Fact(FACTS[row].subject, "P19", text) for row, text in enumerate(TESTED)]
    found = rivals.log_likelihoods(rivals.lm_eval_harness(model, tokenizer), asked, PROMPTS, batch=3)
    for row, fact in enumerate(asked):
        for column, prompt in enumerate(PROMPTS):
            wanted = by_hand(model, tokenizer, prompt, fact)
            assert found.log_probability[row, column] == pytest.approx(wanted, abs=1e-4)


def by_hand(model, tokenizer, prompt: Prompt, fact: Fact) -> float:
    """Natural logarithm of the probability of an answer's tokens, one plain pass."""
    before, ids = (tokenizer(text)["input_ids"] for text in
                   (prompt.text(fact.question), f"{prompt.text(fact.question)} {fact.object}"))
    with torch.inference_mode():
        log_p = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    return sum(float(log_p[at - 1, ids[at]]) for at in range(len(before), len(ids)))


def test_the_best_batch_is_the_fastest_an_item() -> None:
    seconds = {1: 4.0, 2: 2.0, 4: 1.0, 8: 1.5, 16: 1.2}
    found = timing.best_batch(seconds.__getitem__, largest=64, budget=1000)
    assert (found.size, sorted(found.tried)) == (4, [1, 2, 4, 8, 16])  # 8 and 16 are no faster: enough


def test_the_search_for_a_batch_ends_with_its_time_and_its_largest_size() -> None:
    assert sorted(timing.best_batch(lambda size: 1.0 / size, largest=4, budget=1000).tried) == [1, 2, 4]
    assert sorted(timing.best_batch(lambda size: 1.0, largest=64, budget=0.5).tried) == [1]


def test_a_batch_that_does_not_fit_into_memory_ends_the_search() -> None:
    def cost(size: int) -> float:
        if size > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return 1.0 / size

    assert timing.best_batch(cost, largest=64, budget=1000).size == 2


def test_a_failure_other_than_memory_is_not_hidden() -> None:
    def broken(size: int) -> float:
        raise RuntimeError("shapes")

    with pytest.raises(RuntimeError, match="shapes"):
        timing.best_batch(broken, largest=64, budget=1000)


def test_traffic_counts_positions_and_padding(llama) -> None:
    model, tokenizer = llama
    pad = tokenizer.pad_token_id
    with timing.count_traffic(model, {pad}) as traffic, torch.inference_mode():
        model(input_ids=torch.tensor([[5, 6, 7], [8, pad, pad]]), logits_to_keep=1)
    model(input_ids=torch.tensor([[5]]))  # after the block: not counted
    assert (traffic.positions, traffic.filler, traffic.output_rows) == (6, 2, 2)


def test_the_spread_is_relative_to_the_median() -> None:
    assert timing.spread([1.0, 2.0, 4.0]) == 1.5


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


def row(name: str, seconds: float, remark: str = "") -> comparison.Row:
    return comparison.Row(name, f"the {name}", 20, 4, seconds, 0.125, seconds / 0.01, 180.0, 0.04, 45.0, remark)


def report(subject: str, rivals_measured=("sampling", "cached_sampling", "lm_eval")) -> slick.Report:
    rows = (row("ours", 0.01), *(row(name, 0.5 + i) for i, name in enumerate(rivals_measured)))
    labels = agreement.Agreement(20, 15, 0.9876543, 0.9, 0.95)
    found = comparison.Comparison(subject, "a model", 300, 10, 9, rows, labels, {"sampling": {1: 2.0, 2: 1.0}})
    machine = {"date": "2026-11-20", "device": "cpu", "cpu": "Some CPU", "gpu": None, "threads": 2,
               "versions": {"torch": "2.13", "lm_eval": None}}
    return slick.Report(found, (slick.Growth(75, 10, 0.8, 700.0), slick.Growth(300, 10, 3.1, 705.0)),
                        agreement.Precision("bfloat16", 200, 0.995, 0.01, 0.001, 0.99), machine)


def test_the_last_line_is_json_with_the_ratios_of_every_model() -> None:
    found = json.loads(slick.last_line([report("pocket"), report("smollm2-360m-shape")]))
    assert found == {name: {"vs_sampling": 50.0, "vs_cached_sampling": 150.0, "vs_lm_eval": 250.0,
                            "label_agreement": 0.9877} for name in ("pocket", "smollm2-360m-shape")}


def test_cached_sampling_counts_in_its_faster_layout() -> None:
    found = json.loads(slick.last_line([report("pocket", ("tree_sampling", "sampling", "cached_sampling"))]))
    assert found["pocket"]["vs_cached_sampling"] == 50.0


def test_a_rival_that_is_not_installed_is_null() -> None:
    found = json.loads(slick.last_line([report("pocket", ("sampling", "cached_sampling"))]))
    assert found["pocket"]["vs_lm_eval"] is None


def test_the_table_has_a_line_for_every_method_and_all_that_was_measured() -> None:
    text = slick.table(report("pocket"))
    assert "| the sampling | 20 | 4 | 0.5 | 12% | 50.0 | 180 | 4.0% | 45 |  |" in text
    assert all(part in text for part in ("98.8% of 15 ", "90.0% of all", "| 300 | 10 | 3.1 | 705 |", "200 questions",
                                         "2026-11-20, Some CPU, 2 CPU threads, torch 2.13."))


def test_results_are_stored_by_model_device_and_date(tmp_path) -> None:
    slick.store(report("pocket"), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["slick-pocket-cpu-2026-11-20.json",
                                                                "slick-pocket-cpu-2026-11-20.md"]
    stored = json.loads((tmp_path / "slick-pocket-cpu-2026-11-20.json").read_text())
    assert stored["comparison"]["rows"][1]["name"] == "sampling" and stored["machine"]["threads"] == 2


def test_a_quick_run_does_not_replace_a_real_one(tmp_path) -> None:
    slick.store(report("pocket"), tmp_path, quick=True)
    assert (tmp_path / "slick-pocket-cpu-2026-11-20-quick.md").is_file() and len(list(tmp_path.iterdir())) == 2


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


def test_a_relation_that_is_not_there_is_named() -> None:
    with pytest.raises(CourseError, match="P999: .*P131"):
        subjects.parts_of(pocket.load(), questions=6, relations=["P999"])


def test_a_widened_tokenizer_splits_texts_as_before_and_gives_every_token_a_text(small) -> None:
    wide = subjects.widened_tokenizer(5000)
    text = PROMPTS[0].text("Where was ~4321 born?")
    assert len(wide) == 5000 and wide(text)["input_ids"] == small[1](text)["input_ids"]
    assert wide.decode([4321]) == "~4321" and (wide.eos_token_id, wide.pad_token_id) == (0, 1)
