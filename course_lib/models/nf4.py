"""NF4 and its neighbours: levels, blocks and the error that quantising makes, in plain numpy.

A weight w of a block becomes the nearest level l of w / s, where s is the block's largest absolute value (its scale),
and l s when it is restored. NF4 (QLoRA, arXiv 2305.14314, App. E) takes as its 2^b levels quantiles of the normal
curve: 2^(b-1) - 1 below zero, zero itself, 2^(b-1) above; the largest is made 1. For 4 bits they are bitsandbytes' own
16 numbers, so that codes, scales and restored weights agree with it bit for bit; for 2 and 3 bits the same rule gives
4 and 8 levels. The relative error is ||w - restored|| / ||w||.

Shapes: N weights, in blocks of ``block``; the last block is filled up with zeros.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from course_lib.files import CourseError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BLOCKS", "KINDS", "NF4", "Quantised", "bits_a_weight", "error_table", "levels", "quantise",
           "weight_samples"]

# bitsandbytes.functional.get_4bit_type("nf4"), as the QLoRA paper prints it
NF4 = (-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
       -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634,
       0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0)
KINDS = ("NF4", "even")
BLOCKS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
SMALLEST = np.float32(1e-38)  # a block of zeros has a scale too


@dataclass(frozen=True, slots=True, eq=False)
class Quantised:
    """Weights in few bits: ``codes`` (blocks, block) and float32 ``scales`` (blocks, 1), and what they give again.

    ``scaled`` (N,) are the weights over the scale of their block, ``restored`` (N,) the weights after quantising.
    """

    codes: np.ndarray
    scales: np.ndarray
    scaled: np.ndarray
    restored: np.ndarray
    error: float


def levels(kind: str, bits: int = 4) -> np.ndarray:
    """The 2^bits levels in float32, from -1 to 1: "NF4" (quantiles of the normal curve) or "even" (evenly spaced).

    Raises:
        CourseError: another kind, or bits outside 2 ... 8.
    """
    if kind not in KINDS or not 2 <= bits <= 8:
        raise CourseError(f"levels {kind!r} in {bits} bits: take one of {', '.join(KINDS)} in 2 to 8 bits")
    if kind == "even":
        return np.linspace(-1, 1, 2**bits, dtype=np.float32)
    return np.array(NF4, np.float32) if bits == 4 else _quantiles(bits)


def _quantiles(bits: int) -> np.ndarray:
    from scipy.stats import norm

    half = 2 ** (bits - 1)
    edge = 1 - (1 / (2 * (2 * half - 1)) + 1 / (4 * half)) / 2  # half a part inside the tail
    above = norm.ppf(np.linspace(edge, 0.5, half + 1)[:-1])  # 2^(b-1) quantiles above zero
    below = -norm.ppf(np.linspace(edge, 0.5, half)[:-1])  # 2^(b-1) - 1 below it
    found = np.sort(np.concatenate([below, [0.0], above]))
    return (found / found.max()).astype(np.float32)


def quantise(weights: np.ndarray, table: np.ndarray, *, block: int = 64) -> Quantised:
    """Quantise weights of any shape, in the order in which they lie in memory; ``table`` are the levels, rising.

    Raises:
        CourseError: no weights, or a block of less than 1.
    """
    flat = np.asarray(weights, np.float32).ravel()
    if not flat.size or block < 1:
        raise CourseError(f"{flat.size} weights in blocks of {block}: give at least one weight, and blocks of 1 or "
                          f"more")
    table = np.asarray(table, np.float32)
    blocks = np.pad(flat, (0, -flat.size % block)).reshape(-1, block)  # (blocks, block)
    scales = np.maximum(np.abs(blocks).max(axis=1, keepdims=True), SMALLEST)  # s: (blocks, 1)
    scaled = blocks * (1 / scales)  # as bitsandbytes does: the last bit differs from a division
    borders = (table[1:] + table[:-1]) / 2  # (levels - 1,): halfway between neighbours
    codes = np.searchsorted(borders, scaled).astype(np.uint8)  # (blocks, block): index of the nearest level l
    restored = (table[codes] * scales).ravel()[:flat.size]  # l s: (N,)
    error = float(np.linalg.norm(flat - restored) / max(np.linalg.norm(flat), SMALLEST))
    return Quantised(codes, scales, scaled.ravel()[:flat.size], restored, error)


def bits_a_weight(bits: int, block: int) -> float:
    """Bits that a weight takes, with one float32 scale for each block."""
    return bits + 32 / block


def weight_samples(layer: np.ndarray, *, seed: int = 0, most: int = 64 * BLOCKS[-1]) -> dict[str, np.ndarray]:
    """Three kinds of weights to compare, as many of each: name -> float32 (N,).

    N is that of ``layer``, at most ``most``, cut to whole blocks of 4096 so that every block size has the same weights.

    The layer's own; a normal sample; and one with a heavy tail (Student's t with 3 degrees of freedom), both of the
    layer's standard deviation.
    """
    own = np.asarray(layer, np.float32).ravel()[:most]
    own = own[:own.size // BLOCKS[-1] * BLOCKS[-1] or own.size]
    rng = np.random.default_rng(seed)
    normal, tailed = rng.standard_normal(own.size), rng.standard_t(3, own.size)
    spread = own.std()
    return {"trained layer": own, "normal sample": (normal * spread / normal.std()).astype(np.float32),
            "heavy tail": (tailed * spread / tailed.std()).astype(np.float32)}


def error_table(samples: Mapping[str, np.ndarray], *, bits: int = 4, blocks: Sequence[int] = BLOCKS) -> pd.DataFrame:
    """Columns weights, levels, block, bits (a weight, with its part of the scale) and error (relative)."""
    import pandas as pd

    rows = [{"weights": name, "levels": kind, "block": block, "bits": bits_a_weight(bits, block),
             "error": quantise(weights, levels(kind, bits), block=block).error}
            for name, weights in samples.items() for kind in KINDS for block in blocks]
    return pd.DataFrame(rows)
