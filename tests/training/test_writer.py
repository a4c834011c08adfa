"""Runs: what a run leaves on disk however it ends, and what is read back from it."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from course_lib import files
from course_lib.files import CourseError, DataError, read_json
from course_lib.training.records import best_epoch, pack_bits
from course_lib.training.runs import writer as runs
from course_lib.training.runs.checkpoints import pack_checkpoint, read_checkpoint
from course_lib.training.runs.folder import RunSpec, is_completed, read_history, read_right, read_runs
from course_lib.training.runs.writer import RunBusy, open_run
from tests.support.fake_runs import (
    DEVS,
    KEYS,
    SPEC,
    begin,
    checkpoints,
    command,
    contents,
    following,
    go_on,
    lora_config,
    progress,
    record,
)


@pytest.fixture(autouse=True)
def no_git(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are begun by the dozen here; asking git each time would take most of the time."""
    monkeypatch.setattr(runs, "_commit", lambda: "none")


def complete(root: Path, spec: RunSpec = SPEC, devs: tuple[float | None, ...] = DEVS) -> Path:
    command(root, spec=spec, devs=devs)
    return replace(spec, tune=replace(spec.tune, epochs=len(devs) - 1)).folder(root)


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
    {"labels": "x"}, {"rule": "all"}, {"shares": (("Unknown", 5),)}], ids=str)
def test_every_field_changes_the_name(change: dict[str, Any]) -> None:
    assert replace(SPEC, **change).name != SPEC.name


@pytest.mark.parametrize("field", ["epochs", "lr", "warmup", "rank", "alpha", "batch", "clip", "seed"])
def test_every_setting_of_the_tuning_changes_the_name(field: str) -> None:
    step = -1 if field == "warmup" else 1  # a warm-up is not longer than the run
    changed = replace(SPEC.tune, **{field: getattr(SPEC.tune, field) + step})
    assert replace(SPEC, tune=changed).name != SPEC.name


@pytest.mark.parametrize("fifty", [50.0, np.int64(50), np.float64(50)], ids=["float", "int64", "float64"])
def test_equal_percentages_of_other_types_are_one_run(fifty: Any) -> None:
    assert replace(SPEC, unknown_percent=fifty, seed=np.int64(0)).name == SPEC.name


def test_a_percentage_between_whole_numbers_keeps_its_fraction() -> None:
    assert replace(SPEC, unknown_percent=12.5).name.startswith("D-12.5-seed0-")


def test_the_same_shares_in_another_order_or_type_are_one_run() -> None:
    shares = (("MaybeKnown", 25.0), ("HighlyKnown", np.int64(75)))
    assert replace(SPEC, shares=shares) == replace(SPEC, shares=[["HighlyKnown", 75], ["MaybeKnown", 25]])


def test_settings_come_back_from_the_record(tmp_path: Path) -> None:
    spec = replace(SPEC, variant="D_Free", shares=(("HighlyKnown", 75), ("Unknown", 12.5)))
    assert RunSpec.from_json(read_json(complete(tmp_path, spec) / "run.json")) == spec


# Status


def test_a_run_is_running_until_it_is_completed(tmp_path: Path) -> None:
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


def test_a_run_that_was_never_begun_is_not_completed(tmp_path: Path) -> None:
    assert not is_completed(SPEC, tmp_path)


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


def test_epochs_come_back_as_they_were_written(tmp_path: Path) -> None:
    assert read_history(complete(tmp_path)).records == checkpoints()[-1].records


def test_every_record_is_on_disk_as_soon_as_it_is_written(tmp_path: Path) -> None:
    with open_run(SPEC, tmp_path) as writer:
        writer.epoch(progress(following(None)))
        assert json.loads((writer.folder / "epochs.jsonl").read_text())["epoch"] == 0


@pytest.mark.parametrize(("devs", "best"), [((90, 30, 30, 20), 1), (DEVS, 2), ((0, 1, 2, 3), 3), ((5, 0, 0, 0), 1)])
def test_the_best_epoch_is_the_first_of_the_best_dev_and_never_epoch_0(devs: tuple[float, ...], best: int) -> None:
    assert best_epoch(checkpoints(devs)[-1].records) == best


def test_without_dev_questions_no_epoch_is_the_best(tmp_path: Path) -> None:
    devs = (None, None, None)
    assert best_epoch(checkpoints(devs)[-1].records) is None
    assert sorted(path.name for path in complete(tmp_path, devs=devs).iterdir()) == [
        ".lock", "adapter", "epochs.jsonl", "run.json"]


