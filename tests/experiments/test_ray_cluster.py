"""Ray: what is refused before it starts; slow: a local cluster of two workers, one of which is killed."""

from __future__ import annotations

import builtins
import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import pandas as pd
import psutil
import pytest

from course_lib.experiments import ray_cluster as cluster
from course_lib.experiments import study, sweep
from course_lib.experiments.plan import Execution
from course_lib.experiments.study import Settings, Study
from course_lib.files import CourseError
from course_lib.models.loading import Loaded
from course_lib.training.finetune import TuneConfig
from tests.experiments.test_study import fake_labels
from tests.experiments.test_sweep import DECIDING, FAKE_MODEL

SETTINGS = Settings(TuneConfig(epochs=4, warmup=0), size=24, percents=(0, 50), seeds=(0,),
                    per_relation={"train": 8, "dev": 4, "test": 1, "ood": 1})


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """A study of the shipped model whose labels are made up."""
    monkeypatch.setattr(study, "label_facts", lambda _load, facts, *_, **__: fake_labels(facts))
    monkeypatch.setattr(study, "load", lambda preset: Loaded(preset, FAKE_MODEL, None))
    opened = Study("pocket", tmp_path, SETTINGS)
    opened.labels(progress=False)
    monkeypatch.undo()
    return opened


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
    calm = Study("pocket", tmp_path / "calm", SETTINGS)
    (tmp_path / "calm").mkdir()
    (tmp_path / "labels").rename(tmp_path / "calm" / "labels")
    pd.testing.assert_frame_equal(found[DECIDING], sweep.run(calm, workers=1, progress=False)[DECIDING])
