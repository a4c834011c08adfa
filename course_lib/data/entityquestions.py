"""EntityQuestions: download it, read a copy of it, and rebuild the split that the paper trains and tests on.

EntityQuestions (Sciavolino et al., EMNLP 2021, MIT licence) has 24 relations; Gekhman et al. 2024 (arXiv 2405.05904,
App. A) use 12 for train, dev and test and 7 more as an out-of-distribution (OOD) test. Two filters rebuild their split
to the last question:

* a question with more than one answer is dropped, everywhere;
* a training question is dropped when its subject is the subject of *any* test question of *any* of the 24 relations,
  questions with several answers included.

Deviation: the paper says "no subjects or objects overlap", but only the filter on subjects gives its counts. Dev
is not filtered against train, and its size (10,461) is ours; the paper does not print one.
"""

from __future__ import annotations

import hashlib
import os
import stat
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course_lib.data.facts import IN_DISTRIBUTION, MAX_LENGTH, OUT_OF_DISTRIBUTION, QUESTIONS, SPLITS, Fact, FactSet
from course_lib.files import DataError, disk_errors, loads, open_bytes, read_bytes, sha256, write_bytes
from course_lib.text import short

__all__ = ["Record", "download_folder", "load", "read_records", "store"]

# The last commit that still holds the data; the repository's head has none.
SOURCE_URL = "https://raw.githubusercontent.com/princeton-nlp/EntityQuestions/096c261f327431b30af7ff718670f4bd13214908/"
DOWNLOAD_RETRIES = 2
_SUMS = Path(__file__).parent / "entityquestions.sha256"
_OWN_COPY = "or give a folder or a .zip of the data with --data, COURSE_DATA or entityquestions.load('dataset.zip')"
Records = dict[tuple[str, str], list["Record"]]  # (split, relation) -> its questions


@dataclass(frozen=True, slots=True)
class Record:
    """One question of EntityQuestions; each of its answers is right."""

    subject: str
    answers: tuple[str, ...]


def load(source: str | Path | None = None, *, cache: str | Path | None = None, verify: bool = True,
         progress: bool = True) -> FactSet:
    """The paper's split of EntityQuestions: 81,700 train, 10,461 dev, 10,481 test and 5,848 OOD facts (App. A).

    Only the 55 files that the split needs are read: train of the 12 relations, dev of the 19, test of all 24.

    Args:
        source: a folder that holds ``dataset/``, ``train/ dev/ test/`` or ``dataset.zip``; or a .zip file; or None for
            the one that the environment variable COURSE_DATA names. Without either, or with ``cache`` alone, 18 MB are
            downloaded from the public source into the cache, once.
        cache: where downloads live; by default the environment variable COURSE_HOME, else the user's cache folder.
        verify: compare every file with its published SHA-256. Pass False to read a copy that you edited.
        progress: show a bar while files are fetched.

    Raises:
        DataError: a file is missing, cut, renamed, malformed or not the published one, or the download failed.
    """
    return _build_split(_read(source, _needed(), cache=cache, verify=verify, progress=progress))


def read_records(source: str | Path | None = None, *, splits: Iterable[str] = ("dev", "test"),
                 cache: str | Path | None = None, verify: bool = True, progress: bool = True) -> Records:
    """Every question of all 24 relations, those with several answers included.

    ``splits`` are of train, dev and test; each has 24 files. The other arguments, and what is raised, are those of
    :func:`load`.
    """
    names = [_name(split, relation) for split in dict.fromkeys(splits) for relation in QUESTIONS]
    return _read(source, names, cache=cache, verify=verify, progress=progress)


def store(folder: str | Path) -> int:
    """Put EntityQuestions in full, each file compared with its sum, to where a download for ``folder`` would put it.

    It comes from COURSE_DATA, where that is set, else from the public source. Returns the number of files; raises what
    :func:`load` raises.
    """
    names = list(_published_sums())
    if own := os.environ.get("COURSE_DATA"):
        for file in _files(_find(own), names, verify=True):
            write_bytes(Path(folder) / "entityquestions" / file.name, file.data)
    else:
        _download(names, folder, progress=True)
    return len(names)


def download_folder(cache: str | Path | None = None) -> Path:
    """The folder of downloads: ``cache``, else the environment variable COURSE_HOME, else the user's cache folder."""
    if chosen := cache or os.environ.get("COURSE_HOME"):
        return Path(os.path.expanduser(chosen))
    import pooch

    return Path(pooch.os_cache("known-unknowns"))


def _build_split(records: Records) -> FactSet:
    def single(split: str, relations: Iterable[str]) -> Iterator[Fact]:
        for relation in relations:
            rows = records[split, relation]
            yield from (Fact(row.subject, relation, row.answers[0]) for row in rows if len(row.answers) == 1)

    tested = {row.subject for (split, _), rows in records.items() if split == "test" for row in rows}
    return FactSet(
        name="entityquestions",
        train=tuple(fact for fact in single("train", IN_DISTRIBUTION) if fact.subject not in tested),
        dev=tuple(single("dev", IN_DISTRIBUTION)),
        test=tuple(single("test", IN_DISTRIBUTION)),
        ood=tuple(single("test", OUT_OF_DISTRIBUTION)),
        ood_dev=tuple(single("dev", OUT_OF_DISTRIBUTION)))


# Files and their checksums


@dataclass(frozen=True, slots=True)
class _File:
    """A data file's bytes, its name in the published checksums, and the place an error message should name."""

    name: str
    place: str
    data: bytes


def _name(split: str, relation: str) -> str:
    return f"dataset/{split}/{relation}.{split}.json"


