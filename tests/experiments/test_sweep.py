"""Sweep: what is run, what is not run again, and how an error or Ctrl-C comes through; slow ones train for real."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import psutil
import pytest
from typer.testing import CliRunner

from course_lib import cli
from course_lib.experiments import study, sweep, throughput
from course_lib.experiments.plan import Plan
from course_lib.experiments.study import Study, open_study
from course_lib.experiments.throughput import RunThroughput
from course_lib.files import CourseError
from course_lib.training import finetune
from course_lib.training.finetune import TuneConfig
from course_lib.training.records import Checkpoint, TrainingMemory
from course_lib.training.runs.folder import is_completed
from course_lib.training.runs.writer import open_run
from tests.support.fake_runs import following, lora_config
from tests.support.fake_study import DECIDING, fake_load, labelled_study, moved


@pytest.fixture
def small(tmp_path: Path) -> Study:
    return labelled_study(tmp_path)


@pytest.fixture
def tuned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replaces training by one record an epoch; grows by the name of each mix that is trained on."""
    names: list[str] = []

    def tune(_model: Any, _tokenizer: Any, data: Any, _facts: Any, config: TuneConfig, *, on_epoch: Any,
             resume: Checkpoint | None, **_: Any) -> SimpleNamespace:
        names.append(f"{data.variant} {data.unknown_percent:g}")
        while not resume or len(resume.records) <= config.epochs:
            resume = following(resume, (len(data.rows),) * (config.epochs + 1))
            on_epoch(SimpleNamespace(record=resume.records[-1], checkpoint=lambda now=resume: now,
                                     memory=TrainingMemory(3, 4)))
        return SimpleNamespace(model=SimpleNamespace(peft_config={"default": lora_config()}))

    monkeypatch.setattr(finetune, "tune", tune)
    monkeypatch.setattr(finetune, "remove_lora", lambda _: None)
    monkeypatch.setattr(study, "load", fake_load)
    return names


def test_all_mixes_of_the_plan_are_run_and_read(small: Study, tuned: list[str]) -> None:
    frame = sweep.run(small, workers=1, progress=False)
    assert tuned == ["D 0", "D 50", "D_Known 50"]
    assert frame.query("epoch == 1")["dev"].tolist() == [24, 24, 12]  # the fake's dev is the number of rows


def test_finished_runs_are_not_repeated(small: Study, tuned: list[str]) -> None:
    first = sweep.run(small, workers=1, progress=False)
    again = sweep.run(small, workers=1, progress=False)
    assert len(tuned) == 3
    pd.testing.assert_frame_equal(first, again)


def test_a_sweep_goes_on_with_the_runs_that_are_missing(small: Study, tuned: list[str]) -> None:
    sweep.run_one(small, small.plan()[1])
    sweep.run(small, workers=1, progress=False)
    assert tuned == ["D 50", "D 0", "D_Known 50"]


def test_a_part_of_the_plan_can_be_run(small: Study, tuned: list[str]) -> None:
    frame = sweep.run(small, small.plan()[:1], workers=1, progress=False)
    assert tuned == ["D 0"] and len(frame) == 2


def test_one_base_model_serves_all_runs_of_a_process(small: Study, tuned: list[str], monkeypatch) -> None:
    loads: list[str] = []
    monkeypatch.setattr(study, "load", lambda preset: loads.append(preset) or fake_load(preset))
    sweep.run(small, workers=1, progress=False)
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
        sweep.run(small, workers=1, progress=False)
    assert [is_completed(spec, small.folder / "runs") for spec in plan] == [True, True, False]


def test_a_run_that_was_stopped_goes_on_from_its_last_epoch(small: Study, tuned: list[str], monkeypatch) -> None:
    spec, working, begun = small.plan()[0], finetune.tune, []

    def stops_after_the_first_epoch(*args: Any, on_epoch: Any, **more: Any) -> Any:
        def keep(progress: Any) -> None:
            on_epoch(progress)
            raise KeyboardInterrupt

        return working(*args, on_epoch=keep, **more)

    monkeypatch.setattr(finetune, "tune", stops_after_the_first_epoch)
    with pytest.raises(KeyboardInterrupt):
        sweep.run(small, [spec], workers=1, progress=False)
    monkeypatch.setattr(finetune, "tune", lambda *args, **more: begun.append(len(more["resume"].records)) or working(
        *args, **more))
    frame = sweep.run(small, [spec], workers=1, progress=False)
    assert begun == [1] and frame["epoch"].tolist() == [0, 1]


