"""Sampling with shared caches: the few-shot prefix is computed once a prompt, and each question once.

Two layouts of the 1 + 16 sequences of a question:

* *rows*: the cache of a question is repeated, one row a sequence, as transformers' caches are made for. New keys are
  written in place into room kept for them, since appending would copy all the rows at every step.
* *tree*: the sequences of a question stay in one row and read one cache. At each step they are the queries of that
  row, and a mask lets each see the question and its own tokens only. Nothing is repeated, but one has to write it.

Both take the first tokens of all samples from one distribution, drop sequences that have ended, sort questions by
length, and apply the output layer to the last position alone. Neither looks at the right answer while it samples, and
neither merges samples that begin alike.

Shapes: B questions of a batch, S = 1 + n sequences of a question (the first is greedy), W of them alive, T tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from benchmarks.rivals import Protocol, Reader, Sampled
from course_lib.data.facts import Fact
from course_lib.knowledge.scoring.prompts import Prompt, common_length, encode

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["LAYOUTS", "Prefix", "cached_sampling", "prefill"]

NOTHING = -1  # stands behind the end of a written line


@dataclass(frozen=True, slots=True)
class Prefix:
    """The tokens that all questions after a prompt begin with, and their keys and values, one pair a layer."""

    tokens: tuple[int, ...]
    layers: tuple[tuple[torch.Tensor, torch.Tensor], ...]


@torch.inference_mode()
def prefill(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase,
            prompts: Iterable[Prompt]) -> dict[Prompt, Prefix]:
    """Compute the prefix of every prompt once."""
    prefixes = {}
    for prompt in prompts:
        first, second = encode(tokenizer, [prompt.text("W"), prompt.text("1")])
        tokens = first[:common_length(first, second)]
        out = model(input_ids=torch.tensor([tokens], device=model.device), past_key_values=DynamicCache(),
                    logits_to_keep=1)
        layers = tuple((layer.keys, layer.values) for layer in out.past_key_values.layers)
        prefixes[prompt] = Prefix(tuple(tokens), layers)
    return prefixes


@torch.inference_mode()
def cached_sampling(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, facts: Sequence[Fact],
                    prompts: Sequence[Prompt], *, batch: int, protocol: Protocol,
                    prefixes: Mapping[Prompt, Prefix], layout: str = "rows") -> Sampled:
    """The paper's protocol, ``batch`` questions of one prompt at a time; ``prefixes`` come from :func:`prefill`."""
    reader = Reader.of(tokenizer, model)
    writer = _Writer(model, protocol, torch.tensor(sorted(reader.stops), device=model.device))
    found = Sampled.empty(len(facts), len(prompts), protocol.n_samples)
    torch.manual_seed(protocol.seed)
    for column, prompt in enumerate(prompts):
        prefix = prefixes[prompt]
        rows = encode(tokenizer, [prompt.text(fact.question) for fact in facts])
        shared = min(min(common_length(prefix.tokens, row), len(row) - 1) for row in rows)
        longest_first = sorted(range(len(rows)), key=lambda row: -len(rows[row]))
        for start in range(0, len(rows), batch):
            some = longest_first[start:start + batch]
            asked = _ask(model, prefix, [rows[row][shared:] for row in some], shared)
            for row, lines in zip(some, LAYOUTS[layout](writer, asked).tolist(), strict=True):
                found.greedy[row, column] = reader.count(lines[:1], facts[row].object)
                found.hits[row, column] = reader.count(lines[1:], facts[row].object)
    return found


@dataclass(slots=True)
class _Asked:
    """Questions that the model has read: what comes next (B, V), the cache, what of it counts (B, T), positions (B,).

    ``positions`` are those of the last token that was read.
    """

    logits: torch.Tensor
    cache: DynamicCache
    seen: torch.Tensor
    positions: torch.Tensor
    padded: bool


