"""The course's widgets in JupyterLab, moved with the keyboard: picture and sentence follow, and all of it fits.

In each test the sentence that has to come is made by the library itself, for the place to which the keys have led.
"""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from course_lib.data.paper import CATEGORIES
from course_lib.experiments.reference import reference_runs
from course_lib.figures.plots.curves import describe_epoch
from course_lib.figures.plots.knowledge import describe_question
from course_lib.figures.plots.sizing import describe_memory
from course_lib.figures.widgets import board as mixing_board
from course_lib.figures.widgets.fact_browser import asked_text
from course_lib.models import memory
from tests.browser.notebook_page import NotebookPage, Open

pytestmark = pytest.mark.browser
Move = tuple[str, Sequence[str], int, str]  # control, keys, which of its buttons, what has to be said afterwards

CURVES = """from course_lib.figures.widgets import explorers as widgets
from course_lib.experiments.reference import reference_runs
from course_lib.figures.widgets.display import show

epochs = reference_runs().epochs()
show(widgets.curve_explorer(epochs[epochs["seed"] == 0], reference=epochs))"""
NF4 = """import numpy as np
from course_lib.figures.widgets import explorers as widgets
from course_lib.models import nf4
from course_lib.figures.widgets.display import show

weights = np.random.default_rng(0).normal(size=(256, 256)).astype(np.float32)
show(widgets.nf4_explorer(nf4.weight_samples(weights, seed=0)))"""
QUESTIONS = """import numpy as np
from course_lib.knowledge.one_question import OneQuestion
from course_lib.data.facts import Fact

temperatures = (0.1, 0.5, 1.5)
one = OneQuestion(Fact("Ana Maria Castellanos", "P19", "Oslo"), ("Oslo", "Bergen") * 5, np.array([True, False] * 5),
              temperatures, np.linspace(0.1, 0.9, 30).reshape(3, 10))
two = OneQuestion(Fact("Bo Larsen", "P26", "Ida Larsen"), ("Eva Holm",) * 10, np.array([False] * 10),
              temperatures, np.linspace(0.0, 0.02, 30).reshape(3, 10))
questions = [one, two]"""
BROWSED = f"""{QUESTIONS}

from course_lib.knowledge.scoring.prompts import Prompt
from course_lib.figures.widgets.fact_browser import Browse

prompts = [Prompt("Q: Where was Ida Holm born?" + chr(10) + "A: Narvik" + chr(10))] * 10
found = Browse((one, two), ("MaybeKnown", "WeaklyKnown"), {{"P19": prompts, "P26": prompts}})"""
BOARD = """import pandas as pd
from course_lib.data import pocket
from course_lib.data.facts import Fact
from course_lib.data.paper import CATEGORIES

table = pocket.exposures().query("split == 'train'").reset_index(drop=True)
facts = [Fact(row.subject, row.relation, row.object) for row in table.itertuples()]
bins = pd.cut(table["total"], [-1, 0, 16, 64, float("inf")], labels=list(reversed(CATEGORIES)))
labelled = pd.DataFrame({"relation": table["relation"], "category": bins.astype(str)})"""
SHOW = """from course_lib.figures.widgets import explorers as widgets
from course_lib.figures.widgets.display import show

show(widgets.{})"""


def explored(notebook: NotebookPage, number: int, name: str, start: str, moves: Sequence[Move], *,
             redraws: bool = True) -> None:
    """Run, make the moves one after another, and hold what must be true of every widget.

    ``redraws``: each move has to draw another figure; else only the text has to change.
    """
    notebook.run()
    views = [notebook.shows(number, start)]
    notebook.keep(name, number)
    for label, keys, place, said in moves:
        notebook.press(number, label, *keys, place=place)
        views.append(notebook.shows(number, said))
    seen = [view.picture if redraws else view.text for view in views]
    assert all(before != after for before, after in pairwise(seen)), "each move changes what is shown"
    reached, moved = notebook.tab_stops(number), list(dict.fromkeys(label for label, *_ in moves))
    assert sorted(reached) == sorted(moved), "Tab reaches every control, and each was moved"
    assert notebook.layout(number) == []