def test_the_last_adapter_and_that_of_the_best_dev_epoch_are_kept(tmp_path: Path) -> None:
    folder, epochs = complete(tmp_path), checkpoints()
    for name, epoch in (("adapter", 3), ("adapter_best", 2)):
        weights = load_file(folder / name / "adapter_model.safetensors")
        assert set(weights) == set(KEYS)
        assert all(torch.equal(weights[key], epochs[epoch].tensors[f"weight.{key}"]) for key in KEYS)


def test_the_settings_of_an_adapter_are_the_same_on_every_machine(tmp_path: Path) -> None:
    values = read_json(complete(tmp_path) / "adapter" / "adapter_config.json")
    assert values["target_modules"] == ["k_proj", "o_proj", "q_proj", "v_proj"]
    assert values["base_model_name_or_path"] == "pocket" and values["inference_mode"] is True
    assert (values["r"], values["lora_alpha"], values["peft_type"]) == (2, 4, "LORA")


def test_a_base_on_the_hub_keeps_its_name(tmp_path: Path) -> None:
    config = lora_config()
    config.base_model_name_or_path = "owner/name"
    with open_run(SPEC, tmp_path) as writer:
        go_on(writer, until=3)
        writer.finish(config)
    assert read_json(writer.folder / "adapter" / "adapter_config.json")["base_model_name_or_path"] == "owner/name"


def test_a_finished_run_leaves_nothing_but_its_results(tmp_path: Path) -> None:
    assert sorted(path.name for path in complete(tmp_path).iterdir()) == [
        ".lock", "adapter", "adapter_best", "epochs.jsonl", "run.json"]


def test_a_run_without_all_its_epochs_is_not_finished(tmp_path: Path) -> None:
    with pytest.raises(CourseError, match=r"2 of 4 .*\(0 to 3\)"), open_run(SPEC, tmp_path) as writer:
        go_on(writer, until=1)
        writer.finish(lora_config())
    assert not is_completed(SPEC, tmp_path)


# Going on


def states(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "state").iterdir())


@pytest.mark.parametrize("until", [0, 1, 2, 3])
def test_a_run_goes_on_after_its_last_epoch_and_ends_as_if_it_had_not_stopped(until: int, tmp_path: Path) -> None:
    whole = contents(complete(tmp_path / "whole"))
    folder = begin(tmp_path / "stopped", until=until)
    assert command(tmp_path / "stopped") == 3 - until
    assert contents(folder) == whole


def test_a_checkpoint_comes_back_with_every_bit(tmp_path: Path) -> None:
    begin(tmp_path, until=2)
    with open_run(SPEC, tmp_path) as writer:
        found, wanted = writer.resume(), checkpoints()[2]
    assert (found.records, found.state) == (wanted.records, wanted.state)
    assert found.tensors.keys() == wanted.tensors.keys()
    assert all(torch.equal(found.tensors[name], wanted.tensors[name]) for name in wanted.tensors)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.int64, torch.bool])
def test_tensors_of_every_type_come_back(dtype: torch.dtype, tmp_path: Path) -> None:
    wanted = replace(following(None), tensors={"a": torch.arange(4).to(dtype), "b": torch.tensor(1).to(dtype)})
    (tmp_path / "a").write_bytes(pack_checkpoint(wanted, run="r"))
    found = read_checkpoint(tmp_path / "a", run="r").tensors
    assert torch.equal(found["a"], wanted.tensors["a"]) and torch.equal(found["b"], wanted.tensors["b"])


def test_the_last_two_epochs_and_their_best_ones_are_kept(tmp_path: Path) -> None:
    devs = (0, 50, 40, 30, 60, 10, 10)
    kept = {}
    with open_run(replace(SPEC, tune=replace(SPEC.tune, epochs=6)), tmp_path) as writer:
        for checkpoint in checkpoints(devs):
            writer.epoch(progress(checkpoint))
            kept[len(kept)] = [int(name[6:9]) for name in states(writer.folder)]
    assert kept == {0: [0], 1: [0, 1], 2: [1, 2], 3: [1, 2, 3], 4: [1, 3, 4], 5: [4, 5], 6: [4, 5, 6]}


def test_several_runs_can_go_on_in_step_from_an_earlier_epoch(tmp_path: Path) -> None:
    folder = begin(tmp_path, until=3)
    whole = contents(complete(tmp_path / "whole"))
    with open_run(SPEC, tmp_path) as writer:
        assert writer.resume(upto=2).records[-1].epoch == 2
        assert len(read_history(folder).records) == 3
        writer.epoch(progress(checkpoints()[3]))
        writer.finish(lora_config())
    assert contents(folder) == whole


