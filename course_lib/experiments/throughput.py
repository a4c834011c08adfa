"""Throughput: how much of this course's work a GPU or a CPU does in a second, and what a sweep will cost.

Work is counted in floating-point operations. With N weights in the linear layers, h V in the output layer, n tokens
that go through the layers and a tokens whose logits are computed::

    forward    2 N n + 2 h V a    a forward pass: categorising, and the per-epoch evaluation
    training   4 N n + 4 h V a    a forward pass, and the gradient on its way back; the frozen weights get none

Seconds are work over throughput. The throughput of a device (operations a second of each kind) is, first to last:
measured by our benchmarks on a device of that name, or published runs of others (`throughput.json`); else a product of
two matrices timed now, times the share of it that the loop reaches. Each says which it is.

The throughput of runs is measured: from runs that this kind of machine has finished into the folder, or else from one
short epoch that is timed::

    seconds of an epoch = rows * (training seconds a row) + (seconds of one evaluation)
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from course_lib.data.protocol import variant_named
from course_lib.files import CourseError, read_json
from course_lib.models import hardware
from course_lib.models.memory import Shape
from course_lib.training import finetune
from course_lib.training.mixing import Mix
from course_lib.training.runs.folder import RunSpec, finished_epochs, is_completed, read_history

if TYPE_CHECKING:
    import torch

    from course_lib.experiments.study import Study

__all__ = ["SHARES", "Cost", "DeviceThroughput", "RunThroughput", "device_throughput", "epochs_left", "forward_flops",
           "matmul_throughput", "measured_throughput", "sweep_cost", "timed_throughput", "training_flops"]

TABLE = Path(__file__).parent / "throughput.json"
# of the throughput of a plain product of matrices: what training ("tuning") and forward passes ("reading") reach. On a
# CPU measured (benchmarks/forecast.py, shapes of 360M to 1.7B, 8 rows a step); on a GPU, where small steps wait for the
# CPU, assumed until gpu.py has run
SHARES = {"cpu": {"tuning": 0.6, "reading": 0.5}, "cuda": {"tuning": 0.2, "reading": 0.3}}
BATCHES = 8  # of the epoch that is timed


def forward_flops(shape: Shape, tokens: float, predicted: float) -> float:
    """Operations of a forward pass over so many tokens, of which ``predicted`` get logits."""
    return 2.0 * (shape.linear_weights * tokens + shape.hidden * shape.vocabulary * predicted)


def training_flops(shape: Shape, tokens: float, predicted: float) -> float:
    """Operations of a training step over so many tokens: twice those of the forward pass."""
    return 2.0 * forward_flops(shape, tokens, predicted)


@dataclass(frozen=True, slots=True)
class DeviceThroughput:
    """Operations a second in training (``tuning``) and in forward passes (``reading``), and where they are from.

    ``measured`` is False where the figures are not this course's.
    """

    tuning: float
    reading: float
    source: str
    measured: bool


def device_throughput(name: str, *, here: bool) -> DeviceThroughput | None:
    """The throughput of a device by name; ``here`` says that it is the one of this process, which can be timed.

    None where nothing is known of a device that is not here.
    """
    for known, figures in json.loads(TABLE.read_text(encoding="utf-8")).items():
        if known.lower() in name.lower():
            return DeviceThroughput(**figures)
    if not here:
        return None
    kind, flops = hardware.device(), matmul_throughput()
    found = "measured elsewhere" if kind == "cpu" else "assumed; python benchmarks/gpu.py measures it"
    return DeviceThroughput(
        SHARES[kind]["tuning"] * flops, SHARES[kind]["reading"] * flops,
        f"from {flops / 1e12:.3g} TFLOP/s in a product of matrices, timed now, of which training and reading reach a "
        f"share ({found})", measured=False)


@functools.cache
def matmul_throughput(seconds: float = 0.3) -> float:
    """Operations a second of (512, 2048) @ (2048, 2048) here, in the dtype that models compute in; timed once."""
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


@dataclass(frozen=True, slots=True)
class RunThroughput:
    """Seconds of training a row and of one evaluation, bytes of an adapter, and where they are from."""

    row_seconds: float
    evaluation_seconds: float
    adapter_bytes: int
    source: str


def measured_throughput(folder: Path) -> RunThroughput | None:
    """The throughput of the finished runs in this folder that such a machine has made; None where there are none."""
    found = list(_finished(folder))
    training = sum(seconds for seconds, _, _, _ in found)
    rows = sum(rows for _, rows, _, _ in found)
    if not training or not rows:
        return None
    evaluations = [seconds for _, _, seconds, _ in found]
    return RunThroughput(training / rows, sum(evaluations) / len(evaluations), max(size for *_, size in found),
                         f"from {len(found)} finished runs here")


def _finished(folder: Path) -> Iterator[tuple[float, float, float, int]]:
    """Yield of each: seconds of training, rows that they went over, seconds of an evaluation, bytes of its adapter."""
    for path in sorted(folder.glob("*/run.json")):
        weights = path.parent / "adapter" / "adapter_model.safetensors"
        try:
            about = read_json(path)
            records = read_history(path.parent).records[1:]
            if about["status"] != "completed" or about["device"] != hardware.device_name() or not weights.is_file():
                continue
            evaluation = sum(record.evaluation_seconds for record in records)
            yield (sum(record.seconds for record in records) - evaluation,
                   len(records) * _rows(RunSpec.from_json(about)), evaluation / len(records), weights.stat().st_size)
        except (CourseError, KeyError, TypeError, ValueError, ZeroDivisionError):
            continue  # a folder of another version tells nothing


def timed_throughput(study: Study, spec: RunSpec) -> RunThroughput:
    """The throughput of one epoch over the first rows of this run's mix, thrown away."""
    base, mix = study.load(), study.mix_of(spec)
    some = Mix(mix.variant, mix.unknown_percent, mix.seed, mix.rows[:BATCHES * spec.tune.batch])
    tuned = finetune.tune(base.model, base.tokenizer, some, study.facts, replace(spec.tune, epochs=1, warmup=0),
                          progress=False)
    size = sum(weight.numel() * 4 for name, weight in tuned.model.named_parameters() if "lora_" in name)
    finetune.remove_lora(tuned.model)
    record = tuned.history.records[1]
    return RunThroughput((record.seconds - record.evaluation_seconds) / len(some.rows), record.evaluation_seconds, size,
                         "from an epoch timed now")


