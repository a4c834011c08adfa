"""Lessons 00, 02, 03 and 04: what they teach agrees with the libraries."""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import norm

from course_lib.data import entityquestions
from course_lib.data.facts import QUESTIONS, Fact
from course_lib.knowledge.scoring.prompts import Encoded, is_match
from tests.support.lesson_code import taught

# ---------------------------------------------------------------- 02: NF4


@pytest.fixture(scope="module")
def nf4() -> torch.Tensor:
    import bitsandbytes.functional

    return bitsandbytes.functional.get_4bit_type("nf4", device="cpu")


def test_the_derived_levels_are_those_of_bitsandbytes(nf4: torch.Tensor) -> None:
    levels = taught("02_quantise", "nf4_levels")()
    assert len(levels) == 16 and 0.0 in levels
    assert np.abs(levels - nf4.numpy()).max() < 1e-6


def test_each_nf4_level_stands_for_about_the_same_area_of_the_bell_curve() -> None:
    levels = taught("02_quantise", "nf4_levels")() * norm.ppf(1 - (1 / 30 + 1 / 32) / 2)
    borders = [-math.inf, *(levels[1:] + levels[:-1]) / 2, math.inf]
    areas = np.diff(norm.cdf(borders))
    assert areas.sum() == pytest.approx(1)
    assert areas.min() > 0.04 and areas.max() < 0.09


@pytest.mark.parametrize("shape", [(2, 64), (64, 64), (192, 128), (3, 640)])
@pytest.mark.parametrize("block", [64, 128])
@pytest.mark.parametrize("kind", ["normal", "uniform", "heavy tail", "sparse"])
def test_quantising_by_hand_gives_the_bits_of_bitsandbytes(nf4: torch.Tensor, shape: tuple, block: int, kind: str
                                                           ) -> None:
    import bitsandbytes.functional

    quantise, dequantise = taught("02_quantise", "quantise", "dequantise")
    rng = torch.Generator().manual_seed(len(kind))
    weight = torch.randn(shape, generator=rng)
    weight = {"normal": weight, "uniform": torch.rand(shape, generator=rng) - 0.5, "heavy tail": weight ** 5,
              "sparse": weight * (torch.rand(shape, generator=rng) < 0.02)}[kind]
    codes, scale = quantise(weight, nf4, block)
    # flat: on a CPU, bitsandbytes 0.50.2 restores a matrix wrongly where its rows are not made of whole blocks
    packed, state = bitsandbytes.functional.quantize_4bit(weight.flatten(), blocksize=block, quant_type="nf4")
    flat = codes.flatten()
    assert torch.equal(((flat[::2] << 4) | flat[1::2]).to(torch.uint8), packed.flatten())
    restored = bitsandbytes.functional.dequantize_4bit(packed, state)
    assert torch.equal(dequantise(codes, scale, nf4, shape).flatten(), restored.flatten())


def test_a_block_of_zeros_stays_zero(nf4: torch.Tensor) -> None:
    quantise, dequantise = taught("02_quantise", "quantise", "dequantise")
    weight = torch.cat([torch.zeros(1, 64), torch.ones(1, 64)])
    assert torch.equal(dequantise(*quantise(weight, nf4), nf4, weight.shape), weight)


def test_relative_error_is_zero_for_weights_that_are_levels(nf4: torch.Tensor) -> None:
    error = taught("02_quantise", "relative_error", "quantise", "dequantise")[0]
    assert error(nf4.repeat(4), nf4, 64) == 0
    bell = torch.randn(4096, generator=torch.Generator().manual_seed(0))
    assert error(bell, nf4, 64) == pytest.approx(0.09, abs=0.02)


@pytest.mark.parametrize(("sizes", "four_bit", "lora"), [
    ((960, 2560, 32, 320, 49152, True), 0.26, 0.14), ((2048, 8192, 24, 2048, 49152, True), 1.03, 0.29),
    ((2048, 8192, 16, 2048, 100352, False), 1.38, 0.19), ((1536, 8960, 28, 256, 151936, True), 1.14, 0.30),
    ((4096, 14336, 32, 1024, 32768, False), 4.14, 0.67), ((3584, 18944, 28, 512, 152064, False), 5.55, 0.65)])
def test_the_memory_formula_gives_the_sizes_counted_from_the_configurations(sizes: tuple, four_bit: float, lora: float
                                                                            ) -> None:
    memory = taught("02_quantise", "memory", double_bits=4 + 8 / 64 + 32 / (64 * 256))(*sizes)
    assert memory["NF4 + rest (GB)"] == pytest.approx(four_bit, abs=0.01)
    assert memory["LoRA + Adam (GB)"] == pytest.approx(lora, abs=0.006)


def test_stored_bytes_count_every_byte_of_an_unquantised_model() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    stored_bytes, _ = taught("02_quantise", "stored_bytes", "rest_bytes")
    for tied in (True, False):
        model = LlamaForCausalLM(LlamaConfig(hidden_size=64, intermediate_size=128, num_hidden_layers=2, vocab_size=96,
                                             num_attention_heads=1, tie_word_embeddings=tied))
        everything = sum(weight.nbytes for weight in model.parameters())
        assert stored_bytes(model) == {"linear layers": 2 * 4 * (4 * 64 * 64 + 3 * 64 * 128), "everything": everything}


# ---------------------------------------------------------------- 03: LoRA


class OneLayer(torch.nn.Module):
    def __init__(self, inputs: int, outputs: int, bias: bool) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(inputs, outputs, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x)


@pytest.mark.parametrize(("inputs", "outputs", "rank", "alpha", "bias"), [
    (64, 128, 8, 16, False), (96, 32, 4, 32, True), (32, 32, 16, 16, False)])
