"""What this machine can do, and what to change when it cannot.

One question decides most others: in which number format may a quantised model compute? By the GPU's *compute
capability*, not by asking torch whether bfloat16 is supported: a T4 (7.5) answers yes, emulates it, and is slow.

* capability >= 8.0 (Ampere and newer): bfloat16;
* older CUDA GPUs: float16, with the adapter's weights in float32;
* no CUDA GPU: float32.

:func:`doctor` writes a report that can be pasted into a bug form. Each line says ``[OK]``, or ``[NO]`` and the cure.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import util
from pathlib import Path

from course_lib import threads
from course_lib.installation import BUILDER, DISTRIBUTION, host_name, ranges, version
from course_lib.threads import CONTROL_GROUP, read_limit, usable_cores

__all__ = ["Check", "Machine", "checks", "compute_dtype", "device_name", "doctor", "free_memory", "inspect",
           "out_of_memory", "usable_cores"]

GIB = 2**30
# The pocket preset fits into this with room for JupyterLab and a browser; its runs and caches need little disk.
NEEDED_RAM_BYTES = int(3.5 * GIB)
NEEDED_DISK_BYTES = 2 * GIB
# Below this version PEFT refuses to add even a plain LoRA layer, although nothing here uses torchao.
FIRST_GOOD_TORCHAO = "0.16"
# Other programs on more than this share of the cores make a run visibly slower (benchmarks/busy.py).
BUSY_SHARE = 0.25


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A snapshot of hardware and packages; sizes in bytes, ``None`` where there is no such thing.

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
    """One line of the report: what was looked at, whether it will do, and what was found or has to be done."""

    name: str
    ok: bool
    detail: str

    def __str__(self) -> str:
        return f"[{'OK' if self.ok else 'NO'}] {self.name}: {self.detail}"


def compute_dtype(capability: tuple[int, int] | None) -> str:
    """The torch dtype, by name, in which a quantised model computes on a GPU of this compute capability.

    >>> compute_dtype((7, 5)), compute_dtype((8, 0)), compute_dtype(None)
    ('float16', 'bfloat16', 'float32')
    """
    if capability is None:
        return "float32"
    return "bfloat16" if tuple(capability) >= (8, 0) else "float16"


def device_name() -> str:
    """What computes here: the first GPU by name, or the kind of processor."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()


def free_memory(device: str = "cpu") -> int:
    """Bytes that a new allocation may take now: of the first CUDA GPU, or of this machine's (container's) memory."""
    import psutil

    if device == "cuda":
        import torch

        free, total = torch.cuda.mem_get_info()
        share = torch.cuda.get_per_process_memory_fraction() * total  # 1 unless this process has capped itself
        return max(0, min(free, int(share) - torch.cuda.memory_reserved()))
    available, total = psutil.virtual_memory().available, _ram_bytes()
    return max(0, min(available, total - psutil.Process().memory_info().rss))


def inspect(path: str | Path = ".") -> Machine:
    """Look at this machine; ``path`` lies on the disk whose free space counts."""
    busy = threads.busy_cores()
    gpu, capability, gpu_bytes = _gpu()
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return Machine(
        python=platform.python_version(),
        os=platform.platform(),
        cpu=_cpu_model(),
        cores=usable_cores(),
        ram_bytes=_ram_bytes(),
        gpu=gpu,
        capability=capability,
        gpu_bytes=gpu_bytes,
        free_disk_bytes=shutil.disk_usage(path).free,
        omp_threads=int(wanted) if wanted.isdigit() else None,
        versions={name: version(name) for name in [DISTRIBUTION, *ranges(), "torchao"]},
        host=host_name(),
        busy_cores=busy,
        threads_spin=threads.spin(),
    )


def checks(machine: Machine) -> tuple[Check, ...]:
    """Everything that the course needs, compared with what ``machine`` has."""
    return (
        _check_python(machine),
        _check_cores(machine),
        _check_other_programs(machine),
        _check_size("memory", machine.ram_bytes, NEEDED_RAM_BYTES, "close other programs or take a larger machine"),
        _check_size("free disk", machine.free_disk_bytes, NEEDED_DISK_BYTES, "make room, or work on another disk"),
        _check_gpu(machine),
        *_check_packages(machine),
        _check_torchao(machine),
    )


def doctor(machine: Machine | None = None) -> str:
    """The report that ``course doctor`` prints: the machine in two lines, then one line for each check."""
    machine = machine or inspect()
    found = checks(machine)
    bad = sum(not check.ok for check in found)
    verdict = f"{bad} of {len(found)} checks failed; each line marked [NO] says what to do." if bad else "All is well."
    head = [f"{DISTRIBUTION} {machine.versions.get(DISTRIBUTION) or '(not installed)'} on {machine.os}", machine.cpu]
    return "\n".join([*head, *map(str, found), verdict])


