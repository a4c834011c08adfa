"""Sweep over training sets, seeds and learning rates: say what it costs, run what is not finished, gather the results.

Four executors run one plan with the same results: one run after another; one process a core with one thread each, which
for a small model on a CPU is faster than one run with all cores; over Ray; and many adapters jointly over one frozen
base. A finished run is never repeated, and one that was stopped continues from its last finished epoch. A run that
another process is working on is tried again after the others, and waited for at the end.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from course_lib.experiments.executors import LocalExecutor, OnEpoch, default_workers, run_in_processes, run_one
from course_lib.experiments.joint_runs import JointExecutor
from course_lib.experiments.plan import Execution, Plan
from course_lib.experiments.ray_cluster import run_on_ray
from course_lib.experiments.study import Study
from course_lib.experiments.throughput import Cost, epochs_left, sweep_cost
from course_lib.files import CourseError
from course_lib.models.hardware import usable_cores
from course_lib.training.records import EpochRecord
from course_lib.training.runs.folder import RunSpec, is_completed, read_runs

if TYPE_CHECKING:
    import pandas as pd
    from tqdm import tqdm

__all__ = ["Sweep", "prepare", "run", "run_one"]

PAUSE = 2.0  # seconds between two looks at runs of another process


def run(study: Study, plan: Plan | Sequence[RunSpec] | None = None, *, how: str | None = None,
        workers: int | None = None, at_once: int | None = None, ray: str | None = None, cpus: float | None = None,
        gpus: float | None = None, progress: bool = True) -> pd.DataFrame:
    """Run what is missing of ``plan`` (default: the study's) and return all its epochs (:func:`.read_runs`).

    ``how`` is "one-by-one", "processes", "together" or "ray"; the default is one process a core for the pocket model
    on a CPU, as far as memory allows, and one after another otherwise. The other options are those of
    :class:`.plan.Execution`, and go before those of a plan. In a script of your own, call this below
    ``if __name__ == "__main__":``.

    Raises:
        CourseError: a mix that cannot be built (all are named before the first run), a worker that was killed, Ray
            that is missing.
    """
    given = {"how": how, "workers": workers, "at_once": at_once, "ray": ray, "cpus": cpus, "gpus": gpus}
    return prepare(study, plan, progress=progress, **given).run(progress=progress)


def prepare(study: Study, plan: Plan | Sequence[RunSpec] | None = None, *, progress: bool = True,
            **execution: Any) -> Sweep:
    """Do all that comes before the first run of :func:`run`; ``execution`` are its options.

    Raises:
        CourseError: a mix cannot be built; all such mixes are in one message.
    """
    chosen = plan.execution if isinstance(plan, Plan) else Execution()
    changes = {name: value for name, value in execution.items() if value is not None}
    if isinstance(plan, Plan):
        study = plan.study(study)
    chosen = _resolved(study, replace(chosen, **changes), ray=bool(changes.get("ray")))
    study.labels(progress=progress)  # measured once here, not once in every process
    specs = plan.specs(study) if isinstance(plan, Plan) else list(study.plan() if plan is None else plan)
    todo = tuple(spec for spec in specs if not is_completed(spec, study.folder / "runs"))
    _refuse_impossible(study, todo)
    return Sweep(study, tuple(specs), todo, chosen)


@dataclass(frozen=True)
class Sweep:
    """A sweep that is ready to run: all runs of the plan, those ``todo``, and how they are executed."""

    study: Study
    specs: tuple[RunSpec, ...]
    todo: tuple[RunSpec, ...]
    execution: Execution

    def cost(self) -> Cost:
        """Runs, epochs, minutes and disk; trains for a few seconds where no finished run tells the throughput."""
        parallel = self.execution.workers or 1 if self.execution.how in ("processes", "ray") else 1
        return sweep_cost(self.study, self.specs, parallel=parallel)

    def run(self, *, progress: bool = True) -> pd.DataFrame:
        """Run what is to do; returns the epochs of all runs of the plan."""
        from tqdm.auto import tqdm

        root = self.study.folder / "runs"
        if self.todo:
            left = sum(epochs_left(spec, root) for spec in self.todo)
            with tqdm(total=left, desc=f"{len(self.todo)} runs", unit="epoch", disable=not progress) as bar:
                self._wait_for(self._execute(partial(_show, bar)), bar)
        return read_runs(root, self.specs)

    def _execute(self, on_epoch: OnEpoch) -> list[RunSpec]:
        """Try every run once; returns those that another process holds."""
        chosen, study = self.execution, self.study
        if chosen.how == "ray":
            return run_on_ray(study, self.todo, on_epoch, chosen)
        if chosen.how == "together":
            return JointExecutor(study, on_epoch, at_once=chosen.at_once).run(self.todo)
        if chosen.how == "processes" and (workers := min(chosen.workers, len(self.todo))) > 1:
            return run_in_processes(study, self.todo, on_epoch, workers=workers)
        return LocalExecutor(study, on_epoch).run(self.todo)

    def _wait_for(self, busy: Sequence[RunSpec], bar: tqdm) -> None:
        """Wait until the other process has finished these runs; what it leaves unfinished is taken over."""
        executor = LocalExecutor(self.study, partial(_show, bar))
        while busy:
            busy = executor.run(busy)
            if busy:
                bar.set_postfix_str(f"waiting for another process: {busy[0].name}")
                time.sleep(PAUSE)


def _show(bar: tqdm, spec: RunSpec, record: EpochRecord) -> None:
    """Move the bar by the epoch of this run."""
    dev = "" if record.dev is None else f", dev {record.dev:.1f} %"
    bar.set_postfix_str(f"{spec.name} {record.epoch}/{spec.tune.epochs}{dev}", refresh=False)
    bar.update()


def _resolved(study: Study, chosen: Execution, *, ray: bool) -> Execution:
    """The options with the number of workers, and with ``how`` where none is asked for."""
    how = chosen.how or ("ray" if ray else None)
    if how == "ray":
        return replace(chosen, how=how)
    workers = chosen.workers or (usable_cores() if how == "processes" else default_workers(study))
    return replace(chosen, how=how or ("processes" if workers > 1 else "one-by-one"), workers=workers)


def _refuse_impossible(study: Study, todo: Sequence[RunSpec]) -> None:
    """Draw every mix once, so that none is found lacking after hours; its seed and rate change nothing about that."""
    wrong: dict[str, str] = {}
    kinds = {(spec.variant, spec.unknown_percent, spec.size, spec.rule, spec.shares): spec for spec in reversed(todo)}
    for spec in reversed(kinds.values()):
        name = f"{spec.variant} at {spec.unknown_percent:g} % Unknown"
        try:
            if not study.mix_of(spec).rows:
                wrong.setdefault(name, "it has no rows")
        except CourseError as error:
            wrong.setdefault(name, str(error))
    if wrong:
        raise CourseError(f"{len(wrong)} of the training sets cannot be built, nothing was run. "
                          + "; ".join(f"{name}: {said}" for name, said in wrong.items()))
