"""Ray: what is refused before it starts; slow: a local cluster of two workers, one of which is killed."""

from __future__ import annotations

import builtins
import os
import signal
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pandas as pd
import psutil
import pytest

from course_lib.experiments import ray_cluster as cluster
from course_lib.experiments import sweep
from course_lib.experiments.plan import Execution
from course_lib.experiments.study import Study
from course_lib.files import CourseError
from tests.support.fake_study import DECIDING, SETTINGS, labelled_study, moved


@pytest.fixture
def small(tmp_path: Path) -> Study:
    return labelled_study(tmp_path, replace(SETTINGS, tune=replace(SETTINGS.tune, epochs=4)))


def test_without_ray_the_message_says_what_to_install(small: Study, monkeypatch) -> None:
    real = builtins.__import__

    def without_ray(name, *args, **more):
        if name == "ray":
            raise ImportError(name)
        return real(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", without_ray)
    with pytest.raises(CourseError, match=r"pip install 'known-unknowns\[cluster\]'"):
        sweep.run(small, how="ray", progress=False)


def test_a_run_larger_than_the_cluster_is_refused() -> None:
    with pytest.raises(CourseError, match=r"1 GPU, .*'local' .*0; .*\bgpus\b"):
        cluster._refuse_too_large({"CPU": 2.0}, {"CPU": 1, "GPU": 1.0}, Execution("ray"))


def workers() -> list[psutil.Process]:
    """The processes of Ray that are at work on a run."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if "ray::_task" in " ".join(process.cmdline()):
                found.append(process)
    return found


def kill_one_after_an_epoch(folder: Path, killed: list[int], over: threading.Event) -> None:
    """SIGKILL to a worker as soon as a run has a finished epoch of training."""
    while not killed and not over.is_set():
        begun = [path for path in folder.glob("runs/*/*/epochs.jsonl") if len(path.read_text().splitlines()) > 1]
        for process in workers()[:1] if begun else ():
            os.kill(process.pid, signal.SIGKILL)
            killed.append(process.pid)
        time.sleep(0.02)


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_the_runs_end_as_undisturbed(small: Study, tmp_path: Path,
                                                                         monkeypatch) -> None:
    pytest.importorskip("ray", reason="Ray is an extra: pip install 'known-unknowns[cluster]'")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # 15 otherwise: on a busy machine the test would take minutes
    killed, over = [], threading.Event()
    killer = threading.Thread(target=kill_one_after_an_epoch, args=(tmp_path, killed, over))
    killer.start()
    try:
        found = sweep.run(small, how="ray", workers=2, progress=False)
    finally:
        over.set()
        killer.join()
    assert len(killed) == 1 and workers() == []
    calm = sweep.run(moved(small, tmp_path / "calm"), workers=1, progress=False)
    pd.testing.assert_frame_equal(found[DECIDING], calm[DECIDING])
