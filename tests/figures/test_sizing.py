"""Figures of few bits and of memory: what is drawn is read from the axes, what is said is worked out by hand."""

import re

import numpy as np
import pandas as pd
import pytest

from course_lib.figures import plots
from course_lib.models import nf4
from course_lib.models.memory import GIB, GPUS, Gpu, TrainerMemory
from tests.support.axes import lines

THREE = np.array([-1, 0, 1], np.float32)


def quantised(*weights: float) -> nf4.Quantised:
    return nf4.quantise(np.array(weights, np.float32), THREE, block=4)


def test_the_histogram_has_a_line_and_a_share_for_every_level() -> None:
    ax = plots.level_histogram(quantised(4, 1, -4, 0), THREE, title="three")
    assert [text.get_text() for text in ax.texts[:3]] == ["25", "50", "25"]
    assert len(ax.collections[0].get_segments()) == 3 and ax.get_title() == "three"


def test_levels_are_described_with_bits_and_errors() -> None:
    found, rival = quantised(4, 1, -3, 0), quantised(4, 0, -4, 0)  # error sqrt(2 / 26), no error
    said = plots.describe_levels(found, name="toy", kind="even", bits=2, block=4, rival=rival)
    assert re.search(r"^toy, even .* 2 bits, .* 4: 10 bits .* 27\.7 %\. 50 % .* -0\.5 and 0\.5\. .*larger .*NF4 .*"
                     r"\(0\.0 %\)", said)


def errors(name: str, ours: list[float], even: tuple[float, ...] = (0.2, 0.2, 0.2)) -> pd.DataFrame:
    """The relative errors of NF4 and of even levels for three sizes of a block."""
    return pd.DataFrame({"weights": name, "levels": ["NF4"] * 3 + ["even"] * 3, "block": [16, 64, 256] * 2,
                         "error": [*ours, *even]})


@pytest.mark.parametrize(("ours", "said"), [
    ([0.1, 0.1, 0.1], r"every .*64: 10\.0 % .*20\.0 %"), ([0.3, 0.1, 0.1], r"from .*64 .*64: 10\.0 % .*20\.0 %"),
    ([0.1, 0.3, 0.1], r" 16, 256 .*64: 30\.0 % .*20\.0 %"), ([0.3, 0.3, 0.3], r"nowhere .*64: 30\.0 % .*20\.0 %")])
def test_errors_are_described_by_where_nf4_wins(ours: list[float], said: str) -> None:
    assert re.match(f"^a: .*{said}.*; b: .*every", plots.describe_errors(
        pd.concat([errors("a", ours), errors("b", [0.1, 0.1, 0.1])])))


def test_the_error_curves_show_the_table_in_percent() -> None:
    assert lines(plots.error_curves(pd.concat([errors("a", [0.1, 0.1, 0.1]), errors("b", [0.3, 0.2, 0.1])]))) == {
        "a, NF4": pytest.approx([10, 10, 10]), "a, even": [20, 20, 20], "b, NF4": [30, 20, 10], "b, even": [20, 20, 20]}


def needed(total_gib: float) -> TrainerMemory:
    return TrainerMemory(4, 16, 8, 128, linear=total_gib * GIB, rest=0, adapters=0, activations=0, logits=0, matrix=0)


@pytest.mark.parametrize(("total", "said"), [
    (5.0, r"^fits: 9\.6 GiB"), (14.0, r"^fits, .*: 0\.6 GiB"), (14.3, r"^does not fit: 0\.1 GiB .* 14\.2"),
    (16.0, r"^does not fit: 1\.8 GiB .* 14\.2")])
def test_the_verdict_says_whether_it_fits_and_by_how_much(total: float, said: str) -> None:
    assert re.search(said, plots.verdict(total * GIB, GPUS["T4"]))


def test_one_setting_is_described() -> None:
    found = TrainerMemory(4, 16, 8, 128, linear=2 * GIB, rest=GIB, adapters=GIB / 2, activations=GIB, logits=GIB / 4,
                          matrix=GIB / 4)
    assert re.search(r"^Toy in 4 bits, rank 16, 8 rows of 128 tokens: 5\.00 GiB \(weights 3\.00, .*0\.50, activations "
                     r"1\.00, logits 0\.25\)\. .*T4 \(14\.6 GiB\) it fits: 9\.6 GiB",
                     plots.describe_memory("Toy", found, gpu="T4"))


def test_the_bars_are_stacked_to_the_total_in_gib() -> None:
    ax = plots.memory_bars({"a": needed(5), "b": needed(16)}, gpus={"T4": GPUS["T4"]})
    ends = {bar.get_y(): bar.get_x() + bar.get_width() for bars in ax.containers for bar in bars}
    assert sorted(ends.values()) == [5, 16] and ax.get_xlim()[1] > 16
    assert [list(line.get_xdata()) for line in ax.lines] == [[14.6, 14.6]]


def test_which_models_fit_is_said_for_every_gpu() -> None:
    said = plots.describe_fits({"a": needed(5), "b": needed(16), "c": needed(20)}, gpus={
        "small": Gpu("small", 4 * GIB, 4 * GIB, None), "T4": GPUS["T4"], "big": GPUS["24 GB card"]})
    assert re.search(r"4 bits, rank 16, 8 rows of 128 tokens\. small \(4 GiB\): a, b, c .*not fit; T4 "
                     r"\(14\.6 GiB\): b, c .*not fit; big \(24 GiB\): all fit\.$", said)
