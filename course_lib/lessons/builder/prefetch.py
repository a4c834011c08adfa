"""Everything that a room of learners needs, in one folder: ``course prefetch DIR``, for poor networks and none.

The folder holds EntityQuestions, the notebooks, and what is asked for: wheels of every package in ``requirements.lock``
and of the course itself, and models from the Hugging Face Hub in the Hub's own cache layout, as plain files that also
live on a USB stick. ``README.txt`` has the commands for the room. One environment variable makes the course read from
the folder: ``COURSE_HOME`` (:func:`.installation.use_classroom`).

Each part may be stopped and run again: what is there and whole is not fetched a second time.
"""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from course_lib import __version__
from course_lib.data import entityquestions
from course_lib.files import CourseError, read_json, repository, sha256, write_bytes, write_json, write_text
from course_lib.installation import CLASSROOM, HUB, pip, suits, version
from course_lib.limits import absolute
from course_lib.models.hub import cached, fetch
from course_lib.models.presets import PRESETS, hub_id

__all__ = ["PARTS", "copy_notebooks", "fetch_model", "fetch_wheels", "prefetch", "readme"]

WHEELS = "wheels"
# Where a clone keeps the notebooks, and where they go.
PARTS = {"notebooks": "notebooks", "instructor": "build/instructor"}
OURS = {"entityquestions", HUB, WHEELS, *PARTS, CLASSROOM, "README.txt"}


def prefetch(folder: str | Path, *, models: Sequence[str] = (), wheels: bool = False,
             echo: Callable[[str], None] = print) -> Path:
    """Fill ``folder`` for a room without a network; returns its README.txt.

    Args:
        folder: made if it is not there; a second call fetches only what is missing.
        models: presets or Hub ids whose weights are wanted; the size of each is said before it is fetched.
        wheels: also fetch the packages, for this version of Python on this kind of machine. Needs a clone.

    Raises:
        CourseError: no network, no room on the disk, no such model; what has come is kept.
    """
    folder, root = absolute(folder, "the folder"), repository(Path.cwd()) or repository(Path(__file__).parent)
    note = folder / CLASSROOM
    strange = [path.name for path in folder.glob("*") if path.name not in OURS] if folder.is_dir() else []
    if strange and not note.is_file():
        raise CourseError(f"{folder}: already holds {strange[0]}; give a new or an empty folder")
    made = read_json(note) if note.is_file() else {}
    write_json(note, made | {"version": __version__})
    echo(f"Facts: {entityquestions.store(folder)} files of EntityQuestions, each with the right sum.")
    echo(f"Notebooks: {copy_notebooks(root, folder)}.")
    if wheels:
        write_json(note, read_json(note) | {"lock": fetch_wheels(root, folder, done=made.get("lock"), echo=echo),
                                            "python": _python(), "machine": _machine()})
    for name in models:
        fetch_model(name, folder, echo=echo)
    return write_text(folder / "README.txt", readme(folder))


def copy_notebooks(root: Path | None, folder: Path) -> str:
    """Copy the learner's and the instructor's notebooks of a clone; returns in words what was copied."""
    counts = {}
    for part, place in PARTS.items():
        found = sorted((root / place).glob("*.ipynb")) if root else []
        for path in found:
            write_bytes(folder / part / path.name, path.read_bytes())
        counts[part] = len(found)
    missing = "" if counts["instructor"] else "; `course build --instructor` in a clone makes the instructor's"
    return f"{counts['notebooks']} for learners, {counts['instructor']} for instructors{missing}"


