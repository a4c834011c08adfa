"""Llama, OLMo-2, Qwen2, GPT-NeoX and Mistral, each with a byte-level and a sentencepiece-like tokenizer, all the way.

Tiny random models are written by save_pretrained and read by :func:`.loading.load`, as those of the Hub are.
What must be found in them (layers, ends, boundaries) is written out by hand here. The proofs of the scores themselves
are in test_engine.py and test_scoring_proofs.py; here they are repeated on models that were loaded in 4 bits.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import bitsandbytes
import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import BertConfig, BertForMaskedLM, LlamaModel, T5Config, T5ForConditionalGeneration

from course_lib.data.facts import Fact, FactSet
from course_lib.files import CourseError
from course_lib.knowledge.scoring.engine import score
from course_lib.knowledge.scoring.prompts import INSTRUCTION, encode, end_tokens
from course_lib.knowledge.scoring.token_paths import lay_out
from course_lib.models import hardware
from course_lib.models.loading import Loaded, load
from course_lib.models.tokenizer import read_tokenizer
from course_lib.training import loop as training_loop
from course_lib.training.finetune import TuneConfig, Tuned, add_lora, remove_lora, tune
from course_lib.training.loop import Loop
from course_lib.training.mixing import Mix, Row
from course_lib.training.runs import writer as runs
from course_lib.training.runs.folder import RunSpec
from course_lib.training.runs.writer import open_run
from tests.support.plain_passes import Draw, check_greedy, without_cache, written_greedily
from tests.support.tiny import FACTS as ASKED
from tests.support.tiny import (
    FEW_SHOT,
    PLAIN,
    SUBJECTS,
    TOKENIZERS,
    let_texts_end,
    pair_marks,
    plain_model,
    saved_model,
)

ATTENTION = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"]
GATED = [*ATTENTION, "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
NEOX = ["attention.query_key_value", "attention.dense", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h"]
LINEAR = {"neox": [f"gpt_neox.layers.{layer}.{name}" for layer in (0, 1) for name in NEOX]} | {
    architecture: [f"model.layers.{layer}.{name}" for layer in (0, 1) for name in GATED]
    for architecture in ("llama", "olmo2", "qwen2", "mistral")}
OUTPUT = ("lm_head", "embed_out")  # GPT-NeoX: embed_out up to transformers 5.1x, lm_head after
ARCHITECTURES = tuple(LINEAR)

# what ends an answer; and what ends "Apple Inc." when its full stop is written in one token with the newline
ENDS = {"gpt2": {"<|endoftext|>", "Ċ"}, "qwen": {"<|endoftext|>", "Ċ", "ĊĊ"}, "llama": {"</s>", "<0x0A>"},
        "unigram": {"</s>", "<0x0A>"}}
MERGED = {"gpt2": None, "qwen": {".Ċ", ".ĊĊ"}, "llama": None, "unigram": None}
BEGINNINGS = {"gpt2": 0, "qwen": 0, "llama": 1, "unigram": 1}  # <s> at the start; the byte-level ones put nothing

PAIRS = [pytest.param((architecture, name), id=f"{architecture}-{name}", marks=pair_marks(architecture, name))
         for architecture in ARCHITECTURES for name in TOKENIZERS]

ROWS = tuple(Row(Fact(subject, relation, answer), category) for subject, relation, answer, category in [
    *((subject, "P19", answer, "HighlyKnown") for subject, answer in zip(
        SUBJECTS, ["Paris", "Ulm", "Rome (Italy)", "São Tomé", "A.B.", "1984", "Apple Inc.", "Paris"], strict=True)),
    *((subject, "P40", answer, "Unknown") for subject, answer in zip(SUBJECTS[:4], ["Bo", "Eva", "Ana", "Gil"],
                                                                     strict=True))])
DATA = Mix("D", 33.3, 0, ROWS)
SPLITS = FactSet("invented", tuple(row.fact for row in ROWS), tuple(row.fact for row in ROWS[:3]),
                 tuple(row.fact for row in ROWS[:2]), (Fact("Ida", "P50", "Jo"),))
CONFIG = TuneConfig(epochs=2, lr=5e-3, warmup=0, rank=4, alpha=8, batch=4)
IDS = torch.arange(3, 43).view(2, 20)


@dataclass(frozen=True)
class Pair:
    """A folder with a model of this architecture and a tokenizer of this kind."""

    architecture: str
    name: str
    folder: Path

    def load(self) -> Loaded:
        return load(self.folder, device="cpu")


@pytest.fixture(scope="module", params=PAIRS)
def pair(request: pytest.FixtureRequest, tokenizers: dict, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    architecture, name = request.param
    return Pair(architecture, name, saved_model(tmp_path_factory.mktemp("base"), architecture, tokenizers[name]))


@pytest.fixture(scope="module")
def base(pair: Pair) -> Loaded:
    """For tests that change nothing."""
    return pair.load()


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.inference_mode():
        return model.eval()(input_ids=IDS, use_cache=False).logits


def loop_of(base: Loaded) -> Loop:
    return Loop(add_lora(base.model, CONFIG), base.tokenizer, ["default"], [DATA], [CONFIG])


def four_bit(model: torch.nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, bitsandbytes.nn.Linear4bit)]


# ---------------------------------------------------------------- loads in 4 bits, finds its layers


def test_exactly_the_linear_layers_of_the_blocks_are_in_nf4(pair: Pair, base: Loaded) -> None:
    assert sorted(four_bit(base.model)) == sorted(LINEAR[pair.architecture])
    assert {base.model.get_submodule(name).weight.quant_state.quant_type for name in four_bit(base.model)} == {"nf4"}
    [(name, head)] = [(name, module) for name, module in base.model.named_modules() if type(module) is torch.nn.Linear]
    assert name in OUTPUT and head is base.model.get_output_embeddings() and head.weight.dtype == torch.float32


def test_the_tokens_of_a_loaded_tokenizer_are_those_that_its_file_gives(pair: Pair, base: Loaded) -> None:
    """transformers 5 builds a Qwen2's tokenizer anew, whatever tokenizer.json says."""
    written = Tokenizer.from_file(str(pair.folder / "tokenizer.json"))
    for text in [prompt.text(fact.question) + f" {fact.object}\n" for prompt in (FEW_SHOT, PLAIN) for fact in ASKED]:
        assert base.tokenizer(text)["input_ids"] == written.encode(text).ids


