"""The second copy of a run on a drive that loses, cuts and doubles files, lists them late, fails and vanishes."""

from __future__ import annotations

import errno
import json
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from course_lib.files import read_json, sha256
from course_lib.training.runs import backup as mirror
from course_lib.training.runs import writer as runs
from course_lib.training.runs.backup import Entry, Mirror
from course_lib.training.runs.writer import is_completed, open_run
from tests.support.fake_runs import SPEC, begin, command, contents, progress, snapshots

EPOCHS = (0, 1, 2, 3)


@pytest.fixture(autouse=True)
def no_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "_commit", lambda: "none")


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    """The folder that a drive is mounted on."""
    folder = tmp_path / "drive"
    folder.mkdir()
    return folder


@pytest.fixture
def whole(tmp_path: Path) -> dict[str, Any]:
    """What the undisturbed run leaves."""
    command(tmp_path / "whole")
    return contents(SPEC.folder(tmp_path / "whole"))


def copies(drive: Path) -> list[str]:
    return sorted(path.name for path in SPEC.folder(drive).iterdir())


def manifest(drive: Path) -> list[str]:
    """What the newest manifest names, by the names in the run's folder."""
    newest = max(name for name in copies(drive) if name.startswith("manifest-"))
    return [entry["name"] for entry in read_json(SPEC.folder(drive) / newest)["files"]]


def newest_state(drive: Path) -> Path:
    return max(path for path in SPEC.folder(drive).glob("epoch-*"))


def restored(root: Path, drive: Path) -> int | None:
    """The epoch that a new machine goes on from, with every record as it was; None: from the start."""
    with open_run(SPEC, root, mirror=drive) as writer:
        found = writer.resume()
    if found is None:
        return None
    assert found.records == snapshots()[len(found.records) - 1].records
    return found.records[-1].epoch


# What is there


@pytest.mark.parametrize(("until", "names"), [(0, [0]), (1, [1]), (2, [2]), (3, [2, 3])])
def test_the_newest_manifest_names_the_last_epoch_and_the_best(until, names, drive, tmp_path) -> None:
    begin(tmp_path / "runs", until=until, mirror=drive)
    assert manifest(drive) == [f"epoch-{epoch:03}.safetensors" for epoch in names]


def test_a_copy_is_named_by_its_epoch_and_checksum_and_is_the_file_itself(drive, tmp_path) -> None:
    folder = begin(tmp_path / "runs", until=1, mirror=drive)
    state = folder / "state" / "epoch-001.safetensors"
    entry = Entry(**read_json(SPEC.folder(drive) / "manifest-000002.json")["files"][0])
    copy = SPEC.folder(drive) / entry.copy
    assert entry.copy == f"epoch-001-{entry.sha256[:8]}.safetensors" and entry.size == state.stat().st_size
    assert copy.read_bytes() == state.read_bytes() and sha256(copy) == entry.sha256


def test_only_what_the_last_two_manifests_need_is_kept(drive, tmp_path) -> None:
    begin(tmp_path / "runs", until=3, mirror=drive)
    assert [name.split("-")[:2] for name in copies(drive)] == [
        ["epoch", "002"], ["epoch", "003"], ["manifest", "000003.json"], ["manifest", "000004.json"]]


def test_a_file_is_truncated_before_it_is_deleted(drive, tmp_path, monkeypatch) -> None:
    sizes, unlink = [], os.unlink
    monkeypatch.setattr(mirror.os, "unlink", lambda path, **more: (
        sizes.append(Path(path).stat().st_size) if str(drive) in str(path) else None, unlink(path, **more)))
    begin(tmp_path / "runs", until=3, mirror=drive)
    assert sizes == [0] * 4  # epochs 0 and 1, manifests 1 and 2


def test_nothing_on_the_drive_is_ever_overwritten_or_renamed(drive, tmp_path, monkeypatch) -> None:
    renamed, replace = [], os.replace
    monkeypatch.setattr(os, "replace", lambda old, new: (renamed.append(str(new)), replace(old, new)))
    seen: dict[str, bytes] = {}
    with open_run(SPEC, tmp_path / "runs", mirror=drive) as writer:
        for snapshot in snapshots():
            writer.epoch(progress(snapshot))
            now = {path.name: path.read_bytes() for path in SPEC.folder(drive).iterdir()}
            assert all(now[name] == seen[name] for name in now.keys() & seen.keys())
            seen |= now
    assert not [name for name in renamed if str(drive) in name]


# Going on from it


@pytest.mark.parametrize("until", EPOCHS)
def test_a_lost_folder_goes_on_from_the_mirror_to_the_same_end(until, drive, tmp_path, whole) -> None:
    shutil.rmtree(begin(tmp_path / "runs", until=until, mirror=drive))
    assert command(tmp_path / "runs", mirror=drive) == 3 - until
    assert contents(SPEC.folder(tmp_path / "runs")) == whole