def fetch_wheels(root: Path | None, folder: Path, *, done: str | None, echo: Callable[[str], None]) -> str:
    """Wheels of ``requirements.lock`` and of the course; returns the lock's SHA-256. ``done``: that of the last time.

    pip's own settings hold: an extra index for CPU builds of torch saves gigabytes where no machine has a GPU.

    Raises:
        CourseError: there is no clone, or pip failed.
    """
    if root is None or not (root / "requirements.lock").is_file():
        raise CourseError("--wheels needs requirements.lock; run the command in a clone of the repository")
    lock, shelf = root / "requirements.lock", folder / WHEELS
    if sha256(lock) != done:
        echo(f"Wheels: fetching the packages of requirements.lock for Python {_python()} on {_machine()}.")
        _pip("download", "--only-binary", ":all:", "-r", str(lock), "-d", str(shelf), folder=shelf)
    with tempfile.TemporaryDirectory() as source:
        _copy_source(root, Path(source))
        # this Python's own setuptools, if it understands our pyproject.toml
        isolated = ["--no-build-isolation"] if suits(version("setuptools"), ">=77.0.3") else []
        _pip("wheel", "-q", "--no-deps", *isolated, "-w", str(shelf), source, folder=shelf)
    echo(f"Wheels: {len(list(shelf.glob('*.whl')))} packages.")
    return sha256(lock)


def _copy_source(root: Path, target: Path) -> None:
    """Copy what the wheel is made of; built in the clone itself, setuptools would leave folders in its ``build``."""
    shutil.copytree(root / "course_lib", target / "course_lib", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(root / name, target / name)


def _pip(*words: str, folder: Path) -> None:
    error = pip(*words)
    if "No space left on device" in error:
        raise CourseError(f"{folder}: the disk is full; free some space and run the same command again")
    if error:
        raise CourseError(f"pip {words[0]} stopped ({error}); see that this machine is online and run the same command "
                          f"again, what is fetched is kept")


def fetch_model(name: str, folder: Path, *, echo: Callable[[str], None]) -> Path:
    """The files of a preset's model, or of a Hub id, in the Hub's cache layout below ``folder``.

    Raises:
        CourseError: no such model, its terms are not accepted, no room for it, or no network.
    """
    model = hub_id(name)
    if model is None:
        what = "comes with the package" if name in PRESETS else "a folder"
        raise CourseError(f"{name}: {what}; name a preset ({', '.join(PRESETS)}) or a Hub id (owner/name)")
    # The Hub's library reads both when it is first imported. use_classroom() may have set the first one for an older
    # copy of this very folder; a USB stick keeps plain files, but no links.
    os.environ.pop("HF_HUB_OFFLINE", None)
    os.environ["HF_HUB_DISABLE_SYMLINKS"] = "1"
    if found := cached(model, cache=folder / HUB):
        echo(f"Model {model.repo}: there already.")
        return found.folder
    return fetch(model, cache=folder / HUB, echo=echo).folder


def readme(folder: Path) -> str:
    """The text for the room: what the folder holds, and the commands to start with."""
    made = read_json(folder / CLASSROOM)
    shelf = sorted((folder / WHEELS).glob("*.whl"))
    models = sorted(path.name.removeprefix("models--").replace("--", "/") for path in (folder / HUB).glob("models--*"))
    count = {part: len(list((folder / part).glob("*.ipynb"))) for part in PARTS}
    packages = (f"{len(shelf)} packages for Python {made.get('python')} on {made.get('machine')}" if shelf else
                "none; install the course on each machine while there is a network")
    install = [f"python{made.get('python')} -m venv ~/known-unknowns",
               '~/known-unknowns/bin/pip install --no-index --find-links wheels "known-unknowns[lab]"'] if shelf else []
    start = ["cp -r notebooks ~/my-notebooks",
             f'COURSE_HOME="$PWD" {"~/known-unknowns/bin/" if shelf else ""}course lab ~/my-notebooks']
    return "\n".join([
        f"Known Unknowns {made.get('version')}, for a room without a network", "",
        "facts      EntityQuestions, 72 files, checked against their published sums",
        f"notebooks  {count['notebooks']} for learners, {count['instructor']} for instructors",
        f"wheels     {packages}",
        f"models     {', '.join(models) or 'none but the pocket model, which is in the package'}", "",
        "On each machine, in this folder:", "", *(f"    {line}" for line in [*install, *start]), "",
        "COURSE_HOME is the one variable that the course needs: it then reads facts and models from here and asks no",
        "network. `course doctor`, with the same variable, says what each machine can do."]) + "\n"


def _python() -> str:
    return ".".join(platform.python_version_tuple()[:2])


def _machine() -> str:
    return f"{platform.system()} {platform.machine()}"
