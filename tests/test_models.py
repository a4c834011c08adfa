"""Loading in NF4: exact on a CPU in training and evaluation alike, and one clear sentence where nothing can be had."""

from __future__ import annotations

from pathlib import Path

import bitsandbytes
import pytest
import torch
from tiny import FACTS, FEW_SHOT, TOKENIZERS, plain_model

from course_lib import models
from course_lib.files import CourseError
from course_lib.finetune import TuneConfig, add_lora
from course_lib.models import PRESETS, default_preset, load, merged_for_evaluation
from course_lib.scoring import score

CPUINFO = Path("/proc/cpuinfo")
CPU_REPACKS = CPUINFO.is_file() and "avx512_bf16" in CPUINFO.read_text()


def saved(folder, architecture="llama", **more):
    """A random model and its tokenizer, written by save_pretrained; biases are random too."""
    tokenizer = TOKENIZERS["gpt2"]()
    model = plain_model(architecture, tokenizer, initializer_range=0.2, **more)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


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


def test_an_evaluation_pass_does_not_change_the_gradients(loaded):
    model = adapted(loaded.model)
    before = gradients(model)
    evaluate_once(model)
    after = gradients(model)
    assert before and all(torch.equal(after[name], before[name]) for name in before)


def test_scoring_does_not_change_the_gradients(loaded):
    model = adapted(loaded.model)
    before = gradients(model)
    score(model, loaded.tokenizer, FACTS, [FEW_SHOT])
    assert all(torch.equal(gradient, before[name]) for name, gradient in gradients(model).items())


@pytest.mark.skipif(not CPU_REPACKS, reason="bitsandbytes repacks weights on CPUs with AVX512-BF16 alone")
@pytest.mark.filterwarnings("ignore:.*autograd kernel was not registered")
def test_without_the_cure_the_gradients_would_change(folder, monkeypatch):
    monkeypatch.setattr(models, "keep_exact_on_cpu", lambda model: model)
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
    with merged_for_evaluation(model):
        together = evaluate_once(model)
    assert torch.allclose(together, apart, atol=2e-4 * apart.abs().max())
    assert torch.equal(evaluate_once(model), apart)


def test_one_matrix_a_layer_leaves_out_an_adapter_that_is_turned_off(loaded):
    model = adapted(loaded.model)
    with model.disable_adapter():
        apart = evaluate_once(model)
        with merged_for_evaluation(model):
            together = evaluate_once(model)
    assert torch.allclose(together, apart, atol=2e-4 * apart.abs().max())


def test_gradients_are_the_same_after_an_evaluation_in_one_matrix_a_layer(loaded):
    model = adapted(loaded.model)
    before = gradients(model)
    with merged_for_evaluation(model):
        evaluate_once(model)
    assert all(torch.equal(gradient, before[name]) for name, gradient in gradients(model).items())


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
    from safetensors.torch import load_file

    stored, model = load_file(folder / "model.safetensors"), load(folder, device="cpu", four_bit=False).model
    assert not any(isinstance(module, bitsandbytes.nn.Linear4bit) for module in model.modules())
    assert all(torch.equal(model.state_dict()[name], weight) for name, weight in stored.items())


def test_bfloat16_weights_are_computed_in_float32_on_a_cpu(tmp_path):
    tokenizer = TOKENIZERS["gpt2"]()
    plain_model("llama", tokenizer).to(torch.bfloat16).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert {parameter.dtype for parameter in load(tmp_path, device="cpu").model.parameters()} == {torch.float32,
                                                                                                torch.uint8}


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
    text = complaint(tmp_path / "gone")
    assert str(tmp_path / "gone") in text and "no such folder; check the path" in text


def test_a_folder_without_config_is_named(tmp_path):
    assert complaint(tmp_path) == f"{tmp_path}: no config.json; give a folder written by save_pretrained"


@pytest.mark.parametrize("damage", ["no weights", "cut weights", "no weights at all", "no json", "no such model",
                                    "no tokenizer"])
def test_a_damaged_folder_is_named_with_the_cure(damage, tmp_path):
    saved(tmp_path)
    weights = tmp_path / "model.safetensors"
    if damage == "no weights":
        weights.unlink()
    elif damage == "cut weights":
        weights.write_bytes(weights.read_bytes()[:-1000])
    elif damage == "no weights at all":
        weights.write_bytes(b"not a model")
    elif damage == "no json":
        (tmp_path / "config.json").write_text("{")
    elif damage == "no such model":
        (tmp_path / "config.json").write_text('{"model_type": "nothing"}')
    else:
        (tmp_path / "tokenizer.json").write_text("{}")
    text = complaint(tmp_path)
    assert text.startswith(f"{tmp_path}: no model could be loaded (") and "a folder written by save_pretrained" in text


def test_a_hub_id_that_cannot_be_reached_is_named(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    text = complaint("nobody/nothing-of-that-name")
    assert text.startswith("nobody/nothing-of-that-name: is not in ") and "HF_HUB_OFFLINE forbids" in text


def test_a_misspelled_preset_is_told_the_presets_and_how_an_id_is_written():
    text = complaint("pockte")
    assert all(name in text for name in PRESETS) and "write owner/name or owner/name@revision" in text


@pytest.mark.parametrize(("outputs", "inputs"), [(64, 96), (64, 48), (40, 72), (33, 50)])
def test_rows_that_are_not_made_of_whole_blocks_come_back_as_nf4_defines_them(outputs, inputs):
    import bitsandbytes as bnb

    from course_lib.models import keep_exact_on_cpu

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


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_dtype_can_be_chosen_for_a_model_that_overflows(device, monkeypatch):
    monkeypatch.setenv("COURSE_DTYPE", "float32")
    assert models.device_dtype(device) == "float32"


def test_a_dtype_that_is_none_is_refused(monkeypatch):
    monkeypatch.setenv("COURSE_DTYPE", "fp8")
    with pytest.raises(CourseError, match="COURSE_DTYPE=fp8: give one of float16, bfloat16, float32, or leave"):
        models.device_dtype("cpu")
