"""How much memory the course's own training step needs: the formula of :mod:`.memory`, for our loop.

The loop packs its rows without padding, computes logits of answer tokens alone, and may keep a restored copy of the
frozen weights. With b bytes a number (2 in float16 and bfloat16, 4 in float32), n packed tokens, m = rows x longest
row, a answer tokens with the ends of text, P adapter weights of rank r, and h, i, k, L, V as there:

    weights       NF4: 4.127 bits a weight of the linear layers; b bytes for embedding and an output layer of its own
    copies        b bytes a weight of the linear layers, where they are kept
    adapters      12 P: float32 weights and AdamW's two moments
    activations   n L (8 h + b (3 h + 4 i + 7 r)) + m L (b (2 h + 2 k) + 4 heads), less the last MLP beyond the answers:
                  two norms in float32 (8 h) and their results (2 b h), attention's result (b h), gate, its SiLU, up and
                  their product (4 b i), A x (7 b r); queries, keys, values and result, taken out to rows
    logits        12 a V: the logarithms of the probabilities, their gradient and that of the logits, in float32
    one matrix    b bytes a weight of the largest linear layer, restored on the way where no copy is kept
    gradients     8 P when the step is taken; nothing else of the pass is left by then

    peak = weights + copies + adapters + max(activations + max(logits, one matrix), gradients)

Counted allocation by allocation on the true shapes (`benchmarks/forecast.py`); what CUDA itself and fragments take
comes on top.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from course_lib.files import CourseError
from course_lib.models.memory import BITS, Shape

__all__ = ["BYTES", "Fitted", "LoopMemory", "Rows", "estimate_loop", "fitted"]

ROOM = 0.9  # of the free memory: kernels and fragments take some
BYTES = {"float16": 2, "bfloat16": 2, "float32": 4}


@dataclass(frozen=True, slots=True)
class Rows:
    """A batch: its rows, their tokens on average, the longest, those that all begin with, and predicted ones a row.

    The defaults are EntityQuestions in the course's format: a row of 26 tokens, 7 of them the instruction.
    """

    count: int = 32
    tokens: float = 26.0
    longest: int = 40
    shared: int = 7
    answer: float = 5.0

    @classmethod
    def of(cls, lengths: Sequence[int], answers: Sequence[int], *, batch: int, shared: int) -> Rows:
        """The average batch of rows of these lengths and answers, in tokens, (N,) each; ``longest`` is that of all."""
        n = len(lengths)
        return cls(min(batch, n), sum(lengths) / n, max(lengths), shared, sum(answers) / n)

    @property
    def packed(self) -> float:
        """Tokens that go through the layers: what all rows begin with stands once."""
        return self.shared + self.count * (self.tokens - self.shared)

    @property
    def predicted(self) -> float:
        """Answer tokens and ends of text."""
        return self.count * self.answer


@dataclass(frozen=True, slots=True)
class LoopMemory:
    """What a step of the loop needs, in bytes, term by term."""

    weights: float
    copies: float
    adapters: float
    activations: float
    logits: float
    matrix: float
    gradients: float

    @property
    def resident(self) -> float:
        """What stays from step to step."""
        return self.weights + self.copies + self.adapters

    @property
    def passing(self) -> float:
        """The most that a step needs besides."""
        return max(self.activations + max(self.logits, self.matrix), self.gradients)

    @property
    def peak(self) -> float:
        """All of it, where it is most."""
        return self.resident + self.passing


def estimate_loop(shape: Shape, rows: Rows | None = None, *, rank: int = 16, dtype: str = "float16",
                  copies: bool = False, runs: int = 1) -> LoopMemory:
    """The terms for one batch, which may hold the rows of several ``runs``, each with an adapter of its own.

    ``copies`` says whether the restored weights are kept.

    Raises:
        CourseError: a dtype other than float16, bfloat16 and float32, or a batch without rows.
    """
    rows = Rows() if rows is None else rows
    if dtype not in BYTES:
        raise CourseError(f"dtype {dtype!r}: the formula knows {', '.join(BYTES)}")
    if min(rows.count, rows.tokens, rank) < 1:
        raise CourseError(f"rank {rank}, {rows.count} rows of {rows.tokens} tokens: each must be 1 or above")
    b, h, i, k = BYTES[dtype], shape.hidden, shape.inner, shape.keys
    adapters = runs * shape.layers * rank * sum(inputs + outputs for inputs, outputs in shape.matrices)
    within = (4 if shape.gated else 2) * b * i  # of the MLP, between its layers
    norms = 8 * h if shape.gated else b * h  # Llama's norms work in float32; GPT-NeoX's two keep one input between them
    each = norms + 3 * b * h + within + len(shape.matrices) * b * rank + shape.query_norms * (4 + b) * (h + k)
    of_row = b * (2 * h + 2 * k) + 4 * h / shape.head
    unread = max(0.0, rows.packed - rows.predicted) * (within + (4 + b) * h)  # the last MLP works at the answers alone
    return LoopMemory(
        weights=shape.linear_weights * BITS[4] / 8 + b * shape.other_weights,
        copies=float(copies * b * shape.linear_weights), adapters=12.0 * adapters,
        activations=shape.layers * (rows.packed * each + rows.count * rows.longest * of_row) - unread,
        logits=12.0 * rows.predicted * shape.vocabulary,
        matrix=0.0 if copies else float(b * max(inputs * outputs for inputs, outputs in shape.matrices)),
        gradients=8.0 * adapters)


@dataclass(frozen=True, slots=True)
class Fitted:
    """How a step is fitted into memory: ``parts`` of a batch, and whether the restored weights are kept."""

    parts: int
    copies: bool


def fitted(shape: Shape, rows: Rows, *, rank: int = 16, dtype: str = "float16", free: float,
           runs: int = 1, may_copy: bool = True) -> Fitted:
    """The fewest parts (1, 2, 4, ...) of a batch that leave room in ``free`` bytes, for a model that is not loaded yet.

    Copies are kept as the loop does it: where they take at most half of what the weights leave. They go first.
    """
    def peak(parts: int, copies: bool) -> float:
        part = replace(rows, count=max(1, -(-rows.count // parts)))
        return estimate_loop(shape, part, rank=rank, dtype=dtype, copies=copies, runs=runs).peak

    whole = estimate_loop(shape, rows, rank=rank, dtype=dtype, copies=True, runs=runs)
    copies = may_copy and whole.copies <= (free - whole.weights) / 2 and whole.peak <= ROOM * free
    parts = 1
    while not copies and parts < rows.count and peak(parts, copies=False) > ROOM * free:
        parts *= 2
    return Fitted(parts, copies)