def test_the_lora_layer_by_hand_is_pefts_in_value_and_gradient(inputs: int, outputs: int, rank: int, alpha: int,
                                                               bias: bool) -> None:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    plain = OneLayer(inputs, outputs, bias)
    ours = taught("03_qlora", "LoRALinear")(plain.linear, rank, alpha)
    x = torch.randn(5, 3, inputs)
    assert torch.equal(ours(x), plain(x))
    theirs = get_peft_model(plain, LoraConfig(r=rank, lora_alpha=alpha, target_modules=["linear"]))
    layer = theirs.base_model.model.linear
    A, B = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    with torch.no_grad():
        B.normal_()
        ours.A.copy_(A)
        ours.B.copy_(B)
    torch.testing.assert_close(ours(x), theirs(x))
    for output in (ours(x), theirs(x)):
        output.pow(2).mean().backward()
    torch.testing.assert_close(ours.A.grad, A.grad)
    torch.testing.assert_close(ours.B.grad, B.grad)
    assert all(weight.grad is None for weight in ours.base.parameters())


def test_labels_hide_the_prompt_and_end_with_the_end_of_text() -> None:
    tokens, labels = taught("03_qlora", "labels_of")(Encoded((5, 6, 7, 8), 2), 0)
    assert tokens == [5, 6, 7, 8, 0]
    assert labels == [-100, -100, 7, 8, 0]


def test_the_loss_by_hand_is_the_first_loss_of_the_library() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    from course_lib.data.facts import FactSet
    from course_lib.knowledge.scoring.prompts import INSTRUCTION, encode_answers
    from course_lib.training.finetune import TuneConfig, remove_lora, tune
    from course_lib.training.mixing import Mix, Row
    from tests.support.tiny import gpt2_like

    tokenizer = gpt2_like()
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=2, vocab_size=420,
                                         num_attention_heads=2, eos_token_id=tokenizer.eos_token_id)).eval()
    loss_of, labels_of = taught("03_qlora", "loss_of", "labels_of")
    nobody = FactSet("nobody", train=(), dev=(), test=(), ood=())
    for fact in (Fact("Ana Ruiz", "P19", "Paris"), Fact("Bo Chen", "P19", "New York City")):
        row = encode_answers(tokenizer, INSTRUCTION, [fact])[0]
        by_hand = loss_of(model, *labels_of(row, tokenizer.eos_token_id)).item()
        one = Mix("D", 0, 0, (Row(fact, "Known"),))
        tuned = tune(model, tokenizer, one, nobody, TuneConfig(epochs=1), progress=False)
        assert tuned.history.records[1].loss == pytest.approx(by_hand, rel=1e-4)
        model = remove_lora(tuned.model)


# ---------------------------------------------------------------- 04: facts


def test_questions_are_filled_in_as_the_library_does() -> None:
    as_question = taught("04_facts_as_questions", "as_question")
    for relation, template in QUESTIONS.items():
        assert as_question("Ana's [X]", template) == Fact("Ana's [X]", relation, "").question


GENERATED = ["Paris", " Paris ", "Paris\n", "\nParis", "Parish", "paris", "Paris.", "", "\n", "Paris\nQ: Who?",
             "Pa ris", "\tParis"]


@pytest.mark.parametrize("generated", GENERATED)
def test_exact_match_judges_as_the_library_does(generated: str) -> None:
    exact = taught("04_facts_as_questions", "exact")
    assert [exact(generated, answer) for answer in ("Paris", "")] == [is_match(generated, a) for a in ("Paris", "")]


def test_the_split_by_hand_is_the_librarys() -> None:
    split = taught("04_facts_as_questions", "split")
    rng = np.random.default_rng(0)

    def some(count: int) -> list[dict]:
        return [{"subject": f"s{rng.integers(40)}", "answers": [f"a{i}" for i in range(rng.integers(1, 3))]}
                for _ in range(count)]

    train_file, test_file = some(60), some(20)
    records = defaultdict(list)
    for name, file in (("train", train_file), ("test", test_file)):
        records[name, "P19"] = [entityquestions.Record(row["subject"], tuple(row["answers"])) for row in file]
    library = entityquestions._build_split(records)
    for ours, theirs in zip(split(train_file, test_file), (library.train, library.test), strict=True):
        assert [(row["subject"], row["answers"][0]) for row in ours] == [(fact.subject, fact.object) for fact in theirs]
    assert 0 < len(library.train) < len(train_file)


def test_the_majority_baseline_is_counted_on_test_facts() -> None:
    baseline = taught("04_facts_as_questions", "majority_baseline")
    train = [Fact(str(i), "P19", answer) for i, answer in enumerate(["Ulm", "Ulm", "Ulm", "Rome"])]
    train += [Fact("x", "P17", "Rome")]
    test = [Fact("t1", "P19", "Ulm"), Fact("t2", "P19", "Rome"), Fact("t3", "P17", "Ulm")]
    table = baseline(train, test)
    assert table["majority answer"].to_dict() == {"P19": "Ulm", "P17": "Rome"}
    assert table["share (%)"].to_dict() == {"P19": 50, "P17": 0}
    assert table["different answers"].to_dict() == {"P19": 2, "P17": 1}


def test_the_baselines_that_lesson_04_quotes_are_those_of_the_public_data(course_data: Path) -> None:
    real = entityquestions.load(course_data, progress=False)
    table = taught("04_facts_as_questions", "majority_baseline")(real.train, real.test)
    overall = (table["share (%)"] * table["n"]).sum() / table["n"].sum()
    assert round(overall, 1) == 11.2
    assert round(table.loc["P495", "share (%)"]) == 72
    assert (table["share (%)"] < 2.15).sum() == 6
