"""Figures of few bits and of memory: what is drawn and said agrees with the numbers."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from course_lib.figures import plots
from course_lib.models import nf4
from course_lib.models.memory import GIB, GPUS, Gpu, TrainerMemory

THREE = np.array([-1, 0, 1], np.float32)


def test_the_histogram_has_a_line_and_a_share_for_every_level() -> None:
    found = nf4.quantise(np.array([4, 1, -4, 0], np.float32), THREE, block=4)
    ax = plots.level_histogram(found, THREE, title="three")
    assert [text.get_text() for text in ax.texts[:3]] == ["25", "50", "25"]
    assert len(ax.collections[0].get_segments()) == 3 and ax.get_title() == "three"


def test_levels_are_described_with_bits_and_errors() -> None:
    found = nf4.quantise(np.array([4, 1, -3, 0], np.float32), THREE, block=4)  # error sqrt(2 / 26)
    rival = nf4.quantise(np.array([4, 0, -4, 0], np.float32), THREE, block=4)  # no error
    said = plots.describe_levels(found, name="toy", kind="even", bits=2, block=4, rival=rival)
    assert re.search(r"^toy, even .* 2 bits, .* 4: 10 bits .* 27\.7 %\. 50 % .* -0\.5 and 0\.5\. .*larger .*NF4 .*"
                     r"\(0\.0 %\)", said)


def test_errors_are_described_by_where_nf4_wins() -> None:
    def rows(name: str, ours: list[float]) -> list[dict[str, object]]:
        return [{"weights": name, "levels": kind, "block": block, "error": error} for kind, errors in (
            ("NF4", ours), ("even", [0.2, 0.2, 0.2])) for block, error in zip((16, 64, 256), errors, strict=True)]

    table = pd.DataFrame([*rows("a", [0.1, 0.1, 0.1]), *rows("b", [0.3, 0.1, 0.1]), *rows("c", [0.1, 0.3, 0.1]),
                          *rows("d", [0.3, 0.3, 0.3])])
    assert [re.search(pattern, part) is not None for pattern, part in zip(
        (r"^a: .*every .*64: 10\.0 % .*20\.0 %", r"^b: .*from .*64 .*64: 10\.0 % .*20\.0 %",
         r"^c: .* 16, 256 .*64: 30\.0 % .*20\.0 %", r"^d: .*nowhere .*64: 30\.0 % .*20\.0 %"),
        plots.describe_errors(table).split("; "), strict=True)] == [True] * 4


def test_the_error_curves_show_the_table_in_percent() -> None:
    normal = np.random.default_rng(0).standard_normal(4096)
    errors = nf4.error_table({"a": normal, "b": normal ** 5}, blocks=(16, 64))
    ax = plots.error_curves(errors)
    drawn = {line.get_label(): list(line.get_ydata()) for line in ax.lines[:4]}
    assert list(drawn) == ["a, NF4", "a, even", "b, NF4", "b, even"]
    assert drawn["b, even"] == pytest.approx(100 * errors["error"].to_numpy()[-2:])


def of(total_gib: float) -> TrainerMemory:
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
    ax = plots.memory_bars({"a": of(5), "b": of(16)}, gpus={"T4": GPUS["T4"]})
    ends = {bar.get_y(): bar.get_x() + bar.get_width() for bars in ax.containers for bar in bars}
    assert sorted(ends.values()) == [5, 16]
    assert [list(line.get_xdata()) for line in ax.lines] == [[14.6, 14.6]]
    assert ax.get_xlim()[1] > 16


def test_which_models_fit_is_said_for_every_gpu() -> None:
    small = Gpu("small", 4 * GIB, 4 * GIB, None)
    said = plots.describe_fits({"a": of(5), "b": of(16), "c": of(20)}, gpus={
        "small": small, "T4": GPUS["T4"], "big": GPUS["24 GB card"]})
    assert re.search(r"4 bits, rank 16, 8 rows of 128 tokens\. small \(4 GiB\): a, b, c .*not fit; T4 "
                     r"\(14\.6 GiB\): b, c .*not fit; big \(24 GiB\): all fit\.$", said)
