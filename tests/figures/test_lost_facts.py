"""Figures of single questions: what is drawn is read from the axes, what is said is worked out by hand."""

import re

import numpy as np
import pytest

from course_lib.analysis.single_questions import lost_by_exposures, p_true_rules, slick_rules, unknown_points
from course_lib.data import paper
from course_lib.figures import plots
from course_lib.files import CourseError
from tests.support.axes import ticks

# never: nothing at stake; 1-8: 2 of 4 lost; 33-128: none of 1 lost
LOST = lost_by_exposures([0, 1, 2, 3, 4, 50], [0, 1, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1])
CATEGORIES = {2: ["Unknown", "Unknown", "Unknown", "MaybeKnown"], 10: ["Unknown", "Unknown", "MaybeKnown"] + [""]}
RIGHT = [[0, 0, 1, 1], [0, 1, 1, 1]]
POINTS = unknown_points([*slick_rules(CATEGORIES), *p_true_rules([0.1, 0.3, 0.2, 0.8], thresholds=[0, 0.25, 1])], RIGHT)


def drawn(ax) -> dict[str, list[tuple[float, float]]]:
    lines = [line for line in ax.lines if not line.get_label().startswith("_")]
    named = {line.get_label(): line for line in lines} | {bars.get_label(): bars.lines[0] for bars in ax.containers}
    return {name: list(zip(line.get_xdata(), line.get_ydata(), strict=True)) for name, line in named.items()}


def test_a_bar_is_the_share_lost_of_a_group_with_something_to_lose() -> None:
    ax = plots.lost_bars(LOST)
    assert [bar.get_height() for bar in ax.patches] == [50, 0]
    assert ticks(ax.xaxis) == ["1-8\n(n = 4)", "33-128\n(n = 1)"]


def test_losses_are_described_with_intervals_and_numbers() -> None:
    # Wilson: 2 of 4 is 50 -+ 35.0; 0 of 1 is 0 to z^2 / (1 + z^2) = 79.3
    assert re.search(r"EARLY_STOP,.*CONVERGENCE,.*: 1-8 50 % \[15, 85\] of 4; 33-128 0 % \[0, 79\] of 1\.$",
                     plots.describe_lost(LOST))


@pytest.mark.parametrize("function", [plots.lost_bars, plots.describe_lost])
def test_a_run_that_has_nothing_to_lose_is_refused(function) -> None:
    with pytest.raises(CourseError, match="EARLY_STOP"):
        function(lost_by_exposures([1, 2], [0, 0], [1, 0]))


def test_the_rules_are_drawn_at_what_they_call_and_what_of_it_is_right() -> None:
    found = drawn(plots.unknown_curve(POINTS))
    assert found["P(True) < T"] == [(50, 50), (100, 62.5)]  # the threshold that calls nothing has no point
    assert found["SliCK, fewer prompts"] == [(75, 50), (50, 25)]
    assert found["SliCK, 10 prompts"] == [(50, 25)]


def test_slick_alone_is_a_single_point() -> None:
    ax = plots.unknown_curve(unknown_points(slick_rules({10: CATEGORIES[10]}), RIGHT))
    assert "SliCK, fewer prompts" not in drawn(ax)


def test_the_published_point_is_the_papers() -> None:
    found = drawn(plots.unknown_curve(POINTS, published=True))["SliCK, published (PaLM 2)"]
    assert found == [(pytest.approx(33.03, abs=0.01), 1.8), (pytest.approx(33.03, abs=0.01), 2.5)]
    assert paper.SLICK_UNKNOWN.called == found[0][0]


def test_rules_are_compared_where_they_call_about_as_many() -> None:
    assert re.search(r"\b10 prompts .* 50\.0 % .* 25\.0 % .*\b2 prompts .* 75\.0 % .* 50\.0 % .*"
                     r"P\(True\) < 0\.25 .* 50\.0 %,.* 50\.0 %", plots.describe_unknown(POINTS))


def test_rules_that_call_nothing_unknown_are_described_so() -> None:
    points = unknown_points(p_true_rules(np.ones(4), thresholds=[0.5]), RIGHT)
    assert plots.describe_unknown(points).startswith("No ")
