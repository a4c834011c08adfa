"""Runs that are killed, or that lose their disk, at every single call; then the same command once more.

One process loads the libraries once and forks a child for each attempt. In the child every call of ours that changes a
disk is counted (open, write, fsync, rename, unlink, rmdir, mkdir, truncate); at call n it is killed, in a write after
half of the bytes, or the call fails. The oracle is the folder of a run that nothing disturbed.
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

import pytest

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


def no_space() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def io_error() -> None:
    raise OSError(errno.EIO, "Input/output error")


def gone() -> None:
    raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")


def send(name: str) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), getattr(signal, name))


STRIKES = {"SIGKILL": send("SIGKILL"), "SIGTERM": send("SIGTERM"), "SIGINT": send("SIGINT"), "ENOSPC": no_space,
           "EIO": io_error, "ENOTCONN": gone}


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
            first = attempt(root, Faults(STRIKES[strike], at=at, lasting=lasting))
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
    from tests.support.tiny import TOKENIZERS, plain_model
    from tests.training.test_finetune import DATA, FACTS

    torch.set_num_threads(1)
    tokenizer = TOKENIZERS["gpt2"]()
    plain_model("llama", tokenizer, initializer_range=0.1).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    base = load(folder, device="cpu")
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
    code = ("from tests.training import test_resume\n"
            f"test_resume.serve({kind!r}, {strike!r}, {lasting}, {every})")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=280,
                          env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def wrong(found: list[dict[str, Any]]) -> list[tuple[int, dict[str, Any]]]:
    """The strikes after which the same command failed, or did not give the undisturbed run."""
    return [(at, one) for at, one in enumerate(found, 1)
            if (one["again"]["status"], one["again"]["said"], one["equal"]) != (0, "", True)]


def redone(found: list[dict[str, Any]]) -> set[int]:
    """How many epochs were finished twice."""
    return {one["first"]["epochs"] + one["again"]["epochs"] - 4 for one in found}


def stop_here() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("at", range(2, 120, 13))
def test_ctrl_c_at_a_call_goes_on_to_the_same_folder(at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.support import fake_runs

    monkeypatch.setattr("course_lib.training.runs.writer._commit", lambda: "none")
    kept = {name: getattr(os, name) for name in (*CALLS, "fdopen")}, builtins.open
    try:
        Faults(stop_here, at=at).install()
        with pytest.raises(KeyboardInterrupt):
            fake_runs.command(tmp_path / "struck")
    finally:
        vars(os).update(kept[0])
        builtins.open = kept[1]
    for name in ("struck", "whole"):
        fake_runs.command(tmp_path / name)
    struck, whole = (fake_runs.contents(fake_runs.SPEC.folder(tmp_path / name)) for name in ("struck", "whole"))
    assert struck == whole


@pytest.mark.slow
@pytest.mark.parametrize(("strike", "status"), [("SIGKILL", -9), ("SIGTERM", -15), ("SIGINT", 130)])
def test_a_run_that_is_killed_at_any_call_goes_on_to_the_same_folder(strike: str, status: int) -> None:
    found = struck(strike)
    assert len(found) > 100 and {one["first"]["status"] for one in found} == {status}
    assert wrong(found) == []
    # an epoch may be on disk whose writer was killed before it could say so; none is computed twice
    assert redone(found) <= {-1, 0}


@pytest.mark.slow
@pytest.mark.parametrize(("strike", "lasting"), [("ENOSPC", False), ("ENOSPC", True), ("EIO", False),
                                                 ("ENOTCONN", False)])
def test_a_disk_that_fails_at_any_call_is_one_message_and_costs_nothing(strike: str, lasting: bool) -> None:
    from course_lib.files import DISK

    words = DISK[getattr(errno, strike)]
    found = struck(strike, lasting=lasting)
    assert len(found) > 100 and wrong(found) == [] and redone(found) <= {-1, 0}
    # what fails while a finished run is tidied up is tidied up later
    assert {one["first"]["status"] for one in found} <= {0, 1}
    assert [one["first"]["said"] for one in found if one["first"]["status"] and words not in one["first"]["said"]] == []
    assert sum(one["first"]["status"] for one in found) > 90


@pytest.mark.slow
@pytest.mark.parametrize("strike", ["SIGKILL", "SIGINT"])
def test_a_real_training_that_is_killed_ends_with_the_same_weights_bit_for_bit(strike: str) -> None:
    found = struck(strike, kind="real", every=13)
    assert len(found) > 10 and wrong(found) == [] and redone(found) <= {-1, 0}


def test_the_adapter_of_a_run_is_what_peft_would_have_saved_and_loads_again(tmp_path: Path) -> None:
    import torch
    from peft import PeftModel

    from course_lib.models.loading import load
    from course_lib.training.finetune import remove_lora, tune
    from course_lib.training.runs.writer import open_run
    from tests.support.fake_runs import SPEC
    from tests.support.tiny import TOKENIZERS, plain_model
    from tests.training.test_finetune import DATA, FACTS

    tokenizer = TOKENIZERS["gpt2"]()
    plain_model("llama", tokenizer, initializer_range=0.1).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    base, ids = load(tmp_path / "base", device="cpu"), torch.arange(3, 43).view(2, 20)
    with open_run(SPEC, tmp_path) as writer:
        tuned = tune(base.model, base.tokenizer, DATA, FACTS, SPEC.tune, progress=False, on_epoch=writer.epoch)
        writer.finish(tuned.model.peft_config["default"])
    tuned.model.save_pretrained(tmp_path / "peft")
    with torch.inference_mode():
        wanted = tuned.model(input_ids=ids, use_cache=False).logits
        again = PeftModel.from_pretrained(remove_lora(tuned.model), writer.folder / "adapter").eval()
        assert torch.equal(again(input_ids=ids, use_cache=False).logits, wanted)
    saved = (tmp_path / "peft" / "adapter_model.safetensors").read_bytes()
    assert (writer.folder / "adapter" / "adapter_model.safetensors").read_bytes() == saved
    assert str(tmp_path) not in (writer.folder / "adapter" / "adapter_config.json").read_text()
