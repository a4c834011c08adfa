"""Batch size: rows that go through a model at once with little padding, and no more than the memory holds.

Rows are taken longest first, so that those of one length stand together. A block of n rows, the longest of w tokens,
takes n w tokens, of which those beyond the real ones are padding: less than a twentieth.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from course_lib.knowledge.scoring.distribution import stated
from course_lib.models.hardware import free_memory

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["CPU_TOKENS", "GPU_TOKENS", "block_size", "default_batch_tokens", "token_bytes"]

PADDING = 0.04  # of the real tokens of a block
CPU_TOKENS, GPU_TOKENS = 2048, 32_768


def block_size(lengths: Sequence[int], limit: int) -> int:
    """Number of these rows, longest first, that make a block of at most ``limit`` tokens with little padding."""
    width, real = lengths[0], 0
    for count, length in enumerate(lengths, 1):
        real += length
        # n w tokens, padding included, against the limit and against the real ones
        if count > 1 and (count * width > limit or count * width > (1 + PADDING) * real):
            return count - 1
    return len(lengths)


def default_batch_tokens(model: PreTrainedModel) -> int:
    """Tokens of one forward pass: a power of two that takes at most half of the free memory.

    A token needs its activations, and a third of the tokens a row of logits, of which three copies live at once.
    More than the cap brings no more speed (measured on two cores; on a GPU, the cap keeps the padding low).
    """
    widths = [stated(model, name) or 0 for name in ("hidden_size", "intermediate_size")]
    width = max(max(width) if isinstance(width, list | tuple) else width for width in widths)  # one for each layer
    bytes_each = token_bytes(max(width, 256), stated(model, "vocab_size") or 32_000)
    cap = CPU_TOKENS if model.device.type == "cpu" else GPU_TOKENS
    fitting = free_memory(model.device.type) // (2 * bytes_each)  # tokens in half of what is free
    return max(64, min(cap, 2 ** max(0, int(fitting).bit_length() - 1)))


def token_bytes(width: int, vocabulary: int) -> int:
    """Most bytes, about, that a token of such a pass needs; ``width`` is that of the widest layer."""
    return 4 * (16 * width + vocabulary)  # float32: activations, and 3 copies of logits at a third of the tokens
