"""The machine report: number formats by capability, honest core counts, and a cure on every failed line."""

import os
import re
from dataclasses import replace

import pytest

from course_lib import threads
from course_lib.models import hardware
from course_lib.models.hardware import GIB, Machine, checks, compute_dtype, doctor, usable_cores

GOOD = Machine(
    python="3.11.7",
    os="Linux",
    cpu="A CPU",
    cores=2,
    ram_bytes=16 * GIB,
    gpu=None,
    capability=None,
    gpu_bytes=None,
    free_disk_bytes=50 * GIB,
    omp_threads=None,
    versions={"known-unknowns": "0.1.0", "torch": "2.13.0"},
)


@pytest.fixture(autouse=True)
def two_ranges(monkeypatch):
    monkeypatch.setattr(hardware, "ranges", lambda: {"torch": ">=2.10"})


def failed(machine):
    return {check.name: check.detail for check in checks(machine) if not check.ok}


@pytest.mark.parametrize(
    ("capability", "dtype"),
    [(None, "float32"), ((7, 0), "float16"), ((7, 5), "float16"), ((8, 0), "bfloat16"), ((10, 0), "bfloat16")],
)
def test_compute_dtype_follows_the_compute_capability(capability, dtype):
    assert compute_dtype(capability) == dtype


def test_usable_cores_are_those_of_the_affinity_mask(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 3, 5}, raising=False)
    monkeypatch.setattr(threads, "_cpu_quota", lambda: None)
    assert usable_cores() == 3


def test_usable_cores_are_capped_by_the_containers_quota(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(threads, "_cpu_quota", lambda: 1.5)
    assert usable_cores() == 2


@pytest.mark.parametrize(("text", "cores"), [("150000 100000", 1.5), ("max 100000", None)])
def test_quota_is_read_from_control_group_version_2(tmp_path, text, cores):
    (tmp_path / "cpu.max").write_text(text)
    assert threads._cpu_quota(tmp_path) == cores


@pytest.mark.parametrize(("quota", "cores"), [("400000", 4.0), ("-1", None)])
def test_quota_is_read_from_control_group_version_1(tmp_path, quota, cores):
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(quota)
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000")
    assert threads._cpu_quota(tmp_path) == cores


def test_a_good_machine_passes_every_check():
    assert failed(GOOD) == {}


def test_too_many_threads_are_told_the_number_to_set():
    assert "OMP_NUM_THREADS=2" in failed(replace(GOOD, omp_threads=8))["cores"]


def test_an_old_torchao_is_told_to_go():
    machine = replace(GOOD, versions={**GOOD.versions, "torchao": "0.15.0"})
    assert "pip uninstall torchao" in failed(machine)["torchao"]


def test_a_package_outside_its_range_is_told_the_range():
    machine = replace(GOOD, versions={"torch": "2.9.1"})
    assert "pip install 'torch>=2.10'" in failed(machine)["torch"]


def test_a_local_build_of_a_package_counts_as_its_version():
    assert failed(replace(GOOD, versions={"torch": "2.10.0+cpu"})) == {}


def test_little_memory_is_told_how_much_is_needed():
    assert "3.5 GiB" in failed(replace(GOOD, ram_bytes=2 * GIB))["memory"]


def test_an_old_python_fails():
    assert "3.11" in failed(replace(GOOD, python="3.10.2"))["Python"]


def test_a_t4_computes_in_float16():
    report = doctor(replace(GOOD, gpu="Tesla T4", capability=(7, 5), gpu_bytes=15 * GIB))
    assert re.search(r"\[OK\] GPU: Tesla T4, 15\.0 GiB, .*\b7\.5, .*float16", report)


def test_the_report_counts_what_failed():
    assert "1 of" in doctor(replace(GOOD, omp_threads=8)).splitlines()[-1]


def test_inspect_describes_this_machine():
    machine = hardware.inspect()
    assert machine.cores >= 1 and machine.ram_bytes > 0 and machine.free_disk_bytes > 0 and machine.cpu


def test_the_package_that_is_not_installed_is_told_how(monkeypatch):
    monkeypatch.setattr(hardware, "ranges", dict)
    assert "pip install -e ." in failed(GOOD)["known-unknowns"]


def test_a_busy_machine_is_said():
    assert "1.2 of 2 cores" in failed(replace(GOOD, busy_cores=1.2))["other programs"]
    assert failed(replace(GOOD, busy_cores=0.4)) == {}


def test_threads_that_spin_are_told_the_order_of_imports():
    assert "import course_lib" in failed(replace(GOOD, threads_spin=True))["cores"]
