"""The packages that Colab and Kaggle publish: name -> version."""

from pathlib import Path

from packaging.utils import canonicalize_name


def published(name: str) -> dict[str, str]:
    """A list of this folder; lines without a version (name @ address) are left out."""
    lines = Path(__file__).with_name(name).read_text(encoding="utf-8").splitlines()
    return {canonicalize_name(package): version for package, _, version in (
        line.partition("==") for line in lines if "==" in line and not line.startswith("#"))}


COLAB, KAGGLE = published("colab-gpu-2026-08-19.txt"), published("kaggle-2026-08-12.txt")
