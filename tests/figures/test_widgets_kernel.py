"""Every widget in a real kernel, every control at both of its ends; an error in any callback fails the test.

In the end the output holds the figure and the sentence of the last move, and no figure is open.

The same tests pass with ipywidgets 7.7.1, Colab's: put a copy first on PYTHONPATH (see ``.ci/run``).
"""

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

START = """
%matplotlib inline
import numpy as np
import matplotlib.pyplot as plt
from course_lib.figures.widgets import explorers as widgets
from course_lib.experiments.study import open_study
from course_lib.figures.widgets.display import show

failed = []
shell = get_ipython()
shell.showtraceback = lambda *given, **more: failed.append(__import__("sys").exc_info()[1])


def ends(control):
    \"\"\"Values of a control: both ends of a slider, every option, both states of a box, a word.\"\"\"
    if hasattr(control, "options"):
        values = [one[1] if isinstance(one, tuple) else one for one in control.options]
        return [values[0], values[-1], values[len(values) // 2]]
    if hasattr(control, "min"):
        return [control.min, control.max, control.min]
    return [True, False] if isinstance(control.value, bool) else ["Who is Ana married to?", ""]


def walk(box):
    for child in getattr(box, "children", ()):
        yield from walk(child)
        if "value" in child.trait_names() and child.__class__.__name__ not in ("HTML", "Label"):
            yield child


def move_all(box):
    moved = 0
    for control in list(walk(box)):
        for value in ends(control):
            control.value = value
            moved += 1
    print("moved", moved, "open", plt.get_fignums(), "failed", failed)
"""

SAID = {"memory": "in 8 bits, rank 32, 8 rows of 256 tokens", "nf4": "even levels in 3 bits, blocks of 256",
        "curve": "D_Known of 50 % Unknown, epoch 0", "knowledge": r"At temperature 1 .* with 1 samples",
        "board": r"96 rows: 32 HighlyKnown, 32 MaybeKnown, 32 WeaklyKnown\.", "ask": r"Read \d+ times"}
MADE = {
    "memory": "box = widgets.memory_calculator()",
    "nf4": """from course_lib.models import nf4
box = widgets.nf4_explorer(nf4.weight_samples(np.random.default_rng(0).normal(size=(64, 64)), seed=0))""",
    "curve": """from course_lib.experiments.reference import reference_runs
epochs = reference_runs().epochs()
box = widgets.curve_explorer(epochs, reference=epochs)""",
    "knowledge": """from course_lib.figures.widgets import fact_browser as browse
from course_lib.knowledge.slick import draw_prompts
study = open_study("pocket")
base, train = study.load(), study.labels(progress=False).query("split == 'train'")
keep = train["relation"].isin(["P19", "P36"]).to_numpy()
facts = [fact for fact, kept in zip(study.facts.train, keep) if kept]
box = widgets.knowledge_explorer(browse.browse(base.model, base.tokenizer, facts, train[keep],
                                               draw_prompts(study.facts.exemplars), each=1))""",
    "board": """study = open_study("pocket")
train = study.labels(progress=False).query("split == 'train'").reset_index(drop=True)
box = widgets.mixing_board(study.facts.train, train, limit=study.settings.size)""",
    "ask": """from course_lib.data import pocket
from course_lib.training.finetune import add_lora
study = open_study("pocket")
base = study.load()
model = add_lora(base.model, study.settings.tune)
box = widgets.ask_the_model(model, base.tokenizer, study.facts.test[:3], exposures=pocket.exposures())""",
}


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A tiny study, labelled once for all widgets of this file."""
    return {"COURSE_BUILD": str(tmp_path_factory.mktemp("widgets")), "COURSE_QUICK": "1", "COURSE_PRESET": "pocket"}


@pytest.mark.parametrize("name", MADE)
def test_every_control_at_both_ends_draws_without_an_error(name: str, env: dict[str, str]) -> None:
    import nbformat
    from nbclient import NotebookClient

    from course_lib.lessons.builder import execution

    cells = [nbformat.v4.new_code_cell(source) for source in (START, MADE[name], "move_all(box)", "show(box)")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    client = NotebookClient(notebook, timeout=300, kernel_manager_class=execution.kernel_manager(),
                            resources={"metadata": {"path": str(Path(__file__).parents[2])}})
    client.execute(env=execution._environment(env))
    said = notebook.cells[2].outputs[0]["text"].strip()
    assert said.startswith("moved ") and said.endswith("open [] failed []"), said
    assert int(said.split()[1]) >= 6
    shown = notebook.cells[3].outputs[0].data
    assert execution.WIDGET in shown and re.search(r"At the start: \S", shown["text/markdown"])
    states = notebook.metadata["widgets"]["application/vnd.jupyter.widget-state+json"]["state"].values()
    figure, sentence = next(s["state"]["outputs"] for s in states if s["model_name"] == "OutputModel")
    assert "image/png" in figure["data"] and re.search(SAID[name], sentence["text"].replace("\n", " "))
