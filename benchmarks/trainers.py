"""Three ways through the same epochs: the course's loop, `transformers.Trainer`, and TRL's `SFTTrainer`.

Each gets a fresh NF4 base with the same adapter and the same rows, AdamW at one constant rate without weight decay,
and gradients clipped to the same norm. Beyond that the rivals keep their defaults, whatever they are: batch size,
padding, gradient checkpointing, bfloat16. Their reports, files and progress bars are switched off.

The clock runs while an epoch does. It stands while the loss is found: the mean over all tokens to be predicted, in
nats, by one function for all three, so that a way of averaging over batches makes no difference.
"""

from __future__ import annotations

import importlib.util
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from benchmarks.timing import Traffic, count_traffic, peak_bytes
from course_lib.knowledge.scoring.prompts import INSTRUCTION, encode_answers
from course_lib.models.loading import Loaded, load
from course_lib.training.finetune import TuneConfig, add_lora
from course_lib.training.loop import Loop
from course_lib.training.mixing import Mix
from course_lib.training.packing import Target, target_logits

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedTokenizerBase, Trainer

__all__ = ["METHODS", "Epoch", "Method", "Run", "Task", "installed", "mean_loss", "prompts_and_completions",
           "run", "tokenised"]

Go = Callable[[], Any]  # trains all epochs
LOSS_ROWS = 64  # rows in one pass when the loss is found
PACKAGES = {"ours": (), "trainer": ("accelerate", "datasets"), "trl": ("accelerate", "datasets", "trl")}


@dataclass(frozen=True, slots=True)
class Task:
    """What is trained: a preset, its device ("cpu", "cuda" or None to choose), the rows and the settings."""

    preset: str
    device: str | None
    data: Mix
    config: TuneConfig


@dataclass(frozen=True, slots=True)
class Method:
    """A way to train: ``kind`` "ours", "trainer" or "trl"; ``more`` are arguments that are no defaults of it.

    Ours knows one: ``copies=False`` restores the frozen weights from 4 bits in every step, whatever the memory.
    """

    name: str
    kind: str
    title: str
    batch: int
    more: dict[str, Any] = field(default_factory=dict)


METHODS = (
    Method("ours", "ours", "ours, the library's batch", 32),
    Method("ours_8", "ours", "ours, the rivals' batch", 8),
    Method("trainer", "trainer", "Trainer, its defaults", 8),
    Method("trainer_32", "trainer", "Trainer, our batch", 32),
    Method("trl", "trl", "SFTTrainer, its defaults", 8),
    Method("trl_plain", "trl", "SFTTrainer, not in bfloat16", 8, {"bf16": False}),
    Method("trl_32", "trl", "SFTTrainer, our batch", 32),
)


@dataclass(frozen=True, slots=True)
class Epoch:
    """An epoch: its seconds, the processor's seconds in all threads, and the loss (nats a token) after it.

    ``peak_bytes``: the most that torch had allocated on the GPU while the clock ran; 0 on a CPU.
    """

    seconds: float
    processor_seconds: float
    loss: float
    peak_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """A run of a method: seconds to set up (after loading), the loss before, the epochs, and tokens if counted.

    ``remark``: what ours gave up for lack of memory, else "".
    """

    setup_seconds: float
    loss_before: float
    epochs: tuple[Epoch, ...]
    traffic: Traffic | None
    remark: str = ""


def installed(kind: str) -> bool:
    """Whether the packages of this kind of method can be imported."""
    return all(importlib.util.find_spec(package) for package in PACKAGES[kind])


def run(task: Task, method: Method, *, count: bool = False, base: Loaded | None = None) -> Run:
    """Train a fresh adapter on a fresh base. ``count`` counts tokens too, which costs a little time.

    ``base`` is taken in place of the preset, and must not be used again: rivals leave their marks on it.
    """
    base = base or load(task.preset, **({} if task.device is None else {"device": task.device}))
    task = replace(task, config=replace(task.config, batch=method.batch))
    start = time.perf_counter()
    model = add_lora(base.model, task.config)
    watch = _Watch(model, base.tokenizer, task, count)
    prepare = {"ours": _ours, "trainer": _trainer, "trl": _trl}[method.kind]
    with tempfile.TemporaryDirectory() as folder, _quiet() if method.kind != "ours" else nullcontext():
        go = prepare(model, base.tokenizer, task, watch, {"output_dir": folder, **method.more})
        setup = time.perf_counter() - start
        before = watch.loss()
        go()
    return Run(setup, before, tuple(watch.epochs), watch.traffic, watch.remark)


def mean_loss(model: PeftModel, rows: Sequence[Target], *, filler: int = 0) -> float:
    """The mean cross-entropy (nats) of all tokens that these rows ask for, as the model stands."""
    import torch

    training, total, count = model.training, 0.0, 0
    model.eval()
    with torch.no_grad():
        for first in range(0, len(rows), LOSS_ROWS):
            some = rows[first:first + LOSS_ROWS]
            wanted = torch.tensor([token for row in some for token in row.tokens[row.start:]])
            logits = target_logits(model, [some], packed=False, filler=filler)
            total += float(torch.nn.functional.cross_entropy(logits, wanted.to(logits.device), reduction="sum"))
            count += len(wanted)
    model.train(training)
    return total / count


