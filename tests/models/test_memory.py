"""Memory of a training step: each term by hand, against lesson 02, autograd and allocations counted one by one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.counted import config_of, count_step, even_rows
from course_lib.files import CourseError
from course_lib.models.memory import (
    GIB,
    SHAPES,
    Rows,
    Shape,
    estimate_loop,
    estimate_trainer,
    plan_step,
)
from tests.support.lessons import taught

SMALL = Shape(hidden=10, inner=20, layers=2, keys=5, vocabulary=100, tied=True, head=5)
# one block: q and o 10 x 10, k and v 10 x 5, gate, up and down 10 x 20
LINEAR = 2 * (2 * 100 + 2 * 50 + 3 * 200)
ROWS = Rows(count=3, tokens=7, longest=9, shared=2, answer=2)
PYTHIA = Shape(2048, 8192, 24, 2048, 50304, tied=False, head=128, gated=False)


def test_the_terms_of_a_small_model_are_those_worked_out_by_hand() -> None:
    found = estimate_trainer(SMALL, bits=16, rank=3, batch=2, tokens=7)
    assert found.terms == {
        "linear layers": 2 * LINEAR, "embedding, output": 2 * 100 * 10,
        # rank x (inputs + outputs): 20 + 15 + 15 + 20 + 30 + 30 + 30 = 160 a block, 16 bytes each
        "adapters + Adam": 16 * 2 * 3 * 160, "activations": 14 * 2 * (360 + 20 + 200 + 84), "logits": 14 * 14 * 100,
        "one dequantised matrix": 0}
    assert found.total == sum(found.terms.values())


def test_four_bits_with_double_quantisation_are_4_127_bits_a_weight() -> None:
    assert estimate_trainer(SMALL, bits=4).linear == LINEAR * (4 + 0.125 + 32 / 16384) / 8


def test_eight_bits_have_a_float32_scale_for_every_output_and_keep_the_inputs() -> None:
    eight, four = estimate_trainer(SMALL, bits=8, batch=1, tokens=1), estimate_trainer(SMALL, bits=4, batch=1, tokens=1)
    assert eight.linear == LINEAR + 4 * 2 * (10 + 5 + 5 + 10 + 20 + 20 + 10)
    assert eight.activations - four.activations == 2 * (4 * 10 + 2 * 20)


def test_the_largest_matrix_is_restored_to_16_bits_unless_it_has_them_already() -> None:
    assert [estimate_trainer(SMALL, bits=bits).matrix for bits in (4, 8, 16)] == [400, 400, 0]


def test_an_output_layer_of_its_own_counts_twice() -> None:
    own = Shape(10, 20, 2, 5, 100, tied=False)
    assert estimate_trainer(own).rest == 2 * estimate_trainer(SMALL).rest


@pytest.mark.parametrize(("name", "times"), [("batch", 4), ("tokens", 2)])
def test_activations_and_logits_grow_with_rows_and_with_tokens(name: str, times: int) -> None:
    one = estimate_trainer(SMALL, batch=2, tokens=6)
    more = estimate_trainer(SMALL, **{"batch": 2, "tokens": 6} | {name: times * {"batch": 2, "tokens": 6}[name]})
    assert (more.activations, more.logits) == (times * one.activations, times * one.logits)
    assert more.adapters == one.adapters


@pytest.mark.parametrize("name", [name for name in SHAPES if name != "pocket"])
def test_lesson_02_and_the_library_agree_where_they_overlap(name: str) -> None:
    shape = SHAPES[name]
    lesson = taught("02", "memory", double_bits=4 + 8 / 64 + 32 / (64 * 256))(
        shape.hidden, shape.inner, shape.layers, shape.keys, shape.vocabulary, shape.tied, rank=8)
    ours = estimate_trainer(shape, bits=4, rank=8)
    assert lesson["weights (M)"] * 1e6 == pytest.approx(shape.linear_weights + shape.other_weights)
    assert lesson["NF4 + rest (GB)"] * 1e9 == pytest.approx(ours.linear + ours.rest)
    assert lesson["LoRA + Adam (GB)"] * 1e9 == pytest.approx(ours.adapters)
    plain = estimate_trainer(shape, bits=16)
    assert lesson["float16 (GB)"] * 1e9 == pytest.approx(plain.linear + plain.rest)


def test_the_shape_of_the_pocket_model_is_that_of_its_configuration() -> None:
    from transformers import AutoConfig

    from course_lib.models.presets import POCKET_MODEL

    assert Shape.of(AutoConfig.from_pretrained(str(POCKET_MODEL))) == SHAPES["pocket"]


def adapted(layers: int, *, rank: int, vocabulary: int = 300) -> torch.nn.Module:
    """A random bfloat16 Llama with float32 adapters."""
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(hidden_size=128, intermediate_size=320, num_hidden_layers=layers, num_attention_heads=4,
                         num_key_value_heads=2, vocab_size=vocabulary, tie_word_embeddings=True)
    base = LlamaForCausalLM(config).to(torch.bfloat16)
    return get_peft_model(base, LoraConfig(r=rank, target_modules="all-linear", task_type="CAUSAL_LM"))


def kept_bytes(layers: int, *, batch: int, tokens: int, rank: int) -> int:
    """Bytes that autograd keeps for the backward pass, weights aside."""
    model = adapted(layers, rank=rank)
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    ids = torch.randint(0, 300, (batch, tokens), generator=torch.Generator().manual_seed(0))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = model(input_ids=ids, labels=ids, use_cache=False)
    assert result.loss.isfinite()
    return sum(kept.values())


@pytest.mark.slow
@pytest.mark.parametrize(("batch", "tokens", "rank"), [(1, 16, 4), (4, 32, 8), (2, 64, 16)])
def test_the_activations_of_a_block_are_what_autograd_keeps(batch: int, tokens: int, rank: int) -> None:
    shape = Shape(hidden=128, inner=320, layers=1, keys=64, vocabulary=300, tied=True)
    sizes = {"batch": batch, "tokens": tokens, "rank": rank}
    one_block = kept_bytes(3, **sizes) - kept_bytes(2, **sizes)
    assert estimate_trainer(shape, **sizes).activations == pytest.approx(one_block, rel=0.005)


def peak_bytes(vocabulary: int, place: Path) -> int:
    """The most that a training step of 4 rows of 16 tokens allocates at one time, by PyTorch's own record."""
    model, ids = adapted(1, rank=4, vocabulary=vocabulary), torch.arange(64).reshape(4, 16)
    model(input_ids=ids, labels=ids, use_cache=False).loss.backward()  # gradients have their room from here on
    with torch.profiler.profile(profile_memory=True) as record:
        result = model(input_ids=ids, labels=ids, use_cache=False)
        result.loss.backward()
    record.export_chrome_trace(str(place))
    events = [event for event in json.loads(place.read_text())["traceEvents"] if event.get("name") == "[memory]"]
    sizes = np.cumsum([event["args"]["Bytes"] for event in sorted(events, key=lambda event: event["ts"])])
    return int(sizes.max())


