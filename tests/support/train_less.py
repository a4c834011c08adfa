"""A real study of few epochs: in this process, and in every kernel that reads IPython's start-up files here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from course_lib.experiments.settings import SETTINGS

__all__ = ["profile", "train_less"]

START_UP = "__import__('tests.support.train_less', fromlist=['train_less']).train_less()\n"


def train_less() -> None:
    """Give the study of a real model 4 epochs; its sizes, mixes and seeds stay."""
    default = SETTINGS["default"]
    SETTINGS["default"] = replace(default, tune=replace(default.tune, epochs=4, warmup=1))


def profile(folder: Path) -> dict[str, str]:
    """The variable with which a kernel trains less; the profile that it names is written to ``folder``."""
    start_up = folder / "profile_default" / "startup"
    start_up.mkdir(parents=True, exist_ok=True)
    (start_up / "train_less.py").write_text(START_UP)
    return {"IPYTHONDIR": str(folder)}
