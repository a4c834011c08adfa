"""One run in training: its rows, its adapter's weights, and its optimizer with the scale of its loss.

In float16 small gradients would vanish, so the loss is scaled up before the backward pass, and the gradient down after
it (Micikevicius et al. 2018, arXiv 1710.03740). A gradient that overflows changes nothing but the scale, which is
halved: whoever drives the run takes the same batch again, so that none is lost. Elsewhere the scale is 1. A loss that
is not finite, or a gradient that is not at any scale, ends the run with the step and the cure.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from course_lib.files import CourseError
from course_lib.training.multi_lora import Stacks
from course_lib.training.packing import Target
from course_lib.training.records import EpochRecord, Snapshot, TuneConfig

if TYPE_CHECKING:
    from peft import PeftModel

__all__ = ["Trainee"]

MOMENTS = ("exp_avg", "exp_avg_sq")


class Trainee:
    """One run in training: its rows, its adapter's weights, by name and as one ``vector`` (P,), and its optimizer."""

    def __init__(self, name: str, rows: Sequence[Target], config: TuneConfig, stacks: Stacks,
                 model: PeftModel) -> None:
        import torch

        self.name, self.config, self.weights, self.steps = name, config, stacks.parameters(name), 0
        self.rows = rows
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

    def step(self) -> bool:
        """Change the weights by the gradient of ``vector``, and forget it.

        True where the gradient overflowed float16: nothing has changed but the scale of the loss.

        Raises:
            CourseError: the gradient is not finite, whatever the scale; it names the step and the cure.
        """
        import torch

        for group in self.optimizer.param_groups:
            group["lr"] = self.rate
        self.scaler.unscale_(self.optimizer)
        norm = float(torch.nn.utils.clip_grad_norm_(self.vector, self.config.clip))
        scale = self.scaler.get_scale()
        if not math.isfinite(norm) and scale <= 1:  # 1 where the loss is not scaled
            raise CourseError(f"step {self.steps + 1}: the gradient's norm is {norm}; {self._cure}")
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.vector.grad = None
        overflowed = not math.isfinite(norm)
        self.steps += not overflowed
        return overflowed

    def check(self, loss: float) -> None:
        """Refuse a loss that is not finite.

        Raises:
            CourseError: it names the step and the cure.
        """
        if not math.isfinite(loss):
            raise CourseError(f"step {self.steps + 1}: the loss is {loss}; {self._cure}")

    @property
    def _cure(self) -> str:
        lower = f"lower lr (now {self.config.lr:g})"
        return (f"float16 overflows in this model: set COURSE_DTYPE=float32 (slower), take another preset or a GPU "
                f"with bfloat16, or {lower}") if self.scaler.is_enabled() else lower

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
