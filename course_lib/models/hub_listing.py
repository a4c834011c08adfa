"""What the Hugging Face Hub says of a model before anything is fetched: commit, licence, files and their sums.

Wanted are the settings, the tokenizer, and the weights as safetensors under the names that transformers gives them. A
repository often holds the same weights in other formats too; a model that has them only as pickles, files that can run
code when they are read, is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

from course_lib.files import CourseError
from course_lib.models.hub_errors import PAGE, explain
from course_lib.models.transfer import RemoteFile

__all__ = ["HASH", "PATTERNS", "TOKENIZERS", "Listing", "ask"]

PATTERNS = ("*.safetensors", "*.json", "*.txt", "*.model")
WEIGHTS = re.compile(r"model(-\d+-of-\d+)?\.safetensors")
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json")
HASH = re.compile(r"[0-9a-f]{40}")  # of a commit


@dataclass(frozen=True, slots=True)
class Listing:
    """A repository at one commit: the licence that its card states, and those files of it that are wanted."""

    commit: str
    licence: str
    files: tuple[RemoteFile, ...]


def ask(repo: str, revision: str | None, *, where: str) -> Listing:
    """One question to the Hub, by its library; ``where`` names the model in a sentence.

    Raises:
        CourseError: the Hub is out of reach or refuses, or the repository has no weights that are safe to read.
    """
    from huggingface_hub import HfApi, constants

    try:
        about = HfApi().model_info(repo, revision=revision, files_metadata=True,
                                   timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT)
        if not HASH.fullmatch(about.sha or ""):
            raise ValueError("no commit")
        names = [one.rfilename for one in about.siblings or ()]
        files = [RemoteFile(one.rfilename, int(one.size), one.lfs.sha256 if one.lfs else one.blob_id)
                 for one in about.siblings or () if _is_wanted(one.rfilename)]
    except Exception as error:  # of the Hub's library, in its two versions; what is none is raised again
        raise explain(where, repo, error) from error
    _refuse_part(names, repo, where)
    # the weights last: a fetch that was killed leaves no model that looks whole
    return Listing(about.sha, _licence(about), tuple(sorted(
        files, key=lambda file: (file.name.endswith(".safetensors"), file.size, file.name))))


def _is_wanted(name: str) -> bool:
    if "/" in name or "\\" in name or not any(fnmatch(name, pattern) for pattern in PATTERNS):
        return False
    return not name.endswith(".safetensors") or WEIGHTS.fullmatch(name) is not None


def _refuse_part(names: Sequence[str], repo: str, where: str) -> None:
    """Refuse what is no whole model, before a byte of it comes."""
    if any(WEIGHTS.fullmatch(name) for name in names):
        spelled = any(name in TOKENIZERS for name in names)
        lacking = "config.json" if "config.json" not in names else "" if spelled else "tokenizer"
        if lacking:
            raise CourseError(f"{where}: has no {lacking}, so it is no whole model; take another model or revision")
        return
    if pickled := next((name for name in names if name.endswith((".bin", ".pt", ".pth"))), None):
        raise CourseError(f"{where}: has its weights only as {pickled}, a pickle, which can run code when it is read; "
                          f"take a model that has them as model.safetensors")
    raise CourseError(f"{where}: has no model.safetensors, so it is no whole model; look at {PAGE}/{repo}/tree/main")


def _licence(about: Any) -> str:
    """The licence that the model's card states; a card may leave it out."""
    card = about.card_data or {}
    tags = [tag.removeprefix("license:") for tag in about.tags or () if tag.startswith("license:")]
    stated = card.get("license_name") or card.get("license") or next(iter(tags), None)
    return " and ".join(stated) if isinstance(stated, list) else stated or "not stated, read its page"
