"""Memory of one training step of QLoRA, in bytes, for Trainer's loop and for the course's own; and whether it fits.

For a Llama-like model with hidden size h, MLP size i, width k of keys and values, L layers and vocabulary V, and LoRA
rank r. NF4 with double quantisation takes 4 + 8/64 + 32/(64 x 256) = 4.127 bits a weight (arXiv 2305.14314).

Trainer's loop (:func:`estimate_trainer`), for a batch of n = rows x tokens, with the logits of all of them:

    linear layers   4 bits: NF4; 8 bits: 8 bits a weight and 4 bytes an output (LLM.int8, arXiv 2208.07339); 16 bits: 16
    the rest        embedding and output layer in 16 bits
    adapters        16 bytes for each of their weights: float32 weight, its gradient, AdamW's two moments
    activations     n L (36 h + 4 k + 10 i + 28 r) bytes that the backward pass needs again: two norms in float32 (8 h),
                    queries (2 h), keys and values (4 k), attention's result (2 h), a float32 copy of the input of every
                    adapter but those of down (24 h) and of down (4 i), gate, its SiLU and up (6 i), and A x of seven
                    adapters (28 r). With 8 bits bitsandbytes keeps the inputs of its layers too: 4 h + 2 i more
    logits          14 n V bytes where the backward pass begins: logits in 16 bits, and in float32 the logarithms of the
                    probabilities, their gradient, and that of the logits
    one matrix      the largest linear layer dequantised to 16 bits, while its gradient passes through

The course's loop (:func:`estimate_loop`) packs its rows without padding, computes logits of answer tokens alone, and
may keep a dequantised copy of the frozen weights. With b bytes a number (2 in float16 and bfloat16, 4 in float32), n
packed tokens, m = rows x longest row, a answer tokens with the ends of text, and P adapter weights:

    weights         NF4 in the linear layers; b bytes a weight of the embedding and of an output layer of its own
    copies          b bytes a weight of the linear layers, where they are kept
    adapters        12 P: float32 weights and AdamW's two moments
    activations     n L (8 h + b (3 h + 4 i + 7 r)) + m L (b (2 h + 2 k) + 4 heads), less the last MLP beyond the
                    answers: two norms in float32 (8 h) and their results (2 b h), attention's result (b h), gate, its
                    SiLU, up and their product (4 b i), A x (7 b r); queries, keys, values and result, taken out to rows
    logits          12 a V: the logarithms of the probabilities, their gradient and that of the logits, in float32
    one matrix      b bytes a weight of the largest linear layer, dequantised on the fly where no copy is kept
    gradients       8 P when the step is taken; nothing else of the pass is left by then

    peak = weights + copies + adapters + max(activations + max(logits, one matrix), gradients)

Both were counted tensor by tensor: tests compare them with what autograd keeps and with allocations on the true shapes
(`benchmarks/forecast.py`). Left out: norms, biases, what CUDA itself and fragments take; of Trainer's also attention's
sums and gradients of activations in passing. Both are without gradient checkpointing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from course_lib.files import CourseError
from course_lib.models.hardware import GIB

__all__ = ["BITS", "GIB", "GPUS", "SHAPES", "Gpu", "LoopMemory", "Rows", "Shape", "StepPlan", "TrainerMemory",
           "estimate_loop", "estimate_trainer", "plan_step"]

BITS = {4: 4 + 8 / 64 + 32 / (64 * 256), 8: 8.0, 16: 16.0}
BYTES = {"float16": 2, "bfloat16": 2, "float32": 4}
SPARE = 0.9  # of the free memory that a step may take: kernels and fragments need some


@dataclass(frozen=True, slots=True)
class Gpu:
    """A device to train on: bytes of ``total`` memory and those that are ``free``; ``capability`` is None on a CPU.

    ``held`` are bytes that this process has in use besides.
    """

    name: str
    total: float
    free: float
    capability: tuple[int, int] | None
    held: float = 0.0

    def fits(self, needed: float) -> bool:
        """Return whether so many bytes fit into the free memory: the one answer of lesson 02, forecasts and doctor."""
        return needed <= self.free


# total: what programs see of the 16 GB of a T4, and what is printed on the cards; free: without CUDA's own part
GPUS: Mapping[str, Gpu] = {gpu.name: gpu for gpu in (
    Gpu("8 GB card", 8.0 * GIB, 7.2 * GIB, (8, 6)), Gpu("T4", 14.6 * GIB, 14.2 * GIB, (7, 5)),
    Gpu("24 GB card", 24.0 * GIB, 23.0 * GIB, (8, 9)))}


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a Llama-like model; ``keys`` is the width of keys and values, ``tied`` shares the output layer.

    ``head`` is the width of one attention head. ``gated`` is False for GPT-NeoX, whose MLP has two layers and whose
    queries, keys and values come from one; ``query_norms`` is True for OLMo-2, which normalises queries and keys.
    """

    hidden: int
    inner: int
    layers: int
    keys: int
    vocabulary: int
    tied: bool
    head: int = 64
    gated: bool = True
    query_norms: bool = False

    @classmethod
    def of(cls, config: Any) -> Shape:
        """The shape of a model from its transformers configuration."""
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        return cls(config.hidden_size, config.intermediate_size, config.num_hidden_layers, heads * width,
                   config.vocab_size, config.tie_word_embeddings, width, config.model_type != "gpt_neox",
                   config.model_type.startswith("olmo2"))

    @property
    def matrices(self) -> tuple[tuple[int, int], ...]:
        """(inputs, outputs) of the linear layers of one block: q k v o, gate up down."""
        h, i, k = self.hidden, self.inner, self.keys
        if not self.gated:
            return (h, h + 2 * k), (h, h), (h, i), (i, h)
        return (h, h), (h, k), (h, k), (h, h), (h, i), (h, i), (i, h)

    @property
    def linear_weights(self) -> int:
        """Weights of the linear layers of all blocks."""
        return self.layers * sum(inputs * outputs for inputs, outputs in self.matrices)

    @property
    def largest_matrix(self) -> int:
        """Weights of the largest linear layer."""
        return max(inputs * outputs for inputs, outputs in self.matrices)

    @property
    def other_weights(self) -> int:
        """Weights of the embedding, and of an output layer of its own."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2)

    def adapter_weights(self, rank: int) -> int:
        """LoRA weights on all linear layers: A (rank, inputs) and B (outputs, rank) each."""
        return self.layers * rank * sum(inputs + outputs for inputs, outputs in self.matrices)


# from the published configurations; the pocket model's is a test's to compare
SHAPES: Mapping[str, Shape] = {
    "pocket": Shape(192, 512, 4, 192, 2048, True), "SmolLM2-360M": Shape(960, 2560, 32, 320, 49152, True),
    "SmolLM2-1.7B": Shape(2048, 8192, 24, 2048, 49152, True),
    "OLMo-2-0425-1B": Shape(2048, 8192, 16, 2048, 100352, False, 128, query_norms=True),
    "Qwen2.5-1.5B": Shape(1536, 8960, 28, 256, 151936, True, 128),
    "Mistral-7B-v0.3": Shape(4096, 14336, 32, 1024, 32768, False, 128),
    "Qwen2.5-7B": Shape(3584, 18944, 28, 512, 152064, False, 128),
    "OLMo-2-1124-7B": Shape(4096, 11008, 32, 4096, 100352, False, 128, query_norms=True)}


@dataclass(frozen=True, slots=True)
class TrainerMemory:
    """Memory of a step of Trainer's loop in bytes, and the settings it was computed for; ``tokens`` count one row."""

    bits: int
    rank: int
    batch: int
    tokens: int
    linear: float
    rest: float
    adapters: float
    activations: float
    logits: float
    matrix: float

    @property
    def terms(self) -> dict[str, float]:
        """Name -> bytes, in the order of the formula."""
        return {"linear layers": self.linear, "embedding, output": self.rest, "adapters + Adam": self.adapters,
                "activations": self.activations, "logits": self.logits, "one dequantised matrix": self.matrix}

    @property
    def total(self) -> float:
        """The sum of all terms."""
        return sum(self.terms.values())


