"""Our fine-tuning loop beside `transformers.Trainer` and TRL's `SFTTrainer`: `python benchmarks/train.py` measures.

The same NF4 base, adapter, rows, rate and number of epochs for all (:mod:`benchmarks.trainers`). The methods take turns
in every round, in another order each time, so that a busy machine slows all alike; medians over the rounds are
compared. Rows are drawn from the training facts as they come: what a model knew of a row does not change what a step
costs. Then the exact match that is asked after each epoch, beside the training of an epoch. Tables and JSON go to
`benchmarks/results`, progress to stderr; the last line printed is JSON:

    {"vs_trl": r, "vs_trainer": r, "eval_share": s}

Ratios of rows a second: ours at the library's default batch over the rival with its defaults (TRL: the faster of
bfloat16, its default, and the base's own dtype), null where a rival is not installed. ``eval_share`` is the exact match
of the dev questions over itself and the training of one epoch.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as a script, only this folder is on the path

from benchmarks import timing
from benchmarks.slick import facts_of, machine
from benchmarks.subjects import tell
from benchmarks.sweep import draw_mixes
from benchmarks.trainers import METHODS, Method, Run, Task, installed, run
from course_lib.data.facts import FactSet
from course_lib.files import CourseError, write_json, write_text
from course_lib.models.loading import load
from course_lib.training.finetune import TuneConfig, add_lora, evaluate
from course_lib.training.loop import Loop

__all__ = ["Evaluation", "Report", "Result", "compare", "evaluation", "last_line", "main", "table", "time_to"]


@dataclass(frozen=True, slots=True)
class Result:
    """A method over all rounds. ``losses``: before, and after each epoch; ``seconds``: median of each epoch.

    ``filler`` is a share of the token positions; ``output_rows`` are rows of the output layer a training row, 0 where
    a rival computes its logits elsewhere.
    """

    method: Method
    rows_a_second: float
    spread: float
    rows_a_processor_second: float
    setup_seconds: float
    seconds: tuple[float, ...]
    losses: tuple[float, ...]
    positions: float
    filler: float
    output_rows: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Median seconds of an epoch's training and of the exact match after it: of dev, and of all that a study asks."""

    training: float
    dev: float
    everything: float
    dev_questions: int
    all_questions: int

    @property
    def share(self) -> float:
        """What the dev questions take of an epoch with them."""
        return self.dev / (self.dev + self.training)

    @property
    def share_of_all(self) -> float:
        """What all questions take of an epoch with them."""
        return self.everything / (self.everything + self.training)


@dataclass(frozen=True, slots=True)
class Report:
    """All that was measured, on what model and machine; ``load`` is the machine's load average before and after."""

    preset: str
    rows: int
    epochs: int
    rounds: int
    results: tuple[Result, ...]
    evaluation: Evaluation
    machine: dict[str, Any]
    load: tuple[float, float]

    def find(self, name: str) -> Result | None:
        """The result of a method, None where it was left out."""
        return next((result for result in self.results if result.method.name == name), None)

    def ratio(self, *names: str, ours: str = "ours") -> float | None:
        """How many times as fast ours is as the fastest of these."""
        found = [result.rows_a_second for name in names if (result := self.find(name))]
        return self.find(ours).rows_a_second / max(found) if found else None


def compare(task: Task, methods: Sequence[Method], *, rounds: int) -> tuple[Result, ...]:
    """All methods in turn, ``rounds`` times, after one epoch of each that warms up and counts tokens."""
    short = dataclasses.replace(task, config=dataclasses.replace(task.config, epochs=1))
    counted = {method.name: run(short, method, count=True) for method in methods}
    runs: dict[str, list[Run]] = {method.name: [] for method in methods}
    for number in range(rounds):
        for method in methods[number % len(methods):] + methods[:number % len(methods)]:
            runs[method.name].append(run(task, method))
        tell(f"round {number + 1} of {rounds}, rows/s: " + ", ".join(
            f"{name} {_rate(task, found[-1]):.0f}" for name, found in runs.items()))
    return tuple(_result(task, method, runs[method.name], counted[method.name]) for method in methods)


