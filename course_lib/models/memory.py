"""How much memory one training step of QLoRA needs: a formula with six terms, in bytes.

For a Llama-like model with hidden size h, inner size i, width k of keys and values, L layers and vocabulary V, LoRA
rank r, and a batch of n = rows x tokens:

    linear layers   4 bits: 4 + 8/64 + 32/(64 x 256) = 4.127 bits a weight (NF4, double quantisation, arXiv 2305.14314);
                    8 bits: 8 bits a weight and 4 bytes an output (LLM.int8, arXiv 2208.07339); 16 bits: 16
    the rest        embedding and output layer in 16 bits
    adapters        16 bytes for each of their weights: float32 weight, its gradient, AdamW's two moments
    activations     n L (36 h + 4 k + 10 i + 28 r) bytes that the backward pass needs again: two norms in float32 (8 h),
                    queries (2 h), keys and values (4 k), attention's result (2 h), a float32 copy of the input of every
                    adapter but those of down (24 h) and of down (4 i), gate, its SiLU and up (6 i), and A x of seven
                    adapters (28 r). With 8 bits bitsandbytes keeps the inputs of its layers too: 4 h + 2 i more
    logits          14 n V bytes where the backward pass begins: logits in 16 bits, and in float32 the logarithms of the
                    probabilities, their gradient, and that of the logits
    one matrix      the largest linear layer restored to 16 bits, while its gradient passes through

Activations and logits were counted tensor by tensor; tests compare them with what autograd keeps and allocates. Left
out: norms, biases, attention's sums, gradients of activations in passing, CUDA itself and fragments. Without gradient
checkpointing, and for a loop that computes all logits, as Trainer's does; the course's own computes those of the
answers only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from course_lib.files import CourseError

__all__ = ["BITS", "GIB", "GPUS", "SHAPES", "Memory", "Shape", "estimate"]

GIB = 2**30
BITS = {4: 4 + 8 / 64 + 32 / (64 * 256), 8: 8.0, 16: 16.0}
# GiB that programs see: a T4 of 16 GB shows 14.6; the cards are taken at what is printed on them
GPUS: dict[str, float] = {"8 GB card": 8.0, "T4": 14.6, "24 GB card": 24.0}


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
    def other_weights(self) -> int:
        """Weights of the embedding, and of an output layer of its own."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2)


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
class Memory:
    """What a training step needs, in bytes, and the settings that it was computed for; ``tokens`` count one row."""

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
    def parts(self) -> dict[str, float]:
        """Name -> bytes, in the order of the formula."""
        return {"linear layers": self.linear, "embedding, output": self.rest, "adapters + Adam": self.adapters,
                "activations": self.activations, "logits": self.logits, "one restored matrix": self.matrix}

    @property
    def total(self) -> float:
        """All of it."""
        return sum(self.parts.values())

    def left(self, gpu_gib: float) -> float:
        """GiB that a GPU of this size has left; below zero where it does not fit."""
        return gpu_gib - self.total / GIB


def estimate(shape: Shape, *, bits: int = 4, rank: int = 16, batch: int = 8, tokens: int = 128) -> Memory:
    """The six terms for one setting; ``batch`` rows of ``tokens`` tokens.

    Raises:
        CourseError: other bits than 4, 8 or 16, or a size below 1.
    """
    if bits not in BITS:
        raise CourseError(f"bits = {bits}: the formula knows {', '.join(map(str, BITS))}")
    if min(rank, batch, tokens) < 1:
        raise CourseError(f"rank {rank}, batch {batch}, tokens {tokens}: each must be 1 or above")
    n, matrices = batch * tokens, shape.matrices
    scales = 4 * shape.layers * sum(outputs for _, outputs in matrices) if bits == 8 else 0
    each = 36 * shape.hidden + 4 * shape.keys + 10 * shape.inner + 28 * rank
    each += 4 * shape.hidden + 2 * shape.inner if bits == 8 else 0
    return Memory(bits, rank, batch, tokens,
                  linear=shape.linear_weights * BITS[bits] / 8 + scales,
                  rest=2.0 * shape.other_weights,
                  adapters=16.0 * shape.layers * rank * sum(inputs + outputs for inputs, outputs in matrices),
                  activations=float(n * shape.layers * each), logits=14.0 * n * shape.vocabulary,
                  matrix=0.0 if bits == 16 else 2.0 * max(inputs * outputs for inputs, outputs in matrices))
