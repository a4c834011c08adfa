"""From a preset or a path to a tokenizer and a 4-bit model: the one place that knows bitsandbytes and its traps.

The base is stored in NF4 with double quantisation (QLoRA, Dettmers et al. 2023, arXiv 2305.14314): 4 bits a
weight in blocks of 64, one scale a block, the scales themselves in 8 bits. Embeddings, norms and the output layer
are not quantised; they are held in the dtype that the device computes in. Adapters are float32 on every device.

bitsandbytes 0.50 on a CPU with AVX512-BF16 repacks a layer's weights in its first evaluation pass. From then on
the gradient through the frozen base is silently dropped, evaluation computes in bfloat16 whatever was asked for,
and layers with odd sizes crash. On every CPU, weights come back wrong where a row is not made of whole blocks of 64.
:func:`keep_exact_on_cpu` turns the repacking off and restores such rows itself.
"""

from __future__ import annotations

import copy
import functools
import logging
import math
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from course_lib.files import CourseError
from course_lib.hardware import compute_dtype, free_memory

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["POCKET_MODEL", "PRESETS", "Loaded", "Preset", "default_preset", "device_dtype", "keep_exact_on_cpu",
           "dense_fits", "dequantised", "is_four_bit", "load", "merged_for_evaluation"]

POCKET_MODEL = Path(__file__).parent / "pocket" / "model"


@dataclass(frozen=True, slots=True)
class Preset:
    """A base model: a Hub id or a folder, and the data set that goes with it ("pocket" or "entityquestions")."""

    name: str
    source: str
    facts: str = "entityquestions"


PRESETS: dict[str, Preset] = {preset.name: preset for preset in (
    Preset("pocket", str(POCKET_MODEL), "pocket"),
    Preset("smollm2-360m", "HuggingFaceTB/SmolLM2-360M"),
    Preset("smollm2-1.7b", "HuggingFaceTB/SmolLM2-1.7B"),
    Preset("olmo2-1b", "allenai/OLMo-2-0425-1B"),
    Preset("qwen2.5-1.5b", "Qwen/Qwen2.5-1.5B"),
)}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model and its tokenizer, with the name that every result of theirs must carry."""

    preset: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


def default_preset() -> str:
    """The pocket model without a GPU, SmolLM2-1.7B with one."""
    import torch

    return "smollm2-1.7b" if torch.cuda.is_available() else "pocket"


def device_dtype(device: str | None = None) -> str:
    """The dtype, by name, that a model computes in on this device (default: the GPU if there is one)."""
    import torch

    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return compute_dtype(torch.cuda.get_device_capability() if device.startswith("cuda") else None)


def load(preset_or_path: str | Path, *, device: str | None = None, four_bit: bool = True) -> Loaded:
    """Load a base model in NF4, ready for LoRA; ``four_bit=False`` keeps the stored weights instead.

    ``device`` is "cpu" or "cuda"; the GPU is taken if there is one. The compute dtype is float32 on a CPU, bfloat16
    from compute capability 8.0, float16 below it (a T4 has 7.5).

    Raises:
        CourseError: neither a preset, nor a folder with a model, nor a Hub id that can be had; the message says which.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    name, source = _source(str(preset_or_path))
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    dtype = getattr(torch, device_dtype(device))
    quantization = {"quantization_config": nf4_config(dtype)} if four_bit else {}
    try:
        with _quiet(source):
            tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
            model = AutoModelForCausalLM.from_pretrained(source, dtype=dtype, device_map={"": device},
                                                         use_safetensors=True, trust_remote_code=False, **quantization)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        first = str(error).strip().splitlines()[0]
        raise CourseError(f"{source}: no model could be loaded ({first}); give one of {', '.join(PRESETS)}, a folder "
                          f"written by save_pretrained, or a Hub id that this machine can reach") from error
    keep_exact_on_cpu(model)
    model.requires_grad_(False)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return Loaded(name, model.eval(), tokenizer)


@contextmanager
def _quiet(source: str) -> Iterator[None]:
    """No bar for a model that lies on this disk, and none of two warnings that only tell of other packages."""
    from transformers.utils import logging as transformers_logging

    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    # peft asks for a name that transformers 6 will drop; nothing that a learner could do about it
    warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
    silence = Path(source).is_dir() and transformers_logging.is_progress_bar_enabled()
    if silence:
        transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if silence:
            transformers_logging.enable_progress_bar()


def nf4_config(compute: torch.dtype) -> object:
    """The quantisation of QLoRA: NF4, double quantisation, this compute dtype."""
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                              bnb_4bit_compute_dtype=compute)


