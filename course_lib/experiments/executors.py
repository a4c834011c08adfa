"""Executors of a sweep on this machine: one run after another in this process, or shared out to several processes.

Each takes the runs that are to do and returns those that it could not do, because another process holds them. A run
continues from its last finished epoch, and one that has been completed meanwhile is left alone.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import pickle
import queue
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker, util
from multiprocessing.managers import SyncManager
from typing import TYPE_CHECKING, Any

from course_lib.data.protocol import variant_named
from course_lib.files import CourseError
from course_lib.models.hardware import device, usable_cores
from course_lib.training import finetune
from course_lib.training.records import EpochRecord
from course_lib.training.runs.folder import RunSpec
from course_lib.training.runs.writer import RunBusy, open_run

if TYPE_CHECKING:
    from multiprocessing.managers import ValueProxy

    from course_lib.experiments.study import Study
    from course_lib.models.loading import Loaded

__all__ = ["LocalExecutor", "OnEpoch", "default_workers", "run_in_processes", "run_one"]

WORKER_BYTES = 2**30  # a process with torch and the pocket model; measured peak 0.8 GB
# Runs first in a child process: once its parent is gone, nobody asked for its tracebacks of cut pipes.
SILENT_ORPHAN = """\
import os, sys
class Stderr:
    def __init__(self, stream): self.stream = stream
    def __getattr__(self, name): return getattr(self.stream, name)
    def write(self, text): return self.stream.write(text) if os.getppid() == {parent} else len(text)
if sys.stderr: sys.stderr = Stderr(sys.stderr)
"""

OnEpoch = Callable[[RunSpec, EpochRecord], None]


def run_one(study: Study, spec: RunSpec, *, load: Callable[[], Loaded] | None = None,
            on_epoch: Callable[[EpochRecord], None] | None = None) -> None:
    """Train one run, written to the study's folder as it goes; ``load`` gives a base model instead of a fresh one.

    A completed run is left as it is.

    Raises:
        RunBusy: another process is working on this run.
        CourseError: the mix cannot be built, the loss is not finite, or the disk is full.
    """
    with open_run(spec, study.folder / "runs") as writer:
        if writer.completed:
            return
        base = (load or study.load)()

        def keep(progress: finetune.Progress) -> None:
            writer.epoch(progress)
            if on_epoch:
                on_epoch(progress.record)

        try:
            tuned = finetune.tune(base.model, base.tokenizer, study.mix_of(spec), study.facts, spec.tune,
                                  progress=False, categories=study.categories(), resume=writer.resume(), on_epoch=keep)
        except CourseError as error:
            raise CourseError(f"{spec.name}: {error}") from None
        try:
            writer.finish(tuned.model.peft_config["default"])
        finally:
            finetune.remove_lora(tuned.model)


class LocalExecutor:
    """Trains runs in this process, one after another, over one base model."""

    def __init__(self, study: Study, on_epoch: OnEpoch) -> None:
        self.study, self.on_epoch = study, on_epoch

    @functools.cached_property
    def base(self) -> Loaded:
        """The base model, loaded for the first run that is not busy."""
        return self.study.load()

    def run(self, todo: Sequence[RunSpec]) -> list[RunSpec]:
        """Train these runs; returns those that another process holds."""
        return [spec for spec in todo if not self._done(spec)]

    def _done(self, spec: RunSpec) -> bool:
        try:
            run_one(self.study, spec, load=lambda: self.base, on_epoch=functools.partial(self.on_epoch, spec))
        except RunBusy:
            return False
        return True


def default_workers(study: Study) -> int:
    """The number of processes where none is asked for: several for the pocket model on a CPU alone."""
    import psutil

    if device() == "cuda" or study.preset != "pocket":
        return 1
    return max(1, min(usable_cores(), psutil.virtual_memory().available // WORKER_BYTES))


def run_in_processes(study: Study, todo: Sequence[RunSpec], on_epoch: OnEpoch, *, workers: int) -> list[RunSpec]:
    """Share the runs out to ``workers`` processes, one thread each; returns those that another process holds.

    Raises:
        CourseError: a worker was killed, perhaps for lack of memory.
    """
    context = multiprocessing.get_context("spawn")
    # the largest runs first, so that no process is left alone with one at the end
    ordered = sorted(todo, key=lambda spec: -variant_named(spec.variant).rows(spec.size, spec.unknown_percent))
    manager = SyncManager(ctx=context)
    with _starting():
        manager.start(_end_with_parent)
    with manager:
        # fetched by each worker: as an argument it would hold up the start of all by the imports of each
        packed, done = manager.Value("study", pickle.dumps(study)), manager.Queue()
        with ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker,
                                 initargs=(packed, done)) as pool:
            return _watch(pool, ordered, done, on_epoch)


@contextmanager
def _starting() -> Iterator[None]:
    """Start processes that never hear Ctrl-C, which is their parent's to answer, and that are silent when it is gone.

    Ctrl-C within the block is raised at its end: a process that is started in half would wait for the other half.
    """
    launch, pressed = util.spawnv_passfds, []

    def launch_silent(path: str, words: Sequence[str], passed: Sequence[int]) -> int:
        words = list(words)
        words[words.index("-c") + 1] = SILENT_ORPHAN.format(parent=os.getpid()) + words[words.index("-c") + 1]
        return launch(path, words, passed)

    util.spawnv_passfds = launch_silent
    try:
        with _heard_by(pressed), _kept_from_children():
            yield
    finally:
        util.spawnv_passfds = launch
    if pressed:
        raise KeyboardInterrupt


@contextmanager
def _heard_by(pressed: list[int]) -> Iterator[None]:
    """Note Ctrl-C in a list instead of raising it; outside of the main thread it is raised elsewhere anyway."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _kept_from_children() -> Iterator[None]:
    """Block Ctrl-C in this thread: processes that it starts inherit the block. Windows knows no such thing."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # it would lift the block when it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _watch(pool: ProcessPoolExecutor, specs: Sequence[RunSpec], done: queue.Queue,
           on_epoch: OnEpoch) -> list[RunSpec]:
    """Follow the workers until all is done; an error of one, or Ctrl-C, stops them all and is raised here."""
    futures: dict[Future, RunSpec] = {}
    busy = []
    try:
        with _starting():
            futures = {pool.submit(_work, spec): spec for spec in specs}
        while futures or not done.empty():
            with suppress(queue.Empty):
                on_epoch(*done.get(timeout=0.5))
            for future in [future for future in futures if future.done()]:
                spec = futures.pop(future)
                if not future.result():
                    busy.append(spec)
    except BrokenProcessPool:
        raise CourseError("a worker was killed, perhaps for lack of memory; run again, finished epochs stay") from None
    except BaseException:
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


def _start_worker(packed: ValueProxy[bytes], done: queue.Queue) -> None:
    import torch
    from transformers.utils import logging

    _end_with_parent()
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    study = pickle.loads(packed.value)
    _worker["executor"] = LocalExecutor(study, lambda spec, record: done.put((spec, record)))


def _work(spec: RunSpec) -> bool:
    """Train a run in a worker; False where another process holds it."""
    return not _worker["executor"].run([spec])
