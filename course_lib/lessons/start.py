"""The first cell of every notebook, and what it does on a machine that is lent for an hour.

On Google Colab and on Kaggle (a *host*: a machine with hundreds of packages that one must not disturb) the course is
not there yet. :data:`CELL` fetches the package without its dependencies; :func:`ready` then compares what the notebooks
need with what the host has, and installs only what is missing or too old. pip gets every other installed package as a
constraint: it may pick an older bitsandbytes that suits the host's torch, but never another torch.

What to do is decided by :func:`plan`, which changes nothing. Outside of a host only projector mode has an effect.
"""

from __future__ import annotations

import importlib
import os
import platform
import sys
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from course_lib import __version__
from course_lib.files import CourseError
from course_lib.installation import BUILDER, TORCHAO, host_name, installed, pip, ranges, suits, version
from course_lib.lessons import projector
from course_lib.text import short

__all__ = ["CELL", "KEEP", "REPOSITORY", "TAG", "Plan", "SetUpError", "badge", "constraints", "plan", "ready"]

# Set both at publication: the set-up cell fetches the package from this tag, the badge opens the notebook of this tag.
REPOSITORY = "https://github.com/known-unknowns/known-unknowns"
TAG = f"v{__version__}"
PACKAGE = f"{REPOSITORY}/archive/refs/tags/{TAG}.zip"

CELL = f"""\
# Set-up: on Colab or Kaggle it installs what is missing, once; elsewhere it changes nothing.
import os, subprocess, sys
COURSE = "{PACKAGE}"
try:
    from course_lib.lessons import start
except ModuleNotFoundError:
    if "google.colab" not in sys.modules and "KAGGLE_KERNEL_RUN_TYPE" not in os.environ:
        sys.exit(f"course_lib is missing: use `make lab` in the course's folder, or run `pip install {{COURSE}}`")
    if subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", COURSE]).returncode:
        sys.exit("pip could not fetch the course: allow this notebook the internet, then run this cell again.")
    from course_lib.lessons import start
start.ready()
"""

# A host's page talks to these versions of Jupyter, and all its other packages are compiled against torch and numpy.
KEEP = frozenset({"ipykernel", "ipython", "ipywidgets", "jupyter", "jupyter-client", "jupyterlab", "notebook", "numpy",
                  "torch"})
SHOWN = ("torch", "transformers", "peft", "bitsandbytes")
DRIVE = Path("/content/drive")
NEWER = {"Colab": "Runtime > Change runtime type > Runtime version", "Kaggle": "Settings > Environment"}


class SetUpError(CourseError):
    """The host cannot be made ready."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The work to be done on a host: requirements for pip, packages to take away, packages that do not fit.

    ``restart``: what is replaced has been imported, so that only a new session sees the new one.
    """

    install: tuple[str, ...] = ()
    uninstall: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    restart: bool = False


def badge(name: str) -> str:
    """Markdown that opens the learner's notebook ``name`` ("05_what_does_it_know") on Colab or on Kaggle."""
    file = f"blob/{TAG}/notebooks/{name}.ipynb"
    colab = f"https://colab.research.google.com/github/{REPOSITORY.removeprefix('https://github.com/')}/{file}"
    kaggle = f"https://www.kaggle.com/kernels/welcome?src={REPOSITORY}/{file}"
    picture = "https://colab.research.google.com/assets/colab-badge.svg"
    return f"[![Open in Colab]({picture})]({colab}) or [open on Kaggle]({kaggle})"


def plan(installed: Mapping[str, str | None], required: Mapping[str, str], host: str | None, *,
         imported: Collection[str] = ()) -> Plan:
    """Decide what a host needs: nothing outside of one.

    Args:
        installed: name of a package -> its version; None or absent where it is not there.
        required: name of a package -> the versions that will do, such as ">=0.20".
        host: what :func:`.installation.host_name` says.
        imported: modules that the session has loaded by now.
    """
    if host is None:
        return Plan()
    lacking = [name for name in required if name not in BUILDER and not suits(installed.get(name), required[name])]
    refused = tuple(f"{name} {installed.get(name) or 'missing'} (needed: {required[name]})" for name in lacking
                    if name in KEEP)
    if refused:
        return Plan(refused=refused)
    old = installed.get("torchao")
    uninstall = ("torchao",) if old and not suits(old, TORCHAO) else ()
    replaced = [name for name in lacking if installed.get(name)] + [*uninstall]
    return Plan(install=tuple(f"{name}{required[name]}" for name in lacking), uninstall=uninstall,
                restart=any(name.replace("-", "_") in imported for name in replaced))


