"""Loading in NF4: exact on a CPU in training and evaluation alike, and one clear sentence where nothing can be had."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import bitsandbytes
import pytest
import torch
from safetensors.torch import load_file, save_file

from course_lib.files import CourseError, DataError
from course_lib.knowledge.scoring.engine import score
from course_lib.models import loading
from course_lib.models.checks import INDEX, in_one_sentence
from course_lib.models.four_bit import merged_for_evaluation
from course_lib.models.loading import load
from course_lib.models.presets import PRESETS, default_preset
from course_lib.training.finetune import TuneConfig, add_lora
from tests.support.tiny import FACTS, FEW_SHOT, TOKENIZERS, saved_model

CPUINFO = Path("/proc/cpuinfo")
CPU_REPACKS = CPUINFO.is_file() and "avx512_bf16" in CPUINFO.read_text()


def saved(folder, architecture="llama", **more):
    return saved_model(folder, architecture, TOKENIZERS["gpt2"](), **{"initializer_range": 0.2} | more)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def odd_folder(tmp_path_factory):
    """Layers whose sizes are no multiples of 32 and 64: 72 -> 100 -> 72."""
    return saved(tmp_path_factory.mktemp("odd"), hidden_size=72, intermediate_size=100)


@pytest.fixture
def loaded(folder):
    return load(folder, device="cpu")


ROWS = 400  # of the embeddings: the tokens of that tokenizer
IDS = torch.arange(3, 43).view(2, 20)


def gradients(model):
    """Of all adapter weights; B is not zero, so that A gets a gradient too."""
    model.train()
    model.zero_grad()
    model(input_ids=IDS, labels=IDS, use_cache=False).loss.backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.requires_grad}


def adapted(model):
    model = add_lora(model, TuneConfig(rank=4, seed=1))
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.05)
    return model


def evaluate_once(model):
    model.eval()
    with torch.inference_mode():
        return model(input_ids=IDS, use_cache=False).logits


def linears(model):
    return {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}


# ---------------------------------------------------------------- exact


def merged_once(model):
    with merged_for_evaluation(model):
        return evaluate_once(model)


@pytest.mark.parametrize("evaluate", [lambda model, _: evaluate_once(model), lambda model, _: merged_once(model),
                                      lambda model, tokenizer: score(model, tokenizer, FACTS, [FEW_SHOT])],
                         ids=["a pass", "in one matrix a layer", "scoring"])
def test_evaluation_does_not_change_the_gradients(evaluate, loaded):
    model = adapted(loaded.model)
    before = gradients(model)
    evaluate(model, loaded.tokenizer)
    after = gradients(model)
    assert before and all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.skipif(not CPU_REPACKS, reason="bitsandbytes repacks weights on CPUs with AVX512-BF16 alone")
@pytest.mark.filterwarnings("ignore:.*autograd kernel was not registered")
def test_without_the_cure_the_gradients_would_change(folder, monkeypatch):
    monkeypatch.setattr(loading, "keep_exact_on_cpu", lambda model: model)
    monkeypatch.setattr(loading, "try_out", lambda *_: None)  # an evaluation pass too
    model = adapted(load(folder, device="cpu").model)
    before = gradients(model)
    evaluate_once(model)
    after = gradients(model)
    assert max((after[name] - before[name]).norm() / before[name].norm() for name in before) > 0.05


def test_training_and_evaluation_give_the_same_logits(loaded):
    loaded.model.train()
    with torch.no_grad():
        training = loaded.model(input_ids=IDS, use_cache=False).logits
    assert torch.equal(evaluate_once(loaded.model), training)


def test_layers_of_odd_sizes_are_evaluated(odd_folder):
    model = load(odd_folder, device="cpu").model
    shapes = {module.weight.quant_state.shape for module in linears(model).values()
              if isinstance(module, bitsandbytes.nn.Linear4bit)}
    assert {(100, 72), (72, 100)} <= {tuple(shape) for shape in shapes}
    assert torch.isfinite(evaluate_once(model)).all()


@pytest.mark.parametrize("architecture", ["llama", "olmo2", "qwen2", "neox"])
def test_one_matrix_a_layer_gives_the_logits_of_layer_and_adapter(architecture, tmp_path):
    model = adapted(load(saved(tmp_path, architecture), device="cpu").model)
    apart = evaluate_once(model)
    assert torch.allclose(merged_once(model), apart, atol=2e-4 * apart.abs().max())
    assert torch.equal(evaluate_once(model), apart)


def test_one_matrix_a_layer_leaves_out_an_adapter_that_is_turned_off(loaded):
    model = adapted(loaded.model)
    with model.disable_adapter():
        apart, together = evaluate_once(model), merged_once(model)
    assert torch.allclose(together, apart, atol=2e-4 * apart.abs().max())


# ---------------------------------------------------------------- what is loaded


def test_linear_layers_are_nf4_with_double_quantisation(loaded):
    layers = [module for name, module in linears(loaded.model).items() if name != "lm_head"]
    assert len(layers) == 14 and all(isinstance(layer, bitsandbytes.nn.Linear4bit) for layer in layers)
    for layer in layers:
        state = layer.weight.quant_state
        assert (state.quant_type, state.nested, state.blocksize) == ("nf4", True, 64)
        assert layer.weight.dtype == torch.uint8 and layer.compute_dtype == torch.float32


def test_embeddings_norms_and_the_output_layer_stay_float32(loaded):
    model = loaded.model
    assert type(model.get_output_embeddings()) is torch.nn.Linear
    for module in (model.get_output_embeddings(), model.get_input_embeddings(), model.model.norm):
        assert module.weight.dtype == torch.float32


def test_nothing_of_the_base_is_trained(loaded):
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())
    assert not loaded.model.training


def test_adapters_are_float32_and_stand_on_every_layer_but_the_output(loaded):
    model = add_lora(loaded.model, TuneConfig(rank=4))
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert len(trained) == 2 * 14 and not any("lm_head" in name for name in trained)
    assert all("lora_" in name and parameter.dtype == torch.float32 for name, parameter in trained.items())


def test_four_bit_false_keeps_the_stored_weights(folder):
    stored, model = load_file(folder / "model.safetensors"), load(folder, device="cpu", four_bit=False).model
    assert not any(isinstance(module, bitsandbytes.nn.Linear4bit) for module in model.modules())
    assert all(torch.equal(model.state_dict()[name], weight) for name, weight in stored.items())


def test_bfloat16_weights_are_computed_in_float32_on_a_cpu(tmp_path):
    model = load(saved(tmp_path, stored=torch.bfloat16), device="cpu").model
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32, torch.uint8}


def test_a_result_carries_the_name_of_the_folder(folder, monkeypatch):
    assert load(folder, device="cpu").preset == folder.name
    monkeypatch.chdir(folder)
    assert load(".", device="cpu").preset == folder.name


def test_without_a_gpu_the_pocket_model_is_the_default(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert default_preset() == "pocket" and set(PRESETS) > {"pocket", "smollm2-1.7b"}


# ---------------------------------------------------------------- what cannot be had


def complaint(source):
    with pytest.raises(CourseError) as caught:
        load(source, device="cpu")
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_a_folder_that_is_not_there_is_named(tmp_path):
    assert complaint(tmp_path / "gone").startswith(f"{tmp_path / 'gone'}: ")


def test_a_folder_without_config_is_named(tmp_path):
    assert re.match(rf"{tmp_path}: .*config\.json; .*save_pretrained", complaint(tmp_path))


def write(name, text):
    return name, lambda path: path.write_text(text)


def settings(name="config.json", **values):
    return name, lambda path: path.write_text(json.dumps(json.loads(path.read_text()) | values))


def weights(change):
    """Change each tensor of the weights."""
    def damage(path):
        save_file({name: change(tensor) for name, tensor in load_file(path).items()}, path, {"format": "pt"})
    return "model.safetensors", damage


def sharded(**files):
    """The weights as an index says that they are in these files."""
    def damage(path):
        path.unlink()
        path.with_name(INDEX).write_text(json.dumps({"metadata": {}, "weight_map": files}))
    return "model.safetensors", damage


def in_place_of(name, make):
    return name, lambda path: (path.unlink(), make(path))


# what is done to the folder of a llama with 2 layers, 400 tokens and width 64; and what the sentence must have in it
DAMAGES = {
    "no weights": (in_place_of("model.safetensors", lambda path: None), "model.safetensors"),
    "cut weights": (("model.safetensors", lambda path: path.write_bytes(path.read_bytes()[:-1000])),
                    "model.safetensors"),
    "no weights at all": (write("model.safetensors", "not a model"), "model.safetensors"),
    "a head without an end": (("model.safetensors", lambda path: path.write_bytes(b"\xff" * 7 + b"\x7f{}")),
                              "model.safetensors"),
    "a pipe": (in_place_of("model.safetensors", lambda path: os.mkfifo(path)), "model.safetensors"),
    "a device": (in_place_of("tokenizer.json", lambda path: path.symlink_to("/dev/zero")), "tokenizer.json"),
    "a link to itself": (in_place_of("tokenizer.json", lambda path: path.symlink_to(path)), "tokenizer.json"),
    "integers": (weights(lambda tensor: tensor.to(torch.int8)), " I8"),
    "truths": (weights(lambda tensor: tensor > 0), " BOOL"),
    "NaN": (weights(lambda tensor: tensor * float("nan")), "NaN"),
    "a file outside": (sharded(x="../x.safetensors"), f"{INDEX}: ... '../x.safetensors'"),
    "a pickle in the index": (sharded(x="x.bin"), f"{INDEX}: ... 'x.bin'"),
    "a shard that is lost": (sharded(x="x.safetensors"), "x.safetensors: "),
    "no json": (write("config.json", "{"), "config.json line 1: "),
    "a list": (write("config.json", "[]"), "config.json: "),
    "nested": (write("config.json", "[" * 100_000), "config.json: "),
    "a key twice": (write("config.json", '{"model_type": "llama", "model_type": "gpt2"}'), "'model_type'"),
    "no such model": (write("config.json", '{"model_type": "nothing"}'), "config.json: "),
    "a list as the kind": (settings(model_type=[1]), "config.json: "),
    "text as a size": (settings(hidden_size="x"), "'hidden_size'"),
    "code of the Hub": (settings(attn_implementation="owner/name"), "attn_implementation = 'owner/name'"),
    "weights elsewhere": (settings(transformers_weights="a/x.safetensors"), "transformers_weights = 'a/x.safe"),
    "a size below zero": (settings(hidden_size=-64), "config.json: "),
    "no heads": (settings(num_attention_heads=0), "config.json: "),
    "a large size": (settings(vocab_size=2**40), "config.json: ... 140,737,"),
    "a larger size": (settings(intermediate_size=2**70), "config.json: "),
    "many layers": (settings(num_hidden_layers=100_000), "num_hidden_layers = 100000, "),
    "a constant of zero": (settings(rope_parameters={"rope_type": "default", "rope_theta": 0}), "NaN"),
    "no end": (settings("generation_config.json", eos_token_id=[0, -1]), "_config.json: eos_token_id = [0, -1] "),
    "settings as a list": (write("generation_config.json", "[]"), "generation_config.json: "),
    "no new tokens": (settings("generation_config.json", max_new_tokens=-1), "generation_config.json: "),
    "no tokenizer": (write("tokenizer.json", "{}"), "tokenizer.json or tokenizer_config.json: "),
    "no length": (settings("tokenizer_config.json", model_max_length=[]), "tokenizer_config.json: "),
    "an adapter": (("adapter_config.json", lambda path: path.write_text("{}")), "adapter_config.json"),
}


@pytest.mark.parametrize(("damage", "said"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_folder_is_one_sentence_with_the_file(damage, said, folder, tmp_path):
    copy = tmp_path / "model"
    shutil.copytree(folder, copy)
    name, change = damage
    change(copy / name)
    text = complaint(copy)
    assert text.startswith(str(copy)) and all(part in text for part in said.split(" ... ")) and "; " in text


@pytest.mark.parametrize("tokens", ["new words", ["<|new|>"]], ids=["text", "special"])
def test_a_token_without_an_embedding_is_refused_unless_no_text_gives_it(tokens, folder, tmp_path):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    tokenizer = TOKENIZERS["gpt2"]()
    tokenizer.add_tokens(tokens, special_tokens=tokens == ["<|new|>"])
    tokenizer.save_pretrained(tmp_path)
    if tokens == ["<|new|>"]:
        assert load(tmp_path, device="cpu").tokenizer.convert_tokens_to_ids("<|new|>") == ROWS
    else:
        assert re.search(rf"'new words' .*\b{ROWS}\b.*\b{ROWS}\b", complaint(tmp_path))


def test_integers_that_no_layer_reads_are_left_alone(tmp_path):
    """The files of Pythia hold its attention's masks too."""
    path = saved(tmp_path, "neox") / "model.safetensors"
    mask = {"gpt_neox.layers.0.attention.bias": torch.ones(1, 1, 4, 4, dtype=torch.bool), "steps": torch.tensor(3)}
    save_file(load_file(path) | mask, path, {"format": "pt"})
    assert torch.isfinite(evaluate_once(load(tmp_path, device="cpu").model)).all()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError(), torch.OutOfMemoryError("CUDA out of memory"),
                                   CourseError("ours")], ids=repr)
