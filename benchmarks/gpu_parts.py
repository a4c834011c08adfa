"""What `benchmarks/gpu.py` measures of one shape: training, copies of the weights, many adapters, and questions.

Every measurement gets a base of its own, made anew from the same seed: what an earlier one left behind, or a rival
changed, cannot reach it. Methods that are compared take turns. Clocks stop when the GPU has finished
(:func:`benchmarks.timing.timed`), and memory is the most that torch had allocated while the clock ran.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks import sweep, timing, trainers
from benchmarks.cells import Attempt, Cell, Deadline, attempt, in_turn
from benchmarks.mfu import mfu
from benchmarks.random_nf4 import random_base
from benchmarks.subjects import parts_of, widened_tokenizer, window
from benchmarks.trainers import METHODS, Method, Run, Task, tokenised
from course_lib.data.facts import FactSet
from course_lib.experiments.throughput import forward_flops, training_flops
from course_lib.knowledge.scoring.engine import score
from course_lib.models.memory import Shape, estimate_loop, estimate_trainer
from course_lib.training.finetune import TuneConfig, add_lora, evaluate
from course_lib.training.packing import Target, average_batch

if TYPE_CHECKING:
    from course_lib.models.loading import Loaded

__all__ = ["NOT_INSTALLED", "WAYS", "Bench", "Sizes", "adapters", "copies", "forecast", "questions", "targets",
           "training"]

NOT_INSTALLED = "not installed"
# beside the ways of train.py: ours without the dequantised copies that it keeps where they fit
WAYS = (*METHODS, Method("ours_restored", "ours", "ours, weights restored in every step", 32, {"copies": False}),
        Method("ours_restored_8", "ours", "ours, restored in every step, the rivals' batch", 8, {"copies": False}))


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured: training rows and those that warm up, rounds, runs in one pass, steps, questions to ask."""

    rows: int = 192
    warm: int = 64
    rounds: int = 2
    runs: int = 8
    steps: int = 6
    compared_steps: int = 5
    seconds: float = 4.0
    few: int = 32
    most: int = 2048

    @classmethod
    def quick(cls) -> Sizes:
        """The least that goes through all the code."""
        return cls(rows=32, warm=8, rounds=1, runs=2, steps=2, compared_steps=2, seconds=0.1, few=4, most=8)


@dataclass(frozen=True, slots=True)
class Bench:
    """A shape, where and in which dtype it computes, what it is asked, how much of it and until when.

    ``sheet_flops`` and ``matmul_flops`` are operations a second of the GPU, see :mod:`benchmarks.mfu`.
    """

    name: str
    shape: Shape
    device: str
    dtype: str
    facts: FactSet
    sizes: Sizes
    deadline: Deadline
    sheet_flops: float | None = None
    matmul_flops: float | None = None

    def base(self, dtype: str | None = None) -> Loaded:
        """A fresh base."""
        return random_base(self.name, self.shape, device=self.device, dtype=dtype or self.dtype)

    @property
    def task(self) -> Task:
        """What every method trains."""
        data = sweep.draw_mixes(self.facts.train, runs=1, rows=self.sizes.rows)[0]
        return Task(self.name, self.device, data, TuneConfig(epochs=1, warmup=0))


def targets(bench: Bench) -> list[Target]:
    """The training rows as tokens, each with its end of text."""
    return [Target(tuple(row["input_ids"]), row["labels"].count(-100))
            for row in tokenised(widened_tokenizer(bench.shape.vocabulary), bench.task.data)]


def training(bench: Bench) -> list[Cell]:
    """One epoch by every method that is installed, after a shorter one that warms up.

    Tokens are counted in what is timed: a few of the thousands of operations of a step, and nothing waits for them.
    """
    here = [method for method in WAYS if trainers.installed(method.kind)]
    task, rows = bench.task, targets(bench)

    def one(method: Method, warming: bool) -> Run:
        some = replace(task, data=replace(task.data, rows=task.data.rows[:bench.sizes.warm])) if warming else task
        return trainers.run(some, method, count=not warming, base=bench.base())

    found = in_turn(f"{bench.name}, training", {method.name: partial(one, method) for method in here},
                    rounds=bench.sizes.rounds, deadline=bench.deadline)
    return [_training_cell(bench, method, found.get(method.name, [Attempt(problem=NOT_INSTALLED)]), rows)
            for method in WAYS]