def constraints(installed: Mapping[str, str | None], todo: Plan) -> list[str]:
    """Lines for pip: every installed package stays at its version, except those that the plan replaces."""
    from packaging.requirements import Requirement

    replaced = {Requirement(line).name for line in todo.install} | set(todo.uninstall)
    return [f"{name}=={version}" for name, version in sorted(installed.items()) if version and name not in replaced]


def ready(*, drive: bool | str | None = None) -> None:
    """Make a host ready for the notebooks, and say its versions in one line; a second call finds nothing to do.

    Args:
        drive: on Colab, keep labels and runs in this folder of your Google Drive ("known-unknowns" for True), so that
            they outlive the session. Google asks for your consent. The environment variable COURSE_DRIVE does the same.

    Raises:
        SetUpError: pip failed, the host's torch or numpy is too old, Drive was not connected, or the session has to be
            restarted once.
    """
    if projector.is_on():
        projector.enlarge_figures()
    host = host_name()
    if host is None:
        return
    folder = drive if drive is not None else os.environ.get("COURSE_DRIVE")
    if folder not in (None, False, "", "0") and host == "Colab":
        _mount("known-unknowns" if folder in (True, "1") else _below(str(folder)))
    _carry_out(host)
    versions = ", ".join(f"{name} {version(name)}" for name in SHOWN)
    print(f"Ready on {host}: known-unknowns {__version__}, Python {platform.python_version()}, {versions}.")


def _carry_out(host: str) -> None:
    required = ranges()
    if not required:
        raise SetUpError(f"course_lib is here, but pip does not know it; run `pip install --no-deps {PACKAGE}`")
    found = installed()
    todo = plan(found, required, host, imported={name.partition(".")[0] for name in sys.modules})
    if todo.refused:
        raise SetUpError(f"This {host} machine has {', '.join(todo.refused)}, which the course does not change; take "
                         f"another one ({NEWER[host]}) and run this cell again.")
    if todo.uninstall:
        _pip(host, "uninstall", "-y", "-q", *todo.uninstall)
    if todo.install:
        with tempfile.TemporaryDirectory() as folder:
            kept = Path(folder, "constraints.txt")
            kept.write_text("\n".join(constraints(found, todo)) + "\n", encoding="utf-8")
            _pip(host, "install", "-q", "-c", str(kept), *todo.install)
        importlib.invalidate_caches()
    if todo.restart:
        raise SetUpError("Restart the session once (in the menu: Restart session) and run on from this cell: a package "
                         "was replaced, and this session still has the old one in memory.")


def _pip(host: str, *words: str) -> None:
    if error := pip(*words):
        cure = "switch Internet on in the settings of this notebook" if host == "Kaggle" else "see that it is online"
        raise SetUpError(f"pip {words[0]} failed on {host}: {error}; {cure}, then run this cell again.")


def _below(folder: str) -> str:
    """A folder of the drive: anything else would be lost with the machine."""
    if not folder.strip() or Path(folder).is_absolute() or {"..", "~"} & set(Path(folder).parts) or "\0" in folder:
        raise SetUpError(f"COURSE_DRIVE or drive = {short(folder)} is no folder of your Drive; give a name such as "
                         f"known-unknowns, or 1.")
    return folder


def _mount(folder: str) -> None:
    from google.colab import drive

    try:
        drive.mount(str(DRIVE))
    except Exception as error:  # a refused consent and a lost connection come as several private classes
        raise SetUpError(f"Google Drive was not connected ({error}); run this cell again and agree, or take drive=True "
                         f"out: results are then lost with this machine.") from None
    build = DRIVE / "MyDrive" / folder
    os.environ["COURSE_BUILD"] = str(build)
    print(f"Labels and runs are kept in {build}.")