# ---------------------------------------------------------------- ends and boundaries


def strings(tokenizer, tokens) -> set[str]:
    return set(tokenizer.convert_ids_to_tokens(list(tokens)))


def test_an_answer_ends_with_the_tokens_that_the_vocabulary_shows(pair: Pair, base: Loaded) -> None:
    assert strings(base.tokenizer, end_tokens(base.tokenizer, base.model)) == ENDS[pair.name]


def test_a_full_stop_that_merges_with_the_newline_is_a_second_way_to_end(pair: Pair, base: Loaded) -> None:
    [layout] = lay_out(base.tokenizer, base.model, [PLAIN], [Fact("Bo", "P19", "Apple Inc.")])
    ends = [strings(base.tokenizer, row.ends) for row in layout.rows]
    assert ends == [ENDS[pair.name], *([MERGED[pair.name]] if MERGED[pair.name] else [])]


@pytest.mark.parametrize("prompt", [FEW_SHOT, INSTRUCTION, PLAIN], ids=["few-shot", "instruction", "plain"])
def test_the_boundary_between_prompt_and_answer_is_clean(prompt, pair: Pair, base: Loaded) -> None:
    tokenizer = base.tokenizer
    before = encode(tokenizer, [prompt.text(fact.question) for fact in ASKED])
    whole = encode(tokenizer, [f"{prompt.text(fact.question)} {fact.object}" for fact in ASKED])
    for fact, asked, tokens in zip(ASKED, before, whole, strict=True):
        assert tokens[:len(asked)] == asked
        assert tokenizer.decode(tokens[len(asked):]).strip() == fact.object
        begun = BEGINNINGS[pair.name]
        assert tokenizer.bos_token_id not in tokens[begun:] and tokens[:begun] == [tokenizer.bos_token_id] * begun
        assert tokenizer.eos_token_id not in tokens


