"""A run that is watched is the run that is not watched; stopped, it keeps the best epoch and says so."""

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import IPython.display
import ipywidgets
import matplotlib.pyplot as plt
import pytest
import torch

from course_lib.figures.widgets import live_training
from course_lib.figures.widgets.controls import draw_into
from course_lib.figures.widgets.live_training import TrainingView, describe_training, restored, seconds_left
from course_lib.files import CourseError
from course_lib.models.loading import load
from course_lib.training.finetune import EpochRecord, History, remove_lora, tune
from course_lib.training.loop import Loop
from course_lib.training.records import best_epoch
from tests.support.axes import lines
from tests.support.tuning import DATA, FACTS, SHORT, adapters, logits

FIVE = replace(SHORT, epochs=5)


def record(epoch: int, dev: float | None, known: float = 50, unknown: float | None = 10, seconds: float = 2.0
           ) -> EpochRecord:
    return EpochRecord(epoch, None if epoch == 0 else 1.0, dev, dev, dev, known, unknown, seconds)


RECORDS = (record(0, 20, 0, 0, seconds=9), record(1, 30, 40, 2, seconds=2), record(2, 50, 80, 5, seconds=4),
           record(3, 45, 95, 30, seconds=3))


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[list]:
    """What is displayed, kept instead; no figure stays open."""
    shown: list = []

    class Handle:
        def update(self, data: dict, **how: object) -> None:
            shown.append(data)

    def display(data: Any, **how: object) -> Handle:
        shown.append(data)
        return Handle()

    monkeypatch.setattr(IPython.display, "display", display)
    yield shown
    assert plt.get_fignums() == []


