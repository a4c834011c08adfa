"""Models of the Hugging Face Hub on this disk: what is there is used as it is, what is not is said and then fetched.

A repository of the Hub is a git repository, so a model is named by ``owner/name`` and, where it matters which version
of it, ``owner/name@revision``: a branch, a tag, or best a commit hash of 40 hex digits, which nobody can change.
Results always carry the hash. Files lie where the Hub's own library looks for them
(https://huggingface.co/docs/huggingface_hub/guides/manage-cache)::

    <cache>/models--owner--name/refs/main                   the hash that this branch had when it was fetched
    <cache>/models--owner--name/snapshots/<hash>/...        the files

They are plain files there, not links: so they live on a USB stick too. What was fetched as ``main`` stays what it was;
a newer one comes only by its hash.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from course_lib.files import CourseError, DataError, hard_lock, write_text
from course_lib.models.checks import SETTINGS, WEIGHTS, read_settings, stored_weights, weight_files
from course_lib.models.hub_errors import explain
from course_lib.models.hub_listing import HASH, TOKENIZERS, Listing, ask
from course_lib.models.transfer import RemoteFile, begun, bring, has_sum

__all__ = ["TOKENIZERS", "HubId", "HubModel", "cached", "commit_of", "fetch", "lacks"]

GB = 10**9
SMALL = 50 * 10**6  # bytes that are summed up in a moment


@dataclass(frozen=True, slots=True)
class HubId:
    """A repository, ``owner/name``, and a branch, tag or commit hash of it; None is the branch main."""

    repo: str
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> HubId:
        """Read ``owner/name`` or ``owner/name@revision``.

        Raises:
            CourseError: it is neither.
        """
        repo, at, revision = text.partition("@")
        whole = re.fullmatch(r"[\w.-]+/[\w.-]+", repo) and re.fullmatch(r"[\w./-]+" if at else "", revision)
        if not whole or ".." in text:
            raise CourseError(f"{text}: not the id of a model on the Hub; write owner/name or owner/name@revision")
        return cls(repo, revision or None)

    def __str__(self) -> str:
        return f"{self.repo}@{self.revision}" if self.revision else self.repo

    def folder(self, cache: str | Path | None = None) -> Path:
        """Where the Hub's library keeps this repository; ``cache`` instead of the user's own cache."""
        from huggingface_hub import constants

        return Path(os.path.expanduser(cache or constants.HF_HUB_CACHE)) / f"models--{self.repo.replace('/', '--')}"


@dataclass(frozen=True, slots=True)
class HubModel:
    """A model of the Hub on this disk: its folder and the commit hash that it has there."""

    folder: Path
    revision: str


def cached(model: HubId, *, cache: str | Path | None = None) -> HubModel | None:
    """The model if all of it is on this disk, else None; no network."""
    commit = _known_commit(model, cache)
    folder = model.folder(cache) / "snapshots" / (commit or "")
    return HubModel(folder, commit) if commit and not lacks(folder) else None


def commit_of(model: HubId, *, cache: str | Path | None = None) -> str:
    """The commit hash that a model has or would have here; the network is asked only if the disk does not tell.

    Raises:
        CourseError: the disk does not tell, and the Hub is out of reach or refuses.
    """
    commit = _known_commit(model, cache)
    if commit is None:
        _must_be_online(model, cache)
        commit = ask(model.repo, model.revision, where=str(model)).commit
    return commit


def fetch(model: HubId, *, cache: str | Path | None = None, echo: Callable[[str], None] = print) -> HubModel:
    """The model on this disk, fetched first where it is not there; a fetch that was stopped goes on.

    Before the first byte ``echo`` is told the name, the licence, the commit and how much is to come.

    Raises:
        CourseError: it is not here and cannot be had (no network, refused, no room, only pickle); says what to do.
    """
    if found := cached(model, cache=cache):
        return found
    _must_be_online(model, cache)
    listing = ask(model.repo, model.revision, where=str(model))
    home = model.folder(cache)
    folder = home / "snapshots" / listing.commit
    with _alone(home, model, echo):
        todo = [file for file in listing.files if not _have(folder / file.name, file)]
        _announce(model, listing, todo, folder, echo)
        _bring_all(model, listing, todo, folder)
        if not HASH.fullmatch(model.revision or ""):
            write_text(home / "refs" / (model.revision or "main"), listing.commit)
    if reason := lacks(folder):
        raise CourseError(f"{model}: {reason}, and so it is in the repository; take another model or revision")
    return HubModel(folder, listing.commit)


def lacks(folder: Path) -> str:
    """What keeps a folder from being a whole model, in a few words; "" if nothing does.

    The settings must be readable, there must be a tokenizer, and each file of weights as long as its own head says.
    """
    try:
        for path in (folder / name for name in SETTINGS):  # the index is the last of them
            read_settings(path)
        files = weight_files(folder) or [folder / WEIGHTS]
    except DataError:
        return f"{path} is damaged"
    if not any((folder / name).is_file() for name in TOKENIZERS):
        return "the tokenizer is missing"
    missing = sorted(path.name for path in (folder / "config.json", *files) if not path.is_file())
    damaged = (path for path in files if not missing and not _is_whole(path))
    return f"{missing[0]} is missing" if missing else next((f"{path} is damaged" for path in damaged), "")


def _is_whole(path: Path) -> bool:
    """Whether a file of safetensors has a sound head and the length that it tells."""
    try:
        stored_weights([path])
    except DataError:
        return False
    return True


def _known_commit(model: HubId, cache: str | Path | None) -> str | None:
    if model.revision and HASH.fullmatch(model.revision):
        return model.revision
    ref = model.folder(cache) / "refs" / (model.revision or "main")
    commit = ref.read_text(encoding="utf-8", errors="replace").strip() if ref.is_file() else ""
    return commit if HASH.fullmatch(commit) else None


def _must_be_online(model: HubId, cache: str | Path | None) -> None:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        commit = _known_commit(model, cache)
        folder = model.folder(cache) / "snapshots" / (commit or "")
        there = f"is not whole on this machine ({lacks(folder)})" if commit and folder.is_dir() else (
            f"is not in {model.folder(cache).parent}")
        raise CourseError(f"{model}: {there}, and HF_HUB_OFFLINE forbids to ask the Hub; unset it where there is a "
                          f"network and run the same command again, or give a model that is here")


def _have(path: Path, file: RemoteFile) -> bool:
    """Have this very file from the disk, if need be from where the Hub's library keeps it by its sum; else False."""
    blob = path.parents[2] / "blobs" / file.sum
    if _is_right(path, file):
        return True
    if not _is_right(blob, file):
        return False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        os.link(blob, path)
    except OSError:  # this kind of disk has no second names for a file: then it is fetched again
        return False
    return True