def test_a_completed_run_whose_folder_is_lost_is_restored_without_an_epoch(drive, tmp_path, whole) -> None:
    command(tmp_path / "runs", mirror=drive)
    shutil.rmtree(tmp_path / "runs")
    assert command(tmp_path / "elsewhere", mirror=drive) == 0
    assert contents(SPEC.folder(tmp_path / "elsewhere")) == whole


def test_the_further_of_folder_and_mirror_wins(drive, tmp_path) -> None:
    begin(tmp_path / "behind", until=0)
    begin(tmp_path / "ahead", until=3)
    begin(tmp_path / "runs", until=2, mirror=drive)
    assert restored(tmp_path / "behind", drive) == 2
    assert restored(tmp_path / "ahead", drive) == 3


def test_several_runs_can_go_on_in_step_from_the_mirror(drive, tmp_path) -> None:
    shutil.rmtree(begin(tmp_path / "runs", until=3, mirror=drive))
    with open_run(SPEC, tmp_path / "runs", mirror=drive) as writer:
        assert writer.resume(upto=2).records[-1].epoch == 2


def test_the_mirror_of_another_run_is_passed_over(drive, tmp_path) -> None:
    begin(tmp_path / "runs", until=2, mirror=drive)
    folder = SPEC.folder(drive)
    for path in folder.glob("manifest-*"):
        path.write_text(path.read_text().replace(SPEC.name, "another"))
    assert restored(tmp_path / "new", drive) is None


@pytest.mark.parametrize("name", ["../../evil.safetensors", "/etc/evil", "epoch-001.safetensors/../x"])
def test_a_manifest_cannot_lead_out_of_its_folder(name, drive, tmp_path) -> None:
    begin(tmp_path / "runs", until=0, mirror=drive)
    path = SPEC.folder(drive) / "manifest-000001.json"
    values = read_json(path)
    for field in ("name", "copy"):
        path.write_text(json.dumps(values | {"files": [values["files"][0] | {field: name}]}))
        assert restored(tmp_path / f"new-{field}", drive) is None


# Damages: whatever a drive does to one file, the run goes on from an epoch that verifies

DAMAGES: dict[str, Callable[[Path], Any]] = {
    "dropped": lambda path: path.unlink(),
    "emptied": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-7]),
    "changed": lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\x07"),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_never_gives_a_wrong_number(damage, number, drive, tmp_path, whole) -> None:
    shutil.rmtree(begin(tmp_path / "runs", until=3, mirror=drive))
    path = sorted(SPEC.folder(drive).iterdir())[number]
    damage(path)
    # epoch 2 is the best: both manifests need it; the older manifest is not looked at while the newer one verifies
    expected = {"epoch-002": None, "epoch-003": 2, "manifest-000003": 3, "manifest-000004": 2}
    assert restored(tmp_path / "new", drive) == next(
        epoch for name, epoch in expected.items() if path.name.startswith(name))
    command(tmp_path / "runs", mirror=drive)
    assert contents(SPEC.folder(tmp_path / "runs")) == whole


@pytest.mark.parametrize("pattern", ["epoch-003-*.safetensors", "manifest-000004.json"])
def test_a_second_file_of_one_name_is_used_where_the_first_is_damaged(pattern, drive, tmp_path) -> None:
    shutil.rmtree(begin(tmp_path / "runs", until=3, mirror=drive))
    path = next(SPEC.folder(drive).glob(pattern))
    path.with_name(f"{path.stem} (1){path.suffix}").write_bytes(path.read_bytes())
    assert restored(tmp_path / "both", drive) == 3
    path.write_bytes(b"")
    assert restored(tmp_path / "one", drive) == 3


def test_second_files_of_one_name_go_when_the_first_goes(drive, tmp_path) -> None:
    begin(tmp_path / "runs", until=2, mirror=drive)
    for path in list(SPEC.folder(drive).iterdir()):
        path.with_name(f"{path.stem} (1){path.suffix}").write_bytes(path.read_bytes())
    begin(tmp_path / "runs", until=3, mirror=drive)
    assert {name[:9] for name in copies(drive) if "(1)" in name} == {"epoch-002", "manifest-"}
    assert restored(tmp_path / "new", drive) == 3


def test_a_damaged_copy_is_written_again_under_a_new_name(drive, tmp_path) -> None:
    begin(tmp_path / "runs", until=2, mirror=drive)
    newest_state(drive).write_bytes(b"cut")  # the best epoch
    begin(tmp_path / "runs", until=3, mirror=drive)
    assert restored(tmp_path / "new", drive) == 3
    entries = read_json(SPEC.folder(drive) / "manifest-000004.json")["files"]
    assert entries[0]["copy"].startswith("epoch-002-") and entries[0]["copy"].endswith("-2.safetensors")


