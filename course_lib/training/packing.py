"""Rows of different lengths in one pass without padding, each attending to itself alone.

Rows a, b, c stand one after another, positions restarting at 0 in each:

    tokens     a1 a2 a3 b1 b2 c1 c2 c3 c4
    positions   0  1  2  0  1  0  1  2  3

Everything in a decoder but attention works token by token, so only attention needs to know of rows: it takes queries,
keys and values out to (R, L, ...), where the causal mask hides the padding on the right, and puts the result back. A
shared prefix, such as an instruction, stands once at the start of the line and is taken out for every row. N packs of
rows, one a line of the batch, go together; a shorter line is filled up at its end.

Not every attention can be replaced so (sliding windows, biases by position): :func:`can_pack` compares with a plain
pass, and rows are padded instead where the two differ.

Shapes: N lines, T tokens a line, R rows, L tokens of the longest row, M predicted tokens, V vocabulary, D size of a
head.
"""

from __future__ import annotations

import contextvars
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from course_lib.knowledge.scoring.forward_pass import REFUSALS, last_mlp_at, output_layer_at, with_attention
from course_lib.knowledge.scoring.prompts import common_length
from course_lib.models.hardware import out_of_memory
from course_lib.models.memory import Rows

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

__all__ = ["Target", "average_batch", "can_pack", "predicted", "shared_tokens", "target_logits"]

ATTENTION = "packed_rows"
_places: contextvars.ContextVar[_Places] = contextvars.ContextVar("places of packed rows")


@dataclass(frozen=True, slots=True)
class Target:
    """A row of tokens, of which those from ``start`` on are to be predicted from all before them."""

    tokens: tuple[int, ...]
    start: int


def predicted(rows: Iterable[Target]) -> int:
    """The number of tokens of these rows that are to be predicted."""
    return sum(len(row.tokens) - row.start for row in rows)


def average_batch(rows: Sequence[Target], *, batch: int) -> Rows:
    """The lengths of a batch of these rows, packed, for the memory formula."""
    return Rows.of([len(row.tokens) for row in rows], [predicted([row]) for row in rows], batch=batch,
                   shared=shared_tokens([rows]))


@dataclass(frozen=True, slots=True)
class _Places:
    """``out`` (R, L) says which of the N T tokens stands where in which row, ``back`` (N, T) the reverse."""

    out: torch.Tensor
    back: torch.Tensor


def target_logits(model: PreTrainedModel, lines: Sequence[Sequence[Target]], *, packed: bool, filler: int = 0,
                  ) -> torch.Tensor:
    """Logits (M, V), float32, of all tokens to be predicted, line by line and row by row.

    Every line of ``lines`` holds the rows of one adapter; see :mod:`.multi_lora`. The LM head, and for a single packed
    line the last MLP, are computed at these positions alone.
    """
    import torch

    inputs, where, places = (_pack if packed else _pad)(lines, filler)
    device = model.device
    index = torch.tensor(where, device=device)  # (M,), in the flattened tokens
    inputs = {name: tensor.to(device) for name, tensor in inputs.items()}
    # several lines have different numbers of answer tokens, and their adapters need equal ones
    last = last_mlp_at(model, index) if packed and len(lines) == 1 else nullcontext()
    with _attending_in_rows(model, places), last, output_layer_at(model, index) as done:
        logits = model(**inputs, use_cache=False).logits  # (M, V) at the index where done, else (N, T, V)
    return (logits if done else logits.flatten(0, -2)[index]).view(len(index), -1).float()


def can_pack(model: PreTrainedModel, rows: Sequence[Target]) -> bool:
    """Check that packing the shortest and the longest of these rows gives the logits of a plain forward pass."""
    import torch

    ordered = sorted(rows, key=lambda row: len(row.tokens))
    few = [[ordered[0], ordered[-1], ordered[0]]]
    with torch.no_grad():
        wanted = target_logits(model, few, packed=False)
        try:
            found = target_logits(model, few, packed=True)
        except REFUSALS as error:
            if out_of_memory(error):
                raise
            return False
    rounding = 1e-3 if model.dtype == torch.float32 else 0.1
    return torch.allclose(found, wanted, rtol=0, atol=rounding * float(wanted.abs().max().clamp(min=1)))


