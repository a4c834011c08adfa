"""Download models from the Hugging Face Hub, and find those that are on this disk already.

A model is named ``owner/name``, or ``owner/name@revision``: a branch, a tag, or best a commit hash of 40 hex digits,
which nobody can change. A name is resolved to a hash once, and the hash is used from there on. ``huggingface_hub`` puts
the files into its own cache (https://huggingface.co/docs/huggingface_hub/guides/manage-cache)::

    <cache>/models--owner--name/refs/main                   the hash that this branch had when it was downloaded
    <cache>/models--owner--name/snapshots/<hash>/...        the files, or links to them

What was downloaded as ``main`` stays what it was; a newer one comes only by its hash. Only what transformers reads is
downloaded: settings, tokenizer, and the weights as safetensors.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from course_lib.files import CourseError, DataError, disk_errors, write_text
from course_lib.models.checks import SETTINGS, TOKENIZERS, WEIGHTS, read_settings, stored_weights, weight_files

if TYPE_CHECKING:
    from huggingface_hub import DryRunFileInfo, ModelInfo

__all__ = ["HubId", "HubModel", "cached", "commit_of", "fetch", "lacks"]

GB = 10**9
HASH = re.compile(r"[0-9a-f]{40}")  # of a commit
WEIGHT_FILE = re.compile(r"model(-\d+-of-\d+)?\.safetensors")  # as transformers names them
SETTINGS_FILE = re.compile(r"[^/\\]+\.(json|txt|model)")  # with the tokenizer's; in the repository's own folder
AGAIN = "run the same command again, finished files are kept"


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
        """The folder of this repository in ``cache``, or in the user's own cache of the Hub."""
        from huggingface_hub import constants

        return Path(os.path.expanduser(cache or constants.HF_HUB_CACHE)) / f"models--{self.repo.replace('/', '--')}"


@dataclass(frozen=True, slots=True)
class HubModel:
    """A model of the Hub on this disk: its folder and its commit hash."""

    folder: Path
    revision: str


def cached(model: HubId, *, cache: str | Path | None = None) -> HubModel | None:
    """The model if all of it is on this disk, else None; no network."""
    commit = _known_commit(model, cache)
    folder = model.folder(cache) / "snapshots" / (commit or "")
    return HubModel(folder, commit) if commit and not lacks(folder) else None


def commit_of(model: HubId, *, cache: str | Path | None = None) -> str:
    """The commit hash that a model has or would have here; the Hub is asked only if the disk does not tell.

    Raises:
        CourseError: the disk does not tell, and the Hub is out of reach or refuses.
    """
    return _known_commit(model, cache) or _ask(model, cache).sha


def fetch(model: HubId, *, cache: str | Path | None = None, echo: Callable[[str], None] = print) -> HubModel:
    """The model on this disk, downloaded first where it is not there; finished files are not downloaded again.

    Before the first byte ``echo`` is told the name, the licence, the commit and how much is to come.

    Raises:
        CourseError: it is not here and cannot be had (no network, refused, no room, only pickle); says what to do.
    """
    from huggingface_hub import snapshot_download

    if found := cached(model, cache=cache):
        return found
    about, home = _ask(model, cache), model.folder(cache)
    folder, names = home / "snapshots" / about.sha, [one.rfilename for one in about.siblings]
    settings, weights = (list(filter(kind.fullmatch, names)) for kind in (SETTINGS_FILE, WEIGHT_FILE))
    download, no_bar = partial(snapshot_download, model.repo, revision=about.sha, cache_dir=home.parent), _no_bar()
    with _one_sentence(model), disk_errors(folder):
        _delete_wrong(model, folder)
        files = download(allow_patterns=settings + weights, dry_run=True, tqdm_class=no_bar)
    _announce(model, about, files, folder, echo)
    with _one_sentence(model), disk_errors(folder):
        download(allow_patterns=settings, tqdm_class=no_bar)
        download(allow_patterns=weights)  # last, so that what was killed never looks whole
        if wrong := _delete_wrong(model, folder):
            raise CourseError(f"{wrong[0]}: what came is not what the Hub lists, so it was deleted; {AGAIN}")
    if reason := lacks(folder):
        raise CourseError(f"{model}: {reason}, and so it is in the repository; take another model or revision")
    if not HASH.fullmatch(model.revision or ""):
        write_text(home / "refs" / (model.revision or "main"), about.sha)
    return HubModel(folder, about.sha)


def lacks(folder: Path) -> str:
    """The reason why a folder is no whole model, in a few words; "" if it is one.

    Settings must be readable, there must be a tokenizer, and each file of weights as long as its own header says.
    """
    try:
        for path in (folder / name for name in SETTINGS):  # the index is the last of them
            read_settings(path)
        weights = weight_files(folder) or [folder / WEIGHTS]
        if not any((folder / name).is_file() for name in TOKENIZERS):
            return "the tokenizer is missing"
        for path in (folder / "config.json", *weights):
            if not path.is_file():
                return f"{path.name} is missing"
        for path in weights:
            stored_weights([path])
    except DataError:
        return f"{path} is damaged"
    return ""


def _known_commit(model: HubId, cache: str | Path | None) -> str | None:
    ref = model.folder(cache) / "refs" / (model.revision or "main")
    stored = ref.read_text(encoding="utf-8", errors="replace").strip() if ref.is_file() else ""
    return next(filter(HASH.fullmatch, (model.revision or "", stored)), None)


