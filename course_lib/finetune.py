"""QLoRA on one mix, watched epoch by epoch (paper, sections 4 and App. E).

The base stays frozen in NF4. Each linear layer W gets W x + (alpha / r) B A x with trainable A (r, in) and
B (out, r), B = 0 at the start. A row is "Answer the following question.", the question and the answer; the loss is
the cross-entropy of the answer's tokens and the end of text, nothing else. The learning rate is constant, as in the
paper, after a linear warm-up.

After every epoch five numbers are kept, all exact match of the greedy answer in percent: how much of the Known and
of the Unknown training rows is fitted, and accuracy on dev, test and out-of-distribution questions. EARLY_STOP is the
epoch of the best dev accuracy, CONVERGENCE is the last.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from course_lib.facts import Fact, FactSet
from course_lib.files import CourseError
from course_lib.mixing import Mix
from course_lib.scoring import INSTRUCTION, Encoded, encode_answers, exact_match

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["EpochRecord", "History", "TuneConfig", "Tuned", "add_lora", "evaluate", "remove_lora", "tune"]


@dataclass(frozen=True, slots=True)
class TuneConfig:
    """One fine-tuning run; ``lr`` is constant after ``warmup`` epochs, ``batch`` is in rows.

    Raises:
        CourseError: a value that cannot work, named with its range.
    """

    epochs: int = 12
    lr: float = 7e-4
    warmup: float = 3
    rank: int = 16
    alpha: int = 32
    batch: int = 32
    clip: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "lr", "rank", "alpha", "batch", "clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise CourseError(f"TuneConfig.{name} = {getattr(self, name)}: it must be above 0")
        for name in ("epochs", "rank", "batch"):
            if getattr(self, name) != int(getattr(self, name)):
                raise CourseError(f"TuneConfig.{name} = {getattr(self, name)}: it must be a whole number")
        if not 0 <= self.warmup < math.inf:
            raise CourseError(f"TuneConfig.warmup = {self.warmup}: it must be 0 or above")


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """One epoch: mean training loss (nats a token) and five accuracies in percent; None where there are no rows.

    Epoch 0 is the model before fine-tuning; it has no loss.
    """

    epoch: int
    loss: float | None
    dev: float | None
    test: float | None
    ood: float | None
    known_fitted: float | None
    unknown_fitted: float | None
    seconds: float


@dataclass(frozen=True, slots=True)
class History:
    """All epochs of one run, epoch 0 first."""

    records: tuple[EpochRecord, ...]

    @property
    def early_stop(self) -> EpochRecord:
        """The first epoch with the best dev accuracy; the untuned model does not count.

        Raises:
            CourseError: there were no dev questions.
        """
        if self.records[-1].dev is None:
            raise CourseError("no dev questions were asked, so no epoch is the best; give facts with a dev split")
        return max(self.records[1:], key=lambda record: record.dev)

    @property
    def convergence(self) -> EpochRecord:
        """The last epoch."""
        return self.records[-1]

    def to_frame(self) -> pd.DataFrame:
        """One row an epoch, columns as in :class:`EpochRecord`."""
        import pandas as pd

        return pd.DataFrame([asdict(record) for record in self.records])


@dataclass(frozen=True, slots=True)
class Tuned:
    """What a run gives: the adapted model (with the weights of the last epoch) and its history."""

    model: PeftModel
    history: History


def add_lora(model: PreTrainedModel, config: TuneConfig) -> PeftModel:
    """Put a fresh float32 adapter on every linear layer but the output layer; seeded by ``config.seed``."""
    import torch
    from peft import LoraConfig, get_peft_model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return get_peft_model(model, LoraConfig(r=config.rank, lora_alpha=config.alpha, target_modules="all-linear",
                                                task_type="CAUSAL_LM"))


def remove_lora(model: PeftModel) -> PreTrainedModel:
    """The base model as it was before :func:`add_lora`."""
    base = model.unload()
    if hasattr(base, "peft_config"):
        del base.peft_config
    return base.requires_grad_(False)


def evaluate(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, groups: dict[str, Sequence[Fact]], *,
             batch_tokens: int | None = None) -> dict[str, float | None]:
    """Exact match of the greedy answers in percent for each named group of facts; None for an empty group."""
    everything = [fact for facts in groups.values() for fact in facts]
    right = exact_match(model, tokenizer, everything, batch_tokens=batch_tokens)
    result, start = {}, 0
    for name, facts in groups.items():
        result[name] = 100 * float(right[start:start + len(facts)].mean()) if len(facts) else None
        start += len(facts)
    return result


def tune(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, data: Mix, facts: FactSet,
         config: TuneConfig = TuneConfig(), *, progress: bool = True,
         on_epoch: Callable[[EpochRecord, PeftModel], None] | None = None) -> Tuned:
    """Fine-tune a 4-bit base on ``data`` and watch it on dev, test and ood of ``facts``.

    ``on_epoch`` is called after each evaluation with the record and the adapted model, to draw or to save. The base
    gets its adapter in place: take it off with :func:`remove_lora` before the next run.

    Raises:
        CourseError: no rows, or a loss that is not finite (the message names the step and the cure).
    """
    from tqdm.auto import tqdm

    if not data.rows:
        raise CourseError(f"{data.variant} at {data.unknown_percent} % Unknown has no rows; D_Known is empty at 100 %")
    adapted = add_lora(model, config)
    groups = {"dev": facts.dev, "test": facts.test, "ood": facts.ood, "known_fitted": data.known,
              "unknown_fitted": data.unknown}
    records: list[EpochRecord] = []
    title = f"{data.variant} {data.unknown_percent:g} % Unknown, seed {data.seed}"
    try:
        stepper = _Stepper(adapted, tokenizer, data, config)
        for epoch in tqdm(range(config.epochs + 1), desc=title, unit="epoch", disable=not progress):
            start = time.perf_counter()
            loss = stepper.epoch() if epoch else None
            accuracies = evaluate(adapted, tokenizer, groups)
            records.append(EpochRecord(epoch, loss, **accuracies, seconds=time.perf_counter() - start))
            if on_epoch:
                on_epoch(records[-1], adapted)
    except BaseException:
        remove_lora(adapted)  # the caller's base must not carry an adapter into the next run
        raise
    return Tuned(adapted.eval(), History(tuple(records)))


class _Stepper:
    """The training loop: rows, optimizer and the order of the rows."""

    def __init__(self, model: PeftModel, tokenizer: PreTrainedTokenizerBase, data: Mix, config: TuneConfig) -> None:
        import torch

        self.model, self.config, self.steps = model, config, 0
        self.rows = encode_answers(tokenizer, INSTRUCTION, [row.fact for row in data.rows])
        if tokenizer.eos_token_id is None:
            raise CourseError("the tokenizer has no end of text to learn; set tokenizer.eos_token")
        self.end, self.filler = tokenizer.eos_token_id, tokenizer.pad_token_id or 0
        self.order = torch.Generator().manual_seed(config.seed)
        trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(trainable, lr=config.lr, weight_decay=0.0)
        # float16 gradients underflow without a scaled loss; the scaler does nothing elsewhere
        self.scaler = torch.amp.GradScaler(model.device.type, enabled=model.dtype == torch.float16)
        self.trainable = trainable
        rising = 1 + config.warmup * math.ceil(len(self.rows) / config.batch)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: min(1, (step + 1) / rising))

    def epoch(self) -> float:
        """One pass over the rows in a new order; returns the mean loss in nats a token."""
        self.model.train()
        total = tokens = 0
        for batch in self.batches():
            count = sum(len(row.tokens) - row.start + 1 for row in batch)
            total, tokens = total + count * self.step(batch), tokens + count
        return total / tokens

    def batches(self) -> Iterator[list[Encoded]]:
        """The rows in a new order; the last batch may be smaller."""
        import torch

        order = torch.randperm(len(self.rows), generator=self.order).tolist()
        for start in range(0, len(order), self.config.batch):
            yield [self.rows[i] for i in order[start:start + self.config.batch]]

    def step(self, batch: list[Encoded]) -> float:
        """One step of the optimizer; returns the batch's loss."""
        import torch

        loss = self.loss(batch)
        self.steps += 1
        if not torch.isfinite(loss):
            cure = ("float16 overflows in this model: take another preset, or a GPU with bfloat16"
                    if self.model.dtype == torch.float16 else f"lower lr (now {self.config.lr:g})")
            raise CourseError(f"step {self.steps}: the loss is {loss.item()}; {cure}")
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.trainable, self.config.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        self.optimizer.zero_grad()
        return loss.item()

    def loss(self, batch: list[Encoded]) -> torch.Tensor:
        """Mean cross-entropy of the answer tokens and the end of text; padding stands on the right."""
        import torch

        longest = max(len(row.tokens) for row in batch) + 1
        first = min(row.start for row in batch) - 1
        ids = torch.full((len(batch), longest), self.filler)
        labels = torch.full((len(batch), longest), -100)
        for i, row in enumerate(batch):
            tokens = torch.tensor([*row.tokens, self.end])
            ids[i, :len(tokens)] = tokens
            labels[i, row.start:len(tokens)] = tokens[row.start:]
        # only positions that predict an answer token pass through the output layer
        keep = torch.arange(first, longest - 1, device=self.model.device)
        logits = self.model(input_ids=ids.to(self.model.device), use_cache=False, logits_to_keep=keep).logits.float()
        wanted = labels[:, first + 1:].to(self.model.device)
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten())