def keep_exact_on_cpu(model: torch.nn.Module) -> torch.nn.Module:
    """Keep every 4-bit layer on a path that is right and trains and evaluates alike; harmless on a GPU.

    Returns the model.
    """
    import bitsandbytes

    for module in model.modules():
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            module.support_avx512bf16_for_cpu = False
            state = module.weight.quant_state
            if module.weight.device.type == "cpu" and state is not None and state.shape[-1] % state.blocksize:
                module.forward = functools.partial(_linear_of_broken_rows, module)
    return model


def _linear_of_broken_rows(layer: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """What ``layer(x)`` should give where its rows are not made of whole blocks."""
    bias = None if layer.bias is None else layer.bias.to(layer.compute_dtype)
    return _plain_linear(dequantised(layer), bias, x.to(layer.compute_dtype)).to(x.dtype)


def dequantised(layer: torch.nn.Module) -> torch.Tensor:
    """The weight (out, in) of a 4-bit layer in its compute dtype.

    It is restored as one long row: on a CPU bitsandbytes gives wrong numbers where a block goes on in the next row.
    """
    from bitsandbytes.functional import dequantize_4bit

    state = copy.copy(layer.weight.quant_state)
    shape, state.shape = state.shape, (math.prod(state.shape),)
    return dequantize_4bit(layer.weight.data, state).view(shape).to(layer.compute_dtype)


@contextmanager
def merged_for_evaluation(model: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """Evaluate faster on a CPU: each 4-bit layer and its adapter as one matrix W + (alpha / r) B A for a while.

    The numbers are those of the separate layers but for rounding. Does nothing on a GPU, where a copy in full
    precision might not fit, nor where it would take over half of the free memory, and nothing in training. May be
    entered again: what is merged stays so.
    """
    layers = [] if model.device.type != "cpu" else [
        layer for layer in _four_bit_layers(model) if not _is_merged(layer)]
    layers = layers if layers and dense_fits(model, layers) else []
    before = [vars(layer).get("forward") for layer in layers]
    whole = [functools.partial(_plain_linear, _whole_weight(layer), getattr(layer, "bias", None)) for layer in layers]
    try:
        for layer, forward in zip(layers, whole, strict=True):
            layer.forward = forward
        yield model
    finally:
        for layer, forward in zip(layers, before, strict=True):
            vars(layer).pop("forward", None)  # the class's own again
            if forward is not None:
                layer.forward = forward


def dense_fits(model: torch.nn.Module, layers: Iterable[torch.nn.Module]) -> bool:
    """Whether the weights of these layers, restored to the compute dtype, take at most half of the free memory."""
    bases = [getattr(layer, "base_layer", layer) for layer in layers]
    size = model.dtype.itemsize
    return size * sum(base.out_features * base.in_features for base in bases) <= free_memory(model.device.type) / 2


def is_four_bit(layer: torch.nn.Module) -> bool:
    """Whether bitsandbytes holds this layer's weight in 4 bits."""
    import bitsandbytes

    return isinstance(layer, bitsandbytes.nn.Linear4bit)


def _is_merged(layer: torch.nn.Module) -> bool:
    return getattr(vars(layer).get("forward"), "func", None) is _plain_linear


def _four_bit_layers(model: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """The adapted layers, and the 4-bit layers that have no adapter."""
    from peft.tuners.lora import LoraLayer

    adapted = [module for module in model.modules() if isinstance(module, LoraLayer)]
    inside = {id(module.base_layer) for module in adapted}
    four_bit = (module for module in model.modules() if is_four_bit(module))
    yield from (module for module in adapted if is_four_bit(module.base_layer))
    yield from (module for module in four_bit if id(module) not in inside)


def _whole_weight(layer: torch.nn.Module) -> torch.Tensor:
    """The weight (out, in) that a layer applies, dequantised, its active adapters added."""
    weight = dequantised(getattr(layer, "base_layer", layer))
    for adapter in [] if getattr(layer, "disable_adapters", False) else getattr(layer, "active_adapters", []):
        weight = weight + layer.get_delta_weight(adapter).to(weight.dtype)
    return weight


def _plain_linear(weight: torch.Tensor, bias: torch.Tensor | None, x: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.nn.functional.linear(x, weight, bias)


def _source(preset_or_path: str) -> tuple[str, str]:
    if preset_or_path in PRESETS:
        preset = PRESETS[preset_or_path]
        return preset.name, preset.source
    path = Path(preset_or_path).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise CourseError(f"{path}: no config.json; give a folder written by save_pretrained")
        return path.resolve().name, str(path)
    if preset_or_path.count("/") > 1 or preset_or_path.startswith((".", "~", "/")):
        raise CourseError(f"{preset_or_path}: no such folder; check the path, or give one of {', '.join(PRESETS)}")
    return preset_or_path.replace("/", "--"), preset_or_path
