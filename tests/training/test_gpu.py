"""On a CUDA GPU (`pytest -m gpu`): the paths that a CPU cannot walk. Not run yet on a GPU by us, see README."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from course_lib.data import pocket
from course_lib.knowledge.scoring.engine import score
from course_lib.knowledge.slick import draw_prompts
from course_lib.models import hardware
from course_lib.models.loading import load
from course_lib.models.memory import GIB, SHAPES
from course_lib.training.finetune import TuneConfig, add_lora, evaluate
from course_lib.training.loop import Loop
from course_lib.training.mixing import Mix, Row

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")]
CONFIG = TuneConfig(epochs=2, lr=4e-4, warmup=0, batch=8)


@pytest.fixture(scope="module")
def facts():
    return pocket.load()


@pytest.fixture(params=["float16", "bfloat16"])
def dtype(request, monkeypatch):
    """What a T4 computes in, and what newer GPUs do."""
    if request.param == "bfloat16" and torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("bfloat16 is emulated below compute capability 8.0")
    monkeypatch.setattr(hardware, "device_dtype", lambda device=None: "float32" if device == "cpu" else request.param)
    return request.param


def loop_of(base, facts, *, rows: int = 64) -> Loop:
    data = Mix("D", 0, 0, tuple(Row(fact, "HighlyKnown") for fact in facts.train[:rows]))
    return Loop(add_lora(base.model, CONFIG).eval(), base.tokenizer, ["default"], [data], [CONFIG])


def test_a_gpu_scores_as_a_cpu_does(dtype, facts) -> None:
    asked, prompt = facts.test[:64], next(iter(draw_prompts(facts.exemplars).values()))[:1]
    here, there = (load("pocket", device=device) for device in ("cuda", "cpu"))
    found, wanted = (score(base.model, base.tokenizer, asked, prompt) for base in (here, there))
    assert (found.greedy == wanted.greedy).mean() > 0.95
    assert abs(np.exp(found.log_probability) - np.exp(wanted.log_probability)).mean() < 0.02


def test_two_epochs_on_a_gpu_go_the_way_of_a_cpu(dtype, facts) -> None:
    losses = [[loop.epoch(1), loop.epoch(2)] for loop in (
        loop_of(load("pocket", device=device), facts) for device in ("cuda", "cpu"))]
    assert losses[0][0][0] == pytest.approx(losses[1][0][0], rel=0.03)
    assert losses[0][1][0] == pytest.approx(losses[1][1][0], rel=0.05) and losses[0][1] < losses[0][0]


def test_adapters_stay_in_float32_and_float16_is_scaled(dtype, facts) -> None:
    loop = loop_of(load("pocket", device="cuda"), facts)
    loop.epoch(1)
    assert loop.states[0].vector.dtype == torch.float32
    assert loop.states[0].scaler.is_enabled() == (dtype == "float16")


def test_copies_of_the_weights_change_no_loss(dtype, facts) -> None:
    kept = loop_of(load("pocket", device="cuda"), facts)
    fresh = loop_of(load("pocket", device="cuda"), facts)
    fresh.stacks.drop_copies()
    assert kept.epoch(1) == pytest.approx(fresh.epoch(1), abs=1e-5)


def test_the_questions_after_an_epoch_go_through_the_kept_copies(dtype, facts) -> None:
    base = load("pocket", device="cuda")
    loop = loop_of(base, facts)
    loop.epoch(1)
    plain = evaluate(loop.model, base.tokenizer, {"test": facts.test[:200]})
    with loop.stacks.lines([0]):
        kept = evaluate(loop.model, base.tokenizer, {"test": facts.test[:200]})
    assert kept["test"] == pytest.approx(plain["test"], abs=2)


def test_the_peak_of_a_real_shape_is_within_a_tenth_of_its_forecast(dtype, facts) -> None:
    from benchmarks.random_nf4 import random_base

    loop = loop_of(random_base("SmolLM2-360M", SHAPES["SmolLM2-360M"], device="cuda", dtype=dtype), facts)
    loop.epoch(1)
    loop.epoch(2)
    assert loop.peak.bytes == pytest.approx(loop.forecast, rel=0.1)


def test_a_gpu_that_is_full_gets_its_batches_in_parts(facts) -> None:
    from benchmarks.random_nf4 import random_base

    loop = loop_of(random_base("SmolLM2-360M", SHAPES["SmolLM2-360M"], device="cuda", dtype="float16"), facts)
    whole = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    room = torch.cuda.memory_allocated() - loop.stacks.weights.numel() * 4 + 0.25 * GIB
    torch.cuda.set_per_process_memory_fraction(room / whole)
    try:
        assert loop.epoch(1)[0] > 0
        assert loop.micro_batches > 1 or all(layer.weight is None for layer in loop.stacks.layers)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
