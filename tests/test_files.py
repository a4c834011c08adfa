"""Files: whole or not at all, and messages that name the file and the line."""

from __future__ import annotations

import errno
import json
import math
import os
import re
from pathlib import Path
from typing import Any

import pytest

from course_lib import files
from course_lib.files import (
    CourseError,
    DataError,
    disk_errors,
    loads,
    new_folder,
    read_bytes,
    read_json,
    sha256,
    sweep_up,
    write_bytes,
    write_json,
    write_text,
)
from tests.support.odd_files import make


def disk_full(*_: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


class FullFile:
    """A file that takes half of what it is given, then the disk is full."""

    def __init__(self, handle: int, mode: str) -> None:
        self.file = os.fdopen(handle, mode)

    def __enter__(self) -> FullFile:
        return self

    def __exit__(self, *_: Any) -> None:
        self.file.close()

    def write(self, data: bytes) -> None:
        self.file.write(data[:len(data) // 2])
        disk_full()


class FakeOs:
    """The module os with one function that fails."""

    def __init__(self, **changed: Any) -> None:
        self.__dict__.update(changed)

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


@pytest.mark.parametrize("broken", [{"fdopen": FullFile}, {"fsync": disk_full}, {"replace": disk_full}],
                         ids=["write", "fsync", "replace"])
def test_a_failed_write_keeps_the_old_content_and_leaves_nothing_else(broken, tmp_path, monkeypatch) -> None:
    write_text(tmp_path / "a.txt", "old")
    monkeypatch.setattr(files, "os", FakeOs(**broken))
    with pytest.raises(CourseError, match=r"a\.txt: "):
        write_text(tmp_path / "a.txt", "newer")
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_an_interrupted_first_write_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "os", FakeOs(fsync=interrupt))
    with pytest.raises(KeyboardInterrupt):
        write_text(tmp_path / "a.txt", "new")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENOTCONN])
def test_what_a_disk_lacks_is_said_with_the_cure(number: int) -> None:
    with pytest.raises(CourseError, match=f"^here/a: {re.escape(files.DISK[number])}"), disk_errors("here/a"):
        raise OSError(number, "words of the system")


def test_an_error_of_another_kind_is_left_as_it_is() -> None:
    with pytest.raises(PermissionError), disk_errors("here/a"):
        raise PermissionError(errno.EACCES, "Permission denied")


def test_a_drive_that_cannot_flush_a_folder_is_written_to_all_the_same(tmp_path, monkeypatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(files, "os", FakeOs(open=refuse))
    assert write_text(tmp_path / "a.txt", "new").read_text() == "new"


def test_a_new_folder_takes_the_place_of_the_old_one(tmp_path) -> None:
    write_text(tmp_path / "a" / "old", "x")
    with new_folder(tmp_path / "a") as temporary:
        write_text(temporary / "new", "y")
        assert (tmp_path / "a" / "old").is_file()
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["a", "a/new"]


def test_a_new_folder_that_fails_leaves_the_old_one_and_nothing_else(tmp_path) -> None:
    write_text(tmp_path / "a" / "old", "x")
    with pytest.raises(CourseError, match="/a: "), new_folder(tmp_path / "a") as temporary:
        write_text(temporary / "new", "y")
        disk_full()
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["a", "a/old"]


def test_what_a_kill_left_of_a_write_is_swept_up_here_and_one_folder_down(tmp_path) -> None:
    for left in (".a.json.x.tmp", "state/.e.x.tmp", ".adapter.x.tmp/half", "a.json", "state/e", "deep/er/.kept.tmp"):
        write_text(tmp_path / left, "x")
    sweep_up(tmp_path)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()) == [
        "a.json", "deep/er/.kept.tmp", "state/e"]


def test_folders_are_made_on_the_way(tmp_path: Path) -> None:
    assert write_bytes(tmp_path / "a" / "b" / "c.bin", b"\x00\xff").read_bytes() == b"\x00\xff"


def test_a_new_file_can_be_read_by_others(tmp_path: Path) -> None:
    assert write_text(tmp_path / "a.txt", "x").stat().st_mode & 0o777 == 0o644


