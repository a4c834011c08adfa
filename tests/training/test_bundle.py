"""Many runs in one zip file: read by the readers of folders, the same bytes from the same runs."""

from __future__ import annotations

import re
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from course_lib.files import DataError, read_json, write_json
from course_lib.training.runs import folder as run_files
from course_lib.training.runs import writer as runs
from course_lib.training.runs.folder import (
    bundle_specs,
    is_completed,
    read_history,
    read_right,
    read_runs,
    write_bundle,
)
from tests.support.fake_runs import SPEC, begin, command

OTHER = replace(SPEC, variant="D_Free", unknown_percent=12.5, seed=1, shares=(("Unknown", 12.5), ("HighlyKnown", 87.5)))


@pytest.fixture(autouse=True)
def no_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "_commit", lambda: "none")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with two completed runs."""
    for spec in (SPEC, OTHER):
        command(tmp_path / "runs", spec=spec)
    return tmp_path / "runs"


@pytest.fixture
def bundle(root: Path, tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "runs.zip", root, [SPEC, OTHER])


def crafted(path: Path, name: str, data: bytes = b"{}") -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(name, data)
    return path


def test_a_bundle_holds_settings_and_epochs_and_nothing_else(bundle: Path) -> None:
    with zipfile.ZipFile(bundle) as file:
        assert sorted(file.namelist()) == sorted(
            f"pocket/{spec.name}/{name}" for spec in (SPEC, OTHER) for name in ("run.json", "epochs.jsonl"))


def test_the_table_of_a_bundle_is_that_of_its_folder(bundle: Path, root: Path) -> None:
    assert is_completed(SPEC, bundle) and not is_completed(replace(SPEC, seed=9), bundle)
    pd.testing.assert_frame_equal(read_runs(bundle, [SPEC, OTHER]), read_runs(root, [SPEC, OTHER]))


def test_the_history_of_a_run_in_a_bundle_is_that_of_its_folder(bundle: Path, root: Path) -> None:
    assert read_history(SPEC.folder(bundle)) == read_history(SPEC.folder(root))


def test_right_answers_are_read_from_a_bundle(bundle: Path, tmp_path: Path) -> None:
    line = '{"epoch": 0, "loss": null, "dev": 1, "test": 1, "ood": 1, "known_fitted": 1, "unknown_fitted": 1, ' \
           '"seconds": 1, "right": {"test": "3:a0"}}'
    path = crafted(tmp_path / "one.zip", "pocket/run/epochs.jsonl", line.encode())
    assert np.array_equal(read_right(zipfile.Path(path) / "pocket" / "run")["test"], [[True, False, True]])


def test_the_same_runs_give_the_same_bytes(bundle: Path, root: Path, tmp_path: Path) -> None:
    for path in root.rglob("*"):
        path.touch()
    again = write_bundle(tmp_path / "again.zip", root, [OTHER, SPEC, OTHER])
    assert again.read_bytes() == bundle.read_bytes()


def test_the_runs_of_a_bundle_and_of_a_folder_are_found_without_a_plan(bundle: Path, root: Path) -> None:
    assert bundle_specs(bundle) == bundle_specs(root) == sorted([SPEC, OTHER], key=lambda spec: spec.name)


def test_only_completed_runs_are_found(root: Path) -> None:
    begin(root, until=1, spec=replace(SPEC, seed=5))
    (root / "pocket" / "empty").mkdir()
    (root / "pocket" / "notes.txt").write_text("mine")
    assert len(bundle_specs(root)) == 2


def test_runs_of_another_version_are_left_out(root: Path) -> None:
    path = SPEC.folder(root) / "run.json"
    values = read_json(path)
    write_json(path, {name: value for name, value in values.items() if name != "rule"})
    assert bundle_specs(root) == [OTHER]
    write_json(path, values | {"size": 481})  # does not give the folder's name
    assert bundle_specs(root) == [OTHER]


def test_a_place_without_runs_has_none(tmp_path: Path) -> None:
    assert bundle_specs(tmp_path / "nowhere") == [] and bundle_specs(tmp_path) == []


def test_an_unfinished_run_is_not_bundled(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{replace(SPEC, seed=3).name}: "):
        write_bundle(tmp_path / "b.zip", root, [SPEC, replace(SPEC, seed=3)])
    assert not (tmp_path / "b.zip").exists()


def test_no_runs_are_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"b\.zip: .*study\.plan"):
        write_bundle(tmp_path / "b.zip", root, [])


@pytest.mark.parametrize("name", ["/etc/passwd", "../evil", "pocket/../../evil", "C:/evil", "C:evil", "..\\evil",
                                  "\\evil", "pocket\\..\\x"])
def test_names_that_lead_out_of_a_bundle_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"evil\.zip: .*{re.escape(repr(name))}"):
        bundle_specs(crafted(tmp_path / "evil.zip", name))


def test_a_bundle_that_unpacks_to_too_much_is_refused(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_files, "LARGEST", 1000)
    with pytest.raises(DataError, match=r"\.zip: .*\b1,000\b"):
        read_runs(bundle, [SPEC])


@pytest.mark.parametrize("content", [None, b"", b"no zip file"])
def test_a_bundle_that_is_none_is_named(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "b.zip"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"b\.zip: "):
        read_runs(path, [SPEC])


def test_a_damaged_member_is_named(bundle: Path) -> None:
    with zipfile.ZipFile(bundle) as file:
        start = file.getinfo(f"pocket/{SPEC.name}/epochs.jsonl").header_offset + 150
    data = bytearray(bundle.read_bytes())
    data[start:start + 20] = b"\x00" * 20
    bundle.write_bytes(data)
    with pytest.raises(DataError, match=r"epochs\.jsonl: .*zip"):
        read_history(SPEC.folder(bundle))


@pytest.mark.parametrize("content", [b"", b"\xff", b'{"a": 1, "a": 2}', b"[" * 100_000])
def test_a_record_of_a_bundle_that_is_no_json_is_named(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"run\.json"):
        bundle_specs(crafted(tmp_path / "b.zip", "pocket/run/run.json", content))


@pytest.mark.parametrize("content", [b"[]", b"null", b"7", b'"run"', b"{}"])
def test_a_record_of_a_bundle_that_is_of_no_run_is_left_out(content: bytes, tmp_path: Path) -> None:
    assert bundle_specs(crafted(tmp_path / "b.zip", "pocket/run/run.json", content)) == []


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_run_that_stands_in_a_bundle_twice_is_found_once(bundle: Path) -> None:
    with zipfile.ZipFile(bundle, "a") as file:
        file.writestr(f"pocket/{SPEC.name}/run.json", file.read(f"pocket/{SPEC.name}/run.json"))
    assert len(bundle_specs(bundle)) == 2


def test_a_damaged_record_of_a_bundle_is_named(bundle: Path) -> None:
    with zipfile.ZipFile(bundle) as file:
        start = file.getinfo(f"pocket/{SPEC.name}/run.json").header_offset + 120
    data = bytearray(bundle.read_bytes())
    data[start:start + 20] = b"\x00" * 20
    bundle.write_bytes(data)
    with pytest.raises(DataError, match=r"run\.json: .*zip"):
        bundle_specs(bundle)