def _rate(task: Task, found: Run) -> float:
    return len(task.data.rows) * len(found.epochs) / sum(epoch.seconds for epoch in found.epochs)


def _result(task: Task, method: Method, runs: Sequence[Run], counted: Run) -> Result:
    rows, rates = len(task.data.rows), [_rate(task, found) for found in runs]
    busy = statistics.median(sum(epoch.processor_seconds for epoch in found.epochs) for found in runs)
    seconds = tuple(statistics.median(times) for times in zip(*([e.seconds for e in r.epochs] for r in runs),
                                                              strict=True))
    traffic = counted.traffic
    return Result(method, statistics.median(rates), timing.spread(rates), rows * task.config.epochs / busy,
                  statistics.median(found.setup_seconds for found in runs), seconds,
                  (runs[0].loss_before, *(epoch.loss for epoch in runs[0].epochs)), traffic.positions / rows,
                  traffic.filler / traffic.positions, traffic.output_rows / rows)


def time_to(loss: float, result: Result) -> float:
    """Seconds until the training loss is as low, in a straight line between the ends of epochs.

    ``loss`` must be one that the method reaches.
    """
    spent = 0.0
    for seconds, before, after in zip(result.seconds, result.losses, result.losses[1:], strict=False):
        if after <= loss:
            return spent + seconds * max(0.0, before - loss) / max(before - after, 1e-12)
        spent += seconds
    raise ValueError(f"{result.method.name} never reaches a loss of {loss}")


def evaluation(task: Task, facts: FactSet, *, epochs: int = 4) -> Evaluation:
    """Train and ask in turn, as a study does; the first epoch warms up and does not count."""
    base = load(task.preset, **({} if task.device is None else {"device": task.device}))
    model = add_lora(base.model, task.config).eval()
    loop = Loop(model, base.tokenizer, ["default"], [task.data], [task.config])
    everything = {"dev": facts.dev, "test": facts.test, "ood": facts.ood,
                  "train": tuple(row.fact for row in task.data.rows)}
    steps = (loop.epoch, lambda _: evaluate(model, base.tokenizer, {"dev": facts.dev}),
             lambda _: evaluate(model, base.tokenizer, everything))
    times = [[timing.timed(model.device, lambda step=step, n=number: step(n)).seconds for step in steps]
             for number in range(1, epochs + 2)][1:]
    return Evaluation(*(statistics.median(column) for column in zip(*times, strict=True)), len(facts.dev),
                      sum(map(len, everything.values())))


