"""Writing a run folder (:mod:`.folder`) epoch by epoch, so that a run survives a kill, a full disk, a second process.

After each epoch its checkpoint is written (weights, moments, records), then ``epochs.jsonl`` is brought up to date, and
only then are older checkpoints deleted. So at every moment there is a checkpoint that verifies, and a run that is
resumed from it ends as if it had never stopped, whether it ended by Ctrl-C, a full disk, or a kill during a write::

    with open_run(spec, root) as writer:
        tuned = tune(..., resume=writer.resume(), on_epoch=writer.epoch)
        writer.finish(lora_config)
"""

from __future__ import annotations

import errno
import json
import os
import platform
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_lib.files import (
    CourseError,
    DataError,
    disk_errors,
    hard_lock,
    sweep_up,
    write_bytes,
    write_json,
    write_text,
)
from course_lib.installation import commit as _commit
from course_lib.installation import version
from course_lib.models.hardware import device, device_name
from course_lib.models.memory_usage import highest
from course_lib.training.records import Checkpoint, EpochRecord, best_epoch
from course_lib.training.runs.checkpoints import pack_checkpoint, read_checkpoint, write_adapter
from course_lib.training.runs.folder import RunSpec, is_completed

if TYPE_CHECKING:
    from filelock import BaseFileLock
    from peft import LoraConfig

    from course_lib.training.finetune import Progress

__all__ = ["RunBusy", "RunWriter", "open_run"]

NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL}


class RunBusy(CourseError):
    """Another process is working on this run."""


class RunWriter:
    """Writer of one run, made by :func:`open_run`.

    ``completed`` is true where there is nothing left to do; a caller that still gives epochs begins the run again.
    Every method raises CourseError where the disk is full, over its quota, failing or gone; earlier epochs are kept.
    """

    def __init__(self, spec: RunSpec, root: str | Path) -> None:
        self.spec, self.folder, self.start = spec, Path(root) / spec.preset / spec.name, time.perf_counter()
        self.completed, self.before, self.memory = False, 0.0, None  # before: seconds of the epochs that were read
        self.records: tuple[EpochRecord, ...] = ()

    def resume(self, upto: int | None = None) -> Checkpoint | None:
        """Read the newest checkpoint that verifies; None to begin with epoch 0.

        ``epochs.jsonl`` then has exactly its records. ``upto`` passes over later epochs, so that several runs can
        continue from one epoch; at least the last two epochs are there.
        """
        if self.completed:
            return None
        found = self._newest(upto)
        self.records = found.records if found else ()
        self.before = sum(record.seconds for record in self.records)
        self._write_records()
        return found

    def epoch(self, progress: Progress) -> None:
        """Write a finished epoch: its checkpoint and its record."""
        if self.completed:
            self.completed = False
            self.status("running")  # first, so that a kill in between leaves no completed run without its epochs
        checkpoint, self.memory = progress.checkpoint(), asdict(progress.memory)
        epoch = checkpoint.records[-1].epoch
        write_bytes(self._path(epoch), pack_checkpoint(checkpoint, run=self.spec.name))
        self.records = checkpoint.records
        self._write_records()
        # the epoch before stays too, with its best one: runs in one pass must be able to continue from the same epoch
        self._delete_all_but({epoch, epoch - 1, best_epoch(self.records), best_epoch(self.records[:-1])})

    def finish(self, config: LoraConfig) -> None:
        """Write the adapters of the last and of the best dev epoch, mark the run completed, delete its checkpoints.

        Raises:
            CourseError: epochs are missing, or a checkpoint is damaged.
        """
        if self.completed:
            return
        last = self.records[-1].epoch if self.records else -1
        if last != self.spec.tune.epochs:
            raise CourseError(f"{self.folder}: {last + 1} of {self.spec.tune.epochs + 1} epochs are there (0 to "
                              f"{self.spec.tune.epochs}); run the others before it is finished")
        for name, epoch in (("adapter", last), ("adapter_best", best_epoch(self.records))):
            if epoch is None:
                with disk_errors(self.folder):
                    shutil.rmtree(self.folder / name, ignore_errors=True)
            elif checkpoint := self._read(epoch):
                write_adapter(self.folder / name, checkpoint, config, preset=self.spec.preset)
            else:
                raise DataError(f"{self._path(epoch)}: damaged; run the same command again, it continues from an older "
                                f"one")
        self.status("completed")
        self.completed = True
        shutil.rmtree(self.folder / "state", ignore_errors=True)  # what stays is swept up by is_completed

    def status(self, status: str, reason: str = "") -> None:
        """Write ``run.json`` again with this status."""
        write_json(self.folder / "run.json", {
            "status": status, "reason": reason, **asdict(self.spec),
            "seconds": round(self.before + time.perf_counter() - self.start, 1), "training_memory": self.memory,
            **_surroundings(self.spec.base)})

    def _path(self, epoch: int) -> Path:
        return self.folder / "state" / f"epoch-{epoch:03}.safetensors"

    def _epochs(self) -> list[int]:
        """The epochs whose checkpoint files are there, damaged or not, newest first."""
        found = (path.stem.removeprefix("epoch-") for path in (self.folder / "state").glob("epoch-*.safetensors"))
        return sorted((int(epoch) for epoch in found if epoch.isdecimal()), reverse=True)

    def _newest(self, upto: int | None) -> Checkpoint | None:
        """The newest checkpoint that verifies, and whose best epoch does too: the run needs both to be finished."""
        for epoch in self._epochs():
            found = self._read(epoch) if upto is None or epoch <= upto else None
            best = best_epoch(found.records) if found else None
            kept = found if best in (None, epoch) else self._read(best)
            if found and kept and (kept is found or kept.records == found.records[:best + 1]):
                return found
        return None

    def _read(self, epoch: int) -> Checkpoint | None:
        """The checkpoint of an epoch; None where there is none that verifies."""
        found = read_checkpoint(self._path(epoch), run=self.spec.name)
        return found if found and found.records[-1].epoch == epoch else None

    def _write_records(self) -> None:
        path = self.folder / "epochs.jsonl"
        with disk_errors(path):
            if self.records:
                write_text(path, "".join(json.dumps(asdict(record)) + "\n" for record in self.records))
            else:
                path.unlink(missing_ok=True)

    def _delete_all_but(self, keep: set[int | None]) -> None:
        with disk_errors(self.folder):
            for epoch in self._epochs():
                if epoch not in keep:
                    self._path(epoch).unlink(missing_ok=True)

    def _mark(self, status: str, reason: str = "") -> None:
        """Note in ``run.json`` how the run ended, if that is possible: the error that ended it counts more."""
        if not self.completed:
            with suppress(OSError, CourseError):
                self.status(status, reason)