DAMAGES = {"torn": lambda data: data[:-5], "empty": lambda data: b"", "a weight": lambda data: data[:-1] + b"\x01",
           "a record": lambda data: data.replace(b'\\"dev\\": 30.0', b'\\"dev\\": 99.0'),
           "half": lambda data: data[:len(data) // 2], "no header": lambda data: b"\xff" * 100,
           "another run": lambda data: pack_checkpoint(checkpoints()[3], run="other")}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_state_is_passed_over_for_the_one_before(damage: Any, tmp_path: Path) -> None:
    folder = begin(tmp_path, until=3)
    whole = contents(complete(tmp_path / "whole"))
    path = folder / "state" / "epoch-003.safetensors"
    assert damage(path.read_bytes()) != path.read_bytes()
    path.write_bytes(damage(path.read_bytes()))
    with open_run(SPEC, tmp_path) as writer:
        assert writer.resume().records == checkpoints()[2].records
        assert read_history(folder).records == checkpoints()[2].records
    assert command(tmp_path) == 1 and contents(folder) == whole


def test_a_state_under_the_name_of_another_epoch_is_passed_over(tmp_path: Path) -> None:
    state = begin(tmp_path, until=2) / "state"
    (state / "epoch-009.safetensors").write_bytes((state / "epoch-002.safetensors").read_bytes())
    with open_run(SPEC, tmp_path) as writer:
        assert writer.resume().records[-1].epoch == 2


def test_a_run_whose_best_epoch_is_lost_begins_before_it(tmp_path: Path) -> None:
    folder = begin(tmp_path, until=3)
    whole = contents(complete(tmp_path / "whole"))
    (folder / "state" / "epoch-002.safetensors").unlink()
    assert command(tmp_path) == 4 and contents(folder) == whole


def test_what_a_kill_left_of_a_write_is_swept_up(tmp_path: Path) -> None:
    folder = begin(tmp_path, until=1)
    whole = contents(complete(tmp_path / "whole"))
    for left in (".run.json.x.tmp", "state/.epoch-002.safetensors.x.tmp", ".adapter.x.tmp/half"):
        files.write_text(folder / left, "half")
    command(tmp_path)
    assert contents(folder) == whole


def test_states_that_outlived_a_finished_run_are_swept_up_when_it_is_looked_at(tmp_path: Path) -> None:
    folder = complete(tmp_path)
    before = contents(folder)
    files.write_text(folder / "state" / "epoch-003.safetensors", "left by a kill")
    assert is_completed(SPEC, tmp_path) and contents(folder) == before


# Reading


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    folder = complete(tmp_path)
    tear(folder, 4)
    assert [found.epoch for found in read_history(folder).records] == [0, 1, 2]


def test_a_broken_line_in_the_middle_is_named(tmp_path: Path) -> None:
    folder = complete(tmp_path)
    tear(folder, 2)
    with pytest.raises(DataError, match=r"epochs\.jsonl line 2: "):
        read_history(folder)


@pytest.mark.parametrize("line", [b"null", b"[1, 2]", b'{"epoch": 1}', b"\xff\xfe"])
def test_a_line_that_is_no_record_is_named(line: bytes, tmp_path: Path) -> None:
    (tmp_path / "epochs.jsonl").write_bytes(line + b"\n{}\n")
    with pytest.raises(DataError, match=r"epochs\.jsonl line 1: "):
        read_history(tmp_path)


@pytest.mark.parametrize("values", [
    {"epoch": "1"}, {"loss": [1]}, {"test": float("nan")}, {"seconds": None}, {"dev": True}, {"ood": 10**300},
    {"by_category": {"test_Unknown": "x"}}, {"by_category": []}, {"right": {"test": 3}}, {"more": 1}], ids=str)
def test_a_record_whose_values_are_of_another_type_is_named(values: dict[str, Any], tmp_path: Path) -> None:
    whole = asdict(record(0))
    (tmp_path / "epochs.jsonl").write_text(f"{json.dumps(whole | values)}\n{json.dumps(whole)}\n")
    with pytest.raises(DataError, match=r"epochs\.jsonl line 1: "):
        read_history(tmp_path)


@pytest.mark.parametrize("values", [
    [], {"seed": "0"}, {"seed": 0.5}, {"unknown_percent": float("inf")}, {"tune": []}, {"tune": {"rank": "x"}},
    {"tune": {"rank": -1}}, {"shares": [["Unknown"]]}, {"shares": "ab"}, {"preset": "../x"}, {"variant": "/"}], ids=str)
def test_settings_that_are_none_are_refused(values: Any, tmp_path: Path) -> None:
    about = read_json(complete(tmp_path) / "run.json")
    with pytest.raises((KeyError, TypeError, ValueError, CourseError)):
        RunSpec.from_json(about | values if isinstance(values, dict) else values)


@pytest.mark.parametrize("text", ["[]", "null", "[" * 100_000, "{", '{"status": 1, "status": 2}'],
                         ids=["list", "null", "nested", "cut", "twice"])
def test_a_damaged_record_of_a_run_is_named(text: str, tmp_path: Path) -> None:
    path = complete(tmp_path) / "run.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"run\.json"):
        is_completed(SPEC, tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="pipes with a name are of POSIX")
@pytest.mark.parametrize("name", ["epochs.jsonl", "run.json", "state/epoch-002.safetensors"])
def test_a_pipe_in_place_of_a_runs_file_is_made_anew(name: str, tmp_path: Path) -> None:
    whole = contents(complete(tmp_path / "whole"))
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


def test_missing_epochs_are_named_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"epochs\.jsonl: "):
        read_history(tmp_path)


