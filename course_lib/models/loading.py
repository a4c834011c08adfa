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
import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from course_lib import threads
from course_lib.files import CourseError
from course_lib.models.checks import (
    check_config,
    fit_padding,
    in_one_sentence,
    read_tokenizer,
    refuse_folder,
    refuse_tokens,
    refuse_unlike,
    try_out,
)
from course_lib.models.hardware import compute_dtype, free_memory
from course_lib.models.hub import HubId, fetch
from course_lib.models.memory_usage import give_back_memory
from course_lib.models.presets import POCKET_MODEL, PRESETS, Preset, default_preset, hub_id

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["POCKET_MODEL", "PRESETS", "Loaded", "Preset", "default_preset", "device_dtype", "keep_exact_on_cpu",
           "dense_fits", "dequantised", "is_four_bit", "load", "merged_for_evaluation"]

DTYPES = ("float16", "bfloat16", "float32")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model and its tokenizer, with the name that every result of theirs must carry.

    ``revision`` is the commit hash of a Hub model, None for a folder.
    """

    preset: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    revision: str | None = None


def device_dtype(device: str | None = None) -> str:
    """The dtype, by name, that a model computes in on this device (default: the GPU if there is one).

    The environment variable COURSE_DTYPE decides where it is set: float32 for a model that overflows in float16.

    Raises:
        CourseError: COURSE_DTYPE is no such dtype.
    """
    import torch

    if chosen := os.environ.get("COURSE_DTYPE"):
        if chosen not in DTYPES:
            raise CourseError(f"COURSE_DTYPE={chosen}: give one of {', '.join(DTYPES)}, or leave it unset")
        return chosen
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return compute_dtype(torch.cuda.get_device_capability() if device.startswith("cuda") else None)


def load(preset_or_path: str | Path, *, device: str | None = None, four_bit: bool = True,
         revision: str | None = None) -> Loaded:
    """Load a base model in NF4, ready for LoRA; ``four_bit=False`` keeps the stored weights instead.

    A preset, a folder, ``owner/name`` or ``owner/name@revision``; ``revision`` pins a Hub model under its plain name.
    What is on this disk is taken without a network; else it is fetched, and its size is said first (hub.py).

    ``device`` is "cpu" or "cuda"; the GPU is taken if there is one. The compute dtype is float32 on a CPU, bfloat16
    from compute capability 8.0, float16 below it (a T4 has 7.5).

    Raises:
        CourseError: neither a preset, nor a folder with a model, nor a Hub id that can be had; the message says which.
    """
    import torch
    from transformers import AutoModelForCausalLM

    name, source, revision = _source(str(preset_or_path), revision)
    refuse_folder(source)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cpu" and threads.spin():
        warnings.warn(threads.SPINNING, stacklevel=2)
    dtype = getattr(torch, device_dtype(device))
    quantization = {"quantization_config": nf4_config(dtype)} if four_bit else {}
    with _quiet(source):
        check_config(source)
        tokenizer = read_tokenizer(source)
        with in_one_sentence(source):
            model, report = AutoModelForCausalLM.from_pretrained(
                source, dtype=dtype, device_map={"": device}, use_safetensors=True, trust_remote_code=False,
                output_loading_info=True, ignore_mismatched_sizes=True, **quantization)
    refuse_unlike(source, model, report)
    fit_padding(tokenizer, model)
    refuse_tokens(source, tokenizer, model)
    keep_exact_on_cpu(model.eval())
    model.requires_grad_(False)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    try_out(source, tokenizer, model)
    give_back_memory()
    return Loaded(name, model, tokenizer, revision)


@contextmanager
def _quiet(source: str) -> Iterator[None]:
    """No bar for a model that lies on this disk, and none of two warnings that only tell of other packages."""
    from transformers.utils import logging as transformers_logging

    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    # peft asks for a name that transformers 6 will drop; nothing that a learner could do about it
    warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
    silence = Path(source).is_dir() and transformers_logging.is_progress_bar_enabled()
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # what matters of its table of weights, model_folder.py says
    if silence:
        transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
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


def _source(preset_or_path: str, revision: str | None) -> tuple[str, str, str | None]:
    """The name that results carry, the folder to load from, and the commit hash of a Hub model."""
    if model := hub_id(preset_or_path):
        found = fetch(HubId(model.repo, revision or model.revision))
        return preset_or_path.replace("/", "--"), str(found.folder), found.revision
    if preset_or_path in PRESETS:
        return preset_or_path, PRESETS[preset_or_path].source, None
    path = Path(os.path.expanduser(preset_or_path))
    if not (path / "config.json").is_file():
        raise CourseError(f"{path}: no config.json; give a folder written by save_pretrained")
    return path.resolve().name, str(path), None