@pytest.fixture
def views(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[TrainingView]]:
    """Have the Stop button pressed while an epoch is being shown; gives the views that were made."""
    def stopping(after: int) -> list[TrainingView]:
        made: list[TrainingView] = []

        class Pressed(TrainingView):
            def on_epoch(self, progress: Any) -> None:
                made.append(self)
                if progress.record.epoch == after:
                    self.button.click()
                super().on_epoch(progress)

        monkeypatch.setattr(live_training, "TrainingView", Pressed)
        return made

    return stopping


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Have the training of an epoch interrupted."""
    train = Loop.epoch

    def at(epoch: int) -> None:
        def until(self: Loop, number: int) -> list[float]:
            if number == epoch:
                raise KeyboardInterrupt
            return train(self, number)

        monkeypatch.setattr(Loop, "epoch", until)

    return at


def watched(base, config=FIVE):
    return live_training.watch_training(base.model, base.tokenizer, DATA, FACTS, config)


def unwatched(folder, config):
    other = load(folder, device="cpu")
    return tune(other.model, other.tokenizer, DATA, FACTS, config, progress=False)


def untimed(history: History) -> list[dict[str, Any]]:
    return [{name: value for name, value in asdict(one).items() if "seconds" not in name} for one in history.records]


def same_weights(first, second) -> bool:
    return all(torch.equal(weight, adapters(second)[name]) for name, weight in adapters(first).items())


# ---------------------------------------------------------------- a run to the end


def test_a_watched_run_has_the_numbers_and_the_weights_of_a_run_that_is_not_watched(base, folder, quiet: list) -> None:
    run, alone = watched(base, SHORT), unwatched(folder, SHORT)
    assert untimed(run.history) == untimed(alone.history) and same_weights(run.model, alone.model)
    assert (run.stopped, run.kept) == (False, 2)
    assert re.fullmatch(rf"\D*\b2 epochs.* epoch {best_epoch(run.history.records)}", run.outcome)
    first, last = quiet[0], quiet[-1]
    assert first["text/markdown"] not in ("", last["text/markdown"])
    assert last["text/markdown"] == f"{describe_training(run.history)} The run {run.outcome}."
    figures = [one for one in quiet if not isinstance(one, dict)]
    assert [figure.axes[0].get_title() for figure in figures] == ["epoch 0 of 2", "epoch 1 of 2", "epoch 2 of 2"]


# ---------------------------------------------------------------- stopped


def test_stop_ends_the_run_after_the_epoch_under_way_with_the_weights_of_the_best_epoch(base, folder, views, quiet
                                                                                        ) -> None:
    views(4)
    run = watched(base)
    assert [one.epoch for one in run.history.records] == [0, 1, 2, 3, 4]
    assert run.stopped and re.match(rf"stopped .*epoch 4 .*best epoch {run.kept}\b", run.outcome)
    assert run.kept == best_epoch(run.history.records) < 4, "the test needs a best epoch that is not the last"
    until = unwatched(folder, replace(FIVE, epochs=run.kept))
    assert same_weights(run.model, until.model) and torch.equal(logits(run.model), logits(until.model))


def test_an_interrupt_in_the_middle_of_an_epoch_keeps_the_finished_ones(base, interrupted, quiet) -> None:
    interrupted(3)
    run = watched(base)
    assert [one.epoch for one in run.history.records] == [0, 1, 2]
    assert re.match(rf"stopped .*epoch 2 .*best epoch {run.kept}\b", run.outcome)


def test_after_a_stop_the_base_can_be_trained_again_and_gives_the_same(base, views, quiet) -> None:
    before, made = logits(base.model), views(2)
    run = watched(base)
    bare = remove_lora(run.model)
    assert torch.equal(logits(bare), before)
    again = watched(type(base)(base.preset, bare, base.tokenizer))
    assert untimed(again.history) == untimed(run.history)
    with pytest.raises(CourseError, match=r"\brank\b"):
        restored(remove_lora(again.model), made[0].best, replace(FIVE, rank=4))


@pytest.mark.parametrize("way", ["Stop after epoch 0", "interrupt in epoch 1"])
def test_stopped_before_anything_was_trained_it_says_so_and_leaves_the_base_bare(base, views, interrupted, quiet,
                                                                                 way: str) -> None:
    views(0) if way.startswith("Stop") else interrupted(1)
    with pytest.raises(CourseError, match="first epoch"):
        watched(base)
    assert not any("lora" in name for name, _ in base.model.named_parameters())


def test_an_interrupt_while_a_figure_is_drawn_is_passed_on(quiet) -> None:
    def drawn() -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw_into(ipywidgets.Output(), drawn, lambda: "said")


def test_a_press_of_stop_is_answered_at_once() -> None:
    view = TrainingView(5)
    view.button.click()
    assert view.stopping and view.button.disabled
    assert view.button.description != TrainingView(5).button.description


# ---------------------------------------------------------------- what is drawn and said


def test_time_left_is_the_mean_epoch_times_the_epochs_to_go() -> None:
    assert seconds_left(RECORDS, 13) == 3 * 10  # the untuned epoch 0 trains nothing and does not count
    assert seconds_left(RECORDS[:1], 13) is None


@pytest.mark.parametrize(("records", "epochs", "said"), [
    (RECORDS, 13, r"Epoch 3 of 13: 95 % .*Known .*30 % .*Unknown .*45\.0 %\. .*50\.0 % .*epoch 2\. .*\b30 s.*"),
    (History(RECORDS), None, r".* 50\.0 % .*epoch 2\."), (RECORDS, 3, r".* 50\.0 % .*epoch 2\."),
    (RECORDS[:1], 13, r"Epoch 0 of 13: 0 % .*Known .*0 % .*Unknown .*\bdev\b.* 20\.0 %\."),
    ([record(0, None, unknown=None), record(1, None, 60, None)], None, "Epoch 1: 60 % ((?!Unknown|dev).)*")],
    ids=["under way", "a history", "finished", "before training", "no Unknown rows, no dev questions"])
def test_a_run_is_described(records, epochs: int | None, said: str) -> None:
    assert re.fullmatch(said, describe_training(records, epochs=epochs))


def test_the_frame_is_wide_enough_for_all_epochs_and_the_best_one_is_marked() -> None:
    ax = live_training.training_curves(RECORDS, epochs=13)
    assert lines(ax)["Unknown rows fitted"] == [0, 2, 5, 30] and lines(ax)["dev accuracy"] == [20, 30, 50, 45]
    assert any("(epoch 2)" in name for name in lines(ax)) and ax.get_xlim()[1] > 13


def test_the_snapshots_show_a_quarter_a_half_and_all_of_the_run() -> None:
    panels = live_training.training_snapshots(History((*RECORDS, *(record(epoch, 40) for epoch in range(4, 9)))))
    assert [ax.get_title() for ax in panels] == ["epoch 2 of 8", "epoch 4 of 8", "epoch 8 of 8"]
    assert [len(ax.lines[0].get_xdata()) for ax in panels] == [3, 5, 9]


# ---------------------------------------------------------------- in a kernel

SETUP = """
%matplotlib inline
import sys
sys.path.insert(0, {tests!r})
from dataclasses import replace
from tests.support.tiny import TOKENIZERS, saved_model
from tests.support.tuning import DATA, FACTS, SHORT
from course_lib.models.loading import load
from course_lib.figures.widgets import live_training
base = load(saved_model({folder!r}, "llama", TOKENIZERS["gpt2"]()), device="cpu")
show = live_training.TrainingView.show
def spoken(view):
    show(view)
    print("button", view.button.model_id)
