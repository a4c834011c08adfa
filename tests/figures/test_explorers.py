"""Widgets: every control moved to both ends, in plain Python and in a real kernel, and what they say."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import IPython.display
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from course_lib.data.facts import Fact
from course_lib.figures import plots, widgets
from course_lib.files import CourseError
from course_lib.knowledge.one_question import OneQuestion

NAN = float("nan")


def run(percent: float, seed: int = 0, test: float = 40.0, epochs: int = 3, **more: object) -> pd.DataFrame:
    """Test rises by 1, ood by 2 an epoch; Unknown rows are missing at 0 %."""
    unknown = [NAN] * epochs if percent == 0 else [10.0 * epoch for epoch in range(epochs)]
    return pd.DataFrame({"variant": "D", "unknown_percent": percent, "seed": seed, "epoch": range(epochs),
                         "test": [test + epoch for epoch in range(epochs)], "ood": [2.0 * e for e in range(epochs)],
                         "known_fitted": [30.0 * e for e in range(epochs)], "unknown_fitted": unknown} | more)


SWEEP = pd.concat([run(0), run(50), run(50, 1, test=20), run(100)])


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Iterator[list]:
    """What is displayed, kept instead; figures are closed after each test."""
    objects: list = []
    monkeypatch.setattr(IPython.display, "display", objects.append)
    yield objects
    plt.close("all")


def last_said(capsys: pytest.CaptureFixture[str]) -> str:
    """What was printed after the output had been cleared for the last time, as one line."""
    return " ".join(capsys.readouterr().out.rpartition("\r")[2].split())


def test_the_sentence_is_printed_in_lines_that_fit_on_a_small_screen(shown: list, capsys: pytest.CaptureFixture[str]
                                                                     ) -> None:
    widgets.curve_explorer(SWEEP)
    lines = capsys.readouterr().out.rpartition("\r")[2].splitlines()
    assert len(lines) == 2 and max(map(len, lines)) <= 88


def test_the_curve_at_an_epoch_is_the_mean_over_seeds() -> None:
    ax = plots.curve_at_epoch(SWEEP, epoch=1, unknown_percent=50)
    drawn = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in ax.lines[:2]}
    plt.close(ax.figure)
    assert drawn == {"test": ([0, 50, 100], [41, 31, 41]), "ood": ([0, 50, 100], [2, 2, 2])}


def test_the_chosen_mix_is_marked() -> None:
    ax = plt.figure().add_subplot()
    assert plots.curve_at_epoch(SWEEP, epoch=1, unknown_percent=100, ax=ax) is ax
    assert list(ax.lines[2].get_xdata()) == [100, 100]
    assert ax.get_title() == "after epoch 1"
    plt.close(ax.figure)


def test_the_frame_is_the_same_for_every_epoch() -> None:
    tops = [plots.curve_at_epoch(SWEEP, epoch=epoch, unknown_percent=0).get_ylim()[1] for epoch in (0, 1, 2)]
    plt.close("all")
    assert tops == pytest.approx([1.1 * 42] * 3)


def test_a_model_that_never_answers_right_can_be_drawn() -> None:
    nothing = run(0, test=0).assign(test=0.0, ood=0.0)
    ax = plots.curve_at_epoch(nothing, epoch=0, unknown_percent=0)
    plt.close(ax.figure)
    assert ax.get_ylim() == (0, 1)


def test_an_epoch_is_described_by_means_over_seeds() -> None:
    assert re.match(r"50 % Unknown, epoch 2: test 32\.0 %, .* 4\.0 %; 60 % .*Known .*20 % .*Unknown",
                    plots.describe_epoch(SWEEP, epoch=2, unknown_percent=50))


def test_a_mix_without_unknown_rows_is_described_without_them() -> None:
    assert re.fullmatch(r"0 % Unknown, epoch 1: test 41\.0 %, .* 2\.0 %; 30 % [^%]*Known[^%]*",
                        plots.describe_epoch(SWEEP, epoch=1, unknown_percent=0))


def test_an_epoch_that_no_run_has_reached_is_described_as_such() -> None:
    assert re.fullmatch("50 % Unknown, epoch 9: [^0-9]*",
                        plots.describe_epoch(SWEEP, epoch=9, unknown_percent=50))


def test_the_sliders_offer_every_mix_and_every_epoch(shown: list) -> None:
    percent, epoch, *_ = widgets.curve_explorer(SWEEP).children
    assert percent.options == (("0", 0.0), ("50", 50.0), ("100", 100.0))
    assert (epoch.min, epoch.max, epoch.value, percent.value) == (0, 2, 2, 50)


def test_a_figure_is_drawn_at_once_and_at_every_move(shown: list) -> None:
    percent, epoch, *_ = widgets.curve_explorer(SWEEP).children
    assert len(shown) == 1
    for slider, value in ((percent, 0.0), (percent, 100.0), (epoch, 0), (epoch, 2)):
        slider.value = value
    assert [figure.axes[0].get_title()[-1] for figure in shown] == ["2", "2", "2", "0", "2"]


def test_no_figure_stays_open(shown: list) -> None:
    percent, epoch, *_ = widgets.curve_explorer(SWEEP).children
    percent.value, epoch.value = 0.0, 0
    assert plt.get_fignums() == []


def test_the_sentence_is_printed_under_the_figure(shown: list, capsys: pytest.CaptureFixture[str]) -> None:
    percent, *_ = widgets.curve_explorer(SWEEP).children
    percent.value = 0.0
    assert last_said(capsys).startswith("0 % Unknown, epoch 2: test 42.0 %")


def test_runs_of_d_known_are_not_offered(shown: list) -> None:
    table = pd.concat([run(50), run(25, variant="D_Known")])
    assert widgets.curve_explorer(table).children[0].options == (("50", 50.0),)


def test_no_run_of_d_is_refused() -> None:
    with pytest.raises(CourseError, match=r"\bD\b"):
        widgets.curve_explorer(run(25, variant="D_Known"))



def near(subject: str, right: list[bool], p: list[list[float]], temperatures: tuple[float, ...] = (0.1, 0.5, 1.5)
         ) -> OneQuestion:
    return OneQuestion(Fact(subject, "P19", "Oslo"), ("Oslo",) * len(right), np.array(right), temperatures, np.array(p))


NEAR = [near("Ana", [False, False], [[0, 0], [0, 0.5], [0.5, 0.5]]), near("Bo", [True, False], [[1, 0]] * 3)]


def test_the_explorer_offers_questions_temperatures_and_1_to_64_samples(shown: list) -> None:
    question, temperature, samples, _ = widgets.knowledge_explorer(NEAR).children
    assert question.options == (("1. Where was Ana born?", 0), ("2. Where was Bo born?", 1))
    assert temperature.options == (("0.1", 0.1), ("0.5", 0.5), ("1.5", 1.5))
    assert (samples.min, samples.max) == (1, 64)


def test_the_explorer_starts_at_the_papers_protocol(shown: list) -> None:
    question, temperature, samples, _ = widgets.knowledge_explorer(NEAR).children
    assert (question.value, temperature.value, samples.value) == (0, 0.5, 16)
    assert [figure.axes[0].get_title() for figure in shown] == ["temperature 0.5, 16 samples a prompt"]


def test_without_the_papers_temperature_the_explorer_starts_next_to_it(shown: list) -> None:
    one = near("Ana", [False], [[0.5], [0.5]], temperatures=(0.2, 0.9))
    assert widgets.knowledge_explorer([one]).children[1].value == 0.2


@pytest.mark.parametrize(("control", "value", "said"), [
    (0, 1, r"Where was Bo born\? \(Oslo\): 1 of 2 "), (1, 0.1, r"temperature 0\.1 .* 0, "),
    (1, 1.5, r"temperature 1\.5 .* 0\.5, "), (2, 1, r" 1 samples .*WeaklyKnown 50\.0 %, Unknown 50\.0 %\."),
    (2, 64, r" 64 samples .*WeaklyKnown 100\.0 %\.")])
def test_every_control_changes_what_is_said_at_both_of_its_ends(shown: list, capsys: pytest.CaptureFixture[str],
                                                                control: int, value: float, said: str) -> None:
    widgets.knowledge_explorer(NEAR).children[control].value = value
    assert re.search(said, last_said(capsys))
    assert len(shown) == 2 and plt.get_fignums() == []


def test_moving_back_to_the_first_question_draws_it_again(shown: list, capsys: pytest.CaptureFixture[str]) -> None:
    question = widgets.knowledge_explorer(NEAR).children[0]
    question.value, question.value = 1, 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "Where" in line]  # clear_output prints as well
    assert [line[:len("Where was An")] for line in lines] == ["Where was An", "Where was Bo", "Where was An"]


@pytest.mark.parametrize("questions", [[], [NEAR[0], near("Bo", [True], [[1.0]], temperatures=(0.5,))]],
                         ids=["none", "two grids"])
def test_questions_without_one_set_of_temperatures_are_refused(questions: list) -> None:
    with pytest.raises(CourseError, match=f"^{len(questions)} .*{len(questions)} "):
        widgets.knowledge_explorer(questions)

CELL = """
%matplotlib inline
import re
import sys
sys.path.insert(0, {tests!r})
from tests.figures.test_explorers import SWEEP
from course_lib.figures.widgets.explorers import curve_explorer
import matplotlib.pyplot as plt
explorer = curve_explorer(SWEEP)
for slider, value in ((0, 0.0), (0, 100.0), (1, 0), (1, 1)):
    explorer.children[slider].value = value
