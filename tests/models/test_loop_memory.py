"""The memory of our own training step: each term by hand, and the whole against allocations counted one by one."""

from __future__ import annotations

import pytest
import torch

from benchmarks.counted import config_of, count_step, even_rows
from course_lib.files import CourseError
from course_lib.models.loop_memory import Fitted, Rows, estimate_loop, fitted
from course_lib.models.memory import GIB, SHAPES, Shape

SMALL = Shape(hidden=10, inner=20, layers=2, keys=5, vocabulary=100, tied=True, head=5)
LINEAR = 2 * (2 * 100 + 2 * 50 + 3 * 200)  # one block: q and o 10 x 10, k and v 10 x 5, gate, up and down 10 x 20
ROWS = Rows(count=3, tokens=7, longest=9, shared=2, answer=2)
PYTHIA = Shape(2048, 8192, 24, 2048, 50304, tied=False, head=128, gated=False)


def test_what_all_rows_begin_with_stands_once() -> None:
    assert (ROWS.packed, ROWS.predicted) == (2 + 3 * 5, 6)


def test_rows_are_described_by_their_mean_and_their_longest() -> None:
    assert Rows.of([6, 10], [2, 3], batch=8, shared=3) == Rows(count=2, tokens=8, longest=10, shared=3, answer=2.5)


def test_the_terms_of_a_small_model_are_those_worked_out_by_hand() -> None:
    found = estimate_loop(SMALL, ROWS, rank=3, dtype="float16")
    assert found.weights == LINEAR * (4 + 0.125 + 32 / 16384) / 8 + 2 * 100 * 10
    # rank x (inputs + outputs): 20 + 15 + 15 + 20 + 30 + 30 + 30 = 160 a block, two blocks
    assert (found.adapters, found.gradients) == (12 * 2 * 3 * 160, 8 * 2 * 3 * 160)
    # a token: norms 80, their results and attention's 60, the MLP 160, A x 7 x 2 x 3 = 42; of each row up to the
    # longest: queries, keys, values, result 2 (20 + 10) and 4 for each of 2 heads; the last MLP is left out for 17 - 6
    assert found.activations == 2 * (17 * 342 + 27 * 68) - 11 * (160 + 60)
    assert (found.logits, found.matrix, found.copies) == (12 * 6 * 100, 2 * 200, 0)
    assert found.peak == found.weights + found.adapters + found.activations + found.logits


def test_kept_copies_take_the_place_of_the_restored_matrix() -> None:
    found = estimate_loop(SMALL, ROWS, dtype="float32", copies=True)
    assert (found.copies, found.matrix) == (4 * LINEAR, 0)


def test_every_run_of_a_pass_has_an_adapter_of_its_own() -> None:
    one, three = estimate_loop(SMALL, ROWS), estimate_loop(SMALL, ROWS, runs=3)
    assert (three.adapters, three.gradients) == (3 * one.adapters, 3 * one.gradients)
    assert three.activations == one.activations


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(CourseError, match="dtype 'int8': .*float16, bfloat16, float32"):
        estimate_loop(SMALL, dtype="int8")
    with pytest.raises(CourseError, match=r"rank 16, 0 rows of 26\.0 tokens: .*\b1\b"):
        estimate_loop(SMALL, Rows(count=0))


@pytest.mark.parametrize("copies", [True, False])
def test_a_batch_goes_whole_where_there_is_room(copies: bool) -> None:
    whole = estimate_loop(SMALL, ROWS, copies=True)
    assert fitted(SMALL, ROWS, free=10 * whole.peak, may_copy=copies) == Fitted(1, copies)


def test_the_copy_goes_before_the_batch_is_cut() -> None:
    bare = estimate_loop(SMALL, ROWS)
    assert fitted(SMALL, ROWS, free=bare.peak / 0.89) == Fitted(1, False)


def test_a_batch_is_cut_until_a_part_fits() -> None:
    shape, quarter = SHAPES["SmolLM2-360M"], estimate_loop(SHAPES["SmolLM2-360M"], Rows(8))
    assert fitted(shape, Rows(32), free=quarter.peak / 0.89) == Fitted(4, False)


def test_a_7b_model_is_tuned_on_rows_of_40_tokens_in_8_gb() -> None:
    assert 4e9 < count_step(config_of(SHAPES["OLMo-2-1124-7B"]), even_rows(8, 40)).peak < 8e9


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Mistral-7B-v0.3", "Qwen2.5-7B"])
def test_other_7b_models_are_too(name: str) -> None:
    assert 4e9 < count_step(config_of(SHAPES[name]), even_rows(8, 40)).peak < 8e9


@pytest.mark.slow
def test_a_batch_of_32_such_rows_goes_through_an_8_gb_card_in_parts() -> None:
    rows = Rows(32, 40, 40, 7, 5)
    plan = fitted(SHAPES["Mistral-7B-v0.3"], rows, free=7.2 * GIB)
    assert plan.parts > 1 and not plan.copies
    assert count_step(config_of(SHAPES["Mistral-7B-v0.3"]), even_rows(32 // plan.parts, 40)).peak < 7.2 * GIB


@pytest.mark.parametrize(("name", "dtype", "copies"), [
    ("pocket", "float32", True), ("pocket", "float16", False), ("SmolLM2-360M", "float16", False)])
def test_the_peak_is_within_a_tenth_of_what_is_counted(name: str, dtype: str, copies: bool) -> None:
    compare(SHAPES[name], Rows(16, 30, 30, 7, 5), dtype, copies)


@pytest.mark.slow
@pytest.mark.parametrize("count", [8, 32])
@pytest.mark.parametrize(("dtype", "copies"), [("bfloat16", True), ("float16", False)])
@pytest.mark.parametrize("shape", [*SHAPES.values(), PYTHIA], ids=[*SHAPES, "Pythia-1.4b"])
def test_the_peak_of_every_shape_is_within_a_tenth(shape: Shape, dtype: str, copies: bool, count: int) -> None:
    compare(shape, Rows(count, 26, 26, 7, 5), dtype, copies)


def compare(shape: Shape, rows: Rows, dtype: str, copies: bool) -> None:
    counted = count_step(config_of(shape), even_rows(rows.count, int(rows.tokens)), dtype=getattr(torch, dtype),
                         copies=copies)
    found = estimate_loop(shape, rows, dtype=dtype, copies=copies)
    assert found.peak == pytest.approx(counted.peak, rel=0.1)
    assert found.weights + found.copies + found.adapters / 3 == pytest.approx(counted.loaded, rel=0.02)
