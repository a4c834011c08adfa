"""Common to all figures: the given axes are drawn on, and texts that others wrote stay short texts."""

import io
from dataclasses import replace

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.cbook import is_math_text

from course_lib.data.facts import Fact
from course_lib.figures import plots
from course_lib.figures.widgets import ask_model
from course_lib.figures.widgets.ask_model import Answer, Asked, certainty_bars
from course_lib.knowledge.one_question import OneQuestion
from course_lib.models import memory, nf4
from tests.support.made_runs import SWEEP, run

SHARES = {"HighlyKnown": 0.5, "MaybeKnown": 0.25, "WeaklyKnown": 0.05, "Unknown": 0.2}
D = SWEEP[SWEEP["variant"] == "D"].assign(lr=1e-4)
MEMORY = memory.estimate_trainer(memory.SHAPES["SmolLM2-1.7B"], bits=4, rank=16, batch=8, tokens=128)
LEVELS = np.array([-1, 0, 1], np.float32)
SCALED = nf4.quantise(np.array([4, 1, -4, 0], np.float32), LEVELS, block=4)
ERRORS = pd.DataFrame({"weights": "w", "levels": "NF4", "block": [16, 64], "error": [0.1, 0.2]})
LOST = pd.DataFrame({"group": ["never"], "at_stake": [4], "mean": [50.0], "low": [10.0], "high": [90.0]})
POINT = pd.DataFrame({"method": ["SliCK"], "setting": [10], "questions": [4], "called": [50.0], "mean": [10.0],
                      "low": [5.0], "high": [20.0]})
READ = pd.DataFrame({"category": ["Unknown"], "readings": [0]})
ANSWER = Answer("A", 0.5, "wrong")


def question(text: str) -> OneQuestion:
    return OneQuestion(Fact(text, "P19", text), (text, text), np.array([False, True]), (0.5,), np.array([[0.4, 0.9]]))


FOREIGN = {  # each puts a text of others wherever the function takes one
    "hallucination_curve": lambda text, **ax: plots.hallucination_curve(
        SWEEP.assign(variant=text).rename(columns={"ood": text or "ood"}), variants=(text,), measure=text or "ood",
        **ax),
    "category_bars": lambda text, **ax: plots.category_bars({text: SHARES, f"{text} again": SHARES}, **ax),
    "rate_curves": lambda text, **ax: plots.rate_curves(D.assign(**{text: 1.0}), measure=text, **ax),
    "curve_at_epoch": lambda text, **ax: plots.curve_at_epoch(SWEEP.assign(variant=text), epoch=1, unknown_percent=50,
                                                              variant=text, **ax),
    "question_bars": lambda text, **ax: plots.question_bars(question(text), temperature=0.5, n_samples=1, **ax),
    "group_histograms": lambda text, **ax: plots.group_histograms([0, 1], [0, 1], names=(text, f"{text} 2"),
                                                                  xlabel=text, **ax),
    "memory_bars": lambda text, **ax: plots.memory_bars({text: MEMORY}, gpus={text: memory.GPUS["T4"]}, **ax),
    "level_histogram": lambda text, **ax: plots.level_histogram(SCALED, LEVELS, title=text, **ax),
    "error_curves": lambda text, **ax: plots.error_curves(ERRORS.assign(weights=text), **ax),
    "lost_bars": lambda text, **ax: plots.lost_bars(LOST.assign(group=text), **ax),
    "certainty_bars": lambda text, **ax: certainty_bars([Asked(text, text, replace(ANSWER, text=text), ANSWER)], **ax)}
OUR_OWN = {  # they draw numbers, under names of ours
    "run_curve": lambda _, **ax: plots.run_curve(run(), **ax),
    "run_lines": lambda _, **ax: plots.run_lines(run(), **ax),
    "exposure_bars": lambda _, **ax: plots.exposure_bars(READ, **ax),
    "category_curve": lambda _, **ax: plots.category_curve(run().assign(train_Unknown=[0, 4, 49]), **ax),
    "unknown_curve": lambda _, **ax: plots.unknown_curve(POINT, **ax)}
HOSTILE = ("$5 and $6", r"\$1 $\frac{$", "__init__", "a\nb\rc\t\x00\x07\x1b[31m\u202e\u200f\u200b", "x" * 32_000,
           "word " * 6_400, "^_{}#~ %s {0} %(x)s <b>&amp;</b>", "")


def test_every_function_that_draws_is_tried_here() -> None:
    made_by = {name: getattr(plots, name) for name in plots.__all__} | vars(ask_model)
    draws = {name for name, made in made_by.items()
             if not name.startswith("_") and "Axes" in str(getattr(made, "__annotations__", {}).get("return"))}
    assert draws == FOREIGN.keys() | OUR_OWN.keys() | {"new_axes", "new_panels"}


@pytest.mark.parametrize("name", [*FOREIGN, *OUR_OWN])
def test_a_given_ax_is_drawn_on_and_returned_and_without_one_a_figure_is_made(name: str) -> None:
    draw, ax = (FOREIGN | OUR_OWN)[name], plt.figure().add_subplot()
    assert draw("test", ax=ax) is ax and plt.get_fignums() == [ax.figure.number]
    assert draw("test").figure is not ax.figure


@pytest.mark.filterwarnings("ignore:Glyph", "ignore:No artists with labels", "ignore:constrained_layout not applied")
@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
@pytest.mark.parametrize("name", FOREIGN)
def test_a_text_of_others_is_drawn_as_a_short_text(name: str, text: str) -> None:
    figure = FOREIGN[name](text).figure
    figure.canvas.print_figure(io.BytesIO(), bbox_inches="tight", dpi=20)  # as a notebook does it
    texts = [artist.get_text() for artist in figure.findobj(matplotlib.text.Text)]
    assert not any(is_math_text(one) for one in texts) and max(map(len, texts)) <= 100
    assert all(line.isprintable() for one in texts for line in one.split("\n"))


@pytest.mark.parametrize(("text", "shown"), [("$5 and $6", r"\$5 and \$6"), (r"a\$b", r"a\\$b"), ("_a", " _a"),
                                             ("a \n\t b\x00", "a b"), ("x" * 50, "x" * 41 + "..."), (7, "7")])
def test_a_text_of_others_in_a_figure_is_one_line_and_no_formula(text, shown) -> None:
    assert plots.plain_text(text) == shown