def _ask(model: HubId, cache: str | Path | None) -> ModelInfo:
    """Ask the Hub for the commit, the licence and the names of the files; refuse what is no whole and safe model."""
    from huggingface_hub import HfApi, constants

    if constants.HF_HUB_OFFLINE:
        folder = model.folder(cache) / "snapshots" / (_known_commit(model, cache) or "none")
        there = f"not whole on this machine ({lacks(folder)})" if folder.is_dir() else f"not in {folder.parents[2]}"
        raise CourseError(f"{model}: is {there}, and HF_HUB_OFFLINE forbids to ask the Hub; unset it where there is a "
                          f"network and run the same command again, or give a model that is here")
    with _one_sentence(model):
        about = HfApi().model_info(model.repo, revision=model.revision, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT)
        if not about.siblings or not HASH.fullmatch(about.sha or ""):
            raise ValueError("it names no commit and no files")
    names = [one.rfilename for one in about.siblings]
    weights = WEIGHTS if any(map(WEIGHT_FILE.fullmatch, names)) else None
    pickled = next((name for name in names if name.endswith((".bin", ".pt", ".pth"))), None)
    if pickled and not weights:
        raise CourseError(f"{model}: has its weights only as {pickled}, a pickle, which can run code when it is read; "
                          f"take a model that has them as {WEIGHTS}")
    for part, there in ((WEIGHTS, weights), ("config.json", "config.json" in names),
                        ("tokenizer", not set(names).isdisjoint(TOKENIZERS))):
        if not there:
            raise CourseError(f"{model}: has no {part}, so it is no whole model; take another model or revision")
    return about


def _delete_wrong(model: HubId, folder: Path) -> list[Path]:
    """Delete the files of a snapshot that are not what the Hub lists, and what they link to; returns their paths."""
    from huggingface_hub import HfApi

    if not folder.is_dir():
        return []
    checked = HfApi().verify_repo_checksums(model.repo, revision=folder.name, cache_dir=folder.parents[2])
    wrong = [folder / one["path"] for one in checked.mismatches]
    for path in wrong:
        path.resolve().unlink()
        path.unlink(missing_ok=True)
    return wrong


def _no_bar() -> type:
    """The class of a progress bar that shows nothing."""
    from huggingface_hub.utils import tqdm

    class NoBar(tqdm):
        def __init__(self, *args: object, **options: object) -> None:
            super().__init__(*args, **options | {"disable": True})

    return NoBar


def _announce(model: HubId, about: ModelInfo, files: list[DryRunFileInfo], folder: Path,
              echo: Callable[[str], None]) -> None:
    """Say what will be downloaded, and stop before it if the disk has no room for it."""
    card, sizes = about.card_data or {}, [file.file_size or 0 for file in files if file.will_download]
    licence = card.get("license_name") or card.get("license") or "not stated, read its page"
    licence = licence if isinstance(licence, str) else " and ".join(licence)
    left, whole = sum(sizes), sum(file.file_size or 0 for file in files)
    echo(f"Model {model.repo} (licence: {licence}; commit {about.sha}): {left / GB:.2f} GB to fetch in {len(sizes)} "
         f"files, {(whole - left) / GB:.2f} GB are here already; into {folder}")
    free = shutil.disk_usage(next(parent for parent in folder.parents if parent.is_dir())).free
    if left > free:
        raise CourseError(f"{folder}: {model} needs {left / GB:.2f} GB more, but only {free / GB:.2f} GB are free; "
                          f"make room, or set HF_HUB_CACHE to a folder on another disk, and run the same command again")


@contextmanager
def _one_sentence(model: HubId) -> Iterator[None]:
    """Turn what ``huggingface_hub`` raises into a CourseError of one sentence that says what to do."""
    from huggingface_hub.errors import DryRunError, HTTPError, LocalEntryNotFoundError

    try:
        yield
    # a lost connection may be an OSError, a failure in hf_xet a RuntimeError; the rest: what answers is not the Hub
    except (HTTPError, OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        cause: BaseException = error
        while isinstance(cause, (DryRunError, LocalEntryNotFoundError)) and cause.__cause__:
            cause = cause.__cause__
        raise CourseError(f"{model}: {_reason(model.repo, cause)}") from error


def _reason(repo: str, error: BaseException) -> str:
    """What went wrong and what to do: an answer of the Hub by its kind, anything else by the error's first line."""
    from huggingface_hub import errors

    page, said = f"https://huggingface.co/{repo}", str(error).strip().partition("\n")[0] or type(error).__name__
    if isinstance(error, PermissionError) and error.filename:
        return f"you may not write {error.filename}; set HF_HUB_CACHE to a folder of yours, and {AGAIN}"
    if not isinstance(error, errors.HfHubHTTPError):
        return (f"the Hub cannot be reached ({said}); see that this machine is online, that no page of the network "
                f"wants you to log in, and that HF_ENDPOINT is unset, then {AGAIN}")
    status, headers = error.response.status_code, error.response.headers
    if isinstance(error, errors.GatedRepoError):  # first: it is also a RepositoryNotFoundError
        return f"its owner asks you to accept terms; do so on {page}, log in with `hf auth login`, and {AGAIN}"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"there is no such revision; look it up on {page}/commits/main, or leave out what stands after @"
    if status == 403 or "Invalid credentials" in headers.get("X-Error-Message", ""):
        return "the Hub refuses this machine's token; renew it with `hf auth login`, or take another model"
    if isinstance(error, errors.RepositoryNotFoundError) or status == 401:  # a stranger is told so of any model
        return "no such model on the Hub; check the name, or log in with `hf auth login` if it is private"
    if status == 429:
        seconds = re.search(r"^\d+$|(?<=t=)\d+", headers.get("Retry-After") or headers.get("RateLimit") or "")
        wait = f"{seconds[0]} seconds" if seconds else "a few minutes"
        return f"the Hub has had too many requests from here; log in with `hf auth login` or wait {wait}, then {AGAIN}"
    return f"the Hub answered with an error ({said}); wait a few minutes, then {AGAIN}"