def test_rows_to_be_learnt_are_instruction_question_answer_and_one_end(pair: Pair, base: Loaded) -> None:
    for row, target in zip(ROWS, training_loop._targets(base.tokenizer, DATA), strict=True):
        asked, learnt = target.tokens[:target.start], target.tokens[target.start:]
        assert base.tokenizer.decode(learnt[:-1]).strip() == row.fact.object
        assert base.tokenizer.decode(asked[BEGINNINGS[pair.name]:]).strip() == (
            f"Answer the following question.\n{row.fact.question}")
        assert [i for i, token in enumerate(target.tokens) if token == base.tokenizer.eos_token_id] == [
            len(target.tokens) - 1]


# ---------------------------------------------------------------- scores


def test_exact_probabilities_are_those_of_single_passes(base: Loaded) -> None:
    facts = [Fact(SUBJECTS[0], "P19", answer) for answer in ("Paris", "Apple Inc.", "São Tomé")]
    found = score(base.model, base.tokenizer, facts, [FEW_SHOT, PLAIN], temperature=1.3, top_k=0).log_probability
    for (row, column), value in np.ndenumerate(found):
        text = (FEW_SHOT, PLAIN)[column].text(facts[row].question)
        expected = without_cache(base.model, base.tokenizer, text, facts[row].object, Draw(1.3, 0))
        assert expected > 0 and value == pytest.approx(math.log(expected), abs=1e-4)


def test_greedy_bits_are_what_generate_writes(pair: Pair) -> None:
    base, asked = pair.load(), [PLAIN.text(f"Where was {subject} born?") for subject in SUBJECTS]
    let_texts_end(base.model, base.tokenizer, asked)
    lines = {text and text.split("\n")[0].strip() for text in written_greedily(base.model, base.tokenizer, asked)}
    assert lines - {None, ""}, "some texts end, and not at once"
    assert set(check_greedy(base.model, base.tokenizer, [PLAIN])) == {True, False}


# ---------------------------------------------------------------- tunes, saves, loads


@dataclass(frozen=True)
class Finished:
    """A run of two epochs: its folder, the tuned model, and the bytes of the base before and after."""

    folder: Path
    tuned: Tuned
    before: dict[str, torch.Tensor]
    after: dict[str, torch.Tensor]


def bytes_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Everything that the base consists of: packed weights, their scales, embeddings, norms, biases."""
    return {name.replace("base_model.model.", "").replace(".base_layer", ""): tensor.detach().clone()
            for name, tensor in model.state_dict().items() if "lora_" not in name}


@pytest.fixture(scope="module")
def finished(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    base = pair.load()
    before = bytes_of(base.model)
    spec = RunSpec(base.preset, DATA.variant, DATA.unknown_percent, DATA.seed, len(ROWS), CONFIG, "base", "labels")
    root = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch, open_run(spec, root) as writer:
        patch.setattr(runs, "_commit", lambda: "none")  # to ask git takes longer than to train
        tuned = tune(base.model, base.tokenizer, DATA, SPLITS, CONFIG, progress=False, on_epoch=writer.epoch)
        writer.finish(tuned.model.peft_config["default"])
    return Finished(spec.folder(root), tuned, before, bytes_of(tuned.model))


def test_adapters_stand_on_exactly_the_linear_layers_of_the_blocks(pair: Pair, finished: Finished) -> None:
    trained = [name for name, weight in finished.tuned.model.named_parameters() if weight.requires_grad]
    wanted = sorted(f"base_model.model.{layer}.lora_{part}" for layer in LINEAR[pair.architecture] for part in "AB")
    assert sorted(trained) == [f"{name}.default.weight" for name in wanted]
    assert sorted(load_file(finished.folder / "adapter" / "adapter_model.safetensors")) == [
        f"{name}.weight" for name in wanted]


def test_two_epochs_lower_the_loss(finished: Finished) -> None:
    first, second = (record.loss for record in finished.tuned.history.records[1:])
    assert second < first - 0.2


def test_tuning_leaves_every_byte_of_the_base_as_it_was(finished: Finished) -> None:
    assert finished.before.keys() == finished.after.keys() and any("absmax" in name for name in finished.before)
    assert all(torch.equal(tensor, finished.after[name]) for name, tensor in finished.before.items())


def test_an_adapter_of_a_run_loads_with_plain_peft_on_a_fresh_base_and_gives_the_same_logits(
        pair: Pair, finished: Finished) -> None:
    fresh = pair.load().model
    untuned = logits(fresh)
    again = logits(PeftModel.from_pretrained(fresh, finished.folder / "adapter"))
    assert torch.equal(again, logits(finished.tuned.model)) and (again - untuned).abs().max() > 0.1


def test_a_finished_run_holds_text_and_safetensors_alone(finished: Finished) -> None:
    endings = {path.suffix for path in finished.folder.rglob("*") if path.is_file() and path.name != ".lock"}
    assert endings == {".json", ".jsonl", ".safetensors"}
    for path in finished.folder.rglob("*.json*"):
        path.read_text(encoding="utf-8")


# ---------------------------------------------------------------- float16, as on a T4


def load_in(dtype: str, folder: Path) -> Loaded:
    """What :func:`load` gives on a device that computes in ``dtype``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hardware, "device_dtype", lambda device=None: dtype)
        base = load(folder, device="cpu")
    assert base.model.dtype == getattr(torch, dtype)
    return base


