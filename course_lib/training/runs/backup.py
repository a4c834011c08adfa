"""A second copy of a run's finished epochs in another folder, for example on a mounted Google Drive.

    MIRROR/<preset>/<run>/
        epoch-003-1a2b3c4d.safetensors   a state, with the start of its SHA-256 in its name
        manifest-000004.json             size and SHA-256 of each file that a run needs to go on; written last

Such a drive loses files that were written without an error, truncates them, lists them late, makes two files of one
name, and may be gone in the next moment; renaming there is not known to be atomic. So the local folder is the truth
and nothing here is overwritten or renamed. Each write takes a new name, is read back, and counts only when a manifest
with checksums stands after it. To go on from here, the newest manifest is taken whose every file verifies, else the one
before. Old files are truncated before they are deleted, or they would fill the drive's bin. A failure of the mirror
never stops a run: it is said once, with what is verified.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import re
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from course_lib.files import DataError, loads, read_bytes, write_bytes

__all__ = ["Entry", "Mirror"]

STATE = re.compile(r"epoch-(\d{3,})\.safetensors")
COPY = re.compile(r"epoch-(\d{3,})-[0-9a-f]{8}(-\d+)?\.safetensors")
MANIFEST = re.compile(r"manifest-(\d{6,})\.json")
DUPLICATE = re.compile(r" \(\d+\)(?=\.\w+$)")  # "name (1).json": what a drive makes of a second file of one name


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a manifest: its name in the run's folder, its name in the mirror, bytes and hex SHA-256."""

    name: str
    copy: str
    size: int
    sha256: str

    def __post_init__(self) -> None:
        if not (STATE.fullmatch(self.name) and COPY.fullmatch(self.copy)):  # a name is never a path to elsewhere
            raise ValueError(f"{self.name!r} or {self.copy!r} is not the name of a state")

    @property
    def epoch(self) -> int:
        """The epoch whose state the file is."""
        return int(STATE.fullmatch(self.name)[1])


