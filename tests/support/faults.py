"""Runs in forked children that are killed, or lose their disk, at one call after another.

One process loads the libraries once and forks a child for each attempt. In the child every call of ours that changes a
disk is counted (open, write, fsync, rename, unlink, rmdir, mkdir, truncate); at call n it is killed, in a write after
half of the bytes, or the call fails.
"""

from __future__ import annotations

import builtins
import errno
import io
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
CALLS = ("open", "fsync", "replace", "rename", "unlink", "remove", "rmdir", "mkdir", "truncate")


class Faults:
    """Counts the calls that change a disk and lets ``strike`` happen at call ``at``, or from there on."""

    def __init__(self, strike: Callable[[], None] = lambda: None, *, at: int = 0, lasting: bool = False) -> None:
        self.strike, self.at, self.lasting, self.count = strike, at, lasting, 0

    def due(self) -> bool:
        self.count += 1
        return self.count == self.at or (self.lasting and self.count > self.at)

    def install(self) -> None:
        """In this process, for good."""
        for name in CALLS:
            setattr(os, name, self.wrap(getattr(os, name) if name != "fsync" else lambda handle: None))
        fdopen, opened = os.fdopen, builtins.open

        def open_file(file: Any, mode: str = "r", *more: Any, **named: Any) -> Any:
            if "w" not in mode and "x" not in mode:
                return opened(file, mode, *more, **named)
            if self.due():
                self.strike()
            return TornFile(opened(file, mode, *more, **named), self)

        os.fdopen = lambda handle, *more, **named: TornFile(fdopen(handle, *more, **named), self)
        builtins.open = open_file

    def watch_steps(self) -> None:
        """Count the optimizer's steps too, where there is a real trainer: a kill falls between two of them as well."""
        if training := sys.modules.get("course_lib.training.loop"):
            training.Loop.step = self.wrap(training.Loop.step)

    def wrap(self, real: Callable) -> Callable:
        def call(*values: Any, **named: Any) -> Any:
            if self.due():
                self.strike()
            return real(*values, **named)
        return call


class TornFile:
    """A file whose write may be struck when half of it is done."""

    def __init__(self, file: io.IOBase, faults: Faults) -> None:
        self.file, self.faults = file, faults

    def write(self, data: Any) -> int:
        if self.faults.due():
            self.file.write(data[:len(data) // 2])
            self.file.flush()
            self.faults.strike()
        return self.file.write(data)

    def __enter__(self) -> TornFile:
        return self

    def __exit__(self, *_: Any) -> None:
        self.file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def strike_of(name: str) -> Callable[[], None]:
    """A signal to this process, or an error of its disk."""
    def fail() -> None:
        raise OSError(getattr(errno, name), os.strerror(getattr(errno, name)))

    return fail if hasattr(errno, name) else lambda: os.kill(os.getpid(), getattr(signal, name))


@dataclass(frozen=True)
class Ended:
    """How a child ended: exit status (minus the signal), epochs that it finished, its error, and whether it was struck.

    An epoch is finished when the writer says so.
    """

    status: int
    epochs: int
    said: str
    struck: bool


def fork(faults: Faults, command: Callable[[], Any]) -> Ended:
    """The command in a child, under these faults."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os._exit(_in_child(faults, command, writing))
    os.close(writing)
    with os.fdopen(reading) as file:
        *epochs, last = file.read().split("|")
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    said, _, struck = last.rpartition("#")
    return Ended(status, len(epochs), said, struck != "False")


def _in_child(faults: Faults, command: Callable[[], Any], writing: int) -> int:
    from course_lib.files import CourseError
    from course_lib.training.runs import writer as runs

    epoch, say = runs.RunWriter.epoch, lambda text: os.write(writing, text.encode())
    runs.RunWriter.epoch = lambda *values: (epoch(*values), say("|"))
    status, said = 0, ""
    try:
        faults.install()
        faults.watch_steps()
        command()
    except KeyboardInterrupt:
        status = 130
    except CourseError as error:
        status, said = 1, str(error)
    except BaseException as error:
        status, said = 2, f"{type(error).__name__}: {error}"
    say(f"{said}#{0 < faults.at <= faults.count}")
    return status


def serve(kind: str, strike: str, lasting: bool, every: int) -> None:
    """One line of JSON for every so many calls at which the run was struck."""
    import gc

    from course_lib.training.runs import writer as runs
    from tests.support import fake_runs

    runs._commit = lambda: "none"  # git would be another process
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background of a shell ignores it
    place = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    command = fake_runs.command if kind == "fake" else real_command(place / "base")

    def attempt(root: Path, faults: Faults) -> Ended:
        return fork(faults, lambda: command(root / "runs"))

    def left(root: Path) -> dict[str, Any]:
        return fake_runs.contents(fake_runs.SPEC.folder(root / "runs"))

    gc.freeze()  # a child need not copy what it only looks at
    try:
        assert attempt(place / "whole", Faults()) == Ended(0, 4, "", False)
        whole, root = left(place / "whole"), place / "struck"
        for at in itertools.count(1, every):
            shutil.rmtree(root, ignore_errors=True)
            first = attempt(root, Faults(strike_of(strike), at=at, lasting=lasting))
            if not first.struck:
                break
            again = attempt(root, Faults())
            print(json.dumps({"first": asdict(first), "again": asdict(again), "equal": left(root) == whole}))
    finally:
        shutil.rmtree(place)


def real_command(folder: Path) -> Callable[..., None]:
    """The command with a tiny model in NF4 and the real trainer; its steps are counted among the calls."""
    import torch

    from course_lib.models.loading import load
    from course_lib.training.finetune import remove_lora, tune
    from course_lib.training.records import TuneConfig
    from course_lib.training.runs.folder import is_completed
    from course_lib.training.runs.writer import open_run
    from tests.support.fake_runs import SPEC
    from tests.support.tiny import TOKENIZERS, saved_model
    from tests.support.tuning import DATA, FACTS

    torch.set_num_threads(1)
    base = load(saved_model(folder, "llama", TOKENIZERS["gpt2"]()), device="cpu")
    config = TuneConfig(epochs=3, lr=5e-3, warmup=1, batch=4, rank=4)

    def command(root: Path) -> None:
        if is_completed(SPEC, root):
            return
        with open_run(SPEC, root) as writer:
            tuned = tune(base.model, base.tokenizer, DATA, FACTS, config, progress=False, resume=writer.resume(),
                         on_epoch=writer.epoch)
            writer.finish(tuned.model.peft_config["default"])
        remove_lora(tuned.model)
    return command


def struck(strike: str, *, kind: str = "fake", lasting: bool = False, every: int = 1) -> list[dict[str, Any]]:
    """What came of a strike at each call, and of the same command after it."""
    code = f"from tests.support import faults\nfaults.serve({kind!r}, {strike!r}, {lasting}, {every})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=280,
                          env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
