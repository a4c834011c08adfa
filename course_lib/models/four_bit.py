"""The 4-bit layers of bitsandbytes, kept exact on a CPU: NF4 with double quantisation (QLoRA, arXiv 2305.14314).

4 bits a weight in blocks of 64, one scale a block, the scales themselves in 8 bits. Embeddings, norms and the output
layer are not quantised; they are held in the dtype that the device computes in. Adapters are float32 on every device.

bitsandbytes 0.50 on a CPU with AVX512-BF16 repacks a layer's weights in its first evaluation pass. From then on
the gradient through the frozen base is silently dropped, evaluation computes in bfloat16 whatever was asked for,
and layers with odd sizes crash. On every CPU, weights come back wrong where a row is not made of whole blocks of 64.
:func:`keep_exact_on_cpu` turns the repacking off and dequantises such rows itself.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from course_lib.models.hardware import free_memory

if TYPE_CHECKING:
    import torch

__all__ = ["dense_fits", "dequantised", "is_four_bit", "keep_exact_on_cpu", "merged_for_evaluation", "nf4_config"]


def nf4_config(compute: torch.dtype) -> object:
    """The quantisation of QLoRA: NF4, double quantisation, this compute dtype."""
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                              bnb_4bit_compute_dtype=compute)


def keep_exact_on_cpu(model: torch.nn.Module) -> torch.nn.Module:
    """Keep every 4-bit layer on a path that is right and trains and evaluates alike; harmless on a GPU.

    Returns the model.
    """
    for module in model.modules():
        if is_four_bit(module):
            module.support_avx512bf16_for_cpu = False
            state = module.weight.quant_state  # its shape: (out, in)
            if module.weight.device.type == "cpu" and state is not None and state.shape[-1] % state.blocksize:
                module.forward = functools.partial(_linear_of_broken_rows, module)
    return model


def _linear_of_broken_rows(layer: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Compute ``layer(x)`` as it should be where its rows are not made of whole blocks."""
    bias = None if layer.bias is None else layer.bias.to(layer.compute_dtype)
    return _plain_linear(dequantised(layer), bias, x.to(layer.compute_dtype)).to(x.dtype)


def dequantised(layer: torch.nn.Module) -> torch.Tensor:
    """The weight (out, in) of a 4-bit layer in its compute dtype.

    It is dequantised as one long row: on a CPU bitsandbytes is wrong where a block continues in the next row.
    """
    from bitsandbytes.functional import dequantize_4bit

    state = copy.copy(layer.weight.quant_state)
    shape, state.shape = state.shape, (math.prod(state.shape),)  # (out, in) -> (out * in,)
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
    """Return whether these layers, dequantised to the compute dtype, take at most half of the free memory."""
    bases = [getattr(layer, "base_layer", layer) for layer in layers]
    size = model.dtype.itemsize
    return size * sum(base.out_features * base.in_features for base in bases) <= free_memory(model.device.type) / 2


def is_four_bit(layer: torch.nn.Module) -> bool:
    """Return whether bitsandbytes holds this layer's weight in 4 bits."""
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
    weight = dequantised(getattr(layer, "base_layer", layer))  # W: (out, in)
    for adapter in [] if getattr(layer, "disable_adapters", False) else getattr(layer, "active_adapters", []):
        weight = weight + layer.get_delta_weight(adapter).to(weight.dtype)  # (alpha / r) B A: (out, r) @ (r, in)
    return weight


def _plain_linear(weight: torch.Tensor, bias: torch.Tensor | None, x: torch.Tensor) -> torch.Tensor:
    """x W^T + bias for x (..., in) and W (out, in)."""
    import torch

    return torch.nn.functional.linear(x, weight, bias)
