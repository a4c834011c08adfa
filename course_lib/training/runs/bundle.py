"""Many finished runs in one zip file, small enough to be shipped: their settings and epochs, without the adapters.

The names inside are those below the root of all runs, so the readers of runs.py read a bundle as they read a folder;
nothing is unpacked. The same runs give the same bytes.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable
from pathlib import Path

from course_lib.files import CourseError, DataError, read_bytes, read_json, write_bytes
from course_lib.training.runs.folder import RunSpec, is_completed, open_root

__all__ = ["bundle_specs", "write_bundle"]

FILES = ("run.json", "epochs.jsonl")
EARLIEST = (1980, 1, 1, 0, 0, 0)  # the first date that a zip file knows


def write_bundle(path: str | Path, root: str | Path, specs: Iterable[RunSpec]) -> Path:
    """Put these completed runs below ``root`` into one zip file.

    Raises:
        DataError: there are no runs, or one is not completed; the message names it.
    """
    specs, buffer = sorted(set(specs), key=lambda spec: (spec.preset, spec.name)), io.BytesIO()
    if not specs:
        raise DataError(f"{path}: no runs were given to bundle; give at least one, for example study.plan()")
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        for spec in specs:
            if not is_completed(spec, root):
                raise DataError(f"{spec.folder(root)}: not completed; run the sweep again, it goes on from there")
            for name in FILES:
                entry = zipfile.ZipInfo(f"{spec.preset}/{spec.name}/{name}", EARLIEST)
                entry.compress_type, entry.create_system, entry.external_attr = zipfile.ZIP_DEFLATED, 3, 0o644 << 16
                file.writestr(entry, read_bytes(spec.folder(root) / name))
    return write_bytes(path, buffer.getvalue())


def bundle_specs(root: str | Path | zipfile.Path) -> list[RunSpec]:
    """The completed runs in a zip file or folder of runs, by preset and name; runs of other versions are left out.

    Raises:
        DataError: there is no such zip file, or a ``run.json`` is damaged.
    """
    inside, found = open_root(root), set()
    for path in _records(inside):
        values = read_json(path)
        try:
            spec = RunSpec.from_json(values)
        except (KeyError, TypeError, ValueError, CourseError):
            continue  # written by a version with other settings
        if values.get("status") == "completed" and spec.folder(inside).name == path.parent.name:
            found.add(spec)
    return sorted(found, key=lambda spec: (spec.preset, spec.name))


def _records(inside: Path | zipfile.Path) -> list[Path | zipfile.Path]:
    """Every preset/run/run.json; the names of a zip file are gone through once, however many they are."""
    if isinstance(inside, Path):
        return [path for path in inside.glob("*/*/run.json") if path.is_file()]
    names = (name.removeprefix(inside.at) for name in inside.root.namelist() if name.startswith(inside.at))
    return [inside / name for name in names if name.count("/") == 2 and name.endswith("/run.json")]
