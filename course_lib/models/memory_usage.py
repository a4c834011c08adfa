"""The memory of this process: the most that was in use during a stretch of work, and giving back what is not.

On a GPU that is what PyTorch has allocated there. On a CPU it is the process's resident memory; Linux keeps its highest
value and lets a process set that back (`/proc/self/clear_refs`), elsewhere it is looked at now and then.
"""

from __future__ import annotations

import ctypes
import gc
from pathlib import Path

from course_lib.models.hardware import device

__all__ = ["Peak", "give_back_memory"]

RESET, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


class Peak:
    """Watches one device ("cpu" or "cuda"); ``bytes`` is the highest value since the last :meth:`begin` or before."""

    def __init__(self, device: str) -> None:
        self.device, self.start = device, _now(device)
        self.bytes = self.start

    def begin(self) -> None:
        """From here on the highest value counts."""
        if self.device == "cuda":
            import torch

            torch.cuda.reset_peak_memory_stats()
        else:
            try:
                RESET.write_text("5", encoding="ascii")
            except OSError:
                pass  # not Linux, or forbidden: what is seen at the looks has to do

    def look(self) -> None:
        """Take note of the highest value until now."""
        self.bytes = max(self.bytes, _highest(self.device))


def _now(device: str) -> int:
    if device == "cuda":
        import torch

        return torch.cuda.memory_allocated()
    import psutil

    return psutil.Process().memory_info().rss


def _highest(device: str) -> int:
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated()
    try:
        lines = STATUS.read_text(encoding="utf-8").splitlines() if RESET.exists() else []
    except OSError:
        lines = []
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")]
    return found[0] if found else _now(device)


def give_back_memory() -> None:
    """Give back what no tensor holds any more; to be called where no traceback is alive that holds on to some."""
    import torch

    gc.collect()
    if device() == "cuda":
        torch.cuda.empty_cache()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        pass  # another C library than glibc
