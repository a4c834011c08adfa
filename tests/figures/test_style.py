"""Plots: what is drawn is read from the axes, what is said is worked out by hand."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import replace

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.cbook import is_math_text

from course_lib.analysis import exposure_groups
from course_lib.data import paper
from course_lib.data.facts import Fact
from course_lib.data.paper import CATEGORIES
from course_lib.figures import plots
from course_lib.figures.widgets import ask_model as ask
from course_lib.figures.widgets.ask_model import Answer
from course_lib.files import CourseError
from course_lib.knowledge.one_question import OneQuestion
from course_lib.models import memory, nf4

NAN = float("nan")
SHARES = {"HighlyKnown": 0.5, "MaybeKnown": 0.25, "WeaklyKnown": 0.05, "Unknown": 0.2}
# no greedy answer is right: with one sample a prompt P(Unknown) = 0.75 * 0.9998 * 1, with two its square
UNSURE = OneQuestion(Fact("Ana Ruiz", "P19", "Oslo"), ("Rome", "a $5 bill, $6", "x" * 40), np.zeros(3, bool),
                     (0.5, 1.0), np.array([[0.25, 0.0002, 0.0], [0.5, 0.0, 0.0]]))
WAVERING = OneQuestion(Fact("Bo Chen", "P19", "Oslo"), ("Rome", "Oslo"), np.array([False, True]), (0.5,),
                       np.array([[0.4, 0.9]]))
READ = {"names": ("read", "never read"), "xlabel": "score"}


def run(percent: float = 50, seed: int = 0, variant: str = "D", late: float = 30.0,
        **more: list[float]) -> pd.DataFrame:
    """Three epochs: dev is best in epoch 1, where test is 40; in epoch 2 it is ``late``."""
    return pd.DataFrame({"variant": variant, "unknown_percent": percent, "seed": seed, "epoch": [0, 1, 2],
                         "dev": [5.0, 44.0, 36.0], "test": [5.0, 40.0, late], "ood": [4.0, 20.0, 15.0],
                         "known_fitted": [3.0, 80.0, 100.0], "unknown_fitted": [0.0, 12.0, 99.0]} | more)


SWEEP = pd.concat([run(0, late=40.0), run(100, late=20.0), run(100, 1, late=30.0),
                   run(50, variant="D_Known", late=39.0)])


@pytest.fixture(autouse=True)
def nothing_shown(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A plot never shows or saves; figures are closed after each test."""
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a plot function showed or saved")

    monkeypatch.setattr(plt, "show", refuse)
    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", refuse)
    yield
    plt.close("all")


def lines(ax: Axes) -> dict[str, list[float]]:
    """Label -> y values of the lines that have a label."""
    return {line.get_label(): list(line.get_ydata()) for line in ax.lines if not line.get_label().startswith("_")}


def legend(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


@pytest.mark.parametrize("draw", [
    lambda ax: plots.run_curve(run(), ax=ax), lambda ax: plots.hallucination_curve(SWEEP, ax=ax),
    lambda ax: plots.category_bars({"train": SHARES}, ax=ax),
    lambda ax: plots.exposure_bars(pd.DataFrame({"category": ["Unknown"], "readings": [0]}), ax=ax),
    lambda ax: plots.question_bars(UNSURE, temperature=0.5, n_samples=1, ax=ax),
    lambda ax: plots.group_histograms([0, 1], [0, 1], **READ, ax=ax),
], ids=["run_curve", "hallucination_curve", "category_bars", "exposure_bars", "question_bars", "group_histograms"])
def test_a_given_ax_is_drawn_on_and_returned(draw) -> None:
    ax = plt.figure().add_subplot()
    assert draw(ax) is ax
    assert plt.get_fignums() == [ax.figure.number]


def test_without_an_ax_a_figure_of_its_own_is_made() -> None:
    assert plots.run_curve(run()).figure is not plots.run_curve(run()).figure


def test_a_run_is_drawn_with_its_three_curves_and_early_stop() -> None:
    drawn = lines(plots.run_curve(run()))
    assert drawn == {"Known rows fitted": [3, 80, 100], "Unknown rows fitted": [0, 12, 99],
                     "dev accuracy": [5, 44, 36], "EARLY_STOP (epoch 1)": [0, 1]}


def test_a_run_without_unknown_rows_has_no_curve_for_them() -> None:
    assert legend(plots.run_curve(run(unknown_fitted=[NAN] * 3))) == ["Known rows fitted", "dev accuracy",
                                                                      "EARLY_STOP (epoch 1)"]


def test_axes_carry_their_units() -> None:
    ax = plots.run_curve(run())
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_ylim()) == ("epoch", "exact match (%)", (0, 102))