def test_files_of_others_are_left_alone(drive, tmp_path) -> None:
    SPEC.folder(drive).mkdir(parents=True)
    others = ("thesis.txt", "epoch-001.safetensors", "manifest-1.json", "epoch-000-xyz.safetensors")
    for name in others:
        (SPEC.folder(drive) / name).write_text("mine")
    begin(tmp_path / "runs", until=3, mirror=drive)
    assert [(SPEC.folder(drive) / name).read_text() for name in others] == ["mine"] * 4


# A stale listing


def test_a_listing_that_comes_late_overwrites_nothing_and_loses_nothing(drive, tmp_path, monkeypatch, whole) -> None:
    begin(tmp_path / "runs", until=1, mirror=drive)
    before = os.listdir(SPEC.folder(drive))
    with monkeypatch.context() as late:
        late.setattr(mirror.os, "listdir", lambda path: before)
        begin(tmp_path / "runs", until=3, mirror=drive)
        assert restored(tmp_path / "stale", drive) == 1  # what the listing shows
    assert restored(tmp_path / "fresh", drive) == 3
    command(tmp_path / "runs", mirror=drive)
    assert contents(SPEC.folder(tmp_path / "runs")) == whole


# Failures: the run goes on


class Failing:
    """In place of ``Mirror._create``: fails in the given calls, after half of the bytes."""

    def __init__(self, number: int, calls: set[int]) -> None:
        self.number, self.calls, self.count, self.real = number, calls, 0, Mirror._create

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Mirror, "_create", lambda *values: self.create(*values))

    def create(self, made: Mirror, name: str, data: bytes) -> None:
        self.count += 1
        if self.count in self.calls:
            (made.folder / name).write_bytes(data[:len(data) // 2])
            raise OSError(self.number, os.strerror(self.number))
        self.real(made, name, data)


@pytest.mark.parametrize("number", [errno.EIO, errno.EDQUOT, errno.ENOTCONN, errno.ENOSPC])
@pytest.mark.parametrize("call", range(1, 9))
def test_a_write_that_fails_costs_that_copy_alone(number, call, drive, tmp_path, monkeypatch, whole) -> None:
    Failing(number, {call}).install(monkeypatch)
    with pytest.warns(RuntimeWarning, match="the copy failed .*The run goes on, and is kept in its own folder"):
        command(tmp_path / "runs", mirror=drive)
    assert contents(SPEC.folder(tmp_path / "runs")) == whole
    assert restored(tmp_path / "new", drive) == 3  # the next epoch, or the end of the run, made good for it


def test_a_drive_that_fails_from_then_on_is_said_once_with_what_is_verified(drive, tmp_path, monkeypatch) -> None:
    Failing(errno.ENOTCONN, set(range(5, 100))).install(monkeypatch)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        command(tmp_path / "runs", mirror=drive)
    assert is_completed(SPEC, tmp_path / "runs")
    assert len(said) == 1 and "up to epoch 1 the run is verified there" in str(said[0].message)
    assert "not connected" in str(said[0].message) and str(SPEC.folder(drive)) in str(said[0].message)
    assert restored(tmp_path / "new", drive) == 1


def test_a_copy_that_reads_back_otherwise_is_not_verified(drive, tmp_path, monkeypatch) -> None:
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: read(self)[:-1] if str(drive) in str(self) else read(self))
    with pytest.warns(RuntimeWarning, match="what was written does not read back.*nothing is verified there yet"):
        command(tmp_path / "runs", mirror=drive)
    assert not [name for name in copies(drive) if name.startswith("manifest-")]


def test_a_drive_that_vanishes_is_not_made_anew_on_this_disk(drive, tmp_path) -> None:
    with open_run(SPEC, tmp_path / "runs", mirror=drive) as writer:
        writer.epoch(progress(snapshots()[0]))
        shutil.rmtree(drive)
        with pytest.warns(RuntimeWarning, match="up to epoch 0 the run is verified there"):
            writer.epoch(progress(snapshots()[1]))
    assert not drive.exists()


def test_a_drive_that_was_not_there_at_the_start_is_said_and_the_run_is_done(tmp_path, whole) -> None:
    with pytest.warns(RuntimeWarning, match="it could not be read .*nothing is verified there yet"):
        command(tmp_path / "runs", mirror=tmp_path / "not mounted")
    assert contents(SPEC.folder(tmp_path / "runs")) == whole


def test_a_drive_that_cannot_be_read_gives_nothing_and_is_said(drive, tmp_path, monkeypatch) -> None:
    begin(tmp_path / "runs", until=2, mirror=drive)
    listdir = os.listdir

    def gone(path: Any) -> list[str]:
        if str(drive) in str(path):
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        return listdir(path)

    monkeypatch.setattr(mirror.os, "listdir", gone)
    with pytest.warns(RuntimeWarning, match="it could not be read .*not connected"):
        assert restored(tmp_path / "new", drive) is None


def test_files_that_cannot_be_deleted_do_not_fail_the_copy(drive, tmp_path, monkeypatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(mirror.os, "truncate", refuse)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        begin(tmp_path / "runs", until=3, mirror=drive)
    assert restored(tmp_path / "new", drive) == 3
