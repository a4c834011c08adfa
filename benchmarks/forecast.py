"""The course's forecast of memory and speed beside what is measured: `python benchmarks/forecast.py`.

Of each shape a model with random weights in NF4 is made (:mod:`benchmarks.random_nf4`), an adapter is put on, and one
epoch of the training loop and one round of questions go through it. Each shape has a process of its own, so that what
is resident belongs to it alone. On a CPU bytes are the process's resident memory, on a GPU what PyTorch has allocated.

    resident    growth when the model is made and its adapter is put on, beside weights + a third of the adapters' term
    peak        the highest value during training, beside the forecast that the loop made of it before the first step
    rates       operations a second in training and in reading, and their shares of a plain product of matrices: what
                `course_lib/experiments/throughput.py` needs for minutes

Tables and JSON go to `benchmarks/results`, progress to stderr; the last line printed is JSON:

    {"worst_off": largest share by which a forecast of memory is off, "tuning_share": s, "reading_share": s}
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as a script, only this folder is on the path

from benchmarks.random_nf4 import random_base
from benchmarks.slick import machine
from benchmarks.subjects import tell
from benchmarks.sweep import draw_mixes
from course_lib.data import pocket
from course_lib.experiments.throughput import forward_flops, matmul_throughput, training_flops
from course_lib.files import CourseError, write_json, write_text
from course_lib.models import hardware
from course_lib.models.memory import SHAPES, estimate_loop
from course_lib.models.memory_usage import PeakMemory, release_memory
from course_lib.training.finetune import TuneConfig, add_lora, evaluate
from course_lib.training.loop import Loop
from course_lib.training.packing import average_batch, shared_tokens

__all__ = ["Measured", "last_line", "main", "measure", "table"]

MEBI = 2**20


@dataclass(frozen=True, slots=True)
class Measured:
    """One shape at one batch; sizes in bytes, speeds in operations a second.

    ``passing``: what a step needs besides what is resident; ``start`` was in use before the model was made.
    """

    name: str
    batch: int
    dtype: str
    start: int
    resident: int
    resident_forecast: float
    peak: int
    peak_forecast: float
    passing: int
    passing_forecast: float
    tuning: float
    reading: float
    matmul: float

    @property
    def resident_off(self) -> float:
        """Forecast over measured, less 1."""
        return self.resident_forecast / self.resident - 1

    @property
    def peak_off(self) -> float:
        """Forecast over measured, less 1."""
        return self.peak_forecast / self.peak - 1


def measure(name: str, *, batch: int, rows: int, questions: int) -> Measured:
    """All figures of one shape, in this process."""
    device = hardware.device()
    dtype, shape, config = hardware.device_dtype(device), SHAPES[name], TuneConfig(epochs=1, warmup=0, batch=batch)
    warm_up(device)
    start = PeakMemory(device).start
    base = random_base(name, shape, device=device, dtype=dtype)
    adapted = add_lora(base.model, config).eval()
    release_memory()
    resident = PeakMemory(device).start - start
    facts = pocket.load()
    data = draw_mixes(facts.train, runs=1, rows=rows)[0]
    loop = Loop(adapted, base.tokenizer, ["default"], [data], [config])
    loop.epoch(1)  # warms up, and its peak counts too
    before = time.perf_counter()
    loop.epoch(2)
    training = time.perf_counter() - before
    every = loop.states[0].rows
    shared = shared_tokens([every])
    step = estimate_loop(shape, average_batch(every, batch=batch), rank=config.rank, dtype=dtype,
                         copies=any(layer.weight is not None for layer in loop.stacks.layers))
    tokens = sum(len(row.tokens) - shared for row in every) + shared * -(-rows // batch)
    predicted = sum(len(row.tokens) - row.start for row in every)
    asked = {"test": facts.test[:questions]}
    evaluate(adapted, base.tokenizer, {"test": facts.test[:8]})
    before = time.perf_counter()
    evaluate(adapted, base.tokenizer, asked)
    reading = time.perf_counter() - before
    own = sum(len(row.tokens) - shared for row in every) / rows
    return Measured(
        name, batch, dtype, start, resident, step.weights + step.adapters / 3, loop.peak.bytes, loop.forecast,
        loop.peak.bytes - start - resident, step.peak - step.weights - step.adapters / 3,
        training_flops(shape, tokens, predicted) / training,
        forward_flops(shape, own * questions, predicted / rows * questions) / reading, matmul_throughput())


def warm_up(device: str) -> None:
    """Let bitsandbytes, PEFT and the device's libraries take what they take, with a model that is thrown away."""
    base = random_base("pocket", SHAPES["pocket"], device=device, dtype=hardware.device_dtype(device))
    config = TuneConfig(epochs=1, warmup=0)
    data = draw_mixes(pocket.load().train, runs=1, rows=8)[0]
    Loop(add_lora(base.model, config).eval(), base.tokenizer, ["default"], [data], [config]).epoch(1)
    del base
    release_memory()


