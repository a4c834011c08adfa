"""The training loop: what the loss sees, that it is plain PEFT and AdamW, and what can go wrong in a step."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from course_lib.files import CourseError
from course_lib.models import hardware
from course_lib.models.loading import load
from course_lib.models.memory import LoopMemory, Rows, StepPlan
from course_lib.training import loop as training_loop
from course_lib.training.finetune import add_lora
from course_lib.training.loop import Loop, RunState
from tests.support.tuning import CONFIG, ROWS, SHORT, adapters, loop_of, run

EIGHT = replace(CONFIG, lr=1e-3, warmup=0, rank=4, batch=8)


@pytest.fixture(params=[True, False], ids=["packed", "padded"])
def loop(base, request):
    loop = loop_of(base)
    assert loop.packed, "a Llama's attention can be replaced"
    loop.packed = request.param
    return loop


@pytest.fixture
def eight(base):
    return loop_of(base, EIGHT)


@pytest.fixture
def half(folder, monkeypatch):
    """The same model as a T4 would compute it."""
    monkeypatch.setattr(hardware, "device_dtype", lambda device=None: "float16")
    return loop_of(load(folder, device="cpu"), EIGHT)


def loss_of(loop, rows):
    return loop.losses([0], [rows]).item()


def weights(loop):
    return loop.states[0].vector.detach().clone()


def step(loop):
    return float(loop.step([0], [loop.states[0].rows[:8]])[0][0])


# The loss


def by_hand(model, tokenizer, rows):
    """Mean cross-entropy of the answers' tokens and the end of text, row by row."""
    losses = []
    for row in rows:
        before = tokenizer(f"Answer the following question.\n{row.fact.question}")["input_ids"]
        learnt = [*tokenizer(f" {row.fact.object}")["input_ids"], tokenizer.eos_token_id]
        with torch.no_grad():
            log_p = model(input_ids=torch.tensor([before + learnt])).logits[0].log_softmax(-1)
        losses += [-log_p[len(before) - 1 + i, token].item() for i, token in enumerate(learnt)]
    return pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_the_loss_is_about_the_answer_and_the_end_of_text_alone(loop, base):
    assert loss_of(loop, loop.states[0].rows[:3]) == by_hand(loop.model, base.tokenizer, ROWS[:3])


def test_the_tokens_that_enter_the_loss_spell_the_answer_and_its_end(loop, base, monkeypatch):
    seen, cross_entropy = [], torch.nn.functional.cross_entropy
    monkeypatch.setattr(torch.nn.functional, "cross_entropy",
                        lambda scores, wanted, **more: seen.append(wanted) or cross_entropy(scores, wanted, **more))
    loss_of(loop, loop.states[0].rows[:3])
    assert base.tokenizer.decode(seen[0]) == "".join(f" {row.fact.object}<|endoftext|>" for row in ROWS[:3])


def test_rows_in_one_pass_do_not_see_each_other(loop):
    short, long = sorted(loop.states[0].rows, key=lambda row: len(row.tokens))[::len(ROWS) - 1]
    counts = [len(row.tokens) - row.start for row in (short, long)]
    alone = [loss_of(loop, [row]) for row in (short, long)]
    assert loss_of(loop, [short, long]) == pytest.approx(
        sum(count * value for count, value in zip(counts, alone, strict=True)) / sum(counts), rel=1e-5)


def test_every_row_is_seen_once_an_epoch_in_a_new_order(base):
    state = loop_of(base).states[0]
    epochs = [list(state.batches(epoch)) for epoch in (1, 2)]
    for batches in epochs:
        assert [len(batch) for batch in batches] == [4, 4, 4, 1]
        assert sorted(row.tokens for batch in batches for row in batch) == sorted(row.tokens for row in state.rows)
    assert epochs[0] != epochs[1]


def test_the_last_incomplete_batch_is_trained(base, monkeypatch):
    sizes, losses = [], Loop.losses
    monkeypatch.setattr(Loop, "losses", lambda self, active, lines: sizes.append(len(lines[0])) or losses(
        self, active, lines))
    run(base)
    assert sizes == [4, 4, 4, 1] * 2


