"""The installation of the course: on which host, from which commit, with which packages.

A *host* is a machine that is lent for an hour with hundreds of packages on it: Google Colab or Kaggle.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

__all__ = ["BUILDER", "CLASSROOM", "DISTRIBUTION", "HUB", "TORCHAO", "commit", "host_name", "installed", "pip",
           "ranges", "suits", "use_classroom", "version"]

DISTRIBUTION = "known-unknowns"
# Only `course build` and `course run` import these (ipykernel is what they start): a host's own versions serve as well.
BUILDER = frozenset({"ipykernel", "jupyter-client", "jupytext", "nbclient", "nbformat"})
# Beside an older torchao PEFT refuses to add even a plain LoRA layer, although nothing here uses torchao.
TORCHAO = ">=0.16"
# A folder made by `course prefetch` holds this note, and below this name the Hub's models.
CLASSROOM, HUB = "known-unknowns.json", "hub"


def use_classroom() -> None:
    """Let the Hub's library read from COURSE_HOME, without a network, where it is a folder of `course prefetch`.

    This must happen before that library is imported; a value that you set yourself wins.
    """
    home = Path(os.path.expanduser(os.environ.get("COURSE_HOME") or ""))  # a home that is none stays as it is
    if (home / CLASSROOM).is_file() and (home / HUB).is_dir():
        os.environ.setdefault("HF_HUB_CACHE", str((home / HUB).resolve()))
        os.environ.setdefault("HF_HUB_OFFLINE", "1")


def host_name() -> str | None:
    """"Colab" or "Kaggle"; None anywhere else. Kaggle's image is built on Colab's, so google.colab may be there too."""
    if "KAGGLE_KERNEL_RUN_TYPE" in os.environ:
        return "Kaggle"
    return "Colab" if "google.colab" in sys.modules or "COLAB_RELEASE_TAG" in os.environ else None


def commit() -> str:
    """The commit of the clone that the course runs from, with "-dirty" after a change; "" where there is no clone."""
    here = Path(__file__).parents[1]
    if not (here / "pyproject.toml").is_file():  # installed: the repository around it would be somebody else's
        return ""
    try:
        found = subprocess.run(["git", "-C", str(here), "describe", "--always", "--dirty"], capture_output=True,
                               text=True, check=False)
    except OSError:  # git is not installed
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""


def ranges() -> dict[str, str]:
    """Direct dependencies and their version ranges, as installed; empty when the package is not installed."""
    from packaging.requirements import Requirement

    try:
        lines = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return {}
    wanted = [Requirement(line) for line in lines]
    return {item.name: str(item.specifier) for item in wanted if item.marker is None}


def version(name: str) -> str | None:
    """The version of an installed package; None where it is not there."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def suits(found: str | None, wanted: str) -> bool:
    """True for a version that is there and within a range; a pre-release counts, as Colab and vendors ship them."""
    from packaging.specifiers import SpecifierSet

    return found is not None and SpecifierSet(wanted).contains(found, prereleases=True)


def pip(*words: str) -> str:
    """Run pip of this Python; returns the error that it ends with, "" if there is none."""
    run = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *words]
    done = subprocess.run(run, stderr=subprocess.PIPE, text=True, check=False)
    errors = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line.startswith("ERROR")]
    return (errors or ["no reason given"])[-1] if done.returncode else ""


def installed() -> dict[str, str]:
    """Every package that this Python finds, under its normal name ("jupyter-client"), with its version."""
    from packaging.utils import canonicalize_name

    found = {}
    for one in metadata.distributions():
        if name := one.metadata["Name"]:
            found.setdefault(str(canonicalize_name(name)), one.version)  # the first on the path is what is imported
    return found