@pytest.mark.parametrize("function", [plots.run_curve, plots.describe_run])
def test_several_runs_are_refused_where_one_is_drawn(function) -> None:
    with pytest.raises(CourseError, match=r"\b2 runs: .*epochs\.query"):
        function(pd.concat([run(), run(seed=1)]))


def test_the_curve_has_a_line_for_each_stop_with_means_over_seeds() -> None:
    ax = plots.hallucination_curve(SWEEP)
    means = {bars.get_label(): list(bars.lines[0].get_ydata()) for bars in ax.containers}
    assert means == {"EARLY_STOP, D": [40, 40], "CONVERGENCE, D": [40, 25]}
    assert legend(ax) == ["EARLY_STOP, D", "CONVERGENCE, D"]


def test_bars_are_the_interval_over_seeds() -> None:
    ax = plots.hallucination_curve(SWEEP)
    _, both = ax.containers[1].lines[2][0].get_segments()
    assert both[1][1] - 25 == pytest.approx(12.7062 * 5, abs=1e-3)  # t(0.975, 1) times the standard error of 20, 30


def test_d_known_is_told_from_d_by_line_and_filling() -> None:
    ax = plots.hallucination_curve(SWEEP, variants=("D", "D_Known"))
    styles = [(bars.lines[0].get_linestyle(), bars.lines[0].get_fillstyle()) for bars in ax.containers]
    assert styles == [("-", "full")] * 2 + [(":", "none")] * 2


def test_another_measure_is_named_on_the_axis() -> None:
    ax = plots.hallucination_curve(SWEEP, measure="ood")
    assert ax.get_ylabel() == "ood accuracy (%)"
    assert list(ax.containers[0].lines[0].get_ydata()) == [20, 20]


def test_published_points_are_those_of_the_paper_and_say_so() -> None:
    drawn = lines(plots.hallucination_curve(SWEEP, published=True))
    assert drawn["EARLY_STOP, published (PaLM 2)"] == [paper.UNKNOWN_MIX[p]["ES"] for p in sorted(paper.UNKNOWN_MIX)]


def test_every_marker_lies_within_the_frame() -> None:
    low, high = plots.hallucination_curve(SWEEP, published=True).get_ylim()
    assert low == 0 and high > 43


def test_stacked_bars_end_at_100_percent_and_start_where_the_last_ended() -> None:
    ax = plots.category_bars({"train": SHARES})
    assert [(bar.get_x(), bar.get_width()) for bar in ax.patches] == [(0, 50), (50, 25), (75, 5), (80, 20)]


def test_each_category_stands_once_in_the_legend_of_several_bars() -> None:
    assert legend(plots.category_bars({"train": SHARES, "test": SHARES})) == list(CATEGORIES)


def test_narrow_parts_carry_no_number() -> None:
    assert [text.get_text() for text in plots.category_bars({"train": SHARES}).texts] == ["50", "25", "20"]


def test_the_first_bar_stands_on_top() -> None:
    bottom, top = plots.category_bars({"train": SHARES, "test": SHARES}).get_ylim()
    assert bottom > top


def test_readings_fall_into_their_groups_with_their_numbers() -> None:
    labelled = pd.DataFrame({"readings": [0, 0, 1, 8, 9, 128, 129], "category": ["Unknown"] * 4 + ["HighlyKnown"] * 3})
    ax = plots.exposure_bars(labelled)
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        "never (n = 2)", "1-8 (n = 2)", "9-32 (n = 1)", "33-128 (n = 1)", "129 or more (n = 1)"]
    assert [bar.get_width() for bar in ax.patches[:5]] == [0, 0, 100, 100, 100]  # HighlyKnown