def _rows(spec: RunSpec) -> float:
    return variant_named(spec.variant).rows(spec.size, spec.unknown_percent)


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of a sweep: ``seconds`` with its runs side by side, ``disk_bytes`` besides those that are used."""

    runs: int
    finished: int
    epochs: int
    seconds: float
    disk_bytes: int
    source: str

    def __str__(self) -> str:
        left = f"{self.runs} runs, {self.finished} of them finished"
        if not self.epochs:
            return f"{left}: nothing to do"
        return (f"{left}; {self.epochs} epochs to do, about {max(self.seconds / 60, 0.1):.1f} minutes ({self.source}); "
                f"about {self.disk_bytes / 2**20:.0f} MiB of disk")


def sweep_cost(study: Study, specs: Sequence[RunSpec], *, parallel: float = 1) -> Cost:
    """The cost of these runs, ``parallel`` of them side by side."""
    root = study.folder / "runs"
    left = {spec: epochs for spec in specs if (epochs := epochs_left(spec, root))}
    if not left:
        return Cost(len(specs), len(specs), 0, 0.0, 0, "")
    each = measured_throughput(root / study.name) or timed_throughput(study, next(iter(left)))
    seconds = sum(epochs * (_rows(spec) * each.row_seconds + each.evaluation_seconds) for spec, epochs in left.items())
    # a finished run keeps two adapters; one under way has up to four checkpoints of an adapter and its two moments
    disk = each.adapter_bytes * (2 * len(left) + 12 * min(len(left), max(1, round(parallel))))
    return Cost(len(specs), len(specs) - sum(not is_completed(spec, root) for spec in specs), sum(left.values()),
                seconds / max(1, min(parallel, len(left))), disk, each.source)


def epochs_left(spec: RunSpec, root: str | Path) -> int:
    """The number of a run's epochs, with epoch 0, that are still to do."""
    return 0 if is_completed(spec, root) else spec.tune.epochs + 1 - finished_epochs(spec, root)
