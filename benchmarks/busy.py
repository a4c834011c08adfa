"""What a busy machine costs: `python benchmarks/busy.py` measures beside 0, 1 and 2 processes that only compute.

    labels    SliCK of pocket facts, in seconds
    run       two epochs of a pocket run with their evaluations, in seconds
    lesson    one lesson of `make course` from start to end, in seconds

Each measurement is a fresh process, since OpenMP reads its settings once, at its start. All of them take turns in every
round, in another order each time, and medians over the rounds are compared. ``slowdown`` is the median beside so many
busy processes over the median beside none; ``vs_spinning`` is the median of the course's own settings, beside none,
over that of torch's (a thread on each core, which spins while it waits). `--spinning` measures those beside busy
processes too. Tables and JSON go to `benchmarks/results`, progress to stderr; the last line printed is JSON:

    {"slowdown": {"labels": {"1": r, "2": r}, "run": {...}, "lesson": {...}}, "vs_spinning": {"labels": r, ...}}
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as a script, only this folder is on the path

from benchmarks.slick import machine
from benchmarks.subjects import tell
from benchmarks.timing import spread
from course_lib.files import write_json, write_text
from course_lib.threads import SETTINGS

__all__ = ["Measured", "Setting", "beside", "last_line", "main", "slowdowns", "table", "vs_spinning"]

ROOT = Path(__file__).resolve().parents[1]
WORKS = ("labels", "run", "lesson")


@dataclass(frozen=True, slots=True)
class Setting:
    """What is measured: a piece of work, busy processes beside it, and whether threads spin as torch lets them."""

    work: str
    busy: int
    spinning: bool = False

    @property
    def environment(self) -> dict[str, str]:
        """The variables of the measured process; whatever is set here for OpenMP must not decide."""
        kept = {name: value for name, value in os.environ.items() if name not in SETTINGS}
        spin = {"GOMP_SPINCOUNT": "300000"} if self.spinning else {}  # what GNU's OpenMP does when nothing is set
        return kept | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)} | spin


@dataclass(frozen=True, slots=True)
class Measured:
    """A setting and the seconds that each round took; ``cut`` where one ran into the limit, and was ended there."""

    setting: Setting
    seconds: tuple[float, ...]
    cut: bool = False

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


@contextmanager
def beside(processes: int) -> Iterator[None]:
    """Keep this many processes computing while the block runs."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def measure(setting: Setting, *, lesson: str, quick: bool, limit: float) -> float | None:
    """Seconds of one measurement in a process of its own; None where it takes more than ``limit``."""
    with tempfile.TemporaryDirectory() as folder, beside(setting.busy):
        words = [sys.executable, __file__, "--work", setting.work, *(["--quick"] if quick else [])]
        if setting.work == "lesson":
            words = [sys.executable, "-m", "course_lib.cli", "run", lesson, "--build", folder]
        started = time.perf_counter()
        try:
            done = subprocess.run(words, env=setting.environment, stdout=subprocess.PIPE, text=True, check=True,
                                  timeout=limit)
        except subprocess.TimeoutExpired:
            return None
        return time.perf_counter() - started if setting.work == "lesson" else float(done.stdout.splitlines()[-1])


