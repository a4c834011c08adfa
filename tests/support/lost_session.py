"""A session that measures and sweeps in a process of its own, and is killed on the way."""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from course_lib.experiments import sweep
from course_lib.experiments.settings import Settings
from course_lib.experiments.study import open_study
from course_lib.knowledge import labelling
from course_lib.training.records import TuneConfig
from course_lib.training.runs import writer as runs

SMALL = Settings(TuneConfig(epochs=2, lr=1e-3, warmup=0, batch=16), size=48, rule="known", percents=(0, 50), seeds=(0,),
                 questions=600)


def work(preset: str, folder: str) -> None:
    """Measure and sweep, with a line in FOLDER/done.txt for each finished shard and epoch."""
    def noted(real: Callable, word: str) -> Callable:
        def call(*values: Any, **named: Any) -> None:
            real(*values, **named)
            with (Path(folder) / "done.txt").open("a") as file:
                file.write(word + "\n")
        return call

    labelling.write_shard = noted(labelling.write_shard, "shard")
    runs.RunWriter.epoch = noted(runs.RunWriter.epoch, "epoch")
    runs._commit = lambda: "none"
    sweep.run(open_study(preset, folder=folder, settings=SMALL), progress=False)


def start_work(preset: Path, folder: Path) -> subprocess.Popen:
    folder.mkdir(parents=True, exist_ok=True)
    code = f"from tests.support.lost_session import work\nwork({str(preset)!r}, {str(folder)!r})"
    return subprocess.Popen([sys.executable, "-c", code],
                            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])})


def kill_at(process: subprocess.Popen, folder: Path, word: str, count: int) -> None:
    """End it hard once so many lines say ``word``."""
    for _ in range(3000):
        if done(folder)[word] >= count:
            break
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.1)
    process.kill()
    assert process.wait() == -9


def done(folder: Path) -> Counter:
    path = folder / "done.txt"
    return Counter(path.read_text().split()) if path.is_file() else Counter()
