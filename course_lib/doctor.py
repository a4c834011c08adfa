"""The report of ``course doctor``: where the course runs, whether this machine will do, and what a study will cost.

A stranger who reads it must be able to reproduce the situation: version and commit, host, preset, notebook server, the
environment variables that change what the course does, its folders, then every check of the machine: each line says
``[OK]``, or ``[NO]`` and the cure. Nothing in it names you: the home folder becomes ``~``, your user name in any other
path ``<user>``. Tokens and keys are not read at all.
"""

from __future__ import annotations

import getpass
import os
import platform
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_lib import __version__, threads
from course_lib.data.entityquestions import download_folder
from course_lib.files import CourseError, repository
from course_lib.installation import BUILDER, DISTRIBUTION, TORCHAO, commit, host_name, ranges, suits, version
from course_lib.models.hardware import GIB, compute_dtype, device, installed_memory, usable_cores
from course_lib.models.presets import PRESETS, default_preset, describe

if TYPE_CHECKING:
    from course_lib.experiments.study import Study

__all__ = ["Check", "Machine", "Scene", "anonymous", "as_data", "checks", "inspect", "report", "scene",
           "tracks"]

# The pocket preset fits into this with room for JupyterLab and a browser; its runs and caches need little disk.
NEEDED_RAM_BYTES = int(3.5 * GIB)
NEEDED_DISK_BYTES = 2 * GIB
# Other programs on more than this share of the cores make a run visibly slower (benchmarks/busy.py).
BUSY_SHARE = 0.25
JUPYTER = ("jupyterlab", "notebook", "ipywidgets", "ipykernel", "jupyter-server", "matplotlib-inline")
# Besides COURSE_*: what moves folders, hides a GPU or closes the network.
VARIABLES = ("CUDA_VISIBLE_DEVICES", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "OMP_NUM_THREADS", "OMP_WAIT_POLICY",
             "XDG_CACHE_HOME", "BNB_CUDA_VERSION", "PYTORCH_ALLOC_CONF", "JUPYTER_CONFIG_DIR")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Hardware and packages of this machine; sizes in bytes, ``None`` where there is no such thing.

    ``busy_cores`` are those that other programs keep computing; ``threads_spin`` says that this process's threads do.
    """

    python: str
    os: str
    cpu: str
    cores: int
    ram_bytes: int
    gpu: str | None
    capability: tuple[int, int] | None
    gpu_bytes: int | None
    free_disk_bytes: int
    omp_threads: int | None
    versions: Mapping[str, str | None]
    host: str | None = None
    busy_cores: float = 0.0
    threads_spin: bool = False


@dataclass(frozen=True, kw_only=True)
class Check:
    """One line of the report: the name of a check, whether it passed, and what was found, with the cure if not."""

    name: str
    ok: bool
    detail: str

    def __str__(self) -> str:
        return f"[{'OK' if self.ok else 'NO'}] {self.name}: {self.detail}"


@dataclass(frozen=True, kw_only=True)
class Scene:
    """The surroundings of the course; every text is free of the home folder and of the user's name."""

    course: str
    host: str
    preset: str
    jupyter: Mapping[str, str | None]
    variables: Mapping[str, str]
    folders: Mapping[str, str]


def report(machine: Machine | None = None, *, environ: Mapping[str, str] | None = None, study: Study | None = None,
           gpu: str | None = None) -> str:
    """Write the text that ``course doctor`` prints: the scene in six lines, the machine in two, and one line a check.

    With a ``study``, the forecast of what it costs here or on the ``gpu`` that is named (:mod:`.forecast`), and how
    forecasts of finished runs compare with what was measured. ``environ`` stands in for the environment variables.
    """
    machine = machine or inspect()
    around = scene(machine, environ=environ)
    jupyter = ", ".join(f"{name} {found}" for name, found in around.jupyter.items() if found) or "none installed"
    lines = [f"Course: {around.course}", f"Host: {around.host}", f"Preset: {around.preset}", f"Jupyter: {jupyter}",
             "Variables: " + (", ".join(f"{name}={value}" for name, value in around.variables.items()) or "none set"),
             "Folders: " + ", ".join(f"{name} {text}" for name, text in around.folders.items())]
    return "\n".join([*lines, anonymous(_describe(machine)), *(_forecast(study, gpu) if study else [])])


def as_data(machine: Machine | None = None, *, study: Study | None = None, gpu: str | None = None) -> dict[str, Any]:
    """The same findings for a script: keys ``scene``, ``machine`` and ``checks``; with a study, ``forecast`` too."""
    from course_lib.experiments import forecast

    machine = machine or inspect()
    expected = {"forecast": forecast.as_data(forecast.forecast_study(study, gpu=gpu))} if study else {}
    return expected | {"scene": asdict(scene(machine)), "machine": asdict(machine),
                       "checks": [asdict(check) for check in checks(machine)]}


def inspect(path: str | Path = ".") -> Machine:
    """Look at this machine; ``path`` lies on the disk whose free space counts."""
    busy = threads.busy_cores()
    gpu, capability, gpu_bytes = _gpu()
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return Machine(
        python=platform.python_version(), os=platform.platform(), cpu=_cpu_model(), cores=usable_cores(),
        ram_bytes=installed_memory(), gpu=gpu, capability=capability, gpu_bytes=gpu_bytes,
        free_disk_bytes=shutil.disk_usage(path).free, omp_threads=int(wanted) if wanted.isdigit() else None,
        versions={name: version(name) for name in [DISTRIBUTION, *ranges(), "torchao"]},
        host=host_name(), busy_cores=busy, threads_spin=threads.spin())