def estimate_trainer(shape: Shape, *, bits: int = 4, rank: int = 16, batch: int = 8,
                     tokens: int = 128) -> TrainerMemory:
    """Estimate a step of Trainer's loop with ``batch`` rows of ``tokens`` tokens.

    Raises:
        CourseError: other bits than 4, 8 or 16, or a size below 1.
    """
    if bits not in BITS:
        raise CourseError(f"bits = {bits}: the formula knows {', '.join(map(str, BITS))}")
    if min(rank, batch, tokens) < 1:
        raise CourseError(f"rank {rank}, batch {batch}, tokens {tokens}: each must be 1 or above")
    n = batch * tokens
    scales = 4 * shape.layers * sum(outputs for _, outputs in shape.matrices) if bits == 8 else 0
    each = 36 * shape.hidden + 4 * shape.keys + 10 * shape.inner + 28 * rank  # activations of a token in one block
    each += 4 * shape.hidden + 2 * shape.inner if bits == 8 else 0
    return TrainerMemory(
        bits, rank, batch, tokens,
        linear=shape.linear_weights * BITS[bits] / 8 + scales,
        rest=2.0 * shape.other_weights,
        adapters=16.0 * shape.adapter_weights(rank),
        activations=float(n * shape.layers * each), logits=14.0 * n * shape.vocabulary,
        matrix=0.0 if bits == 16 else 2.0 * shape.largest_matrix)


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
        """Tokens that go through the layers: the shared prefix stands once."""
        return self.shared + self.count * (self.tokens - self.shared)

    @property
    def predicted(self) -> float:
        """Answer tokens and ends of text."""
        return self.count * self.answer

    def split(self, micro_batches: int) -> Rows:
        """The largest micro-batch of this batch."""
        return replace(self, count=max(1, -(-self.count // micro_batches)))


@dataclass(frozen=True, slots=True)
class LoopMemory:
    """Memory of a step of the course's loop, in bytes, term by term."""

    weights: float
    copies: float
    adapters: float
    activations: float
    logits: float
    matrix: float
    gradients: float

    @property
    def resident(self) -> float:
        """Bytes that stay from step to step."""
        return self.weights + self.copies + self.adapters

    @property
    def passing(self) -> float:
        """The most that a step needs besides."""
        return max(self.activations + max(self.logits, self.matrix), self.gradients)

    @property
    def peak(self) -> float:
        """The most that is in use at one time."""
        return self.resident + self.passing


def estimate_loop(shape: Shape, rows: Rows | None = None, *, rank: int = 16, dtype: str = "float16",
                  copies: bool = False, runs: int = 1) -> LoopMemory:
    """Estimate a step of the course's loop, with the rows of one run or of several ``runs``, each with an adapter.

    ``copies`` says whether the dequantised weights are kept.

    Raises:
        CourseError: a dtype other than float16, bfloat16 and float32, or a batch without rows.
    """
    rows = Rows() if rows is None else rows
    if dtype not in BYTES:
        raise CourseError(f"dtype {dtype!r}: the formula knows {', '.join(BYTES)}")
    if min(rows.count, rows.tokens, rank) < 1:
        raise CourseError(f"rank {rank}, {rows.count} rows of {rows.tokens} tokens: each must be 1 or above")
    b, h, i, k = BYTES[dtype], shape.hidden, shape.inner, shape.keys
    adapters = runs * shape.adapter_weights(rank)
    within = (4 if shape.gated else 2) * b * i  # of the MLP, between its layers
    norms = 8 * h if shape.gated else b * h  # Llama's norms work in float32; GPT-NeoX's two keep one input between them
    # activations of a packed token in one block: norms, their results and attention's, the MLP, A x, norms of q and k
    each = norms + 3 * b * h + within + len(shape.matrices) * b * rank + shape.query_norms * (4 + b) * (h + k)
    # and of each position up to the longest row: queries, keys, values, attention's result; a float32 for each head
    of_row = b * (2 * h + 2 * k) + 4 * h / shape.head
    unread = max(0.0, rows.packed - rows.predicted) * (within + (4 + b) * h)  # the last MLP works at the answers alone
    return LoopMemory(
        weights=shape.linear_weights * BITS[4] / 8 + b * shape.other_weights,
        copies=float(copies * b * shape.linear_weights), adapters=12.0 * adapters,
        activations=shape.layers * (rows.packed * each + rows.count * rows.longest * of_row) - unread,
        logits=12.0 * rows.predicted * shape.vocabulary,
        matrix=0.0 if copies else float(b * shape.largest_matrix),
        gradients=8.0 * adapters)


@dataclass(frozen=True, slots=True)
class StepPlan:
    """A plan to fit a step into memory: the number of ``micro_batches``, and whether dequantised copies are kept.

    ``rows`` is the largest micro-batch, ``memory`` what it needs.
    """

    micro_batches: int
    copies: bool
    rows: Rows
    memory: LoopMemory


def plan_step(shape: Shape, rows: Rows, *, rank: int = 16, dtype: str = "float16", free: float, runs: int = 1,
              may_copy: bool = True) -> StepPlan:
    """Plan the fewest micro-batches (1, 2, 4, ...) that leave room in ``free`` bytes, before the model is loaded.

    Copies are kept as the loop does it: where they take at most half of what the weights leave. They go first.
    """
    def plan(micro_batches: int, *, copies: bool) -> StepPlan:
        part = rows.split(micro_batches)
        return StepPlan(micro_batches, copies, part,
                        estimate_loop(shape, part, rank=rank, dtype=dtype, copies=copies, runs=runs))

    found = plan(1, copies=True)
    whole = found.memory
    if may_copy and whole.copies <= (free - whole.weights) / 2 and whole.peak <= SPARE * free:
        return found
    found = plan(1, copies=False)
    while found.micro_batches < rows.count and found.memory.peak > SPARE * free:
        found = plan(2 * found.micro_batches, copies=False)
    return found
