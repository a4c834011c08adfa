"""Many short rows after a few long prompts, each prompt read once.

A row's token attends to the T_p tokens of its prompt p and to the tokens before it in its own row:

    softmax([q K_p', q K_row']) [V_p ; V_row]

The keys and values of a prompt are held once and used by reference: q K_p' for all rows of the prompt is one matrix
product (Juravsky et al. 2024, Hydragen, arXiv 2402.05099), and nothing is copied a row. All prompts go in one pass.

Not every attention allows that (sliding windows, biases by position). So the first pass of every model, and the first
over longer texts, is compared with a plain one that shares nothing. Where they differ, the keys and values are copied
to every row ("copy"), and where that differs too, whole texts are read ("none"): slower, never wrong.

Shapes: P prompts, R rows, S tokens a row, T tokens of a prompt, K key heads, G query heads a key head, D head size,
V vocabulary.
"""

from __future__ import annotations

import contextvars
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from course_lib.batches import out_of_memory
from course_lib.trim import last_mlp_at, output_layer_at

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

__all__ = ["Prompts"]

ATTENTION = "shared_prompts"
WAYS = ("reference", "copy", "none")
# what an architecture that cannot go this way raises: unknown arguments, caches of another kind, odd shapes
_REFUSALS = (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError)
_shared: contextvars.ContextVar[_Kept] = contextvars.ContextVar("shared prompts")
# model -> the way that was found right, and up to how many tokens: a window may hide the start of a longer text
_settled: weakref.WeakKeyDictionary[Any, tuple[str, int]] = weakref.WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class _Kept:
    """Keys and values of each layer, (P, K, T, D), padded on the right; ``mask`` (P, T) is True at the padding."""

    layers: list[tuple[torch.Tensor, torch.Tensor]]
    mask: torch.Tensor | None

    def take(self, at: slice) -> _Kept:
        layers = [(keys[at], values[at]) for keys, values in self.layers]
        return _Kept(layers, None if self.mask is None else self.mask[at])


class Prompts:
    """P prompts that a model has read, ready for rows to go on from; use it under ``torch.inference_mode()``.

    ``way`` is "reference", "copy" or "none": None tries them in this order, and takes the first whose logits are
    those of a plain pass.
    """

    def __init__(self, model: PreTrainedModel, prompts: Sequence[Sequence[int]], *, filler: int = 0,
                 way: str | None = None) -> None:
        self.model, self.filler, self.prompts = model, filler, [list(prompt) for prompt in prompts]
        self.way = "none" if not all(self.prompts) else way
        self._kept = self._read() if self.way in ("reference", "copy") else None

    @property
    def together(self) -> int:
        """How many prompts one pass takes."""
        return len(self.prompts) if self.way == "reference" else 1

    def choose_way(self, rows: Sequence[Sequence[int]], steps: Sequence[range]) -> None:
        """Compare the ways on two of the rows after the first and the last prompt, unless the way is settled."""
        longest = max(map(len, self.prompts)) + max(map(len, rows))
        settled, checked = _settled.get(self.model, ("", 0))
        if self.way is None and longest <= checked:
            self.way = settled
            self._kept = None if settled == "none" else self._read()
        if self.way is not None:
            return
        few, at = [rows[0], rows[-1]], [steps[0], steps[-1]]
        ends = sorted({0, len(self.prompts) - 1})
        truth = [self._logits("none", few, at, slice(p, p + 1)) for p in ends]
        self.way = next(way for way in WAYS if way == "none" or self._agrees(way, few, at, ends, truth))
        _settled[self.model] = (self.way, longest)

    def logits(self, rows: Sequence[Sequence[int]], steps: Sequence[range], columns: slice) -> torch.Tensor:
        """Logits (P, N, V) in float32 after the prompts ``columns``, at ``steps`` of each row one after another."""
        return self._logits(self.way, rows, steps, columns)

    def _agrees(self, way: str, rows: Sequence[Sequence[int]], steps: Sequence[range], ends: list[int],
                truth: list[torch.Tensor]) -> bool:
        import torch

        try:
            if self._kept is None:
                self._kept = self._read()
            both = slice(ends[0], ends[-1] + 1, max(1, ends[-1]))
            found = (self._logits(way, rows, steps, both) if way == "reference"
                     else torch.cat([self._logits(way, rows, steps, slice(p, p + 1)) for p in ends]))
        except _REFUSALS as error:
            if out_of_memory(error):
                raise
            return False
        wanted = torch.cat(truth)
        exact = next(self.model.parameters()).dtype == torch.float32
        rounding = 1e-3 if exact else 0.1
        scale = wanted.nan_to_num(0, 0, 0).abs().max().clamp(min=1)
        return torch.allclose(found, wanted, rtol=0, atol=float(rounding * scale), equal_nan=True)

    def _read(self) -> _Kept:
        """One pass over all prompts; padding on the right is hidden from every real token by the causal mask."""
        import torch
        from transformers import DynamicCache

        device, lengths = self.model.device, [len(prompt) for prompt in self.prompts]
        longest = max(lengths)
        ids = torch.tensor([prompt + [self.filler] * (longest - len(prompt)) for prompt in self.prompts], device=device)
        # the model's own cache may keep only a sliding window, which is not enough to go on from
        with output_layer_at(self.model, torch.zeros(1, dtype=torch.long, device=device)):
            cache = self.model(input_ids=ids, past_key_values=DynamicCache(), use_cache=True).past_key_values
        padding = torch.arange(longest, device=device) >= torch.tensor(lengths, device=device)[:, None]
        return _Kept([(layer.keys, layer.values) for layer in cache.layers],
                     padding if min(lengths) < longest else None)

    def _logits(self, way: str, rows: Sequence[Sequence[int]], steps: Sequence[range],
                columns: slice) -> torch.Tensor:
        import torch

        prompts = self.prompts[columns]
        if way == "none":
            rows = [prompts[0] + list(row) for row in rows]
            steps = [range(at.start + len(prompts[0]), at.stop + len(prompts[0])) for at in steps]
        width = max(map(len, rows))
        ids = torch.tensor([[*row, *[self.filler] * (width - len(row))] for row in rows], device=self.model.device)
        index = torch.tensor([r * width + at for r, row_steps in enumerate(steps) for at in row_steps])
        inputs: dict[str, Any] = {"input_ids": ids, "use_cache": False}
        if way == "copy":
            inputs |= {"past_key_values": _copied(self._kept.take(columns), len(prompts[0]), len(rows)),
                       "use_cache": True}
        if way != "reference":
            return self._pass(inputs, index)[None]
        first = torch.tensor([len(prompt) for prompt in prompts], device=ids.device)
        inputs |= {"input_ids": ids.repeat(len(prompts), 1), "past_key_values": _only_own(len(prompts[0])),
                   "position_ids": (first[:, None, None] + torch.arange(width, device=ids.device)).expand(
                       -1, len(rows), -1).reshape(-1, width), "use_cache": True}
        every = (torch.arange(len(prompts))[:, None] * ids.numel() + index).flatten()
        with _attending_to(self.model, self._kept.take(columns)), last_mlp_at(self.model, every):
            return self._pass(inputs, every).view(len(prompts), len(index), -1)

    def _pass(self, inputs: dict[str, Any], index: torch.Tensor) -> torch.Tensor:
        """Logits (N, V) at ``index`` into the flattened (rows, tokens); the output layer sees only these."""
        index = index.to(self.model.device)
        with output_layer_at(self.model, index) as done:
            logits = self.model(**inputs).logits
        return (logits if done else logits.flatten(0, -2)[index]).view(len(index), -1).float()