class Mirror:
    """The copy of one run below ``root``, which must be there: it is never made, since a drive may be unmounted."""

    def __init__(self, root: str | Path, preset: str, run: str) -> None:
        self.root, self.preset, self.run = Path(root), preset, run
        self.folder = self.root / preset / run
        self.verified: tuple[Entry, ...] = ()
        self._last, self._warned = 0, False

    def keep(self, paths: Sequence[Path]) -> bool:
        """Copy these states and write their manifest; False, after a warning, where that fails."""
        try:
            self._make_folder()
            entries = tuple(self._put(path) for path in paths)
            if entries != self.verified:
                self._write_manifest(entries)
                self.verified = entries
                self._sweep()
        except OSError as error:
            self._warn(f"the copy failed ({error})")
            return False
        return True

    def restore(self, folder: Path, *, beyond: int, upto: int | None = None) -> bool:
        """Copy the newest states that verify into ``folder`` if they are of later epochs than ``beyond``.

        States after epoch ``upto`` are passed over. A mirror that cannot be read is one that has nothing.

        Raises:
            CourseError: ``folder`` cannot be written to.
        """
        try:
            manifests = self._manifests()
        except OSError as error:
            if self.root.is_dir() and isinstance(error, FileNotFoundError):
                return False  # a run that is new
            self._warn(f"it could not be read ({error})")
            return False
        for _, entries in manifests:
            epoch = max(entry.epoch for entry in entries)
            if epoch > beyond and (upto is None or epoch <= upto):
                copies = {entry: self._find(entry) for entry in entries}
                if None not in copies.values():
                    for entry in sorted(entries, key=lambda entry: entry.epoch):  # the newest last: it needs the others
                        write_bytes(folder / entry.name, copies[entry])
                    return True
        return False

    def _make_folder(self) -> None:
        """Make the run's folder, and never ``root`` itself."""
        for folder in (self.root / self.preset, self.folder):
            folder.mkdir(exist_ok=True)

    def _put(self, path: Path) -> Entry:
        """Copy one file under a new name, unless it is there."""
        data = path.read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        for turn in itertools.count(1):
            again = f"-{turn}" if turn > 1 else ""
            entry = Entry(path.name, f"{path.stem}-{sha256[:8]}{again}.safetensors", len(data), sha256)
            if self._is_there(entry):
                return entry
            with suppress(FileExistsError):  # damaged there: a name is never used twice
                self._create(entry.copy, data)
                return entry

    def _is_there(self, entry: Entry) -> bool:
        """Whether a file is in the mirror, whole; what was read back before is only looked at."""
        path = self.folder / entry.copy
        try:
            if path.stat().st_size != entry.size:
                return False
            return entry in self.verified or hashlib.sha256(path.read_bytes()).hexdigest() == entry.sha256
        except FileNotFoundError:
            return False

    def _create(self, name: str, data: bytes) -> None:
        """Write a file that is not there yet, and read it back."""
        path = self.folder / name
        with open(path, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if path.read_bytes() != data:
            raise OSError(errno.EIO, "what was written does not read back", str(path))

    def _write_manifest(self, entries: Sequence[Entry]) -> None:
        numbers = [int(found[1]) for name in os.listdir(self.folder) if (found := _match(MANIFEST, name))]
        data = json.dumps({"run": self.run, "files": [asdict(entry) for entry in entries]}, indent=2).encode()
        for number in itertools.count(1 + max(self._last, *numbers, 0)):
            self._last = number
            with suppress(FileExistsError):  # the listing was stale
                return self._create(f"manifest-{number:06}.json", data)

    def _manifests(self) -> list[tuple[int, tuple[Entry, ...]]]:
        """The manifests that can be read, newest first."""
        found = []
        for name in os.listdir(self.folder):
            if match := _match(MANIFEST, name):
                with suppress(DataError, ValueError, KeyError, TypeError):
                    values = loads(read_bytes(self.folder / name))
                    entries = tuple(Entry(**entry) for entry in values["files"])
                    if values["run"] == self.run and entries:
                        found.append((int(match[1]), entries))
        return sorted(found, key=lambda pair: pair[0], reverse=True)

    def _find(self, entry: Entry) -> bytes | None:
        """The bytes of a file, also where the drive has given it a second name; None where none verifies."""
        stem, suffix = entry.copy.rsplit(".", 1)
        for path in [self.folder / entry.copy, *sorted(self.folder.glob(f"{stem} (*).{suffix}"))]:
            with suppress(OSError):
                data = path.read_bytes()
                if len(data) == entry.size and hashlib.sha256(data).hexdigest() == entry.sha256:
                    return data
        return None

    def _sweep(self) -> None:
        """Delete what neither of the last two manifests needs; it is kept where they cannot be read."""
        with suppress(OSError):
            manifests = self._manifests()
            newest = sorted({number for number, _ in manifests}, reverse=True)[:2]
            if len(newest) < 2 or (self._last, self.verified) not in manifests:
                return
            needed = {entry.copy for number, entries in manifests if number in newest for entry in entries}
            needed |= {f"manifest-{number:06}.json" for number in newest}
            for name in os.listdir(self.folder):
                plain = DUPLICATE.sub("", name)
                if plain not in needed and (COPY.fullmatch(plain) or MANIFEST.fullmatch(plain)):
                    os.truncate(self.folder / name, 0)
                    os.unlink(self.folder / name)

    def _warn(self, what: str) -> None:
        if self._warned:
            return
        self._warned = True
        epochs = [entry.epoch for entry in self.verified]
        there = f"up to epoch {max(epochs)} the run is verified there" if epochs else "nothing is verified there yet"
        warnings.warn(f"{self.folder}: {what}; {there}. The run goes on, and is kept in its own folder", RuntimeWarning,
                      stacklevel=4)


def _match(pattern: re.Pattern, name: str) -> re.Match | None:
    return pattern.fullmatch(DUPLICATE.sub("", name))
