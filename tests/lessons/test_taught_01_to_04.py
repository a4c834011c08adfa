"""Lessons 01 to 04: what they write by hand does what the libraries do."""

import ast
import math
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import norm

from course_lib.data import entityquestions
from course_lib.data.facts import QUESTIONS, Fact, FactSet
from course_lib.knowledge.scoring.prompts import INSTRUCTION, Encoded, Prompt, is_match
from course_lib.training.finetune import Job
from course_lib.training.records import TuneConfig
from tests.support.lessons import cells, taught

# ---------------------------------------------------------------- 01: a form for the answer

FACTS = tuple(Fact(f"S{number}", relation, f"O{number}") for number, relation in enumerate(["P19", "P36"] * 40))
NAMES = ("Rome", "St. John's", "Washington, D.C.", "The answer", "A.", '"Q"', "[A]")


def constants(*names: str) -> dict[str, Any]:
    """The values that the lesson gives to these names by a plain assignment of constants."""
    found: dict[str, Any] = {}
    for source in cells("01", "code"):
        for node in ast.parse(source).body:
            if isinstance(node, ast.Assign):
                targets = [target for each in node.targets for target in getattr(each, "elts", [each])]
                values = node.value.elts if len(targets) > 1 and isinstance(node.value, ast.Tuple) else [node.value]
                found |= {target.id: value.value for target, value in zip(targets, values, strict=False)
                          if getattr(target, "id", "") in names and isinstance(value, ast.Constant)}
    return found


FORMS = constants("FORM", "OLD", "FAR")


def lesson(*names: str, **given: Any) -> Any:
    """Functions of the lesson; ``given`` replaces what the lesson imports or has made before."""
    return taught("01", *names, **FORMS, SIZES=(1, 4), **given)


def test_the_lesson_has_three_forms() -> None:
    assert FORMS == {"FORM": "The answer: [A].", "OLD": "The answer is [A].", "FAR": '{"answer": "[A]"}'}


@pytest.mark.parametrize("form", FORMS.values())
@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_is_put_into_a_form_comes_out_of_it_again(form: str, name: str) -> None:
    in_form, inside = lesson("in_form", "inside")
    written = in_form(Fact("Ida", "P19", name), form)
    assert (written.subject, written.relation) == ("Ida", "P19")
    assert inside(written.object, form) == name


@pytest.mark.parametrize("text", ["Rome", "The answer is Rome.", "The answer: Rome", "the answer: Rome.",
                                  "The answer: .", ""])
def test_a_text_of_another_form_has_nothing_inside(text: str) -> None:
    assert lesson("inside")(text) is None


@pytest.mark.parametrize(("text", "name"), [("Rome", "Rome"), ("The answer: Rome.", "Rome"), ("", ""),
                                            ("The answer is Rome.", "Rome"), ("The answer: Rome", "The answer: Rome")])
def test_the_new_form_and_the_old_one_come_off(text: str, name: str) -> None:
    assert lesson("bare", "inside")[0](text) == name


def test_asking_puts_the_instruction_before_each_question_and_takes_the_greedy_answer() -> None:
    seen: list[str] = []

    def answers(model: str, tokenizer: str, texts: Sequence[str], **options: int) -> list[list[str]]:
        seen.extend(texts)
        return [[f"answer {number}"] for number, _ in enumerate(texts)]

    ask = lesson("ask", scoring=SimpleNamespace(INSTRUCTION=INSTRUCTION, answers=answers), tokenizer="t")
    assert ask("m", FACTS[:2]) == ["answer 0", "answer 1"]
    assert seen == [INSTRUCTION.text(fact.question) for fact in FACTS[:2]]


