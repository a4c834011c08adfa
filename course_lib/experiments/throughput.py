"""How fast a GPU or a CPU goes through this course's work, and how many minutes that makes.

Work is counted in floating-point operations. With N weights in the linear layers, h V in the output layer, n tokens
that go through the layers and a tokens whose logits are computed:

    reading   2 N n + 2 h V a       a pass: categorising, and the questions after each epoch
    tuning    4 N n + 4 h V a       a pass, and the gradient on its way back; the frozen weights get none

Seconds are work over speed. How fast a machine is (operations a second in each kind) is, first to last: measured by
our benchmarks on a device of that name, or published runs of others (`data/rates.json`); else a product of two matrices
timed now, times the share of it that the loop reaches. Each says which it is.
"""

from __future__ import annotations

import functools
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from course_lib.models import hardware
from course_lib.models.memory import Shape

if TYPE_CHECKING:
    import torch

__all__ = ["SHARES", "Rates", "known_rates", "matmul_speed", "rates_of", "reading_work", "tuning_work"]

TABLE = Path(__file__).parent / "rates.json"
# of the speed of a plain product of matrices: what tuning and reading reach. On a CPU measured (benchmarks/forecast.py,
# shapes of 360M to 1.7B, 8 rows a step); on a GPU, where small steps wait for the CPU, assumed until gpu.py has run
SHARES = {"cpu": {"tuning": 0.6, "reading": 0.5}, "cuda": {"tuning": 0.2, "reading": 0.3}}


@dataclass(frozen=True, slots=True)
class Rates:
    """Operations a second, and where the figures are from; ``measured`` is False where they are not this course's."""

    tuning: float
    reading: float
    source: str
    measured: bool


def reading_work(shape: Shape, tokens: float, predicted: float) -> float:
    """Operations of a pass over so many tokens, of which ``predicted`` get logits."""
    return 2.0 * (shape.linear_weights * tokens + shape.hidden * shape.vocabulary * predicted)


def tuning_work(shape: Shape, tokens: float, predicted: float) -> float:
    """Operations of a training step over so many tokens: twice those of reading them."""
    return 2.0 * reading_work(shape, tokens, predicted)


@functools.cache
def known_rates() -> dict[str, Rates]:
    """Device name -> rates, of the table that comes with the course."""
    return {name: Rates(**entry) for name, entry in json.loads(TABLE.read_text(encoding="utf-8")).items()}


def rates_of(device: str, *, here: bool) -> Rates | None:
    """The rates of a device by name; ``here`` says that it is the one of this process, which can be timed.

    None where nothing is known of a device that is not here.
    """
    for name, rates in known_rates().items():
        if name.lower() in device.lower():
            return rates
    if not here:
        return None
    speed, share = matmul_speed(), SHARES[hardware.device()]
    found = "measured elsewhere" if hardware.device() == "cpu" else "assumed; python benchmarks/gpu.py measures it"
    return Rates(share["tuning"] * speed, share["reading"] * speed,
                 f"from {speed / 1e12:.3g} TFLOP/s in a product of matrices, timed now, of which training and reading "
                 f"reach a share ({found})", measured=False)


@functools.cache
def matmul_speed(seconds: float = 0.3) -> float:
    """Operations a second of 512 x 2048 by 2048 x 2048 here, in the dtype that models compute in; timed once."""
    import torch

    device = hardware.device()
    dtype = getattr(torch, hardware.device_dtype(device))
    left, right = (torch.ones(rows, 2048, dtype=dtype, device=device) for rows in (512, 2048))
    _timed(left, right, 2)  # warms up
    count = max(2, round(seconds / max(_timed(left, right, 2) / 2, 1e-6)))
    return 2 * 512 * 2048**2 * count / _timed(left, right, count)


def _timed(left: torch.Tensor, right: torch.Tensor, count: int) -> float:
    import torch

    start = time.perf_counter()
    for _ in range(count):
        left @ right
    if left.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start
