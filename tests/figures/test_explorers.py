"""Widgets: every control moved to both ends, in plain Python and in a real kernel, and what they say."""

import re

import IPython.display
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from course_lib.data.facts import Fact
from course_lib.figures import widgets
from course_lib.files import CourseError
from course_lib.knowledge.one_question import OneQuestion
from tests.support.made_runs import RISING, rising


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list:
    """What is displayed, kept instead."""
    objects: list = []
    monkeypatch.setattr(IPython.display, "display", objects.append)
    return objects


def last_said(capsys: pytest.CaptureFixture[str]) -> str:
    """What was printed after the output had been cleared for the last time."""
    return capsys.readouterr().out.rpartition("\r")[2]


def test_the_sentence_is_printed_in_lines_that_fit_on_a_small_screen(shown: list, capsys) -> None:
    widgets.curve_explorer(RISING)
    lines = last_said(capsys).splitlines()
    assert len(lines) == 2 and max(map(len, lines)) <= 88


def test_the_sliders_offer_every_mix_and_every_epoch(shown: list) -> None:
    percent, epoch, *_ = widgets.curve_explorer(RISING).children
    assert percent.options == (("0", 0.0), ("50", 50.0), ("100", 100.0))
    assert (epoch.min, epoch.max, epoch.value, percent.value) == (0, 2, 2, 50)


def test_a_figure_is_drawn_at_once_and_at_every_move_and_none_stays_open(shown: list, capsys) -> None:
    percent, epoch, *_ = widgets.curve_explorer(RISING).children
    assert len(shown) == 1
    for slider, value in ((percent, 0.0), (percent, 100.0), (epoch, 0), (epoch, 2)):
        slider.value = value
    assert [figure.axes[0].get_title()[-1] for figure in shown] == ["2", "2", "2", "0", "2"]
    assert last_said(capsys).startswith("100 % Unknown, epoch 2: test 42.0 %") and plt.get_fignums() == []


def test_mixes_of_d_known_alone_are_not_offered(shown: list) -> None:
    table = pd.concat([rising(50), rising(25, variant="D_Known")])
    assert widgets.curve_explorer(table).children[0].options == (("50", 50.0),)
    with pytest.raises(CourseError, match=r"\bD\b"):
        widgets.curve_explorer(rising(25, variant="D_Known"))


def question(subject: str, right: list[bool], p: list[list[float]], temperatures: tuple[float, ...] = (0.1, 0.5, 1.5)
             ) -> OneQuestion:
    return OneQuestion(Fact(subject, "P19", "Oslo"), ("Oslo",) * len(right), np.array(right), temperatures, np.array(p))


TWO = [question("Ana", [False, False], [[0, 0], [0, 0.5], [0.5, 0.5]]), question("Bo", [True, False], [[1, 0]] * 3)]


def test_the_explorer_offers_questions_temperatures_and_1_to_64_samples_from_the_papers_protocol_on(shown: list
                                                                                                    ) -> None:
    chosen, temperature, samples, _ = widgets.knowledge_explorer(TWO).children
    assert chosen.options == (("1. Where was Ana born?", 0), ("2. Where was Bo born?", 1))
    assert temperature.options == (("0.1", 0.1), ("0.5", 0.5), ("1.5", 1.5))
    assert (samples.min, samples.max) == (1, 64)
    assert (chosen.value, temperature.value, samples.value) == (0, 0.5, 16)
    assert [figure.axes[0].get_title() for figure in shown] == ["temperature 0.5, 16 samples a prompt"]


def test_without_the_papers_temperature_the_explorer_starts_next_to_it(shown: list) -> None:
    one = question("Ana", [False], [[0.5], [0.5]], temperatures=(0.2, 0.9))
    assert widgets.knowledge_explorer([one]).children[1].value == 0.2


@pytest.mark.parametrize(("control", "value", "said"), [
    (0, 1, r"Where was Bo born\? \(Oslo\): 1 of 2 "), (1, 0.1, r"temperature 0\.1 .* 0, "),
    (1, 1.5, r"temperature 1\.5 .* 0\.5, "), (2, 1, r" 1 samples .*WeaklyKnown 50\.0 %, Unknown 50\.0 %\."),
    (2, 64, r" 64 samples .*WeaklyKnown 100\.0 %\.")])
def test_every_control_changes_what_is_said_at_both_of_its_ends(shown: list, capsys, control: int, value: float,
                                                                said: str) -> None:
    widgets.knowledge_explorer(TWO).children[control].value = value
    assert re.search(said, " ".join(last_said(capsys).split()))
    assert len(shown) == 2 and plt.get_fignums() == []


def test_moving_back_to_the_first_question_draws_it_again(shown: list, capsys) -> None:
    chosen = widgets.knowledge_explorer(TWO).children[0]
    chosen.value, chosen.value = 1, 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "Where" in line]  # clear_output prints as well
    assert [line[:len("Where was An")] for line in lines] == ["Where was An", "Where was Bo", "Where was An"]


@pytest.mark.parametrize("questions", [[], [TWO[0], question("Bo", [True], [[1.0]], temperatures=(0.5,))]],
                         ids=["none", "two grids"])
def test_questions_without_one_set_of_temperatures_are_refused(questions: list) -> None:
    with pytest.raises(CourseError, match=f"^{len(questions)} .*{len(questions)} "):
        widgets.knowledge_explorer(questions)
