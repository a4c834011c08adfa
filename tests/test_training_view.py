"""The live view of a run: what it draws and says, and that a stop keeps the best epoch."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")

import IPython.display
import matplotlib.pyplot as plt
import pytest
import torch
from tiny import FACTS, gpt2_like, plain_model

from course_lib import training_view
from course_lib.facts import FactSet
from course_lib.files import CourseError
from course_lib.finetune import remove_lora, tune
from course_lib.mixing import Mix, Row
from course_lib.records import EpochRecord, History, TuneConfig
from course_lib.training_view import TrainingView, watch_training

WATCHED = FactSet("few", train=(), dev=FACTS[4:], test=FACTS[4:6], ood=())
DATA = Mix("D", 50, 0, tuple(Row(fact, "Known" if place % 2 else "Unknown") for place, fact in enumerate(FACTS[:4])))
CONFIG = TuneConfig(epochs=4, rank=4, lr=0.02, warmup=0, batch=2)


def record(epoch: int, dev: float | None, known: float | None = 10.0, unknown: float | None = 5.0) -> EpochRecord:
    return EpochRecord(epoch, None, dev, 1.0, None, known, unknown, 2.0)


@pytest.fixture
def shown(monkeypatch):
    objects: list = []
    monkeypatch.setattr(IPython.display, "display", lambda *given, **_: objects.append(given[0]))
    yield objects
    plt.close("all")


@pytest.fixture
def base():
    tokenizer = gpt2_like()
    return plain_model("llama", tokenizer, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                       num_attention_heads=2).requires_grad_(False), tokenizer


def adapter(model):
    return {name: weight.detach().clone() for name, weight in model.named_parameters() if "lora_" in name}


def test_a_watched_run_gives_the_numbers_of_tune(base, shown):
    watched = watch_training(*base, DATA, WATCHED, CONFIG)
    found = [one.flat() | {"seconds": 0, "evaluation_seconds": 0} for one in watched.history.records]
    model = remove_lora(watched.model)
    plain = tune(model, base[1], DATA, WATCHED, CONFIG, progress=False)
    assert found == [one.flat() | {"seconds": 0, "evaluation_seconds": 0} for one in plain.history.records]
    assert (watched.stopped, watched.kept) == (False, 4)
    assert watched.outcome.startswith("ran all 4 epochs; the model has the weights of the last.")


class Clicks(TrainingView):
    """A view whose Stop is clicked in an epoch; ``dev`` of the records is made up, so that epoch 1 is best."""

    def __init__(self, at: int, how: str) -> None:
        super().__init__(CONFIG.epochs)
        self.at, self.how, self.seen = at, how, {}

    def on_epoch(self, progress) -> None:
        self.seen[progress.record.epoch] = adapter(progress.model)
        if progress.record.epoch == self.at:
            if self.how == "interrupt":
                super().on_epoch(progress)
                raise KeyboardInterrupt
            self.button.click()
        super().on_epoch(progress)


@pytest.mark.parametrize("how", ["button", "interrupt"])
def test_a_stop_ends_the_run_and_keeps_the_weights_of_the_best_epoch(base, shown, monkeypatch, how):
    monkeypatch.setattr(training_view, "_dev", lambda one: {1: 30.0, 2: 50.0, 3: 40.0}.get(one.epoch, 0.0))
    view = Clicks(3, how)
    watched = watch_training(*base, DATA, WATCHED, CONFIG, view=view)
    assert (watched.stopped, watched.kept, watched.history.convergence.epoch) == (True, 2, 3)
    assert watched.outcome.startswith("stopped after epoch 3 by you; best epoch 2 kept.")
    kept = adapter(watched.model)
    assert all(torch.equal(kept[name], weight) for name, weight in view.seen[2].items())
    assert any(not torch.equal(kept[name], weight) for name, weight in view.seen[3].items())


def test_a_stop_before_the_first_epoch_has_ended_says_that_there_is_nothing_to_keep(base, shown):
    with pytest.raises(CourseError, match="stopped before the first epoch had ended"):
        watch_training(*base, DATA, WATCHED, CONFIG, view=Clicks(0, "interrupt"))


def test_after_a_stop_the_base_can_be_tuned_again(base, shown):
    model = remove_lora(watch_training(*base, DATA, WATCHED, CONFIG, view=Clicks(1, "button")).model)
    assert watch_training(model, base[1], DATA, WATCHED, CONFIG).kept == 4


def test_a_click_in_the_last_epoch_changes_nothing(base, shown):
    assert watch_training(*base, DATA, WATCHED, CONFIG, view=Clicks(4, "button")).stopped is False


def test_the_button_rests_when_the_run_is_over(base, shown):
    view = TrainingView(4)
    watch_training(*base, DATA, WATCHED, CONFIG, view=view)
    assert view.button.disabled and view.button.description == "Finished" and plt.get_fignums() == []


def test_the_frame_is_as_wide_as_the_whole_run_and_the_best_epoch_is_marked():
    ax = training_view.training_curve([record(0, 5), record(1, 40), record(2, 30)], epochs=8)
    lines = {line.get_label(): list(line.get_ydata()) for line in ax.lines}
    limits = ax.get_xlim()
    plt.close("all")
    assert limits == (-0.3, 8.3) and lines["dev accuracy"] == [5, 40, 30]
    assert "best dev (epoch 1)" in lines


def test_what_was_not_asked_is_not_drawn():
    ax = training_view.training_curve([record(1, None, unknown=None)], epochs=2)
    labels = [line.get_label() for line in ax.lines]
    plt.close("all")
    assert labels == ["Known rows fitted"]


def test_the_time_left_is_that_of_the_epochs_to_come():
    said = training_view.describe_progress([record(0, 5), record(1, 40)], epochs=4)
    assert said == "Epoch 1 of 4, about 6 s left: Known fitted 10 %, Unknown fitted 5 %, dev accuracy 40 %."
    assert "Epoch 4 of 4, done:" in training_view.describe_progress([record(4, 1)], epochs=4)


def test_a_run_is_described_from_its_best_epoch_to_its_last():
    history = History((record(0, 5), record(1, 40, 60, 2), record(2, 30, 90, 50)))
    assert training_view.describe_training(history) == (
        "Dev accuracy was best at epoch 1 (40.0 %) and 30.0 % at epoch 2; fitted from the one to the other: Known 60 "
        "to 90 %, Unknown 2 to 50 %.")


def test_snapshots_show_a_quarter_a_half_and_all_of_the_run():
    axes = training_view.training_snapshots(History(tuple(record(epoch, epoch) for epoch in range(9))))
    titles, points = [ax.get_title() for ax in axes], [len(ax.lines[2].get_xdata()) for ax in axes]
    plt.close("all")
    assert titles == ["after epoch 2", "after epoch 4", "after epoch 8"] and points == [3, 5, 9]
