"""Models of published shapes with random weights in NF4, made on the device that they run on.

Random weights cost the same seconds and the same bytes as trained ones. No file is read: transformers builds the model
on torch's meta device, where tensors have no contents, and puts 4-bit layers in as it does when it loads one. Then each
layer is drawn and quantised by itself, so that at no time more than one matrix exists in 16 bits: a 7B model needs the
4 GB that it has in NF4, and neither memory of the host nor disk.

The tokenizer is that of the pocket preset, its vocabulary filled up to the model's.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from benchmarks.counted import config_of
from benchmarks.subjects import widened_tokenizer
from course_lib.models.four_bit import is_four_bit, keep_exact_on_cpu, nf4_config
from course_lib.models.loading import Loaded
from course_lib.models.memory import Shape
from course_lib.models.memory_usage import release_memory

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

__all__ = ["QUICK", "random_base"]

QUICK = Shape(64, 128, 2, 32, 2304, True, 16)  # the smallest that has blocks of 64 weights and fewer keys than queries


def random_base(name: str, shape: Shape, *, device: str, dtype: str, seed: int = 0) -> Loaded:
    """A base as :func:`.loading.load` gives it, but with random weights; it computes in ``dtype``.

    Args:
        device: "cpu" or "cuda".
        dtype: "float32", "bfloat16" or "float16", whatever the device likes best.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.quantizers import AutoHfQuantizer

    # peft asks for a name that transformers 6 will drop
    warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
    tokenizer, compute = widened_tokenizer(shape.vocabulary), getattr(torch, dtype)
    quantizer = AutoHfQuantizer.from_config(nf4_config(compute), pre_quantized=False)
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = AutoModelForCausalLM.from_config(config_of(shape, tokenizer), dtype=compute)
    quantizer.preprocess_model(model, device_map={"": device})
    torch.manual_seed(seed)
    _draw(model, device, compute)
    model.hf_quantizer = quantizer  # by this Trainer knows that the frozen base is in 4 bits
    quantizer.postprocess_model(model)
    keep_exact_on_cpu(model)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    release_memory()
    return Loaded(name, model.requires_grad_(False).eval(), tokenizer)


def _draw(model: PreTrainedModel, device: str, dtype: torch.dtype) -> None:
    """Fill a model of the meta device, module by module."""
    import torch

    with torch.no_grad():
        for module in model.modules():
            if is_four_bit(module):
                _draw_four_bit(module, device, dtype, model.config.initializer_range)
                continue
            module.to_empty(device=device, recurse=False)
            model._init_weights(module)  # norms, embeddings and the angles of positions, as transformers makes them
    model.tie_weights()


def _draw_four_bit(layer: torch.nn.Module, device: str, dtype: torch.dtype, deviation: float) -> None:
    import torch
    from bitsandbytes.nn import Params4bit

    drawn = torch.empty(layer.out_features, layer.in_features, device=device, dtype=dtype).normal_(0, deviation)
    settings = {name: value for name, value in vars(layer.weight).items() if name in (
        "blocksize", "compress_statistics", "quant_type", "quant_storage", "module")}
    layer.weight = Params4bit(drawn, requires_grad=False, **settings).to(device)  # quantises
    if layer.bias is not None:
        layer.bias = torch.nn.Parameter(torch.zeros(layer.out_features, device=device, dtype=dtype), False)