live_training.TrainingView.show = spoken
"""
RUN = "run = live_training.watch_training(base.model, base.tokenizer, DATA, FACTS, replace(SHORT, epochs={epochs}))"
STOPPED = r"stopped .*epoch \d+ .*best epoch \d+"
TOLD = "import matplotlib.pyplot as plt\nprint(run.outcome, plt.get_fignums())"


def kernel_run(tmp_path: Path, epochs: int, act: Callable[[Any, str], None]) -> tuple[list[dict], str]:
    """Watch a run in a real kernel; ``act(client, id of the button)`` once its figure of epoch 1 is there.

    Gives the messages that came of the run, and what was printed after it.
    """
    from jupyter_client import KernelManager

    manager = KernelManager(kernel_name="python3")
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        _execute(client, SETUP.format(tests=str(Path(__file__).parent), folder=str(tmp_path)))
        button, acted = "", False

        def watch(message: dict) -> None:
            nonlocal button, acted
            content = json.dumps(message["content"], default=str)
            if message["msg_type"] == "stream" and "button " in content:
                button = message["content"]["text"].split()[1]
            if not acted and "Epoch 1 of" in content:
                acted = True
                act((manager, client), button)

        messages = _execute(client, RUN.format(epochs=epochs), watch)
        told = [one["content"]["text"] for one in _execute(client, TOLD) if one["msg_type"] == "stream"]
        return messages, "".join(told)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def _execute(client: Any, source: str, watch: Callable[[dict], None] = lambda message: None) -> list[dict]:
    """Run a cell; its messages until it is idle. An error fails the test."""
    sent, messages, end = client.execute(source), [], time.monotonic() + 240
    while time.monotonic() < end:
        message = client.get_iopub_msg(timeout=120)
        watch(message)
        if message["parent_header"].get("msg_id") != sent:
            continue
        assert message["msg_type"] != "error", "\n".join(message["content"].get("traceback", []))
        messages.append(message)
        if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
            return messages
    raise AssertionError("the cell did not end")


def last_text(messages: list[dict]) -> str:
    """The text for readers without widgets, as it stands at the end."""
    updates = [one["content"]["data"] for one in messages if one["msg_type"] == "update_display_data"]
    return updates[-1]["text/markdown"]


@pytest.mark.slow
def test_in_a_kernel_a_run_to_the_end_leaves_its_text_and_no_open_figure(tmp_path: Path) -> None:
    messages, told = kernel_run(tmp_path, 2, lambda clients, button: None)
    assert re.match(r"\D*\b2 epochs", told) and told.strip().endswith("[]")
    assert re.match(r"Epoch 2: .*\b2 epochs", last_text(messages), re.DOTALL)
    pictures = [one for one in messages if one["msg_type"] == "display_data" and "image/png" in one["content"]["data"]]
    assert len(pictures) == 3, "epochs 0, 1 and 2"


@pytest.mark.slow
def test_in_a_kernel_the_interrupt_button_keeps_the_best_epoch(tmp_path: Path) -> None:
    messages, told = kernel_run(tmp_path, 400, lambda clients, button: clients[0].interrupt_kernel())
    assert re.match(STOPPED, told) and re.search(STOPPED, last_text(messages))


@pytest.mark.slow
def test_in_a_kernel_a_press_of_stop_over_a_subshell_ends_the_run_while_the_cell_runs(tmp_path: Path) -> None:
    def press(clients: Any, button: str) -> None:
        _, client = clients
        session = client.session
        request = session.msg("create_subshell_request")
        client.control_channel.send(request)
        reply = client.control_channel.get_msg(timeout=30)
        message = session.msg("comm_msg", {"comm_id": button, "data": {"method": "custom",
                                                                     "content": {"event": "click"}}})
        message["header"]["subshell_id"] = reply["content"]["subshell_id"]
        client.shell_channel.send(message)

    messages, told = kernel_run(tmp_path, 400, press)
    assert re.match(STOPPED, told) and re.search(STOPPED, last_text(messages))
