"""What ``course doctor`` prints: where the course runs and what this machine can do, to be pasted into a bug form.

A stranger who reads it must be able to set the same scene: version and commit, host, preset, notebook server, the
environment variables that change what the course does, its folders, then every check of :mod:`.hardware`.
Nothing in it names you: the home folder becomes ``~``, your user name in any other path ``<user>``. Tokens and keys
are not read at all.
"""

from __future__ import annotations

import getpass
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_lib import __version__
from course_lib.data.entityquestions import download_folder
from course_lib.files import CourseError, repository
from course_lib.installation import commit, host_name, version
from course_lib.models import hardware
from course_lib.models.hardware import GIB, Machine

if TYPE_CHECKING:
    from course_lib.experiments.study import Study

__all__ = ["Scene", "anonymous", "as_data", "report", "scene"]

JUPYTER = ("jupyterlab", "notebook", "ipywidgets", "ipykernel", "jupyter-server", "matplotlib-inline")
# Besides COURSE_*: what moves folders, hides a GPU or closes the network.
VARIABLES = ("CUDA_VISIBLE_DEVICES", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "OMP_NUM_THREADS", "OMP_WAIT_POLICY",
             "XDG_CACHE_HOME", "BNB_CUDA_VERSION", "PYTORCH_ALLOC_CONF", "JUPYTER_CONFIG_DIR")


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Where the course runs; every text is free of the home folder and of the user's name."""

    course: str
    host: str
    preset: str
    jupyter: Mapping[str, str | None]
    variables: Mapping[str, str]
    folders: Mapping[str, str]


def scene(machine: Machine, *, environ: Mapping[str, str] | None = None) -> Scene:
    """Look around; ``environ`` stands in for the environment variables of this process."""
    environ = os.environ if environ is None else environ
    made = commit()
    names = [name for name in sorted(environ) if name.startswith("COURSE_") or name in VARIABLES]
    root = repository(Path.cwd())
    build = Path(environ.get("COURSE_BUILD") or (root or Path.cwd()) / "build")
    folders = {"results": build, "downloads": download_folder(environ.get("COURSE_HOME")), "models": _hub(environ)}
    return Scene(
        course=f"{__version__} ({f'clone at {made}' if made else 'installed, not a clone'})",
        host=host_name() or "neither Colab nor Kaggle",
        preset=_preset(machine, environ),
        jupyter={name: version(name) for name in JUPYTER},
        variables={name: anonymous(environ[name]) for name in names},
        folders={name: f"{anonymous(str(path))} ({_state(path)})" for name, path in folders.items()},
    )


def report(machine: Machine | None = None, *, environ: Mapping[str, str] | None = None, study: Study | None = None,
           gpu: str | None = None) -> str:
    """The text that ``course doctor`` prints: the scene in six lines, the machine in two, and one line a check.

    With a ``study``, the forecast of what it costs here or on the ``gpu`` that is named (:mod:`.preflight`), and how
    forecasts of finished runs compare with what was measured.
    """
    machine = machine or hardware.inspect()
    around = scene(machine, environ=environ)
    jupyter = ", ".join(f"{name} {found}" for name, found in around.jupyter.items() if found) or "none installed"
    lines = [f"Course: {around.course}", f"Host: {around.host}", f"Preset: {around.preset}", f"Jupyter: {jupyter}",
             "Variables: " + (", ".join(f"{name}={value}" for name, value in around.variables.items()) or "none set"),
             "Folders: " + ", ".join(f"{name} {text}" for name, text in around.folders.items())]
    return "\n".join([*lines, anonymous(hardware.doctor(machine)), *(_forecast(study, gpu) if study else [])])


def _forecast(study: Study, gpu: str | None) -> list[str]:
    from course_lib.experiments import forecast as preflight
    from course_lib.models import presets

    about = [presets.describe(study.preset)] if study.preset in presets.PRESETS else []
    try:
        expected = str(preflight.forecast(study, gpu=gpu))
    except (CourseError, ImportError) as error:  # a report on a machine without torch is worth the most
        expected = f"No forecast: {error}"
    return ["", *about, anonymous(expected), *([] if gpu else preflight.describe_compared(study))]


def as_data(machine: Machine | None = None, *, study: Study | None = None, gpu: str | None = None) -> dict[str, Any]:
    """The same findings for a script: keys ``scene``, ``machine`` and ``checks``; with a study, ``forecast`` too."""
    from course_lib.experiments import forecast as preflight

    machine = machine or hardware.inspect()
    expected = {"forecast": preflight.as_data(preflight.forecast(study, gpu=gpu))} if study else {}
    return expected | {"scene": asdict(scene(machine)), "machine": asdict(machine),
            "checks": [asdict(check) for check in hardware.checks(machine)]}


def anonymous(text: str, *, home: str | None = None, user: str | None = None) -> str:
    """``text`` with ~ for the home folder, and <user> for the user's name wherever it is a part of a path.

    >>> anonymous("/home/ada/build and /mnt/ada/models", home="/home/ada", user="ada")
    '~/build and /mnt/<user>/models'
    """
    home = str(Path.home()) if home is None else home
    if len(home) > 1:  # a home of "/" would match every path
        text = re.sub(rf"{re.escape(home)}(?![\w.-])", "~", text)
    name = _user() if user is None else user
    return re.sub(rf"(?<=[/\\]){re.escape(name)}(?=[/\\\s,;:)\]]|$)", "<user>", text) if name else text


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container may give its user no name
        return ""


def _preset(machine: Machine, environ: Mapping[str, str]) -> str:
    quick = ", quick settings" if environ.get("COURSE_QUICK") not in (None, "", "0") else ""
    if chosen := environ.get("COURSE_PRESET"):
        return f"{anonymous(chosen)} (from COURSE_PRESET{quick})"
    default, gpu = ("smollm2-1.7b", "with") if machine.gpu else ("pocket", "without")
    return f"{default} (the default {gpu} a GPU{quick})"


def _hub(environ: Mapping[str, str]) -> Path:
    """Where huggingface_hub keeps models, by its own rules."""
    home = environ.get("HF_HOME") or Path(environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(os.path.expanduser(environ.get("HF_HUB_CACHE") or Path(home) / "hub"))


def _state(path: Path) -> str:
    """Whether a folder is there, and the free space of its disk; a full walk would take too long on a shared drive."""
    there = next((folder for folder in (path, *path.parents) if folder.is_dir()), None)
    if there is None:
        return "no such disk"
    free = f"{shutil.disk_usage(there).free / GIB:.1f} GiB free"
    return free if there == path else f"not there yet, {free}"
