"""Figures of few bits and of memory: weights among the levels of a block, its error, and whether a step fits on a GPU.

As in :mod:`.style`: data and an ``ax`` go in, the ``ax`` comes out, nothing is shown or saved, and each figure has a
sentence computed from the same data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from course_lib.figures.plots.style import new_axes, plain_text
from course_lib.models.memory import GIB, GPUS, Gpu, TrainerMemory
from course_lib.models.nf4 import Quantised, bits_a_weight

__all__ = ["describe_errors", "describe_fits", "describe_levels", "describe_memory", "error_curves", "level_histogram",
           "memory_bars", "verdict"]

WEIGHTS, LEVELS = "#56B4E9", "#D55E00"
LINES = (("#0072B2", "o", 9), ("#009E73", "s", 5), ("#D55E00", "^", 5))  # colour, marker and its size
STYLES = {"NF4": "-", "even": "--"}
# Okabe and Ito's colours; the hatching says it again
PARTS = {"linear layers": ("#0072B2", ""), "embedding, output": ("#56B4E9", ".."), "adapters + Adam": ("#009E73", "//"),
         "activations": ("#E69F00", "\\\\"), "logits": ("#D55E00", "xx"), "one dequantised matrix": ("#999999", "--")}
TIGHT = 1.0 * GIB  # fragments take some, so less than this is no safe distance


def level_histogram(found: Quantised, table: np.ndarray, *, title: str = "", ax: Axes | None = None) -> Axes:
    """The weights over the scale of their block, the levels as lines, and how many weights each level gets."""
    ax = new_axes(ax)
    ax.hist(found.scaled, np.linspace(-1, 1, 82), color=WEIGHTS, label="weights")
    top = ax.get_ylim()[1]
    ax.vlines(table, 0, 1.08 * top, color=LEVELS, linewidth=1.1, label=f"{len(table)} levels")
    shares = np.bincount(found.codes.ravel(), minlength=len(table)) / found.codes.size
    for place, level in enumerate(table):
        ax.text(level, (1.1 + 0.06 * (place % 2)) * top, f"{100 * shares[place]:.0f}", ha="center", fontsize=7)
    ax.text(0, 1.24 * top, "weights that each level gets (%)", ha="center", fontsize=8)
    ax.set(xlabel="weight / scale of its block", ylabel="number of weights", title=plain_text(title, longest=80),
           xlim=(-1.06, 1.06), ylim=(0, 1.5 * top))
    ax.title.set_fontsize(10)
    ax.legend(frameon=False, ncols=2, loc="upper center", fontsize="small")
    return ax


def describe_levels(found: Quantised, *, name: str, kind: str, bits: int, block: int, rival: Quantised | None = None,
                    ) -> str:
    """A sentence for :func:`level_histogram`; ``rival`` is the other kind of levels, to compare the errors."""
    inner = float(np.mean(np.abs(found.scaled) < 0.5))
    own = (f"{name}, {kind} levels in {bits} bits, blocks of {block}: {bits_a_weight(bits, block):.3g} bits a weight "
           f"with its part of the scale, relative error {100 * found.error:.1f} %. {100 * inner:.0f} % of the scaled "
           f"weights lie between -0.5 and 0.5.")
    if rival is None:
        return own
    other = "even" if kind == "NF4" else "NF4"
    better = "smaller" if found.error < rival.error else "larger"
    return f"{own} The error is {better} than with {other} levels ({100 * rival.error:.1f} %)."


def error_curves(errors: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Relative error by block size, a line for each kind of weights and levels (:func:`.nf4.error_table`)."""
    ax, sizes = new_axes(ax), sorted(errors["block"].unique())
    for (name, weights), (colour, marker, size) in zip(errors.groupby("weights", sort=False), LINES, strict=False):
        for kind, line in weights.groupby("levels", sort=False):
            ax.plot(line["block"], 100 * line["error"], STYLES[kind], color=colour, marker=marker, markersize=size,
                    label=f"{plain_text(name)}, {kind}", fillstyle="full" if kind == "NF4" else "none")
    ax.axvline(64, color="grey", linestyle=":")
    ax.set(xscale="log", yscale="log", xlabel="weights in a block (QLoRA: 64)", ylabel="relative error (%)")
    ax.set_xticks(sizes, [str(size) for size in sizes], fontsize="small")
    low, high = ax.get_ylim()
    ticks = [tick for tick in (1, 2, 5, 10, 20, 50, 100) if low <= tick <= high]
    ax.set_yticks(ticks, [str(tick) for tick in ticks])
    ax.minorticks_off()
    ax.legend(frameon=False, fontsize="small")
    return ax


