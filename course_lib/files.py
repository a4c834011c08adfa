"""Files that survive a crash: everything the course writes goes through here.

A file is written to a temporary name in the same folder, flushed to the disk and then renamed over its final
name. Whoever reads the final name finds the old content or the new, never half of one.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

__all__ = ["CourseError", "DataError", "digest", "read_json", "repository", "sha256", "write_bytes", "write_json",
           "write_text"]


class CourseError(Exception):
    """A mistake or a lack that the user can cure; its text says what, where and what to do next.

    The command line prints the text without a traceback.
    """


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


def write_bytes(path: str | Path, data: bytes) -> Path:
    """Write ``data`` to ``path`` so that a kill at any moment leaves the old file or the new one."""
    path = Path(path)
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
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def write_text(path: str | Path, text: str) -> Path:
    """Write UTF-8 text the way :func:`write_bytes` does."""
    return write_bytes(path, text.encode())


def write_json(path: str | Path, value: Any, *, indent: int | None = 2) -> Path:
    """Write ``value`` as JSON with a final newline, the way :func:`write_bytes` does."""
    return write_text(path, json.dumps(value, indent=indent, ensure_ascii=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read one JSON file.

    Raises:
        DataError: the file is missing or is not JSON; the message names the file and the line.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; check the path, or build it again") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from None
    except json.JSONDecodeError as error:
        raise DataError(f"{path} line {error.lineno}: not JSON ({error.msg}); it may be cut, fetch it again") from None
