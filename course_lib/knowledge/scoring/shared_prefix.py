"""Many short rows after a few long prompts: the KV cache of the shared prefix is computed once.

A row's token attends to the T_p tokens of its prompt p and to the tokens before it in its own row:

    softmax([q K_p', q K_row']) [V_p ; V_row]

The keys and values of a prompt (its KV cache) are held once and used by reference: q K_p' for all rows of the prompt
is one matrix product (Juravsky et al. 2024, Hydragen, arXiv 2402.05099), and nothing is copied a row. All prompts go in
one forward pass.

Not every attention allows that (sliding windows, chunks, biases by position, sinks). A layer that hides anything but
later tokens, or asks for more than a plain softmax, says so by its mask and its arguments, and is refused here. Beyond
that, each model is tried first, and again for longer texts: on a long and a short prompt, each with a long and a short
row, all at once, against forward passes over one text alone. Where they differ, the KV cache is copied to every row
("copy"), where that differs too whole texts are read ("none"), and at last one by one ("alone"), which is right by
definition (:mod:`.distribution`): slower, never wrong. A model to which later tokens matter is refused.

Shapes: P prompts, R rows, S tokens a row, T tokens of a prompt, K key heads, G query heads a key head, D head size,
V vocabulary.
"""

from __future__ import annotations

import contextvars
import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from course_lib.files import CourseError
from course_lib.knowledge.scoring.distribution import room
from course_lib.knowledge.scoring.forward_pass import REFUSALS, last_mlp_at, output_layer_at, with_attention
from course_lib.knowledge.scoring.prompts import Remembered
from course_lib.models.hardware import out_of_memory

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

__all__ = ["Prompts", "same_logits"]

ATTENTION = "shared_prompts"
WAYS = ("reference", "copy", "none", "alone")
SAMPLE = 16  # steps of a long row that are compared
# arguments of attention layers that change nothing here
_IDLE = {"dropout", "position_ids", "cache_position", "use_cache", "logits_to_keep", "output_attentions",
         "output_hidden_states", "output_router_logits"}
_shared: contextvars.ContextVar[_KVCache] = contextvars.ContextVar("shared prompts")


class _Settled(NamedTuple):
    """Way that was found right, for texts of up to so many tokens: a window may hide the start of a longer one."""

    way: str
    until: float


_settled, _settled_whole = Remembered(), Remembered()  # where there are prompts to share, and where one is empty


@dataclass(frozen=True, slots=True)
class _KVCache:
    """Keys and values of each layer, (P, K, T, D), padded on the right; ``mask`` (P, T) is True at the padding."""

    layers: list[tuple[torch.Tensor, torch.Tensor]]
    mask: torch.Tensor | None

    def take(self, at: slice) -> _KVCache:
        """Views of some prompts; nothing is copied."""
        layers = [(keys[at], values[at]) for keys, values in self.layers]
        return _KVCache(layers, None if self.mask is None else self.mask[at])