def tracks(chosen: str) -> list[str]:
    """A line for each preset: its name, where its weights come from, and an arrow before the chosen one."""
    return [f"{'->' if name == chosen else '  '} {name:14} "
            f"{'shipped with the course' if preset.facts == 'pocket' else preset.source}"
            for name, preset in PRESETS.items()]


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
        folders={name: f"{anonymous(str(path))} ({_state(path)})" for name, path in folders.items()})


def checks(machine: Machine) -> tuple[Check, ...]:
    """Compare everything that the course needs with what ``machine`` has."""
    return (
        _check("Python", tuple(map(int, machine.python.split(".")[:2])) >= (3, 11), machine.python,
               "install Python 3.11 or newer"),
        _check_cores(machine),
        _check("other programs", machine.busy_cores <= BUSY_SHARE * machine.cores,
               f"{machine.busy_cores:.1f} of {machine.cores} cores busy just now",
               "close what computes (or wait for it), or everything here takes longer"),
        _check_size("memory", machine.ram_bytes, NEEDED_RAM_BYTES, "close other programs or take a larger machine"),
        _check_size("free disk", machine.free_disk_bytes, NEEDED_DISK_BYTES, "make room, or work on another disk"),
        _check_gpu(machine), *_check_packages(machine), _check_torchao(machine))


def _check(name: str, ok: bool, found: str, cure: str = "") -> Check:
    return Check(name=name, ok=ok, detail=found if ok else f"{found}; {cure}")


def _check_cores(machine: Machine) -> Check:
    """More threads than cores make each wait for the others, which can cost a factor of ten."""
    cores, asked = machine.cores, machine.omp_threads
    chosen = "OMP_NUM_THREADS not set" if asked is None else f"OMP_NUM_THREADS={asked}"
    cure = threads.SPINNING if machine.threads_spin else f"set OMP_NUM_THREADS={cores} before you start"
    return _check("cores", not machine.threads_spin and (asked or 0) <= cores, f"{cores} usable, {chosen}", cure)


def _check_size(name: str, found: int, needed: int, cure: str) -> Check:
    return _check(name, found >= needed, f"{found / GIB:.1f} GiB", f"{needed / GIB:g} GiB needed, {cure}")


def _check_gpu(machine: Machine) -> Check:
    dtype = compute_dtype(machine.capability)
    if machine.capability is None:
        return _check("GPU", True, f"none that torch can use; the pocket preset needs none (computes in {dtype})")
    capability, size = ".".join(map(str, machine.capability)), (machine.gpu_bytes or 0) / GIB
    return _check("GPU", True, f"{machine.gpu}, {size:.1f} GiB, compute capability {capability}, computes in {dtype}")


def _check_packages(machine: Machine) -> list[Check]:
    if not (needed := ranges()):
        return [_check(DISTRIBUTION, False, "not installed", "run make test, or pip install -e . in the repository")]
    found = {name: machine.versions.get(name) for name in needed
             if not (machine.host and name in BUILDER)}  # there is no `course build` on Colab and Kaggle
    return [_check(name, suits(there, needed[name]), f"{there or 'missing'} ({needed[name]})",
                   f"run pip install '{name}{needed[name]}'") for name, there in found.items()]


def _check_torchao(machine: Machine) -> Check:
    found = machine.versions.get("torchao")
    return _check("torchao", found is None or suits(found, TORCHAO), found or "absent, which is fine",
                  "PEFT then adds no LoRA layer; run pip uninstall torchao")


def _gpu() -> tuple[str | None, tuple[int, int] | None, int | None]:
    """Name, compute capability and memory of the first CUDA GPU. Imports torch, which takes a second or two."""
    if util.find_spec("torch") is None or device() == "cpu":
        return None, None, None
    import torch

    properties = torch.cuda.get_device_properties(0)
    return properties.name, (properties.major, properties.minor), properties.total_memory


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _describe(machine: Machine) -> str:
    """The machine in two lines, one line for each check, and a verdict."""
    found = checks(machine)
    bad = sum(not check.ok for check in found)
    verdict = f"{bad} of {len(found)} checks failed; each line marked [NO] says what to do." if bad else "All is well."
    head = [f"{DISTRIBUTION} {machine.versions.get(DISTRIBUTION) or '(not installed)'} on {machine.os}", machine.cpu]
    return "\n".join([*head, *map(str, found), verdict])


def _forecast(study: Study, gpu: str | None) -> list[str]:
    from course_lib.experiments import forecast

    about = [describe(study.preset)] if study.preset in PRESETS else []
    try:
        expected = str(forecast.forecast_study(study, gpu=gpu))
    except (CourseError, ImportError) as error:  # a report on a machine without torch is worth the most
        expected = f"No forecast: {error}"
    return ["", *about, anonymous(expected), *([] if gpu else forecast.describe_compared(study))]


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
    gpu = machine.gpu is not None
    return f"{default_preset(gpu=gpu)} (the default {'with' if gpu else 'without'} a GPU{quick})"


def _hub(environ: Mapping[str, str]) -> Path:
    """The folder of huggingface_hub's models, by its own rules."""
    home = environ.get("HF_HOME") or Path(environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(os.path.expanduser(environ.get("HF_HUB_CACHE") or Path(home) / "hub"))


def _state(path: Path) -> str:
    """The free space of a folder's disk, and whether it is there; a full walk would take too long on a shared drive."""
    there = next((folder for folder in (path, *path.parents) if folder.is_dir()), None)
    if there is None:
        return "no such disk"
    free = f"{shutil.disk_usage(there).free / GIB:.1f} GiB free"
    return free if there == path else f"not there yet, {free}"
