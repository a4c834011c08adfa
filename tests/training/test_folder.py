"""Run folders and bundles: what names a run, and what is read back of it."""

from __future__ import annotations

import json
import re
import zipfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from course_lib import files
from course_lib.files import CourseError, DataError, read_json, write_json
from course_lib.training.records import pack_bits
from course_lib.training.runs import folder as run_files
from course_lib.training.runs.folder import (
    RunSpec,
    bundle_specs,
    is_completed,
    read_history,
    read_right,
    read_runs,
    write_bundle,
)
from course_lib.training.runs.writer import open_run
from tests.support.fake_runs import SPEC, begin, checkpoints, complete, record

OTHER = replace(SPEC, variant="D_Free", unknown_percent=12.5, seed=1, shares=(("Unknown", 12.5), ("HighlyKnown", 87.5)))


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
def test_equal_settings_of_other_types_or_in_another_order_are_one_run(fifty: Any) -> None:
    assert replace(SPEC, unknown_percent=fifty, seed=np.int64(0)).name == SPEC.name
    assert replace(SPEC, unknown_percent=12.5).name.startswith("D-12.5-seed0-")
    shares = (("MaybeKnown", 25.0), ("HighlyKnown", np.int64(75)))
    assert replace(SPEC, shares=shares) == replace(SPEC, shares=[["HighlyKnown", 75], ["MaybeKnown", 25]])


def test_settings_come_back_from_the_record(tmp_path: Path) -> None:
    assert RunSpec.from_json(read_json(complete(tmp_path, spec=OTHER) / "run.json")) == replace(
        OTHER, tune=SPEC.tune)


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


# Epochs


def test_epochs_come_back_as_they_were_written_but_for_a_truncated_last_line(tmp_path: Path) -> None:
    folder = complete(tmp_path)
    assert read_history(folder).records == checkpoints()[-1].records
    tear(folder, 4)
    assert [found.epoch for found in read_history(folder).records] == [0, 1, 2]
    with pytest.raises(DataError, match=f"{SPEC.name}: .*0 to 3"):
        read_runs(tmp_path, [SPEC])


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


def test_missing_epochs_are_named_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"epochs\.jsonl: "):
        read_history(tmp_path)


# Tables


def test_all_epochs_of_several_runs_make_one_table(tmp_path: Path) -> None:
    other = replace(SPEC, variant="D_Known", seed=1, tune=replace(SPEC.tune, lr=0.5))
    complete(tmp_path)
    complete(tmp_path, spec=other, devs=(1, 2, 3, 4))
    frame = read_runs(tmp_path, [SPEC, other])
    assert list(frame)[:16] == ["preset", "variant", "unknown_percent", "seed", "lr", "shares", "epoch", "loss", "dev",
                                "test", "ood", "known_fitted", "unknown_fitted", "seconds", "evaluation_seconds",
                                "answered"]
    assert list(frame)[16:] == [f"{split}_{category}" for split in ("train", "test", "ood")
                                for category in ("HighlyKnown", "MaybeKnown", "WeaklyKnown", "Unknown")]
    assert frame["variant"].tolist() == ["D"] * 4 + ["D_Known"] * 4
    assert frame["dev"].tolist() == [50, 10, 30, 20, 1, 2, 3, 4]
    assert frame["lr"].tolist() == [SPEC.tune.lr] * 4 + [0.5] * 4


def test_what_was_not_asked_is_a_missing_number_in_the_table(tmp_path: Path) -> None:
    complete(tmp_path)
    frame = read_runs(tmp_path, [SPEC])
    assert frame["test_Unknown"].tolist()[1:] == [1 / 3, 2 / 3, 1] and np.isnan(frame["test_Unknown"][0])
    for name in ("train_Unknown", "unknown_fitted"):
        assert frame[name].dtype == float and frame[name].isna().all()


def test_an_unfinished_run_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), open_run(SPEC, tmp_path):
        raise KeyboardInterrupt
    with pytest.raises(DataError, match=f"{SPEC.name}: "):
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


@pytest.mark.parametrize("rights", [({}, {"test": "3:80"}), ({"test": "3:80"}, {"test": "2:80"})])
def test_epochs_with_other_questions_are_named(rights: tuple[dict[str, str], ...], tmp_path: Path) -> None:
    assert read_right(lines(tmp_path, {}, {})) == {}
    with pytest.raises(DataError, match="epoch 1 .*epoch 0 "):
        read_right(lines(tmp_path, *rights))


def test_a_row_of_answers_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=re.escape(f"{tmp_path.name}: '3:zz' ")):
        read_right(lines(tmp_path, {"test": "3:zz"}))


# Bundles


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with two completed runs."""
    for spec in (SPEC, OTHER):
        complete(tmp_path / "runs", spec=spec)
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


def test_what_is_read_of_a_bundle_is_what_is_read_of_its_folder(bundle: Path, root: Path, tmp_path: Path) -> None:
    assert is_completed(SPEC, bundle) and not is_completed(replace(SPEC, seed=9), bundle)
    pd.testing.assert_frame_equal(read_runs(bundle, [SPEC, OTHER]), read_runs(root, [SPEC, OTHER]))
    assert read_history(SPEC.folder(bundle)) == read_history(SPEC.folder(root))
    path = crafted(tmp_path / "one.zip", "pocket/run/epochs.jsonl",
                   json.dumps(asdict(record(0, right={"test": "3:a0"}))).encode())
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


def spoil(bundle: Path, name: str, at: int) -> None:
    """Overwrite 20 bytes of a member, ``at`` so many after its header."""
    with zipfile.ZipFile(bundle) as file:
        start = file.getinfo(f"pocket/{SPEC.name}/{name}").header_offset + at
    data = bytearray(bundle.read_bytes())
    data[start:start + 20] = b"\x00" * 20
    bundle.write_bytes(data)


@pytest.mark.parametrize(("name", "at", "read"), [
    ("epochs.jsonl", 150, lambda bundle: read_history(SPEC.folder(bundle))), ("run.json", 120, bundle_specs)])
def test_a_damaged_member_is_named(name: str, at: int, read: Any, bundle: Path) -> None:
    spoil(bundle, name, at)
    with pytest.raises(DataError, match=rf"{re.escape(name)}: .*zip"):
        read(bundle)


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
