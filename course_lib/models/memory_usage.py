"""Memory usage of this process: its peak during a stretch of work, and releasing what no tensor holds.

On a GPU that is what PyTorch has allocated there. On a CPU it is the process's resident memory; Linux keeps its highest
value and lets a process reset that (`/proc/self/clear_refs`), elsewhere it is read now and then.
"""

from __future__ import annotations

import ctypes
import gc
from pathlib import Path

from course_lib.models.hardware import device

__all__ = ["PeakMemory", "highest", "release_memory"]

RESET, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


class PeakMemory:
    """The peak of one device ("cpu" or "cuda"): ``bytes`` is the highest value at any :meth:`update`."""

    def __init__(self, device: str) -> None:
        self.device, self.start = device, _now(device)
        self.bytes = self.start

    def reset(self) -> None:
        """Count the highest value from here on."""
        if self.device == "cuda":
            import torch

            torch.cuda.reset_peak_memory_stats()
        else:
            try:
                RESET.write_text("5", encoding="ascii")
            except OSError:
                pass  # not Linux, or forbidden: what is seen at each update has to do

    def update(self) -> None:
        """Take note of the highest value since the last :meth:`reset`."""
        self.bytes = max(self.bytes, highest(self.device))


def _now(device: str) -> int:
    if device == "cuda":
        import torch

        return torch.cuda.memory_allocated()
    import psutil

    return psutil.Process().memory_info().rss


def highest(device: str) -> int:
    """The most memory in use so far in bytes: what torch allocated on a GPU, the process's resident memory on a CPU."""
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated()
    try:
        lines = STATUS.read_text(encoding="utf-8").splitlines() if RESET.exists() else []
    except OSError:
        lines = []
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")]
    return found[0] if found else _now(device)


def release_memory() -> None:
    """Release memory that no tensor holds any more; call it where no live traceback holds on to some."""
    import torch

    gc.collect()
    if device() == "cuda":
        torch.cuda.empty_cache()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        pass  # another C library than glibc
