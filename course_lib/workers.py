"""Runs of a sweep one after another, in this process or shared out to processes of this machine.

Every way to carry out runs takes what is to do and gives back what it could not do, because another process holds it.
A run goes on from its last finished epoch, and one that has been completed meanwhile is left alone.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing.managers import SyncManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_lib import finetune
from course_lib.files import CourseError
from course_lib.hardware import usable_cores
from course_lib.records import EpochRecord
from course_lib.runs import RunBusy, RunSpec, RunWriter, open_run

if TYPE_CHECKING:
    from course_lib.models import Loaded
    from course_lib.study import Study

__all__ = ["Here", "Told", "default_workers", "in_processes", "run_one"]

WORKER_BYTES = 2**30  # a process with torch and the pocket model; measured peak 0.8 GB

Told = Callable[[RunSpec, EpochRecord], None]


def run_one(study: Study, spec: RunSpec, *, loaded: Loaded | None = None, mirror: Path | None = None,
            on_epoch: Callable[[EpochRecord], None] | None = None) -> None:
    """One run, written to the study's folder as it goes; ``loaded`` is a base model to use instead of a fresh one.

    A completed run is left as it is.

    Raises:
        RunBusy: another process is working on this run.
        CourseError: the mix cannot be built, the loss is not finite, or the disk is full.
    """
    told = (lambda _, record: on_epoch(record)) if on_epoch else None
    with open_run(spec, study.folder / "runs", mirror=mirror) as writer:
        if not writer.completed:
            _train(writer, study, loaded or study.load(), told)


def _train(writer: RunWriter, study: Study, base: Loaded, told: Told | None) -> None:
    spec = writer.spec

    def keep(progress: finetune.Progress) -> None:
        writer.epoch(progress)
        if told:
            told(spec, progress.record)

    try:
        tuned = finetune.tune(base.model, base.tokenizer, study.mix_of(spec), study.facts, spec.tune, progress=False,
                              categories=study.categories(), resume=writer.resume(), on_epoch=keep)
    except CourseError as error:
        raise CourseError(f"{spec.name}: {error}") from None
    try:
        writer.finish(tuned.model.peft_config["default"])
    finally:
        finetune.remove_lora(tuned.model)


class Here:
    """Runs in this process, one after another, over one base model."""

    def __init__(self, study: Study, told: Told, *, mirror: Path | None = None) -> None:
        self.study, self.told, self.mirror = study, told, mirror

    @functools.cached_property
    def base(self) -> Loaded:
        """The base model, loaded for the first run that is not busy."""
        return self.study.load()

    def run(self, todo: Sequence[RunSpec]) -> list[RunSpec]:
        """Carry out these runs; returns those that another process holds."""
        return [spec for spec in todo if not self._done(spec)]

    def _done(self, spec: RunSpec) -> bool:
        try:
            with open_run(spec, self.study.folder / "runs", mirror=self.mirror) as writer:
                if not writer.completed:
                    _train(writer, self.study, self.base, self.told)
        except RunBusy:
            return False
        return True


def default_workers(study: Study) -> int:
    """Processes that a sweep takes where none are asked for: several for the pocket model on a CPU alone."""
    import psutil
    import torch

    if torch.cuda.is_available() or study.preset != "pocket":
        return 1
    return max(1, min(usable_cores(), psutil.virtual_memory().available // WORKER_BYTES))


def in_processes(study: Study, todo: Sequence[RunSpec], told: Told, *, workers: int,
                 mirror: Path | None = None) -> list[RunSpec]:
    """Share the runs out to ``workers`` processes, one thread each; returns those that another process holds.

    Raises:
        CourseError: a worker was killed, perhaps for lack of memory.
    """
    context = multiprocessing.get_context("spawn")
    # the largest runs first, so that no process is left alone with one at the end
    ordered = sorted(todo, key=lambda spec: (spec.variant == "D_Known", spec.unknown_percent))
    manager = SyncManager(ctx=context)
    manager.start(_end_with_parent)
    with manager:
        done = manager.Queue()
        with ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker,
                                 initargs=(study, done, mirror)) as pool:
            return _watch({pool.submit(_work, spec): spec for spec in ordered}, done, told)


def _watch(futures: dict[Future, RunSpec], done: queue.Queue, told: Told) -> list[RunSpec]:
    """Follow the workers until all is done; an error of one, or Ctrl-C, stops them all and is raised here."""
    busy = []
    try:
        while futures or not done.empty():
            with suppress(queue.Empty):
                told(*done.get(timeout=0.5))
            for future in [future for future in futures if future.done()]:
                spec = futures.pop(future)
                if not future.result():
                    busy.append(spec)
    except BrokenProcessPool:
        raise CourseError("a worker was killed, perhaps for lack of memory; run again, finished epochs stay") from None
    except BaseException:
        for future in futures:
            future.cancel()
        for child in multiprocessing.active_children():
            if child.name.startswith("SpawnProcess"):
                child.terminate()  # what it has finished is on disk
        raise
    return busy


_worker: dict[str, Any] = {}


def _end_with_parent() -> None:
    """End this process with the one that started it: a kill reaches nobody else, and no run may go on unseen."""
    def watch() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)  # as safe as any kill: what is finished is on disk

    threading.Thread(target=watch, daemon=True).start()


def _start_worker(study: Study, done: queue.Queue, mirror: Path | None) -> None:
    import torch
    from transformers.utils import logging

    _end_with_parent()
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    _worker["here"] = Here(study, lambda spec, record: done.put((spec, record)), mirror=mirror)


def _work(spec: RunSpec) -> bool:
    """Whether the run is done; False where another process holds it."""
    return not _worker["here"].run([spec])