def test_each_fact_is_asked_after_the_prompt_of_its_own_relation() -> None:
    asked: dict[str, list[Fact]] = {}

    def exact_match(model: str, tokenizer: str, facts: Sequence[Fact], prompt: Prompt) -> np.ndarray:
        asked[prompt.prefix] = list(facts)
        return np.array([fact.subject in ("S0", "S3") for fact in facts])

    knows = lesson("knows", scoring=SimpleNamespace(exact_match=exact_match), model="m", tokenizer="t",
                   shown={"P19": Prompt("born"), "P36": Prompt("capital")})
    assert knows(FACTS[:4]) == {FACTS[0]: True, FACTS[2]: False, FACTS[1]: False, FACTS[3]: True}
    assert asked == {"born": [FACTS[0], FACTS[2]], "capital": [FACTS[1], FACTS[3]]}


def test_rows_keep_their_category_and_carry_the_form() -> None:
    rows = lesson("rows", "in_form")[0]
    known, unknown = rows(FACTS[:2], "Known"), rows(FACTS[:2], "Unknown")
    assert (known.unknown_percent, len(known.known), len(known.unknown)) == (0, 2, 0)
    assert (unknown.unknown_percent, len(unknown.known), len(unknown.unknown)) == (100, 0, 2)
    assert [row.fact.object for row in known.rows] == ["The answer: O0.", "The answer: O1."]


class FakeTraining:
    """Stands for ``finetune``: keeps the jobs; adapter i then answers the first i + 1 test questions right."""

    Job = Job

    def __init__(self) -> None:
        self.jobs: list[Any] = []
        self.active, self.removed = "", 0

    def tune_together(self, model: str, tokenizer: str, jobs: Sequence[Any], *_: Any,
                      **__: Any) -> list[SimpleNamespace]:
        self.jobs = list(jobs)
        return [SimpleNamespace(model=self, adapter=f"run{number}") for number in range(len(jobs))]

    def set_adapter(self, name: str) -> None:
        self.active = name

    def exact_match(self, model: Any, tokenizer: str, facts: Sequence[Fact]) -> np.ndarray:
        assert model is self and all(fact.object.startswith("The answer: ") for fact in facts)
        return np.arange(len(facts)) <= int(self.active[3:])

    def remove_lora(self, model: Any) -> None:
        self.removed += model is self


def curve(training: FakeTraining) -> Callable[..., list[dict[str, Any]]]:
    study = SimpleNamespace(settings=SimpleNamespace(tune=TuneConfig(epochs=16, lr=4e-4)))
    return lesson("few_rows", "rows", "in_form", scoring=training, finetune=training, study=study, test=FACTS[:5],
                  model="m", tokenizer="t", known=list(FACTS), nobody=FactSet("nobody", (), (), (), ()))[0]


def test_few_rows_counts_the_right_answers_of_each_size() -> None:
    training = FakeTraining()
    found = curve(training)(3, sizes=(1, 4, 16))
    assert found == [{"form": FORMS["FORM"], "seed": 3, "rows": size, "right": right}
                     for size, right in ((1, 1), (4, 2), (16, 3))]
    assert training.removed == 1


def test_every_size_is_trained_on_64_rows_so_that_only_the_number_of_different_ones_differs() -> None:
    training = FakeTraining()
    curve(training)(3, sizes=(1, 4, 64))
    shown = [[row.fact.subject for row in job.data.rows] for job in training.jobs]
    assert [(len(names), len(set(names))) for names in shown] == [(64, 1), (64, 4), (64, 64)]
    order = [fact.subject for fact in random.Random(3).sample(list(FACTS), 64)]
    assert [list(dict.fromkeys(names)) for names in shown] == [order[:1], order[:4], order]
    assert len({job.config for job in training.jobs}) == 1


