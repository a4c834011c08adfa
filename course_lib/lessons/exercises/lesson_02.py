"""Checks of lesson 02: the nearest level, bits a weight, int4 by hand, and the memory that training needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from course_lib.lessons.exercises.core import Wrong, close, rule_out, same
from course_lib.models import nf4

__all__ = ["CHECKS"]

LEVELS = [-1.0, -0.5, 0.0, 0.3, 1.0]


def _nearest(nearest: Callable[[float, Sequence[float]], int]) -> str:
    found = nearest(0.25, LEVELS)
    rule_out(found, {0.3: "You return the level itself, 0.3. The code is its place in the list: 3."})
    if found == 4 and nearest(-3.0, LEVELS) == 1:
        raise Wrong("You count from 1. Places in Python begin at 0, and codes as well.")
    if found == 0 and nearest(-0.9, LEVELS) == 0:
        raise Wrong("You always find the first level. A distance has no sign: compare abs(level - value).")
    rule_out(found, {2: "You took the next level below. For 0.25 the level 0.3 is nearer than 0."})
    rule_out(nearest(-0.4, LEVELS), {2: "You took the next level above. For -0.4 the level -0.5 is nearer than 0."})
    for value, code in ((0.25, 3), (-0.4, 1), (-3.0, 0), (0.9, 4), (0.0, 2)):
        same(nearest(value, LEVELS), code, f"the value {value}")
    return "torch.bucketize does the same for millions of weights at once: it finds the borders around each one."


def _bits(bits_a_weight: Callable[[int], float]) -> str:
    found = bits_a_weight(64)
    rule_out(found, {
        36: "You count a whole scale for each weight. 64 weights share one: divide its 32 bits by `block`.",
        4 + 64 / 32: "You divided the block by 32. It is the other way round: 32 bits are shared by `block` weights.",
        0.5: "That is the scale's part alone. The code's 4 bits come on top.",
        4 + 4 / 64: "You gave the scale 4 bytes. A float32 has 4 bytes, and that is 32 bits."})
    close(found, 4.5, "blocks of 64")
    close(bits_a_weight(128), 4.25, "blocks of 128")
    return "4.5 bits with blocks of 64: the scale costs 32 / 64 = 0.5. Step 3 will make that smaller."


def _int4(int4: Callable[[np.ndarray], np.ndarray]) -> str:
    found = int4(np.array([7.0, -3.4, 0.2]))
    rule_out(found, {
        (7, -3.4, 0.2): "You get the weights back unchanged. They must be rounded in between, or nothing is saved.",
        (7, -3.5, 0): "Your scale is the largest value divided by 8 or another number than 7, so other steps come "
                      "out."})
    close(found, [7, -3, 0], "the block 7, -3.4, 0.2")
    negative = int4(np.array([-14.0, 2.4, 5.4]))
    codes = "These are the codes. Multiply them by the scale: a code alone does not tell the size of a weight."
    rule_out(negative, {(-7, 1, 3): codes, (-7, 1, 2): codes, (-14, 2, 4): "You cut the digits off. np.round goes to "
                        "the nearest whole number, int() and // do not."})
    if not np.isclose(negative[0], -14):
        raise Wrong("The largest weight of the block -14, 2.4, 5.4 is the -14: take the absolute value before max().")
    close(negative, [-14, 2, 6], "the block -14, 2.4, 5.4 (scale 2)")
    blocks = np.random.default_rng(0).normal(size=(256, 64))  # bell-shaped, as trained weights are
    restored = np.stack([int4(block) for block in blocks])
    ours = np.linalg.norm(blocks - restored) / np.linalg.norm(blocks)
    theirs = nf4.quantise(blocks, nf4.levels("NF4")).error
    return f"On bell-shaped blocks of 64, int4 has a relative error of {ours:.1%}, NF4 of {theirs:.1%}."


def _gigabytes(gigabytes: Callable[[float, float, float, float], float]) -> str:
    found = gigabytes(8, 0, 0, 2)
    rule_out(found, {8 * 4.127 + 2: "You added bits to gigabytes. Eight bits are one byte: divide by 8.",
                     6: "You counted 4 bits a weight. The scales count too: 4.127."})
    close(found, 6.127, "8 billion weights in NF4 and 2 GB of working memory", tolerance=1e-3)
    rest, lora = gigabytes(0, 1, 0, 0), gigabytes(0, 0, 1, 0)
    rule_out(rest, {16: "The rest takes 16 bits a weight, not 16 bytes: 2 bytes.",
                    4.127 / 8: "You quantised the rest as well. Embedding, norms and output layer stay at 16 bits."},
             tolerance=1e-3)
    close(rest, 2, "one billion weights of the rest")
    rule_out(lora, dict.fromkeys((2, 4), "An adapter's weight is trained: it needs its gradient and two numbers of "
                                         "Adam as well, 16 bytes in all."))
    close(lora, 16, "one billion weights of adapters")
    close(gigabytes(1.61, 0.1, 0.018, 2), 1.61 * 4.127 / 8 + 0.2 + 0.288 + 2, "all four together", tolerance=1e-3)
    return (f"A model of SmolLM2-1.7B's size with 2 GB for the step needs {gigabytes(1.61, 0.1, 0.018, 2):.1f} GB; its "
            f"4-bit weights are only {gigabytes(1.61, 0, 0, 0):.1f} GB of it.")


CHECKS = {"02.1": _nearest, "02.2": _bits, "02.3": _int4, "02.4": _gigabytes}
