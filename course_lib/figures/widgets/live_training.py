"""A training run to watch while it goes: Known rows fitted, Unknown rows fitted, dev accuracy, time left, and a Stop.

:func:`watch_training` trains exactly as :func:`.finetune.tune` does, and draws after each epoch. Stop ends
the run after the epoch under way. Then, as after an interrupt, the model gets the weights of EARLY_STOP, the epoch with
the best dev accuracy so far. There are no threads of ours: a press of Stop reaches Python while the cell runs only
where the front end sends it on a channel of its own (a *subshell*: JupyterLab 4.4 or newer with ipykernel 7). Elsewhere
(Colab, Notebook 6, VS Code) the interrupt button of the notebook does the same.

    time left = mean seconds of the epochs trained so far  x  epochs to go
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import IPython.display
import ipywidgets
from matplotlib.axes import Axes

from course_lib.data.facts import FactSet
from course_lib.figures.plots.runs import run_lines
from course_lib.figures.plots.style import new_panels
from course_lib.figures.widgets.controls import draw_into
from course_lib.figures.widgets.display import bundle
from course_lib.files import CourseError
from course_lib.training.finetune import History, Progress, TuneConfig, Tuned, add_lora, tune
from course_lib.training.mixing import Mix
from course_lib.training.records import Checkpoint, EpochRecord, TrainingMemory, best_epoch

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["Stopped", "TrainingView", "WatchedRun", "describe_training", "restored", "seconds_left", "training_curves",
           "training_snapshots", "watch_training"]


class Stopped(CourseError):
    """A run was stopped by its view's Stop button; what it has reached is in the view."""


@dataclass(frozen=True, slots=True)
class WatchedRun(Tuned):
    """A :class:`.Tuned` that was watched: how it ended, in words, and which epoch's weights it has.

    A run that was not stopped has the weights of its last epoch.
    """

    outcome: str
    stopped: bool
    kept: int


def seconds_left(records: Sequence[EpochRecord], epochs: int) -> float | None:
    """Seconds until a run of ``epochs`` epochs ends; None before the first one that trained."""
    trained = [record.seconds for record in records if record.epoch]
    return sum(trained) / len(trained) * (epochs - records[-1].epoch) if trained else None


def training_curves(records: Sequence[EpochRecord], *, epochs: int | None = None, ax: Axes | None = None) -> Axes:
    """The run so far, in a frame that is wide enough for all ``epochs``; the best dev epoch is marked."""
    ax = run_lines(History(tuple(records)).to_frame(), ax=ax)
    best = best_epoch(records)
    if best is not None:
        ax.axvline(best, color="grey", linestyle=":", label=f"best dev so far (epoch {best})")
    end = epochs or records[-1].epoch
    ax.set(xlim=(-0.02 * end, 1.02 * end), title=f"epoch {records[-1].epoch} of {end}")
    ax.legend(frameon=False, fontsize="small", loc="upper left")
    return ax


def describe_training(history: History | Sequence[EpochRecord], *, epochs: int | None = None) -> str:
    """A sentence for :func:`training_curves`; with ``epochs`` it says how much time is left."""
    records = history.records if isinstance(history, History) else tuple(history)
    last, best = records[-1], best_epoch(records)
    parts = [f"{value:.0f} % of {name} rows fitted" for name, value in (
        ("Known", last.known_fitted), ("Unknown", last.unknown_fitted)) if value is not None]
    parts += [] if last.dev is None else [f"dev accuracy {last.dev:.1f} %"]
    top = next((record.dev for record in records if record.epoch == best), None)
    peak = "" if best is None else f" Best dev accuracy so far: {top:.1f} % at epoch {best}."
    left = seconds_left(records, epochs) if epochs else None
    rest = "" if left is None or last.epoch == epochs else f" About {max(1, round(left))} s left."
    return f"Epoch {last.epoch}{f' of {epochs}' if epochs else ''}: {', '.join(parts)}.{peak}{rest}"


def training_snapshots(history: History, *, axes: Sequence[Axes] | None = None) -> tuple[Axes, ...]:
    """The view without a widget: the run after a quarter, a half and all of its epochs."""
    records, last = history.records, history.records[-1].epoch
    at = sorted({max(1, round(last * share)) for share in (0.25, 0.5, 1)})
    panels = new_panels(len(at), axes)
    for ax, epoch in zip(panels, at, strict=True):
        training_curves([record for record in records if record.epoch <= epoch], epochs=last, ax=ax)
        ax.get_legend().remove()
    for ax in panels[1:]:
        ax.set_ylabel("")
    panels[-1].legend(frameon=False, fontsize="small", loc="lower right")
    return panels