def test_keys_move_the_curve_explorer(opened: Open) -> None:
    epochs = reference_runs().epochs()
    said = partial(describe_epoch, epochs[epochs["seed"] == 0], reference=epochs)
    explored(opened([CURVES]), 0, "curve_explorer", said(epoch=16, unknown_percent=50), [
        ("epoch", ["ArrowLeft"], 0, said(epoch=15, unknown_percent=50)),
        ("epoch", ["Home"], 0, said(epoch=0, unknown_percent=50)),
        ("% Unknown", ["End"], 0, said(epoch=0, unknown_percent=100)),
        ("% Unknown", ["Home"], 0, said(epoch=0, unknown_percent=0)),
        ("epoch", ["End"], 0, said(epoch=16, unknown_percent=0)),
        ("% Unknown", ["ArrowRight"], 0, said(epoch=16, unknown_percent=25)),
        ("measured", ["Space"], 2, said(epoch=16, unknown_percent=25, measures=("ood",))),
        ("rows", ["Enter"], 1, said(epoch=16, unknown_percent=25, measures=("ood",), variant="D_Known"))])


def made(source: str) -> dict[str, Any]:
    """The names that a cell defines: the test holds what the kernel holds."""
    names: dict[str, Any] = {}
    exec(source, names)
    return names


def test_keys_move_the_knowledge_explorer(opened: Open) -> None:
    questions = made(QUESTIONS)["questions"]

    def said(place: int, temperature: float, n_samples: int) -> str:
        return describe_question(questions[place], temperature=temperature, n_samples=n_samples)

    notebook = opened([QUESTIONS, SHOW.format("knowledge_explorer(questions)")])
    explored(notebook, 1, "knowledge_explorer", said(0, 0.5, 16), [
        ("question", ["Space", "ArrowDown", "Enter"], 0, said(1, 0.5, 16)),
        ("temperature", ["ArrowRight"], 0, said(1, 1.5, 16)),
        ("samples", ["Home"], 0, said(1, 1.5, 1)),
        ("samples", ["ArrowRight"], 0, said(1, 1.5, 2)),
        ("samples", ["End"], 0, said(1, 1.5, 64)),
        ("temperature", ["Home"], 0, said(1, 0.1, 64))])


def test_keys_browse_facts_by_relation_and_category(opened: Open) -> None:
    found = made(BROWSED)["found"]
    one, two = (partial(describe_question, question) for question in found.questions)
    explored(opened([BROWSED, SHOW.format("knowledge_explorer(found)")]), 1, "knowledge_browser",
             one(temperature=0.5, n_samples=16), [
        ("relation", ["End"], 0, two(temperature=0.5, n_samples=16)),
        ("category", ["Space", "ArrowDown", "Enter"], 0, "No fact of this relation and category was drawn"),
        ("category", ["Home"], 0, two(temperature=0.5, n_samples=16)),
        ("relation", ["Home"], 0, one(temperature=0.5, n_samples=16)),
        ("question", ["End"], 0, two(temperature=0.5, n_samples=16)),
        ("temperature", ["Home"], 0, two(temperature=0.1, n_samples=16)),
        ("samples", ["End"], 0, two(temperature=0.1, n_samples=64)),
        ("prompt to read", ["End"], 0, asked_text(found, 1, 10))], redraws=False)


def test_keys_move_the_mixing_board(opened: Open) -> None:
    names = made(BOARD)
    shares = [dict.fromkeys(CATEGORIES, 25)]
    for category, value in (("Unknown", 100), ("HighlyKnown", 1), ("MaybeKnown", 100), ("WeaklyKnown", 100)):
        shares.append(mixing_board.rebalance(shares[-1], category, value))

    def said(place: int, rule: str = "category") -> str:
        return mixing_board.describe_board(mixing_board.board(names["labelled"], shares[place], rule=rule))

    explored(opened([BOARD, SHOW.format("mixing_board(facts, labelled)")]), 1, "mixing_board", said(0), [
        ("Unknown", ["End"], 0, said(1)),
        ("HighlyKnown", ["ArrowRight"], 0, said(2)),
        ("MaybeKnown", ["End"], 0, said(3)),
        ("WeaklyKnown", ["End"], 0, said(4)),
        ("size of D", ["Space"], 1, said(4, "known"))])


def test_keys_move_the_memory_calculator(opened: Open) -> None:
    def said(model: str, gpu: str = "T4", **setting: int) -> str:
        return describe_memory(model, memory.estimate_trainer(memory.SHAPES[model], **setting), gpu=gpu)

    last = list(memory.SHAPES)[-1]
    other = next(place for place, gpu in enumerate(memory.GPUS) if gpu != "T4")
    explored(opened([SHOW.format("memory_calculator()")]), 0, "memory_calculator", said("SmolLM2-1.7B"), [
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
