"""A real training run on the pocket model, watched in JupyterLab, and ended by its Stop while the cell runs."""

import re

import pytest

from tests.browser.harness import until
from tests.browser.notebook_page import NotebookPage, Open

pytestmark = pytest.mark.browser
EPOCHS = 400  # far more than the test waits for: only a Stop ends this run in time

SET_UP = """from dataclasses import replace

from course_lib.data import pocket
from course_lib.data.facts import Fact, FactSet
from course_lib.training.mixing import Mix, Row
from course_lib.training.records import TuneConfig
from course_lib.experiments.study import open_study
from course_lib.figures.widgets.live_training import watch_training

study = open_study("pocket")
readings = pocket.exposures().query("split == 'train' and relation == 'P19'")
groups = {"Unknown": readings[readings["total"] == 0], "Known": readings[readings["total"] > 64]}
rows = [Row(Fact(one.subject, one.relation, one.object), name)
        for name, group in groups.items() for one in group.head(16).itertuples()]
facts = FactSet("few", train=(), dev=study.facts.dev[:16], test=study.facts.test[:8], ood=())
base = study.load()"""
WATCH = f"""run = watch_training(base.model, base.tokenizer, Mix("D", 50, 0, tuple(rows)), facts,
                     TuneConfig(epochs={EPOCHS}, lr=4e-4, warmup=0))"""
AFTER = """from course_lib.training.finetune import remove_lora

print(run.outcome, run.stopped, run.kept, len(run.history.records))
base = replace(base, model=remove_lora(run.model))"""


def test_stop_and_the_interrupt_button_end_a_run_while_its_cell_runs_and_the_best_epoch_is_kept(opened: Open) -> None:
    notebook = opened([SET_UP, WATCH, AFTER, WATCH, AFTER])
    notebook.start()
    first = grown(notebook, 1)
    notebook.press(1, "Stop, keep the best epoch", "Space")
    reached, kept = ended(notebook, 1)
    assert first <= reached < EPOCHS and kept <= reached
    assert notebook.control(1, "Done").is_disabled()
    notebook.keep("training_view_stopped", 1)
    assert notebook.layout(1) == []
    again = grown(notebook, 3)
    notebook.page.locator("[data-command='notebook:interrupt-kernel']").first.click()
    reached, kept = ended(notebook, 3)
    assert again <= reached < EPOCHS and kept <= reached
    notebook.finish()


def grown(notebook: NotebookPage, number: int) -> int:
    """Wait until a run has trained for two epochs, keep a picture of its view, and return the epoch it has reached."""
    def epoch() -> int | None:
        notebook.cell(number).scroll_into_view_if_needed()
        told = re.search(rf"Epoch (\d+) of {EPOCHS}:", notebook.view(number).text)
        return int(told.group(1)) if told and int(told.group(1)) > 1 else None
    reached = until(epoch, "two epochs of training")
    assert notebook.running() and notebook.view(number).picture
    notebook.keep("training_view", number)
    return reached


def ended(notebook: NotebookPage, number: int) -> tuple[int, int]:
    """The epoch that a run had reached and the one that it kept, as its view and the next cell say."""
    said = notebook.shows(number, "by you; best epoch").text
    told = re.search(r"stopped after epoch (\d+) by you; best epoch (\d+) kept", said)
    assert told, said
    reached, kept = map(int, told.groups())
    notebook.shows(number + 1, f"{told.group()} True {kept} {reached + 1}")  # epoch 0 is counted too
    return reached, kept
