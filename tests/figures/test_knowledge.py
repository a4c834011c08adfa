"""Figures of what a model knows: what is drawn is read from the axes, what is said is worked out by hand."""

import re

import numpy as np
import pandas as pd
import pytest

from course_lib.data.facts import Fact
from course_lib.data.paper import CATEGORIES
from course_lib.figures import plots
from course_lib.files import CourseError
from course_lib.knowledge.one_question import OneQuestion
from tests.support.axes import legend, ticks

NAN = float("nan")
SHARES = {"HighlyKnown": 0.5, "MaybeKnown": 0.25, "WeaklyKnown": 0.05, "Unknown": 0.2}
# no greedy answer is right: with one sample a prompt P(Unknown) = 0.75 * 0.9998 * 1, with two its square
UNSURE = OneQuestion(Fact("Ana Ruiz", "P19", "Oslo"), ("Rome", "a $5 bill, $6", "x" * 40), np.zeros(3, bool),
                     (0.5, 1.0), np.array([[0.25, 0.0002, 0.0], [0.5, 0.0, 0.0]]))
WAVERING = OneQuestion(Fact("Bo Chen", "P19", "Oslo"), ("Rome", "Oslo"), np.array([False, True]), (0.5,),
                       np.array([[0.4, 0.9]]))
SURE = OneQuestion(UNSURE.fact, ("Oslo", "Oslo"), np.ones(2, bool), (0.5,), np.ones((1, 2)))
READ = {"names": ("read", "never read"), "xlabel": "score"}


def widths(ax) -> list[float]:
    return [round(bar.get_width(), 6) for bar in ax.patches]


def test_stacked_bars_start_where_the_last_ended_and_wide_parts_carry_their_number() -> None:
    ax = plots.category_bars({"train": SHARES})
    assert [(bar.get_x(), bar.get_width()) for bar in ax.patches] == [(0, 50), (50, 25), (75, 5), (80, 20)]
    assert [text.get_text() for text in ax.texts] == ["50", "25", "20"]
    assert plots.describe_shares(SHARES) == "HighlyKnown 50.0 %, MaybeKnown 25.0 %, WeaklyKnown 5.0 %, Unknown 20.0 %."


def test_of_several_bars_the_first_stands_on_top_and_each_category_once_in_the_legend() -> None:
    ax = plots.category_bars({"train": SHARES, "test": SHARES})
    bottom, top = ax.get_ylim()
    assert bottom > top and legend(ax) == list(CATEGORIES)


def test_two_names_that_are_cut_alike_keep_bars_of_their_own() -> None:
    ax = plots.category_bars({"x" * 99 + "1": SHARES, "x" * 99 + "2": SHARES})
    assert len({bar.get_y() for bar in ax.patches}) == 2


def test_exposures_fall_into_their_groups_with_their_numbers() -> None:
    labelled = pd.DataFrame({"readings": [0, 0, 1, 8, 9, 128, 129], "category": ["Unknown"] * 4 + ["HighlyKnown"] * 3})
    ax = plots.exposure_bars(labelled)
    assert ticks(ax.yaxis) == ["never (n = 2)", "1-8 (n = 2)", "9-32 (n = 1)", "33-128 (n = 1)", "129 or more (n = 1)"]
    assert widths(ax)[:5] == [0, 0, 100, 100, 100]  # HighlyKnown


# ---------------------------------------------------------------- one question


@pytest.mark.parametrize(("temperature", "n_samples", "bars"), [
    (1.0, 2, [0.5, 0, 0, 0, 0, 0.75, 0.25]), (0.5, 1, [0.25, 0.0002, 0, 0, 0, 0.25015, 0.74985])])
def test_a_question_has_a_bar_for_each_prompt_and_then_the_four_parts_of_the_label(
        temperature: float, n_samples: int, bars: list[float]) -> None:
    ax = plots.question_bars(UNSURE, temperature=temperature, n_samples=n_samples)
    assert widths(ax) == bars and [round(bar.get_x(), 6) for bar in ax.patches[3:]] == [0, 0, 0, bars[5]]


def test_each_bar_carries_its_number_and_a_wide_part_its_label() -> None:
    ax = plots.question_bars(UNSURE, temperature=0.5, n_samples=1)
    assert [text.get_text() for text in ax.texts] == ["0.250", "< 0.001", "0", "Unknown 75 %"]


def test_greedy_answers_name_the_bars_from_the_top_and_right_ones_differ_in_mark_and_colour() -> None:
    ax = plots.question_bars(WAVERING, temperature=0.5, n_samples=1)
    assert ticks(ax.yaxis) == ["Rome \u2717", "Oslo \u2713", "label"] and ax.get_ylim()[0] > ax.get_ylim()[1]
    assert ax.get_title() == "temperature 0.5, 1 samples a prompt"
    assert ax.patches[0].get_facecolor() != ax.patches[1].get_facecolor()


def test_long_answers_are_cut_and_dollar_signs_are_no_formula() -> None:
    ax = plots.question_bars(UNSURE, temperature=0.5, n_samples=1)
    names = ticks(ax.yaxis)
    assert names[1].startswith(r"a \$5 bill, \$6") and names[2].startswith("x" * 25 + "... ")
    ax.figure.canvas.draw()  # a formula that cannot be read would stop here


@pytest.mark.parametrize(("question", "temperature", "n_samples", "said"), [
    (UNSURE, 1.0, 2, r"Where was Ana Ruiz born\? \(Oslo\): 0 of 3 .*temperature 1 .* 0 to 0\.5, .*\b2 samples "
                     r".*WeaklyKnown 75\.0 %, Unknown 25\.0 %\."),
    (SURE, 0.5, 16, r"((?! to ).)*temperature 0\.5 .* 1, ((?! to ).)* HighlyKnown 100\.0 %\.")])
def test_a_question_is_described_in_one_sentence(question: OneQuestion, temperature: float, n_samples: int,
                                                 said: str) -> None:
    assert re.fullmatch(said, plots.describe_question(question, temperature=temperature, n_samples=n_samples))


# ---------------------------------------------------------------- two groups


def test_each_group_is_drawn_in_percent_of_its_own_size() -> None:
    ax = plots.group_histograms([0.0, 0.0, 1.0, 0.0, NAN], [1, 1, 1, 0, 0], **READ, bins=2)
    heights = [sorted(set(np.round(outline.get_xy()[:, 1], 6))) for outline in ax.patches]
    assert heights == [[0, 33.333333, 66.666667], [0, 100]]
    assert legend(ax) == ["read (n = 3)", "never read (n = 1)"]


def test_both_groups_share_their_edges_and_differ_in_line() -> None:
    first, second = plots.group_histograms([0.0, 1.0, 4.0], [1, 1, 0], **READ, bins=4).patches
    assert set(first.get_xy()[:, 0]) == set(second.get_xy()[:, 0]) == {0, 1, 2, 3, 4}
    assert first.get_linestyle() != second.get_linestyle()


def test_groups_are_described_by_their_middle_half() -> None:
    assert re.match(r"Score, read \(n = 5\): .* 1 and 3; never read \(n = 1\): .* 9 and 9\.",
                    plots.describe_groups([0, 1, 2, 3, 4, 9], [1] * 5 + [0], **READ))


@pytest.mark.parametrize("function", [plots.group_histograms, plots.describe_groups])
def test_an_empty_group_is_refused_by_its_name(function) -> None:
    with pytest.raises(CourseError, match="'never read'"):
        function([0.1, NAN], [1, 0], **READ)