def _copied(kept: _Kept, length: int, rows: int) -> Any:
    """A cache that holds the first prompt of ``kept`` for every row."""
    from transformers import DynamicCache

    cache = DynamicCache()
    for number, (keys, values) in enumerate(kept.layers):
        cache.update(*(part[:1, :, :length].expand(rows, -1, -1, -1) for part in (keys, values)), number)
    return cache


def _only_own(length: int) -> Any:
    """A cache that says ``length`` tokens came before, and hands back the rows' own keys and values alone."""
    from transformers import DynamicCache

    class OnlyOwn(DynamicCache):
        def update(self, keys: torch.Tensor, values: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, ...]:
            return keys, values

        def get_seq_length(self, *_: Any, **__: Any) -> int:
            return length

    return OnlyOwn()


@contextmanager
def _attending_to(model: PreTrainedModel, kept: _Kept) -> Iterator[None]:
    """Let every attention layer of ``model`` attend to ``kept`` beside the rows' own tokens."""
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, _attend)
    configs = {id(module.config): module.config for module in model.modules()
               if hasattr(getattr(module, "config", None), "_attn_implementation")}
    before = {key: config._attn_implementation for key, config in configs.items()}
    token = _shared.set(kept)
    try:
        for config in configs.values():
            config._attn_implementation = ATTENTION
        yield
    finally:
        for key, config in configs.items():
            config._attn_implementation = before[key]
        _shared.reset(token)


def _attend(module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, _mask: Any, *,
            scaling: float | None = None, sliding_window: int | None = None,
            **_: Any) -> tuple[torch.Tensor, None]:
    """Attention of (P * R, heads, S, D) queries to their prompt and to their own row; returns (P * R, S, heads, D)."""
    import torch

    kept = _shared.get()
    far_keys, far_values = kept.layers[module.layer_idx]  # (P, K, T, D)
    prompts, groups, before, size = far_keys.shape
    heads, length = query.shape[1:3]
    if sliding_window is not None and sliding_window < before + length:
        raise NotImplementedError("a sliding window that hides a part of the prompt")
    shape = (prompts, groups, -1, heads // groups, length)  # (P, K, R, G, S)
    query = (query * (size**-0.5 if scaling is None else scaling)).view(
        prompts, -1, groups, heads // groups, length, size).transpose(1, 2).reshape(prompts, groups, -1, size)
    key, value = (own.view(prompts, -1, groups, length, size).transpose(1, 2) for own in (key, value))
    rows = (prompts, groups, key.shape[2], -1)
    weights = torch.cat([(query @ far_keys.transpose(-1, -2)).view(*shape, before),
                         (query.view(*rows, size) @ key.transpose(-1, -2)).view(*shape, length)], dim=-1)
    weights += _hidden(kept.mask, prompts, before, length, weights)
    weights = weights.softmax(dim=-1, dtype=torch.float32).to(query.dtype)
    out = weights[..., :before].reshape(prompts, groups, -1, before) @ far_values
    out = out.view(*rows, size) + weights[..., before:].reshape(*rows, length) @ value
    return out.view(*shape, size).permute(0, 2, 4, 1, 3, 5).reshape(-1, length, heads, size), None


def _hidden(padding: torch.Tensor | None, prompts: int, before: int, length: int, like: torch.Tensor) -> torch.Tensor:
    """What to add to scores (P, K, R, G, S, T + S): -inf at padding of a prompt and at later tokens of a row."""
    hidden = like.new_zeros(prompts, 1, 1, 1, length, before + length)
    hidden[..., before:] = like.new_full((length, length), float("-inf")).triu(1)
    if padding is not None:
        hidden[..., :before].masked_fill_(padding[:, None, None, None, None], float("-inf"))
    return hidden