def test_all_epochs_of_several_runs_make_one_table(tmp_path: Path) -> None:
    other = replace(SPEC, variant="D_Known", seed=1, tune=replace(SPEC.tune, lr=0.5))
    complete(tmp_path)
    complete(tmp_path, other, devs=(1, 2, 3, 4))
    frame = read_runs(tmp_path, [SPEC, other])
    assert list(frame)[:16] == ["preset", "variant", "unknown_percent", "seed", "lr", "shares", "epoch", "loss", "dev",
                                "test", "ood", "known_fitted", "unknown_fitted", "seconds", "evaluation_seconds",
                                "answered"]
    assert list(frame)[16:] == [f"{split}_{category}" for split in ("train", "test", "ood")
                                for category in ("HighlyKnown", "MaybeKnown", "WeaklyKnown", "Unknown")]
    assert frame["variant"].tolist() == ["D"] * 4 + ["D_Known"] * 4
    assert frame["dev"].tolist() == [50, 10, 30, 20, 1, 2, 3, 4]
    assert frame["lr"].tolist() == [SPEC.tune.lr] * 4 + [0.5] * 4


def test_the_accuracy_of_a_category_is_a_column_and_missing_where_it_was_not_asked(tmp_path: Path) -> None:
    complete(tmp_path)
    frame = read_runs(tmp_path, [SPEC])
    assert frame["test_Unknown"].tolist()[1:] == [1 / 3, 2 / 3, 1] and np.isnan(frame["test_Unknown"][0])
    assert frame["train_Unknown"].dtype == float and frame["train_Unknown"].isna().all()


def test_a_measure_without_rows_is_a_missing_number_in_the_table(tmp_path: Path) -> None:
    complete(tmp_path)
    frame = read_runs(tmp_path, [SPEC])
    assert frame["unknown_fitted"].dtype == float and frame["unknown_fitted"].isna().all()


def test_an_unfinished_run_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), open_run(SPEC, tmp_path):
        raise KeyboardInterrupt
    with pytest.raises(DataError, match=f"{SPEC.name}: "):
        read_runs(tmp_path, [SPEC])


def test_a_run_with_missing_epochs_is_refused_by_name(tmp_path: Path) -> None:
    tear(complete(tmp_path), 4)
    with pytest.raises(DataError, match=f"{SPEC.name}: .*0 to 3"):
        read_runs(tmp_path, [SPEC])


def test_no_runs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"study\.plan"):
        read_runs(tmp_path, [])


def lines(folder: Path, *rights: dict[str, str]) -> Path:
    files.write_text(folder / "epochs.jsonl", "".join(
        json.dumps(asdict(record(epoch, right=right))) + "\n" for epoch, right in enumerate(rights)))
    return folder


def test_right_answers_come_back_as_epochs_by_questions(tmp_path: Path) -> None:
    first, second = np.array([True, False, True]), np.array([False, False, True])
    folder = lines(tmp_path, {"test": pack_bits(first), "ood": pack_bits(second[:2])},
                   {"test": pack_bits(second), "ood": pack_bits(first[:2])})
    found = read_right(folder)
    assert found["test"].dtype == bool and found["test"].tolist() == [first.tolist(), second.tolist()]
    assert found["ood"].tolist() == [[False, False], [True, False]] and set(found) == {"test", "ood"}


def test_a_run_that_kept_no_answers_has_none(tmp_path: Path) -> None:
    assert read_right(lines(tmp_path, {}, {})) == {}


@pytest.mark.parametrize("text", ["", "3", "3:zz", "-1:80", "9:80", "99999999999:80", "3:80:80", "3:8"])
def test_a_row_of_answers_that_is_none_is_named(text: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=re.escape(f"{tmp_path.name}: {text!r} ")):
        read_right(lines(tmp_path, {"test": text}))


@pytest.mark.parametrize("second", [{}, {"test": "2:80"}])
def test_epochs_with_other_questions_are_named(second: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="epoch 1 .*epoch 0 .*'test': 3"):
        read_right(lines(tmp_path, {"test": "3:80"}, second))
