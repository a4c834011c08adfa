"""All that should be fast on a GPU, measured on one: `PYTHONPATH=. python benchmarks/gpu.py` on a CUDA machine.

For models of the true shapes with random weights in NF4 (:mod:`benchmarks.random_nf4`): training steps of our loop with
dequantised copies of the frozen weights and without, at 8 and 32 rows; `transformers.Trainer` and TRL's `SFTTrainer`
with their defaults on the same base and rows; eight runs in one pass beside eight runs one after another; categorising
with ten prompts; exact match. Rows and tokens a second, model FLOP utilisation (MFU = 4 N t / F, explained in
:mod:`benchmarks.mfu`), peak memory beside its forecast, padding, and whether losses with and without copies agree.
Our loop has no gradient checkpointing, so there is no line for it.

It needs torch, transformers, peft and bitsandbytes. Where bitsandbytes is missing and there is no network, carry its
wheel along: `pip install --no-deps bitsandbytes-*.whl`, or `--wheel bitsandbytes-*.whl`, which puts it into a temporary
folder. Without TRL, or without datasets, the rows of the rivals say "not installed"; `--wheel` takes theirs too (trl,
datasets, dill, multiprocess, xxhash, and pyarrow and pandas where they are missing).

Out of memory or of time costs one cell. Tables and JSON in `benchmarks/results` are written again after every part of a
shape, so that a kill loses little; progress goes to stderr; the last line printed is JSON: for each shape the ratios of
rows a second (ours over the rival, with its defaults and at our batch), MFU, padding, and how far the forecast was off.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as a script, only this folder is on the path

from benchmarks.cells import Cell, Deadline
from benchmarks.gpu_table import GIB, Report, last_line, table
from benchmarks.subjects import tell
from course_lib.data.facts import FactSet
from course_lib.files import CourseError, write_json, write_text
from course_lib.models.memory import SHAPES, Shape

__all__ = ["arguments", "main"]

NEEDED = ("torch", "transformers", "peft", "bitsandbytes")
DEFAULT_SHAPES = ("SmolLM2-360M", "SmolLM2-1.7B", "Mistral-7B-v0.3")
MATMUL, MATMUL_CPU = 8192, 256


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], epilog=__doc__.split("\n\n")[2],
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", default=",".join(DEFAULT_SHAPES), help=f"of {', '.join(SHAPES)}; with commas")
    parser.add_argument("--rows", type=int, help="training rows of an epoch (default: 192)")
    parser.add_argument("--rounds", type=int, help="how often each method is timed, in turn (default: 2)")
    parser.add_argument("--minutes", type=float, help="begin nothing new after that; shared out over shapes and parts")
    parser.add_argument("--data", type=Path, default=os.environ.get("COURSE_DATA") or None,
                        help="folder or .zip of EntityQuestions (default: COURSE_DATA, else the facts of the pocket)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to run")
    parser.add_argument("--dtype", choices=("auto", "float16", "bfloat16", "float32"), default="auto",
                        help="what the base computes in; float16 is what a T4 gets")
    parser.add_argument("--cap-gib", type=float, help="let torch have no more memory than that; 14.6 is a T4's")
    parser.add_argument("--wheel", type=Path, nargs="+", help="wheels to use without installing them for good")
    parser.add_argument("--quick", action="store_true", help="a tiny shape, on a CPU too: figures mean nothing")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder of the tables")
    return parser.parse_args(given)


def chosen_shapes(asked: argparse.Namespace) -> dict[str, Shape]:
    """The shapes that are asked for, by name, whatever the case of its letters.

    Raises:
        CourseError: a name that is not known.
    """
    from benchmarks.random_nf4 import QUICK

    if asked.quick:
        return {"quick": QUICK}
    known = {name.lower(): name for name in SHAPES}
    names = [name.strip() for name in asked.shapes.split(",") if name.strip()]
    for name in names:
        if name.lower() not in known:
            raise CourseError(f"--shapes {name}: not known; give some of {', '.join(SHAPES)}")
    return {known[name.lower()]: SHAPES[known[name.lower()]] for name in names}


def use_wheels(wheels: Sequence[Path], folder: Path) -> None:
    """Unpack wheels into a folder, and let this process import them from there.

    Raises:
        CourseError: pip cannot install them.
    """
    inside = folder / "site-packages"  # dill, which TRL needs, takes modules elsewhere for the user's own
    done = subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target",
                           str(inside), *map(str, wheels)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise CourseError(f"--wheel: pip says {done.stderr.strip()[-300:]}; take wheels for this Python")
    sys.path.insert(0, str(inside))
    importlib.invalidate_caches()


def refuse_missing() -> None:
    """Raises CourseError where a package is not installed without which nothing can be measured."""
    missing = [name for name in NEEDED if not importlib.util.find_spec(name)]
    if missing:
        raise CourseError(f"{', '.join(missing)}: not installed; bitsandbytes can be carried along as a wheel, see "
                          f"--help, the others belong to the machine")


def machine_of(asked: argparse.Namespace) -> dict[str, Any]:
    """Hardware, versions, dtype, memory and the speed of a large product; caps the memory where that is asked for.

    Raises:
        CourseError: a GPU is asked for, and torch sees none.
    """
    import torch

    from benchmarks import mfu
    from benchmarks.slick import machine
    from course_lib.models.hardware import compute_dtype

    on_gpu = asked.device != "cpu" and torch.cuda.is_available()
    if not on_gpu and not (asked.quick or asked.device == "cpu"):
        raise CourseError("torch sees no CUDA GPU here; --quick tries the code on a CPU")
    device = torch.device("cuda" if on_gpu else "cpu")
    about = torch.cuda.get_device_properties(0) if on_gpu else None
    capability = (about.major, about.minor) if about else None
    dtype = compute_dtype(capability) if asked.dtype == "auto" else asked.dtype
    if on_gpu and asked.cap_gib:
        torch.cuda.set_per_process_memory_fraction(min(1.0, asked.cap_gib * GIB / about.total_memory), 0)
    speed = mfu.matmul_flops(device, getattr(torch, dtype), size=MATMUL if on_gpu else MATMUL_CPU)
    found = machine()
    return found | {"device": device.type, "gpu": found["gpu"] if on_gpu else None, "dtype": dtype,
                    "capability": capability, "gpu_bytes": about.total_memory if about else None,
                    "cap_gib": asked.cap_gib if on_gpu else None, "matmul_flops": speed,
                    "sheet_flops": mfu.sheet_flops(about.name if about else None, dtype, capability)}


def facts_for(asked: argparse.Namespace) -> FactSet:
    """EntityQuestions where there is a folder of it, else the facts of the pocket."""
    from course_lib.data import entityquestions, pocket

    return entityquestions.load(asked.data) if asked.data and not asked.quick else pocket.load()


def measure(asked: argparse.Namespace, on: dict[str, Any], shapes: dict[str, Shape]) -> Iterator[Report]:
    """The report as it grows, after each part of each shape."""
    from benchmarks import gpu_parts

    sizes = gpu_parts.Sizes.quick() if asked.quick else gpu_parts.Sizes()
    given = {name: value for name in ("rows", "rounds") if (value := getattr(asked, name)) is not None}
    sizes, facts, cells = dataclasses.replace(sizes, **given), facts_for(asked), []
    end = Deadline(None if asked.minutes is None else time.monotonic() + 60 * asked.minutes)
    settings: dict[str, Any] = {"facts": facts.name, **dataclasses.asdict(sizes)}
    for number, (name, shape) in enumerate(shapes.items()):
        bench = gpu_parts.Bench(name, shape, on["device"], on["dtype"], facts, sizes,
                                end.share(len(shapes) - number), on["sheet_flops"], on["matmul_flops"])
        # a part may take so much of the time that is left: 1 of 1.6, ..., all of it
        for part, of in ((gpu_parts.training, 1.6), (gpu_parts.copies, 4), (gpu_parts.adapters, 1.5),
                         (gpu_parts.questions, 1)):
            started = time.monotonic()
            cells += part(dataclasses.replace(bench, deadline=bench.deadline.share(of)))
            tell(f"{name}: {part.__name__} took {time.monotonic() - started:.0f} s")
            yield Report(on, settings, tuple(cells))


def store(report: Report, asked: argparse.Namespace) -> Path:
    """Write the JSON and the Markdown, named by GPU, setting and date; a quick run never replaces a real one."""
    on = report.machine
    gpu = re.sub(r"[^a-z0-9]+", "-", (on["gpu"] or "cpu").lower()).strip("-")
    name = "-".join(["gpu", gpu, *[on["dtype"]] * (asked.dtype != "auto"),
                     *[f"cap{on['cap_gib']}"] * bool(on["cap_gib"]), on["date"], *["quick"] * asked.quick])
    write_json(asked.out / f"{name}.json", dataclasses.asdict(report))
    return write_text(asked.out / f"{name}.md", table(report))


def main(given: Sequence[str] | None = None) -> int:
    """Measure, store after each part, print the table and the line of JSON; 1 where something of ours failed."""
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")  # or Trainer would spread its batches over all GPUs
    asked = arguments(given)
    shapes = chosen_shapes(asked)
    with ExitStack() as stack:
        if asked.wheel:
            folder = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
            use_wheels(asked.wheel, Path(folder))
        refuse_missing()
        on = machine_of(asked)
        tell(f"{on['gpu'] or on['cpu']}, {on['dtype']}, {on['matmul_flops'] / 1e12:.3g} TFLOP/s in a large product")
        for report in measure(asked, on, shapes):
            path = store(report, asked)
        print(table(report), flush=True)
        tell(f"written: {path} and .json")
        print(last_line(report), flush=True)
    return int(any(cell.failed and not _of_rival(cell) for cell in report.cells))


def _of_rival(cell: Cell) -> bool:
    return cell.part == "training" and not cell.name.startswith("ours")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CourseError as error:
        sys.exit(f"gpu: {error}")
