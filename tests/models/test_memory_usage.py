"""The peak of memory."""

from __future__ import annotations

from pathlib import Path

import torch

from course_lib.models.memory import GIB
from course_lib.models.memory_usage import PeakMemory


def test_the_peak_is_at_least_what_was_held_at_once() -> None:
    peak = PeakMemory("cpu")
    peak.reset()
    held = torch.ones(64 * 2**20 // 4)
    del held
    peak.update()
    assert peak.bytes >= peak.start + (60 * 2**20 if Path("/proc/self/clear_refs").exists() else 0)
    assert peak.bytes < peak.start + 2 * GIB
