"""Files that survive a crash: everything the course writes goes through here.

A file is written to a temporary name in the same folder, flushed to the disk and then renamed over its final
name. Whoever reads the final name finds the old content or the new, never half of one. A new folder is made whole under
a temporary name too (:func:`new_folder`). A full or lost disk is one message, not a traceback (:func:`disk_errors`).
"""

from __future__ import annotations

import errno
import hashlib
import inspect
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import zipfile

    import pandas as pd
    from filelock import BaseFileLock

__all__ = ["CourseError", "DataError", "digest", "disk_errors", "hard_lock", "new_folder", "read_csv", "read_json",
           "repository", "sha256", "sweep_up", "write_bytes", "write_json", "write_text"]

# what a disk can lack that its user can cure
DISK = {errno.ENOSPC: "the disk is full; free some space",
        errno.EDQUOT: "the quota of this disk is used up; free some space",
        errno.EIO: "the disk could not read or write (I/O error); check it, or take another folder,",
        errno.ENOTCONN: "the drive is not connected any more; mount it again"}


class CourseError(Exception):
    """A mistake or a lack that the user can cure; its text says what, where and what to do next.

    The command line and a notebook show the text without a traceback.
    """

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in place of a traceback."""
        return [str(self)]


class DataError(CourseError):
    """A file of facts, runs or weights that is missing, cut, malformed or not the one that was expected."""


def repository(start: str | Path) -> Path | None:
    """The folder that holds ``notebooks/src``: ``start`` or one above it; None outside of a clone."""
    here = Path(start).resolve()
    return next((folder for folder in (here, *here.parents) if (folder / "notebooks" / "src").is_dir()), None)


def sha256(path: str | Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
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

    # a soft lock would stay after a kill; filelock 3 knows none in this class, filelock 4 must be told
    known = inspect.signature(FileLock.__init__).parameters
    return FileLock(path, **({"fallback_to_soft": False} if "fallback_to_soft" in known else {}))


def read_csv(path: str | Path, **options: Any) -> pd.DataFrame:
    """A table with its numbers exactly as they were written; ``options`` are those of ``pandas.read_csv``."""
    import pandas as pd

    with warnings.catch_warnings():
        # pandas 2 rounds unless it is told not to; pandas 3 is exact in any case, and warns that it was told
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
    """Read one JSON file, from a zip file too.

    Raises:
        DataError: the file is missing or is not JSON; the message names the file and the line.
    """
    try:
        file = path if hasattr(path, "read_text") else Path(path)
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; check the path, or build it again") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from None
    except json.JSONDecodeError as error:
        raise DataError(f"{path} line {error.lineno}: not JSON ({error.msg}); it may be cut, fetch it again") from None
