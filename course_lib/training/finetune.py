"""Supervised fine-tuning (SFT) of one mix with QLoRA, evaluated after every epoch (paper, sections 4 and App. E).

The base stays frozen in NF4. Each linear layer W gets W x + (alpha / r) B A x with trainable A (r, in) and
B (out, r), B = 0 at the start. A row is "Answer the following question.", the question and the answer; the loss is
the cross-entropy of the answer's tokens and the end of text, nothing else. The learning rate is constant, as in the
paper, after a linear warm-up.

The evaluation is exact match of the greedy answer, in percent, over groups of facts that go through the model together:
how much of the Known and of the Unknown training rows is fitted (memorised), and accuracy on the validation (dev), test
and out-of-distribution questions. EARLY_STOP is the epoch of the best dev accuracy, CONVERGENCE is the last.

A run may continue from a checkpoint of any epoch, and several runs may share the passes through their base
(:func:`tune_together`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from course_lib.data.facts import Fact, FactSet
from course_lib.files import CourseError
from course_lib.knowledge.scoring.engine import exact_match
from course_lib.training.mixing import IDK_ANSWER, Mix
from course_lib.training.records import Checkpoint, EpochRecord, History, TrainingMemory, TuneConfig, pack_bits

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from course_lib.training.loop import Loop

__all__ = ["EpochRecord", "Evaluator", "History", "Job", "Progress", "TuneConfig", "Tuned", "add_lora", "evaluate",
           "remove_lora", "tune", "tune_together"]

DEFAULT = TuneConfig()


@dataclass(frozen=True, slots=True)
class Job:
    """One run of several: its training set, its settings, and the checkpoint that it continues from."""

    data: Mix
    config: TuneConfig
    resume: Checkpoint | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """A run after an epoch: its records so far and the adapted model, of which ``adapter`` is this run's part."""

    records: tuple[EpochRecord, ...]
    model: PeftModel
    adapter: str
    _loop: Loop = field(repr=False)

    @property
    def record(self) -> EpochRecord:
        """The epoch that has just ended."""
        return self.records[-1]

    @property
    def memory(self) -> TrainingMemory:
        """The peak until now, of all runs that train together, and its forecast."""
        return TrainingMemory(self._loop.forecast, self._loop.peak.bytes)

    def checkpoint(self) -> Checkpoint:
        """A copy of all that the next epoch depends on."""
        state = next(state for state in self._loop.states if state.name == self.adapter)
        return state.checkpoint(self.records)


@dataclass(frozen=True, slots=True)
class Tuned:
    """A finished run: the adapted model (with the weights of the last epoch), its history, and the peak of memory.

    ``adapter`` is this run's part of the model; ``model.set_adapter`` chooses one where several runs share the model.
    """

    model: PeftModel
    history: History
    memory: TrainingMemory
    adapter: str


def add_lora(model: PreTrainedModel, config: TuneConfig, *, name: str = "default") -> PeftModel:
    """Put a fresh float32 adapter on every linear layer but the output layer; seeded by ``config.seed``.

    A model that has adapters already gets another one, called ``name``.
    """
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model

    lora = LoraConfig(r=config.rank, lora_alpha=config.alpha, target_modules="all-linear", task_type="CAUSAL_LM")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        if isinstance(model, PeftModel):
            model.add_adapter(name, lora)
            return model
        return get_peft_model(model, lora, adapter_name=name)


def remove_lora(model: PeftModel) -> PreTrainedModel:
    """Give back the base model as it was before :func:`add_lora`."""
    base = model.unload()
    if hasattr(base, "peft_config"):
        del base.peft_config
    return base.requires_grad_(False)


