"""Many mixes and seeds: run what is not finished yet, and gather the results.

On a CPU the runs are shared out to one process a core, each with one thread: for a small model that is faster than one
run with all cores. On a GPU they go one after another. A finished run is never repeated; a sweep that was stopped goes
on with the runs that are missing.
"""

from __future__ import annotations

import multiprocessing
import queue
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from course_lib import finetune
from course_lib.files import CourseError
from course_lib.finetune import EpochRecord, Progress
from course_lib.hardware import usable_cores
from course_lib.runs import RunSpec, is_completed, open_run, read_runs
from course_lib.study import Study

if TYPE_CHECKING:
    import pandas as pd
    from course_lib.models import Loaded

__all__ = ["run_one", "sweep"]

WORKER_BYTES = 2**30  # a process with torch and the pocket model; measured peak 0.8 GB


def sweep(study: Study, plan: Sequence[RunSpec] | None = None, *, workers: int | None = None,
          progress: bool = True) -> pd.DataFrame:
    """Run what is missing of ``plan`` (default: the study's) and return all its epochs (:func:`runs.read_runs`).

    ``workers`` is the number of processes; the default is one a core for the pocket model on a CPU, as far as memory
    allows, and 1 otherwise. In a script of your own, call this below ``if __name__ == "__main__":``.

    Raises:
        CourseError: a worker was killed, perhaps for lack of memory.
    """
    from tqdm.auto import tqdm

    plan = list(study.plan() if plan is None else plan)
    todo = [spec for spec in plan if not is_completed(spec, study.folder / "runs")]
    if todo:
        study.labels(progress=progress)  # measured once here, not once in every process
        workers = min(len(todo), workers or _default_workers(study))
        total = sum(spec.tune.epochs + 1 for spec in todo)
        with tqdm(total=total, desc=f"{len(todo)} runs", unit="epoch", disable=not progress) as bar:
            if workers == 1:
                _run_here(study, todo, bar.update)
            else:
                _run_in_processes(study, todo, workers, bar.update)
    return read_runs(study.folder / "runs", plan)


def _default_workers(study: Study) -> int:
    import psutil
    import torch

    if torch.cuda.is_available() or study.preset != "pocket":
        return 1
    return max(1, min(usable_cores(), psutil.virtual_memory().available // WORKER_BYTES))


def run_one(study: Study, spec: RunSpec, *, loaded: Loaded | None = None,
            on_epoch: Callable[[EpochRecord], None] | None = None) -> None:
    """One run, written to the study's folder as it goes; ``loaded`` is a base model to use instead of a fresh one."""
    base = loaded or study.load()
    with open_run(spec, study.folder / "runs") as writer:
        def keep(done: Progress) -> None:
            writer.epoch(done)
            if on_epoch:
                on_epoch(done.record)

        tuned = finetune.tune(base.model, base.tokenizer, study.mix_of(spec), study.facts, spec.tune,
                              categories=study.categories(), progress=False, resume=writer.resume(), on_epoch=keep)
        writer.finish(tuned.model.peft_config["default"])
    finetune.remove_lora(tuned.model)


def _run_here(study: Study, todo: list[RunSpec], tick: Callable[[], Any]) -> None:
    loaded = study.load()
    for spec in todo:
        run_one(study, spec, loaded=loaded, on_epoch=lambda _: tick())


def _run_in_processes(study: Study, todo: list[RunSpec], workers: int, tick: Callable[[], Any]) -> None:
    """Share the runs out; ``tick`` is called once for each epoch that is done anywhere."""
    context = multiprocessing.get_context("spawn")
    # the largest runs first, so that no process is left alone with one at the end
    ordered = sorted(todo, key=lambda spec: (spec.variant == "D_Known", spec.unknown_percent))
    with context.Manager() as manager:
        done = manager.Queue()
        with ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker,
                                 initargs=(study, done)) as pool:
            _watch({pool.submit(_work, spec) for spec in ordered}, done, tick)


def _watch(futures: set[Future], done: queue.Queue, tick: Callable[[], Any]) -> None:
    """Follow the workers until all is done; an error of one, or Ctrl-C, stops them all and is raised here."""
    try:
        while futures or not done.empty():
            with suppress(queue.Empty):
                done.get(timeout=0.5)
                tick()
            for future in [future for future in futures if future.done()]:
                futures.remove(future)
                future.result()
    except BrokenProcessPool:
        raise CourseError("a worker was killed, perhaps for lack of memory; run again, finished runs stay") from None
    except BaseException:
        for future in futures:
            future.cancel()
        for child in multiprocessing.active_children():
            if child.name.startswith("SpawnProcess"):
                child.terminate()  # what it has finished is on disk
        raise


_worker: dict[str, Any] = {}


def _start_worker(study: Study, done: queue.Queue) -> None:
    import torch
    from transformers.utils import logging

    torch.set_num_threads(1)
    logging.disable_progress_bar()
    _worker.update(study=study, loaded=study.load(), done=done)


def _work(spec: RunSpec) -> None:
    run_one(_worker["study"], spec, loaded=_worker["loaded"], on_epoch=lambda _: _worker["done"].put(spec.name))