def _ask(model: PreTrainedModel, prefix: Prefix, questions: list[list[int]], shared: int) -> _Asked:
    """Read questions after a prefix that all of them share, padded on the left."""
    longest, to = max(map(len, questions)), {"device": model.device}
    ids = torch.tensor([[0] * (longest - len(row)) + row for row in questions], **to)
    real = torch.tensor([[False] * (longest - len(row)) + [True] * len(row) for row in questions], **to)
    seen = torch.cat([torch.ones(len(questions), shared, dtype=torch.bool, **to), real], 1)
    positions = shared + (real.long().cumsum(1) - 1).clamp(min=0)
    cache = DynamicCache()
    for number, pair in enumerate(prefix.layers):
        keys, values = (part[:, :, :shared].expand(len(questions), -1, -1, -1) for part in pair)
        cache.update(keys, values, number)
    padded = len(set(map(len, questions))) > 1
    out = model(input_ids=ids, attention_mask=seen.long() if padded else None, position_ids=positions,
                past_key_values=cache, logits_to_keep=1)
    return _Asked(out.logits[:, -1], cache, seen, positions[:, -1], padded)


@dataclass(frozen=True, slots=True)
class _Writer:
    """What a batch is written with."""

    model: PreTrainedModel
    protocol: Protocol
    stops: torch.Tensor

    @property
    def sequences(self) -> int:
        return self.protocol.n_samples + 1

    def first(self, logits: torch.Tensor) -> torch.Tensor:
        """First tokens (B, S) from what comes next (B, V): the best one, then the samples."""
        tokens, chances = self._best(logits)
        drawn = chances.multinomial(self.protocol.n_samples, replacement=True)
        return torch.cat([tokens[:, :1], tokens.gather(1, drawn)], 1)

    def draw(self, logits: torch.Tensor, greedy: torch.Tensor) -> torch.Tensor:
        """One token (N,) for each row of logits (N, V): the best one where ``greedy``, else a sample."""
        tokens, chances = self._best(logits)
        drawn = chances.multinomial(1)[:, 0].masked_fill(greedy, 0)
        return tokens.gather(1, drawn[:, None])[:, 0]

    def _best(self, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The top-k tokens, best first, and their probabilities: a softmax over k, not over the vocabulary."""
        size = logits.shape[-1]
        values, tokens = logits.float().topk(min(self.protocol.top_k or size, size), dim=-1)
        return tokens, (values / self.protocol.temperature).softmax(-1)

    def over(self, tokens: torch.Tensor) -> torch.Tensor:
        """Which tokens end a line."""
        return torch.isin(tokens, self.stops)


class _Room(DynamicLayer):
    """Keys and values of a layer, each row repeated, with room for tokens to come."""

    def __init__(self, layer: DynamicLayer, repeats: int, more: int) -> None:
        super().__init__()
        self.lazy_initialization(layer.keys, layer.values)
        self.length = layer.keys.shape[2]
        self.rooms = [self._repeat(part, repeats, more) for part in (layer.keys, layer.values)]
        self._show()

    @staticmethod
    def _repeat(part: torch.Tensor, repeats: int, more: int) -> torch.Tensor:
        rows, heads, length, size = part.shape
        room = part.new_empty(rows, repeats, heads, length + more, size)
        room[:, :, :, :length] = part[:, None]
        return room.flatten(0, 1)

    def _show(self) -> None:
        self.keys, self.values = (room[:, :, :self.length] for room in self.rooms)

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_, **__) -> tuple[torch.Tensor,
                                                                                              torch.Tensor]:
        """Put new keys and values (N, heads, T, size) behind the others."""
        before, self.length = self.length, self.length + key_states.shape[2]
        for room, new in zip(self.rooms, (key_states, value_states), strict=True):
            room[:, :, before:self.length] = new
        self._show()
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep these rows."""
        self.rooms = [room[indices] for room in self.rooms]
        self._show()


def _write_rows(writer: _Writer, asked: _Asked) -> torch.Tensor:
    """Lines (B, S, T) of all questions, one row of the cache a sequence."""
    count, most = writer.sequences, writer.protocol.max_tokens
    tokens = writer.first(asked.logits).flatten()
    lines = tokens.new_full((len(tokens), most), NOTHING)
    lines[:, 0] = tokens
    asked.cache.layers = [_Room(layer, count, most) for layer in asked.cache.layers]
    row = torch.arange(len(tokens), device=tokens.device)
    seen, position = asked.seen.repeat_interleave(count, 0), asked.positions.repeat_interleave(count)
    for step in range(1, most):
        alive = ~writer.over(tokens)
        if not alive.any():
            break
        if alive.float().mean() < 0.8:  # taking rows out copies the others: not for a few
            asked.cache.batch_select_indices(alive)
            tokens, row, seen, position, alive = (part[alive] for part in (tokens, row, seen, position, alive))
        position, seen = position + 1, torch.cat([seen, seen.new_ones(len(seen), 1)], 1)
        out = writer.model(input_ids=tokens[:, None], attention_mask=seen.long() if asked.padded else None,
                           position_ids=position[:, None], past_key_values=asked.cache, logits_to_keep=1)
        drawn = writer.draw(out.logits[:, -1], row % count == 0)
        lines[row[alive], step] = drawn[alive]
        tokens = torch.where(alive, drawn, tokens)  # a row that has ended stays so
    return lines.view(-1, count, most)


def _write_tree(writer: _Writer, asked: _Asked) -> torch.Tensor:
    """Lines (B, S, T) of all questions, one row of the cache a question."""
    count, most = writer.sequences, writer.protocol.max_tokens
    tokens = writer.first(asked.logits)
    lines = tokens.new_full((len(tokens), count, most), NOTHING)
    lines[:, :, 0] = tokens
    row = torch.arange(len(tokens), device=tokens.device)
    sequence = torch.arange(count, device=tokens.device).expand_as(tokens)
    path = tokens.new_zeros(*tokens.shape, 0)  # (B, W, steps): the keys of a sequence, counted from the question's end
    seen, position, alive, keys = asked.seen, asked.positions, ~writer.over(tokens), 0
    for step in range(1, most):
        some = alive.any(1)
        if not some.any():
            break
        if not some.all():
            asked.cache.batch_select_indices(some)
            row, seen, position, tokens, sequence, path, alive = (
                part[some] for part in (row, seen, position, tokens, sequence, path, alive))
        width = int(alive.sum(1).max())
        order = (~alive).byte().argsort(dim=1, stable=True)[:, :width]  # those alive first
        tokens, sequence, alive = (part.gather(1, order) for part in (tokens, sequence, alive))
        path = path.gather(1, order[:, :, None].expand(-1, -1, path.shape[2]))
        new = keys + torch.arange(width, device=tokens.device).expand_as(tokens)
        path, keys, position = torch.cat([path, new[:, :, None]], 2), keys + width, position + 1
        out = writer.model(input_ids=tokens, attention_mask=_tree_mask(seen, path, keys, asked.logits.dtype),
                           position_ids=position[:, None].expand_as(tokens), past_key_values=asked.cache)
        drawn = writer.draw(out.logits.flatten(0, 1), (sequence == 0).flatten()).view_as(tokens)
        lines[row[:, None].expand_as(drawn)[alive], sequence[alive], step] = drawn[alive]
        tokens, alive = drawn, alive & ~writer.over(drawn)
    return lines


def _tree_mask(seen: torch.Tensor, path: torch.Tensor, keys: int, dtype: torch.dtype) -> torch.Tensor:
    """What is added to attention (B, 1, W, T): nothing for the question and the own tokens, else minus infinity."""
    own = torch.zeros(*path.shape[:2], keys, dtype=torch.bool, device=path.device).scatter_(2, path, True)
    visible = torch.cat([seen[:, None].expand(-1, path.shape[1], -1), own], 2)[:, None]
    return torch.zeros(visible.shape, dtype=dtype, device=path.device).masked_fill_(~visible, torch.finfo(dtype).min)


LAYOUTS: dict[str, Callable[[_Writer, _Asked], torch.Tensor]] = {"rows": _write_rows, "tree": _write_tree}