def _training_cell(bench: Bench, method: Method, attempts: Sequence[Attempt], rows: Sequence[Target]) -> Cell:
    cell = Cell(bench.name, "training", method.name, method.title, {"batch": method.batch})
    runs = [found.value for found in attempts if not found.problem]
    remark = runs[-1].remark if runs else ""
    if len(runs) < 2 or remark.startswith("no room"):  # without copies it would be the method that restores
        return replace(cell, problem=attempts[-1].problem or remark)
    timed = runs[1:]  # the first one warmed up
    found = [len(rows) / run.epochs[0].seconds for run in timed]
    rate, traffic = statistics.median(found), timed[0].traffic
    positions = (traffic.positions - traffic.filler) / len(rows)
    peak, wanted = max(run.epochs[0].peak_bytes for run in timed), forecast(bench, method, rows)
    return replace(cell, values=cell.values | {
        "rows_a_second": rate, "spread": timing.spread(found),
        "tokens_a_second": rate * sum(len(row.tokens) for row in rows) / len(rows),
        "positions_a_row": positions, "padding": traffic.filler / traffic.positions,
        "mfu_sheet": mfu(bench.shape.linear_weights, rate * positions, bench.sheet_flops),
        "mfu_matmul": mfu(bench.shape.linear_weights, rate * positions, bench.matmul_flops),
        "flops": training_flops(bench.shape, positions, traffic.output_rows / len(rows)) * rate,
        "peak_bytes": peak or None, "forecast_bytes": wanted,
        "forecast_off": wanted / peak - 1 if wanted and peak else None,
        "loss_before": timed[0].loss_before, "loss_after": timed[0].epochs[0].loss, "remark": remark})


def forecast(bench: Bench, method: Method, rows: Sequence[Target]) -> float | None:
    """Bytes of a training step by the library's formulas; None for TRL, which computes parts of it twice.

    Ours by :func:`.estimate_loop`; Trainer's, padded to the longest row, by :func:`.estimate_trainer`.
    """
    rank = TuneConfig().rank
    if method.kind == "ours":
        batch = average_batch(rows, batch=method.batch)
        return estimate_loop(bench.shape, batch, rank=rank, dtype=bench.dtype,
                             copies=method.more.get("copies", True)).peak
    if method.kind == "trainer":
        longest = max(len(row.tokens) for row in rows)
        return estimate_trainer(bench.shape, rank=rank, batch=method.batch, tokens=longest).total
    return None


def copies(bench: Bench) -> list[Cell]:
    """Losses and weights with dequantised copies kept, beside those with weights dequantised in every step."""
    cells = []
    for dtype in dict.fromkeys((bench.dtype, "float32")):
        cell = Cell(bench.name, "copies", f"copies_{dtype}", dtype, {"steps": bench.sizes.compared_steps})
        found = attempt(f"{bench.name}, copies in {dtype}", partial(_compare_copies, bench, dtype), bench.deadline)
        cells.append(replace(cell, problem=found.problem) if found.problem
                     else replace(cell, values=cell.values | found.value))
    return cells


def _compare_copies(bench: Bench, dtype: str) -> dict[str, float | None]:
    config = TuneConfig(batch=8, warmup=0)
    mixes = sweep.draw_mixes(bench.facts.train, runs=1, rows=config.batch * bench.sizes.compared_steps)
    kept, restored = (sweep.train(bench.base(dtype), mixes, [config], copies=keep) for keep in (True, False))
    if not kept.copies:
        return {"max_loss_difference": None, "max_weight_difference": None, "remark": "no room for copies"}
    losses = max(abs(a - b) for a, b in zip(kept.losses[0], restored.losses[0], strict=True))
    weights = max(float((kept.weights[0][key] - restored.weights[0][key]).abs().max()) for key in kept.weights[0])
    return {"max_loss_difference": losses, "max_weight_difference": weights, "remark": ""}


