"""Watch a fine-tuning run epoch by epoch, stop it, and keep the best epoch.

The training runs in the cell, as it should (no threads); after each epoch the view draws how much of the Known and of
the Unknown rows is fitted, dev accuracy, and the time that is left. There are two ways to stop, and both end alike:

* **Stop**, the button. Its click is heard after the epoch that is running, where the front end delivers clicks while a
  cell runs: JupyterLab 4.4 and newer with ipykernel 7 (they go to a *subshell* of the kernel).
* the notebook's own **interrupt** button (a KeyboardInterrupt), everywhere: Colab, Kaggle and older Jupyter too.

A run that was stopped gives the weights of its best epoch so far (EARLY_STOP, the first with the best dev accuracy); a
run that came to its end has those of its last, as :func:`course_lib.finetune.tune` does. The numbers are those of
``tune``: the view only looks on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from course_lib.explorer import draw_into
from course_lib.files import CourseError
from course_lib.finetune import Progress, TuneConfig, Tuned, add_lora, tune
from course_lib.plots import COLOURS, new_axes
from course_lib.records import EpochRecord, History, Snapshot

if TYPE_CHECKING:
    import ipywidgets
    from matplotlib.axes import Axes
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from course_lib.facts import FactSet
    from course_lib.mixing import Mix

__all__ = ["TrainingView", "Watched", "describe_progress", "describe_training", "training_curve", "training_snapshots",
           "watch_training"]

LINES = (("known_fitted", "Known rows fitted", "known", "o-"),
         ("unknown_fitted", "Unknown rows fitted", "unknown", "s--"), ("dev", "dev accuracy", "dev", "^-"))


@dataclass(frozen=True, slots=True)
class Watched(Tuned):
    """What a watched run gives: a :class:`~course_lib.finetune.Tuned`, and how it ended.

    ``kept`` is the epoch whose weights the model has; ``outcome`` says all of it in words.
    """

    stopped: bool
    kept: int
    outcome: str


class _Stop(Exception):
    """The button was clicked."""


class TrainingView:
    """The picture of one run while it trains; :meth:`on_epoch` is what ``tune`` calls.

    ``epochs`` is the planned number. ``widget`` holds the Stop button and the picture.
    """

    def __init__(self, epochs: int) -> None:
        import ipywidgets

        self.epochs, self.stop_asked = epochs, False
        self.records: tuple[EpochRecord, ...] = ()
        self.best: Snapshot | None = None
        self.button = ipywidgets.Button(description="Stop", tooltip="Stop after this epoch and keep the best one")
        self.output = ipywidgets.Output()
        self.widget: ipywidgets.VBox = ipywidgets.VBox([self.button, self.output])
        self.widget.twin = f"A run of {epochs} epochs is drawn here after each of them, with a Stop button."
        self.button.on_click(self._clicked)

    def _clicked(self, _: Any) -> None:
        self.stop_asked = True
        self.button.description, self.button.disabled = "Stopping...", True

    def on_epoch(self, progress: Progress) -> None:
        """Keep the best epoch, draw, and end the run if the button was clicked."""
        self.records = progress.records
        if progress.record.epoch and (self.best is None or _dev(progress.record) > _dev(self.best.records[-1])):
            self.best = progress.snapshot()
        draw_into(self.output, lambda: training_curve(self.records, epochs=self.epochs),
                  lambda: describe_progress(self.records, epochs=self.epochs))
        if self.stop_asked and progress.record.epoch < self.epochs:
            raise _Stop

    def close(self, said: str) -> None:
        """The run is over: the button rests and says so."""
        self.button.description, self.button.disabled, self.button.tooltip = "Finished", True, said


def watch_training(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, data: Mix, facts: FactSet,
                   config: TuneConfig, *, view: TrainingView | None = None) -> Watched:
    """Fine-tune on ``data`` with a live view, which a Stop or the interrupt button may end early.

    Raises:
        CourseError: see :func:`course_lib.finetune.tune`; or the run was stopped before its first epoch had ended.
    """
    from course_lib.shown import show

    view = view or TrainingView(config.epochs)
    show(view.widget)
    try:
        tuned = tune(model, tokenizer, data, facts, config, progress=False, on_epoch=view.on_epoch)
    except (_Stop, KeyboardInterrupt):
        watched = _best_so_far(model, view, config)
    else:
        kept = tuned.history.convergence.epoch
        watched = Watched(tuned.model, tuned.history, False, kept,
                          f"ran all {kept} epochs; the model has the weights of the last. "
                          f"{describe_training(tuned.history)}")
    view.close(watched.outcome)
    return watched


def _best_so_far(model: PreTrainedModel, view: TrainingView, config: TuneConfig) -> Watched:
    """The base, which ``tune`` has given back without its adapter, with the adapter of the best epoch."""
    if view.best is None:
        view.close("stopped before the first epoch had ended")
        raise CourseError("stopped before the first epoch had ended: there is nothing to keep; run the cell again")
    history, kept = History(view.records), view.best.records[-1].epoch
    adapted = _with_weights(add_lora(model, config), view.best).eval()
    return Watched(adapted, history, True, kept,
                   f"stopped after epoch {history.convergence.epoch} by you; best epoch {kept} kept. "
                   f"{describe_training(history)}")


def _with_weights(adapted: PeftModel, snapshot: Snapshot) -> PeftModel:
    from peft import set_peft_model_state_dict

    weights = {key.removeprefix("weight."): value for key, value in snapshot.tensors.items()
               if key.startswith("weight.")}
    set_peft_model_state_dict(adapted, weights)
    return adapted


def _dev(record: EpochRecord) -> float:
    """Dev accuracy; without dev questions every epoch is as good, and the first is kept."""
    return -1.0 if record.dev is None else record.dev


def training_curve(records: Sequence[EpochRecord], *, epochs: int, ax: Axes | None = None) -> Axes:
    """Known fitted, Unknown fitted and dev accuracy so far, in a frame for all ``epochs``; the best dev is marked."""
    ax = new_axes(ax)
    for name, label, colour, style in LINES:
        points = [(one.epoch, getattr(one, name)) for one in records if getattr(one, name) is not None]
        if points:
            ax.plot(*zip(*points, strict=True), style, color=COLOURS[colour], label=label, markersize=4)
    tuned = [one for one in records if one.epoch and one.dev is not None]
    if tuned:
        best = max(tuned, key=_dev)
        ax.axvline(best.epoch, color="grey", linestyle=":", label=f"best dev (epoch {best.epoch})")
    ax.set(xlabel="epoch", ylabel="exact match (%)", ylim=(0, 102), xlim=(-0.3, epochs + 0.3))
    if ax.lines:
        ax.legend(frameon=False, fontsize="small")
    return ax


def describe_progress(records: Sequence[EpochRecord], *, epochs: int) -> str:
    """Where a run stands, and how long it will still take, from the mean of its epochs so far."""
    last = records[-1]
    parts = [f"{label.replace(' rows', '')} {getattr(last, name):.0f} %" for name, label, _, _ in LINES
             if getattr(last, name) is not None]
    trained = [one.seconds for one in records if one.epoch] or [one.seconds for one in records]
    left = (epochs - last.epoch) * sum(trained) / len(trained)
    time = "done" if last.epoch == epochs else f"about {left:.0f} s left"
    return f"Epoch {last.epoch} of {epochs}, {time}: {', '.join(parts)}."


def describe_training(history: History) -> str:
    """A run from its best epoch to its last, in one sentence."""
    last = history.convergence
    if last.dev is None or not last.epoch:
        return f"{last.epoch} epochs, without dev questions." if last.epoch else "No epoch yet."
    best = history.early_stop
    fitted = ", ".join(f"{label.replace(' rows fitted', '')} {getattr(best, name):.0f} to {getattr(last, name):.0f} %"
                       for name, label, _, _ in LINES[:2] if getattr(best, name) is not None)
    return (f"Dev accuracy was best at epoch {best.epoch} ({best.dev:.1f} %) and {last.dev:.1f} % at epoch "
            f"{last.epoch}; fitted from the one to the other: {fitted}.")


def training_snapshots(history: History, *, parts: Sequence[float] = (0.25, 0.5, 1.0)) -> list[Axes]:
    """The picture after parts of the run, side by side: the view without a widget."""
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(9.6, 3.4), layout="constrained")
    epochs, drawn = history.convergence.epoch, []
    for place, part in enumerate(parts, 1):
        upto = max(1, round(part * epochs))
        ax = figure.add_subplot(1, len(parts), place, sharey=drawn[0] if drawn else None)
        training_curve([one for one in history.records if one.epoch <= upto], epochs=epochs, ax=ax)
        drawn.append(ax)
        ax.set_title(f"after epoch {upto}")
        if place < len(parts):
            ax.get_legend().remove()
    return drawn