@pytest.mark.slow
def test_sixteen_known_rows_bring_out_most_of_what_the_pocket_model_knows() -> None:
    from course_lib.data import pocket
    from course_lib.experiments.settings import SETTINGS
    from course_lib.knowledge.slick import draw_prompts
    from course_lib.models.loading import load

    base, facts = load("pocket", device="cpu"), pocket.load()
    shown = {relation: prompts[0] for relation, prompts in draw_prompts(facts.exemplars, n_prompts=1, seed=0).items()}
    given = {"model": base.model, "tokenizer": base.tokenizer, "shown": shown, "test": facts.test,
             "study": SimpleNamespace(settings=SETTINGS["pocket"]), "nobody": replace(facts, dev=(), test=(), ood=())}
    knows, few_rows = lesson("knows", "few_rows", "rows", "in_form", **given)[:2]
    candidates = knows(random.Random(0).sample(facts.train, 200))
    few_rows.__globals__["known"] = [fact for fact, right in candidates.items() if right]
    few_shot = sum(knows(facts.test).values())
    assert few_rows(0, sizes=(16,))[0]["right"] >= 0.9 * few_shot
    assert few_rows(0, FORMS["FAR"], (16,))[0]["right"] < 0.1 * few_shot


@pytest.mark.slow
def test_taking_the_form_off_by_hand_gives_the_verdicts_of_exact_match() -> None:
    from course_lib.data import pocket
    from course_lib.knowledge.scoring.engine import exact_match
    from course_lib.models.loading import load

    base, facts = load("pocket", device="cpu"), pocket.load().test[::6]
    ask, in_form, inside = lesson("ask", "in_form", "inside", tokenizer=base.tokenizer)
    said = ask(base.model, facts)
    for form in (FORMS["OLD"], "[A]"):
        by_hand = [inside(text, form) == fact.object for text, fact in zip(said, facts, strict=True)]
        assert sum(by_hand) > 10
        assert by_hand == exact_match(base.model, base.tokenizer, [in_form(fact, form) for fact in facts]).tolist()


# ---------------------------------------------------------------- 02: NF4


@pytest.fixture(scope="module")
def nf4() -> torch.Tensor:
    import bitsandbytes.functional

    return bitsandbytes.functional.get_4bit_type("nf4", device="cpu")


def test_the_derived_levels_are_those_of_bitsandbytes_each_for_about_the_same_area_of_the_bell_curve(
        nf4: torch.Tensor) -> None:
    levels = taught("02", "nf4_levels")()
    assert len(levels) == 16 and 0.0 in levels
    assert np.abs(levels - nf4.numpy()).max() < 1e-6
    scaled = levels * norm.ppf(1 - (1 / 30 + 1 / 32) / 2)
    areas = np.diff(norm.cdf([-math.inf, *(scaled[1:] + scaled[:-1]) / 2, math.inf]))
    assert areas.sum() == pytest.approx(1)
    assert areas.min() > 0.04 and areas.max() < 0.09


@pytest.mark.parametrize("shape", [(2, 64), (64, 64), (192, 128), (3, 640)])
@pytest.mark.parametrize("block", [64, 128])
@pytest.mark.parametrize("kind", ["normal", "uniform", "heavy tail", "sparse"])
def test_quantising_by_hand_gives_the_bits_of_bitsandbytes(nf4: torch.Tensor, shape: tuple, block: int, kind: str
                                                           ) -> None:
    import bitsandbytes.functional

    quantise, dequantise = taught("02", "quantise", "dequantise")
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
    quantise, dequantise = taught("02", "quantise", "dequantise")
    weight = torch.cat([torch.zeros(1, 64), torch.ones(1, 64)])
    assert torch.equal(dequantise(*quantise(weight, nf4), nf4, weight.shape), weight)


def test_relative_error_is_zero_for_weights_that_are_levels(nf4: torch.Tensor) -> None:
    error = taught("02", "relative_error", "quantise", "dequantise")[0]
    assert error(nf4.repeat(4), nf4, 64) == 0
    bell = torch.randn(4096, generator=torch.Generator().manual_seed(0))
    assert error(bell, nf4, 64) == pytest.approx(0.09, abs=0.02)