def _check_python(machine: Machine) -> Check:
    ok = tuple(map(int, machine.python.split(".")[:2])) >= (3, 11)
    return Check(name="Python", ok=ok, detail=machine.python + ("" if ok else "; install Python 3.11 or newer"))


def _check_cores(machine: Machine) -> Check:
    """More threads than cores make each wait for the others, which can cost a factor of ten."""
    cores, asked = machine.cores, machine.omp_threads
    if machine.threads_spin:
        detail = f"{cores} usable, but {threads.SPINNING}"
        return Check(name="cores", ok=False, detail=detail)
    if asked is None:
        return Check(name="cores", ok=True, detail=f"{cores} usable, OMP_NUM_THREADS not set")
    if asked > cores:
        detail = f"OMP_NUM_THREADS={asked} but only {cores} usable; set OMP_NUM_THREADS={cores} before you start"
        return Check(name="cores", ok=False, detail=detail)
    return Check(name="cores", ok=True, detail=f"{cores} usable, OMP_NUM_THREADS={asked}")


def _check_other_programs(machine: Machine) -> Check:
    ok = machine.busy_cores <= BUSY_SHARE * machine.cores
    detail = f"{machine.busy_cores:.1f} of {machine.cores} cores busy just now"
    return Check(name="other programs", ok=ok, detail=detail if ok else
                 f"{detail}; close what computes (or wait for it), or everything here takes longer")


def _check_size(name: str, found: int, needed: int, cure: str) -> Check:
    ok = found >= needed
    detail = f"{found / GIB:.1f} GiB"
    return Check(name=name, ok=ok, detail=detail if ok else f"{detail}, {needed / GIB:g} GiB needed; {cure}")


def _check_gpu(machine: Machine) -> Check:
    dtype = compute_dtype(machine.capability)
    if machine.capability is None:
        detail = f"none that torch can use; the pocket preset needs none (computes in {dtype})"
        return Check(name="GPU", ok=True, detail=detail)
    major, minor = machine.capability
    size = f"{(machine.gpu_bytes or 0) / GIB:.1f} GiB"
    detail = f"{machine.gpu}, {size}, compute capability {major}.{minor}, computes in {dtype}"
    return Check(name="GPU", ok=True, detail=detail)


def _check_packages(machine: Machine) -> tuple[Check, ...]:
    needed = ranges()
    if not needed:
        detail = "not installed; run make test, or pip install -e . in the repository"
        return (Check(name=DISTRIBUTION, ok=False, detail=detail),)
    if machine.host:  # there is no `course build` on Colab and Kaggle
        needed = {name: wanted for name, wanted in needed.items() if name not in BUILDER}
    return tuple(_check_package(name, machine.versions.get(name), wanted) for name, wanted in needed.items())


def _check_package(name: str, found: str | None, wanted: str) -> Check:
    from packaging.specifiers import SpecifierSet

    if found is None:
        return Check(name=name, ok=False, detail=f"missing; run pip install '{name}{wanted}'")
    # A development or pre-release build counts: Colab and vendors ship them.
    if SpecifierSet(wanted).contains(found, prereleases=True):
        return Check(name=name, ok=True, detail=f"{found} ({wanted})")
    return Check(name=name, ok=False, detail=f"{found} is outside {wanted}; run pip install '{name}{wanted}'")


def _check_torchao(machine: Machine) -> Check:
    from packaging.version import Version

    found = machine.versions.get("torchao")
    ok = found is None or Version(found) >= Version(FIRST_GOOD_TORCHAO)
    cure = f"{found} stops PEFT from adding any LoRA layer; run pip uninstall torchao"
    return Check(name="torchao", ok=ok, detail=(found or "absent, which is fine") if ok else cure)


def _gpu() -> tuple[str | None, tuple[int, int] | None, int | None]:
    """Name, compute capability and memory of the first CUDA GPU. Imports torch, which takes a second or two."""
    if util.find_spec("torch") is None:
        return None, None, None
    import torch

    if not torch.cuda.is_available():
        return None, None, None
    properties = torch.cuda.get_device_properties(0)
    return properties.name, (properties.major, properties.minor), properties.total_memory


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _ram_bytes(root: Path = CONTROL_GROUP) -> int:
    """Installed memory, or the container's share of it when that is smaller."""
    import psutil

    limits = [read_limit(root / "memory.max"), read_limit(root / "memory" / "memory.limit_in_bytes")]
    return min([psutil.virtual_memory().total, *(int(limit) for limit in limits if limit.isdigit())])


def out_of_memory(error: BaseException) -> bool:
    """Whether torch, on a CPU or a GPU, or Python found no memory."""
    import torch

    said = str(error)
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        "memory" in said and "illegal memory access" not in said)  # that one is a broken GPU program