def _pack(lines: Sequence[Sequence[Target]], filler: int) -> tuple[dict[str, torch.Tensor], list[int], _Places]:
    import torch

    shared = shared_tokens(lines)
    width = shared + max(sum(len(row.tokens) - shared for row in line) for line in lines)
    longest = max(len(row.tokens) for line in lines for row in line)
    ids, positions = torch.full((len(lines), width), filler), torch.zeros(len(lines), width, dtype=torch.long)
    back, out, where = torch.zeros(len(lines), width, dtype=torch.long), [], []
    for n, line in enumerate(lines):
        start, at = n * width, shared  # of the line, and in it
        for row in line:
            span, length = slice(at, at + len(row.tokens) - shared), len(row.tokens)
            ids[n, span], positions[n, span] = torch.tensor(row.tokens[shared:]), torch.arange(shared, length)
            back[n, span] = len(out) * longest + positions[n, span]
            first = start + at - shared  # where the row would begin if its first tokens were its own
            out.append([*range(start, start + shared), *range(first + shared, first + length),
                        *[start] * (longest - length)])
            where += range(first + row.start - 1, first + length - 1)
            at = span.stop
        ids[n, :shared], positions[n, :shared] = torch.tensor(line[0].tokens[:shared]), torch.arange(shared)
        back[n, :shared] = (len(out) - len(line)) * longest + positions[n, :shared]  # the same in all rows: the first's
    return {"input_ids": ids, "position_ids": positions}, where, _Places(torch.tensor(out), back)


def shared_tokens(lines: Sequence[Sequence[Target]]) -> int:
    """The length of the shared prefix of all rows, short of the last token before an answer."""
    rows = [row for line in lines for row in line]
    return min(min(common_length(rows[0].tokens, row.tokens), row.start - 1) for row in rows)


def _pad(lines: Sequence[Sequence[Target]], filler: int) -> tuple[dict[str, torch.Tensor], list[int], None]:
    import torch

    most, longest = max(map(len, lines)), max(len(row.tokens) for line in lines for row in line)
    ids, where = torch.full((len(lines) * most, longest), filler), []
    for n, line in enumerate(lines):
        for number, row in enumerate(line, n * most):
            ids[number, :len(row.tokens)] = torch.tensor(row.tokens)
            where += range(number * longest + row.start - 1, number * longest + len(row.tokens) - 1)
    return {"input_ids": ids}, where, None


@contextmanager
def _attending_in_rows(model: PreTrainedModel, places: _Places | None) -> Iterator[None]:
    """Let attention work within the rows of ``places``; the model's own attention where there are none."""
    if places is None:
        yield
        return
    token = _places.set(_Places(places.out.to(model.device), places.back.to(model.device)))
    try:
        with with_attention(model, ATTENTION, _attend):
            yield
    finally:
        _places.reset(token)


def _attend(module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, _mask: Any, *,
            scaling: float | None = None, sliding_window: int | None = None,
            **_: Any) -> tuple[torch.Tensor, None]:
    """Compute causal attention of (N, heads, T, D) within each row; returns (N, T, heads, D)."""
    import torch

    places = _places.get()
    rows, longest = places.out.shape
    if sliding_window is not None and sliding_window < longest:
        raise NotImplementedError("a sliding window that hides a part of a row")
    lines, heads, width, size = query.shape

    def take_out(states: torch.Tensor) -> torch.Tensor:  # (N, heads, T, D) -> (R, heads, L, D)
        flat = states.transpose(1, 2).reshape(lines * width, -1)  # (N T, heads D)
        return flat.index_select(0, places.out.flatten()).view(rows, longest, -1, size).transpose(1, 2)

    out = torch.nn.functional.scaled_dot_product_attention(
        take_out(query), take_out(key), take_out(value), is_causal=True, scale=scaling,
        enable_gqa=key.shape[1] != heads)
    flat = out.transpose(1, 2).reshape(rows * longest, heads * size)  # (R L, heads D)
    return flat.index_select(0, places.back.flatten()).view(lines, width, heads, size), None
