"""Model FLOP utilisation: how much of what a GPU can multiply a training step uses.

    MFU = 4 N t / F

N   weights of the linear layers of all blocks (without embedding and output layer);
t   tokens a second that go through them, padding not counted;
F   floating-point operations a second of the GPU, either as its data sheet says or as a large matrix product reaches;
4   of a frozen base: 2 N operations a token forward (a product and a sum a weight), 2 N more for the gradient of the
    activations. Full training has 6 (Kaplan et al. 2020, arXiv 2001.08361): 2 more for the gradient of the weights.

Left out are adapters, attention, the output layer, restoring weights from 4 bits, and what gradient checkpointing
computes twice: work, but not the work that was asked for. So a method that wastes time has a low MFU, however busy the
GPU is. A loop that puts what all rows begin with through the layers once has fewer tokens t, not more.
"""

from __future__ import annotations

import re
import statistics
from typing import TYPE_CHECKING

from benchmarks.timing import timed

if TYPE_CHECKING:
    import torch

__all__ = ["FLOP_A_WEIGHT", "SHEETS", "matmul_flops", "mfu", "sheet_flops"]

TERA = 1e12
FLOP_A_WEIGHT = 4
# dense 16-bit products summed in float32, 10^12 operations a second, from NVIDIA's data sheets; the first match counts
SHEETS: dict[str, float] = {
    "H100 PCIe": 756, "H100": 989, "H200": 989, "A100": 312, "L40S": 362, "L4": 121, "A10": 125,
    "T4": 65, "V100-PCIE": 112, "V100": 125, "RTX 4090": 165, "RTX 3090": 71}
BFLOAT16_FROM = (8, 0)


def sheet_flops(gpu: str | None, dtype: str, capability: tuple[int, int] | None = None) -> float | None:
    """Operations a second of a GPU by its name; None where the table does not know it, or not in this dtype."""
    if gpu is None or dtype == "float32" or (dtype == "bfloat16" and (capability or BFLOAT16_FROM) < BFLOAT16_FROM):
        return None
    return next((value * TERA for name, value in SHEETS.items() if re.search(rf"\b{name}\b", gpu)), None)


def matmul_flops(device: torch.device, dtype: torch.dtype, *, size: int, repeats: int = 10) -> float:
    """Operations a second of a product of two random matrices (size, size); median of ``repeats`` after three."""
    import torch

    one, other = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    out = torch.empty_like(one)
    seconds = [timed(device, lambda: torch.mm(one, other, out=out)).seconds for _ in range(repeats + 3)][3:]
    return 2 * size**3 / statistics.median(seconds)


def mfu(weights: int, tokens_a_second: float, flops: float | None) -> float | None:
    """The formula; None where F is not known.

    >>> mfu(1_000_000_000, 50_000, 400e12)
    0.5
    """
    return None if flops is None else FLOP_A_WEIGHT * weights * tokens_a_second / flops
