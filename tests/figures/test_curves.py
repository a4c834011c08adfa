"""Accuracy against % Unknown: what is drawn is read from the axes, what is said is worked out by hand."""

import re
from typing import Any

import pandas as pd
import pytest

from course_lib.data import paper
from course_lib.figures import plots
from course_lib.files import CourseError
from tests.support.axes import legend, lines, means
from tests.support.made_runs import RISING, SWEEP, rising, run, study

EARLY, LATE = {0: 44.0, 100: 40.0}, {0: 43.0, 100: 26.0}
FAST = study(EARLY, {0: 42.0, 100: 20.0}).assign(lr=2e-3)
RATES = pd.concat([study(EARLY, LATE).assign(lr=7e-4), study(EARLY, {0: 41.0, 100: 28.0}, seed=1).assign(lr=7e-4),
                   FAST])
STOPS = {"EARLY_STOP, D": [40, 40], "CONVERGENCE, D": [40, 25]}


def test_the_curve_has_a_line_for_each_stop_with_means_over_seeds() -> None:
    ax = plots.hallucination_curve(SWEEP)
    assert means(ax) == STOPS and legend(ax) == [*STOPS]
    assert ax.get_legend().get_title().get_text() == "2 seed(s)"


def test_bars_are_the_interval_over_seeds() -> None:
    ax = plots.hallucination_curve(SWEEP)
    _, both = ax.containers[1].lines[2][0].get_segments()
    assert both[1][1] - 25 == pytest.approx(12.7062 * 5, abs=1e-3)  # t(0.975, 1) times the standard error of 20, 30


def test_variants_are_told_from_d_by_line_and_filling() -> None:
    ax = plots.hallucination_curve(pd.concat([SWEEP, run(50, variant="D_IDK")]), variants=("D", "D_Known", "D_IDK"))
    styles = [(bars.lines[0].get_linestyle(), bars.lines[0].get_fillstyle()) for bars in ax.containers]
    assert styles == [("-", "full")] * 2 + [(":", "none")] * 2 + [("--", "none")] * 2


def test_another_measure_is_named_on_the_axis() -> None:
    ax = plots.hallucination_curve(SWEEP, measure="ood")
    assert ax.get_ylabel() == "ood accuracy (%)" and means(ax)["EARLY_STOP, D"] == [20, 20]


def test_published_points_are_those_of_the_paper_within_the_frame() -> None:
    ax = plots.hallucination_curve(SWEEP, published=True)
    assert lines(ax)["EARLY_STOP, published (PaLM 2)"] == [
        paper.UNKNOWN_MIX[p]["ES"] for p in sorted(paper.UNKNOWN_MIX)]
    assert ax.get_ylim()[0] == 0 and ax.get_ylim()[1] > 43


def test_a_line_for_each_number_of_epochs_is_added_and_more_epochs_are_darker() -> None:
    ax = plots.hallucination_curve(SWEEP, at=(1, 2))
    assert means(ax) == STOPS | {"epoch 1, D": [40, 40], "epoch 2, D": [40, 25]}
    light, dark = (float(bars.lines[0].get_color()) for bars in ax.containers[2:])
    assert light > dark


def test_every_rate_has_a_line_for_each_stop() -> None:
    ax = plots.rate_curves(RATES)
    assert means(ax) == {"EARLY_STOP, rate 0.0007 (n = 2)": [44, 40], "CONVERGENCE, rate 0.0007 (n = 2)": [42, 27],
                         "EARLY_STOP, rate 0.002 (n = 1)": [44, 40], "CONVERGENCE, rate 0.002 (n = 1)": [42, 20]}
    assert [bars.lines[0].get_linestyle() for bars in ax.containers] == ["-", "-", "--", "--"]


@pytest.mark.parametrize(("said", "expected"), [
    (plots.describe_curve(SWEEP), r"\b2 seed.* 0, 100 % Unknown: .*EARLY_STOP 40\.0, 40\.0; .*CONVERGENCE 40\.0, "
                                  r"25\.0 %"),
    (plots.describe_curve(SWEEP, variants=("D", "D_Known"), at=(1,)),
     r"\b2 seed.* D at 0, 100 %.*EARLY_STOP 40\.0, 40\.0; .*CONVERGENCE 40\.0, 25\.0; .*epoch 1 40\.0, 40\.0 %\. "
     r"D_Known at 50 %.*EARLY_STOP 40\.0; .*CONVERGENCE 39\.0; .*epoch 1 40\.0 %"),
    (plots.describe_rates(FAST), r" 0\.002 \(1 .* 0, 100 % .*EARLY_STOP 44\.0, 40\.0; .*CONVERGENCE 42\.0, 20\.0 %")],
    ids=["stops", "variants and epochs", "rates"])