def test_the_epochs_loss_is_the_mean_over_tokens(base, monkeypatch):
    monkeypatch.setattr(RunState, "step", lambda self: None)
    loop = loop_of(base)
    assert loop.epoch(1) == [by_hand(loop.model, base.tokenizer, ROWS)]


def test_the_rate_rises_for_the_warm_up_and_stays(base, monkeypatch):
    rates, step = [], RunState.step
    monkeypatch.setattr(RunState, "step", lambda self: rates.append(self.rate / CONFIG.lr) or step(self))
    run(base, replace(SHORT, epochs=2, warmup=1))
    assert rates == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1])


def test_the_loop_is_plain_peft_and_adamw(folder):
    """Ten steps against a loop of PEFT's own forward, padded rows and torch's clipping."""
    ours = loop_of(load(folder, device="cpu"), replace(CONFIG, warmup=0, clip=0.5))
    state = ours.states[0]
    theirs = add_lora(load(folder, device="cpu").model, CONFIG)
    trained = [weight for weight in theirs.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=CONFIG.lr, weight_decay=0.0)
    for batch in [batch for epoch in (1, 2, 3) for batch in state.batches(epoch)][:10]:
        width = max(len(row.tokens) for row in batch)
        ids = torch.tensor([[*row.tokens, *[0] * (width - len(row.tokens))] for row in batch])
        labels = torch.tensor([[*[-100] * row.start, *row.tokens[row.start:], *[-100] * (width - len(row.tokens))]
                               for row in batch])
        loss = theirs(input_ids=ids, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 0.5)
        optimizer.step()
        optimizer.zero_grad()
        assert ours.step([0], [batch])[0][0] == pytest.approx(loss.item(), rel=1e-4)
    expected = adapters(theirs)
    for name, weight in adapters(ours.model).items():
        assert torch.allclose(weight, expected[name], rtol=0, atol=1e-4)


# Mixed precision: float16


def test_a_model_in_float16_keeps_its_adapters_in_float32_and_scales_its_loss(half):
    state = half.states[0]
    assert half.model.dtype == torch.float16 and state.vector.dtype == torch.float32
    assert state.scaler.is_enabled() and state.scaler.get_scale() == 2**16
    step(half)
    assert {weight.dtype for weight in state.weights.values()} == {torch.float32}


def test_a_float16_step_goes_the_way_of_a_float32_step(half, folder, monkeypatch):
    monkeypatch.setattr(hardware, "device_dtype", lambda device=None: "float32")
    full = loop_of(load(folder, device="cpu"), EIGHT)
    before = weights(full)
    for _ in range(3):
        assert step(half) == pytest.approx(step(full), abs=0.02)
    moved, wanted = weights(half) - before, weights(full) - before
    assert torch.nn.functional.cosine_similarity(moved, wanted, dim=0) > 0.95


def test_a_batch_whose_gradient_overflows_is_taken_again_at_a_smaller_scale(half, monkeypatch):
    tried, losses, state = [], Loop.losses, half.states[0]
    state.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    monkeypatch.setattr(Loop, "losses", lambda *of: tried.append(state.scaler.get_scale()) or losses(*of))
    before = weights(half)
    step(half)
    assert len(tried) > 5 and tried == [2.0**40 / 2**n for n in range(len(tried))]
    assert state.steps == state.optimizer.state[state.vector]["step"] == 1 and not torch.equal(weights(half), before)


@pytest.mark.parametrize(("precision", "value", "said"), [
    ("half", math.inf, r"^step 1: .*\b(inf|nan); .*COURSE_DTYPE=float32"),
    ("eight", math.nan, r"^step 1: .*\bnan; .*\blr .*0\.001")])
def test_a_gradient_that_is_not_finite_at_any_scale_names_the_step_and_the_cure(precision, value, said, request,
                                                                                monkeypatch):
    loop = request.getfixturevalue(precision)
    monkeypatch.setattr(loop.stacks, "take_gradients", lambda: torch.full((1, len(weights(loop))), value))
    with pytest.raises(CourseError, match=said):
        step(loop)


def test_a_loss_that_is_not_finite_names_the_step(base, monkeypatch):
    losses = Loop.losses
    monkeypatch.setattr(Loop, "losses", lambda self, active, lines: losses(self, active, lines) * (
        math.nan if self.states[0].steps == 2 else 1))
    with pytest.raises(CourseError, match=r"step 3: .*\bnan; .*\blr .*0\.005"):
        run(base)


