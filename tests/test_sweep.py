"""Sweep: what is run, what is not run again, and how an error or Ctrl-C comes through; slow ones train for real."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import psutil
import pytest

from course_lib import finetune, study, sweep
from course_lib.files import CourseError
from course_lib.finetune import EpochRecord, TuneConfig
from course_lib.models import Loaded
from course_lib.runs import is_completed
from course_lib.study import Settings, Study, open_study

SETTINGS = Settings(TuneConfig(epochs=1, warmup=0), size=24, percents=(0, 50), seeds=(0,),
                    per_relation={"train": 8, "dev": 4, "test": 1, "ood": 1})
DECIDING = ["variant", "unknown_percent", "seed", "epoch", "loss", "dev", "test", "ood", "known_fitted",
            "unknown_fitted"]

FAKE_MODEL = SimpleNamespace(device=SimpleNamespace(type="nowhere"))


class FakeAdapter:
    def save_pretrained(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """A study of the shipped model whose labels are made up: every fourth fact is Unknown."""
    from test_study import fake_labels

    monkeypatch.setattr(study, "categorize", lambda _m, _t, facts, _e, **_: fake_labels(facts))
    monkeypatch.setattr(study, "load", lambda preset: Loaded(preset, FAKE_MODEL, None))
    opened = open_study("pocket", folder=tmp_path, settings=SETTINGS)
    opened.labels(progress=False)
    monkeypatch.undo()
    return opened


@pytest.fixture
def tuned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replaces training by one record an epoch; grows by the name of each mix that is trained on."""
    names: list[str] = []

    def tune(_model: Any, _tokenizer: Any, data: Any, _facts: Any, config: TuneConfig, *, on_epoch: Any, **_: Any):
        names.append(f"{data.variant} {data.unknown_percent:g}")
        for epoch in range(config.epochs + 1):
            on_epoch(EpochRecord(epoch, None, len(data.rows), 1.0, 1.0, None, None, 0.0), FakeAdapter())
        return SimpleNamespace(model=FakeAdapter())

    monkeypatch.setattr(finetune, "tune", tune)
    monkeypatch.setattr(finetune, "remove_lora", lambda _: None)
    monkeypatch.setattr(study, "load", lambda preset: Loaded(preset, FAKE_MODEL, None))
    return names


def test_all_mixes_of_the_plan_are_run_and_read(small: Study, tuned: list[str]) -> None:
    frame = sweep.sweep(small, workers=1, progress=False)
    assert tuned == ["D 0", "D 50", "D_Known 50"]
    assert frame.query("epoch == 1")["dev"].tolist() == [24, 24, 12]  # the fake's dev is the number of rows


def test_finished_runs_are_not_repeated(small: Study, tuned: list[str]) -> None:
    first = sweep.sweep(small, workers=1, progress=False)
    again = sweep.sweep(small, workers=1, progress=False)
    assert len(tuned) == 3
    pd.testing.assert_frame_equal(first, again)


def test_a_sweep_goes_on_with_the_runs_that_are_missing(small: Study, tuned: list[str]) -> None:
    sweep.run_one(small, small.plan()[1])
    sweep.sweep(small, workers=1, progress=False)
    assert tuned == ["D 50", "D 0", "D_Known 50"]


def test_a_part_of_the_plan_can_be_run(small: Study, tuned: list[str]) -> None:
    frame = sweep.sweep(small, small.plan()[:1], workers=1, progress=False)
    assert tuned == ["D 0"] and len(frame) == 2


def test_one_base_model_serves_all_runs_of_a_process(small: Study, tuned: list[str], monkeypatch) -> None:
    loads: list[str] = []
    monkeypatch.setattr(study, "load", lambda preset: loads.append(preset) or Loaded(preset, FAKE_MODEL, None))
    sweep.sweep(small, workers=1, progress=False)
    assert loads == ["pocket"]


def test_each_epoch_is_told_to_the_caller(small: Study, tuned: list[str]) -> None:
    told: list[int] = []
    sweep.run_one(small, small.plan()[0], on_epoch=lambda record: told.append(record.epoch))
    assert told == [0, 1]


def test_an_error_in_a_run_reaches_the_caller_and_keeps_the_finished_runs(small: Study, tuned: list[str],
                                                                         monkeypatch) -> None:
    plan, working = small.plan(), finetune.tune

    def fails_on_d_known(*args: Any, **more: Any) -> Any:
        if args[2].variant == "D_Known":
            raise CourseError("step 3: the loss is nan")
        return working(*args, **more)

    monkeypatch.setattr(finetune, "tune", fails_on_d_known)
    with pytest.raises(CourseError, match="step 3: the loss is nan"):
        sweep.sweep(small, workers=1, progress=False)
    assert [is_completed(spec, small.folder / "runs") for spec in plan] == [True, True, False]


@pytest.mark.slow
def test_one_process_and_two_give_equal_epochs(small: Study, tmp_path: Path) -> None:
    one = sweep.sweep(small, workers=1, progress=False)
    other = Study("pocket", tmp_path / "two", SETTINGS)
    (tmp_path / "two").mkdir()
    (small.folder / "labels").rename(tmp_path / "two" / "labels")
    two = sweep.sweep(other, workers=2, progress=False)
    assert one["known_fitted"].max() > 0
    pd.testing.assert_frame_equal(one[DECIDING], two[DECIDING])


@pytest.mark.slow
def test_an_error_in_a_worker_reaches_the_caller(small: Study) -> None:
    plan = small.plan()[:2]
    blocked = plan[0].folder(small.folder / "runs")
    blocked.parent.mkdir(parents=True)
    blocked.write_text("a file where the run's folder should be")
    start = time.monotonic()
    with pytest.raises(FileExistsError):
        sweep.sweep(small, plan, workers=2, progress=False)
    assert time.monotonic() - start < 60


SWEEP = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_sweep import SETTINGS
from course_lib.study import Study
from course_lib.sweep import sweep

if __name__ == "__main__":
    sweep(Study("pocket", Path({folder!r}), SETTINGS), workers=2, progress=False)
"""


def members(session: int) -> list[str]:
    """The command lines of the living processes of a session."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError):
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.cmdline()))
    return found


def wait_for_none(ask: Callable[[], list[str]]) -> list[str]:
    limit = time.monotonic() + 20
    while ask() and time.monotonic() < limit:
        time.sleep(0.2)
    return ask()


@pytest.mark.slow
def test_ctrl_c_leaves_the_finished_runs_and_no_process(small: Study, tmp_path: Path) -> None:
    plan, runs = small.plan(), small.folder / "runs"
    script = tmp_path / "script.py"
    script.write_text(SWEEP.format(tests=str(Path(__file__).parent), folder=str(small.folder)))
    paths = {"PYTHONPATH": str(Path(__file__).parent.parent)}
    process = subprocess.Popen([sys.executable, script], start_new_session=True, stderr=subprocess.PIPE,
                               env=os.environ | paths)
    limit = time.monotonic() + 120
    while not any(is_completed(spec, runs) for spec in plan) and time.monotonic() < limit:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # what a terminal does
    _, said = process.communicate(timeout=60)
    assert process.returncode != 0 and b"KeyboardInterrupt" in said
    done = [spec for spec in plan if is_completed(spec, runs)]
    assert 1 <= len(done) < len(plan)
    assert wait_for_none(lambda: members(process.pid)) == []
