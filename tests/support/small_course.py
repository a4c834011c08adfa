"""The whole course but for its notebooks, at a small size, made once for all processes of a test run."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from course_lib.experiments.settings import SETTINGS
from course_lib.lessons.builder import course, notebooks
from tests.support.train_less import profile, train_less

__all__ = ["Made", "make", "once"]

LINES = "lines.json"


@dataclass(frozen=True)
class Made:
    """A build folder that :func:`run_course` filled, and the variables by which a notebook finds the same study."""

    folder: Path
    variables: dict[str, str]

    @property
    def env(self) -> dict[str, str]:
        """The environment of a notebook."""
        return {"COURSE_BUILD": str(self.folder), "HF_HUB_OFFLINE": "1", **profile(self.folder / "ipython"),
                **self.variables}

    @property
    def lines(self) -> list[str]:
        """What :func:`run_course` said."""
        return json.loads((self.folder / LINES).read_text())


def once(name: str, tmp_path_factory: pytest.TempPathFactory, make: Callable[[Path], object]) -> Path:
    """A folder of this name that ``make`` fills, once for all processes of a test run."""
    several = "PYTEST_XDIST_WORKER" in os.environ  # each has a folder of its own, in one for all
    shared = tmp_path_factory.getbasetemp().parent if several else tmp_path_factory.getbasetemp()
    folder, made = shared / name, shared / f"{name}.made"
    with FileLock(shared / f"{name}.lock"):
        if not made.is_file():
            make(folder)
            made.touch()
    return folder


def make(folder: Path, variables: Mapping[str, str]) -> None:
    """Measure, sweep for few epochs and summarise into a new folder; what was said goes to a file there."""
    folder.mkdir()
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SETTINGS, "default", SETTINGS["default"])  # as it was, afterwards
        train_less()
        for name, value in variables.items():
            patch.setenv(name, value)
        patch.setattr(notebooks, "source_paths", lambda *_, **__: [])
        course.run_course(build_dir=folder, echo=lines.append)
    (folder / LINES).write_text(json.dumps(lines))
