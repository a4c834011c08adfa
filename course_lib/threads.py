"""Cores and CPU threads: how many there are, who else uses them, and threads that sleep while they wait.

torch shares each operation out to a team of OpenMP threads. They meet at its end, and the first to come spins: it keeps
its core busy until the last is there. A forward pass of a small model is thousands of operations of microseconds; with
another process computing, one thread of the team has no core, the others spin for a time slice at every meeting, and a
pocket run takes 20 times as long. Threads that sleep instead take 1 to 2 times as long beside one busy process, and as
long as spinning ones on a quiet machine (``benchmarks/busy.py``; on two cores two sleeping threads are 1.4 times as
fast as one).

OpenMP reads its settings once, when torch is imported; processes that are started later inherit them.
"""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

__all__ = ["CONTROL_GROUP", "SETTINGS", "SPINNING", "allowed_cores", "busy_cores", "read_limit", "spin", "usable_cores",
           "wait_passively"]

CONTROL_GROUP = Path("/sys/fs/cgroup")
# how GNU's and LLVM's OpenMP wait; any of them is a choice of the user's
WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")
SETTINGS = (*WAITING, "OMP_NUM_THREADS")
SPINNING = ("torch's threads spin while they wait, since torch was imported before course_lib, and beside another busy "
            "process that is 20 times as slow; restart Python and import course_lib first, or set "
            "OMP_WAIT_POLICY=PASSIVE")
LOOK = 0.3  # seconds over which the use of the cores is averaged
_late = False


def wait_passively() -> None:
    """Let OpenMP's threads sleep while they wait, and take no more of them than a container's quota of cores.

    A variable of :data:`SETTINGS` that is set stays as it is. This must happen before torch is imported.
    """
    global _late
    if not any(name in os.environ for name in WAITING):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        _late = "torch" in sys.modules
    if "OMP_NUM_THREADS" not in os.environ and usable_cores() < allowed_cores():
        os.environ["OMP_NUM_THREADS"] = str(usable_cores())


def spin() -> bool:
    """True where this process's threads spin because torch was imported before :func:`wait_passively` was called."""
    return _late


def allowed_cores() -> int:
    """CPU cores that this process may be put on; torch takes a thread for each."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # only Linux knows affinity
        return os.cpu_count() or 1


def usable_cores() -> int:
    """CPU cores that this process really gets: a container or a batch system often grants fewer than exist."""
    quota = _cpu_quota()
    return allowed_cores() if quota is None else max(1, min(allowed_cores(), math.ceil(quota)))


def busy_cores() -> float:
    """Cores that other processes keep computing, on average over a third of a second."""
    import psutil

    psutil.cpu_percent()  # the next call measures from here
    before = os.times()
    share = psutil.cpu_percent(interval=LOOK) / 100
    own = sum(os.times()[:2]) - sum(before[:2])
    return max(0.0, share * (psutil.cpu_count() or 1) - own / LOOK)


def _cpu_quota(root: Path = CONTROL_GROUP) -> float | None:
    """Cores granted by the container's control group, version 2 or 1; ``None`` when there is no limit."""
    two = read_limit(root / "cpu.max").split()
    one = [read_limit(root / "cpu" / f"cpu.cfs_{part}_us") for part in ("quota", "period")]
    for quota, period in (two if len(two) == 2 else ("", ""), one):
        if quota.isdigit() and period.isdigit():  # "max" and -1 both mean no limit
            return int(quota) / int(period)
    return None


def read_limit(path: Path) -> str:
    """The text of a file of the control group; "" where there is none."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