class TrainingView:
    """A Stop button and a figure that grows; give its ``on_epoch`` to :func:`.finetune.tune`.

    ``records`` are the finished epochs, ``best`` is the state of the one with the best dev accuracy (of the last one,
    where there are no dev questions), and ``box`` is the widget.
    """

    def __init__(self, epochs: int) -> None:
        self.epochs, self.stopping = epochs, False
        self.records: tuple[EpochRecord, ...] = ()
        self.best: Checkpoint | None = None
        self.memory: TrainingMemory | None = None
        self.button = ipywidgets.Button(description="Stop, keep the best epoch", layout={"width": "240px"})
        self.output = ipywidgets.Output()
        self.box = ipywidgets.VBox([self.button, self.output])
        self.button.on_click(self.stop)
        self._handle = None

    def show(self) -> None:
        """Display the view, before training begins."""
        start = "A training run, drawn after each epoch (interactive when the cell is run)."
        self._handle = IPython.display.display(bundle(self.box, start), raw=True, display_id=True)
        # ipykernel 7.4 hands a click to the shell that used the button last, which this cell keeps busy, instead of
        # the subshell that the front end chose; without this note of its own it asks the front end.
        getattr(self.button.comm, "__dict__", {}).pop("_reply_subshell_id", None)

    def stop(self, _: object = None) -> None:
        """End the run after the epoch under way; what the button does."""
        self.stopping = True
        self.button.description, self.button.disabled = "Stopping after this epoch ...", True

    def on_epoch(self, progress: Progress) -> None:
        """Keep the finished epoch and draw it.

        Raises:
            Stopped: Stop was pressed.
        """
        self.records, self.memory = progress.records, progress.memory
        if best_epoch(self.records) in (None, progress.record.epoch):
            self.best = progress.checkpoint()
        draw_into(self.output, lambda: training_curves(self.records, epochs=self.epochs),
                  lambda: describe_training(self.records, epochs=self.epochs))
        if self.stopping:
            raise Stopped(f"stopped after epoch {progress.record.epoch}; view.best is the state of the best one")

    def finish(self, outcome: str) -> None:
        """Say how the run ended, here and in the text for readers without widgets."""
        self.button.description, self.button.disabled = "Done", True
        with self.output:
            print(outcome)
        if self._handle is not None and self.records:
            text = f"{describe_training(self.records)} The run {outcome}."
            self._handle.update(bundle(self.box, text), raw=True)


def watch_training(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, data: Mix, facts: FactSet,
                   config: TuneConfig, *, categories: Mapping[str, Sequence[str]] | None = None) -> WatchedRun:
    """Fine-tune as :func:`.finetune.tune` does, watched, until the end, a press of Stop, or an interrupt.

    Stopped, the model gets the weights of the best dev epoch so far (EARLY_STOP).

    Raises:
        CourseError: it was stopped before the first epoch of training was finished, or see ``tune``.
    """
    view = TrainingView(config.epochs)
    view.show()
    try:
        tuned = tune(model, tokenizer, data, facts, config, categories=categories, progress=False,
                     on_epoch=view.on_epoch)
    except (Stopped, KeyboardInterrupt):
        return _stopped(view, model, config)
    best = best_epoch(tuned.history.records)
    at = "" if best is None else f"; dev accuracy was best at epoch {best}"
    outcome = f"ran all {config.epochs} epochs; the model has the weights of the last one{at}"
    view.finish(outcome)
    return WatchedRun(tuned.model, tuned.history, tuned.memory, tuned.adapter, outcome, False, config.epochs)


def _stopped(view: TrainingView, model: PreTrainedModel, config: TuneConfig) -> WatchedRun:
    """The run so far, with the weights of its best epoch."""
    reached = view.records[-1].epoch if view.records else 0
    if not reached or view.best is None:
        view.finish("was stopped before the first epoch of training was finished")
        raise CourseError("stopped before the first epoch of training was finished, so there is nothing to keep; run "
                          "the cell again and let it train for an epoch or more") from None
    kept = view.best.records[-1].epoch
    outcome = f"stopped after epoch {reached} by you; best epoch {kept} kept"
    view.finish(outcome)
    return WatchedRun(restored(model, view.best, config), History(view.records), view.memory, "default",
                      outcome, True, kept)


def restored(model: PreTrainedModel, checkpoint: Checkpoint, config: TuneConfig) -> PeftModel:
    """The base with an adapter that has the weights of a checkpoint.

    Raises:
        CourseError: the checkpoint is of another model or rank.
    """
    from peft import set_peft_model_state_dict

    adapted = add_lora(model, config).eval()
    weights = checkpoint.weights
    own = {name.replace(".default.", "."): weight.shape for name, weight in adapted.named_parameters()
           if ".lora_" in name}
    if own != {name: tensor.shape for name, tensor in weights.items()}:
        raise CourseError("the checkpoint is of another model or rank; give the base and the settings of its run")
    set_peft_model_state_dict(adapted, weights)
    return adapted
