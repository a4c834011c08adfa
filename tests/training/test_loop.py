"""What can go wrong in a step: gradients that overflow, memory that ends, numbers that are none; and what is noted."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from course_lib.data.facts import Fact, FactSet
from course_lib.files import CourseError
from course_lib.models import hardware
from course_lib.models.loading import load
from course_lib.models.memory import GIB, LoopMemory, Rows, StepPlan
from course_lib.models.memory_usage import PeakMemory
from course_lib.training import finetune
from course_lib.training import loop as training_loop
from course_lib.training.finetune import TuneConfig, add_lora
from course_lib.training.loop import Loop
from course_lib.training.mixing import Mix, Row
from tests.support.tiny import SUBJECTS, TOKENIZERS, plain_model

FACTS = [Fact(subject, relation, answer) for relation in ("P19", "P40") for subject, answer in zip(
    SUBJECTS, ["Paris", "Ulm", "Rome (Italy)", "A.B.", "1984", "Bo", "Kiel", "Bonn"], strict=True)]
MIX = Mix("D", 0, 0, tuple(Row(fact, "HighlyKnown") for fact in FACTS))
CONFIG = TuneConfig(epochs=2, lr=1e-3, warmup=0, rank=4, batch=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder, tokenizer = tmp_path_factory.mktemp("llama"), TOKENIZERS["gpt2"]()
    plain_model("llama", tokenizer, initializer_range=0.1).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def base(folder):
    return load(folder, device="cpu")


@pytest.fixture
def half(folder, monkeypatch):
    """The same model as a T4 would compute it."""
    monkeypatch.setattr(hardware, "device_dtype", lambda device=None: "float16")
    return load(folder, device="cpu")


def loop_of(base, **more) -> Loop:
    config = TuneConfig(**{"epochs": 2, "lr": 1e-3, "warmup": 0, "rank": 4, "batch": 8} | more)
    return Loop(add_lora(base.model, config).eval(), base.tokenizer, ["default"], [MIX], [config])


def weights(loop: Loop) -> torch.Tensor:
    return loop.states[0].vector.detach().clone()


def step(loop: Loop, rows: int = 8) -> float:
    return float(loop.step([0], [loop.states[0].rows[:rows]])[0][0])


# ---------------------------------------------------------------- float16


def test_a_model_in_float16_keeps_its_adapters_in_float32_and_scales_its_loss(half) -> None:
    loop = loop_of(half)
    state = loop.states[0]
    assert half.model.dtype == torch.float16 and state.vector.dtype == torch.float32
    assert state.scaler.is_enabled() and state.scaler.get_scale() == 2**16
    step(loop)
    assert {weight.dtype for weight in state.weights.values()} == {torch.float32}


def test_a_float16_step_goes_the_way_of_a_float32_step(half, folder, monkeypatch) -> None:
    low = loop_of(half)
    monkeypatch.setattr(hardware, "device_dtype", lambda device=None: "float32")
    full = loop_of(load(folder, device="cpu"))
    before = weights(full)
    for _ in range(3):
        losses = step(low), step(full)
        assert losses[0] == pytest.approx(losses[1], abs=0.02)
    moved, wanted = weights(low) - before, weights(full) - before
    assert torch.nn.functional.cosine_similarity(moved, wanted, dim=0) > 0.95


def test_a_batch_whose_gradient_overflows_is_taken_again_at_a_smaller_scale(half, monkeypatch) -> None:
    loop, tried, losses = loop_of(half), [], Loop.losses
    loop.states[0].scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)

    def counted(self, active, lines):
        tried.append(self.states[0].scaler.get_scale())
        return losses(self, active, lines)

    monkeypatch.setattr(Loop, "losses", counted)
    before = weights(loop)
    step(loop)
    assert len(tried) > 5 and tried == [2.0**40 / 2**n for n in range(len(tried))]
    assert loop.states[0].steps == 1 and not torch.equal(weights(loop), before)
    assert loop.states[0].optimizer.state[loop.states[0].vector]["step"] == 1


def test_a_gradient_that_overflows_at_any_scale_ends_the_run_with_the_cure(half, monkeypatch) -> None:
    loop = loop_of(half)
    monkeypatch.setattr(loop.stacks, "take_gradients", lambda: torch.full((1, len(weights(loop))), math.inf))
    with pytest.raises(CourseError, match=r"^step 1: .*\b(inf|nan); .*COURSE_DTYPE=float32"):
        step(loop)


def test_a_gradient_that_is_not_finite_names_the_step_and_the_cure(base, monkeypatch) -> None:
    loop = loop_of(base)
    step(loop)
    monkeypatch.setattr(loop.stacks, "take_gradients", lambda: torch.full((1, len(weights(loop))), math.nan))
    with pytest.raises(CourseError, match=r"^step 2: .*\bnan; .*\blr .*0\.001"):
        step(loop)


# ---------------------------------------------------------------- memory that ends


def no_memory_for(monkeypatch, rows: int, *, copies: bool = True) -> list[tuple[int, bool]]:
    """Let a pass over more than ``rows`` rows, or with restored weights kept, run out of memory; what was tried."""
    tried, losses = [], Loop.losses

    def failing(self, active, lines):
        kept = any(layer.weight is not None for layer in self.stacks.layers)
        tried.append((len(lines[0]), kept))
        if len(lines[0]) > rows or kept and not copies:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return losses(self, active, lines)

    monkeypatch.setattr(Loop, "losses", failing)
    return tried


def test_out_of_memory_the_restored_copy_goes_first_and_no_number_changes(base, folder, monkeypatch) -> None:
    whole = loop_of(base)
    loss = step(whole)
    loop = loop_of(load(folder, device="cpu"))
    tried = no_memory_for(monkeypatch, 8, copies=False)
    assert step(loop) == loss and torch.equal(weights(loop), weights(whole))
    assert tried == [(8, True), (8, False)] and loop.micro_batches == 1


def test_out_of_memory_a_batch_is_halved_to_the_same_step(base, folder, monkeypatch) -> None:
    whole = loop_of(base)
    loss = step(whole)
    loop = loop_of(load(folder, device="cpu"))
    tried = no_memory_for(monkeypatch, 2)
    assert step(loop) == pytest.approx(loss, abs=1e-6)
    assert torch.allclose(weights(loop), weights(whole), rtol=0, atol=2e-6)
    assert [rows for rows, _ in tried] == [8, 8, 4, 2, 2, 2, 2] and loop.states[0].steps == 1


def test_the_batches_after_stay_halved(base, monkeypatch) -> None:
    loop = loop_of(base)
    tried = no_memory_for(monkeypatch, 4)
    step(loop)
    tried.clear()
    step(loop)
    assert [rows for rows, _ in tried] == [4, 4]


def test_a_row_that_does_not_fit_alone_is_told(base, monkeypatch) -> None:
    loop = loop_of(base)
    no_memory_for(monkeypatch, 0)
    with pytest.raises(CourseError, match=r"^step 1: .*\b\d+ tokens"):
        step(loop)


def test_another_error_is_not_taken_for_a_lack_of_memory(base, monkeypatch) -> None:
    loop = loop_of(base)
    monkeypatch.setattr(Loop, "losses", lambda *_: (_ for _ in ()).throw(RuntimeError("device-side assert")))
    with pytest.raises(RuntimeError, match="device-side assert"):
        step(loop)


def test_a_step_is_fitted_into_the_free_memory_beforehand(base, monkeypatch) -> None:
    monkeypatch.setattr(training_loop, "free_memory", lambda device: 0)
    loop = loop_of(base)
    assert loop.micro_batches == 8 and all(layer.weight is None for layer in loop.stacks.layers)
    assert step(loop) > 0


# ---------------------------------------------------------------- copies, and what is noted


def test_restored_weights_that_are_kept_change_no_loss(base, folder, monkeypatch) -> None:
    kept = loop_of(base)
    monkeypatch.setattr(training_loop, "plan_step", lambda *_, **__: StepPlan(1, False, Rows(), LoopMemory(*[0.0] * 7)))
    fresh = loop_of(load(folder, device="cpu"))
    assert any(layer.weight is not None for layer in kept.stacks.layers)
    assert all(layer.weight is None for layer in fresh.stacks.layers)
    losses = [[step(loop) for _ in range(4)] for loop in (kept, fresh)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6) and losses[0][-1] < losses[0][0]


def test_a_run_notes_the_forecast_and_the_peak_of_its_memory(base) -> None:
    seen = []
    finetune.tune(base.model, base.tokenizer, MIX, FactSet("x", (), (), (), ()), CONFIG, progress=False,
                  on_epoch=lambda done: seen.append(done.memory))
    assert seen[-1].peak >= seen[0].peak > 0 and seen[-1].forecast == pytest.approx(seen[-1].peak, rel=0.2)


def test_a_model_without_such_sizes_has_no_forecast_and_is_trained(base, monkeypatch) -> None:
    def no_sizes(config):
        raise AttributeError("intermediate_size")

    monkeypatch.setattr(training_loop.Shape, "of", no_sizes)
    loop = loop_of(base)
    assert loop.forecast is None and step(loop) > 0


def test_the_peak_is_at_least_what_was_held_at_once() -> None:
    peak = PeakMemory("cpu")
    peak.reset()
    held = torch.ones(64 * 2**20 // 4)
    del held
    peak.update()
    assert peak.bytes >= peak.start + (60 * 2**20 if Path("/proc/self/clear_refs").exists() else 0)
    assert peak.bytes < peak.start + 2 * GIB