class Prompts:
    """P prompts and their KV cache, for rows to continue from; use it under ``torch.inference_mode()``.

    ``way`` is one of :data:`WAYS`: None tries them in this order, and takes the first whose logits are those of forward
    passes over one text alone.
    """

    def __init__(self, model: PreTrainedModel, prompts: Sequence[Sequence[int]], *, filler: int = 0,
                 way: str | None = None) -> None:
        self.model, self.filler, self.prompts = model, filler, [list(prompt) for prompt in prompts]
        self._least = 0 if all(self.prompts) else WAYS.index("none")  # nothing is shared by an empty prompt
        self._known = _settled_whole if self._least else _settled
        self._until = 0 if way is None else float("inf")
        self._cache: _KVCache | None = None
        self.way = "none" if way is None and self._least else way
        self._take(self.way)

    @property
    def together(self) -> int:
        """Number of prompts that one forward pass takes."""
        return len(self.prompts) if self.way == "reference" else 1

    def choose_way(self, rows: Sequence[Sequence[int]], steps: Sequence[range], columns: slice = slice(None)) -> None:
        """Take the way that is right for these rows after prompts ``columns``; find it, where none is settled.

        Raises:
            CourseError: to this model later tokens matter, or it cannot read a text by itself.
        """
        longest = max(map(len, self.prompts[columns])) + max(map(len, rows))
        if longest <= self._until:
            return
        found = self._known.get(self.model, _Settled("", 0))
        if longest > found.until:
            found = self._settle(rows, steps, self.prompts[columns])
        self._until = found.until
        self._take(found.way)

    def _take(self, way: str | None) -> None:
        self.way = way
        if way in ("reference", "copy") and self._cache is None:
            self._cache = self._read()

    def logits(self, rows: Sequence[Sequence[int]], steps: Sequence[range], columns: slice) -> torch.Tensor:
        """Logits (P, N, V) in float32 after the prompts ``columns``, at ``steps`` of each row one after another."""
        self.choose_way(rows, steps, columns)
        return self._logits(self.way, rows, steps, columns)

    def _settle(self, rows: Sequence[Sequence[int]], steps: Sequence[range],
                prompts: Sequence[Sequence[int]]) -> _Settled:
        """Try the ways in turn; what could not have failed (no attention, no numbers) is not remembered."""
        long, short = max(prompts, key=len), min(prompts, key=len)
        trial = Prompts(self.model, [long, short if len(short) < len(long) else long[:max(1, len(long) // 2)]],
                        filler=self.filler)
        few, at, until = _few(rows, steps, len(long), room(self.model).tokens)
        truth = trial._truth(few, at)
        trial._refuse_later_tokens(few[0])
        way = next(way for way in WAYS[self._least:] if way == WAYS[-1] or trial._agrees(way, few, at, truth))
        settled = _Settled(way, until)
        if not same_logits(self.model, truth[0][-1:], truth[0][:1] if self._least else truth[1][-1:]):
            self._known.put(self.model, settled)
        return settled

    def _truth(self, rows: Sequence[Sequence[int]], steps: Sequence[range]) -> torch.Tensor:
        """Logits (P, N, V) of forward passes over one text alone."""
        import torch

        try:
            return torch.cat([self._logits("alone", rows, steps, slice(p, p + 1)) for p in range(len(self.prompts))])
        except REFUSALS as error:
            if out_of_memory(error):
                raise
            raise CourseError(f"{type(self.model).__name__} cannot read a text by itself ({error}); give a causal "
                              f"language model") from error

    def _refuse_later_tokens(self, row: Sequence[int]) -> None:
        """Refuse a model whose logits at the beginnings of the longest text change with what follows."""
        import torch

        at = functools.partial(torch.tensor, device=self.model.device)
        ids = at([[*self.prompts[0], *row]])
        ends = sorted({min(ids.shape[1], len(prompt) + 1) for prompt in self.prompts})
        whole = self._pass({"input_ids": ids, "use_cache": False}, at([end - 1 for end in ends])).split(1)
        alone = [self._pass({"input_ids": ids[:, :end], "use_cache": False}, at([end - 1])) for end in ends]
        changed = [not same_logits(self.model, *pair, slack=3) for pair in zip(whole, alone, strict=True)]
        # in half precision rounding alone may send a token to another expert
        if (any if _exact(self.model) else all)(changed):
            raise CourseError(f"{type(self.model).__name__}: the logits of a text change with the tokens after it or "
                              f"with its length, so answers have no one probability; give a causal language model")

    def _agrees(self, way: str, rows: Sequence[Sequence[int]], steps: Sequence[range], truth: torch.Tensor) -> bool:
        import torch

        try:
            self._take(way)
            parts = [slice(0, 2)] if way == "reference" else [slice(0, 1), slice(1, 2)]
            found = torch.cat([self._logits(way, rows, steps, part) for part in parts])
        except REFUSALS as error:
            if out_of_memory(error):
                raise
            return False
        return same_logits(self.model, found, truth)

    def _read(self) -> _KVCache:
        """Fill the KV cache in one forward pass; the causal mask hides the padding on the right."""
        import torch
        from transformers import DynamicCache

        device, lengths = self.model.device, [len(prompt) for prompt in self.prompts]
        longest = max(lengths)
        ids = torch.tensor([prompt + [self.filler] * (longest - len(prompt)) for prompt in self.prompts], device=device)
        # the model's own cache may keep only a sliding window, which is not enough to continue from
        with output_layer_at(self.model, torch.zeros(1, dtype=torch.long, device=device)):
            cache = self.model(input_ids=ids, past_key_values=DynamicCache(), use_cache=True).past_key_values
        padding = torch.arange(longest, device=device) >= torch.tensor(lengths, device=device)[:, None]
        layers = [(layer.keys, layer.values) for layer in cache.layers]  # each (P, K, T, D)
        if any(keys.shape[-2] != longest for keys, _ in layers):
            raise NotImplementedError("a layer that does not keep every token")
        return _KVCache(layers, padding if min(lengths) < longest else None)

    def _logits(self, way: str, rows: Sequence[Sequence[int]], steps: Sequence[range],
                columns: slice) -> torch.Tensor:
        """Logits (P, N, V) by one way, prompts ``columns`` with every row."""
        import torch

        prompts = self.prompts[columns]
        if way == "alone":
            return torch.cat([self._logits("none", [row], [at], columns)
                              for row, at in zip(rows, steps, strict=True)], dim=1)
        if way == "none":
            rows = [prompts[0] + list(row) for row in rows]
            steps = [[len(prompts[0]) + step for step in at] for at in steps]
        width = max(map(len, rows))
        ids = torch.tensor([[*row, *[self.filler] * (width - len(row))] for row in rows], device=self.model.device)
        index = torch.tensor([r * width + at for r, row_steps in enumerate(steps) for at in row_steps],
                             device=ids.device)  # (N,) into the flattened (R, S)
        inputs: dict[str, Any] = {"input_ids": ids, "use_cache": way in ("reference", "copy")}
        if way == "copy":
            inputs |= {"past_key_values": _copied(self._cache.take(columns), len(prompts[0]), len(rows))}
        if way != "reference":
            return self._pass(inputs, index)[None]
        first = torch.tensor([len(prompt) for prompt in prompts], device=ids.device)  # (P,): where its rows begin
        inputs |= {"input_ids": ids.repeat(len(prompts), 1), "past_key_values": _only_own(len(prompts[0])),
                   "position_ids": (first[:, None, None] + torch.arange(width, device=ids.device)).expand(
                       -1, len(rows), -1).reshape(-1, width)}  # both (P * R, S)
        # (P * N,) into the flattened (P, R, S)
        every = (torch.arange(len(prompts), device=ids.device)[:, None] * ids.numel() + index).flatten()
        longest = max(map(len, prompts)) + width
        with _attending_to(self.model, self._cache.take(columns), longest), last_mlp_at(self.model, every):
            return self._pass(inputs, every).view(len(prompts), len(index), -1)

    def _pass(self, inputs: dict[str, Any], index: torch.Tensor) -> torch.Tensor:
        """Logits (N, V) at ``index`` into the flattened (rows, tokens); the LM head is computed only at these."""
        with output_layer_at(self.model, index) as done:
            logits = self.model(**inputs).logits
        return (logits if done else logits.flatten(0, -2)[index]).view(len(index), -1).float()


def same_logits(model: PreTrainedModel, found: torch.Tensor, wanted: torch.Tensor, *, slack: float = 1) -> bool:
    """Compare logits (..., V): equal but for rounding, which is measured by how far the best ones stand out?

    ``slack`` times as much is let pass.
    """
    import torch

    known = wanted.nan_to_num(0, 0, 0)
    scale = (known.amax(-1) - known.median(-1).values).max()  # max over steps of best - median logit
    rounding = slack * (1e-4 if _exact(model) else 0.1)
    return torch.allclose(found, wanted, rtol=0, atol=float(rounding * scale), equal_nan=True)


def _exact(model: PreTrainedModel) -> bool:
    import torch

    return next(model.parameters()).dtype == torch.float32


def _few(rows: Sequence[Sequence[int]], steps: Sequence[range], before: int,
         most: float) -> tuple[list[Sequence[int]], list[Sequence[int]], int]:
    """Longest row and shortest, the steps to compare, and the tokens of the longest text.

    The longest row is drawn out to the next power of two, so that somewhat longer texts need no new trial.
    """
    long, short = (choose(range(len(rows)), key=lambda row: len(rows[row])) for choose in (max, min))
    least = before + len(rows[long])
    until = int(max(least, min(most, 1 << (least - 1).bit_length())))
    drawn = [rows[long][i % len(rows[long])] for i in range(until - before)]
    apart = max(1, (len(drawn) - steps[long].start) // SAMPLE)
    return [drawn, rows[short]], [[*range(len(drawn) - 1, steps[long].start - 1, -apart)][::-1], steps[short]], until


def _copied(cached: _KVCache, length: int, rows: int) -> Any:
    """A cache that holds the first prompt of ``cached`` for every row."""
    from transformers import DynamicCache

    cache = DynamicCache()
    for number, layer in enumerate(cached.layers):
        cache.update(*(part[:1, :, :length].expand(rows, -1, -1, -1) for part in layer), number)  # (R, K, T, D)
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
def _attending_to(model: PreTrainedModel, cache: _KVCache, longest: int) -> Iterator[None]:
    """Let every attention layer attend to ``cache`` beside the rows' own tokens; the longest text has ``longest``."""
    token = _shared.set(cache)
    try:
        with with_attention(model, ATTENTION, _attend, functools.partial(_no_mask, longest)):
            yield
    finally:
        _shared.reset(token)


def _no_mask(longest: int, *_: Any, mask_function: Callable, attention_mask: torch.Tensor | None = None,
             **__: Any) -> None:
    """Refuse a layer whose mask hides, in a text of ``longest`` tokens, anything but the later ones."""
    import torch
    from transformers.masking_utils import causal_mask_function

    if mask_function is causal_mask_function and attention_mask is None:
        return
    first, at = torch.zeros(1, 1, dtype=torch.long), torch.arange(longest)
    seen = mask_function(first, first, at[:, None], at[None])
    if attention_mask is not None or not torch.equal(seen.expand(longest, longest), at[:, None] >= at):
        raise NotImplementedError("a mask that hides a part of the prompt")


def _attend(module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: Any, *,
            scaling: float | None = None, sliding_window: int | None = None, is_causal: bool | None = None,
            **more: Any) -> tuple[torch.Tensor, None]:
    """Attention of (P * R, heads, S, D) queries to their prompt and to their own row; returns (P * R, S, heads, D)."""
    import torch

    cache = _shared.get()
    far_keys, far_values = cache.layers[module.layer_idx]  # K_p, V_p: (P, K, T, D)
    prompts, groups, before, size = far_keys.shape
    heads, length = query.shape[1:3]
    asked = {name for name, value in more.items() if value is not None} - _IDLE
    if (mask is not None or asked or is_causal is False or getattr(module, "is_causal", True) is False
            or (sliding_window is not None and sliding_window < before + length)):
        raise NotImplementedError(f"attention that asks for more than a softmax over all earlier tokens: {asked}")
    shape = (prompts, groups, -1, heads // groups, length)  # (P, K, R, G, S)
    query = (query * (size**-0.5 if scaling is None else scaling)).view(
        prompts, -1, groups, heads // groups, length, size).transpose(1, 2).reshape(prompts, groups, -1, size)
    # K_row, V_row: (P, K, R, S, D)
    key, value = (own.view(prompts, -1, groups, length, size).transpose(1, 2) for own in (key, value))
    rows = (prompts, groups, key.shape[2], -1)  # (P, K, R, G * S)
    weights = torch.cat([(query @ far_keys.transpose(-1, -2)).view(*shape, before),  # q K_p': (P, K, R, G, S, T)
                         (query.view(*rows, size) @ key.transpose(-1, -2)).view(*shape, length)], dim=-1)  # q K_row'
    weights += _hidden(cache.mask, prompts, before, length, weights)
    weights = weights.softmax(dim=-1, dtype=torch.float32).to(query.dtype)  # one softmax over both: (..., T + S)
    out = weights[..., :before].reshape(prompts, groups, -1, before) @ far_values
    out = out.view(*rows, size) + weights[..., before:].reshape(*rows, length) @ value  # [w_p w_row] [V_p ; V_row]
    return out.view(*shape, size).permute(0, 2, 4, 1, 3, 5).reshape(-1, length, heads, size), None


def _hidden(padding: torch.Tensor | None, prompts: int, before: int, length: int, like: torch.Tensor) -> torch.Tensor:
    """Mask to add to scores (P, K, R, G, S, T + S): -inf at padding of a prompt and at later tokens of a row."""
    hidden = like.new_zeros(prompts, 1, 1, 1, length, before + length)
    hidden[..., before:] = like.new_full((length, length), float("-inf")).triu(1)
    if padding is not None:
        hidden[..., :before].masked_fill_(padding[:, None, None, None, None], float("-inf"))
    return hidden