def test_a_run_is_described_by_its_two_stops() -> None:
    assert re.search(r"epoch 1 .*44\.0 %, .*80 % of Known .*12 % of Unknown .*epoch 2 .*36\.0 %\. .*40\.0 % .*30\.0 %",
                     plots.describe_run(run()))


def test_a_run_without_unknown_rows_is_described_without_them() -> None:
    said = plots.describe_run(run(unknown_fitted=[NAN] * 3))
    assert "80 % of Known" in said and "Unknown" not in said


def test_a_curve_is_described_by_its_means() -> None:
    assert re.search(r"\b2 seed.* 0, 100 % Unknown: .*EARLY_STOP 40\.0, 40\.0; .*CONVERGENCE 40\.0, 25\.0 %",
                     plots.describe_curve(SWEEP))


def test_shares_are_described_in_percent() -> None:
    assert plots.describe_shares(SHARES) == "HighlyKnown 50.0 %, MaybeKnown 25.0 %, WeaklyKnown 5.0 %, Unknown 20.0 %."


@pytest.mark.parametrize(("readings", "group"), [(0, "never"), (1, "1-8"), (8, "1-8"), (9, "9-32"), (32, "9-32"),
                                                 (33, "33-128"), (128, "33-128"), (129, "129 or more")])
def test_a_number_of_readings_falls_into_its_group(readings: int, group: str) -> None:
    assert list(exposure_groups(pd.Series([readings]))) == [group]


# ---------------------------------------------------------------- what a model knows


def bars(ax: Axes) -> list[float]:
    return [round(bar.get_width(), 6) for bar in ax.patches]


def test_a_question_has_a_bar_for_each_prompt_and_then_the_four_parts_of_the_label() -> None:
    ax = plots.question_bars(UNSURE, temperature=1.0, n_samples=2)
    assert bars(ax) == [0.5, 0, 0, 0, 0, 0.75, 0.25]  # 0.25 = 0.5 squared
    assert [bar.get_x() for bar in ax.patches[3:]] == [0, 0, 0, 0.75]


def test_another_temperature_draws_other_bars() -> None:
    assert bars(plots.question_bars(UNSURE, temperature=0.5, n_samples=1))[:3] == [0.25, 0.0002, 0]


def test_each_bar_of_a_question_carries_its_number_and_a_wide_part_its_label() -> None:
    ax = plots.question_bars(UNSURE, temperature=0.5, n_samples=1)
    assert [text.get_text() for text in ax.texts] == ["0.250", "< 0.001", "0", "Unknown 75 %"]


def test_an_axis_names_the_greedy_answers_and_whether_each_is_right() -> None:
    ax = plots.question_bars(WAVERING, temperature=0.5, n_samples=1)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["Rome \u2717", "Oslo \u2713", "label"]
    assert ax.get_title() == "temperature 0.5, 1 samples a prompt"


def test_right_and_wrong_answers_have_bars_of_different_colours() -> None:
    wrong, right = plots.question_bars(WAVERING, temperature=0.5, n_samples=1).patches[:2]
    assert wrong.get_facecolor() != right.get_facecolor()


def test_the_first_prompt_stands_on_top() -> None:
    bottom, top = plots.question_bars(WAVERING, temperature=0.5, n_samples=1).get_ylim()
    assert bottom > top


def test_long_answers_are_cut_and_dollar_signs_are_no_formula() -> None:
    ax = plots.question_bars(UNSURE, temperature=0.5, n_samples=1)
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names[1].startswith(r"a \$5 bill, \$6") and names[2].startswith("x" * 25 + "... ")
    ax.figure.canvas.draw()  # a formula that cannot be read would stop here