@pytest.fixture(scope="module", params=ARCHITECTURES)
def both(request: pytest.FixtureRequest, tokenizers: dict, tmp_path_factory: pytest.TempPathFactory) -> list[Loaded]:
    """In float32 and in float16. The files hold bfloat16, as on the Hub: both quantise the same numbers."""
    folder = saved_model(tmp_path_factory.mktemp("stored"), request.param, tokenizers["gpt2"], stored=torch.bfloat16)
    return [load_in(dtype, folder) for dtype in ("float32", "float16")]


def losses(base: Loaded) -> Iterator[float]:
    """Of two epochs."""
    loop = loop_of(base)
    [state] = loop.states
    assert loop.packed and state.scaler.is_enabled() == (base.model.dtype == torch.float16)
    for epoch in (1, 2):
        yield from loop.epoch(epoch)
        assert {weight.dtype for weight in state.weights.values()} == {torch.float32}
        assert torch.isfinite(state.vector).all()
    assert state.steps == 6, "three batches an epoch, and none is lost"
    remove_lora(loop.model)


def test_training_in_float16_follows_float32_within_a_five_hundredth(both: list[Loaded]) -> None:
    exact, half = (list(losses(base)) for base in both)
    assert half == pytest.approx(exact, rel=0.002) and half[1] < half[0]


def test_scores_in_float16_are_those_in_float32_within_two_hundredths_of_a_nat(both: list[Loaded]) -> None:
    """The answers have up to 46 nats."""
    exact, half = (score(base.model, base.tokenizer, ASKED[:6], [FEW_SHOT, PLAIN], temperature=1, top_k=0)
                   for base in both)
    np.testing.assert_allclose(half.log_probability, exact.log_probability, rtol=0, atol=0.02)
    assert not half.problems and exact.log_probability.min() < -30
    assert ((half.greedy == exact.greedy) | (exact.margin < 0.01)).all()


# ---------------------------------------------------------------- shapes that real models have


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_output_layer_tied_to_the_embeddings_stays_tied_and_full(
        architecture: str, tokenizers: dict, tmp_path: Path) -> None:
    folder = saved_model(tmp_path, architecture, tokenizers["gpt2"], tie_word_embeddings=True)
    base = load(folder, device="cpu")
    head, embeddings = base.model.get_output_embeddings().weight, base.model.get_input_embeddings().weight
    assert head is embeddings and head.dtype == torch.float32
    assert sorted(four_bit(base.model)) == sorted(LINEAR[architecture])
    before, loop = head.clone(), loop_of(base)
    assert loop.epoch(1)[0] > loop.epoch(2)[0]
    assert sorted(name.removeprefix("base_model.model.") for name in loop.model.targeted_module_names) == sorted(
        LINEAR[architecture])
    assert head is base.model.get_output_embeddings().weight and torch.equal(head, before)