def tune(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, data: Mix, facts: FactSet,
         config: TuneConfig = DEFAULT, *, categories: Mapping[str, Sequence[str]] | None = None,
         progress: bool = True, resume: Checkpoint | None = None,
         on_epoch: Callable[[Progress], None] | None = None) -> Tuned:
    """Fine-tune a 4-bit base on ``data``, and evaluate it on dev, test and ood of ``facts`` after every epoch.

    ``categories`` may give the category before fine-tuning of each "test" and "ood" question, to split the accuracies
    by it. ``on_epoch`` is called after each evaluation, to draw or to save. ``resume`` is a checkpoint to continue
    from: the run ends as if it had never stopped. The base gets its adapter in place: take it off with
    :func:`remove_lora` before the next run.

    Raises:
        CourseError: no rows, a checkpoint of another model, or a loss that is not finite (the message names the step
            and the cure).
    """
    of_one = (lambda _, done: on_epoch(done)) if on_epoch else None
    [tuned] = tune_together(model, tokenizer, [Job(data, config, resume)], facts, categories=categories,
                            progress=progress, on_epoch=of_one)
    return tuned


def tune_together(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, jobs: Sequence[Job], facts: FactSet, *,
                  categories: Mapping[str, Sequence[str]] | None = None, progress: bool = True,
                  on_epoch: Callable[[int, Progress], None] | None = None) -> list[Tuned]:
    """Fine-tune several adapters over one frozen base, their batches in the same passes (see :mod:`.multi_lora`).

    Every run gives what :func:`tune` gives it alone, but for rounding; all share one model. Learning rates, seeds and
    numbers of rows may differ. ``on_epoch`` gets the number of the job too.

    Raises:
        CourseError: as in :func:`tune`; or ranks, alphas, numbers of epochs or epochs to continue from that differ.
    """
    from tqdm.auto import tqdm

    _refuse(jobs)
    names = ["default"] if len(jobs) == 1 else [f"run{number}" for number in range(len(jobs))]
    adapted = model
    for name, job in zip(names, jobs, strict=True):
        adapted = add_lora(adapted, job.config, name=name)
    try:
        runs = _Runs(adapted.eval(), tokenizer, names, jobs, facts, categories or {})
        last = jobs[0].config.epochs
        for epoch in tqdm(range(runs.first, last + 1), desc=_title(jobs), unit="epoch", disable=not progress):
            for number, done in enumerate(runs.epoch(epoch)):
                if on_epoch:
                    on_epoch(number, done)
    except BaseException:
        remove_lora(adapted)  # the caller's base must not carry an adapter into the next run
        raise
    memory = TrainingMemory(runs.loop.forecast, runs.loop.peak.bytes)
    return [Tuned(adapted, History(tuple(records)), memory, name)
            for name, records in zip(names, runs.records, strict=True)]


class _Runs:
    """Runs that go through their epochs together."""

    def __init__(self, model: PeftModel, tokenizer: PreTrainedTokenizerBase, names: Sequence[str],
                 jobs: Sequence[Job], facts: FactSet, categories: Mapping[str, Sequence[str]]) -> None:
        from course_lib.training.loop import Loop

        self.model, self.tokenizer, self.names = model, tokenizer, names
        self.loop = Loop(model, tokenizer, names, [job.data for job in jobs], [job.config for job in jobs])
        self.evaluators = [Evaluator(job.data, facts, categories) for job in jobs]
        self.records = [list(job.resume.records) if job.resume else [] for job in jobs]
        self.first = len(self.records[0])
        for state, job in zip(self.loop.states, jobs, strict=True):
            if job.resume:
                state.restore(job.resume)

    def epoch(self, number: int) -> Iterator[Progress]:
        """Train (not in epoch 0) and evaluate every run."""
        start = time.perf_counter()
        losses = self.loop.epoch(number) if number else [None] * len(self.names)
        training = (time.perf_counter() - start) / len(self.names)
        for name, evaluator, records, loss in zip(self.names, self.evaluators, self.records, losses, strict=True):
            start = time.perf_counter()
            with _chosen(self.model, name), self._evaluating(name):
                numbers = evaluator.evaluate(self.model, self.tokenizer)
            seconds = time.perf_counter() - start
            records.append(EpochRecord(number, loss, **numbers, seconds=training + seconds,
                                       evaluation_seconds=seconds))
            yield Progress(tuple(records), self.model, name, self.loop)

    def _evaluating(self, name: str) -> AbstractContextManager[None]:
        """Evaluate through the loop's own layers on a GPU, dequantised once; on a CPU each layer is one matrix."""
        if self.model.device.type == "cpu":
            return nullcontext()
        return self.loop.stacks.lines([self.names.index(name)])


