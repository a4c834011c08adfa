"""What a sweep will cost, before it begins: runs, epochs, minutes, disk.

    seconds of an epoch = rows * (training seconds a row) + (seconds of one evaluation)

Both come from runs that this kind of machine has finished into the folder, or else from one short epoch that is timed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from course_lib.data.protocol import variant_named
from course_lib.files import CourseError, read_json
from course_lib.models.hardware import device_name
from course_lib.training import finetune
from course_lib.training.mixing import Mix
from course_lib.training.runs.folder import RunSpec, finished_epochs, is_completed, read_history

if TYPE_CHECKING:
    from course_lib.experiments.study import Study

__all__ = ["Cost", "Pace", "epochs_left", "estimate", "measured_pace", "timed_pace"]

BATCHES = 8  # of the epoch that is timed


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast runs go, how large an adapter is, and where that is from."""

    row_seconds: float
    evaluation_seconds: float
    adapter_bytes: int
    source: str


@dataclass(frozen=True, slots=True)
class Cost:
    """``seconds`` with ``parallel`` runs side by side; ``disk_bytes`` are those that are needed besides what is there.
    """

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


def epochs_left(spec: RunSpec, root: str | Path) -> int:
    """How many of a run's epochs, with epoch 0, are still to do."""
    if is_completed(spec, root):
        return 0
    return spec.tune.epochs + 1 - finished_epochs(spec, root)


def estimate(study: Study, specs: Sequence[RunSpec], *, parallel: float = 1) -> Cost:
    """The cost of these runs, ``parallel`` of them side by side."""
    root = study.folder / "runs"
    left = {spec: epochs for spec in specs if (epochs := epochs_left(spec, root))}
    if not left:
        return Cost(len(specs), len(specs), 0, 0.0, 0, "")
    pace = measured_pace(root / study.name) or timed_pace(study, next(iter(left)))
    seconds = sum(epochs * (_rows(spec) * pace.row_seconds + pace.evaluation_seconds) for spec, epochs in left.items())
    # a finished run keeps two adapters; one under way has up to four states of an adapter and its two moments
    disk = pace.adapter_bytes * (2 * len(left) + 12 * min(len(left), max(1, round(parallel))))
    return Cost(len(specs), len(specs) - sum(not is_completed(spec, root) for spec in specs), sum(left.values()),
                seconds / max(1, min(parallel, len(left))), disk, pace.source)


def measured_pace(folder: Path) -> Pace | None:
    """From the finished runs in this folder that such a machine has made; None where there are none."""
    found = list(_finished(folder))
    training = sum(seconds for seconds, _, _, _ in found)
    rows = sum(rows for _, rows, _, _ in found)
    if not training or not rows:
        return None
    evaluations = [seconds for _, _, seconds, _ in found]
    return Pace(training / rows, sum(evaluations) / len(evaluations), max(size for *_, size in found),
                f"from {len(found)} finished runs here")


def _finished(folder: Path) -> Iterator[tuple[float, float, float, int]]:
    """Of each: seconds of training, rows that they went over, seconds of an evaluation, bytes of its adapter."""
    for path in sorted(folder.glob("*/run.json")):
        weights = path.parent / "adapter" / "adapter_model.safetensors"
        try:
            about = read_json(path)
            records = read_history(path.parent).records[1:]
            if about["status"] != "completed" or about["device"] != device_name() or not weights.is_file():
                continue
            evaluation = sum(record.evaluation_seconds for record in records)
            yield (sum(record.seconds for record in records) - evaluation,
                   len(records) * _rows(RunSpec.from_json(about)), evaluation / len(records), weights.stat().st_size)
        except (CourseError, KeyError, TypeError, ValueError, ZeroDivisionError):
            continue  # a folder of another version tells nothing


def timed_pace(study: Study, spec: RunSpec) -> Pace:
    """From one epoch over the first rows of this run's mix, thrown away."""
    base, mix = study.load(), study.mix_of(spec)
    some = Mix(mix.variant, mix.unknown_percent, mix.seed, mix.rows[:BATCHES * spec.tune.batch])
    tuned = finetune.tune(base.model, base.tokenizer, some, study.facts, replace(spec.tune, epochs=1, warmup=0),
                          progress=False)
    size = sum(weight.numel() * 4 for name, weight in tuned.model.named_parameters() if "lora_" in name)
    finetune.remove_lora(tuned.model)
    record = tuned.history.records[1]
    return Pace((record.seconds - record.evaluation_seconds) / len(some.rows), record.evaluation_seconds, size,
                "from an epoch timed now")


def _rows(spec: RunSpec) -> float:
    return variant_named(spec.variant).rows(spec.size, spec.unknown_percent)