@pytest.mark.parametrize(("sizes", "four_bit", "lora"), [
    ((960, 2560, 32, 320, 49152, True), 0.26, 0.14), ((2048, 8192, 24, 2048, 49152, True), 1.03, 0.29),
    ((2048, 8192, 16, 2048, 100352, False), 1.38, 0.19), ((1536, 8960, 28, 256, 151936, True), 1.14, 0.30),
    ((4096, 14336, 32, 1024, 32768, False), 4.14, 0.67), ((3584, 18944, 28, 512, 152064, False), 5.55, 0.65)])
def test_the_memory_formula_gives_the_sizes_counted_from_the_configurations(sizes: tuple, four_bit: float, lora: float
                                                                            ) -> None:
    memory = taught("02", "memory", double_bits=4 + 8 / 64 + 32 / (64 * 256))(*sizes)
    assert memory["NF4 + rest (GB)"] == pytest.approx(four_bit, abs=0.01)
    assert memory["LoRA + Adam (GB)"] == pytest.approx(lora, abs=0.006)


def test_stored_bytes_count_every_byte_of_an_unquantised_model() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    stored_bytes, _ = taught("02", "stored_bytes", "rest_bytes")
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
    ours = taught("03", "LoRALinear")(plain.linear, rank, alpha)
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
    tokens, labels = taught("03", "labels_of")(Encoded((5, 6, 7, 8), 2), 0)
    assert tokens == [5, 6, 7, 8, 0]
    assert labels == [-100, -100, 7, 8, 0]


def test_the_loss_by_hand_is_the_first_loss_of_the_library() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    from course_lib.knowledge.scoring.prompts import encode_answers
    from course_lib.training.finetune import remove_lora, tune
    from course_lib.training.mixing import Mix, Row
    from tests.support.tiny import gpt2_like

    tokenizer = gpt2_like()
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=2, vocab_size=420,
                                         num_attention_heads=2, eos_token_id=tokenizer.eos_token_id)).eval()
    loss_of, labels_of = taught("03", "loss_of", "labels_of")
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
    as_question = taught("04", "as_question")
    for relation, template in QUESTIONS.items():
        assert as_question("Ana's [X]", template) == Fact("Ana's [X]", relation, "").question


GENERATED = ["Paris", " Paris ", "Paris\n", "\nParis", "Parish", "paris", "Paris.", "", "\n", "Paris\nQ: Who?",
             "Pa ris", "\tParis"]


@pytest.mark.parametrize("generated", GENERATED)
def test_exact_match_judges_as_the_library_does(generated: str) -> None:
    exact = taught("04", "exact")
    assert [exact(generated, answer) for answer in ("Paris", "")] == [is_match(generated, a) for a in ("Paris", "")]


def test_the_split_by_hand_is_the_librarys() -> None:
    split = taught("04", "split")
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
    baseline = taught("04", "majority_baseline")
    train = [Fact(str(i), "P19", answer) for i, answer in enumerate(["Ulm", "Ulm", "Ulm", "Rome"])]
    train += [Fact("x", "P17", "Rome")]
    test = [Fact("t1", "P19", "Ulm"), Fact("t2", "P19", "Rome"), Fact("t3", "P17", "Ulm")]
    table = baseline(train, test)
    assert table["majority answer"].to_dict() == {"P19": "Ulm", "P17": "Rome"}
    assert table["share (%)"].to_dict() == {"P19": 50, "P17": 0}
    assert table["different answers"].to_dict() == {"P19": 2, "P17": 1}


def test_the_baselines_that_lesson_04_quotes_are_those_of_the_public_data(course_data: Path) -> None:
    real = entityquestions.load(course_data, progress=False)
    table = taught("04", "majority_baseline")(real.train, real.test)
    overall = (table["share (%)"] * table["n"]).sum() / table["n"].sum()
    assert round(overall, 1) == 11.2
    assert round(table.loc["P495", "share (%)"]) == 72
    assert (table["share (%)"] < 2.15).sum() == 6