def test_a_curve_is_described_by_its_means(said: str, expected: str) -> None:
    assert re.search(expected, said)


TWO_RATES = pd.concat([SWEEP.assign(lr=1e-3), SWEEP.assign(lr=1e-4)])


@pytest.mark.parametrize(("functions", "table", "options", "match"), [
    ((plots.hallucination_curve,), SWEEP, {"measure": "ood", "published": True}, r"\bood: .*\btest\b"),
    ((plots.hallucination_curve, plots.describe_curve), TWO_RATES, {}, r"\b2 .*lr == "),
    ((plots.describe_curve,), SWEEP, {"variants": ("D_IDK",)}, r"\bD_IDK; .* D, D_Known$"),
    ((plots.rate_curves, plots.describe_rates), study(EARLY, LATE), {}, r"\blr\b"),
    ((plots.rate_curves, plots.describe_rates), RATES, {"variant": "D_IDK"}, r"\bD_IDK; .* D$")],
    ids=["published ood", "several rates", "no such variant", "no rate", "no such variant of rates"])
def test_what_cannot_be_drawn_is_refused(functions, table: pd.DataFrame, options: dict[str, Any], match: str) -> None:
    for function in functions:
        with pytest.raises(CourseError, match=match):
            function(table, **options)


# ---------------------------------------------------------------- after any epoch


def test_the_curve_at_an_epoch_is_the_mean_over_seeds_with_the_chosen_mix_marked() -> None:
    ax = plots.curve_at_epoch(RISING, epoch=1, unknown_percent=100)
    assert lines(ax) == {"test": [41, 31, 41], "ood": [2, 2, 2]}
    assert [list(line.get_xdata()) for line in ax.lines] == [[0, 50, 100], [0, 50, 100], [100, 100]]
    assert ax.get_title() == "after epoch 1"


def test_the_frame_is_the_same_for_every_epoch() -> None:
    tops = [plots.curve_at_epoch(RISING, epoch=epoch, unknown_percent=0).get_ylim()[1] for epoch in (0, 1, 2)]
    assert tops == pytest.approx([1.1 * 42] * 3)


def test_a_model_that_never_answers_right_can_be_drawn() -> None:
    assert plots.curve_at_epoch(rising(0).assign(test=0.0, ood=0.0), epoch=0, unknown_percent=0).get_ylim() == (0, 1)


def test_reference_runs_are_a_band_and_published_points_are_added() -> None:
    ax = plots.curve_at_epoch(RISING, epoch=1, unknown_percent=50, reference=RISING, published=True)
    band = ax.collections[0].get_paths()[0].get_extents()
    assert (band.ymin, band.ymax) == (21, 41) and "test, 2 reference seeds" in legend(ax)
    assert lines(ax)["CONVERGENCE, published (PaLM 2)"] == [
        paper.UNKNOWN_MIX[p]["CONV"] for p in sorted(paper.UNKNOWN_MIX)]


@pytest.mark.parametrize(("percent", "epoch", "reference", "said"), [
    (50, 2, None, r"50 % Unknown, epoch 2: test 32\.0 %, .* 4\.0 %; 60 % .*Known .*20 % .*Unknown [^%]*"),
    (0, 1, None, r"0 % Unknown, epoch 1: test 41\.0 %, .* 2\.0 %; 30 % [^%]*Known[^%]*"),
    (50, 9, None, "50 % Unknown, epoch 9: [^0-9]*"),
    (50, 2, RISING, r"50 % .*: test 22\.0 to 42\.0 %, inside; out of distribution 4\.0 to 4\.0 %, inside\."),
    (50, 2, rising(50, test=50.0), r"50 % .*: test 52\.0 to 52\.0 %, outside; .*"),
    (50, 2, rising(0), r"50 % .*\. No [^0-9]*")])
def test_an_epoch_is_described_by_means_over_seeds_and_beside_reference_runs(
        percent: float, epoch: int, reference: pd.DataFrame | None, said: str) -> None:
    assert re.fullmatch(said, plots.describe_epoch(RISING, epoch=epoch, unknown_percent=percent, reference=reference))