@contextmanager
def open_run(spec: RunSpec, root: str | Path) -> Iterator[RunWriter]:
    """Open a run for writing; an exception marks it failed, Ctrl-C stopped, and is raised again.

    A completed run stays as it is as long as no epoch is given.

    Raises:
        RunBusy: another process is working on this run.
        CourseError: the disk is full, over its quota, failing or gone, or knows no locks; or something else stands
            where a file of the run should be.
    """
    writer = RunWriter(spec, root)
    try:
        with _opened(writer, root):
            yield writer
    except OSError as error:
        place = error.filename2 or error.filename
        if not Path(os.fsdecode(place or "")).is_relative_to(writer.folder):
            raise
        raise DataError(f"{place}: no file of a run can stand there ({error.strerror}); move away what does, or make "
                        f"it writable, and run again") from error


@contextmanager
def _opened(writer: RunWriter, root: str | Path) -> Iterator[None]:
    """Lock the run's folder; note in ``run.json`` that the run is running, and how it ends if it is not completed."""
    with disk_errors(writer.folder):
        try:
            writer.folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise DataError(f"{writer.folder}: a file stands where the run's folder should be; move it away, and run "
                            f"again") from None
        lock = _lock(writer.folder)
    try:
        with disk_errors(writer.folder):
            sweep_up(writer.folder)
        writer.completed = is_completed(writer.spec, root)
        if not writer.completed:
            writer.status("running")
        yield
    except (KeyboardInterrupt, SystemExit):
        writer._mark("stopped")
        raise
    except BaseException as error:
        writer._mark("failed", f"{type(error).__name__}: {error}")
        raise
    finally:
        lock.release()


def _lock(folder: Path) -> BaseFileLock:
    """Take the run's lock; the system frees it when the process ends, however that happens."""
    from filelock import Timeout

    lock = hard_lock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RunBusy(f"{folder}: another process is working on this run; wait for it, or stop it") from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        raise CourseError(f"{folder}: this disk knows no locks ({error.strerror}); keep the runs on another one, "
                          f"with --build or COURSE_BUILD") from None
    return lock


def _surroundings(base: str) -> dict[str, Any]:
    """Versions, commit, device and peak memory (bytes) of this process; of a Hub model, the revision that was run."""
    revision = re.search(r"@([0-9a-f]{40})-", base)  # as Study.base has it
    versions = {name: version(name) for name in ("torch", "transformers", "peft", "bitsandbytes")}
    return {"device": device_name(), "peak_bytes": highest(device()), "commit": _commit(),
            "revision": revision and revision[1], "versions": {"python": platform.python_version()} | versions}
