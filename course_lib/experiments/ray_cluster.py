"""An executor over Ray: a task for each run, on a cluster of this machine or on one that is there already.

The runs folder lies on storage that all machines share; whatever a task has finished is read from there. A worker that
dies (killed, out of memory, its machine gone) is replaced, and the run continues from its last finished epoch. Ray is
an extra: ``pip install 'known-unknowns[cluster]'``.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from course_lib.experiments.executors import LocalExecutor, OnEpoch
from course_lib.files import CourseError, DataError
from course_lib.models.hardware import usable_cores
from course_lib.training.runs.folder import RunSpec, finished_epochs, read_history

if TYPE_CHECKING:
    from course_lib.experiments.plan import Execution
    from course_lib.experiments.study import Study

__all__ = ["run_on_ray"]

RETRIES = 3  # of a run whose worker died; an error of the run itself is not tried again
OBJECT_STORE = 80 * 2**20  # bytes, near Ray's lowest: results go through files
POLL = 0.5  # seconds between two looks at the runs


def run_on_ray(study: Study, todo: Sequence[RunSpec], on_epoch: OnEpoch, how: Execution) -> list[RunSpec]:
    """Train these runs on the cluster ``how.ray``; returns those that another process holds.

    Raises:
        CourseError: Ray is not installed, no cluster answers at the address, it has too little for a run, or a run's
            workers died again and again.
    """
    ray = _ray()
    study = replace(study, folder=study.folder.resolve())  # without what it holds in memory, for other machines
    with _cluster(ray, how):
        gpus = _gpus(ray, how)
        _refuse_too_large(ray.cluster_resources(), {"CPU": how.cpus, "GPU": gpus}, how)
        task = ray.remote(_task).options(num_cpus=how.cpus, num_gpus=gpus, max_retries=RETRIES)
        pending = {task.remote(study, spec, how.cpus): spec for spec in todo}
        return _follow(ray, study, pending, on_epoch)


def _ray() -> ModuleType:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report home
    try:
        import ray
    except ImportError:
        raise CourseError("Ray is not installed; run `pip install 'known-unknowns[cluster]'`, or take "
                          "how = \"processes\"") from None
    return ray


@contextmanager
def _cluster(ray: ModuleType, how: Execution) -> Iterator[None]:
    """A connection to the cluster; a local one is started for the time of the block."""
    if ray.is_initialized():  # the caller's own, which stays
        yield
        return
    quiet = {"log_to_driver": False, "logging_level": "error", "configure_logging": True}
    with (warnings.catch_warnings(action="ignore", category=FutureWarning),  # advice of Ray's
          tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder):
        try:
            if how.ray == "local":
                ray.init("local", num_cpus=how.workers or usable_cores(), include_dashboard=False,
                         object_store_memory=OBJECT_STORE, _temp_dir=folder, **quiet)
            else:
                ray.init(how.ray, **quiet)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise CourseError(f"no Ray cluster at {how.ray!r} ({first}); start one with `ray start --head`, or take "
                              f"\"local\"") from None
        try:
            yield
        finally:
            ray.shutdown()


def _gpus(ray: ModuleType, how: Execution) -> float:
    """Each run's share of GPUs: a whole one where the cluster has any and nothing is asked for."""
    if how.gpus is not None:
        return how.gpus
    return float(bool(ray.cluster_resources().get("GPU")))


def _refuse_too_large(there: Mapping[str, float], wanted: Mapping[str, float], how: Execution) -> None:
    """Ray itself would wait for ever."""
    for kind, share in wanted.items():
        if share > there.get(kind, 0):
            raise CourseError(f"a run asks for {share:g} {kind}, the Ray cluster {how.ray!r} has "
                              f"{there.get(kind, 0):g}; lower {kind.lower()}s, or take a larger cluster")


def _follow(ray: ModuleType, study: Study, pending: dict[Any, RunSpec], on_epoch: OnEpoch) -> list[RunSpec]:
    """Report every epoch that appears in the folder until all is done; an error or Ctrl-C stops the workers."""
    busy, root = [], study.folder / "runs"
    seen = {spec: finished_epochs(spec, root) for spec in pending.values()}
    try:
        while pending:
            # fetch_local=False: a failed task counts as ready too
            ready, _ = ray.wait(list(pending), num_returns=len(pending), timeout=POLL)
            over = [(ref, pending[ref]) for ref in ready]
            for spec in pending.values():
                seen[spec] = _report(root, spec, seen[spec], on_epoch)
            for ref, spec in over:
                if not _result(ray, ref, spec):
                    busy.append(spec)
                del pending[ref]
    except BaseException:
        for ref in pending:
            with suppress(Exception):
                ray.cancel(ref, force=True)  # what it has finished is on disk
        raise
    return busy


def _result(ray: ModuleType, ref: Any, spec: RunSpec) -> bool:
    try:
        return ray.get(ref)
    except ray.exceptions.RayTaskError as error:
        raise (error.cause if isinstance(error.cause, CourseError | OSError) else error) from None
    except ray.exceptions.RayError as error:
        raise CourseError(f"{spec.name}: its workers died {RETRIES + 1} times ({type(error).__name__}), perhaps for "
                          f"lack of memory; run again, finished epochs stay") from None


def _report(root: Path, spec: RunSpec, seen: int, on_epoch: OnEpoch) -> int:
    with suppress(DataError):
        records = read_history(spec.folder(root)).records
        for record in records[seen:]:
            on_epoch(spec, record)
        return max(seen, len(records))
    return seen


_executors: dict[str, LocalExecutor] = {}  # of a worker: the base model is loaded once


def _task(study: Study, spec: RunSpec, cpus: float) -> bool:
    """A run, in a worker; False where another process holds it."""
    import torch
    from transformers.utils import logging

    torch.set_num_threads(max(1, int(cpus)))
    logging.disable_progress_bar()
    key = repr((study.preset, study.folder, study.settings))
    if key not in _executors:
        _executors.clear()
        _executors[key] = LocalExecutor(study, lambda *_: None)
    return not _executors[key].run([spec])