# Out of memory


def no_memory_for(monkeypatch, rows: int, *, copies: bool = True) -> list[tuple[int, bool]]:
    """Let a pass over more than ``rows`` rows, or with copies, run out of memory; returns what was tried."""
    tried, losses = [], Loop.losses

    def failing(self, active, lines):
        kept = any(layer.weight is not None for layer in self.stacks.layers)
        tried.append((len(lines[0]), kept))
        if len(lines[0]) > rows or kept and not copies:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return losses(self, active, lines)

    monkeypatch.setattr(Loop, "losses", failing)
    return tried


def test_out_of_memory_the_copies_go_first_and_no_number_changes(eight, folder, monkeypatch):
    loss, loop = step(eight), loop_of(load(folder, device="cpu"), EIGHT)
    tried = no_memory_for(monkeypatch, 8, copies=False)
    assert step(loop) == loss and torch.equal(weights(loop), weights(eight))
    assert tried == [(8, True), (8, False)] and loop.micro_batches == 1


def test_out_of_memory_a_batch_is_halved_to_the_same_step_and_stays_so(eight, folder, monkeypatch):
    loss, loop = step(eight), loop_of(load(folder, device="cpu"), EIGHT)
    tried = no_memory_for(monkeypatch, 2)
    assert step(loop) == pytest.approx(loss, abs=1e-6)
    assert torch.allclose(weights(loop), weights(eight), rtol=0, atol=2e-6)
    assert [rows for rows, _ in tried] == [8, 8, 4, 2, 2, 2, 2] and loop.states[0].steps == 1
    tried.clear()
    step(loop)
    assert [rows for rows, _ in tried] == [2, 2, 2, 2]


def test_a_row_that_does_not_fit_alone_is_told(eight, monkeypatch):
    no_memory_for(monkeypatch, 0)
    with pytest.raises(CourseError, match=r"^step 1: .*\b\d+ tokens"):
        step(eight)


def test_another_error_is_not_taken_for_a_lack_of_memory(eight, monkeypatch):
    monkeypatch.setattr(Loop, "losses", lambda *_: (_ for _ in ()).throw(RuntimeError("device-side assert")))
    with pytest.raises(RuntimeError, match="device-side assert"):
        step(eight)


def test_a_step_is_fitted_into_the_free_memory_beforehand(base, monkeypatch):
    monkeypatch.setattr(training_loop, "free_memory", lambda device: 0)
    loop = loop_of(base, EIGHT)
    assert loop.micro_batches == 8 and all(layer.weight is None for layer in loop.stacks.layers)
    assert step(loop) > 0


def test_dequantised_copies_that_are_kept_change_no_loss(eight, folder, monkeypatch):
    monkeypatch.setattr(training_loop, "plan_step", lambda *_, **__: StepPlan(1, False, Rows(), LoopMemory(*[0.0] * 7)))
    fresh = loop_of(load(folder, device="cpu"), EIGHT)
    assert any(layer.weight is not None for layer in eight.stacks.layers)
    assert all(layer.weight is None for layer in fresh.stacks.layers)
    losses = [[step(loop) for _ in range(4)] for loop in (eight, fresh)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6) and losses[0][-1] < losses[0][0]


def test_a_run_notes_the_forecast_and_the_peak_of_its_memory(base):
    seen = []
    run(base, replace(EIGHT, epochs=2), on_epoch=lambda done: seen.append(done.memory))
    assert seen[-1].peak >= seen[0].peak > 0 and seen[-1].forecast == pytest.approx(seen[-1].peak, rel=0.2)


def test_a_model_without_such_sizes_has_no_forecast_and_is_trained(base, monkeypatch):
    def no_sizes(config):
        raise AttributeError("intermediate_size")

    monkeypatch.setattr(training_loop.Shape, "of", no_sizes)
    loop = loop_of(base, EIGHT)
    assert loop.forecast is None and step(loop) > 0


def test_a_tokenizer_without_an_end_of_text_is_refused(base):
    base.tokenizer.eos_token = None
    with pytest.raises(CourseError, match=r"tokenizer\.eos_token"):
        run(base)