def describe_errors(errors: pd.DataFrame) -> str:
    """A sentence for :func:`error_curves`: for each kind of weights, at which block sizes NF4 beats even levels."""
    parts = []
    for name, weights in errors.groupby("weights", sort=False):
        wide = weights.pivot(index="block", columns="levels", values="error")
        wins = [block for block in wide.index if wide.loc[block, "NF4"] < wide.loc[block, "even"]]
        at, where = 64 if 64 in wide.index else wide.index[0], _where(wins, list(wide.index))
        parts.append(f"{name}: NF4 has the smaller error {where} (blocks of {at}: {100 * wide.loc[at, 'NF4']:.1f} % "
                    f"against {100 * wide.loc[at, 'even']:.1f} %)")
    return f"{'; '.join(parts)}."


def _where(some: Sequence[int], sizes: Sequence[int]) -> str:
    """Name some of the rising sizes in words."""
    if not some:
        return "nowhere"
    if list(some) == list(sizes):
        return "at every size"
    if list(some) == list(sizes[-len(some):]):
        return f"from blocks of {some[0]} on"
    return f"at blocks of {', '.join(map(str, some))}"


def memory_bars(needed: Mapping[str, TrainerMemory], *, gpus: Mapping[str, Gpu] = GPUS, ax: Axes | None = None) -> Axes:
    """A stacked bar in GiB for each name, and a line for each of ``gpus`` (by name)."""
    ax, names = new_axes(ax), list(needed)
    ax.grid(visible=False, axis="y")
    left = [0.0] * len(names)
    for part, (colour, hatch) in PARTS.items():
        widths = [needed[name].terms[part] / GIB for name in names]
        ax.barh(range(len(names)), widths, left=left, color=colour, hatch=hatch, edgecolor="white", linewidth=0,
                label=part, height=0.5 if len(names) == 1 else 0.8)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    ax.set_yticks(range(len(names)), [plain_text(name) for name in names])
    for place, total in enumerate(left):
        ax.annotate(f"{total:.1f}", (total, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9,
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.8})
    sizes = {name: gpu.total / GIB for name, gpu in gpus.items()}
    for (name, size), style in zip(sizes.items(), ("--", "-", ":"), strict=False):
        ax.axvline(size, color="black", linestyle=style, linewidth=1.2)
        ax.text(size, -0.75, plain_text(name), ha="center", va="center", fontsize=8, backgroundcolor="white")
    ax.set(xlabel="memory of one training step (GiB)", xlim=(0, 1.12 * max([*left, *sizes.values()])),
           ylim=(len(names) - 0.4, -1))
    ax.legend(frameon=False, fontsize="small", ncols=3, loc="lower center", bbox_to_anchor=(0.4, 1.0))
    return ax


def verdict(needed: float, gpu: Gpu) -> str:
    """Say in words whether so many bytes fit: "fits", "fits, but barely" or "does not fit", and by how many GiB."""
    if not gpu.fits(needed):
        return (f"does not fit: {(needed - gpu.free) / GIB:.1f} GiB more than the {gpu.free / GIB:g} that CUDA itself "
                f"leaves")
    barely = "" if gpu.fits(needed + TIGHT) else ", but barely"
    return f"fits{barely}: {(gpu.total - needed) / GIB:.1f} GiB are left for CUDA itself and spare room"


def describe_memory(name: str, memory: TrainerMemory, *, gpu: str) -> str:
    """A sentence for one bar and one GPU of :data:`.memory.GPUS`."""
    weights = (memory.linear + memory.rest) / GIB
    parts = ", ".join(f"{part} {value / GIB:.2f}" for part, value in memory.terms.items()
                     if part in ("adapters + Adam", "activations", "logits"))
    return (f"{name} in {memory.bits} bits, rank {memory.rank}, {memory.batch} rows of {memory.tokens} tokens: "
            f"{memory.total / GIB:.2f} GiB (weights {weights:.2f}, {parts}). On the {gpu} "
            f"({GPUS[gpu].total / GIB:g} GiB) it {verdict(memory.total, GPUS[gpu])}.")


def describe_fits(needed: Mapping[str, TrainerMemory], *, gpus: Mapping[str, Gpu] = GPUS) -> str:
    """A sentence for :func:`memory_bars`: which of them fit on which GPU."""
    one = next(iter(needed.values()))
    parts = []
    for name, gpu in gpus.items():
        missing = [model for model, memory in needed.items() if not gpu.fits(memory.total)]
        parts.append(f"{name} ({gpu.total / GIB:g} GiB): " + ("all fit" if not missing else f"{', '.join(missing)} "
                                                             f"{'does' if len(missing) == 1 else 'do'} not fit"))
    return (f"One training step in {one.bits} bits, rank {one.rank}, {one.batch} rows of {one.tokens} tokens. "
            f"{'; '.join(parts)}.")
