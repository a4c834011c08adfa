"""Many LoRA adapters over one frozen base, in one forward and backward pass.

Line n of the batch belongs to adapter n:

    y_n = W x_n + (alpha / r) B_n A_n x_n,    n = 1 ... N

W x is one matrix product for all lines; the adapters are stacked, A (N, r, in) and B (N, out, r), and applied with two
batched products. No row of another adapter enters the gradient of A_n and B_n. One adapter alone goes the same way.

All weights of one adapter lie next to each other, a row of one matrix (N, P), so that its gradient is clipped and its
optimizer steps in one go. Each adapter stays an ordinary PEFT adapter: its weights are views into its row, so what an
optimizer does to the row is done to them, and PEFT saves, loads and merges them as ever. PEFT itself trains one adapter
at a time, and applies several in a loop (PLoRA, arXiv 2508.02932, measures what the loop costs).

The frozen weights are dequantised from 4 bits once and kept, where they fit: the same numbers, without the work a step.
Where they do not fit, each layer is dequantised on the fly, in the forward and once more in the backward pass.

Mixed precision: adapters are float32. Where the base computes in float16 or bfloat16 they are rounded to it for the
products, as autocast does, so that tensor cores do the work; what the optimizer changes, and its gradient, stay
float32.

Shapes: N lines (adapters), T tokens a line, r rank, in and out of a layer, P weights of one adapter.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from course_lib.models.four_bit import dense_fits, dequantised, is_four_bit

if TYPE_CHECKING:
    import torch
    from peft import PeftModel

__all__ = ["Stacks"]


@dataclass(slots=True)
class _Layer:
    """One adapted layer: ``down`` is A (N, r, in), ``up`` is B (N, out, r), ``weight`` a copy of W (out, in) or None.

    ``leaves``: the parts of A and B that the pass under way goes through.
    """

    key: str
    module: torch.nn.Module
    down: torch.Tensor
    up: torch.Tensor
    scaling: float
    weight: torch.Tensor | None
    leaves: tuple[torch.Tensor, ...] = ()


class Stacks:
    """The adapters ``names`` of a PEFT model, stacked; all of one rank and scale. ``weights``: (N, P).

    ``keep``: whether dequantised copies of the frozen weights are kept; None: where they take at most half of the free
    memory.
    """

    def __init__(self, model: PeftModel, names: Sequence[str], *, keep: bool | None = None) -> None:
        import torch
        from peft.tuners.lora import LoraLayer

        self.names = list(names)
        found = {key: layer for key, layer in model.named_modules() if isinstance(layer, LoraLayer)}
        keep = dense_fits(model, found.values()) if keep is None else keep
        self.weights = torch.stack([torch.cat([parts[name].weight.data.flatten() for layer in found.values()
                                               for parts in _pair(layer)]) for name in self.names])
        self.layers, end = [], 0
        for key, layer in found.items():
            stacks = []
            for parts in _pair(layer):
                shape = parts[self.names[0]].weight.shape
                start, end = end, end + shape.numel()
                stacks.append(self.weights[:, start:end].unflatten(1, shape))  # (N, r, in) or (N, out, r)
                for name, own in zip(self.names, stacks[-1], strict=True):
                    parts[name].weight.data = own  # PEFT's own weights become views
            weight = dequantised(layer.base_layer) if keep and is_four_bit(layer.base_layer) else None
            self.layers.append(_Layer(key, layer, *stacks, layer.scaling[self.names[0]], weight))

    def parameters(self, name: str) -> dict[str, torch.nn.Parameter]:
        """The weights of one adapter, by their names in PEFT's files, in the order of its row of ``weights``."""
        return {f"{layer.key}.lora_{part}.weight": parts[name].weight for layer in self.layers
                for part, parts in zip("AB", _pair(layer.module), strict=True)}

    @contextmanager
    def lines(self, active: Sequence[int]) -> Iterator[None]:
        """Send line i of a batch through the adapter ``names[active[i]]``; ``active`` is in rising order."""
        before = [vars(layer.module).get("forward") for layer in self.layers]
        neighbours = active[-1] - active[0] + 1 == len(active)
        chosen = slice(active[0], active[-1] + 1) if neighbours else list(active)  # a view where there can be one
        for layer in self.layers:
            # leaves of their own, so that the gradient has no room for adapters that had no line
            layer.leaves = tuple(stack[chosen].detach().requires_grad_(True) for stack in (layer.down, layer.up))
            layer.module.forward = functools.partial(_forward, layer, *layer.leaves)
        try:
            yield
        finally:
            for layer, forward in zip(self.layers, before, strict=True):
                vars(layer.module).pop("forward", None)
                if forward is not None:
                    layer.module.forward = forward

    def take_gradients(self) -> torch.Tensor:
        """Return the gradients (lines, P) of the last pass, and let go of them."""
        import torch

        found = torch.cat([leaf.grad.flatten(1) for layer in self.layers for leaf in layer.leaves], dim=1)
        self.discard()
        return found

    def drop_copies(self) -> bool:
        """Dequantise the frozen weights in every pass from now on; returns whether there were copies to drop."""
        kept = [layer for layer in self.layers if layer.weight is not None]
        for layer in kept:
            layer.weight = None
        return bool(kept)

    def discard(self) -> None:
        """Discard the state of an aborted pass."""
        for layer in self.layers:
            layer.leaves = ()