def test_a_busy_run_comes_last_and_is_taken_over_when_it_is_free(small: Study, tuned: list[str], monkeypatch) -> None:
    with ExitStack() as other:
        other.enter_context(open_run(small.plan()[0], small.folder / "runs"))
        monkeypatch.setattr(sweep.time, "sleep", lambda _: other.close())
        frame = sweep.run(small, workers=1, progress=False)
    assert tuned == ["D 50", "D_Known 50", "D 0"] and len(frame) == 6


def test_a_run_that_another_process_finishes_is_waited_for(small: Study, tuned: list[str], monkeypatch) -> None:
    spec = small.plan()[0]
    with ExitStack() as other:
        writer = other.enter_context(open_run(spec, small.folder / "runs"))

        def finishes(_: float) -> None:
            now = None
            for _ in range(2):
                now = following(now, (7.0, 7.0))
                writer.epoch(SimpleNamespace(checkpoint=lambda now=now: now, memory=TrainingMemory(3, 4)))
            writer.finish(lora_config())
            other.close()

        monkeypatch.setattr(sweep.time, "sleep", finishes)
        frame = sweep.run(small, workers=1, progress=False)
    assert tuned == ["D 50", "D_Known 50"] and frame["dev"].tolist()[:2] == [7, 7]


def test_what_cannot_be_built_is_told_before_the_first_run(small: Study, tuned: list[str], monkeypatch) -> None:
    built = Study.mix_of

    def mix_of(study: Study, spec: Any) -> Any:
        if spec.unknown_percent == 50:
            raise CourseError("P17: 9 Unknown rows are needed, there are 2")
        return built(study, spec)

    monkeypatch.setattr(Study, "mix_of", mix_of)
    with pytest.raises(CourseError, match=r"^2 .*\bD at 50 %.*: P17.*; D_Known at 50 %.*: P17"):
        sweep.run(small, workers=1, progress=False)
    assert tuned == []


def test_each_training_set_is_drawn_once_before_the_first_run_whatever_the_seeds_and_rates(
        small: Study, tuned: list[str], monkeypatch) -> None:
    drawn, built = [], Study.mix_of
    monkeypatch.setattr(Study, "mix_of", lambda study, spec: drawn.append(spec.name) or built(study, spec))
    ready = sweep.prepare(small, Plan(seeds=tuple(range(40)), rates=(1e-3, 2e-3)), progress=False)
    assert len(ready.todo) == 3 * 40 * 2 and drawn == [spec.name for spec in ready.todo[:3]]


@pytest.mark.parametrize("wrong", [{"how": ""}, {"workers": 10**6}, {"workers": -1}, {"at_once": 10**6}, {"ray": ""},
                                   {"ray": "nonsense"}, {"cpus": 0.0}, {"gpus": float("nan")}], ids=str)
