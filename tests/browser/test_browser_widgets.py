"""The course's widgets in JupyterLab, moved with the keyboard: picture and sentence follow, and all of it fits.

In each test the sentence that has to come is made by the library itself, for the place to which the keys have led.
"""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from types import ModuleType

import pytest

from course_lib.data.paper import CATEGORIES
from course_lib.figures.plots.curves import describe_epoch
from course_lib.figures.plots.knowledge import describe_question
from course_lib.figures.plots.sizing import describe_memory
from course_lib.figures.widgets import board as mixing_board
from course_lib.figures.widgets.fact_browser import asked_text
from course_lib.models import memory
from tests.browser.notebook_page import NotebookPage, Open

pytestmark = pytest.mark.browser
Move = tuple[str, Sequence[str], int, str]  # control, keys, which of its buttons, what has to be said afterwards

SHOW = """from course_lib import widgets
from course_lib.lessons import show
from tests.browser.material import *

show(widgets.{})"""


@pytest.fixture
def material() -> ModuleType:
    """What the notebooks show; imported late, since it computes."""
    from tests.browser import material

    return material


def explored(notebook: NotebookPage, name: str, start: str, moves: Sequence[Move], *, redraws: bool = True) -> None:
    """Run, make the moves one after another, and hold what must be true of every widget.

    ``redraws``: each move has to draw another figure; else only the text has to change.
    """
    notebook.run()
    views = [notebook.shows(0, start)]
    notebook.keep(name, 0)
    for label, keys, place, said in moves:
        notebook.press(0, label, *keys, place=place)
        views.append(notebook.shows(0, said))
    seen = [view.picture if redraws else view.text for view in views]
    assert all(before != after for before, after in pairwise(seen)), "each move changes what is shown"
    reached, moved = notebook.tab_stops(0), list(dict.fromkeys(label for label, *_ in moves))
    assert sorted(reached) == sorted(moved), "Tab reaches every control, and each was moved"
    assert notebook.layout(0) == []


def test_keys_move_the_curve_explorer(opened: Open, material: ModuleType) -> None:
    said = partial(describe_epoch, material.FIRST_SEED, reference=material.EPOCHS)
    notebook = opened([SHOW.format("curve_explorer(FIRST_SEED, reference=EPOCHS)")])
    explored(notebook, "curve_explorer", said(epoch=16, unknown_percent=50), [
        ("epoch", ["ArrowLeft"], 0, said(epoch=15, unknown_percent=50)),
        ("epoch", ["Home"], 0, said(epoch=0, unknown_percent=50)),
        ("% Unknown", ["End"], 0, said(epoch=0, unknown_percent=100)),
        ("% Unknown", ["Home"], 0, said(epoch=0, unknown_percent=0)),
        ("epoch", ["End"], 0, said(epoch=16, unknown_percent=0)),
        ("% Unknown", ["ArrowRight"], 0, said(epoch=16, unknown_percent=25)),
        ("measured", ["Space"], 2, said(epoch=16, unknown_percent=25, measures=("ood",))),
        ("rows", ["Enter"], 1, said(epoch=16, unknown_percent=25, measures=("ood",), variant="D_Known"))])


def test_keys_move_the_knowledge_explorer(opened: Open, material: ModuleType) -> None:
    def said(place: int, temperature: float, n_samples: int) -> str:
        return describe_question(material.QUESTIONS[place], temperature=temperature, n_samples=n_samples)

    explored(opened([SHOW.format("knowledge_explorer(QUESTIONS)")]), "knowledge_explorer", said(0, 0.5, 16), [
        ("question", ["Space", "ArrowDown", "Enter"], 0, said(1, 0.5, 16)),
        ("temperature", ["ArrowRight"], 0, said(1, 1.5, 16)),
        ("samples", ["Home"], 0, said(1, 1.5, 1)),
        ("samples", ["ArrowRight"], 0, said(1, 1.5, 2)),
        ("samples", ["End"], 0, said(1, 1.5, 64)),
        ("temperature", ["Home"], 0, said(1, 0.1, 64))])


def test_keys_browse_facts_by_relation_and_category(opened: Open, material: ModuleType) -> None:
    one, two = (partial(describe_question, question) for question in material.QUESTIONS)
    notebook = opened([SHOW.format("knowledge_explorer(DRAWN)")])
    explored(notebook, "knowledge_browser", one(temperature=0.5, n_samples=16), [
        ("relation", ["End"], 0, two(temperature=0.5, n_samples=16)),
        ("category", ["Space", "ArrowDown", "Enter"], 0, "No fact of this relation and category was drawn"),
        ("category", ["Home"], 0, two(temperature=0.5, n_samples=16)),
        ("relation", ["Home"], 0, one(temperature=0.5, n_samples=16)),
        ("question", ["End"], 0, two(temperature=0.5, n_samples=16)),
        ("temperature", ["Home"], 0, two(temperature=0.1, n_samples=16)),
        ("samples", ["End"], 0, two(temperature=0.1, n_samples=64)),
        ("prompt to read", ["End"], 0, asked_text(material.DRAWN, 1, 10))], redraws=False)


def test_keys_move_the_mixing_board(opened: Open, material: ModuleType) -> None:
    shares = [dict.fromkeys(CATEGORIES, 25)]
    for category, value in (("Unknown", 100), ("HighlyKnown", 1), ("MaybeKnown", 100), ("WeaklyKnown", 100)):
        shares.append(mixing_board.rebalance(shares[-1], category, value))

    def said(place: int, rule: str = "category") -> str:
        return mixing_board.describe_board(mixing_board.board(material.LABELLED, shares[place], rule=rule))

    explored(opened([SHOW.format("mixing_board(FACTS, LABELLED)")]), "mixing_board", said(0), [
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
    explored(opened([SHOW.format("memory_calculator()")]), "memory_calculator", said("SmolLM2-1.7B"), [
        ("model", ["End"], 0, said(last)),
        ("bits a weight", ["Space"], list(memory.BITS).index(16), said(last, bits=16)),
        ("LoRA rank", ["End"], 0, said(last, bits=16, rank=128)),
        ("rows a step", ["Home"], 0, said(last, bits=16, rank=128, batch=1)),
        ("tokens a row", ["End"], 0, said(last, bits=16, rank=128, batch=1, tokens=2048)),
        ("GPU", ["Enter"], other, said(last, list(memory.GPUS)[other], bits=16, rank=128, batch=1, tokens=2048))])


def test_keys_move_the_nf4_explorer(opened: Open) -> None:
    explored(opened([SHOW.format("nf4_explorer(WEIGHTS)")]), "nf4_explorer", "NF4 levels in 4 bits, blocks of 64:", [
        ("levels", ["Space"], 1, "even levels in 4 bits, blocks of 64:"),
        ("bits", ["Home"], 0, "even levels in 2 bits, blocks of 64:"),
        ("bits", ["ArrowRight"], 0, "even levels in 3 bits, blocks of 64:"),
        ("block size", ["End"], 0, "even levels in 3 bits, blocks of 4096:"),
        ("weights", ["End"], 0, "heavy tail, even levels in 3 bits, blocks of 4096:")])