def _needed() -> list[str]:
    """The 55 files of the split, named as in the published checksums."""
    relations = {"train": IN_DISTRIBUTION, "dev": IN_DISTRIBUTION + OUT_OF_DISTRIBUTION, "test": tuple(QUESTIONS)}
    return [_name(split, relation) for split, several in relations.items() for relation in several]


def _published_sums() -> dict[str, str]:
    lines = _SUMS.read_text(encoding="utf-8").splitlines()
    return {name: digest for digest, name in (line.split() for line in lines)}


def _read(source: str | Path | None, names: list[str], *, cache: str | Path | None, verify: bool,
          progress: bool) -> Records:
    if source is None and cache is None:
        source = os.environ.get("COURSE_DATA") or None
    path = _download(names, cache, progress=progress) if source is None else _find(source)
    records = {}
    for file in _files(path, names, verify=verify):
        _, split, name = file.name.split("/")
        relation = name.partition(".")[0]
        records[split, relation] = _parse(file, QUESTIONS[relation])
    return records


def _files(path: Path, names: list[str], *, verify: bool) -> Iterator[_File]:
    """The files of these names in a folder or a .zip, in their order; none is larger than READ_BYTES."""
    sums = _published_sums() if verify else {}
    with _opened(path) as root:
        for name in names:
            place = root / name.removeprefix("dataset/")
            data = read_bytes(place, cure="the copy is incomplete, unpack or fetch it again")
            if verify and hashlib.sha256(data).hexdigest() != sums[name]:
                cure = "it is cut or edited: fetch it again, or pass verify=False to use it as it is"
                raise DataError(f"{place}: not the published file (SHA-256 differs); {cure}")
            yield _File(name, str(place), data)


@contextmanager
def _opened(path: Path) -> Iterator[Path | zipfile.Path]:
    """The folder that holds train/, dev/ and test/, on the disk or in a .zip."""
    if path.is_dir():
        yield path
        return
    with open_bytes(path, cure="fetch the .zip again") as file:
        try:
            root = zipfile.Path(zipfile.ZipFile(file))
        except Exception as error:  # zipfile raises whatever it stumbles over
            raise DataError(f"{path}: not a whole .zip ({error}); it may be cut, fetch it again") from None
        yield root / "dataset" if (root / "dataset").exists() else root


def _find(source: str | Path) -> Path:
    """The .zip file, or the folder that holds train/, dev/ and test/, that ``source`` leads to."""
    path = Path(os.path.expanduser(source))
    try:
        folder = stat.S_ISDIR(os.stat(path).st_mode)
    except (OSError, ValueError) as error:
        why = f"no such file or folder ({getattr(error, 'strerror', None) or error})"
        raise DataError(f"{path}: {why}; give the EntityQuestions folder or its dataset.zip") from None
    if not folder:
        return path
    if os.path.isdir(path / "dataset"):
        return path / "dataset"
    if any(os.path.isdir(path / split) for split in SPLITS):
        return path
    if os.path.lexists(path / "dataset.zip"):
        return path / "dataset.zip"
    raise DataError(f"{path}: holds no dataset/, no train/ dev/ test/ and no dataset.zip; give the folder that does")


def _download(names: list[str], cache: str | Path | None, *, progress: bool) -> Path:
    """Fetch what the cache lacks; files already there with the right sum stay. Returns the dataset folder."""
    import pooch
    from tqdm.auto import tqdm

    root = download_folder(cache) / "entityquestions"
    sums = _published_sums()
    missing = [name for name in names if not ((root / name).is_file() and sha256(root / name) == sums[name])]
    fetcher = pooch.create(root, SOURCE_URL, registry=sums, retry_if_failed=DOWNLOAD_RETRIES)
    pooch.get_logger().setLevel("WARNING")  # else two lines of log for each of 55 files tear the bar apart
    for name in tqdm(missing, desc="EntityQuestions", unit="file", disable=not progress or not missing):
        try:
            with disk_errors(root):
                fetcher.fetch(name)
        except (ValueError, OSError) as error:
            reason = (f"could not be fetched into {root} ({type(error).__name__})" if isinstance(error, OSError) else
                      "what came is not the published file, perhaps a proxy's or a login page")
            raise DataError(f"{SOURCE_URL}{name}: {reason}; run again to continue, {_OWN_COPY}") from None
    return root / "dataset"


# What stands in a file


def _parse(file: _File, template: str) -> list[Record]:
    records = loads(file.data, file.place)
    if not isinstance(records, list):
        raise DataError(f"{file.place}: not a list; the file is [{{question, answers}}, ...], fetch it again")
    return [_check(record, template, f"{file.place} record {number}") for number, record in enumerate(records, 1)]


def _check(record: Any, template: str, place: str) -> Record:
    """One {question, answers} entry; an error names its place, counted from 1."""
    if not isinstance(record, dict):
        raise DataError(f'{place}: not an object; write {{"question": ..., "answers": [...]}}')
    question, answers = record.get("question"), record.get("answers")
    if not isinstance(question, str):
        raise DataError(f"{place}: no question; every fact needs one, as text")
    before, after = template.split("[E]")
    subject = question[len(before):len(question) - len(after)]
    if not subject.strip() or before + subject + after != question:
        raise DataError(f"{place}: the question {short(question)} does not match {template!r}; put a name in place of "
                        f"[E]")
    if not isinstance(answers, list) or not answers:
        raise DataError(f"{place}: no answers; every fact needs a list of at least one")
    for answer in answers:
        if not isinstance(answer, str):
            raise DataError(f"{place}: the answer {short(answer)} is not text; put it in quotes")
        if not answer.strip():
            raise DataError(f"{place}: empty answer; every fact needs one")
    if (length := max(map(len, [question, *answers]))) > MAX_LENGTH:
        raise DataError(f"{place}: a text of {length:,} characters, and at most {MAX_LENGTH:,} can be asked")
    return Record(subject, tuple(answers))
