"""The training loop: one pass over the rows of one run, or of several runs at once over one frozen base.

A row's loss is the cross-entropy (nats) of its answer's tokens and the end of text. A batch of one run has the mean
over its tokens; several runs together have the sum of their own means, so that no run's gradient depends on another's.
Each run keeps its own order of rows, limit on the gradient's norm, AdamW state and learning rate, and each step takes
one batch of every run that still has one.

Before the first step the loop looks at the free memory: whether a restored copy of the frozen weights fits, and in how
many parts a batch has to go through (:mod:`.memory`). Where memory ends all the same, the copy goes
first and then the parts are halved: the same gradient, but for rounding. Nothing that is finished is lost.

The order of epoch e is drawn from (seed, e) alone, and dropout is off: the weights, AdamW's moments and the number of
steps are all that the next epoch depends on.
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
from course_lib.models.memory_usage import Peak, give_back_memory
from course_lib.training.multi_lora import Stacks
from course_lib.training.packing import Target, average_batch, can_pack, target_logits
from course_lib.training.records import TuneConfig
from course_lib.training.run_state import Trainee

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedTokenizerBase

    from course_lib.training.mixing import Mix

__all__ = ["Loop"]

CPU_TOKENS = 3000  # in a pass of several runs on a CPU: beyond that, what lies between two layers leaves the caches


class Loop:
    """Trains the adapters of a PEFT model together, an epoch at a time.

    ``peak.bytes`` is the most memory that training had in use, ``forecast`` what was expected (None: not known).
    """

    def __init__(self, model: PeftModel, tokenizer: PreTrainedTokenizerBase, names: Sequence[str],
                 mixes: Sequence[Mix], configs: Sequence[TuneConfig]) -> None:
        if tokenizer.eos_token_id is None:
            raise CourseError("the tokenizer has no end of text to learn; set tokenizer.eos_token")
        self.model, self.filler = model, tokenizer.pad_token_id or 0
        rows, self.peak = [_targets(tokenizer, data) for data in mixes], Peak(model.device.type)
        plan, self.forecast = _planned(model, rows, configs, self.peak.start)
        self.stacks = Stacks(model, names, keep=plan.copies if plan else None)
        self.trainees = [Trainee(name, targets, config, self.stacks, model)
                         for name, targets, config in zip(names, rows, configs, strict=True)]
        self.most = CPU_TOKENS if model.device.type == "cpu" else math.inf
        self.parts = plan.micro_batches if plan and len(names) == 1 else 1  # of a batch of a single run
        self.packed = can_pack(model, [row for trainee in self.trainees for row in trainee.rows])

    def epoch(self, number: int) -> list[float]:
        """One pass over the rows of every run; returns the mean loss of each, in nats a token."""
        totals = np.zeros((2, len(self.trainees)))
        self.peak.begin()
        for batches in zip_longest(*(trainee.batches(number) for trainee in self.trainees)):
            active = [n for n, batch in enumerate(batches) if batch]
            losses, counts = self.step(active, [batches[n] for n in active])
            totals[:, active] += losses * counts, counts
        self.peak.look()
        return list(totals[0] / totals[1])

    def step(self, active: Sequence[int], lines: Sequence[Sequence[Target]]) -> tuple[np.ndarray, np.ndarray]:
        """One step of each active run with its batch; returns their losses and numbers of predicted tokens.

        Raises:
            CourseError: a loss or a gradient is not finite; the message names the step and the cure.
        """
        counts = [sum(len(row.tokens) - row.start for row in line) for line in lines]
        values, left = np.zeros(len(active)), list(range(len(active)))
        while left:  # once, but for float16 gradients that overflow
            for few in self._passes([lines[i] for i in left]):
                some = [left[i] for i in few]
                found, gradients = self._gradients([active[i] for i in some], [lines[i] for i in some])
                for i, value, gradient in zip(some, found, gradients, strict=True):
                    values[i] = value
                    self.trainees[active[i]].vector.grad = gradient
            left = [i for i in left if self.trainees[active[i]].step()]
        return values, np.array(counts)

    def _gradients(self, active: Sequence[int], lines: Sequence[Sequence[Target]]) -> tuple[list[float], torch.Tensor]:
        """The losses of a batch of each run, and their gradients (lines, P), scaled."""
        while True:
            try:
                return self._in_parts(active, lines)
            except (RuntimeError, MemoryError) as error:
                # several runs are parted by whoever put them together
                if not out_of_memory(error) or len(lines) > 1:
                    raise
            self._make_room(lines[0])  # here, where no traceback holds on to the tensors any more

    def _make_room(self, line: Sequence[Target]) -> None:
        """Give up the restored copies of the frozen weights, which changes no number; then halve what goes through."""
        self.stacks.forget()
        if not self.stacks.drop_copies():
            if self.parts >= len(line):
                longest = max(len(row.tokens) for row in line)
                raise CourseError(f"step {self.trainees[0].steps + 1}: a single row of {longest} tokens does not fit "
                                  f"into memory; close other programs, or take a smaller preset; finished epochs are "
                                  f"kept")
            self.parts *= 2
        give_back_memory()

    def _in_parts(self, active: Sequence[int], lines: Sequence[Sequence[Target]]) -> tuple[list[float], torch.Tensor]:
        trainees, losses, gradient = [self.trainees[n] for n in active], np.zeros(len(active)), None
        for part, share in _cut(lines, self.parts):
            found = self.losses(active, part)[0]
            losses += share * np.array(found.tolist())
            for trainee, value in zip(trainees, losses, strict=True):
                trainee.check(value)
            sum(trainee.scaler.scale(loss * share if share < 1 else loss)
                for trainee, loss in zip(trainees, found, strict=True)).backward()
            new = self.stacks.take_gradients()
            gradient = new if gradient is None else gradient.add_(new)
        return list(losses), gradient

    def _passes(self, lines: Sequence[Sequence[Target]]) -> Iterator[range]:
        """Which lines go together: all on a GPU; on a CPU as many as its caches like, neighbours only."""
        start, widest = 0, 0
        for i, line in enumerate(lines):
            width = sum(len(row.tokens) for row in line)
            if i > start and max(widest, width) * (i + 1 - start) > self.most:
                yield range(start, i)
                start, widest = i, 0
            widest = max(widest, width)
        yield range(start, len(lines))

    def losses(self, active: Sequence[int], lines: Sequence[Sequence[Target]]) -> tuple[torch.Tensor, list[int]]:
        """The mean loss of each line (a tensor of as many), and the number of tokens in each mean."""
        import torch

        with self.stacks.lines(active):
            logits = target_logits(self.model, lines, packed=self.packed, filler=self.filler)
        wanted = torch.tensor([token for line in lines for row in line for token in row.tokens[row.start:]])
        each = torch.nn.functional.cross_entropy(logits, wanted.to(logits.device), reduction="none")
        counts = [sum(len(row.tokens) - row.start for row in line) for line in lines]
        return torch.stack([part.mean() for part in each.split(counts)]), counts


def _planned(model: PeftModel, rows: Sequence[Sequence[Target]], configs: Sequence[TuneConfig], start: int,
             ) -> tuple[StepPlan | None, int | None]:
    """How a step is fitted into memory, and its peak in bytes; None for a model whose sizes are not like Llama's."""
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


def _cut(lines: Sequence[Sequence[Target]], parts: int) -> Iterator[tuple[list[Sequence[Target]], float]]:
    """The lines, or a single line in parts of about as many rows; and the share of its predicted tokens in each."""
    if parts == 1:
        yield list(lines), 1.0
        return
    (line,) = lines
    every = sum(len(row.tokens) - row.start for row in line)
    size = max(1, math.ceil(len(line) / parts))
    for start in range(0, len(line), size):
        part = line[start:start + size]
        yield [part], sum(len(row.tokens) - row.start for row in part) / every


def _targets(tokenizer: PreTrainedTokenizerBase, data: Mix) -> list[Target]:
    encoded = encode_answers(tokenizer, INSTRUCTION, [row.fact for row in data.rows])
    return [Target((*row.tokens, tokenizer.eos_token_id), row.start) for row in encoded]