def compute(work: str, *, quick: bool) -> float:
    """Do a piece of work in this process; the seconds that it took, without the imports and the loading."""
    from benchmarks.sweep import draw_mixes
    from course_lib.data import pocket
    from course_lib.experiments.settings import thin_out
    from course_lib.knowledge import slick
    from course_lib.models.loading import load
    from course_lib.training import finetune

    loaded, facts, count = load("pocket"), pocket.load(), 800
    if quick:
        facts, count = thin_out(facts, dict.fromkeys(("dev", "test", "ood"), 5)), 40
    if work == "labels":
        slick.categorize(loaded.model, loaded.tokenizer, facts.train[:8], facts.exemplars, progress=False)  # warms up
        started = time.perf_counter()
        slick.categorize(loaded.model, loaded.tokenizer, facts.train[:count], facts.exemplars, progress=False)
        return time.perf_counter() - started
    mix = draw_mixes(facts.train, runs=1, rows=count // 8)[0]
    started = time.perf_counter()
    finetune.tune(loaded.model, loaded.tokenizer, mix, facts, finetune.TuneConfig(epochs=2, warmup=1, batch=8),
                  progress=False)
    return time.perf_counter() - started


def compare(settings: Sequence[Setting], *, rounds: int, lesson: str, quick: bool, limit: float) -> list[Measured]:
    """All settings in turn, in another order each round; one that was cut is not tried again."""
    found: dict[Setting, list[float]] = {setting: [] for setting in settings}
    cut: set[Setting] = set()
    for number in range(rounds):
        for setting in random.Random(number).sample(settings, len(settings)):
            if setting in cut:
                continue
            seconds = measure(setting, lesson=lesson, quick=quick, limit=limit)
            if seconds is None:
                cut.add(setting)
            found[setting].append(limit if seconds is None else seconds)
            tell(f"round {number + 1} of {rounds}: {setting.work}, {setting.busy} busy{', spinning' * setting.spinning}"
                 f": {found[setting][-1]:.1f} s{' (cut)' * (seconds is None)}")
    return [Measured(setting, tuple(values), setting in cut) for setting, values in found.items()]


def slowdowns(found: Sequence[Measured]) -> dict[str, dict[str, float]]:
    """Work -> number of busy processes -> times as slow as beside none, with the course's settings."""
    quiet, ratios = _quiet(found), {}
    for one in found:
        at = one.setting
        if at.busy and not at.spinning:
            ratios.setdefault(at.work, {})[str(at.busy)] = one.median / quiet[at.work, False]
    return ratios


def vs_spinning(found: Sequence[Measured]) -> dict[str, float]:
    """Work -> seconds with the course's settings over those of spinning threads, on a quiet machine."""
    quiet = _quiet(found)
    return {work: quiet[work, False] / quiet[work, True] for work, spinning in quiet if spinning}


def _quiet(found: Sequence[Measured]) -> dict[tuple[str, bool], float]:
    """The medians beside no busy process, by work and by whether threads spin."""
    return {(one.setting.work, one.setting.spinning): one.median for one in found if not one.setting.busy}


def last_line(found: Sequence[Measured]) -> str:
    """The ratios as one line of JSON."""
    def rounded(ratios: dict[str, float]) -> dict[str, float]:
        return {name: round(ratio, 2) for name, ratio in ratios.items()}

    return json.dumps({"slowdown": {work: rounded(ratios) for work, ratios in slowdowns(found).items()},
                       "vs_spinning": rounded(vs_spinning(found))})


def table(found: Sequence[Measured], on: dict[str, Any], *, rounds: int, lesson: str) -> str:
    """The report in Markdown."""
    lines = ["# What a busy machine costs", "",
             f"Seconds of labels, of a run of two epochs and of lesson {lesson}, pocket, beside processes that only "
             f"compute; {on['date']}, {on['cpu']}, {os.cpu_count()} cores, medians of {rounds} rounds in turn. "
             f"`spinning`: torch's own settings, a thread on each core that spins while it waits.", "",
             "| work | settings | busy processes | seconds | spread | times as slow as beside none |",
             "|---|---|--:|--:|--:|--:|"]
    quiet = _quiet(found)
    for one in found:
        at = one.setting
        name, more = "spinning" if at.spinning else "the course", "more than " if one.cut else ""
        lines.append(f"| {at.work} | {name} | {at.busy} | {more}{one.median:.1f} | {spread(one.seconds):.0%} "
                     f"| {more}{one.median / quiet[at.work, at.spinning]:.2f} |")
    return "\n".join(lines) + "\n"


def main(words: Sequence[str] | None = None) -> None:
    """Measure, write table and JSON, print the last line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lesson", default="03", help="the lesson that is run")
    parser.add_argument("--spinning", action="store_true", help="spinning threads beside busy processes too")
    parser.add_argument("--limit", type=float, default=300, help="seconds after which a measurement is ended")
    parser.add_argument("--quick", action="store_true", help="one round of labels and run with little work")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--work", choices=WORKS[:2], help=argparse.SUPPRESS)  # a measured process
    given = parser.parse_args(words)
    if given.work:
        print(compute(given.work, quick=given.quick))
        return
    works = WORKS[:2] if given.quick else WORKS
    settings = [Setting(work, busy, spinning) for work in works for spinning in (False, True)
                for busy in ((0, 1) if given.quick else (0, 1, 2))
                if not spinning or not busy or given.spinning]
    rounds = 1 if given.quick else given.rounds
    found = compare(settings, rounds=rounds, lesson=given.lesson, quick=given.quick, limit=given.limit)
    on = machine()
    stem = f"busy-pocket-cpu-{on['date']}"
    write_text(given.out / f"{stem}.md", table(found, on, rounds=rounds, lesson=given.lesson))
    write_json(given.out / f"{stem}.json", {"machine": on, "measured": [asdict(one) for one in found]})
    print(last_line(found))


if __name__ == "__main__":
    main()
