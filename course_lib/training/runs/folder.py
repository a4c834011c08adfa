"""Run folders: what a run writes, and how it is read back from a folder of runs or from a bundle, a zip file of them.

    runs/<preset>/D-050-seed0-1a2b3c4d/
        run.json             what was run, with which versions, where, and its status
        epochs.jsonl         one record an epoch
        adapter/             the LoRA weights of the last epoch (PEFT's own format, safetensors)
        adapter_best/        those of the best dev epoch
        state/               only until the run is completed: the checkpoints to resume from
            epoch-003.safetensors    see :mod:`.checkpoints`
        .lock                one process works on a run; the system frees it when that process ends

The status is running (also after a kill), stopped, failed or completed. The folder's name ends in a digest of
everything that decides the result, so a changed setting is another run.

A bundle has the settings and epochs of many completed runs without their adapters, small enough to be shipped. Nothing
is unpacked: the names inside are those below the root of all runs, so it is read as a folder is. The same runs give
the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from operator import attrgetter
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import UnionType
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin, get_type_hints

import numpy as np

from course_lib.data.paper import CATEGORIES
from course_lib.files import CourseError, DataError, loads, read_bytes, read_json, write_bytes
from course_lib.text import short
from course_lib.training.records import EpochRecord, History, TuneConfig, unpack_bits

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RunSpec", "bundle_specs", "finished_epochs", "is_completed", "made_of", "open_root", "read_history",
           "read_right", "read_runs", "write_bundle"]

BUNDLED = ("run.json", "epochs.jsonl")
EARLIEST = (1980, 1, 1, 0, 0, 0)  # the first date that a zip file knows
ABOUT = ("preset", "variant", "unknown_percent", "seed")
NUMBERS = ("loss", "dev", "test", "ood", "known_fitted", "unknown_fitted", "seconds", "evaluation_seconds", "answered")
MOST = 2**63  # in a record, which has no larger number
LARGEST = 2**28  # bytes that a zip file of runs may unpack to; ours hold some MB

BY_NAME = attrgetter("preset", "name")
Record = TypeVar("Record")


@dataclass(frozen=True, slots=True)
class RunSpec:
    """Everything that decides a run's result.

    ``base`` identifies the base model's weights and ``labels`` the labelling and split that the mix was drawn from;
    both are digests. ``size`` is |D| in rows before a variant takes rows out, ``rule`` how it is spread over the
    relations, and ``shares`` the category and share in percent of each part of a free mix.
    """

    preset: str
    variant: str
    unknown_percent: float
    seed: int
    size: int
    tune: TuneConfig
    base: str
    labels: str
    rule: str = "known"
    shares: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        # 25, 25.0 and NumPy's 25 are one run: all must give one name
        object.__setattr__(self, "unknown_percent", _plain(self.unknown_percent))
        for name in ("seed", "size"):
            object.__setattr__(self, name, int(getattr(self, name)))
        object.__setattr__(self, "shares", tuple(sorted((str(name), _plain(share)) for name, share in self.shares)))

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> RunSpec:
        """Read the settings in a ``run.json``.

        Raises:
            KeyError, TypeError, ValueError, CourseError: a setting is missing or is not one.
        """
        spec = made_of(cls, {field.name: values[field.name] for field in fields(cls)})
        if any(PureWindowsPath(name).name != name for name in (spec.preset, spec.variant)):
            raise ValueError(f"{spec.preset!r}, {spec.variant!r}: no names of folders")  # they would lead elsewhere
        return spec

    @property
    def name(self) -> str:
        """The name of the run's folder."""
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:8]
        return f"{self.variant}-{self.unknown_percent:03g}-seed{self.seed}-{digest}"

    def folder(self, root: str | Path | zipfile.Path) -> Path | zipfile.Path:
        """The run's place below the root of all runs, a folder or a zip file."""
        return open_root(root) / self.preset / self.name


def made_of(kind: type[Record], values: Any) -> Record:
    """Make a record of values from JSON, each of the type that its field declares; NaN and infinity are no numbers.

    Raises:
        TypeError, CourseError: a value is missing, too much, of another type, or out of the record's own range.
    """
    hints = get_type_hints(kind)
    if not isinstance(values, dict):
        raise TypeError(f"{short(values)} is not an object")
    for name, value in values.items():
        if name in hints and not _fits(value, hints[name]):
            raise TypeError(f"{name} = {short(value)}")
    return kind(**{name: made_of(hints[name], value) if is_dataclass(hints.get(name)) else value
                   for name, value in values.items()})


