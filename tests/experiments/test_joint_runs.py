"""Many adapters in one pass: each is what it would be alone, whatever the others do, and is saved as its own run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from peft import PeftModel

from course_lib.data.facts import Fact, FactSet
from course_lib.experiments.joint_runs import JointExecutor, compatible
from course_lib.models.loading import Loaded, load
from course_lib.training import finetune
from course_lib.training import loop as training_loop
from course_lib.training.finetune import TuneConfig, add_lora, remove_lora
from course_lib.training.loop import Loop
from course_lib.training.mixing import Mix, Row
from course_lib.training.records import EpochRecord
from course_lib.training.runs.folder import RunSpec, is_completed, read_history
from course_lib.training.runs.writer import RunBusy, open_run
from tests.support.tiny import SUBJECTS, TOKENIZERS, plain_model

FACTS = [Fact(subject, relation, answer) for relation in ("P19", "P40", "P50") for subject, answer in zip(
    SUBJECTS, ["Paris", "Ulm", "Rome (Italy)", "São Tomé", "A.B.", "1984", "Łódź", "Bo"], strict=True)]
CONFIG = TuneConfig(epochs=2, lr=1e-3, warmup=0, rank=4, batch=4)
SIZES, RATES = (24, 13, 20), (1e-3, 5e-4, 2e-3)  # rows and rates of three runs


def mix(seed: int) -> Mix:
    return Mix("D", 0, seed, tuple(Row(fact, "HighlyKnown") for fact in FACTS[:SIZES[seed]]))


def configs(**more) -> list[TuneConfig]:
    return [replace(CONFIG, lr=rate, seed=seed, **more) for seed, rate in enumerate(RATES)]


@pytest.fixture(scope="module", params=["llama", pytest.param("neox", marks=pytest.mark.slow)])
def folder(request, tmp_path_factory) -> Path:
    folder, tokenizer = tmp_path_factory.mktemp(request.param), TOKENIZERS["gpt2"]()
    plain_model(request.param, tokenizer, initializer_range=0.1).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def loop_of(base: Loaded, seeds: tuple[int, ...], **more) -> Loop:
    model, names = base.model, [f"run{seed}" for seed in seeds]
    chosen = [configs(**more)[seed] for seed in seeds]
    for name, config in zip(names, chosen, strict=True):
        model = add_lora(model, config, name=name)
    return Loop(model.eval(), base.tokenizer, names, [mix(seed) for seed in seeds], chosen)


def train(loop: Loop, steps: int) -> list[tuple[list[float], dict[str, torch.Tensor]]]:
    """The losses of each run's steps, at most ``steps``, and its weights."""
    found, step = [[] for _ in loop.states], loop.step

    def kept(active, lines):
        values = step(active, lines)
        for n, value in zip(active, values[0], strict=True):
            found[n].append(float(value))
        return values

    loop.step = kept
    for epoch in range(1, 1 + steps // 4):
        loop.epoch(epoch)
    return [(losses, {key: weight.detach().clone() for key, weight in state.weights.items()})
            for losses, state in zip(found, loop.states, strict=True)]


@pytest.mark.parametrize(("four_bit", "most"), [
    (True, 100), (False, 10**9), *(pytest.param(*pair, marks=pytest.mark.slow) for pair in [
        (True, 10**9), (False, 100)])])
def test_together_equals_separate(folder: Path, four_bit: bool, most: int, monkeypatch) -> None:
    """24, 13 and 20 rows are 6, 4 and 5 steps an epoch: over 20 steps in 5 epochs, with other rates and seeds."""
    monkeypatch.setattr(training_loop, "CPU_TOKENS", most)
    together = train(loop_of(load(folder, device="cpu", four_bit=four_bit), (0, 1, 2)), 20)
    for seed, (losses, weights) in enumerate(together):
        [(alone, expected)] = train(loop_of(load(folder, device="cpu", four_bit=four_bit), (seed,)), 20)
        assert len(losses) == (30, 20, 25)[seed] and losses[-1] < losses[0]
        assert losses == pytest.approx(alone, abs=1e-5)
        for key, weight in weights.items():
            torch.testing.assert_close(weight, expected[key], rtol=0, atol=1e-5)


def test_no_row_of_a_run_reaches_the_gradient_of_another(folder: Path) -> None:
    loop = loop_of(load(folder, device="cpu"), (0, 1, 2))
    lines = [state.rows[:4] for state in loop.states]
    losses = loop.losses([0, 1, 2], lines)
    losses[1].backward()
    gradients = loop.stacks.take_gradients()
    assert float(gradients[0].abs().max()) == float(gradients[2].abs().max()) == 0 < float(gradients[1].abs().max())


def test_each_run_is_clipped_by_its_own_norm(folder: Path, monkeypatch) -> None:
    norms, clip = [], torch.nn.utils.clip_grad_norm_

    def kept(vector, limit):
        before = float(clip(vector, limit))
        norms.append((before, float(vector.grad.norm()), limit))
        return before

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", kept)
    loop = loop_of(load(folder, device="cpu"), (0, 1))
    limits = (1e-3, 1e3)
    for state, limit in zip(loop.states, limits, strict=True):
        state.config = replace(state.config, clip=limit)
    loop.step([0, 1], [state.rows[:4] for state in loop.states])
    (large, cut, _), (whole, left, _) = norms
    assert large > 1e-3 and cut == pytest.approx(1e-3, rel=1e-3) and left == pytest.approx(whole)


@pytest.fixture
def study(folder: Path, tmp_path: Path) -> SimpleNamespace:
    """What :class:`JointExecutor` asks of a study, around the tiny model."""
    facts = FactSet("invented", tuple(FACTS), tuple(FACTS[:4]), tuple(FACTS[:2]), tuple(FACTS[8:10]))
    return SimpleNamespace(folder=tmp_path, facts=facts, load=lambda: load(folder, device="cpu"),
                           mix_of=lambda spec: mix(spec.seed), categories=dict)


def specs(**more) -> list[RunSpec]:
    return [RunSpec("tiny", "D", 0, seed, 24, config, "base", "labels") for seed, config in enumerate(configs(**more))]


def silent(_: RunSpec, __: EpochRecord) -> None:
    """Tells nobody."""


def logits(model: PeftModel) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.arange(3, 43).view(2, 20)).logits


