"""Widgets: both sliders moved to both ends, in plain Python and in a real kernel, and what they say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import IPython.display
import matplotlib.pyplot as plt
import pandas as pd
import pytest

from course_lib import widgets
from course_lib.files import CourseError

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


def test_the_curve_at_an_epoch_is_the_mean_over_seeds() -> None:
    ax = widgets.curve_at_epoch(SWEEP, epoch=1, unknown_percent=50)
    drawn = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in ax.lines[:2]}
    plt.close(ax.figure)
    assert drawn == {"test": ([0, 50, 100], [41, 31, 41]), "ood": ([0, 50, 100], [2, 2, 2])}


def test_the_chosen_mix_is_marked() -> None:
    ax = plt.figure().add_subplot()
    assert widgets.curve_at_epoch(SWEEP, epoch=1, unknown_percent=100, ax=ax) is ax
    assert list(ax.lines[2].get_xdata()) == [100, 100]
    assert ax.get_title() == "after epoch 1"
    plt.close(ax.figure)


def test_the_frame_is_the_same_for_every_epoch() -> None:
    tops = [widgets.curve_at_epoch(SWEEP, epoch=epoch, unknown_percent=0).get_ylim()[1] for epoch in (0, 1, 2)]
    plt.close("all")
    assert tops == pytest.approx([1.1 * 42] * 3)


def test_a_model_that_never_answers_right_can_be_drawn() -> None:
    nothing = run(0, test=0).assign(test=0.0, ood=0.0)
    ax = widgets.curve_at_epoch(nothing, epoch=0, unknown_percent=0)
    plt.close(ax.figure)
    assert ax.get_ylim() == (0, 1)


def test_an_epoch_is_described_by_means_over_seeds() -> None:
    assert widgets.describe_epoch(SWEEP, epoch=2, unknown_percent=50) == (
        "50 % Unknown, epoch 2: test 32.0 %, out of distribution 4.0 %; 60 % of Known fitted, 20 % of Unknown fitted.")


def test_a_mix_without_unknown_rows_is_described_without_them() -> None:
    assert widgets.describe_epoch(SWEEP, epoch=1, unknown_percent=0) == (
        "0 % Unknown, epoch 1: test 41.0 %, out of distribution 2.0 %; 30 % of Known fitted.")


def test_an_epoch_that_no_run_has_reached_is_described_as_such() -> None:
    assert widgets.describe_epoch(SWEEP, epoch=9, unknown_percent=50) == (
        "50 % Unknown, epoch 9: no run has come so far.")


def test_the_sliders_offer_every_mix_and_every_epoch(shown: list) -> None:
    percent, epoch, _ = widgets.curve_explorer(SWEEP).children
    assert percent.options == (("0", 0.0), ("50", 50.0), ("100", 100.0))
    assert (epoch.min, epoch.max, epoch.value, percent.value) == (0, 2, 2, 50)


def test_a_figure_is_drawn_at_once_and_at_every_move(shown: list) -> None:
    percent, epoch, _ = widgets.curve_explorer(SWEEP).children
    assert len(shown) == 1
    for slider, value in ((percent, 0.0), (percent, 100.0), (epoch, 0), (epoch, 2)):
        slider.value = value
    assert [figure.axes[0].get_title()[-1] for figure in shown] == ["2", "2", "2", "0", "2"]


def test_no_figure_stays_open(shown: list) -> None:
    percent, epoch, _ = widgets.curve_explorer(SWEEP).children
    percent.value, epoch.value = 0.0, 0
    assert plt.get_fignums() == []


def test_the_sentence_is_printed_under_the_figure(shown: list, capsys: pytest.CaptureFixture[str]) -> None:
    percent, _, _ = widgets.curve_explorer(SWEEP).children
    percent.value = 0.0
    assert capsys.readouterr().out.splitlines()[-1].startswith("0 % Unknown, epoch 2: test 42.0 %")


def test_runs_of_d_known_are_not_offered(shown: list) -> None:
    table = pd.concat([run(50), run(25, variant="D_Known")])
    assert widgets.curve_explorer(table).children[0].options == (("50", 50.0),)


def test_no_run_of_d_is_refused_in_words() -> None:
    with pytest.raises(CourseError, match="no run of D to explore; run the sweep"):
        widgets.curve_explorer(run(25, variant="D_Known"))


CELL = """
%matplotlib inline
import sys
sys.path.insert(0, {tests!r})
from test_widgets import SWEEP
from course_lib.widgets import curve_explorer
import matplotlib.pyplot as plt
explorer = curve_explorer(SWEEP)
for slider, value in ((0, 0.0), (0, 100.0), (1, 0), (1, 1)):
    explorer.children[slider].value = value
print(plt.get_fignums())
explorer
"""


@pytest.mark.slow
def test_in_a_kernel_the_output_holds_the_last_figure_and_no_error(tmp_path: Path) -> None:
    import nbformat
    from nbclient import NotebookClient

    here = Path(__file__).parent
    cell = nbformat.v4.new_code_cell(CELL.format(tests=str(here)))
    notebook = nbformat.v4.new_notebook(cells=[cell])
    where = {"metadata": {"path": here.parent}}
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources=where).execute()
    assert cell.outputs[0]["text"] == "[]\n"
    states = notebook.metadata["widgets"]["application/vnd.jupyter.widget-state+json"]["state"].values()
    figure, sentence = next(s["state"]["outputs"] for s in states if s["model_name"] == "OutputModel")
    assert "image/png" in figure["data"]
    assert sentence["text"].startswith("100 % Unknown, epoch 1:")
    assert '"error"' not in json.dumps(cell.outputs)