def _fits(value: Any, hint: Any) -> bool:
    """Check that a value from JSON is of a declared type."""
    parts = get_args(hint)
    if hint in (int, float):
        return type(value) in (int, hint) and -MOST < value < MOST
    if isinstance(hint, UnionType):
        return any(_fits(value, part) for part in parts)
    if get_origin(hint) is dict:
        return isinstance(value, dict) and all(_fits(inner, parts[1]) for inner in value.values())
    if get_origin(hint) is tuple:
        parts = parts[:1] * len(value) if parts[-1] is Ellipsis and isinstance(value, list) else parts
        return isinstance(value, list) and len(value) == len(parts) and all(map(_fits, value, parts))
    return isinstance(value, dict if is_dataclass(hint) else hint)


def _plain(number: float) -> float | int:
    number = float(number)
    return int(number) if number.is_integer() else number


def open_root(root: str | Path | zipfile.Path) -> Path | zipfile.Path:
    """Open the root of all runs: a folder, or the inside of a file that ends in .zip.

    Nothing is ever unpacked; still, names that would lead out of the file are refused.

    Raises:
        DataError: there is no such zip file, it is none, or its names or sizes are not those of runs.
    """
    if isinstance(root, zipfile.Path):
        return root
    path = Path(root)
    if path.suffix != ".zip" or path.is_dir():
        return path
    try:
        file = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: no zip file of runs could be opened ({error}); fetch it again") from None
    for name in file.namelist():
        parts = PureWindowsPath(name).parts  # knows drives and both kinds of slashes
        if ".." in parts or PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor:
            raise DataError(f"{path}: the name {name!r} leads out of it; take it from a source that you trust")
    if sum(entry.file_size for entry in file.infolist()) > LARGEST:
        raise DataError(f"{path}: unpacks to more than {LARGEST:,} bytes; take it from a source that you trust")
    return zipfile.Path(file)


def read_history(folder: str | Path | zipfile.Path) -> History:
    """Read the epochs of one run; a truncated last line (the run was killed while writing it) is left out.

    Raises:
        DataError: the file is missing, or a line that is not the last is broken.
    """
    path = (Path(folder) if isinstance(folder, str) else folder) / "epochs.jsonl"
    cure = "fetch the zip file again" if isinstance(path, zipfile.Path) else (
        "delete the folder, if there is one, and run again")
    lines, records = read_bytes(path, cure=cure).splitlines(), []
    for number, line in enumerate(lines, 1):
        try:
            records.append(made_of(EpochRecord, loads(line)))
        except (DataError, TypeError):
            if number < len(lines):
                raise DataError(f"{path} line {number}: not an epoch record; delete the folder and run again") from None
    return History(tuple(records))


def finished_epochs(spec: RunSpec, root: str | Path) -> int:
    """The number of epochs that a run has finished, epoch 0 included; 0 where its records cannot be read."""
    try:
        return len(read_history(spec.folder(root)).records)
    except DataError:
        return 0


def read_right(folder: str | Path | zipfile.Path) -> dict[str, np.ndarray]:
    """Read which single questions were right: "test" and "ood" -> bools (epochs, questions), in the order of the facts.

    "answered" (epochs, test questions) is there for mixes that teach "I don't know". A run that kept none gives {}.

    Raises:
        DataError: as :func:`read_history`; or an epoch has other questions than epoch 0.
    """
    records = read_history(folder).records
    bits = [{name: unpack_bits(text, place=folder) for name, text in record.right.items()} for record in records]
    asked = [{name: len(right) for name, right in epoch.items()} for epoch in bits]
    for epoch, counts in enumerate(asked):
        if counts != asked[0]:
            raise DataError(f"{folder}: epoch {epoch} has answers to {counts} questions, epoch 0 to {asked[0]}; delete "
                            f"the folder and run again")
    return {name: np.stack([epoch[name] for epoch in bits]) for name in (bits[0] if bits else ())}