def test_each_adapter_is_saved_as_an_ordinary_one(study: SimpleNamespace) -> None:
    told: list[tuple[int, int]] = []
    executor = JointExecutor(study, lambda spec, record: told.append((spec.seed, record.epoch)))
    assert executor.run(specs()) == []
    assert told == [(seed, epoch) for epoch in (0, 1, 2) for seed in (0, 1, 2)]
    for spec in specs():
        base = study.load()
        alone = finetune.tune(base.model, base.tokenizer, mix(spec.seed), study.facts, spec.tune, progress=False)
        expected = logits(alone.model)
        model = PeftModel.from_pretrained(remove_lora(alone.model), spec.folder(study.folder / "runs") / "adapter")
        torch.testing.assert_close(logits(model), expected, rtol=0, atol=1e-4)


def fails_for_more_than_one(monkeypatch: pytest.MonkeyPatch, after: int) -> list[int]:
    """Memory ends after so many told epochs in every pass of several runs; gives the sizes of all passes."""
    sizes, working = [], finetune.tune_together

    def short(model, tokenizer, jobs, *args, on_epoch: Callable, **more):
        sizes.append(len(jobs))
        told = []

        def keep(number, progress):
            on_epoch(number, progress)
            told.append(number)
            if len(told) == after and len(jobs) > 1:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

        return working(model, tokenizer, jobs, *args, on_epoch=keep, **more)

    monkeypatch.setattr(finetune, "tune_together", short)
    return sizes


def test_a_pass_is_cut_in_halves_where_memory_ends(study: SimpleNamespace, monkeypatch) -> None:
    sizes = fails_for_more_than_one(monkeypatch, after=4)  # epoch 0 of three runs, then epoch 1 of the first
    JointExecutor(study, silent).run(specs())
    assert sizes == [3, 1, 1, 1]
    assert all(is_completed(spec, study.folder / "runs") for spec in specs())


def test_runs_that_were_stopped_out_of_step_go_on_together(study: SimpleNamespace, monkeypatch) -> None:
    plan, starts, working = specs(), [], finetune.tune_together

    def stop(spec: RunSpec, record: EpochRecord) -> None:
        if (spec.seed, record.epoch) == (0, 1):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        JointExecutor(study, stop).run(plan)
    assert [len(read_history(spec.folder(study.folder / "runs")).records) for spec in plan] == [2, 1, 1]
    monkeypatch.setattr(finetune, "tune_together", lambda model, tokenizer, jobs, *args, **more: starts.append(
        [len(job.resume.records) for job in jobs]) or working(model, tokenizer, jobs, *args, **more))
    JointExecutor(study, silent).run(plan)
    assert starts == [[1, 1, 1]]
    assert all(is_completed(spec, study.folder / "runs") for spec in plan)


def test_busy_runs_are_given_back_and_the_others_are_locked(study: SimpleNamespace) -> None:
    plan, root = specs(epochs=1), study.folder / "runs"

    def locked(spec: RunSpec, _: EpochRecord) -> None:
        with pytest.raises(RunBusy), open_run(plan[2], root):
            pass

    with open_run(plan[1], root):
        assert JointExecutor(study, locked).run(plan) == [plan[1]]
    assert [is_completed(spec, root) for spec in plan] == [True, False, True]


def test_runs_of_another_rank_or_batch_go_by_themselves(tmp_path: Path) -> None:
    plan = [*specs(), *specs(rank=8)[:1], *specs(batch=8)[:2]]
    assert list(map(len, compatible(plan, tmp_path))) == [3, 1, 2]
