"""The report of `benchmarks/gpu.py` as Markdown, and its last line of JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.cells import Cell

__all__ = ["Report", "last_line", "table"]

GIB = 2**30
TERA = 1e12
Column = tuple[str, Callable[[dict[str, Any]], str]]


@dataclass(frozen=True, slots=True)
class Report:
    """All that was measured up to now. ``machine`` has the GPU, its dtype, memory and speed; ``settings`` the rows."""

    machine: dict[str, Any]
    settings: dict[str, Any]
    cells: tuple[Cell, ...]

    @property
    def shapes(self) -> list[str]:
        """The shapes that have a cell, in the order of measuring."""
        return list(dict.fromkeys(cell.shape for cell in self.cells))

    def value(self, shape: str, names: Sequence[str], key: str) -> float | None:
        """The value ``key`` of the first of these cells that was measured; None where none was."""
        found = (cell.values.get(key) for name in names for cell in self.cells
                 if (cell.shape, cell.name) == (shape, name) and not cell.problem)
        return next((value for value in found if value is not None), None)

    def best(self, shape: str, names: Sequence[str], key: str) -> float | None:
        """The largest value ``key`` of these cells."""
        found = [value for name in names if (value := self.value(shape, [name], key)) is not None]
        return max(found, default=None)


def _number(key: str, form: str = ".0f", scale: float = 1.0) -> Callable[[dict[str, Any]], str]:
    def text(values: dict[str, Any]) -> str:
        value = values.get(key)
        return "-" if value is None else format(value / scale, form)

    return text


def _text(key: str) -> Callable[[dict[str, Any]], str]:
    return lambda values: str(values.get(key) or "")


SPEED: Column = ("TFLOP/s", _number("flops", ".2f", TERA))
PEAK: Column = ("peak, GiB", _number("peak_bytes", ".2f", GIB))
PARTS: dict[str, tuple[str, tuple[Column, ...]]] = {
    "training": ("One epoch of training, by method", (
        ("batch", _number("batch")), ("rows/s", _number("rows_a_second")), ("spread", _number("spread", ".0%")),
        ("tokens/s", _number("tokens_a_second")), ("tokens through a row", _number("positions_a_row", ".1f")),
        ("padding", _number("padding", ".1%")), ("MFU, data sheet", _number("mfu_sheet", ".1%")),
        ("MFU, matmul", _number("mfu_matmul", ".1%")), SPEED, PEAK,
        ("forecast, GiB", _number("forecast_bytes", ".2f", GIB)), ("off", _number("forecast_off", "+.0%")),
        ("loss before", _number("loss_before", ".4f")),
        ("loss after", _number("loss_after", ".4f")), ("remark", _text("remark")))),
    "copies": ("Restored copies kept, beside weights restored in every step", (
        ("steps", _number("steps")), ("largest difference of a loss", _number("max_loss_difference", ".1e")),
        ("of a weight", _number("max_weight_difference", ".1e")), ("remark", _text("remark")))),
    "adapters": ("Many runs in one pass, beside one after another", (
        ("one by one, rows/s", _number("one_by_one")), ("spread", _number("one_by_one_spread", ".0%")),
        ("together, rows/s", _number("together")), ("spread", _number("together_spread", ".0%")),
        ("ratio", _number("ratio", ".2f")), ("largest difference", _number("max_difference", ".1e")), PEAK)),
    "questions": ("Questions", (
        ("questions", _number("questions")), ("questions/s", _number("questions_a_second", ".1f")),
        ("spread", _number("spread", ".0%")), ("tokens through a question", _number("positions_a_question", ".1f")),
        ("padding", _number("padding", ".1%")), SPEED, PEAK))}

NOTES = """Losses are nats a token over all rows. "tokens through a row": positions that go through the layers, without
padding; ours puts what all rows begin with through once. MFU = 4 N t / F, see benchmarks/mfu.py. TFLOP/s count the
output layer too, as course_lib/experiments/throughput.py does: those of "ours" and of categorising are the throughput
of a device in course_lib/experiments/throughput.json (SFTTrainer's output layer is inside its loss and is not counted).
"off" is forecast / measured - 1; what CUDA itself takes is in neither. Gradient checkpointing: ours has
none (rows are short), SFTTrainer's default has it on, Trainer's off. Random weights: losses say that the methods
agree, nothing else."""


def table(report: Report) -> str:
    """The report in Markdown."""
    on, settings = report.machine, report.settings
    lines = [f"# On a GPU: {on['gpu'] or on['cpu']}, {on['dtype']}" + (f", capped to {on['cap_gib']:g} GiB"
                                                                      if on["cap_gib"] else ""), "",
             f"Random weights in NF4 at the true shapes; {settings['rows']} training rows of {settings['facts']}, "
             f"{settings['rounds']} round(s) with the methods in turn, after one that warms up. {on['date']}, "
             + ", ".join(f"{name} {version}" for name, version in on["versions"].items() if version) + ".",
             f"A product of two large matrices in {on['dtype']} reaches {_tera(on['matmul_flops'])} TFLOP/s here; the "
             f"data sheet says {_tera(on['sheet_flops'])}. Memory that programs see: {_gib(on['gpu_bytes'])} GiB.", ""]
    for part, (title, columns) in PARTS.items():
        cells = [cell for cell in report.cells if cell.part == part]
        if cells:
            lines += [f"## {title}", "", "| model | what | " + " | ".join(name for name, _ in columns) + " |",
                      "|---|---|" + "--:|" * len(columns), *(_line(cell, columns) for cell in cells), ""]
    return "\n".join([*lines, *NOTES.split("\n")]) + "\n"


def _line(cell: Cell, columns: Sequence[Column]) -> str:
    texts = ([cell.problem.replace("|", "/"), *[""] * (len(columns) - 1)] if cell.problem
             else [text(cell.values) for _, text in columns])
    return f"| {cell.shape} | {cell.title} | " + " | ".join(texts) + " |"


def _tera(flops: float | None) -> str:
    return "nothing known" if flops is None else f"{flops / TERA:.3g}"


def _gib(size: int | None) -> str:
    return "-" if size is None else f"{size / GIB:.1f}"


def last_line(report: Report) -> str:
    """The main ratios of each shape as one line of JSON; null where a cell was not measured."""
    found = {shape: _summary(report, shape) for shape in report.shapes}
    rounded = {shape: {name: None if value is None else float(f"{value:.4g}") for name, value in values.items()}
               for shape, values in found.items()}
    failed = [f"{cell.shape}: {cell.title}" for cell in report.cells if cell.failed]
    return json.dumps({"gpu": report.machine["gpu"], "dtype": report.machine["dtype"], **rounded, "failed": failed})


def _summary(report: Report, shape: str) -> dict[str, float | None]:
    def rate(*names: str) -> float | None:
        return report.best(shape, names, "rows_a_second")

    # ours as the library would run it: with copies where they fit
    ours, ours_8 = ("ours", "ours_restored"), ("ours_8", "ours_restored_8")
    own = {name: report.value(shape, names, "rows_a_second") for name, names in (("32", ours), ("8", ours_8))}
    off = [abs(value) for name in (*ours, *ours_8)
           if (value := report.value(shape, [name], "forecast_off")) is not None]
    return {"rows_a_second": own["32"], "mfu": report.value(shape, ours, "mfu_matmul"),
            "padding": report.value(shape, ours, "padding"), "tuning": report.value(shape, ours, "flops"),
            "reading": report.value(shape, ["categorise"], "flops"),
            "vs_trl": _ratio(own["32"], rate("trl", "trl_plain")), "vs_trainer": _ratio(own["32"], rate("trainer")),
            "vs_trl_8": _ratio(own["8"], rate("trl", "trl_plain")), "vs_trainer_8": _ratio(own["8"], rate("trainer")),
            "vs_trl_32": _ratio(own["32"], rate("trl_32")), "vs_trainer_32": _ratio(own["32"], rate("trainer_32")),
            "copies_32": _ratio(rate("ours"), rate("ours_restored")),
            "copies_8": _ratio(rate("ours_8"), rate("ours_restored_8")),
            "copies_max_difference": report.value(shape, ["copies_float32"], "max_loss_difference"),
            "adapters_8": report.value(shape, ["adapters_8"], "ratio"),
            "adapters_32": report.value(shape, ["adapters_32"], "ratio"),
            "categorised_a_second": report.value(shape, ["categorise"], "questions_a_second"),
            "exact_match_a_second": report.value(shape, ["exact_match"], "questions_a_second"),
            "forecast_off": max(off, default=None), "peak_gib": _in_gib(report.value(shape, ours, "peak_bytes"))}


def _ratio(one: float | None, other: float | None) -> float | None:
    return one / other if one and other else None


def _in_gib(size: float | None) -> float | None:
    return None if size is None else size / GIB
