"""Eight runs in one pass beside eight runs one after another: `python benchmarks/sweep.py` measures and says.

The same training sets, adapters and number of steps both ways, on one preset in NF4; training alone, nothing is asked
in between. The two ways take turns, from fresh adapters every time, so that a busy machine slows both; medians over the
rounds are compared. The rows are drawn from the training facts as they come: what a model knew of a row does not
change what a step costs. Tables and JSON go to `benchmarks/results`, progress to stderr; the last line printed is JSON:

    {"vs_one_by_one_8": r, "vs_one_by_one_32": r, "max_difference": d}

Ratios of seconds at 8 and at 32 rows a run and step (above 1: one pass is faster), and the largest difference of any
step's loss (nats a token) or of any weight after the last step between the two ways.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as a script, only this folder is on the path

from benchmarks import timing
from benchmarks.slick import facts_of, machine
from benchmarks.subjects import tell
from course_lib.data.facts import Fact
from course_lib.files import CourseError, write_json, write_text
from course_lib.models.loading import load
from course_lib.training.finetune import TuneConfig, add_lora, remove_lora
from course_lib.training.loop import Loop
from course_lib.training.mixing import Mix, Row

if TYPE_CHECKING:
    import torch

    from course_lib.models.loading import Loaded

__all__ = ["Report", "Result", "compare", "last_line", "main", "table"]

BATCHES = (8, 32)


@dataclass(frozen=True, slots=True)
class Trained:
    """Eight runs after their steps: the seconds of the steps alone, losses (runs, steps), weights by run and name.

    ``copies``: whether dequantised copies of the frozen weights were kept to the end.
    """

    seconds: float
    losses: list[list[float]]
    weights: list[dict[str, torch.Tensor]]
    copies: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """Both ways at ``batch`` rows a run and step; seconds are medians, the spread is (largest - smallest) / median."""

    batch: int
    runs: int
    steps: int
    one_by_one: float
    together: float
    one_by_one_spread: float
    together_spread: float
    max_difference: float

    @property
    def ratio(self) -> float:
        """How many times as fast one pass is."""
        return self.one_by_one / self.together

    @property
    def rows(self) -> int:
        """Rows of all runs in all steps."""
        return self.batch * self.runs * self.steps


@dataclass(frozen=True, slots=True)
class Report:
    """All that was measured, on what model and machine."""

    preset: str
    results: tuple[Result, ...]
    rounds: int
    machine: dict[str, Any]


def draw_mixes(facts: Sequence[Fact], *, runs: int, rows: int) -> list[Mix]:
    """Seeded training sets; row i of each is another fact."""
    return [Mix("D", 0, seed, tuple(Row(fact, "HighlyKnown") for fact in random.Random(seed).sample(facts, rows)))
            for seed in range(runs)]


def train(base: Loaded, mixes: Sequence[Mix], configs: Sequence[TuneConfig], *, copies: bool = True) -> Trained:
    """One epoch of all these runs in one pass; only the steps are timed.

    ``copies=False`` restores the frozen weights from 4 bits in every step, whatever the memory.
    """
    names = [f"run{number}" for number in range(len(mixes))]
    adapted = base.model
    for name, config in zip(names, configs, strict=True):
        adapted = add_lora(adapted, config, name=name)
    loop, losses = Loop(adapted.eval(), base.tokenizer, names, mixes, configs), []
    if not copies:
        loop.stacks.drop_copies()

    def steps() -> None:
        for lines in zip(*(state.batches(1) for state in loop.states), strict=True):
            losses.append(loop.step(range(len(names)), lines)[0].tolist())

    took = timing.timed(base.model.device, steps)
    weights = [{key: value.detach().to("cpu", copy=True) for key, value in state.weights.items()}
               for state in loop.states]
    kept = any(layer.weight is not None for layer in loop.stacks.layers)
    remove_lora(adapted)
    return Trained(took.seconds, [list(run) for run in zip(*losses, strict=True)], weights, kept)


def one_by_one(base: Loaded, mixes: Sequence[Mix], configs: Sequence[TuneConfig]) -> Trained:
    """The same runs, each in passes of its own."""
    runs = [train(base, [mix], [config]) for mix, config in zip(mixes, configs, strict=True)]
    return Trained(sum(run.seconds for run in runs), [run.losses[0] for run in runs], [run.weights[0] for run in runs])


def difference(one: Trained, other: Trained) -> float:
    """The largest difference of a loss or a weight."""
    losses = [abs(a - b) for mine, theirs in zip(one.losses, other.losses, strict=True)
              for a, b in zip(mine, theirs, strict=True)]
    weights = [float((mine[key] - theirs[key]).abs().max()) for mine, theirs in
               zip(one.weights, other.weights, strict=True) for key in mine]
    return max(losses + weights)


def compare(base: Loaded, facts: Sequence[Fact], *, batch: int, runs: int = 8, steps: int = 20,
            rounds: int = 3) -> Result:
    """Both ways in turn, ``rounds`` times, after a round of two steps that warms up."""
    warm = draw_mixes(facts, runs=runs, rows=2 * batch)
    mixes = draw_mixes(facts, runs=runs, rows=steps * batch)
    configs = [TuneConfig(batch=batch, seed=seed) for seed in range(runs)]
    train(base, warm, configs)
    one_by_one(base, warm[:1], configs[:1])
    alone, together = [], []
    for number in range(rounds):
        first, second = (alone, together) if number % 2 else (together, alone)  # neither way always goes first
        for found in (first, second):
            found.append((one_by_one if found is alone else train)(base, mixes, configs))
        tell(f"{batch} rows a run, round {number + 1} of {rounds}: one by one {alone[-1].seconds:.2f} s, together "
             f"{together[-1].seconds:.2f} s")
    seconds = [[trained.seconds for trained in found] for found in (alone, together)]
    return Result(batch, runs, steps, *map(statistics.median, seconds), *map(timing.spread, seconds),
                  difference(alone[0], together[0]))


def table(report: Report) -> str:
    """The report in Markdown."""
    on = report.machine
    lines = [f"# Eight runs in one pass beside one after another, {report.preset}", "",
             "Fine-tuning steps alone, without evaluation; both ways from the same adapters, over the same rows.",
             f"{on['date']}, {on['gpu'] or on['cpu']}, {on['threads']} CPU threads, {report.rounds} rounds in turn, "
             + ", ".join(f"{name} {version}" for name, version in on["versions"].items() if version) + ".", "",
             "| rows a run and step | runs | steps | one by one, rows/s | spread | together, rows/s | spread | ratio "
             "| largest difference |", "|--:|--:|--:|--:|--:|--:|--:|--:|--:|"]
    lines += [f"| {at.batch} | {at.runs} | {at.steps} | {at.rows / at.one_by_one:.0f} | {at.one_by_one_spread:.0%} "
              f"| {at.rows / at.together:.0f} | {at.together_spread:.0%} | {at.ratio:.2f} | {at.max_difference:.1e} |"
              for at in report.results]
    return "\n".join(lines) + "\n"


def last_line(report: Report) -> str:
    """The ratios and the largest difference as one line of JSON."""
    ratios = {f"vs_one_by_one_{at.batch}": round(at.ratio, 3) for at in report.results}
    return json.dumps(ratios | {"max_difference": max(at.max_difference for at in report.results)})


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--preset", default="pocket", help="a preset of the course, a folder or a Hub id")
    parser.add_argument("--data", type=Path, help="folder or .zip of EntityQuestions, for presets other than pocket")
    parser.add_argument("--runs", type=int, default=8, help="how many runs go together")
    parser.add_argument("--steps", type=int, default=20, help="steps of each run")
    parser.add_argument("--rounds", type=int, default=3, help="how often both ways are timed, in turn")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to run")
    parser.add_argument("--quick", action="store_true", help="two runs, two steps: figures mean nothing")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder of the tables")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> None:
    """Measure, print the table, store it, and end with the line of JSON."""
    asked = arguments(given)
    sizes = {"runs": 2, "steps": 2, "rounds": 1} if asked.quick else {
        "runs": asked.runs, "steps": asked.steps, "rounds": asked.rounds}
    base = load(asked.preset, **({} if asked.device == "auto" else {"device": asked.device}))
    facts = facts_of(asked.preset, asked.data).train
    report = Report(asked.preset, tuple(compare(base, facts, batch=batch, **sizes) for batch in BATCHES),
                    sizes["rounds"], machine() | {"device": base.model.device.type})
    name = f"sweep-{asked.preset.replace('/', '--')}-{report.machine['device']}-{report.machine['date']}"
    name += "-quick" * asked.quick
    write_json(asked.out / f"{name}.json", dataclasses.asdict(report))
    print(table(report), flush=True)
    tell(f"written: {write_text(asked.out / f'{name}.md', table(report))} and .json")
    print(last_line(report))


if __name__ == "__main__":
    try:
        main()
    except CourseError as error:
        sys.exit(f"sweep: {error}")
