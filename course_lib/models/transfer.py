"""One file from the Hub to this disk: it goes on after a cut or a kill, and only the right bytes get its name.

The file grows under a hidden name that holds its sum. Whoever comes next asks for the rest alone (the header ``Range``
of HTTP, RFC 9110 section 14), so that a kill at 90 % costs nothing of the 90 %. The Hub's own library, versions 1.27
and 2.4, begins such a file again (https://github.com/huggingface/huggingface_hub/issues/4196): hence this module.

The Hub lists the SHA-256 of a large file, and of a small one the id that git gives it: the SHA-1 of "blob", its size,
a zero byte and its bytes. A file that has another sum is thrown away.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from course_lib.files import CourseError, disk_errors
from course_lib.models.hub_errors import is_lost

__all__ = ["RemoteFile", "begun", "bring", "has_sum"]

TRIES = 5  # in a row without a single byte
PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a repository: its name, its size in bytes, and its sum (64 hex digits of SHA-256, or 40 of git)."""

    name: str
    size: int
    sum: str


def begun(target: Path, file: RemoteFile) -> Path:
    """Where the bytes of ``file`` gather until they are all there and may be called ``target``."""
    return target.with_name(f".{target.name}.{file.sum[:16]}.part")


def bring(url: str, target: Path, file: RemoteFile, *, tell: Callable[[int], object] = lambda _: None) -> Path:
    """Have ``file`` at ``target``; ``tell`` hears the number of bytes that have come each time.

    Raises:
        CourseError: the connection breaks off again and again, the bytes are not those that the Hub lists, or the disk
            is full, over its quota, failing or gone.
        huggingface_hub.errors.HfHubHTTPError: the Hub refuses; see hub_errors.py.
    """
    part = begun(target, file)
    with disk_errors(target):
        part.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
        _fill(url, part, file, tell)
        if not has_sum(part, file):
            part.unlink()
            raise CourseError(f"{target}: what came is not what the Hub lists, so it was thrown away; run the same "
                              f"command again")
        os.replace(part, target)
    return target


def _fill(url: str, part: Path, file: RemoteFile, tell: Callable[[int], object]) -> None:
    """Go on until all bytes are there; a cut is no failure as long as each try brings some."""
    failures = 0
    while (before := part.stat().st_size) < file.size:
        cut: Exception | None = None
        try:
            _append(url, part, before, tell)
        except Exception as error:
            if not is_lost(error):
                raise
            cut = error
        if (have := part.stat().st_size) < file.size:
            failures = 1 if have > before else failures + 1
            if failures >= TRIES:
                raise CourseError(f"{part.parent / file.name}: the connection was lost at {have:,} of {file.size:,} "
                                  f"bytes; run the same command again, it goes on from there") from cut
            time.sleep(PAUSE_S)


def _append(url: str, part: Path, have: int, tell: Callable[[int], object]) -> None:
    """Ask for what comes after ``have`` bytes and write it as it comes."""
    from huggingface_hub import constants
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

    # compressed on the way, a file could not be gone on with in its middle
    headers = build_hf_headers() | {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with get_session().stream("GET", url, headers=headers, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT) as answer:
        hf_raise_for_status(answer)
        whole = answer.status_code != 206  # the server gives the file from its beginning, whatever was asked
        if whole and have:
            tell(-have)
        with part.open("wb" if whole else "ab") as out:
            for data in answer.iter_raw():
                out.write(data)
                tell(len(data))
            out.flush()
            os.fsync(out.fileno())


def has_sum(path: Path, file: RemoteFile) -> bool:
    """Whether these are the bytes that the Hub lists."""
    with path.open("rb") as data:
        if len(file.sum) == 64:
            return hashlib.file_digest(data, "sha256").hexdigest() == file.sum
        blob = b"blob %d\0" % path.stat().st_size + data.read()
    return hashlib.sha1(blob, usedforsecurity=False).hexdigest() == file.sum
