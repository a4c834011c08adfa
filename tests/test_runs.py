"""Runs: what a run leaves on disk however it ends, and what is read back from it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from course_lib.files import DataError, read_json
from course_lib.finetune import EpochRecord, TuneConfig
from course_lib.runs import RunSpec, is_completed, open_run, read_history, read_runs

SPEC = RunSpec("pocket", "D", 50, 0, 480, TuneConfig(epochs=2), "base", "labels")


class FakeAdapter:
    """An adapter whose weights are one line of text."""

    weights = "zero"

    def save_pretrained(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "weights").write_text(self.weights)


def record(epoch: int, dev: float = 10.0, **more: Any) -> EpochRecord:
    values = {"loss": None, "test": 1.0, "ood": None, "known_fitted": 2.0, "unknown_fitted": None, "seconds": 0.5}
    return EpochRecord(epoch=epoch, dev=dev, **values | more)


def complete(root: Path, spec: RunSpec = SPEC, devs: tuple[float, ...] = (0, 30, 20)) -> Path:
    adapter = FakeAdapter()
    with open_run(spec, root) as writer:
        for epoch, dev in enumerate(devs):
            adapter.weights = f"epoch {epoch}"
            writer.epoch(record(epoch, dev), adapter)
        writer.finish(adapter)
    return writer.folder


def status(root: Path) -> dict[str, Any]:
    return read_json(SPEC.folder(root) / "run.json")


def tear(folder: Path, line: int) -> None:
    """Cut one line (from 1) of the epochs in half."""
    path = folder / "epochs.jsonl"
    lines = path.read_text().splitlines()
    lines[line - 1] = lines[line - 1][:20]
    path.write_text("\n".join(lines))


def test_the_folder_is_named_by_variant_percentage_seed_and_a_digest() -> None:
    start, digest = SPEC.name.rsplit("-", 1)
    assert start == "D-050-seed0"
    assert len(digest) == 8 and int(digest, 16) >= 0
    assert SPEC.folder("runs") == Path("runs/pocket") / SPEC.name


@pytest.mark.parametrize("change", [
    {"preset": "other"}, {"variant": "D_Known"}, {"unknown_percent": 25}, {"seed": 1}, {"size": 479}, {"base": "x"},
    {"labels": "x"}], ids=str)
def test_every_field_changes_the_name(change: dict[str, Any]) -> None:
    assert replace(SPEC, **change).name != SPEC.name


@pytest.mark.parametrize("field", ["epochs", "lr", "warmup", "rank", "alpha", "batch", "clip", "seed"])
def test_every_setting_of_the_tuning_changes_the_name(field: str) -> None:
    changed = replace(SPEC.tune, **{field: getattr(SPEC.tune, field) + 1})
    assert replace(SPEC, tune=changed).name != SPEC.name


@pytest.mark.parametrize("fifty", [50.0, np.int64(50), np.float64(50)], ids=["float", "int64", "float64"])
def test_equal_percentages_of_other_types_are_one_run(fifty: Any) -> None:
    assert replace(SPEC, unknown_percent=fifty, seed=np.int64(0)).name == SPEC.name


def test_a_percentage_between_whole_numbers_keeps_its_fraction() -> None:
    assert replace(SPEC, unknown_percent=12.5).name.startswith("D-12.5-seed0-")


def test_a_run_is_running_until_it_is_completed(tmp_path: Path) -> None:
    with open_run(SPEC, tmp_path) as writer:
        assert status(tmp_path)["status"] == "running"
        assert not is_completed(SPEC, tmp_path)
        writer.finish(FakeAdapter())
    assert status(tmp_path)["status"] == "completed"
    assert is_completed(SPEC, tmp_path)


def test_an_exception_marks_the_run_failed_keeps_the_reason_and_reaches_the_caller(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), open_run(SPEC, tmp_path):
        raise ZeroDivisionError("by nothing")
    assert (status(tmp_path)["status"], status(tmp_path)["reason"]) == ("failed", "ZeroDivisionError: by nothing")


def test_ctrl_c_marks_the_run_stopped_and_reaches_the_caller(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), open_run(SPEC, tmp_path):
        raise KeyboardInterrupt
    assert status(tmp_path)["status"] == "stopped"


def test_a_run_that_was_never_begun_is_not_completed(tmp_path: Path) -> None:
    assert not is_completed(SPEC, tmp_path)


def test_the_record_holds_the_settings_and_the_surroundings(tmp_path: Path) -> None:
    complete(tmp_path)
    kept = status(tmp_path)
    assert kept["tune"]["lr"] == SPEC.tune.lr
    assert {"preset", "variant", "unknown_percent", "seed", "size", "base", "labels", "seconds", "device", "peak_bytes",
            "commit", "versions"} <= set(kept)
    assert set(kept["versions"]) == {"python", "torch", "transformers", "peft", "bitsandbytes"}


def test_a_machine_without_git_can_keep_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    complete(tmp_path)
    assert status(tmp_path)["commit"] == ""


def test_epochs_come_back_as_they_were_written(tmp_path: Path) -> None:
    folder = complete(tmp_path)
    assert read_history(folder).records == (record(0, 0), record(1, 30), record(2, 20))


def test_the_last_adapter_and_that_of_the_best_dev_epoch_are_kept(tmp_path: Path) -> None:
    folder = complete(tmp_path, devs=(90, 30, 30, 20))
    assert (folder / "adapter" / "weights").read_text() == "epoch 3"
    assert (folder / "adapter_best" / "weights").read_text() == "epoch 1"  # not epoch 0, not the tie in epoch 2


def test_a_run_that_begins_again_forgets_its_old_epochs(tmp_path: Path) -> None:
    complete(tmp_path)
    with open_run(SPEC, tmp_path) as writer:
        writer.epoch(record(0), FakeAdapter())
    assert len(read_history(writer.folder).records) == 1


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    folder = complete(tmp_path)
    tear(folder, 3)
    assert [found.epoch for found in read_history(folder).records] == [0, 1]


def test_a_broken_line_in_the_middle_is_named(tmp_path: Path) -> None:
    folder = complete(tmp_path)
    tear(folder, 2)
    with pytest.raises(DataError, match=r"epochs\.jsonl line 2: not an epoch record; delete the folder"):
        read_history(folder)


@pytest.mark.parametrize("line", [b"null", b"[1, 2]", b'{"epoch": 1}', b"\xff\xfe"])
def test_a_line_that_is_no_record_is_named(line: bytes, tmp_path: Path) -> None:
    (tmp_path / "epochs.jsonl").write_bytes(line + b"\n{}\n")
    with pytest.raises(DataError, match="line 1: not an epoch record"):
        read_history(tmp_path)


def test_missing_epochs_are_named_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"epochs\.jsonl: no such file; delete the folder, if there is one, and run"):
        read_history(tmp_path)


def test_all_epochs_of_several_runs_make_one_table(tmp_path: Path) -> None:
    other = replace(SPEC, variant="D_Known", seed=1)
    complete(tmp_path)
    complete(tmp_path, other, devs=(1, 2, 3))
    frame = read_runs(tmp_path, [SPEC, other])
    assert list(frame) == ["preset", "variant", "unknown_percent", "seed", "epoch", "loss", "dev", "test", "ood",
                           "known_fitted", "unknown_fitted", "seconds"]
    assert frame["variant"].tolist() == ["D"] * 3 + ["D_Known"] * 3
    assert frame["dev"].tolist() == [0, 30, 20, 1, 2, 3]


def test_a_measure_without_rows_is_a_missing_number_in_the_table(tmp_path: Path) -> None:
    complete(tmp_path)
    frame = read_runs(tmp_path, [SPEC])
    assert frame["unknown_fitted"].dtype == float and frame["unknown_fitted"].isna().all()


def test_an_unfinished_run_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), open_run(SPEC, tmp_path):
        raise KeyboardInterrupt
    with pytest.raises(DataError, match=f"{SPEC.name}: not completed; run the sweep again"):
        read_runs(tmp_path, [SPEC])


def test_no_runs_are_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no runs were asked for"):
        read_runs(tmp_path, [])


CHILD = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from course_lib import files, runs
from test_runs import SPEC, FakeAdapter, record

def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)

with runs.open_run(SPEC, {root!r}) as writer:
    writer.epoch(record(0), FakeAdapter())
    writer.epoch(record(1), FakeAdapter())
    {end}
"""
HALF_A_LINE = """
    file = open(writer.folder / "epochs.jsonl", "a")
    file.write('{"epoch": 2, "lo')
    file.flush()
    kill()
"""
BEFORE_THE_RENAME = """
    files.os.replace = kill
    writer.finish(FakeAdapter())
"""


@pytest.mark.parametrize("end", [HALF_A_LINE, BEFORE_THE_RENAME], ids=["half a line", "before the rename"])
def test_a_process_killed_in_the_middle_of_a_write_leaves_files_that_can_be_read(end: str, tmp_path: Path) -> None:
    code = CHILD.format(tests=str(Path(__file__).parent), root=str(tmp_path), end=end)
    killed = subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parent.parent)
    assert killed.returncode == -signal.SIGKILL
    assert status(tmp_path)["status"] == "running"
    assert read_history(SPEC.folder(tmp_path)).records == (record(0), record(1))


def test_every_record_is_on_disk_as_soon_as_it_is_written(tmp_path: Path) -> None:
    with open_run(SPEC, tmp_path) as writer:
        writer.epoch(record(0), FakeAdapter())
        assert json.loads((writer.folder / "epochs.jsonl").read_text())["epoch"] == 0