print(plt.get_fignums())
explorer
"""


def last_output(source: str) -> list[dict]:
    """What a cell that shows an explorer holds in its output widget after a run without an error."""
    import nbformat
    from nbclient import NotebookClient

    from course_lib.lessons.builder.execution import kernel_manager

    here = Path(__file__).parents[2]
    cell = nbformat.v4.new_code_cell(source.format(tests=str(here)))
    notebook = nbformat.v4.new_notebook(cells=[cell])
    where = {"metadata": {"path": here}}
    NotebookClient(notebook, timeout=120, kernel_manager_class=kernel_manager(), resources=where).execute()
    assert cell.outputs[0]["text"].strip() == "[]" and '"error"' not in json.dumps(cell.outputs)
    states = notebook.metadata["widgets"]["application/vnd.jupyter.widget-state+json"]["state"].values()
    return next(s["state"]["outputs"] for s in states if s["model_name"] == "OutputModel")


@pytest.mark.slow
def test_in_a_kernel_the_output_holds_the_last_figure_and_no_error() -> None:
    figure, sentence = last_output(CELL)
    assert "image/png" in figure["data"]
    assert sentence["text"].startswith("100 % Unknown, epoch 1:")


KNOWLEDGE_CELL = """
%matplotlib inline
import sys
sys.path.insert(0, {tests!r})
from tests.figures.test_explorers import NEAR
from course_lib.figures.widgets.explorers import knowledge_explorer
import matplotlib.pyplot as plt
explorer = knowledge_explorer(NEAR)
for control, value in ((1, 1.5), (1, 0.1), (2, 64), (2, 1), (0, 1), (0, 0), (1, 0.5)):
    explorer.children[control].value = value
print(plt.get_fignums())
explorer
"""


@pytest.mark.slow
def test_in_a_kernel_the_explorer_of_questions_holds_the_last_figure_and_no_error() -> None:
    figure, sentence = last_output(KNOWLEDGE_CELL)
    assert "image/png" in figure["data"]
    said = " ".join(sentence["text"].split())
    assert re.search(r" 1 samples .*WeaklyKnown 50\.0 %, Unknown 50\.0 %\.$", said)
