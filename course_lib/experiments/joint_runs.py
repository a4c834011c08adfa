"""An executor that trains many runs jointly over one frozen base (see :mod:`.multi_lora`), each in its own folder.

Runs are trained jointly that have one rank, alpha, batch size, number of epochs and epoch to continue from; a run that
is one epoch ahead of the others, after a kill between two of them, goes back by that epoch. All runs of a group are
locked while it is trained. If memory runs out, a group is cut in halves, and the later ones stay that small.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from course_lib.experiments.executors import LocalExecutor, OnEpoch
from course_lib.models.hardware import out_of_memory
from course_lib.models.memory_usage import release_memory
from course_lib.training import finetune
from course_lib.training.records import Checkpoint
from course_lib.training.runs.folder import RunSpec, finished_epochs
from course_lib.training.runs.writer import RunBusy, RunWriter, open_run

if TYPE_CHECKING:
    from course_lib.experiments.study import Study

__all__ = ["JointExecutor", "compatible"]


@dataclass(frozen=True, slots=True)
class _Held:
    """A run that this process has locked, and where it continues."""

    writer: RunWriter
    checkpoint: Checkpoint | None

    @property
    def epoch(self) -> int:
        """The last finished epoch; -1 before the first."""
        return self.checkpoint.records[-1].epoch if self.checkpoint else -1


def compatible(specs: Iterable[RunSpec], root: str | Path) -> list[list[RunSpec]]:
    """Group runs that can be trained jointly, in groups of any size; those that are furthest come first in theirs."""
    groups: dict[tuple, list[RunSpec]] = {}
    for spec in specs:
        groups.setdefault((spec.tune.rank, spec.tune.alpha, spec.tune.batch, spec.tune.epochs), []).append(spec)
    return [sorted(group, key=lambda spec: -finished_epochs(spec, root)) for group in groups.values()]


class JointExecutor(LocalExecutor):
    """Trains groups of at most ``at_once`` runs jointly over one base model."""

    def __init__(self, study: Study, on_epoch: OnEpoch, *, at_once: int = 8) -> None:
        super().__init__(study, on_epoch)
        self.at_once = at_once

    def run(self, todo: Sequence[RunSpec]) -> list[RunSpec]:
        """Train these runs; returns those that another process holds.

        Raises:
            CourseError: a loss is not finite, or the disk is full; memory that does not do for a single run stays an
                error of torch.
        """
        busy = []
        for group in compatible(todo, self.study.folder / "runs"):
            while group:
                now, group = group[:self.at_once], group[self.at_once:]
                busy += self._run_locked(now)
        return busy

    def _run_locked(self, specs: Sequence[RunSpec]) -> list[RunSpec]:
        with ExitStack() as stack:
            writers, busy = [], []
            for spec in specs:
                try:
                    writers.append(stack.enter_context(open_run(spec, self.study.folder / "runs")))
                except RunBusy:
                    busy.append(spec)
            self._train([writer for writer in writers if not writer.completed])
        return busy

    def _train(self, writers: Sequence[RunWriter]) -> None:
        for group in _aligned(writers):
            if not self._fits(group):
                self.at_once = max(1, len(group) // 2)
                for at in range(0, len(group), self.at_once):
                    self._train([held.writer for held in group[at:at + self.at_once]])

    def _fits(self, group: Sequence[_Held]) -> bool:
        """Train one group; False where memory ran out, what was finished until then is kept."""
        try:
            self._train_group(group)
        except (RuntimeError, MemoryError) as error:
            if len(group) == 1 or not out_of_memory(error):
                raise
        else:
            return True
        release_memory()  # here, where no traceback holds on to the tensors any more
        return False

    def _train_group(self, group: Sequence[_Held]) -> None:
        writers, study = [held.writer for held in group], self.study
        jobs = [finetune.Job(study.mix_of(held.writer.spec), held.writer.spec.tune, held.checkpoint) for held in group]

        def keep(number: int, progress: finetune.Progress) -> None:
            writers[number].epoch(progress)
            self.on_epoch(writers[number].spec, progress.record)

        tuned = finetune.tune_together(self.base.model, self.base.tokenizer, jobs, study.facts,
                                       categories=study.categories(), progress=False, on_epoch=keep)
        try:
            for writer, run in zip(writers, tuned, strict=True):
                writer.finish(run.model.peft_config[run.adapter])
        finally:
            finetune.remove_lora(tuned[0].model)


def _aligned(writers: Sequence[RunWriter]) -> list[list[_Held]]:
    """Groups that continue from one epoch; a run one epoch ahead of a group goes back and joins it."""
    groups: dict[int, list[_Held]] = {}
    for held in sorted((_Held(writer, writer.resume()) for writer in writers), key=lambda held: held.epoch):
        if held.epoch not in groups and held.epoch - 1 in groups:
            back = _Held(held.writer, held.writer.resume(held.epoch - 1))
            held = back if back.epoch == held.epoch - 1 else _Held(held.writer, held.writer.resume())
        groups.setdefault(held.epoch, []).append(held)
    return list(groups.values())
