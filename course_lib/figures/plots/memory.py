"""Figures of the memory of a training step: stacked bars against the memory of GPUs, and whether it fits, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from course_lib.figures.plots.style import new_axes, plain_text
from course_lib.models.memory import GIB, GPUS, Memory

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["describe_fits", "describe_memory", "memory_bars", "verdict"]

# Okabe and Ito's colours; the hatching says it again
LOOKS = {"linear layers": ("#0072B2", ""), "embedding, output": ("#56B4E9", ".."), "adapters + Adam": ("#009E73", "//"),
         "activations": ("#E69F00", "\\\\"), "logits": ("#D55E00", "xx"), "one restored matrix": ("#999999", "--")}
TIGHT = 1.0  # GiB: CUDA itself and fragments take some, so less than this is no safe distance


def memory_bars(needed: Mapping[str, Memory], *, gpus: Mapping[str, float] = GPUS, ax: Axes | None = None) -> Axes:
    """A stacked bar in GiB for each name, and a line for each of ``gpus`` (name -> GiB)."""
    ax, names = new_axes(ax), list(needed)
    ax.grid(visible=False, axis="y")
    left = [0.0] * len(names)
    for part, (colour, hatch) in LOOKS.items():
        widths = [needed[name].parts[part] / GIB for name in names]
        ax.barh(range(len(names)), widths, left=left, color=colour, hatch=hatch, edgecolor="white", linewidth=0,
                label=part, height=0.5 if len(names) == 1 else 0.8)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    ax.set_yticks(range(len(names)), [plain_text(name) for name in names])
    for place, total in enumerate(left):
        ax.annotate(f"{total:.1f}", (total, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9,
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.8})
    for (name, size), style in zip(gpus.items(), ("--", "-", ":"), strict=False):
        ax.axvline(size, color="black", linestyle=style, linewidth=1.2)
        ax.text(size, -0.75, plain_text(name), ha="center", va="center", fontsize=8, backgroundcolor="white")
    ax.set(xlabel="memory of one training step (GiB)", xlim=(0, 1.12 * max([*left, *gpus.values()])),
           ylim=(len(names) - 0.4, -1))
    ax.legend(frameon=False, fontsize="small", ncols=3, loc="lower center", bbox_to_anchor=(0.4, 1.0))
    return ax


def verdict(memory: Memory, gpu_gib: float) -> str:
    """Whether it fits, in words: "fits", "fits, but barely" or "does not fit", and by how many GiB."""
    left = memory.left(gpu_gib)
    if left < 0:
        return f"does not fit: {-left:.1f} GiB too much"
    return f"fits{', but barely' if left < TIGHT else ''}: {left:.1f} GiB are left for CUDA itself and spare room"


def describe_memory(name: str, memory: Memory, *, gpu: str, gpu_gib: float | None = None) -> str:
    """A sentence for one bar and one GPU of :data:`.memory.GPUS`, or any other with its ``gpu_gib``."""
    size = GPUS[gpu] if gpu_gib is None else gpu_gib
    weights = (memory.linear + memory.rest) / GIB
    told = ", ".join(f"{part} {value / GIB:.2f}" for part, value in memory.parts.items()
                     if part in ("adapters + Adam", "activations", "logits"))
    return (f"{name} in {memory.bits} bits, rank {memory.rank}, {memory.batch} rows of {memory.tokens} tokens: "
            f"{memory.total / GIB:.2f} GiB (weights {weights:.2f}, {told}). On the {gpu} ({size:g} GiB) it "
            f"{verdict(memory, size)}.")


def describe_fits(needed: Mapping[str, Memory], *, gpus: Mapping[str, float] = GPUS) -> str:
    """A sentence for :func:`memory_bars`: which of them fit on which GPU."""
    one = next(iter(needed.values()))
    told = []
    for gpu, size in gpus.items():
        fit = [name for name, memory in needed.items() if memory.left(size) >= 0]
        missing = [name for name in needed if name not in fit]
        told.append(f"{gpu} ({size:g} GiB): " + ("all fit" if not missing else f"{', '.join(missing)} "
                                                 f"{'does' if len(missing) == 1 else 'do'} not fit"))
    return (f"One training step in {one.bits} bits, rank {one.rank}, {one.batch} rows of {one.tokens} tokens. "
            f"{'; '.join(told)}.")
