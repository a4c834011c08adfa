"""The device that computes here: which one, in which number format, and how much memory it has free.

The number format of a quantised model follows the GPU's *compute capability*, not torch's answer to whether bfloat16 is
supported: a T4 (7.5) answers yes, emulates it, and is slow.

* capability >= 8.0 (Ampere and newer): bfloat16;
* older CUDA GPUs: float16 (mixed precision: the adapter's weights stay float32);
* no CUDA GPU: float32.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path

from course_lib.files import CourseError
from course_lib.threads import CONTROL_GROUP, read_limit, usable_cores

__all__ = ["GIB", "compute_dtype", "device", "device_dtype", "device_name", "free_memory", "installed_memory",
           "out_of_memory", "usable_cores"]

GIB = 2**30
DTYPES = ("float16", "bfloat16", "float32")


def device() -> str:
    """Name the device to compute on: "cuda" where torch can use a GPU, else "cpu"."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def device_name() -> str:
    """Name what computes here: the first GPU, or the kind of processor."""
    import torch

    return torch.cuda.get_device_name() if device() == "cuda" else platform.processor() or platform.machine()


def compute_dtype(capability: tuple[int, int] | None) -> str:
    """Choose the torch dtype, by name, in which a quantised model computes on a GPU of this compute capability.

    >>> compute_dtype((7, 5)), compute_dtype((8, 0)), compute_dtype(None)
    ('float16', 'bfloat16', 'float32')
    """
    if capability is None:
        return "float32"
    return "bfloat16" if tuple(capability) >= (8, 0) else "float16"


def device_dtype(kind: str | None = None) -> str:
    """Choose the dtype, by name, that a model computes in on a ``kind`` of device (default: that of :func:`device`).

    The environment variable COURSE_DTYPE decides where it is set: float32 for a model that overflows in float16.

    Raises:
        CourseError: COURSE_DTYPE is no such dtype.
    """
    import torch

    if chosen := os.environ.get("COURSE_DTYPE"):
        if chosen not in DTYPES:
            raise CourseError(f"COURSE_DTYPE={chosen}: give one of {', '.join(DTYPES)}, or leave it unset")
        return chosen
    return compute_dtype(torch.cuda.get_device_capability() if (kind or device()).startswith("cuda") else None)


def free_memory(kind: str = "cpu") -> int:
    """Bytes that a new allocation may take now: of the first CUDA GPU, or of this machine's (container's) memory."""
    import psutil

    if kind == "cuda":
        import torch

        free, total = torch.cuda.mem_get_info()
        share = torch.cuda.get_per_process_memory_fraction() * total  # 1 unless this process has capped itself
        return max(0, min(free, int(share) - torch.cuda.memory_reserved()))
    return max(0, min(psutil.virtual_memory().available, installed_memory() - psutil.Process().memory_info().rss))


def installed_memory(root: Path = CONTROL_GROUP) -> int:
    """Bytes of this machine's memory, or of the container's share of it where that is smaller."""
    import psutil

    limits = [read_limit(root / "memory.max"), read_limit(root / "memory" / "memory.limit_in_bytes")]
    return min([psutil.virtual_memory().total, *(int(limit) for limit in limits if limit.isdigit())])


def out_of_memory(error: BaseException) -> bool:
    """Return whether torch, on a CPU or a GPU, or Python ran out of memory."""
    import torch

    said = str(error)
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        "memory" in said and "illegal memory access" not in said)  # that one is a broken GPU program