def test_a_question_is_described_in_one_sentence() -> None:
    assert re.match(r"Where was Ana Ruiz born\? \(Oslo\): 0 of 3 .*temperature 1 .* 0 to 0\.5, .*\b2 samples "
                    r".*WeaklyKnown 75\.0 %, Unknown 25\.0 %\.$",
                    plots.describe_question(UNSURE, temperature=1.0, n_samples=2))


def test_labels_that_are_sure_are_described_alone_and_one_probability_once() -> None:
    sure = OneQuestion(UNSURE.fact, ("Oslo", "Oslo"), np.ones(2, bool), (0.5,), np.ones((1, 2)))
    sentence = plots.describe_question(sure, temperature=0.5, n_samples=16)
    assert re.search(r"temperature 0\.5 .* 1, .* HighlyKnown 100\.0 %\.$", sentence) and " to " not in sentence


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


# ---------------------------------------------------------------- fixed epochs, other variants and rates


def test_a_line_for_each_number_of_epochs_is_added_to_the_two_stops() -> None:
    ax = plots.hallucination_curve(SWEEP, at=(1, 2))
    means = {bars.get_label(): list(bars.lines[0].get_ydata()) for bars in ax.containers}
    assert means == {"EARLY_STOP, D": [40, 40], "CONVERGENCE, D": [40, 25], "epoch 1, D": [40, 40],
                     "epoch 2, D": [40, 25]}


def test_more_epochs_are_darker() -> None:
    ax = plots.hallucination_curve(SWEEP, at=(1, 2))
    light, dark = (float(bars.lines[0].get_color()) for bars in ax.containers[2:])
    assert light > dark


def test_the_curve_says_how_many_seeds_it_has() -> None:
    assert plots.hallucination_curve(SWEEP).get_legend().get_title().get_text() == "2 seed(s)"


def test_another_variant_is_dashed() -> None:
    ax = plots.hallucination_curve(pd.concat([SWEEP, run(50, variant="D_IDK")]), variants=("D_IDK",))
    assert ax.containers[0].lines[0].get_linestyle() == "--"


def test_published_points_of_another_measure_are_refused() -> None:
    with pytest.raises(CourseError, match=r"\bood: .*\btest\b"):
        plots.hallucination_curve(SWEEP, measure="ood", published=True)


@pytest.mark.parametrize("function", [plots.hallucination_curve, plots.describe_curve])
def test_a_curve_of_several_rates_is_refused(function) -> None:
    with pytest.raises(CourseError, match=r"\b2 .*lr == "):
        function(pd.concat([SWEEP.assign(lr=1e-3), SWEEP.assign(lr=1e-4)]))


def test_fixed_epochs_and_other_variants_are_described_too() -> None:
    assert re.search(r"\b2 seed.* D at 0, 100 %.*EARLY_STOP 40\.0, 40\.0; .*CONVERGENCE 40\.0, 25\.0; .*epoch 1 40\.0, "
                     r"40\.0 %\. D_Known at 50 %.*EARLY_STOP 40\.0; .*CONVERGENCE 39\.0; .*epoch 1 40\.0 %",
                     plots.describe_curve(SWEEP, variants=("D", "D_Known"), at=(1,)))


def test_a_variant_that_has_not_run_is_not_described() -> None:
    with pytest.raises(CourseError, match=r"\bD_IDK; .* D, D_Known$"):
        plots.describe_curve(SWEEP, variants=("D_IDK",))


# Texts that others wrote


HOSTILE = ("$5 and $6", r"\$1 $\frac{$", "__init__", "a\nb\rc\t\x00\x07\x1b[31m\u202e\u200f\u200b", "x" * 32_000,
           "word " * 6_400, "^_{}#~ %s {0} %(x)s <b>&amp;</b>", "")
ANSWER = Answer("A", 0.5, "wrong")
MEMORY = memory.estimate_trainer(memory.SHAPES["SmolLM2-1.7B"], bits=4, rank=16, batch=8, tokens=128)
SCALED = nf4.quantise(np.array([4, 1, -4, 0], np.float32), np.array([-1, 0, 1], np.float32), block=4)
ERRORS = pd.DataFrame({"weights": "w", "levels": "NF4", "block": [16, 64], "error": [0.1, 0.2]})
HARM = pd.DataFrame({"group": ["never"], "at_stake": [4], "mean": [50.0], "low": [10.0], "high": [90.0]})


