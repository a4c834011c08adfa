"""Many LoRA adapters over one frozen base, in one pass.

Line n of the batch belongs to adapter n:

    y_n = W x_n + (alpha / r) B_n A_n x_n,    n = 1 ... N

W x is one matrix product for all lines; the adapters are stacked, A (N, r, in) and B (N, out, r), and applied with two
batched products. No row of another adapter enters the gradient of A_n and B_n. One adapter alone goes the same way.

Each adapter stays an ordinary PEFT adapter: its weights are views into the stacks, so what an optimizer does to them
is done to the stacks, and PEFT saves, loads and merges them as ever. PEFT itself trains one adapter at a time, and
applies several in a loop (PLoRA, arXiv 2508.02932, measures what the loop costs).

The frozen weights are restored from 4 bits once and kept, where they fit: the same numbers, without the work a step.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from course_lib.models import dense_fits, dequantised, is_four_bit

if TYPE_CHECKING:
    import torch
    from peft import PeftModel

__all__ = ["Stacks"]


@dataclass(frozen=True, slots=True)
class _Layer:
    """One adapted layer: the stacks A (N, r, in) and B (N, out, r), and W (out, in) where it is kept."""

    key: str
    module: torch.nn.Module
    down: torch.Tensor
    up: torch.Tensor
    scaling: float
    weight: torch.Tensor | None


class Stacks:
    """The adapters ``names`` of a PEFT model, stacked; all of one rank and scale."""

    def __init__(self, model: PeftModel, names: Sequence[str]) -> None:
        from peft.tuners.lora import LoraLayer

        self.names = list(names)
        found = {key: layer for key, layer in model.named_modules() if isinstance(layer, LoraLayer)}
        keep = dense_fits(model, found.values())
        self.layers = [self._stack(key, layer, keep) for key, layer in found.items()]

    def _stack(self, key: str, layer: torch.nn.Module, keep: bool) -> _Layer:
        import torch

        pair = []
        for parts in (layer.lora_A, layer.lora_B):
            leaf = torch.stack([parts[name].weight.data for name in self.names]).requires_grad_(True)
            for name, own in zip(self.names, leaf.data, strict=True):
                parts[name].weight.data = own
            pair.append(leaf)
        weight = dequantised(layer.base_layer) if keep and is_four_bit(layer.base_layer) else None
        return _Layer(key, layer, *pair, layer.scaling[self.names[0]], weight)

    def parameters(self, name: str) -> dict[str, torch.nn.Parameter]:
        """The weights of one adapter, by their names in PEFT's files."""
        return {f"{layer.key}.lora_{part}.weight": parts[name].weight for layer in self.layers
                for part, parts in (("A", layer.module.lora_A), ("B", layer.module.lora_B))}

    @contextmanager
    def lines(self, active: Sequence[int]) -> Iterator[None]:
        """Within, line i of a batch goes through the adapter ``names[active[i]]``."""
        before = [vars(layer.module).get("forward") for layer in self.layers]
        whole = list(active) == list(range(len(self.names)))
        for layer in self.layers:
            down, up = (layer.down, layer.up) if whole else (layer.down[list(active)], layer.up[list(active)])
            layer.module.forward = functools.partial(_forward, layer, down, up)
        try:
            yield
        finally:
            for layer, forward in zip(self.layers, before, strict=True):
                vars(layer.module).pop("forward", None)
                if forward is not None:
                    layer.module.forward = forward

    def share_gradients(self, active: Sequence[int]) -> None:
        """Give each active adapter's weights their part of the stacks' gradient; the others get none."""
        for layer in self.layers:
            for parts, leaf in ((layer.module.lora_A, layer.down), (layer.module.lora_B, layer.up)):
                for number, name in enumerate(self.names):
                    parts[name].weight.grad = leaf.grad[number] if number in active else None

    def clear_gradients(self) -> None:
        """Forget the gradients of the last step."""
        for layer in self.layers:
            layer.down.grad = layer.up.grad = None


def _forward(layer: _Layer, down: torch.Tensor, up: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """What the layer gives for lines x (N, T, in), or (N b, s, in) with the rows of one adapter next to each other."""
    import torch

    base = layer.module.base_layer
    y = base(x) if layer.weight is None else torch.nn.functional.linear(x, layer.weight, base.bias)
    change = torch.bmm(x.reshape(len(down), -1, x.shape[-1]).to(down.dtype), down.mT)
    return y + (layer.scaling * torch.bmm(change, up.mT)).view(y.shape).to(y.dtype)