def _pair(layer: torch.nn.Module) -> tuple[torch.nn.ModuleDict, torch.nn.ModuleDict]:
    return layer.lora_A, layer.lora_B


def _forward(layer: _Layer, down: torch.Tensor, up: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The layer's output for lines x (N, T, in), or (N b, s, in) with the rows of one adapter next to each other."""
    lines = x.reshape(len(down), -1, x.shape[-1])
    return _function().apply(lines, layer, layer.module.base_layer.bias, down, up).view(*x.shape[:-1], -1)


def _weight(layer: _Layer, dtype: torch.dtype) -> torch.Tensor:
    """W (out, in): the copy that is kept, or dequantised now."""
    base = layer.module.base_layer
    weight = layer.weight
    if weight is None:
        weight = dequantised(base) if is_four_bit(base) else base.weight
    return weight.to(dtype)


@functools.cache
def _function() -> type[torch.autograd.Function]:
    """The layer with its gradient by hand: nothing is computed for W, and every sum goes into a product's result."""
    import torch

    class StackedLinear(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor, layer: _Layer, bias: torch.Tensor | None, down: torch.Tensor,
                    up: torch.Tensor) -> torch.Tensor:
            inner = torch.bmm(x, down.to(x.dtype).mT)  # A x: (N, T, r)
            ctx.save_for_backward(x, down, up, inner)
            ctx.layer = layer
            y = torch.nn.functional.linear(x, _weight(layer, x.dtype), None if bias is None else bias.to(x.dtype))
            return y.baddbmm_(inner, up.to(x.dtype).mT, alpha=layer.scaling)  # W x + (alpha / r) B A x: (N, T, out)

        @staticmethod
        def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
            x, down, up, inner = ctx.saved_tensors
            of_inner = torch.bmm(gradient, up.to(x.dtype)).mul_(ctx.layer.scaling)  # dL/d(A x): (N, T, r)
            of_x = None  # dL/dx: (N, T, in)
            if ctx.needs_input_grad[0]:
                of_x = (gradient @ _weight(ctx.layer, x.dtype)).baddbmm_(of_inner, down.to(x.dtype))
            of_up = torch.bmm(gradient.mT, inner).mul_(ctx.layer.scaling)  # dL/dB: (N, out, r)
            of_down = torch.bmm(of_inner.mT, x)  # dL/dA: (N, r, in)
            return of_x, None, None, of_down.to(down.dtype), of_up.to(up.dtype)

    return StackedLinear
