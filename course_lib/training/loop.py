"""The training loop: forward and backward passes and AdamW steps of one run, or of several over one frozen base.

Loss. A row's loss is the cross-entropy (nats) of its answer's tokens and the end of text. A batch of one run has the
mean over its tokens; several runs together have the sum of their own means, so that no run's gradient depends on
another's. Each run keeps its own order of rows, gradient clipping, AdamW state and learning rate; each step takes one
batch of every run that still has one.

Memory. Before the first step the loop looks at the free memory: whether a dequantised copy of the frozen weights fits,
and in how many micro-batches a batch has to go through, with gradient accumulation (:mod:`.memory`). If it still
runs out of memory, the copy goes first and then the micro-batches are halved: the same gradient, but for rounding.

Mixed precision. In float16 small gradients would vanish, so the loss is scaled up before the backward pass, and the
gradient down after it (loss scaling; Micikevicius et al. 2018, arXiv 1710.03740). On overflow the step is skipped and
the batch is retried at half the loss scale, so that none is lost. Elsewhere the scale is 1.

The order of epoch e is drawn from (seed, e) alone, and dropout is off: the weights, AdamW's moments, the number of
steps and the loss scale are all that the next epoch depends on, and what a checkpoint holds.

Shapes: P weights of an adapter, M predicted tokens, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

import numpy as np

from course_lib.files import CourseError
from course_lib.knowledge.scoring.prompts import INSTRUCTION, encode_answers
from course_lib.models.four_bit import is_four_bit
from course_lib.models.hardware import free_memory, out_of_memory
from course_lib.models.memory import Shape, StepPlan, estimate_loop, plan_step
from course_lib.models.memory_usage import PeakMemory, release_memory
from course_lib.training.multi_lora import Stacks
from course_lib.training.packing import Target, average_batch, can_pack, predicted, target_logits
from course_lib.training.records import Checkpoint, EpochRecord, TuneConfig

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedTokenizerBase

    from course_lib.training.mixing import Mix

__all__ = ["Loop", "RunState"]

CPU_TOKENS = 3000  # in a pass of several runs on a CPU: beyond that, what lies between two layers leaves the caches
MOMENTS = ("exp_avg", "exp_avg_sq")  # of AdamW


class RunState:
    """One run in training: its rows, its adapter's weights, by name and as one ``vector`` (P,), and its optimizer."""

    def __init__(self, name: str, rows: Sequence[Target], config: TuneConfig, stacks: Stacks,
                 model: PeftModel) -> None:
        import torch

        self.name, self.config, self.weights, self.steps = name, config, stacks.parameters(name), 0
        self.rows = rows
        self.vector = torch.nn.Parameter(stacks.weights[stacks.names.index(name)])  # (P,), a view of all the weights
        self.optimizer = torch.optim.AdamW([self.vector], lr=config.lr, weight_decay=0.0, fused=True)
        self.scaler = torch.amp.GradScaler(model.device.type, enabled=model.dtype == torch.float16)

    def batches(self, epoch: int) -> Iterator[list[Target]]:
        """The rows in the order of this epoch; the last batch may be smaller."""
        order = np.random.default_rng([self.config.seed, epoch]).permutation(len(self.rows))
        for start in range(0, len(order), self.config.batch):
            yield [self.rows[i] for i in order[start:start + self.config.batch]]

    @property
    def rate(self) -> float:
        """The learning rate of the next step: it rises for ``warmup`` epochs, then stays."""
        rising = 1 + self.config.warmup * math.ceil(len(self.rows) / self.config.batch)
        return self.config.lr * min(1, (self.steps + 1) / rising)

    def step(self) -> bool:
        """Change the weights by the gradient of ``vector``, and delete the gradient.

        Returns True where the gradient overflowed float16: nothing has changed but the loss scale.

        Raises:
            CourseError: the gradient is not finite, whatever the scale; it names the step and the cure.
        """
        import torch

        for group in self.optimizer.param_groups:
            group["lr"] = self.rate
        self.scaler.unscale_(self.optimizer)
        norm = float(torch.nn.utils.clip_grad_norm_(self.vector, self.config.clip))
        overflowed = not math.isfinite(norm)
        if overflowed and self.scaler.get_scale() <= 1:  # 1 where the loss is not scaled
            raise CourseError(f"step {self.steps + 1}: the gradient's norm is {norm}; {self._cure}")
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.vector.grad = None
        self.steps += not overflowed
        return overflowed

    def check(self, loss: float) -> None:
        """Refuse a loss that is not finite; the CourseError names the step and the cure."""
        if not math.isfinite(loss):
            raise CourseError(f"step {self.steps + 1}: the loss is {loss}; {self._cure}")

    @property
    def _cure(self) -> str:
        lower = f"lower lr (now {self.config.lr:g})"
        return (f"float16 overflows in this model: set COURSE_DTYPE=float32 (slower), take another preset or a GPU "
                f"with bfloat16, or {lower}") if self.scaler.is_enabled() else lower

    def checkpoint(self, records: Sequence[EpochRecord]) -> Checkpoint:
        """Copies of all that the next epoch depends on."""
        tensors = {f"weight.{key}": weight.detach() for key, weight in self.weights.items()}
        sizes = [weight.numel() for weight in self.weights.values()]
        for moment in MOMENTS if self.optimizer.state else ():
            parts = self.optimizer.state[self.vector][moment].split(sizes)  # (P,) by weight
            tensors |= {f"{moment}.{key}": part.view(weight.shape)
                        for (key, weight), part in zip(self.weights.items(), parts, strict=True)}
        return Checkpoint(tuple(records), {key: tensor.to("cpu", copy=True) for key, tensor in tensors.items()},
                          {"steps": self.steps, "scaler": self.scaler.state_dict()})

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue from a checkpoint; one of another adapter is a CourseError."""
        import torch

        weights = checkpoint.weights
        if {key: value.shape for key, value in self.weights.items()} != {
                key: value.shape for key, value in weights.items()}:
            raise CourseError("the checkpoint is of another model or rank; delete the run's folder, run again")
        for key, weight in self.weights.items():
            weight.data.copy_(weights[key])
        self.steps, device = checkpoint.state["steps"], self.vector.device
        if any(key.startswith("exp_avg.") for key in checkpoint.tensors):
            self.optimizer.state[self.vector] = {"step": torch.tensor(float(self.steps), device=device)} | {
                moment: torch.cat([checkpoint.tensors[f"{moment}.{key}"].flatten() for key in self.weights]).to(device)
                for moment in MOMENTS}
        self.scaler.load_state_dict(checkpoint.state["scaler"])


class Loop:
    """Trains the adapters of a PEFT model together, an epoch at a time.

    ``peak.bytes`` is the most memory that training had in use, ``forecast`` what was expected (None: not known).
    """

    def __init__(self, model: PeftModel, tokenizer: PreTrainedTokenizerBase, names: Sequence[str],
                 mixes: Sequence[Mix], configs: Sequence[TuneConfig]) -> None:
        if tokenizer.eos_token_id is None:
            raise CourseError("the tokenizer has no end of text to learn; set tokenizer.eos_token")
        self.model, self.filler = model, tokenizer.pad_token_id or 0
        rows, self.peak = [_targets(tokenizer, data) for data in mixes], PeakMemory(model.device.type)
        plan, self.forecast = _planned(model, rows, configs, self.peak.start)
        self.stacks = Stacks(model, names, keep=plan.copies if plan else None)
        self.states = [RunState(name, targets, config, self.stacks, model)
                       for name, targets, config in zip(names, rows, configs, strict=True)]
        self.most = CPU_TOKENS if model.device.type == "cpu" else math.inf
        self.micro_batches = plan.micro_batches if plan and len(names) == 1 else 1  # in a batch of a single run
        self.packed = can_pack(model, [row for targets in rows for row in targets])

    def epoch(self, number: int) -> list[float]:
        """Train every run on its rows once; returns the mean loss of each, in nats a token."""
        totals = np.zeros((2, len(self.states)))
        self.peak.reset()
        for batches in zip_longest(*(state.batches(number) for state in self.states)):
            active = [n for n, batch in enumerate(batches) if batch]
            losses, counts = self.step(active, [batches[n] for n in active])
            totals[:, active] += losses * counts, counts
        self.peak.update()
        return list(totals[0] / totals[1])

    def step(self, active: Sequence[int], lines: Sequence[Sequence[Target]]) -> tuple[np.ndarray, np.ndarray]:
        """Take one step of each active run with its batch; returns their losses and numbers of predicted tokens.

        Raises:
            CourseError: a loss or a gradient is not finite; the message names the step and the cure.
        """
        values, left = np.zeros(len(active)), list(range(len(active)))
        while left:  # once, but for float16 gradients that overflow
            for few in self._passes([lines[i] for i in left]):
                some = [left[i] for i in few]
                found, gradients = self._gradients([active[i] for i in some], [lines[i] for i in some])
                for i, value, gradient in zip(some, found, gradients, strict=True):
                    values[i] = value
                    self.states[active[i]].vector.grad = gradient
            left = [i for i in left if self.states[active[i]].step()]
        return values, np.array([predicted(line) for line in lines])

    def _gradients(self, active: Sequence[int], lines: Sequence[Sequence[Target]]) -> tuple[list[float], torch.Tensor]:
        """The losses of a batch of each run, and their gradients (lines, P), scaled."""
        while True:
            try:
                return self._accumulate(active, lines)
            except (RuntimeError, MemoryError) as error:
                # a pass of several runs is divided by its caller
                if not out_of_memory(error) or len(lines) > 1:
                    raise
            self._make_room(lines[0])  # here, where no traceback holds on to the tensors any more

    def _make_room(self, line: Sequence[Target]) -> None:
        """Drop the dequantised copies of the frozen weights, which changes no number; then halve the micro-batches."""
        self.stacks.discard()
        if not self.stacks.drop_copies():
            if self.micro_batches >= len(line):
                longest = max(len(row.tokens) for row in line)
                raise CourseError(f"step {self.states[0].steps + 1}: a single row of {longest} tokens does not fit "
                                  f"into memory; close other programs, or take a smaller preset; finished epochs are "
                                  f"kept")
            self.micro_batches *= 2
        release_memory()

    def _accumulate(self, active: Sequence[int], lines: Sequence[Sequence[Target]]) -> tuple[list[float], torch.Tensor]:
        """Sum losses and gradients over the micro-batches, each weighted by its share of the predicted tokens."""
        states, losses, gradient = [self.states[n] for n in active], np.zeros(len(active)), None
        for part, share in _micro_batches(lines, self.micro_batches):
            found = self.losses(active, part)
            losses += share * np.array(found.tolist())
            for state, value in zip(states, losses, strict=True):
                state.check(value)
            sum(state.scaler.scale(loss * share if share < 1 else loss)
                for state, loss in zip(states, found, strict=True)).backward()
            new = self.stacks.take_gradients()  # (lines, P)
            gradient = new if gradient is None else gradient.add_(new)
        return list(losses), gradient

    def _passes(self, lines: Sequence[Sequence[Target]]) -> Iterator[range]:
        """Group the lines into passes: all in one on a GPU; on a CPU neighbours, as many as its caches like."""
        start, widest = 0, 0
        for i, line in enumerate(lines):
            width = sum(len(row.tokens) for row in line)
            if i > start and max(widest, width) * (i + 1 - start) > self.most:
                yield range(start, i)
                start, widest = i, 0
            widest = max(widest, width)
        yield range(start, len(lines))

    def losses(self, active: Sequence[int], lines: Sequence[Sequence[Target]]) -> torch.Tensor:
        """The mean loss of each line (lines,), in nats a token."""
        import torch

        with self.stacks.lines(active):
            logits = target_logits(self.model, lines, packed=self.packed, filler=self.filler)  # (M, V)
        wanted = torch.tensor([token for line in lines for row in line for token in row.tokens[row.start:]])  # (M,)
        each = torch.nn.functional.cross_entropy(logits, wanted.to(logits.device), reduction="none")  # (M,)
        return torch.stack([part.mean() for part in each.split([predicted(line) for line in lines])])


def _planned(model: PeftModel, rows: Sequence[Sequence[Target]], configs: Sequence[TuneConfig], start: int,
             ) -> tuple[StepPlan | None, int | None]:
    """Fit a step into memory, and forecast its peak in bytes; None for a model whose sizes are not like Llama's."""
    dtype, rank = str(model.dtype).removeprefix("torch."), configs[0].rank
    every = [row for line in rows for row in line]
    batch = sum(min(config.batch, len(line)) for config, line in zip(configs, rows, strict=True))
    try:
        shape, asked = Shape.of(model.config), average_batch(every, batch=batch)
        free = free_memory(model.device.type) + estimate_loop(shape, asked, rank=rank, dtype=dtype).weights
        plan = plan_step(shape, asked, rank=rank, dtype=dtype, free=free, runs=len(configs),
                         may_copy=any(map(is_four_bit, model.modules())))
    except (AttributeError, CourseError, TypeError, ZeroDivisionError):
        return None, None
    # a third of the adapters' bytes, their weights as PEFT made them, were there at the start and are replaced
    return plan, round(start + plan.memory.peak - plan.memory.weights - plan.memory.adapters / 3)


def _micro_batches(lines: Sequence[Sequence[Target]], count: int) -> Iterator[tuple[list[Sequence[Target]], float]]:
    """Split a single line into ``count`` micro-batches, each with its share of the predicted tokens."""
    if count == 1:
        yield list(lines), 1.0
        return
    (line,) = lines
    size = max(1, math.ceil(len(line) / count))
    for start in range(0, len(line), size):
        part = line[start:start + size]
        yield [part], predicted(part) / predicted(line)


def _targets(tokenizer: PreTrainedTokenizerBase, data: Mix) -> list[Target]:
    encoded = encode_answers(tokenizer, INSTRUCTION, [row.fact for row in data.rows])
    return [Target((*row.tokens, tokenizer.eos_token_id), row.start) for row in encoded]
