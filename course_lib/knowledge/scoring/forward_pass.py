"""A forward pass with another attention, or with the LM head (and the last MLP) only at answer positions.

Keys and values of every position are needed by later ones, but of the last layer's MLP and of the LM head only what is
read, a third of the positions or fewer: both work position by position, so the others can be left out.

Shapes: B rows, T tokens, H hidden size, N positions; ``index`` (N,) points into the flattened (B * T).
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

__all__ = ["REFUSALS", "evaluation_mode", "last_mlp_at", "output_layer_at", "with_attention"]

# what an architecture raises that cannot go another way: unknown arguments, caches of another kind, odd shapes
REFUSALS = (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError)
_configs: weakref.WeakKeyDictionary[Any, list[Any]] = weakref.WeakKeyDictionary()


@contextmanager
def evaluation_mode(model: PreTrainedModel) -> Iterator[None]:
    """Put the model in evaluation mode (no dropout), and back into the mode that it was in."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


@contextmanager
def with_attention(model: PreTrainedModel, name: str, attend: Callable, mask: Callable | None = None) -> Iterator[None]:
    """Let every attention layer call ``attend``, and make masks by ``mask``; transformers knows both as ``name``."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(name, attend)
    if mask is not None:
        AttentionMaskInterface.register(name, mask)
    if model not in _configs:  # found once, since a model with many adapters has thousands of modules
        every = {id(module.config): module.config for module in model.modules()
                 if hasattr(getattr(module, "config", None), "_attn_implementation")}
        _configs[model] = list(every.values())
    before = [config._attn_implementation for config in _configs[model]]
    try:
        for config in _configs[model]:
            config._attn_implementation = name
        yield
    finally:
        for config, old in zip(_configs[model], before, strict=True):
            config._attn_implementation = old


@contextmanager
def output_layer_at(model: PreTrainedModel, index: torch.Tensor) -> Iterator[list[bool]]:
    """Give the LM head only the hidden states at ``index``; the list is filled where it was called so."""
    done: list[bool] = []

    def choose(_: Any, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if not args or args[0].dim() != 3 or done:
            return None
        done.append(True)
        return (args[0].flatten(0, 1)[index][None], *args[1:])  # (B, T, H) -> (1, N, H)

    layer = getattr(model, "get_output_embeddings", lambda: None)()
    handle = layer.register_forward_pre_hook(choose) if layer is not None else None
    try:
        yield done
    finally:
        if handle is not None:
            handle.remove()


@contextmanager
def last_mlp_at(model: PreTrainedModel, index: torch.Tensor) -> Iterator[None]:
    """Run the last layer's MLP only at ``index``: its other outputs are read by nothing, and become zeros."""
    last = getattr(getattr(model, "config", None), "num_hidden_layers", 0) - 1
    found = [module for name, module in model.named_modules() if name.endswith(f".{last}.mlp")]
    index, shape = index.to(model.device), []

    def choose(_: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        shape[:] = args[0].shape
        return (args[0].flatten(0, 1)[index][None], *args[1:])  # (B, T, H) -> (1, N, H)

    def spread(_: Any, __: Any, out: torch.Tensor) -> torch.Tensor:
        return out.new_zeros(shape).flatten(0, 1).index_copy_(0, index, out[0]).view(shape)  # back to (B, T, H)

    handles = [handle for mlp in found[:1] for handle in (mlp.register_forward_pre_hook(choose),
                                                          mlp.register_forward_hook(spread))]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