def _is_right(path: Path, file: RemoteFile) -> bool:
    """Size and sum of a small file; of a large one the size, and the head that tells it too."""
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    return has_sum(path, file) if file.size < SMALL else _is_whole(path)


def _announce(model: HubId, listing: Listing, todo: Sequence[RemoteFile], folder: Path,
              echo: Callable[[str], None]) -> None:
    """Say what will come, and stop before it if the disk has no room for it."""
    left = sum(file.size for file in todo) - _begun_bytes(todo, folder)
    have = sum(file.size for file in listing.files) - left
    echo(f"Model {model.repo} (licence: {listing.licence}; commit {listing.commit}): {left / GB:.2f} GB to fetch in "
         f"{len(todo)} files, {have / GB:.2f} GB are here already; into {folder}")
    disk = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
    free = shutil.disk_usage(disk).free
    if left > free:
        raise CourseError(f"{folder}: {model} needs {left / GB:.2f} GB more, but only {free / GB:.2f} GB are free; "
                          f"make room, or set HF_HUB_CACHE to a folder on another disk, and run the same command again")


def _begun_bytes(files: Sequence[RemoteFile], folder: Path) -> int:
    """What has come of files that are not whole."""
    parts = [begun(folder / file.name, file) for file in files]
    return sum(part.stat().st_size for part in parts if part.is_file())


def _bring_all(model: HubId, listing: Listing, todo: Sequence[RemoteFile], folder: Path) -> None:
    from huggingface_hub import constants
    from huggingface_hub.utils import tqdm

    whole = sum(file.size for file in todo)
    with tqdm(total=whole, initial=_begun_bytes(todo, folder), unit="B", unit_scale=True, desc=model.repo) as bar:
        for file in todo:
            url = f"{constants.ENDPOINT}/{model.repo}/resolve/{listing.commit}/{quote(file.name)}"
            try:
                bring(url, folder / file.name, file, tell=bar.update)
            except Exception as error:  # of the Hub's library, in its two versions; what is none is raised again
                raise explain(str(model), model.repo, error) from error


@contextmanager
def _alone(home: Path, model: HubId, echo: Callable[[str], None]) -> Iterator[None]:
    """One process at a time fetches a repository; the others wait, and then find it there."""
    from filelock import Timeout

    try:
        home.mkdir(parents=True, exist_ok=True)
    except PermissionError:
        raise CourseError(f"{home}: you may not write there; set HF_HUB_CACHE to a folder of yours, and run the same "
                          f"command again") from None
    lock = hard_lock(home / ".known-unknowns.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        echo(f"Model {model}: another process is fetching it; waiting for that.")
        lock.acquire()
    except OSError:  # this disk knows no locks; the sums catch what two would spoil
        lock = None
    try:
        yield
    finally:
        if lock:
            lock.release()
