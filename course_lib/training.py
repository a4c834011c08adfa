"""The training loop: one pass over the rows of one run, or of several runs at once over one frozen base.

A row's loss is the cross-entropy (nats) of its answer's tokens and the end of text. A batch of one run has the mean
over its tokens; several runs together have the sum of their own means, so that no run's gradient depends on another's.
Each run keeps its own order of rows, limit on the gradient's norm, AdamW state and learning rate, and each step takes
one batch of every run that still has one.

The order of epoch e is drawn from (seed, e) alone, and dropout is off: the weights, AdamW's moments and the number of
steps are all that the next epoch depends on.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

import numpy as np

from course_lib.answers import INSTRUCTION, encode_answers
from course_lib.files import CourseError
from course_lib.packed import Target, can_pack, target_logits
from course_lib.records import EpochRecord, Snapshot, TuneConfig
from course_lib.stacked import Stacks

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedTokenizerBase

    from course_lib.mixing import Mix

__all__ = ["Loop", "Trainee"]

MOMENTS = ("exp_avg", "exp_avg_sq")
CPU_TOKENS = 3000  # in a pass of several runs on a CPU: beyond that, what lies between two layers leaves the caches


class Trainee:
    """One run in training: its rows, its adapter's weights, by name and as one ``vector`` (P,), and its optimizer."""

    def __init__(self, name: str, data: Mix, config: TuneConfig, tokenizer: PreTrainedTokenizerBase,
                 stacks: Stacks, model: PeftModel) -> None:
        import torch

        self.name, self.config, self.weights, self.steps = name, config, stacks.parameters(name), 0
        self.rows = _targets(tokenizer, data)
        self.vector = torch.nn.Parameter(stacks.weights[stacks.names.index(name)])
        self.optimizer = torch.optim.AdamW([self.vector], lr=config.lr, weight_decay=0.0, fused=True)
        # float16 gradients underflow without a scaled loss; the scaler does nothing elsewhere
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

    def step(self) -> None:
        """Change the weights by the gradient of ``vector``, and forget it."""
        import torch

        for group in self.optimizer.param_groups:
            group["lr"] = self.rate
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.vector, self.config.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.vector.grad = None
        self.steps += 1

    def check(self, loss: float, dtype: torch.dtype) -> None:
        """Refuse a loss that is not finite.

        Raises:
            CourseError: it names the step and the cure.
        """
        if not math.isfinite(loss):
            cure = ("float16 overflows in this model: take another preset, or a GPU with bfloat16"
                    if "float16" == str(dtype).removeprefix("torch.") else f"lower lr (now {self.config.lr:g})")
            raise CourseError(f"step {self.steps + 1}: the loss is {loss}; {cure}")

    def snapshot(self, records: Sequence[EpochRecord]) -> Snapshot:
        """Copies of all that the next epoch depends on."""
        tensors = {f"weight.{key}": weight.detach() for key, weight in self.weights.items()}
        sizes = [weight.numel() for weight in self.weights.values()]
        for moment in MOMENTS if self.optimizer.state else ():
            parts = self.optimizer.state[self.vector][moment].split(sizes)
            tensors |= {f"{moment}.{key}": part.view(weight.shape)
                        for (key, weight), part in zip(self.weights.items(), parts, strict=True)}
        return Snapshot(tuple(records), {key: tensor.to("cpu", copy=True) for key, tensor in tensors.items()},
                        {"steps": self.steps, "scaler": self.scaler.state_dict()})

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from a snapshot.

        Raises:
            CourseError: it is of another adapter.
        """
        import torch

        if {f"weight.{key}": tuple(value.shape) for key, value in self.weights.items()} != {
                key: tuple(value.shape) for key, value in snapshot.tensors.items() if key.startswith("weight.")}:
            raise CourseError("the state to go on from is of another model or rank; delete the run's folder, run again")
        for key, weight in self.weights.items():
            weight.data.copy_(snapshot.tensors[f"weight.{key}"])
        self.steps, device = snapshot.state["steps"], self.vector.device
        if any(key.startswith("exp_avg.") for key in snapshot.tensors):
            self.optimizer.state[self.vector] = {"step": torch.tensor(float(self.steps), device=device)} | {
                moment: torch.cat([snapshot.tensors[f"{moment}.{key}"].flatten() for key in self.weights]).to(device)
                for moment in MOMENTS}
        self.scaler.load_state_dict(snapshot.state["scaler"])


class Loop:
    """Trains the adapters of a PEFT model together, an epoch at a time."""

    def __init__(self, model: PeftModel, tokenizer: PreTrainedTokenizerBase, names: Sequence[str],
                 mixes: Sequence[Mix], configs: Sequence[TuneConfig]) -> None:
        if tokenizer.eos_token_id is None:
            raise CourseError("the tokenizer has no end of text to learn; set tokenizer.eos_token")
        self.model, self.filler = model, tokenizer.pad_token_id or 0
        self.stacks = Stacks(model, names)
        self.trainees = [Trainee(name, data, config, tokenizer, self.stacks, model)
                         for name, data, config in zip(names, mixes, configs, strict=True)]
        self.most = CPU_TOKENS if model.device.type == "cpu" else math.inf
        self.packed = can_pack(model, [row for trainee in self.trainees for row in trainee.rows])

    def epoch(self, number: int) -> list[float]:
        """One pass over the rows of every run; returns the mean loss of each, in nats a token."""
        totals = np.zeros((2, len(self.trainees)))
        for batches in zip_longest(*(trainee.batches(number) for trainee in self.trainees)):
            active = [n for n, batch in enumerate(batches) if batch]
            losses, counts = self.step(active, [batches[n] for n in active])
            totals[:, active] += losses * counts, counts
        return list(totals[0] / totals[1])

    def step(self, active: Sequence[int], lines: Sequence[Sequence[Target]]) -> tuple[np.ndarray, np.ndarray]:
        """One step of each active run with its batch; returns their losses and numbers of predicted tokens."""
        values, counts, gradients = [], [], []
        for few in self._passes(active, lines):
            losses, sizes = self.losses([active[i] for i in few], [lines[i] for i in few])
            trainees = [self.trainees[active[i]] for i in few]
            for trainee, value in zip(trainees, losses.tolist(), strict=True):
                trainee.check(value, self.model.dtype)
                values.append(value)
            sum(trainee.scaler.scale(loss) for trainee, loss in zip(trainees, losses, strict=True)).backward()
            counts += sizes
            gradients += self.stacks.take_gradients()
        for n, gradient in zip(active, gradients, strict=True):
            self.trainees[n].vector.grad = gradient
            self.trainees[n].step()
        return np.array(values), np.array(counts)

    def _passes(self, active: Sequence[int], lines: Sequence[Sequence[Target]]) -> Iterator[range]:
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


def _targets(tokenizer: PreTrainedTokenizerBase, data: Mix) -> list[Target]:
    encoded = encode_answers(tokenizer, INSTRUCTION, [row.fact for row in data.rows])
    return [Target((*row.tokens, tokenizer.eos_token_id), row.start) for row in encoded]
