"""Writing a run: what it leaves on disk however it ends, and that it is resumed as if it had not stopped."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from course_lib import files
from course_lib.files import CourseError, DataError, read_json
from course_lib.training.runs import writer as runs
from course_lib.training.runs.folder import is_completed, read_history
from course_lib.training.runs.writer import RunBusy, open_run
from tests.support.fake_runs import (
    SPEC,
    begin,
    checkpoints,
    command,
    complete,
    contents,
    following,
    go_on,
    lora_config,
    progress,
)


@pytest.fixture
def whole(tmp_path: Path) -> dict[str, Any]:
    """What the undisturbed run leaves."""
    return contents(complete(tmp_path / "whole"))


def status(root: Path) -> dict[str, Any]:
    return read_json(SPEC.folder(root) / "run.json")


def test_a_run_is_running_until_it_is_completed(tmp_path: Path) -> None:
    assert not is_completed(SPEC, tmp_path)
    with open_run(SPEC, tmp_path) as writer:
        assert status(tmp_path)["status"] == "running"
        assert not is_completed(SPEC, tmp_path)
        go_on(writer)
    assert status(tmp_path)["status"] == "completed"
    assert is_completed(SPEC, tmp_path)


def test_an_exception_marks_the_run_failed_keeps_the_reason_and_reaches_the_caller(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), open_run(SPEC, tmp_path):
        raise ZeroDivisionError("by nothing")
    assert (status(tmp_path)["status"], status(tmp_path)["reason"]) == ("failed", "ZeroDivisionError: by nothing")


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
def test_ctrl_c_marks_the_run_stopped_and_reaches_the_caller(end: type[BaseException], tmp_path: Path) -> None:
    with pytest.raises(end), open_run(SPEC, tmp_path):
        raise end
    assert status(tmp_path)["status"] == "stopped"


def test_a_status_that_cannot_be_written_does_not_hide_the_first_error(tmp_path: Path, monkeypatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ZeroDivisionError), open_run(SPEC, tmp_path):
        monkeypatch.setattr(files.tempfile, "mkstemp", full)
        raise ZeroDivisionError
    assert status(tmp_path)["status"] == "running"


def test_an_error_after_a_run_is_finished_leaves_it_completed(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), open_run(SPEC, tmp_path) as writer:
        go_on(writer)
        raise ZeroDivisionError
    assert is_completed(SPEC, tmp_path)


def test_the_record_holds_the_settings_and_the_surroundings(tmp_path: Path) -> None:
    complete(tmp_path)
    kept = status(tmp_path)
    assert kept["tune"]["lr"] == SPEC.tune.lr
    assert {"preset", "variant", "unknown_percent", "seed", "size", "base", "labels", "rule", "shares", "seconds",
            "device", "peak_bytes", "commit", "versions"} <= set(kept)
    assert set(kept["versions"]) == {"python", "torch", "transformers", "peft", "bitsandbytes"}


def test_a_machine_without_git_can_keep_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("PATH", "")
    complete(tmp_path)
    assert status(tmp_path)["commit"] == ""


def test_the_seconds_of_a_continued_run_hold_those_of_the_epochs_before(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(runs.time, "perf_counter", lambda: 100.0)
    begin(tmp_path, until=1)
    command(tmp_path)
    assert status(tmp_path)["seconds"] == 1.0  # two epochs of half a second; the clock stands still


# Two processes


def test_a_second_writer_of_the_same_run_is_turned_away_at_once(tmp_path: Path) -> None:
    with open_run(SPEC, tmp_path) as first:
        with pytest.raises(RunBusy, match=f"{SPEC.name}: "):
            with open_run(SPEC, tmp_path):
                pass
        assert status(tmp_path)["status"] == "running"
        go_on(first)
    with open_run(SPEC, tmp_path) as later:
        assert later.completed


HOLDS = """
import os, sys
from course_lib.training.runs.writer import open_run
from tests.support.fake_runs import SPEC
context = open_run(SPEC, sys.argv[1])
context.__enter__()
print("held", flush=True)
sys.stdin.read()
os.kill(os.getpid(), 9)
"""


def test_the_lock_dies_with_its_process(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDS, str(tmp_path)], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, cwd=Path(__file__).parents[2],
                              env=os.environ | {"PYTHONPATH": "."})
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(RunBusy), open_run(SPEC, tmp_path):
        pass
    holder.communicate(timeout=60)
    with open_run(SPEC, tmp_path) as writer:
        assert writer.resume() is None


def test_a_disk_without_locks_is_named_with_the_way_out(tmp_path: Path, monkeypatch) -> None:
    import fcntl

    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(CourseError, match=f"{SPEC.name}: .*COURSE_BUILD"):
        with open_run(SPEC, tmp_path):
            pass


def test_a_completed_run_stays_as_it_is_when_it_is_opened(tmp_path: Path) -> None:
    folder = complete(tmp_path)
    before = contents(folder)
    with open_run(SPEC, tmp_path) as writer:
        assert writer.completed and writer.resume() is None
        writer.finish(lora_config())
    assert contents(folder) == before


def test_a_completed_run_that_is_given_epochs_begins_again(tmp_path: Path) -> None:
    complete(tmp_path)
    with open_run(SPEC, tmp_path) as writer:
        writer.epoch(progress(following(None)))
        assert status(tmp_path)["status"] == "running"
    assert len(read_history(writer.folder).records) == 1


# Epochs and adapters


def test_every_record_is_on_disk_as_soon_as_it_is_written(tmp_path: Path) -> None:
    with open_run(SPEC, tmp_path) as writer:
        writer.epoch(progress(following(None)))
        assert json.loads((writer.folder / "epochs.jsonl").read_text())["epoch"] == 0


def test_a_finished_run_leaves_its_results_and_the_adapters_of_the_last_and_the_best_epoch(tmp_path: Path) -> None:
    folder, epochs = complete(tmp_path / "asked"), checkpoints()
    assert sorted(path.name for path in folder.iterdir()) == [
        ".lock", "adapter", "adapter_best", "epochs.jsonl", "run.json"]
    for name, epoch in (("adapter", 3), ("adapter_best", 2)):
        weights = load_file(folder / name / "adapter_model.safetensors")
        assert all(torch.equal(weights[key], weight) for key, weight in epochs[epoch].weights.items())
    unasked = complete(tmp_path, devs=(None, None, None))
    assert sorted(path.name for path in unasked.iterdir()) == [".lock", "adapter", "epochs.jsonl", "run.json"]


def test_a_run_without_all_its_epochs_is_not_finished(tmp_path: Path) -> None:
    with pytest.raises(CourseError, match=r"2 of 4 .*\(0 to 3\)"), open_run(SPEC, tmp_path) as writer:
        go_on(writer, until=1)
        writer.finish(lora_config())
    assert not is_completed(SPEC, tmp_path)


def test_a_checkpoint_that_is_damaged_before_the_adapters_are_made_is_named(tmp_path: Path) -> None:
    begin(tmp_path, until=3)
    with pytest.raises(DataError, match=r"epoch-002\.safetensors: "), open_run(SPEC, tmp_path) as writer:
        writer.resume()
        (writer.folder / "state" / "epoch-002.safetensors").write_bytes(b"")
        writer.finish(lora_config())
    assert command(tmp_path) == 4  # without its best epoch the run begins again


def test_a_file_in_place_of_the_runs_folder_is_named(tmp_path: Path) -> None:
    files.write_text(SPEC.folder(tmp_path), "mine")
    with pytest.raises(DataError, match=f"{SPEC.name}: "), open_run(SPEC, tmp_path):
        pass


# Resumed


def states(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "state").iterdir())


@pytest.mark.parametrize("until", [0, 1, 2, 3])
def test_a_run_continues_after_its_last_epoch_and_ends_as_if_it_had_not_stopped(
        until: int, tmp_path: Path, whole: dict[str, Any]) -> None:
    folder = begin(tmp_path / "stopped", until=until)
    assert command(tmp_path / "stopped") == 3 - until
    assert contents(folder) == whole


def test_the_last_two_epochs_and_their_best_ones_are_kept(tmp_path: Path) -> None:
    devs = (0, 50, 40, 30, 60, 10, 10)
    kept = {}
    with open_run(replace(SPEC, tune=replace(SPEC.tune, epochs=6)), tmp_path) as writer:
        for checkpoint in checkpoints(devs):
            writer.epoch(progress(checkpoint))
            kept[len(kept)] = [int(name[6:9]) for name in states(writer.folder)]
    assert kept == {0: [0], 1: [0, 1], 2: [1, 2], 3: [1, 2, 3], 4: [1, 3, 4], 5: [4, 5], 6: [4, 5, 6]}


def test_several_runs_can_go_on_in_step_from_an_earlier_epoch(tmp_path: Path, whole: dict[str, Any]) -> None:
    folder = begin(tmp_path, until=3)
    with open_run(SPEC, tmp_path) as writer:
        assert writer.resume(upto=2).records[-1].epoch == 2
        assert len(read_history(folder).records) == 3
        writer.epoch(progress(checkpoints()[3]))
        writer.finish(lora_config())
    assert contents(folder) == whole


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path: Path, whole: dict[str, Any]) -> None:
    folder = begin(tmp_path, until=3)
    path = folder / "state" / "epoch-003.safetensors"
    path.write_bytes(path.read_bytes()[:-5])
    with open_run(SPEC, tmp_path) as writer:
        assert writer.resume().records == checkpoints()[2].records
        assert read_history(folder).records == checkpoints()[2].records
    assert command(tmp_path) == 1 and contents(folder) == whole


def test_a_state_under_the_name_of_another_epoch_is_passed_over(tmp_path: Path) -> None:
    state = begin(tmp_path, until=2) / "state"
    (state / "epoch-009.safetensors").write_bytes((state / "epoch-002.safetensors").read_bytes())
    with open_run(SPEC, tmp_path) as writer:
        assert writer.resume().records[-1].epoch == 2


def test_a_run_whose_best_epoch_is_lost_begins_before_it(tmp_path: Path, whole: dict[str, Any]) -> None:
    folder = begin(tmp_path, until=3)
    (folder / "state" / "epoch-002.safetensors").unlink()
    assert command(tmp_path) == 4 and contents(folder) == whole


def test_what_a_kill_left_of_a_write_is_swept_up(tmp_path: Path, whole: dict[str, Any]) -> None:
    folder = begin(tmp_path, until=1)
    for left in (".run.json.x.tmp", "state/.epoch-002.safetensors.x.tmp", ".adapter.x.tmp/half"):
        files.write_text(folder / left, "half")
    command(tmp_path)
    assert contents(folder) == whole


def test_states_that_outlived_a_finished_run_are_swept_up_when_it_is_looked_at(tmp_path: Path) -> None:
    folder = complete(tmp_path)
    before = contents(folder)
    files.write_text(folder / "state" / "epoch-003.safetensors", "left by a kill")
    assert is_completed(SPEC, tmp_path) and contents(folder) == before


@pytest.mark.skipif(os.name == "nt", reason="pipes with a name are of POSIX")
@pytest.mark.parametrize("name", ["epochs.jsonl", "run.json", "state/epoch-002.safetensors"])
def test_a_pipe_in_place_of_a_runs_file_is_made_anew(name: str, tmp_path: Path, whole: dict[str, Any]) -> None:
    path = begin(tmp_path, until=2) / name
    path.unlink()
    os.mkfifo(path)
    if name == "epochs.jsonl":
        with pytest.raises(DataError, match=r"epochs\.jsonl: .*pipe"):
            read_history(path.parent)
    command(tmp_path)
    assert contents(SPEC.folder(tmp_path)) == whole


@pytest.mark.parametrize("name", ["epochs.jsonl", "run.json", "state/epoch-002.safetensors", ".lock"])
def test_a_folder_in_place_of_a_runs_file_is_named(name: str, tmp_path: Path) -> None:
    path = begin(tmp_path, until=2) / name
    path.unlink(missing_ok=True)
    path.mkdir()
    with pytest.raises(DataError, match=f"{re.escape(name)}: .*directory"):
        command(tmp_path)