class _Watch:
    """Clock, losses, memory and tokens of one run."""

    def __init__(self, model: PeftModel, tokenizer: PreTrainedTokenizerBase, task: Task, count: bool) -> None:
        self.model, self.filler, self.epochs = model, tokenizer.pad_token_id or 0, []
        self.traffic, self.remark = Traffic() if count else None, ""
        rows = [Target(tuple(row["input_ids"]), row["labels"].count(-100)) for row in tokenised(tokenizer, task.data)]
        self.rows = sorted(rows, key=lambda row: len(row.tokens))  # less padding while the clock stands

    def loss(self) -> float:
        return mean_loss(self.model, self.rows, filler=self.filler)

    def begin(self) -> None:
        self._counting = count_traffic(self.model, [self.filler]) if self.traffic else None
        self._counted = self._counting.__enter__() if self._counting else None
        self._wait()
        peak_bytes(self.model.device, reset=True)
        self._start = time.perf_counter(), time.process_time()

    def end(self) -> None:
        self._wait()
        seconds, processor = time.perf_counter() - self._start[0], time.process_time() - self._start[1]
        if self._counting:
            self._counting.__exit__(None, None, None)
            self.traffic.add(self._counted)
        peak = peak_bytes(self.model.device)  # before the loss is found, which needs memory too
        self.epochs.append(Epoch(seconds, processor, self.loss(), peak))

    def _wait(self) -> None:
        import torch

        if self.model.device.type == "cuda":
            torch.cuda.synchronize(self.model.device)


def _ours(model: PeftModel, tokenizer: PreTrainedTokenizerBase, task: Task, watch: _Watch, more: dict[str, Any]) -> Go:
    loop = Loop(model.eval(), tokenizer, ["default"], [task.data], [task.config])
    copies = more.get("copies", True)
    if not copies:
        loop.stacks.drop_copies()

    def go() -> None:
        for number in range(1, task.config.epochs + 1):
            watch.begin()
            loop.epoch(number)
            watch.end()
        kept = any(layer.weight is not None for layer in loop.stacks.layers)
        watch.remark = ", ".join([*["no room for copies"] * (copies and not kept),
                                  *[f"each batch in {loop.micro_batches} micro-batches"] * (loop.micro_batches > 1)])

    return go


def _trainer(model: PeftModel, tokenizer: PreTrainedTokenizerBase, task: Task, watch: _Watch,
             more: dict[str, Any]) -> Go:
    from datasets import Dataset
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

    trainer = Trainer(model, TrainingArguments(**_settings(task, model), **more),
                      train_dataset=Dataset.from_list(tokenised(tokenizer, task.data)),
                      data_collator=DataCollatorForSeq2Seq(tokenizer))  # pads labels too
    return _watched(trainer, watch)


def _trl(model: PeftModel, tokenizer: PreTrainedTokenizerBase, task: Task, watch: _Watch, more: dict[str, Any]) -> Go:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    trainer = SFTTrainer(model, SFTConfig(**_settings(task, model), **more), processing_class=tokenizer,
                         train_dataset=Dataset.from_list(prompts_and_completions(task.data)))
    return _watched(trainer, watch)


def _settings(task: Task, model: PeftModel) -> dict[str, Any]:
    """What both must be told: what is trained, and to write nothing."""
    config = task.config
    return {"num_train_epochs": config.epochs, "learning_rate": config.lr, "lr_scheduler_type": "constant",
            "weight_decay": 0.0, "max_grad_norm": config.clip, "seed": config.seed,
            "per_device_train_batch_size": config.batch, "use_cpu": model.device.type == "cpu",
            "report_to": "none", "save_strategy": "no", "logging_strategy": "no", "disable_tqdm": True}


def _watched(trainer: Trainer, watch: _Watch) -> Go:
    from transformers import PrinterCallback, TrainerCallback

    class Bell(TrainerCallback):
        def on_epoch_begin(self, *_: Any, **__: Any) -> None:
            watch.begin()

        def on_epoch_end(self, *_: Any, **__: Any) -> None:
            watch.end()

    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(Bell())
    return trainer.train


def tokenised(tokenizer: PreTrainedTokenizerBase, data: Mix) -> list[dict[str, list[int]]]:
    """Rows as `Trainer` reads them: tokens up to the end of text, labels -100 on the prompt."""
    rows = [([*row.tokens, tokenizer.eos_token_id], row.start)
            for row in encode_answers(tokenizer, INSTRUCTION, [row.fact for row in data.rows])]
    return [{"input_ids": ids, "attention_mask": [1] * len(ids), "labels": [-100] * start + ids[start:]}
            for ids, start in rows]


def prompts_and_completions(data: Mix) -> list[dict[str, str]]:
    """Rows as `SFTTrainer` reads them; it adds the end of text and takes the loss on completions."""
    return [{"prompt": INSTRUCTION.text(row.fact.question), "completion": f" {row.fact.object}"} for row in data.rows]


@contextmanager
def _quiet() -> Iterator[None]:
    """No advice and no bars of other packages while they are timed."""
    import datasets
    import transformers

    before = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        transformers.logging.set_verbosity(before)
        datasets.enable_progress_bars()
