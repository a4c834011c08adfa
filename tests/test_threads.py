"""How threads wait: set before torch starts, never over a choice of the user's."""

import os
import subprocess
import sys

import pytest

from course_lib import threads

SHOW = "import os, course_lib; print(os.environ.get('OMP_WAIT_POLICY'), os.environ.get('OMP_NUM_THREADS'))"


def shown(code=SHOW, **environment):
    """What a fresh Python prints, with these variables and none of OpenMP's others."""
    kept = {name: value for name, value in os.environ.items() if name not in threads.SETTINGS}
    return subprocess.run([sys.executable, "-c", code], env=kept | environment, capture_output=True, text=True,
                          check=True).stdout.strip()


@pytest.mark.parametrize(("environment", "expected"), [
    ({}, "PASSIVE None"),
    ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE None"),
    ({"GOMP_SPINCOUNT": "1000"}, "None None"),
    ({"KMP_BLOCKTIME": "50"}, "None None"),
    ({"OMP_NUM_THREADS": "1"}, "PASSIVE 1"),
])
def test_threads_sleep_while_they_wait_unless_the_user_chose(environment, expected):
    assert shown(**environment) == expected


def test_the_setting_comes_before_torch_and_reaches_child_processes():
    code = ("import sys, course_lib; print('torch' in sys.modules); import subprocess\n"
            "print(subprocess.run([sys.executable, '-c', 'import os; print(os.environ[\"OMP_WAIT_POLICY\"])'], "
            "capture_output=True, text=True).stdout.strip())")
    assert shown(code).split() == ["False", "PASSIVE"]


def test_torch_imported_first_is_noticed():
    assert shown("import sys, types; sys.modules['torch'] = types.ModuleType('torch')\n"
                 "from course_lib import threads; print(threads.spin())") == "True"
    assert shown("from course_lib import threads; print(threads.spin())") == "False"


def test_a_container_gets_no_more_threads_than_its_quota(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    monkeypatch.setattr(threads, "_cpu_quota", lambda: 2.0)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    threads.wait_passively()
    assert os.environ.pop("OMP_NUM_THREADS") == "2"
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    threads.wait_passively()
    assert os.environ["OMP_NUM_THREADS"] == "5"


def test_other_processes_are_counted_and_this_one_is_not(monkeypatch):
    import psutil

    monkeypatch.setattr(psutil, "cpu_count", lambda: 4)
    monkeypatch.setattr(psutil, "cpu_percent", lambda interval=None: 75.0 if interval else 0.0)
    clock = iter([(1.0, 1.0), (1.0 + threads.LOOK, 1.0)])  # this process computed on one core all the while
    monkeypatch.setattr(threads.os, "times", lambda: next(clock))
    assert threads.busy_cores() == pytest.approx(2.0)  # 75 % of 4 cores, less its own


def test_a_model_on_a_cpu_warns_of_threads_that_spin(monkeypatch):
    from course_lib.models.loading import load

    monkeypatch.setattr(threads, "_late", True)
    with pytest.warns(UserWarning, match="OMP_WAIT_POLICY"):
        load("pocket", device="cpu")


def test_usable_cores_are_those_of_the_affinity_mask(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 3, 5}, raising=False)
    monkeypatch.setattr(threads, "_cpu_quota", lambda: None)
    assert threads.usable_cores() == 3


def test_usable_cores_are_capped_by_the_containers_quota(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(threads, "_cpu_quota", lambda: 1.5)
    assert threads.usable_cores() == 2


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