def test_json_is_readable_utf8_with_a_final_newline_and_comes_back_as_it_was(tmp_path: Path) -> None:
    assert write_json(tmp_path / "a.json", {"city": "Łódź"}).read_bytes() == '{\n  "city": "Łódź"\n}\n'.encode()
    value = {"a": [1, 2.5, None, True], "ö": "東京"}
    assert read_json(write_json(tmp_path / "a.json", value)) == value


def test_a_value_that_is_not_json_leaves_the_old_file(tmp_path: Path) -> None:
    path = write_json(tmp_path / "a.json", 1)
    with pytest.raises(TypeError):
        write_json(path, object())
    assert read_json(path) == 1


@pytest.mark.parametrize(("content", "where"), [
    (None, ""), (b'{\n "a": 1,\n "b": ', " line 3"), ('"é"'.encode("latin-1"), ": byte 1")],
    ids=["missing", "cut", "another encoding"])
def test_a_file_that_cannot_be_read_is_named_with_the_place(content, where, tmp_path: Path) -> None:
    if content:
        (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.json{where}"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize(("kind", "why"), [
    ("pipe", "pipe"), ("folder", "folder"), ("device", "device"), ("broken link", ""), ("loop", "symbolic links"),
    ("link to a folder", "folder"), ("large", "67,108,864")])
def test_what_is_no_file_of_data_is_refused_before_it_is_read(kind, why, tmp_path: Path) -> None:
    make(kind, tmp_path / "a.json")
    with pytest.raises(DataError, match=rf"a\.json: .*{why}"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "\ud800", "a.txt/b"])
def test_a_name_that_no_file_has_is_one_message(name, tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    with pytest.raises(DataError, match=re.escape(files.printable(f"/{name}: "))):
        read_json(tmp_path / name)


def test_a_file_that_grows_while_it_is_read_ends_at_the_limit(tmp_path: Path, monkeypatch) -> None:
    path = write_bytes(tmp_path / "a", b"12345")
    assert read_bytes(path, most=5) == b"12345"
    with pytest.raises(DataError, match=r"\b5 .*\b4 "):
        read_bytes(path, most=4)
    monkeypatch.setattr(files, "_regular", lambda *_: None)
    with pytest.raises(DataError, match=r"/a: .*\b4 "):
        read_bytes(path, most=4)


@pytest.mark.parametrize(("text", "why", "line"), [
    (b'{"a": 1, "a": 2}', "'a'", 0), (b'[{"b": {"a": 1, "a": 1}}]', "'a'", 0), (b"[NaN]", "NaN", 0),
    (b"-Infinity", "-Infinity", 0), (b"1e999", "'1e999'", 0), (b"9" * 9000, "9,000", 0),
    (b'"\\ud800"', r"'\\ud800'", 0), (b'{"\\uDFFF": 1}', r"'\\udfff'", 0), (b"[" * 100_000, "", 0),
    (b'{"a":' * 100_000, "", 0), (b"[1,\n2", "column 2", 2), (b"", "column 1", 1),
    ("[1]".encode("utf-16"), "byte 0 ", 0), ("[1]".encode("utf-16-le"), "NUL", 1), (b"\xed\xa0\x80", "byte 0 ", 0)])
def test_json_that_could_be_read_in_two_ways_or_not_at_all_is_refused(text, why, line) -> None:
    with pytest.raises(DataError, match=f"^here{f' line {line}' if line else ''}: .*{why}"):
        loads(text, "here")


def test_json_of_every_kind_is_read_with_and_without_a_byte_order_mark() -> None:
    value = {"a": [1, -2.5e3, True, None, "\U0001f600", {}], "b": 10**300}
    for start in (b"", b"\xef\xbb\xbf"):
        assert loads(start + json.dumps(value).encode()) == value
    assert math.isnan(loads(b"NaN", nan=True))


def test_the_checksum_is_sha256(tmp_path: Path) -> None:
    path = write_bytes(tmp_path / "empty", b"")
    assert sha256(path) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_a_notebook_shows_the_sentence_of_an_error_and_no_traceback():
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output

    with capture_output() as said:
        InteractiveShell.instance().run_cell("from course_lib.files import CourseError\nraise CourseError('sit down')")
    assert "sit down" in said.stdout and "Traceback" not in said.stdout
