"""Run the end of a model only where an answer token is predicted: a third of the positions, or fewer.

Keys and values of every position are needed by later ones, but of the last layer's MLP and of the output layer only
what is read: both work position by position, so the others can be left out. ``index`` (N,) points into the flattened
(rows, tokens).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

__all__ = ["last_mlp_at", "output_layer_at"]


@contextmanager
def output_layer_at(model: PreTrainedModel, index: torch.Tensor) -> Iterator[list[bool]]:
    """Give the output layer only the hidden states at ``index``; the list is filled where it was asked so."""
    done: list[bool] = []

    def choose(_: Any, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if not args or args[0].dim() != 3 or done:
            return None
        done.append(True)
        return (args[0].flatten(0, 1)[index][None], *args[1:])

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
        return (args[0].flatten(0, 1)[index][None], *args[1:])

    def spread(_: Any, __: Any, out: torch.Tensor) -> torch.Tensor:
        return out.new_zeros(shape).flatten(0, 1).index_copy_(0, index, out[0]).view(shape)

    handles = [handle for mlp in found[:1] for handle in (mlp.register_forward_pre_hook(choose),
                                                          mlp.register_forward_hook(spread))]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