def test_weights_in_many_files_and_in_bfloat16_load_as_in_one(tokenizers: dict, tmp_path: Path) -> None:
    model, tokenizer = plain_model("olmo2", tokenizers["gpt2"]).to(torch.bfloat16), tokenizers["gpt2"]
    for name, more in (("one", {}), ("many", {"max_shard_size": "50KB"})):
        model.save_pretrained(tmp_path / name, **more)
        tokenizer.save_pretrained(tmp_path / name)
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 3
    one, many = (load(tmp_path / name, device="cpu").model for name in ("one", "many"))
    assert one.dtype == torch.float32 and torch.equal(logits(one), logits(many))


def test_a_vocabulary_larger_than_the_tokenizer_is_scored_and_tuned(tokenizers: dict, tmp_path: Path) -> None:
    base = load(saved_model(tmp_path, "qwen2", tokenizers["qwen"], padded=37), device="cpu")
    assert base.model.get_input_embeddings().weight.shape[0] == len(base.tokenizer) + 37
    assert np.isfinite(score(base.model, base.tokenizer, ASKED, [PLAIN], top_k=0).log_probability).all()
    loop = loop_of(base)
    assert loop.epoch(1)[0] > loop.epoch(2)[0]


def test_without_a_padding_token_that_the_model_knows_all_works_the_same(tmp_path: Path) -> None:
    """"[PAD]" is added to the tokenizer alone, as many do: the model has no embedding for it."""
    found = []
    for padding in ("<unk>", None, "[PAD]"):
        tokenizer, folder = TOKENIZERS["llama"](), tmp_path / str(padding)
        saved_model(folder, "llama", tokenizer)
        tokenizer.pad_token = padding
        tokenizer.save_pretrained(folder)
        base = load(folder, device="cpu")
        assert base.tokenizer.pad_token == (padding if padding == "<unk>" else None)
        scores = score(base.model, base.tokenizer, ASKED, [FEW_SHOT]).log_probability
        found.append((scores.tolist(), loop_of(base).epoch(1)))
    assert found[0] == found[1] == found[2]


def test_a_sliding_window_that_hides_a_part_of_a_row_is_padded_and_tuned(tokenizers: dict, tmp_path: Path) -> None:
    """A wider one is packed, as all models of the float16 tests are."""
    loop = loop_of(load(saved_model(tmp_path, "mistral", tokenizers["gpt2"], sliding_window=8), device="cpu"))
    assert not loop.packed
    assert loop.epoch(1)[0] > loop.epoch(2)[0]


def test_biases_of_a_qwen2s_attention_are_kept_and_used(tokenizers: dict, tmp_path: Path) -> None:
    base = load(saved_model(tmp_path, "qwen2", tokenizers["qwen"]), device="cpu")
    biased = {name.rpartition(".")[2] for name in four_bit(base.model)
              if base.model.get_submodule(name).bias is not None}
    assert biased == {"q_proj", "k_proj", "v_proj"}
    with_bias = logits(base.model)
    base.model.model.layers[0].self_attn.v_proj.bias.zero_()
    assert (logits(base.model) - with_bias).abs().max() > 0.01


@pytest.mark.parametrize("listed", ["Qwen2Tokenizer", "GPT2Tokenizer", "GPTNeoXTokenizerFast", "LlamaTokenizer", None])
@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("architecture", ["llama", "qwen2", "neox"])
def test_whatever_class_the_folder_names_the_tokens_are_those_of_its_file(
        architecture: str, name: str, listed: str | None, tokenizers: dict, tmp_path: Path) -> None:
    plain_model(architecture, tokenizers[name]).config.save_pretrained(tmp_path)
    tokenizers[name].save_pretrained(tmp_path)
    change(tmp_path / "tokenizer_config.json", tokenizer_class=listed)
    found = read_tokenizer(tmp_path)
    written = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for fact in ASKED:
        text = FEW_SHOT.text(fact.question) + f" {fact.object}\n"
        assert found(text)["input_ids"] == written.encode(text).ids
    assert found.eos_token == tokenizers[name].eos_token


# ---------------------------------------------------------------- what is refused, in one sentence


def change(path: Path, **values) -> None:
    """Set values of a JSON file; None takes one out."""
    settings = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: value for key, value in settings.items() if value is not None}))


@pytest.fixture
def folder(tokenizers: dict, tmp_path: Path) -> Path:
    plain_model("llama", tokenizers["gpt2"]).save_pretrained(tmp_path)
    tokenizers["gpt2"].save_pretrained(tmp_path)
    return tmp_path


