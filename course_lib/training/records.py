"""Records of a run: its hyperparameters, its epochs, and checkpoints with all that the next epoch depends on.

An epoch's record holds accuracies in percent: exact match of the greedy answer over a group of questions. Beside them
stand the answers of single questions, right or wrong, packed a bit each, so that later questions to an old run (which
answers were lost? does a difference hold over random parts of the test set?) need no model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from course_lib.data.protocol import NO_DEV, early_stop
from course_lib.files import CourseError, DataError
from course_lib.limits import SEED, Check, number, refuse, whole
from course_lib.text import short

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import torch

__all__ = ["TUNE", "EpochRecord", "History", "Checkpoint", "TrainingMemory", "TuneConfig", "best_epoch", "pack_bits",
           "unpack_bits"]


WARMUP = 3
PACKED = re.compile(r"\d{1,9}:([0-9a-f]{2})*")  # what pack_bits writes
TUNE: dict[str, Check] = {
    "epochs": whole(1, 1000), "lr": number(1e-9, 10), "warmup": number(0, 1000), "rank": whole(1, 1024),
    "alpha": whole(1, 10_000), "batch": whole(1, 10_000), "clip": number(1e-6, 1e6), "seed": SEED}


@dataclass(frozen=True, slots=True)
class TuneConfig:
    """Hyperparameters of one run; ``lr`` is constant after ``warmup`` epochs, ``batch`` (the batch size) is in rows.

    Ranges: :data:`TUNE`; and a warm-up beyond the default is not longer than the run.

    Raises:
        CourseError: a value that cannot work, named with its range.
    """

    epochs: int = 12
    lr: float = 7e-4
    warmup: float = WARMUP
    rank: int = 16
    alpha: int = 32
    batch: int = 32
    clip: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        refuse(self, TUNE, owner="TuneConfig.")
        if self.warmup > max(self.epochs, WARMUP):
            raise CourseError(f"TuneConfig.warmup = {self.warmup}: it must be at most epochs = {self.epochs}, or the "
                              f"run ends before its rate is reached")


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """One epoch: mean training loss (nats a token) and accuracies in percent; None where there are no rows.

    Epoch 0 is the model before fine-tuning; it has no loss. ``seconds`` are those of training and evaluation together.
    ``answered`` is the share of test questions that were not answered "I don't know", where the mix teaches that.
    ``by_category`` has a percentage for each split and category before fine-tuning, such as "test_HighlyKnown";
    ``right`` has single questions, see :func:`pack_bits`, for "test" and "ood", and "answered" for the share of that
    name.
    """

    epoch: int
    loss: float | None
    dev: float | None
    test: float | None
    ood: float | None
    known_fitted: float | None
    unknown_fitted: float | None
    seconds: float
    evaluation_seconds: float = 0.0
    answered: float | None = None
    by_category: dict[str, float] = field(default_factory=dict)
    right: dict[str, str] = field(default_factory=dict)

    def flat(self) -> dict[str, Any]:
        """The numbers as one row: ``by_category`` spread over columns of its own, ``right`` left out."""
        values = asdict(self)
        del values["right"]
        return values | values.pop("by_category")


@dataclass(frozen=True, slots=True)
class History:
    """All epochs of one run, epoch 0 first."""

    records: tuple[EpochRecord, ...]

    @property
    def early_stop(self) -> EpochRecord:
        """The epoch of :func:`.protocol.early_stop`.

        Raises:
            CourseError: there were no dev questions.
        """
        best = best_epoch(self.records)
        if best is None:
            raise CourseError(NO_DEV)
        return self.records[best]

    @property
    def convergence(self) -> EpochRecord:
        """The last epoch."""
        return self.records[-1]

    def to_frame(self) -> pd.DataFrame:
        """One row an epoch; columns are those of :meth:`EpochRecord.flat`."""
        import pandas as pd

        return pd.DataFrame([record.flat() for record in self.records])


@dataclass(frozen=True, slots=True)
class TrainingMemory:
    """The peak of memory while training, in bytes: its forecast before the first step, and its measured value.

    On a GPU what PyTorch allocated, on a CPU the process's resident memory. ``forecast`` is None for a model whose
    sizes are not known.
    """

    forecast: int | None
    peak: int

    def __str__(self) -> str:
        measured = f"peak of memory while training: {self.peak / 2**20:,.0f} MiB"
        if self.forecast is None:
            return f"{measured}; no forecast for a model of this kind"
        return (f"{measured}; forecast before the first step: {self.forecast / 2**20:,.0f} MiB "
                f"({100 * (self.forecast / self.peak - 1):+.1f} %)")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A run after its epoch ``records[-1].epoch``; continued from here, it ends as if it had never stopped.

    ``tensors`` lie on the CPU: "weight.", "exp_avg." or "exp_avg_sq." (AdamW's moments) before the name of an adapter
    weight in PEFT's files. ``state`` is JSON: the number of steps, and the loss scaler's state.
    """

    records: tuple[EpochRecord, ...]
    tensors: dict[str, torch.Tensor]
    state: dict[str, Any]

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        """The adapter's weights by their names in PEFT's files."""
        return {name.removeprefix("weight."): tensor for name, tensor in self.tensors.items()
                if name.startswith("weight.")}


def best_epoch(records: Iterable[EpochRecord]) -> int | None:
    """The number of the EARLY_STOP epoch (:func:`.protocol.early_stop`); None where there is none."""
    return early_stop({record.epoch: record.dev for record in records})


def pack_bits(right: np.ndarray) -> str:
    """Bools (n,) as "n:hex", four to a hex digit, the first one highest; padded with zeros to whole bytes."""
    import numpy as np

    return f"{len(right)}:{np.packbits(np.asarray(right, bool)).tobytes().hex()}"


def unpack_bits(text: str, *, place: object = "a run") -> np.ndarray:
    """The bools (n,) that :func:`pack_bits` packed; ``place`` is what an error names.

    Raises:
        DataError: the text is not of that form, or names more bools than it has.
    """
    import numpy as np

    count, _, digits = text.partition(":")
    if not PACKED.fullmatch(text) or int(count) > 4 * len(digits):
        raise DataError(f"{place}: {short(text)} is not a row of packed answers; delete the folder and run again")
    return np.unpackbits(np.frombuffer(bytes.fromhex(digits), np.uint8), count=int(count)).astype(bool)