@contextmanager
def _chosen(model: PeftModel, name: str) -> Iterator[None]:
    """Apply this adapter alone; which weights are trained stays as it is."""
    if list(model.active_adapters) == [name]:
        yield
        return
    before = list(model.active_adapters)
    model.base_model.set_adapter(name, inference_mode=True)
    try:
        yield
    finally:
        model.base_model.set_adapter(before, inference_mode=True)


def _refuse(jobs: Sequence[Job]) -> None:
    for job in jobs:
        if not job.data.rows:
            raise CourseError(f"{job.data.variant} at {job.data.unknown_percent} % Unknown has no rows; D_Known is "
                              f"empty at 100 %")
    for name in ("rank", "alpha", "epochs"):
        if len({getattr(job.config, name) for job in jobs}) != 1:
            raise CourseError(f"runs that go together need one {name}; run those of another {name} in a pass of "
                              f"their own")
    if len({len(job.resume.records) if job.resume else 0 for job in jobs}) != 1:
        raise CourseError("runs that go together must start at one epoch; take those of each epoch by themselves")


def _title(jobs: Sequence[Job]) -> str:
    data = jobs[0].data
    return (f"{data.variant} {data.unknown_percent:g} % Unknown, seed {data.seed}" if len(jobs) == 1
            else f"{len(jobs)} runs in one pass")


def evaluate(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, groups: Mapping[str, Sequence[Fact]], *,
             batch_tokens: int | None = None) -> dict[str, float | None]:
    """Exact match of the greedy answers in percent for each named group of facts; None for an empty group."""
    right = _answers(model, tokenizer, groups, batch_tokens=batch_tokens)
    return {name: _percent(each) for name, each in right.items()}


class Evaluator:
    """The questions of one run's evaluation after every epoch, and their categories before fine-tuning."""

    def __init__(self, data: Mix, facts: FactSet, categories: Mapping[str, Sequence[str]]) -> None:
        self.groups = {"dev": facts.dev, "test": facts.test, "ood": facts.ood,
                       "train": tuple(row.fact for row in data.rows)}
        if data.relabelled:
            self.groups["answered"] = tuple(replace(fact, object=IDK_ANSWER) for fact in facts.test)
        self.categories = {"train": np.array([row.category for row in data.rows])} | {
            split: np.asarray(names, str) for split, names in categories.items() if len(names)}
        self.unknown = np.array([row.unknown for row in data.rows], bool)

    def evaluate(self, model: PeftModel, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
        """The fields of an :class:`.EpochRecord` that come from the evaluation."""
        right = _answers(model, tokenizer, self.groups)
        train, silent = right["train"], right.pop("answered", None)
        kept = {"test": right["test"], "ood": right["ood"]} | ({} if silent is None else {"answered": ~silent})
        return {"dev": _percent(right["dev"]), "test": _percent(right["test"]), "ood": _percent(right["ood"]),
                "known_fitted": _percent(train[~self.unknown]), "unknown_fitted": _percent(train[self.unknown]),
                "answered": None if silent is None else _percent(~silent), "by_category": self._by_category(right),
                "right": {name: pack_bits(bits) for name, bits in kept.items()}}

    def _by_category(self, right: Mapping[str, np.ndarray]) -> dict[str, float]:
        return {f"{split}_{category}": _percent(right[split][names == category])
                for split, names in self.categories.items() for category in sorted(set(names))}


def _answers(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, groups: Mapping[str, Sequence[Fact]], *,
             batch_tokens: int | None = None) -> dict[str, np.ndarray]:
    """Answer the facts of all groups in one call; group -> exactly right or not (facts,)."""
    everything = [fact for facts in groups.values() for fact in facts]
    right = exact_match(model, tokenizer, everything, batch_tokens=batch_tokens)
    ends = np.cumsum([len(facts) for facts in groups.values()])
    return dict(zip(groups, np.split(right, ends[:-1]), strict=True))


def _percent(right: np.ndarray) -> float | None:
    return 100 * float(right.mean()) if len(right) else None