def adapters(bench: Bench) -> list[Cell]:
    """Many runs in one pass beside the same runs one after another."""
    cells, sizes = [], bench.sizes
    for batch in sweep.BATCHES:
        title = f"{sizes.runs} runs, {batch} rows each and step"
        found = attempt(f"{bench.name}, {title}", partial(_compare_adapters, bench, batch), bench.deadline)
        cells.append(Cell(bench.name, "adapters", f"adapters_{batch}", title, found.value or {}, found.problem))
    return cells


def _compare_adapters(bench: Bench, batch: int) -> dict[str, float]:
    base, sizes = bench.base(), bench.sizes
    timing.peak_bytes(base.model.device, reset=True)
    found = sweep.compare(base, bench.facts.train, batch=batch, runs=sizes.runs, steps=sizes.steps,
                          rounds=sizes.rounds)
    return {"batch": batch, "one_by_one": found.rows / found.one_by_one, "together": found.rows / found.together,
            "one_by_one_spread": found.one_by_one_spread, "together_spread": found.together_spread,
            "ratio": found.ratio, "max_difference": found.max_difference,
            "peak_bytes": timing.peak_bytes(base.model.device) or None}


def questions(bench: Bench) -> list[Cell]:
    """Questions a second: categorised with ten prompts, and asked for exact match as after an epoch."""
    return [Cell(bench.name, "questions", name, title, found.value or {}, found.problem) for name, title, found in (
        (name, title, attempt(f"{bench.name}, {title}", partial(measure, bench), bench.deadline))
        for name, title, measure in (("categorise", "categorising, 10 prompts a question", _categorise),
                                     ("exact_match", "exact match with an adapter", _exact_match)))]


def _categorise(bench: Bench) -> dict[str, float]:
    base, parts = bench.base(), parts_of(bench.facts)

    def ask(count: int, number: int) -> None:
        for part in window(parts, count, number):  # new questions each time, as when a study measures them
            score(base.model, base.tokenizer, part.facts, part.prompts)

    return _rate(bench, base, ask, most=sum(len(part.facts) for part in parts))


def _exact_match(bench: Bench) -> dict[str, float]:
    base, facts = bench.base(), bench.facts.test
    model = add_lora(base.model, TuneConfig()).eval()

    def ask(count: int, _: int) -> None:
        evaluate(model, base.tokenizer, {"test": facts[:count]})  # the same each time, as after every epoch

    return _rate(bench, base, ask, most=len(facts))


def _rate(bench: Bench, base: Loaded, ask: Callable[[int, int], Any], *, most: int) -> dict[str, float | None]:
    """Questions a second: ``ask(count, number)`` is called with as many as take about ``Sizes.seconds``."""
    sizes, device = bench.sizes, base.model.device
    few, most = min(sizes.few, most), min(sizes.most, most)
    ask(few, 0)
    took = timing.timed(device, partial(ask, few, 1)).seconds
    count = max(few, min(most, int(few * sizes.seconds / took)))
    with timing.count_traffic(base.model, [base.tokenizer.pad_token_id]) as traffic:
        ask(count, 2)  # warms up this size too
    timing.peak_bytes(device, reset=True)
    found = [count / timing.timed(device, partial(ask, count, 3 + number)).seconds for number in range(sizes.rounds)]
    rate, read = statistics.median(found), traffic.positions - traffic.filler
    return {"questions": count, "questions_a_second": rate, "spread": timing.spread(found),
            "positions_a_question": read / count, "padding": traffic.filler / traffic.positions,
            "flops": forward_flops(bench.shape, read, traffic.output_rows) / count * rate,
            "peak_bytes": timing.peak_bytes(device) or None}