@pytest.mark.slow
def test_the_logits_take_14_bytes_for_every_token_and_word_at_the_peak(tmp_path: Path) -> None:
    small, large = (peak_bytes(vocabulary, tmp_path / "trace.json") for vocabulary in (20_000, 40_000))
    a_word = Shape(hidden=1, inner=1, layers=1, keys=1, vocabulary=1, tied=True)
    assert (large - small) / 20_000 == pytest.approx(estimate_trainer(a_word, batch=4, tokens=16).logits, rel=0.01)


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(CourseError, match="bits = 5: .*4, 8, 16"):
        estimate_trainer(SMALL, bits=5)
    with pytest.raises(CourseError, match=r"rank 16, batch 0, tokens 128: .*\b1\b"):
        estimate_trainer(SMALL, batch=0)


# ---------------------------------------------------------------- our own loop


def test_what_all_rows_begin_with_stands_once() -> None:
    assert (ROWS.packed, ROWS.predicted) == (2 + 3 * 5, 6)


def test_rows_are_described_by_their_mean_and_their_longest() -> None:
    assert Rows.of([6, 10], [2, 3], batch=8, shared=3) == Rows(count=2, tokens=8, longest=10, shared=3, answer=2.5)


def test_the_terms_of_our_loop_are_those_worked_out_by_hand() -> None:
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


