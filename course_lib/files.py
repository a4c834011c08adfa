"""Files that survive a crash, and files that may hold anything: what the course writes and reads goes through here.

A file is written to a temporary name in the same folder, flushed to the disk and then renamed over its final
name. Whoever reads the final name finds the old content or the new, never half of one. A new folder is made whole under
a temporary name too (:func:`new_folder`). A full or lost disk is one message, not a traceback (:func:`disk_errors`).

A file of the user's is read if it is a regular one, links followed, and not too large (:func:`open_bytes`): a pipe
would wait for ever, and a device never ends. JSON is read strictly (:func:`loads`).
"""

from __future__ import annotations

import errno
import hashlib
import inspect
import json
import math
import os
import re
import shutil
import stat
import sys
import tempfile
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from course_lib.text import printable, short

if TYPE_CHECKING:
    import pandas as pd
    from filelock import BaseFileLock

__all__ = ["FILE_BYTES", "READ_BYTES", "CourseError", "DataError", "digest", "disk_errors", "hard_lock",
           "loads", "new_folder", "open_bytes", "read_bytes", "read_csv", "read_json", "repository",
           "sha256", "sweep_up", "write_bytes", "write_json", "write_text"]

READ_BYTES = 64 << 20  # of a file that is read at once: parsed, JSON can take 30 times its size in memory
FILE_BYTES = 512 << 20  # of a file that is read line by line: over a million rows, which take weeks to label
DIGITS = 309  # of a whole number: as many as the largest float has

# what a disk can lack that its user can cure
DISK = {errno.ENOSPC: "the disk is full; free some space",
        errno.EDQUOT: "the quota of this disk is used up; free some space",
        errno.EIO: "the disk could not read or write (I/O error); check it, or take another folder,",
        errno.ENOTCONN: "the drive is not connected any more; mount it again"}


class CourseError(Exception):
    """A mistake or a lack that the user can cure; its text says what, where and what to do next.

    The command line and a notebook show the text without a traceback; it is always :func:`printable`.
    """

    def __str__(self) -> str:
        return printable(super().__str__())

    def _render_traceback_(self) -> list[str]:
        """The lines that IPython shows in place of a traceback."""
        return [str(self)]


class DataError(CourseError):
    """A file of facts, runs or weights that is missing, cut, malformed or not the one that was expected."""


def repository(start: str | Path) -> Path | None:
    """The folder that holds ``notebooks/src``: ``start`` or one above it; None outside of a clone."""
    here = Path(start).resolve()
    return next((folder for folder in (here, *here.parents) if (folder / "notebooks" / "src").is_dir()), None)


def sha256(path: str | Path) -> str:
    """Hex SHA-256 of a file's bytes; raises what :func:`open_bytes` raises."""
    with open_bytes(path, most=sys.maxsize) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(data: str | bytes) -> str:
    """16 hex digits that stand for a text or bytes: the start of their SHA-256."""
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()[:16]


@contextmanager
def disk_errors(path: str | Path) -> Iterator[None]:
    """Say in one message what the disk lacks.

    Raises:
        CourseError: instead of the OSError of a disk that is full, over its quota, failing or gone.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in DISK:
            raise
        raise CourseError(f"{path}: {DISK[error.errno]} and run the same command again, what is finished is "
                          f"kept") from error


def write_bytes(path: str | Path, data: bytes) -> Path:
    """Write ``data`` to ``path`` so that a kill at any moment leaves the old file or the new one.

    Raises:
        CourseError: the disk is full, over its quota, failing or gone.
    """
    path = Path(path)
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                Path(temporary).unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    return path


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """A temporary folder to fill; it takes the place of ``path`` when the block ends well.

    A kill leaves the old folder, none, or the new one, never half of one. What is put into it must be written by
    :func:`write_bytes`, or it may not last through a power cut.

    Raises:
        CourseError: the disk is full, over its quota, failing or gone.
    """
    path = Path(path)
    with disk_errors(path):
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
        try:
            yield temporary
            os.chmod(temporary, 0o755)
            old = temporary.with_suffix(".old.tmp")
            if path.exists():
                os.replace(path, old)  # renamed before it is deleted, so that it is never there in half
            os.replace(temporary, path)
            shutil.rmtree(old, ignore_errors=True)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        _sync_folder(path.parent)


def hard_lock(path: str | Path) -> BaseFileLock:
    """A lock that the system itself takes back when the process ends, however that happens; not yet acquired."""
    from filelock import FileLock

    # a soft lock would stay after a kill; filelock 3 knows none in this class, filelock 4 needs it said
    known = inspect.signature(FileLock.__init__).parameters
    return FileLock(path, **({"fallback_to_soft": False} if "fallback_to_soft" in known else {}))


def read_csv(path: str | Path, **options: Any) -> pd.DataFrame:
    """A table with its numbers exactly as they were written; ``options`` are those of ``pandas.read_csv``."""
    import pandas as pd

    with warnings.catch_warnings():
        # pandas 2 rounds without this option; pandas 3 is exact in any case, and warns of the option
        warnings.filterwarnings("ignore", ".*float_precision")
        return pd.read_csv(path, float_precision="round_trip", **options)


def sweep_up(folder: str | Path) -> None:
    """Take away what a kill left of a write in ``folder`` or in a folder of it."""
    for left in [*Path(folder).glob(".*.tmp"), *Path(folder).glob("*/.*.tmp")]:
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a new name in ``folder`` last through a power cut, where the system can."""
    try:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:  # Windows cannot open folders, and some network drives cannot flush them
        if error.errno in DISK:
            raise


