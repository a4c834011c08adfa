"""Clocks and counters: seconds, the best batch size, tokens that pass through a model, memory.

A machine is never quiet. What is compared is therefore run in turn, more than once, and the median is taken; the
spread is (largest - smallest) / median.
"""

from __future__ import annotations

import gc
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

__all__ = ["Batch", "Held", "Timed", "Traffic", "best_batch", "count_traffic", "peak_bytes", "peak_memory", "spread",
           "timed"]

MEBI = 2**20


@dataclass(frozen=True, slots=True)
class Timed:
    """What a call returned, and how many seconds it took."""

    seconds: float
    value: Any


def timed(device: torch.device, run: Callable[[], Any]) -> Timed:
    """Call ``run``, wait for the device, and say how long it took."""
    _wait(device)
    start = time.perf_counter()
    value = run()
    _wait(device)
    return Timed(time.perf_counter() - start, value)


def _wait(device: torch.device) -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)


def spread(values: Sequence[float]) -> float:
    """(largest - smallest) / median."""
    return (max(values) - min(values)) / statistics.median(values)


@dataclass(frozen=True, slots=True)
class Batch:
    """The best batch size, and the seconds an item that every size tried took."""

    size: int
    tried: dict[int, float]


def best_batch(seconds_an_item: Callable[[int], float], *, largest: int, budget: float) -> Batch:
    """Try 1, 2, 4, ... up to ``largest`` and take the fastest an item.

    The search ends after two sizes in a row that are no faster, where memory ends, and where the next size would
    probably need more than is left of ``budget`` seconds. Size 1 is always tried.
    """
    tried: dict[int, float] = {}
    size, spent, worse = 1, 0.0, 0
    while size <= largest and worse < 2:
        if tried and spent + size * min(tried.values()) > budget:
            break
        try:
            seconds = seconds_an_item(size)
        except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError, as on a CPU
            if not tried or "memory" not in str(error).lower():
                raise
            break
        worse = worse + 1 if tried and seconds >= min(tried.values()) else 0
        tried[size], spent, size = seconds, spent + seconds * size, size * 2
    return Batch(min(tried, key=tried.get), tried)


@dataclass(slots=True)
class Traffic:
    """Token positions that went through the layers, how many of them were filler, and rows of the output layer."""

    positions: int = 0
    filler: int = 0
    output_rows: int = 0

    def add(self, other: Traffic) -> None:
        self.positions += other.positions
        self.filler += other.filler
        self.output_rows += other.output_rows


@contextmanager
def count_traffic(model: PreTrainedModel, fillers: Sequence[int]) -> Iterator[Traffic]:
    """Count while the block runs. ``fillers``: tokens that stand nowhere but in padding."""
    import torch

    traffic, padding, found = Traffic(), torch.tensor(sorted(fillers), device=model.device), []

    def tokens(_module: Any, inputs: tuple) -> None:
        traffic.positions += inputs[0].numel()
        found.append(torch.isin(inputs[0], padding).sum())  # read at the end: a GPU need not wait

    def outputs(_module: Any, _inputs: tuple, logits: torch.Tensor) -> None:
        traffic.output_rows += logits.shape[:-1].numel()  # what was asked for: others may choose rows before the layer

    hooks = [model.get_input_embeddings().register_forward_pre_hook(tokens),
             model.get_output_embeddings().register_forward_hook(outputs)]
    try:
        yield traffic
    finally:
        for hook in hooks:
            hook.remove()
        traffic.filler = sum(map(int, found))


@dataclass(frozen=True, slots=True)
class Held:
    """What a call returned, and the most memory in MiB that was in use while it ran."""

    mebibytes: float
    value: Any


def peak_bytes(device: torch.device, *, reset: bool = False) -> int:
    """The most that torch has had allocated on a GPU since the last ``reset``; 0 on a CPU."""
    import torch

    if device.type != "cuda":
        return 0
    peak = torch.cuda.max_memory_allocated(device)
    if reset:
        torch.cuda.reset_peak_memory_stats(device)
    return peak


def peak_memory(device: torch.device, run: Callable[[], Any]) -> Held:
    """Call ``run`` and watch the memory: that of the process on a CPU, that of torch on a GPU."""
    import torch

    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        value = run()
        return Held(torch.cuda.max_memory_allocated(device) / MEBI, value)
    return _peak_of_process(run)


def _peak_of_process(run: Callable[[], Any]) -> Held:
    """Look at the resident memory every few milliseconds: the system's own peak cannot be set back everywhere."""
    import psutil

    process, over = psutil.Process(), threading.Event()
    found = [process.memory_info().rss]

    def watch() -> None:
        while not over.wait(0.004):
            found.append(process.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        value = run()
    finally:
        over.set()
        watcher.join()
    return Held(max(found) / MEBI, value)