def table(found: Sequence[Measured], on: dict[str, Any]) -> str:
    """The report in Markdown."""
    lines = ["# The forecast of memory and speed beside what was measured", "",
             f"Models of published shapes with random weights in NF4, adapters of rank 16; {on['date']}, "
             f"{on['gpu'] or on['cpu']}, {on['threads']} CPU threads, {found[0].dtype}. MiB; `off` is forecast / "
             f"measured - 1. {'Allocated by PyTorch.' if on['gpu'] else 'Resident memory, a process for each.'}", "",
             "| shape | batch | model + adapter | forecast | off | peak in training | forecast | off | of it the step "
             "| forecast | training, GFLOP/s | reading | matmul | training / matmul | reading / matmul |",
             "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"]
    lines += [f"| {at.name} | {at.batch} | {at.resident / MEBI:,.1f} | {at.resident_forecast / MEBI:,.1f} "
              f"| {at.resident_off:+.1%} | {at.peak / MEBI:,.0f} | {at.peak_forecast / MEBI:,.0f} | {at.peak_off:+.1%} "
              f"| {at.passing / MEBI:,.0f} | {at.passing_forecast / MEBI:,.0f} | {at.tuning / 1e9:.1f} "
              f"| {at.reading / 1e9:.1f} | {at.matmul / 1e9:.1f} | {at.tuning / at.matmul:.2f} "
              f"| {at.reading / at.matmul:.2f} |" for at in found]
    return "\n".join(lines) + "\n"


def last_line(found: Sequence[Measured]) -> str:
    """The worst forecast of memory, and the shares of the largest shape, as one line of JSON."""
    small = 100 * MEBI  # below that, what a process keeps for itself is as large as a model
    worst = max((off for at in found for off in ([at.resident_off] if at.resident > small else []) + [at.peak_off]),
                key=abs)
    return json.dumps({"worst_off": round(worst, 4), "tuning_share": round(found[-1].tuning / found[-1].matmul, 3),
                       "reading_share": round(found[-1].reading / found[-1].matmul, 3)})


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shapes", default="pocket,SmolLM2-360M", help=f"of {', '.join(SHAPES)}; separated by commas")
    parser.add_argument("--batch", type=int, default=8, help="rows a step")
    parser.add_argument("--rows", type=int, default=32, help="training rows")
    parser.add_argument("--questions", type=int, default=64, help="questions asked for the speed of reading")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # the shape of this process
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder of the tables")
    return parser.parse_args(given)


def in_a_process(name: str, asked: argparse.Namespace) -> Measured:
    """The figures of one shape, from a process of its own."""
    tell(f"{name}: measuring")
    command = [sys.executable, __file__, "--one", name, "--batch", str(asked.batch), "--rows", str(asked.rows),
               "--questions", str(asked.questions)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise CourseError(f"{name}: {done.stderr.strip().splitlines()[-1] if done.stderr else done.returncode}")
    return Measured(**json.loads(done.stdout.strip().splitlines()[-1]))


def main(given: Sequence[str] | None = None) -> None:
    """Measure, print the table, store it, and end with the line of JSON."""
    asked = arguments(given)
    if asked.one:
        print(json.dumps(dataclasses.asdict(measure(asked.one, batch=asked.batch, rows=asked.rows,
                                                    questions=asked.questions))))
        return
    unknown = [name for name in asked.shapes.split(",") if name not in SHAPES]
    if unknown:
        raise CourseError(f"shape {unknown[0]}: not known; give one of {', '.join(SHAPES)}")
    found, on = [in_a_process(name, asked) for name in asked.shapes.split(",")], machine()
    name = f"forecast-{on['device']}-{on['date']}"
    write_json(asked.out / f"{name}.json", {"machine": on, "results": list(map(dataclasses.asdict, found))})
    print(table(found, on), flush=True)
    tell(f"written: {write_text(asked.out / f'{name}.md', table(found, on))} and .json")
    print(last_line(found))


if __name__ == "__main__":
    try:
        main()
    except CourseError as error:
        sys.exit(f"forecast: {error}")