def complaint(folder: Path) -> str:
    """What load says, as a learner sees it; a warning would be a second voice."""
    with warnings.catch_warnings(), pytest.raises(CourseError) as caught:
        warnings.simplefilter("error")
        load(folder, device="cpu")
    text = str(caught.value)
    assert text.startswith(str(folder)) and "\n" not in text
    return text


TINY_BERT = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.mark.parametrize(("make", "kind"), [
    (lambda: BertForMaskedLM(BertConfig(vocab_size=400, **TINY_BERT)), "BertForMaskedLM"),
    (lambda: T5ForConditionalGeneration(T5Config(vocab_size=400, d_model=32, d_kv=8, d_ff=32, num_layers=1,
                                                 num_heads=2)), "T5ForConditionalGeneration"),
    (lambda: LlamaModel(plain_model("llama", TOKENIZERS["gpt2"]()).config), "LlamaModel")], ids=["BERT", "T5", "body"])
def test_a_model_that_does_not_predict_the_next_token_is_named(make, kind: str, folder: Path) -> None:
    make().save_pretrained(folder)
    assert kind in complaint(folder)


def test_an_output_layer_that_is_not_in_the_files_is_not_made_up(
        folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    LlamaModel(plain_model("llama", TOKENIZERS["gpt2"]()).config).save_pretrained(folder)
    change(folder / "config.json", architectures=["LlamaForCausalLM"])
    text = complaint(folder)
    assert "lm_head.weight" in text and "(1 " in text
    assert "MISSING" not in capfd.readouterr().err, "transformers' own table stays away"


@pytest.mark.parametrize("name", ["embed_out.weight", "lm_head.weight"])
def test_both_names_of_a_gpt_neoxs_output_layer_are_read(name: str, tokenizers: dict, tmp_path: Path) -> None:
    """Pythia's files say embed_out, as transformers 5.9 does; later ones call it lm_head, and read both."""
    if name == "lm_head.weight" and name not in plain_model("neox", tokenizers["gpt2"]).state_dict():
        pytest.skip("this transformers knows embed_out alone")
    saved_model(tmp_path, "neox", tokenizers["gpt2"])
    weights = load_file(tmp_path / "model.safetensors")
    [old] = {"embed_out.weight", "lm_head.weight"} & set(weights)
    head = weights.pop(old)
    save_file(weights | {name: head}, tmp_path / "model.safetensors", {"format": "pt"})
    assert torch.equal(load(tmp_path, device="cpu").model.get_output_embeddings().weight, head)


def test_weights_of_another_size_than_the_config_says_are_named(folder: Path) -> None:
    change(folder / "config.json", intermediate_size=64)
    text = complaint(folder)
    assert "(128, 64)" in text and "config.json" in text and "(64, 64)" in text


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "neox"])
def test_a_folder_without_a_tokenizer_is_told_how_to_get_one(architecture: str, tokenizers: dict,
                                                             tmp_path: Path) -> None:
    plain_model(architecture, tokenizers["gpt2"]).save_pretrained(tmp_path)
    assert "tokenizer.save_pretrained" in complaint(tmp_path)


class Ran:
    """An object whose pickle writes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "consolidated.00.pth"])
def test_pickled_weights_are_refused_and_not_read(name: str, folder: Path) -> None:
    torch.save({"weights": Ran(folder / "ran")}, folder / name)
    (folder / "model.safetensors").unlink()
    text = complaint(folder)
    assert name in text and "model.safetensors" in text
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("kind", ["llama", "its-own"])
@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_a_model_that_wants_to_run_code_is_refused_and_nothing_runs(name: str, kind: str, folder: Path) -> None:
    (folder / "own.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\nclass Own: pass\n")
    change(folder / "config.json", model_type=kind)
    change(folder / name, auto_map={"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own",
                                    "AutoTokenizer": ["own.Own", None]})
    text = complaint(folder)
    assert "auto_map" in text and name in text and not (folder / "ran").exists()


def test_weights_that_are_quantised_already_are_refused(folder: Path) -> None:
    change(folder / "config.json", quantization_config={"quant_method": "gptq", "bits": 4})
    assert "gptq" in complaint(folder)