def test_batches_that_make_no_sense_are_refused() -> None:
    with pytest.raises(CourseError, match="dtype 'int8': .*float16, bfloat16, float32"):
        estimate_loop(SMALL, dtype="int8")
    with pytest.raises(CourseError, match=r"rank 16, 0 rows of 26\.0 tokens: .*\b1\b"):
        estimate_loop(SMALL, Rows(count=0))


def planned(shape: Shape, rows: Rows, **more: object) -> tuple[int, bool]:
    plan = plan_step(shape, rows, **more)
    assert plan.rows == rows.split(plan.micro_batches)
    return plan.micro_batches, plan.copies


@pytest.mark.parametrize("copies", [True, False])
def test_a_batch_goes_whole_where_there_is_room(copies: bool) -> None:
    whole = estimate_loop(SMALL, ROWS, copies=True)
    assert planned(SMALL, ROWS, free=10 * whole.peak, may_copy=copies) == (1, copies)


def test_the_copy_goes_before_the_batch_is_cut() -> None:
    assert planned(SMALL, ROWS, free=estimate_loop(SMALL, ROWS).peak / 0.89) == (1, False)


def test_a_batch_is_cut_until_a_micro_batch_fits() -> None:
    shape, quarter = SHAPES["SmolLM2-360M"], estimate_loop(SHAPES["SmolLM2-360M"], Rows(8))
    assert planned(shape, Rows(32), free=quarter.peak / 0.89) == (4, False)


def test_a_7b_model_is_tuned_on_rows_of_40_tokens_in_8_gb() -> None:
    assert 4e9 < count_step(config_of(SHAPES["OLMo-2-1124-7B"]), even_rows(8, 40)).peak < 8e9


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Mistral-7B-v0.3", "Qwen2.5-7B"])
def test_other_7b_models_are_too(name: str) -> None:
    assert 4e9 < count_step(config_of(SHAPES[name]), even_rows(8, 40)).peak < 8e9


@pytest.mark.slow
def test_a_batch_of_32_such_rows_goes_through_an_8_gb_card_in_parts() -> None:
    rows = Rows(32, 40, 40, 7, 5)
    plan = plan_step(SHAPES["Mistral-7B-v0.3"], rows, free=7.2 * GIB)
    assert plan.micro_batches > 1 and not plan.copies
    assert count_step(config_of(SHAPES["Mistral-7B-v0.3"]), even_rows(32 // plan.micro_batches, 40)).peak < 7.2 * GIB


@pytest.mark.parametrize(("name", "dtype", "copies"), [
    ("pocket", "float32", True), ("pocket", "float16", False), ("SmolLM2-360M", "float16", False)])
def test_the_peak_is_within_a_tenth_of_what_is_counted(name: str, dtype: str, copies: bool) -> None:
    compare(SHAPES[name], Rows(16, 30, 30, 7, 5), dtype, copies)


@pytest.mark.slow
@pytest.mark.parametrize(("place", "shape"), enumerate([*SHAPES.values(), PYTHIA]), ids=[*SHAPES, "Pythia-1.4b"])
def test_the_peak_of_every_shape_is_within_a_tenth(place: int, shape: Shape) -> None:
    """In both dtypes, with copies in one; the larger batch falls to each of them by turns."""
    for dtype, copies, count in [("bfloat16", True, (8, 32)[place % 2]), ("float16", False, (32, 8)[place % 2])]:
        compare(shape, Rows(count, 26, 26, 7, 5), dtype, copies)


def compare(shape: Shape, rows: Rows, dtype: str, copies: bool) -> None:
    counted = count_step(config_of(shape), even_rows(rows.count, int(rows.tokens)), dtype=getattr(torch, dtype),
                         copies=copies)
    found = estimate_loop(shape, rows, dtype=dtype, copies=copies)
    assert found.peak == pytest.approx(counted.peak, rel=0.1)
    assert found.weights + found.copies + found.adapters / 3 == pytest.approx(counted.loaded, rel=0.02)