def table(report: Report) -> str:
    """The report in Markdown."""
    on, asked = report.machine, report.evaluation
    target = max(result.losses[-1] for result in report.results)
    ours = report.find("ours")
    lines = [f"# Fine-tuning: our loop beside Trainer and SFTTrainer, {report.preset}", "",
             f"The same NF4 base, adapter, {report.rows} rows, AdamW at one constant rate, {report.epochs} epoch(s); "
             f"training alone.",
             f"{on['date']}, {on['gpu'] or on['cpu']}, {on['threads']} CPU threads, {report.rounds} rounds in turn, "
             + ", ".join(f"{name} {version}" for name, version in on["versions"].items() if version) + ".",
             f"Load average of the machine before and after: {report.load[0]:.1f} and {report.load[1]:.1f}"
             + (": others worked on it too." if report.load[0] > 1 else "."), "",
             "| method | batch | rows/s | spread | ours is times as fast | at the same batch "
             f"| rows a processor second | loss at the end | s to loss {target:.3f} | positions a row | padding "
             "| output rows a row | set-up, s |",
             "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"]
    for at in report.results:
        same = report.find("ours" if at.method.batch == ours.method.batch else "ours_8")
        lines.append(
            f"| {at.method.title} | {at.method.batch} | {at.rows_a_second:.0f} | {at.spread:.0%} "
            f"| {ours.rows_a_second / at.rows_a_second:.2f} | {same.rows_a_second / at.rows_a_second:.2f} "
            f"| {at.rows_a_processor_second:.0f} | {at.losses[-1]:.4f} | {time_to(target, at):.2f} "
            f"| {at.positions:.1f} | {at.filler:.1%} | {f'{at.output_rows:.1f}' if at.output_rows else 'fused'} "
            f"| {at.setup_seconds:.2f} |")
    lines += ["", "Losses are nats a token over all rows as the model stands after the last epoch; `fused`: the "
              "output layer's product is inside the rival's loss.", "",
              f"An epoch of training takes {asked.training:.2f} s. Exact match after it: {asked.dev:.2f} s for "
              f"{asked.dev_questions} dev questions ({asked.share:.1%} of both together), {asked.everything:.2f} s for "
              f"all {asked.all_questions} that a study asks ({asked.share_of_all:.1%})."]
    missing = ", ".join(kind for kind in ("trainer", "trl") if not report.find(kind))
    lines += ["", f"Not installed, left out: {missing}; `pip install -e .[bench]` adds it."] if missing else []
    return "\n".join(lines) + "\n"


def last_line(report: Report) -> str:
    """The two ratios and the share as one line of JSON."""
    found = {"vs_trl": report.ratio("trl", "trl_plain"), "vs_trainer": report.ratio("trainer"),
             "eval_share": report.evaluation.share}
    return json.dumps({name: None if value is None else round(value, 3) for name, value in found.items()})


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--preset", default="pocket", help="a preset of the course, a folder or a Hub id")
    parser.add_argument("--data", type=Path, help="folder or .zip of EntityQuestions, for presets other than pocket")
    parser.add_argument("--rows", type=int, default=480, help="training rows")
    parser.add_argument("--epochs", type=int, default=3, help="epochs of each run")
    parser.add_argument("--rounds", type=int, default=3, help="how often each method is timed, in turn")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to run")
    parser.add_argument("--quick", action="store_true", help="16 rows, one epoch: figures mean nothing")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder of the tables")
    return parser.parse_args(given)


def measure(asked: argparse.Namespace) -> Report:
    """Everything, on one preset."""
    rows, epochs, rounds = (16, 1, 1) if asked.quick else (asked.rows, asked.epochs, asked.rounds)
    facts, before = facts_of(asked.preset, asked.data), os.getloadavg()[0]
    if asked.quick:
        facts = FactSet(facts.name, facts.train, facts.dev[:8], facts.test[:8], facts.ood[:8])
    task = Task(asked.preset, None if asked.device == "auto" else asked.device,
                draw_mixes(facts.train, runs=1, rows=rows)[0], TuneConfig(epochs=epochs, warmup=0))
    results = compare(task, [method for method in METHODS if installed(method.kind)], rounds=rounds)
    asking = evaluation(task, facts, epochs=1 if asked.quick else 4)
    on = machine() | ({"device": task.device} if task.device else {})
    on["versions"]["trl"] = metadata.version("trl") if installed("trl") else None
    return Report(asked.preset, rows, epochs, rounds, results, asking, on, (before, os.getloadavg()[0]))


def main(given: Sequence[str] | None = None) -> None:
    """Measure, print the table, store it, and end with the line of JSON."""
    asked = arguments(given)
    report = measure(asked)
    name = f"train-{asked.preset.replace('/', '--')}-{report.machine['device']}-{report.machine['date']}"
    name += "-quick" * asked.quick
    write_json(asked.out / f"{name}.json", dataclasses.asdict(report))
    print(table(report), flush=True)
    tell(f"written: {write_text(asked.out / f'{name}.md', table(report))} and .json")
    print(last_line(report))


if __name__ == "__main__":
    try:
        main()
    except CourseError as error:
        sys.exit(f"train: {error}")