def test_a_way_out_of_range_is_refused_before_anything_is_measured(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(CourseError, match=f"^{next(iter(wrong))} = "):
        sweep.prepare(open_study("pocket", folder=tmp_path), **wrong)
    assert list(tmp_path.iterdir()) == []


def test_a_plan_chooses_runs_and_settings(small: Study, tuned: list[str]) -> None:
    frame = sweep.run(small, Plan(percents=(0,), seeds=(1, 2), tune={"epochs": 2}), workers=1, progress=False)
    assert tuned == ["D 0", "D 0"] and frame["epoch"].tolist() == [0, 1, 2] * 2
    assert sorted(set(frame["seed"])) == [1, 2]


@pytest.fixture
def command(small: Study, tuned: list[str], monkeypatch):
    """``course sweep`` with the small study, which it must open for the preset "pocket"."""
    monkeypatch.setattr(study, "open_study", lambda preset, folder, questions=None: {"pocket": small}[preset])
    monkeypatch.setattr(throughput, "measured_throughput", lambda _: RunThroughput(0.5, 1.0, 2**20, "guessed"))
    return lambda *words: CliRunner().invoke(cli.app, ["sweep", *words])


def test_a_dry_run_says_the_cost_and_trains_nothing(command, tuned: list[str]) -> None:
    result = command("--dry-run")
    assert result.exit_code == 0 and re.match(r"3 runs, 0 .*\b6 epochs", result.stdout)
    assert tuned == []


def test_the_command_runs_a_plan(command, tuned: list[str], tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text('preset = "pocket"\npercents = [50]\nvariants = ["D"]')
    result = command(str(tmp_path / "plan.toml"), "--how", "one-by-one")
    assert result.exit_code == 0 and re.search(rf"\b1 runs .*{tmp_path}", result.stdout)
    assert tuned == ["D 50"]


def test_a_mistake_in_a_plan_is_one_line(command, tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text("seed = 3")
    result = command(str(tmp_path / "plan.toml"))
    assert result.exit_code == 1 and result.stderr.count("\n") == 1 and re.search("'seed' .*'seeds'", result.stderr)


def test_a_way_that_does_not_exist_is_refused(command) -> None:
    result = command("--how", "rya")
    assert result.exit_code == 1 and re.search("how = 'rya' .*'ray'", result.stderr)


def test_the_cost_counts_what_is_left(small: Study, tuned: list[str], monkeypatch) -> None:
    monkeypatch.setattr(throughput, "measured_throughput", lambda _: RunThroughput(0.5, 1.0, 2**20, "guessed"))
    cost = sweep.prepare(small, workers=1, progress=False).cost()
    # D twice with 24 rows, D_Known with 12; epochs 0 and 1 each; two adapters a run and twelve while one is under way
    assert (cost.runs, cost.finished, cost.epochs, cost.seconds) == (3, 0, 6, 2 * (13 + 13 + 7))
    assert re.match(r"3 runs, 0 .*\b6 epochs .*\b1\.1 min.*\(guessed\).*\b18 MiB", str(cost))
    sweep.run(small, workers=1, progress=False)
    assert re.match("3 runs, 3 [^0-9]*$", str(sweep.prepare(small, progress=False).cost()))


def test_the_throughput_is_that_of_the_runs_that_are_finished(small: Study, tuned: list[str]) -> None:
    sweep.run(small, small.plan()[:1], workers=1, progress=False)
    found = throughput.measured_throughput(small.folder / "runs" / "pocket")
    assert found.row_seconds == pytest.approx(0.5 / 24) and found.evaluation_seconds == 0  # as fake_runs has it
    assert found.adapter_bytes > 0 and " 1 " in found.source


def test_the_throughput_is_timed_where_nothing_is_finished(small: Study, tuned: list[str], monkeypatch) -> None:
    monkeypatch.setattr(throughput, "timed_throughput",
                        lambda _, spec: RunThroughput(0.0, 1.0, 0, f"timed {spec.unknown_percent}"))
    assert sweep.prepare(small, progress=False).cost().source == "timed 0"


@pytest.mark.slow
def test_an_epoch_can_be_timed(small: Study) -> None:
    found = throughput.timed_throughput(small, small.plan()[0])
    assert found.row_seconds > 0 and found.evaluation_seconds > 0 and found.adapter_bytes > 4 * 2**10
    assert not (small.folder / "runs").exists()


@pytest.mark.slow
def test_one_process_and_two_give_equal_epochs(small: Study, tmp_path: Path) -> None:
    one = sweep.run(small, workers=1, progress=False)
    two = sweep.run(moved(small, tmp_path / "two"), workers=2, progress=False)
    assert one["known_fitted"].max() > 0
    pd.testing.assert_frame_equal(one[DECIDING], two[DECIDING])


@pytest.mark.slow
def test_an_error_in_a_worker_reaches_the_caller(small: Study) -> None:
    plan = small.plan()[:2]
    blocked = plan[0].folder(small.folder / "runs")
    blocked.parent.mkdir(parents=True)
    blocked.write_text("a file where the run's folder should be")
    start = time.monotonic()
    with pytest.raises(CourseError, match=f"{blocked.name}: .*"):
        sweep.run(small, plan, workers=2, progress=False)
    assert time.monotonic() - start < 60


SWEEP = """
from pathlib import Path
from tests.support.fake_study import SETTINGS
from course_lib.experiments.study import Study
from course_lib.experiments import sweep

if __name__ == "__main__":
    sweep.run(Study("pocket", Path({folder!r}), SETTINGS), workers=2, progress=False)
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
    script.write_text(SWEEP.format(folder=str(small.folder)))
    paths = {"PYTHONPATH": str(Path(__file__).parents[2])}
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


WATCHED = """
import os, sys, time
from concurrent.futures import ProcessPoolExecutor
from course_lib.experiments.executors import _end_with_parent

if __name__ == "__main__":
    import multiprocessing
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), initializer=_end_with_parent) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        pool.submit(time.sleep, 600).result()
"""


@pytest.mark.slow
def test_workers_end_when_the_process_that_started_them_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(WATCHED)
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    worker = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    assert psutil.wait_procs([worker], timeout=20)[1] == [], "the worker is gone"
