"""The course's widgets in JupyterLab, moved with the keyboard: picture and sentence follow, and all of it fits.

In each test the sentence that has to come is made by the library itself, for the place to which the keys have led.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
from notebook_page import NotebookPage

from course_lib import memory
from course_lib.curve_view import describe_epoch
from course_lib.knowledge_plots import describe_closeup
from course_lib.memory_plots import describe_memory
from course_lib.reference import reference

pytestmark = pytest.mark.browser
Open = Callable[..., NotebookPage]
Move = tuple[str, Sequence[str], int, str]  # control, keys, which of its buttons, what has to be said afterwards

CURVES = """from course_lib import widgets
from course_lib.reference import reference
from course_lib.shown import show

epochs = reference().epochs()
show(widgets.curve_explorer(epochs[epochs["seed"] == 0], band=epochs))"""
MEMORY = """from course_lib import widgets
from course_lib.shown import show

show(widgets.memory_calculator())"""
NF4 = """import numpy as np
from course_lib import nf4, widgets
from course_lib.shown import show

weights = np.random.default_rng(0).normal(size=(256, 256)).astype(np.float32)
show(widgets.nf4_explorer(nf4.weight_samples(weights, seed=0)))"""
QUESTIONS = """import numpy as np
from course_lib.closeup import Closeup
from course_lib.facts import Fact

temperatures = (0.1, 0.5, 1.5)
one = Closeup(Fact("Ana Maria Castellanos", "P19", "Oslo"), ("Oslo", "Bergen") * 5, np.array([True, False] * 5),
              temperatures, np.linspace(0.1, 0.9, 30).reshape(3, 10))
two = Closeup(Fact("Bo Larsen", "P26", "Ida Larsen"), ("Eva Holm",) * 10, np.array([False] * 10),
              temperatures, np.linspace(0.0, 0.02, 30).reshape(3, 10))
closeups = [one, two]"""
KNOWLEDGE = """from course_lib import widgets
from course_lib.shown import show

show(widgets.knowledge_explorer(closeups))"""


def explored(notebook: NotebookPage, number: int, name: str, start: str, moves: Sequence[Move]) -> None:
    """Run, make the moves one after another, and hold what must be true of every widget."""
    notebook.run()
    pictures = [notebook.shows(number, start).picture]
    notebook.keep(name, number)
    for label, keys, place, said in moves:
        notebook.press(number, label, *keys, place=place)
        pictures.append(notebook.shows(number, said).picture)
    assert len(set(pictures)) == len(pictures), "each move draws another figure"
    reached, moved = notebook.tab_stops(number), list(dict.fromkeys(label for label, *_ in moves))
    assert sorted(reached) == sorted(moved), "Tab reaches every control, and each was moved"
    assert notebook.layout(number) == []


def test_keys_move_the_curve_explorer(opened: Open) -> None:
    epochs = reference().epochs()
    said = partial(describe_epoch, epochs[epochs["seed"] == 0], band=epochs)
    explored(opened([CURVES]), 0, "curve_explorer", said(epoch=16, unknown_percent=50), [
        ("epoch", ["ArrowLeft"], 0, said(epoch=15, unknown_percent=50)),
        ("epoch", ["Home"], 0, said(epoch=0, unknown_percent=50)),
        ("% Unknown", ["End"], 0, said(epoch=0, unknown_percent=100)),
        ("% Unknown", ["Home"], 0, said(epoch=0, unknown_percent=0)),
        ("epoch", ["End"], 0, said(epoch=16, unknown_percent=0)),
        ("% Unknown", ["ArrowRight"], 0, said(epoch=16, unknown_percent=25)),
        ("measured", ["Space"], 2, said(epoch=16, unknown_percent=25, measures=("ood",))),
        ("rows", ["Enter"], 1, said(epoch=16, unknown_percent=25, measures=("ood",), variant="D_Known"))])


def test_keys_move_the_knowledge_explorer(opened: Open) -> None:
    made: dict[str, Any] = {}
    exec(QUESTIONS, made)

    def said(place: int, temperature: float, n_samples: int) -> str:
        return describe_closeup(made["closeups"][place], temperature=temperature, n_samples=n_samples)

    explored(opened([QUESTIONS, KNOWLEDGE]), 1, "knowledge_explorer", said(0, 0.5, 16), [
        ("question", ["Space", "ArrowDown", "Enter"], 0, said(1, 0.5, 16)),
        ("temperature", ["ArrowRight"], 0, said(1, 1.5, 16)),
        ("samples", ["Home"], 0, said(1, 1.5, 1)),
        ("samples", ["ArrowRight"], 0, said(1, 1.5, 2)),
        ("samples", ["End"], 0, said(1, 1.5, 64)),
        ("temperature", ["Home"], 0, said(1, 0.1, 64))])


def test_keys_move_the_memory_calculator(opened: Open) -> None:
    def said(model: str, gpu: str = "T4", **setting: int) -> str:
        return describe_memory(model, memory.estimate(memory.SHAPES[model], **setting), gpu=gpu)

    last = list(memory.SHAPES)[-1]
    other = next(place for place, gpu in enumerate(memory.GPUS) if gpu != "T4")
    explored(opened([MEMORY]), 0, "memory_calculator", said("SmolLM2-1.7B"), [
        ("model", ["End"], 0, said(last)),
        ("bits a weight", ["Space"], list(memory.BITS).index(16), said(last, bits=16)),
        ("LoRA rank", ["End"], 0, said(last, bits=16, rank=128)),
        ("rows a step", ["Home"], 0, said(last, bits=16, rank=128, batch=1)),
        ("tokens a row", ["End"], 0, said(last, bits=16, rank=128, batch=1, tokens=2048)),
        ("GPU", ["Enter"], other, said(last, list(memory.GPUS)[other], bits=16, rank=128, batch=1, tokens=2048))])


def test_keys_move_the_nf4_explorer(opened: Open) -> None:
    explored(opened([NF4]), 0, "nf4_explorer", "NF4 levels in 4 bits, blocks of 64:", [
        ("levels", ["Space"], 1, "even levels in 4 bits, blocks of 64:"),
        ("bits", ["Home"], 0, "even levels in 2 bits, blocks of 64:"),
        ("bits", ["ArrowRight"], 0, "even levels in 3 bits, blocks of 64:"),
        ("block size", ["End"], 0, "even levels in 3 bits, blocks of 4096:"),
        ("weights", ["End"], 0, "heavy tail, even levels in 3 bits, blocks of 4096:")])