def test_what_the_folder_is_not_to_blame_for_goes_through(error):
    with pytest.raises(type(error)) as caught, in_one_sentence("here"):
        raise error
    assert caught.value is error


def test_the_librarys_own_error_is_kept_behind_the_sentence():
    with pytest.raises(DataError, match=r"^here: .*\(KeyError 'a'\)") as caught:
        with in_one_sentence("here"):
            {}["a"]
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_hub_id_that_cannot_be_reached_is_named(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    text = complaint("nobody/nothing-of-that-name")
    assert text.startswith("nobody/nothing-of-that-name: ") and "HF_HUB_OFFLINE" in text


def test_a_misspelled_preset_is_told_the_presets_and_how_an_id_is_written():
    text = complaint("pockte")
    assert all(name in text for name in PRESETS) and "owner/name@revision" in text


@pytest.mark.parametrize(("outputs", "inputs"), [(64, 96), (64, 48), (40, 72), (33, 50)])
def test_rows_that_are_not_made_of_whole_blocks_come_back_as_nf4_defines_them(outputs, inputs):
    import bitsandbytes as bnb

    from course_lib.models.four_bit import keep_exact_on_cpu

    torch.manual_seed(0)
    weight = torch.randn(outputs, inputs)
    layer = bnb.nn.Linear4bit(inputs, outputs, bias=False, compute_dtype=torch.float32, quant_type="nf4")
    layer.weight = bnb.nn.Params4bit(weight.clone(), requires_grad=False, quant_type="nf4", compress_statistics=False)
    layer = keep_exact_on_cpu(layer.to("cpu"))
    blocks = torch.nn.functional.pad(weight.flatten(), (0, -weight.numel() % 64)).view(-1, 64)
    scale = blocks.abs().amax(1, keepdim=True)
    levels = bnb.functional.get_4bit_type("nf4", device="cpu")
    nearest = levels[((blocks / scale)[..., None] - levels).abs().argmin(-1)] * scale
    by_hand = nearest.flatten()[:weight.numel()].view(outputs, inputs)
    assert torch.allclose(layer(torch.eye(inputs)).T, by_hand, atol=1e-5)