def write_text(path: str | Path, text: str) -> Path:
    """Write UTF-8 text the way :func:`write_bytes` does."""
    return write_bytes(path, text.encode())


def write_json(path: str | Path, value: Any, *, indent: int | None = 2) -> Path:
    """Write ``value`` as JSON with a final newline, the way :func:`write_bytes` does."""
    return write_text(path, json.dumps(value, indent=indent, ensure_ascii=False) + "\n")


def read_json(path: str | Path | zipfile.Path) -> Any:
    """Read one JSON file, from a zip file too; NaN and Infinity are numbers, as in what :func:`write_json` writes.

    Raises:
        DataError: the file cannot be read (:func:`open_bytes`) or is not JSON; the message names the file and the line.
    """
    return loads(read_bytes(path, cure="check the path, or build it again"), str(path), nan=True)


def read_bytes(path: str | Path | zipfile.Path, *, most: int = READ_BYTES, cure: str = "check the path") -> bytes:
    """The bytes of a file, or of one in a zip file; raises what :func:`open_bytes` raises."""
    with _open_in_zip(path, cure) if isinstance(path, zipfile.Path) else open_bytes(path, most=most, cure=cure) as file:
        data = file.read(most + 1)
    if len(data) > most:  # it has grown, or nobody knows its size
        raise DataError(f"{path}: more than the {most:,} bytes that are read; take a part of it")
    return data


@contextmanager
def open_bytes(path: str | Path, *, most: int = READ_BYTES, cure: str = "check the path") -> Iterator[BinaryIO]:
    """A file of the user's, to read bytes from; ``cure`` is what to do where that cannot be done.

    Raises:
        DataError: it is missing, a folder, a pipe or a device, has more than ``most`` bytes, or cannot be read.
    """
    try:
        _regular(path, most, cure)
        with open(path, "rb") as file:
            yield file
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; {cure}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); {cure}") from None


@contextmanager
def _open_in_zip(path: zipfile.Path, cure: str) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as file:
            yield file
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; {cure}") from None
    except Exception as error:  # zipfile lets out whatever its many ways of unpacking raise
        raise DataError(f"{path}: damaged ({error}); fetch the zip file again") from None


def _regular(path: str | Path, most: int, cure: str) -> None:
    try:
        about = os.stat(path)
    except ValueError as error:  # a NUL, or half of a character
        raise DataError(f"{path}: no name of a file ({error}); {cure}") from None
    if not stat.S_ISREG(about.st_mode):
        kind = "a folder" if stat.S_ISDIR(about.st_mode) else "a pipe, a device or the like"
        raise DataError(f"{path}: cannot be read (it is {kind}, not a file); {cure}")
    if about.st_size > most:
        raise DataError(f"{path}: {about.st_size:,} bytes, and at most {most:,} are read; take a part of it")


def loads(data: bytes, place: str = "", *, nan: bool = False) -> Any:
    """The value of a JSON text in UTF-8, with or without a byte order mark; NaN and Infinity only where ``nan`` says.

    Raises:
        DataError: it is none, or is one that could be read in two ways or not at all: a key twice in one object, a
            giant number, half of a character, or too deep nesting. The message names ``place`` and the line.
    """
    line = ""
    try:
        text = data.decode("utf-8-sig")
        value = (_WITH_NAN if nan else _STRICT).decode(text)
        if re.search(r"\\u[dD][89a-fA-F]", text):
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except UnicodeDecodeError as error:
        why = f"byte {error.start} is not UTF-8; save the file as UTF-8"
    except UnicodeEncodeError as error:
        why = f"{ascii(error.object[error.start])} is half of a character; save the file as UTF-8"
    except RecursionError:
        why = "lists nested too deep to read; write it anew"
    except json.JSONDecodeError as error:
        cure = "it has a NUL; save the file as UTF-8" if "\0" in text else "mend it, or fetch it again if it is cut"
        line, why = f" line {error.lineno}", f"not JSON ({error.msg}, column {error.colno}); {cure}"
    except ValueError as error:  # of the hooks below
        why = "not JSON ({}); {}".format(*error.args)
    raise DataError(f"{place}{line}: {why}" if place else why)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        [(name, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"the key {short(name)} stands twice in one object", "keep one of them")
    return found


def _whole(text: str) -> int:
    if len(text) > DIGITS:
        raise ValueError(f"a number of {len(text):,} digits", "put it in quotes if it is text")
    return int(text)


def _float(text: str) -> float:
    if len(text) > 2 * DIGITS or math.isinf(number := float(text)):
        raise ValueError(f"the number {short(text)} is too large", "put it in quotes if it is text")
    return number


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is no value in it", "write null, or put it in quotes if it is text")


_HOOKS = {"object_pairs_hook": _object, "parse_int": _whole, "parse_float": _float}
_STRICT, _WITH_NAN = (json.JSONDecoder(**_HOOKS, parse_constant=constant) for constant in (_constant, float))