def near(text: str) -> OneQuestion:
    return OneQuestion(Fact(text, "P19", text), (text, text), WAVERING.right, WAVERING.temperatures, WAVERING.p)


FOREIGN = {  # each puts a text of others wherever the function takes one
    "hallucination_curve": lambda text: plots.hallucination_curve(
        SWEEP.assign(variant=text).rename(columns={"ood": text or "ood"}), variants=(text,), measure=text or "ood"),
    "category_bars": lambda text: plots.category_bars({text: SHARES, f"{text} again": SHARES}),
    "rate_curves": lambda text: plots.rate_curves(
        SWEEP[SWEEP["variant"] == "D"].assign(lr=1e-4, **{text: 1.0}), measure=text),
    "curve_at_epoch": lambda text: plots.curve_at_epoch(SWEEP.assign(variant=text), epoch=1, unknown_percent=50,
                                                        variant=text),
    "question_bars": lambda text: plots.question_bars(near(text), temperature=0.5, n_samples=1),
    "group_histograms": lambda text: plots.group_histograms([0, 1], [0, 1], names=(text, f"{text} 2"),
                                                                 xlabel=text),
    "memory_bars": lambda text: plots.memory_bars({text: MEMORY}, gpus={text: memory.GPUS["T4"]}),
    "level_histogram": lambda text: plots.level_histogram(SCALED, np.array([-1, 0, 1]), title=text),
    "error_curves": lambda text: plots.error_curves(ERRORS.assign(weights=text)),
    "lost_bars": lambda text: plots.lost_bars(HARM.assign(group=text)),
    "certainty_bars": lambda text: ask.certainty_bars([ask.Asked(text, text, replace(ANSWER, text=text), ANSWER)])}
OUR_OWN = {"new_axes", "new_panels", "run_curve", "run_lines", "exposure_bars", "category_curve",
           "unknown_curve"}  # they draw numbers, under names of ours


def test_every_function_that_draws_is_tried_with_texts_of_others() -> None:
    made_by = {name: getattr(plots, name) for name in plots.__all__} | vars(ask)
    draws = {name for name, made in made_by.items()
             if not name.startswith("_") and "Axes" in str(getattr(made, "__annotations__", {}).get("return"))}
    assert draws == FOREIGN.keys() | OUR_OWN


@pytest.mark.filterwarnings("ignore:Glyph", "ignore:No artists with labels", "ignore:constrained_layout not applied")
@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
@pytest.mark.parametrize("name", FOREIGN)
def test_a_text_of_others_is_drawn_as_a_short_text(name: str, text: str) -> None:
    drawn = FOREIGN[name](text)
    figure = (drawn[0] if isinstance(drawn, tuple) else drawn).figure
    figure.canvas.print_figure(io.BytesIO(), bbox_inches="tight", dpi=20)  # as a notebook does it
    texts = [artist.get_text() for artist in figure.findobj(matplotlib.text.Text)]
    assert not any(is_math_text(one) for one in texts) and max(map(len, texts)) <= 100
    assert all(line.isprintable() for one in texts for line in one.split("\n"))


@pytest.mark.parametrize(("text", "shown"), [("$5 and $6", r"\$5 and \$6"), (r"a\$b", r"a\\$b"), ("_a", " _a"),
                                             ("a \n\t b\x00", "a b"), ("x" * 50, "x" * 41 + "..."), (7, "7")])
def test_a_text_of_others_in_a_figure_is_one_line_and_no_formula(text, shown) -> None:
    assert plots.plain_text(text) == shown


def test_two_names_that_are_cut_alike_keep_bars_of_their_own() -> None:
    ax = plots.category_bars({"x" * 99 + "1": SHARES, "x" * 99 + "2": SHARES})
    assert len({bar.get_y() for bar in ax.patches}) == 2