def is_completed(spec: RunSpec, root: str | Path | zipfile.Path) -> bool:
    """Check whether this very run has been completed, in a folder or a bundle.

    Raises:
        DataError: its ``run.json`` is damaged.
    """
    folder = spec.folder(root)
    if not (folder / "run.json").is_file():
        return False
    about = read_json(folder / "run.json")
    if not isinstance(about, dict):
        raise DataError(f"{folder / 'run.json'}: not the record of a run; delete the folder and run again")
    if about.get("status") != "completed":
        return False
    if isinstance(folder, Path) and (folder / "state").is_dir():  # killed while it was being deleted
        shutil.rmtree(folder / "state", ignore_errors=True)
    return True


def read_runs(root: str | Path | zipfile.Path, specs: Iterable[RunSpec]) -> pd.DataFrame:
    """Read all epochs of these completed runs, in a folder or a bundle: one row an epoch.

    Columns: preset, variant, unknown_percent, seed, lr, shares (of a free mix, as text), and those of
    :class:`.records.EpochRecord`, where ``by_category`` gives one for each of train, test, ood and each
    category, such as "test_HighlyKnown"; a number that a run does not have is missing.

    Raises:
        DataError: there are no runs, or one is not completed; the message names it.
    """
    import pandas as pd

    specs, rows, inside = list(specs), [], open_root(root)
    if not specs:
        raise DataError(f"{root}: no runs were asked for; give at least one, for example study.plan()")
    for spec in specs:
        _refuse_unfinished(spec, inside)
        folder = spec.folder(inside)
        records = read_history(folder).records
        if [record.epoch for record in records] != list(range(spec.tune.epochs + 1)):
            raise DataError(f"{folder}: not one record for each of epochs 0 to {spec.tune.epochs}; delete this folder "
                            f"and run the sweep again")
        about = {name: getattr(spec, name) for name in ABOUT} | {
            "lr": spec.tune.lr, "shares": ", ".join(f"{name} {share:g}" for name, share in spec.shares)}
        rows += [about | record.flat() for record in records]
    frame = pd.DataFrame(rows)
    numbers = [*NUMBERS, *(f"{split}_{category}" for split in ("train", "test", "ood") for category in CATEGORIES)]
    numbers += sorted(set(frame) - {*about, "epoch", *numbers})
    return frame.reindex(columns=[*about, "epoch", *numbers]).astype(dict.fromkeys(numbers, float))


def write_bundle(path: str | Path, root: str | Path, specs: Iterable[RunSpec]) -> Path:
    """Put these completed runs below ``root`` into one zip file.

    Raises:
        DataError: there are no runs, or one is not completed; the message names it.
    """
    specs, buffer = sorted(set(specs), key=BY_NAME), io.BytesIO()
    if not specs:
        raise DataError(f"{path}: no runs were given to bundle; give at least one, for example study.plan()")
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        for spec in specs:
            _refuse_unfinished(spec, root)
            for name in BUNDLED:
                entry = zipfile.ZipInfo(f"{spec.preset}/{spec.name}/{name}", EARLIEST)
                entry.compress_type, entry.create_system, entry.external_attr = zipfile.ZIP_DEFLATED, 3, 0o644 << 16
                file.writestr(entry, read_bytes(spec.folder(root) / name))
    return write_bytes(path, buffer.getvalue())


def bundle_specs(root: str | Path | zipfile.Path) -> list[RunSpec]:
    """Find the completed runs in a bundle or folder, by preset and name; runs of other versions are left out.

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
    return sorted(found, key=BY_NAME)


def _records(inside: Path | zipfile.Path) -> list[Path | zipfile.Path]:
    """Every preset/run/run.json; the names of a zip file are gone through once, however many they are."""
    if isinstance(inside, Path):
        return [path for path in inside.glob("*/*/run.json") if path.is_file()]
    names = (name.removeprefix(inside.at) for name in inside.root.namelist() if name.startswith(inside.at))
    return [inside / name for name in names if name.count("/") == 2 and name.endswith("/run.json")]


def _refuse_unfinished(spec: RunSpec, root: str | Path | zipfile.Path) -> None:
    if not is_completed(spec, root):
        raise DataError(f"{spec.folder(root)}: not completed; run the sweep again, it continues from there")
