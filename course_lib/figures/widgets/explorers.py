"""The course's widgets: thin layers of controls over functions that compute and draw; each works alone.

    memory_calculator     does a training step fit on this GPU?
    nf4_explorer          levels, blocks and the error of 4 bits
    knowledge_explorer    facts, their ten prompts, answers, probability   (:mod:`.fact_browser`)
    mixing_board          shares of the categories with |D| fixed          (:mod:`.board`)
    curve_explorer        the curve after any epoch
    ask_the_model         base and tuned model side by side                (:mod:`.ask_model`)

The seventh, the live view of a training run, is :mod:`.live_training`. Moving a control of the first five runs no
model.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import ipywidgets
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from course_lib.data.facts import Fact
from course_lib.data.paper import CATEGORIES
from course_lib.data.protocol import D_KNOWN, D
from course_lib.figures.plots.curves import SPLITS, curve_at_epoch, describe_epoch
from course_lib.figures.plots.knowledge import describe_question, question_bars
from course_lib.figures.plots.sizing import describe_levels, describe_memory, level_histogram, memory_bars
from course_lib.figures.widgets import ask_model as ask
from course_lib.figures.widgets import board
from course_lib.figures.widgets.controls import dropdown, explorer, line, slider, steps, toggles
from course_lib.figures.widgets.fact_browser import Browse, asked_text, relation_name
from course_lib.files import CourseError
from course_lib.knowledge.one_question import OneQuestion
from course_lib.knowledge.scoring.prompts import INSTRUCTION, Prompt
from course_lib.models import memory, nf4
from course_lib.text import one_line
from course_lib.training.mixing import Mix

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["ask_the_model", "curve_explorer", "knowledge_explorer", "memory_calculator", "mixing_board",
           "nf4_explorer"]

LISTED = 200  # letters of a question in a list to choose from
NONE = -1  # the number of no question


def memory_calculator(*, model: str = "SmolLM2-1.7B", gpu: str = "T4") -> ipywidgets.VBox:
    """Model, bits, LoRA rank, rows, tokens a row and GPU: one stacked bar, and whether it fits."""
    name = dropdown("model", list(memory.SHAPES), model)
    bits = toggles("bits a weight", list(memory.BITS), 4)
    rank = steps("LoRA rank", [4, 8, 16, 32, 64, 128], 16)
    batch = steps("rows a step", [1, 2, 4, 8, 16, 32], 8)
    tokens = steps("tokens a row", [32, 64, 128, 256, 512, 1024, 2048], 128)
    card = toggles("GPU", list(memory.GPUS), gpu)

    def needed() -> memory.TrainerMemory:
        return memory.estimate_trainer(memory.SHAPES[name.value], bits=bits.value, rank=rank.value, batch=batch.value,
                                       tokens=tokens.value)

    return explorer([name, bits, rank, batch, tokens, card],
                    lambda: memory_bars({name.value: needed()}, gpus={card.value: memory.GPUS[card.value]}),
                    lambda: describe_memory(name.value, needed(), gpu=card.value))


def nf4_explorer(samples: Mapping[str, np.ndarray]) -> ipywidgets.VBox:
    """Kind of weights, levels, bits and block size: where the weights lie among the levels, and the error.

    ``samples``: name -> weights, such as :func:`.nf4.weight_samples` gives.

    Raises:
        CourseError: there are no samples.
    """
    if not samples:
        raise CourseError("no weights to explore; give some, for example nf4.weight_samples(layer)")
    name = dropdown("weights", list(samples), next(iter(samples)))
    kind = toggles("levels", list(nf4.KINDS), "NF4")
    bits = steps("bits", [2, 3, 4], 4)
    block = steps("block size", list(nf4.BLOCKS), 64)

    def found(levels: str) -> nf4.Quantised:
        return nf4.quantise(samples[name.value], nf4.levels(levels, bits.value), block=block.value)

    def figure() -> Axes:
        title = f"{name.value}, {kind.value} levels, {bits.value} bits, blocks of {block.value}"
        return level_histogram(found(kind.value), nf4.levels(kind.value, bits.value), title=title)

    def sentence() -> str:
        rival = found("even" if kind.value == "NF4" else "NF4")
        return describe_levels(found(kind.value), name=name.value, kind=kind.value, bits=bits.value,
                               block=block.value, rival=rival)

    return explorer([name, kind, bits, block], figure, sentence)


def mixing_board(facts: Sequence[Fact], labelled: pd.DataFrame, *, limit: int | None = None,
                 seed: int = 0) -> ipywidgets.VBox:
    """Shares of the four categories, which always sum to 100 %, and the rule for |D|; row i of ``labelled`` is about
    ``facts[i]``.

    ``limit`` is the most rows that D may have.

    Raises:
        CourseError: there is nothing to draw from; see :func:`.mixing.relation_sizes`.
    """
    shares = {name: slider(name, 0, 100, 25) for name in CATEGORIES}
    rule = toggles("size of D", list(board.RULES.items()), "category")

    def settle(change: dict[str, Any]) -> None:
        for name, moved in shares.items():
            if change["owner"] is moved:
                before = {other: one.value for other, one in shares.items()}
                for other, value in board.rebalance(before, name, moved.value).items():
                    shares[other].value = value

    def chosen() -> board.Board:
        return board.board(labelled, {name: one.value for name, one in shares.items()}, rule=rule.value, limit=limit)

    def sentence() -> str:
        return f"{board.describe_board(chosen())}\n{board.example_rows(facts, labelled, chosen(), seed=seed)}".strip()

    return explorer([*shares.values(), rule], lambda: board.board_bars(chosen())[0], sentence, settle=settle)


def ask_the_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, facts: Sequence[Fact], *,
                  prompts: Mapping[str, Sequence[Prompt]] | None = None, exposures: pd.DataFrame | None = None,
                  data: Mix | None = None) -> ipywidgets.VBox:
    """A fact from a list, or a question that you type: base and tuned model side by side; see :func:`.ask_model.ask`.

    With ``prompts`` by relation, the question can be put after the solved examples of the first one too; a typed
    question takes those of the fact in the list. This widget runs the model: on the pocket model a question takes well
    under a second.

    Raises:
        CourseError: there are no facts to choose from.
    """
    if not facts:
        raise CourseError("no facts to choose from; give some, for example study.facts.test[:40]")
    chosen = dropdown("fact", _listed(facts, exposures), 0)
    form = toggles("form", [("as in training", False), *([("after solved examples", True)] if prompts else [])], False)
    typed = line("or type one", "a question, then Enter")

    def settle(change: dict[str, Any]) -> None:
        if change["owner"] is chosen:
            typed.value = ""

    @functools.lru_cache(maxsize=1)  # the sentence and the figure are about one answer
    def answered(asked: Fact | str, prompt: Prompt) -> ask.Asked:
        return ask.ask(model, tokenizer, asked, prompt=prompt, exposures=exposures, data=data)

    def now() -> ask.Asked:
        fact = facts[chosen.value]
        prompt = prompts[fact.relation][0] if form.value else INSTRUCTION
        return answered(ask.find(facts, typed.value) if typed.value.strip() else fact, prompt)

    return explorer([chosen, typed, form], lambda: ask.certainty_bars([now()]), lambda: ask.describe_asked(now()),
                    settle=settle)


def _listed(facts: Sequence[Fact], exposures: pd.DataFrame | None) -> list[tuple[str, int]]:
    """The facts by their questions, and how often each was read, where that is known."""
    counts = [ask.exposures_of(fact, exposures) for fact in facts]
    names = [one_line(fact.question, longest=LISTED) for fact in facts]
    return [(f"{number}. {name}{'' if read is None else f' (read {read} times)'}", number - 1)
            for number, (name, read) in enumerate(zip(names, counts, strict=True), 1)]


def curve_explorer(epochs: pd.DataFrame, *, reference: pd.DataFrame | None = None) -> ipywidgets.VBox:
    """Share of Unknown, epoch, measure, and D or D_Known, over the runs of ``epochs``; the paper's points beside.

    ``reference`` are the epochs of reference runs, drawn as a band under the line.

    Raises:
        CourseError: there is no run of D.
    """
    runs = [table[table["variant"].isin([D.name, D_KNOWN.name])] for table in (epochs, reference) if table is not None]
    percents = sorted({float(percent) for table in runs for percent in table.loc[table["variant"] == D.name,
                                                                                 "unknown_percent"]})
    if not (runs[0]["variant"] == D.name).any():
        raise CourseError("no run of D to explore; run the sweep, or give all of its epochs")
    low, high = (int(end(end(table["epoch"]) for table in runs)) for end in (min, max))
    percent = steps("% Unknown", [(f"{p:g}", p) for p in percents], percents[len(percents) // 2])
    epoch = slider("epoch", low, high, high)
    measured = toggles("measured", [("both", SPLITS), ("in distribution", ("test",)),
                                    ("out of distribution", ("ood",))], SPLITS)
    variants = [name for name in (D.name, D_KNOWN.name) if any((table["variant"] == name).any() for table in runs)]
    variant = toggles("rows", variants, D.name)

    def chosen() -> dict[str, object]:
        return {"epoch": epoch.value, "unknown_percent": percent.value, "variant": variant.value,
                "measures": measured.value, "reference": reference}

    return explorer([percent, epoch, measured, variant],
                    lambda: curve_at_epoch(epochs, **chosen(), published=True),
                    lambda: describe_epoch(epochs, **chosen()))


def knowledge_explorer(questions: Browse | Sequence[OneQuestion]) -> ipywidgets.VBox:
    """A choice of questions, and sliders: temperature, and samples a prompt (1 to 64).

    It starts at the paper's values, 0.5 (or the computed temperature next to it) and 16. With a
    :class:`.fact_browser.Browse` relation and category can be chosen too, and a prompt to read.

    Raises:
        CourseError: no question to explore, or questions that were computed at different temperatures.
    """
    browsing = isinstance(questions, Browse)
    found = questions if browsing else Browse(tuple(questions), ("",) * len(questions))
    grid = _one_grid(found.questions)
    relation = dropdown("relation", [("all", ""), *((relation_name(name), name) for name in found.relations)], "")
    category = dropdown("category", [("all", ""), *((name, name) for name in CATEGORIES)], "")
    question = dropdown("question", _questions(found, found.chosen()), 0)
    temperature = steps("temperature", [(f"{value:g}", value) for value in grid],
                        min(grid, key=lambda value: abs(value - 0.5)))
    samples = slider("samples", 1, 64, 16)
    prompt = slider("prompt to read", 0, max((len(group) for group in found.prompts.values()), default=0), 0)

    def settle(change: dict[str, Any]) -> None:
        if change["owner"] in (relation, category):
            question.options = _questions(found, found.chosen(relation=relation.value, category=category.value))

    def setting() -> dict[str, float]:
        return {"temperature": temperature.value, "n_samples": samples.value}

    def sentence() -> str:
        if question.value == NONE:
            raise CourseError("No fact of this relation and category was drawn: choose another.")
        text = describe_question(found.questions[question.value], **setting())
        return f"{text}\n\n{asked_text(found, question.value, prompt.value)}" if prompt.value else text

    controls = [relation, category, question, prompt, temperature, samples] if browsing else [
        question, temperature, samples]
    return explorer(controls, lambda: question_bars(found.questions[question.value], **setting()), sentence,
                    settle=settle)


def _one_grid(questions: Sequence[OneQuestion]) -> tuple[float, ...]:
    grids = {one.temperatures for one in questions}
    if len(grids) != 1:
        raise CourseError(f"{len(questions)} questions, {len(grids)} sets of temperatures: give at least one question, "
                          f"each measured at the same temperatures")
    return grids.pop()


def _questions(found: Browse, numbers: Sequence[int]) -> list[tuple[str, int]]:
    """Names and numbers for the list of questions."""
    named = [(f"{place}. {one_line(found.questions[number].fact.question, longest=LISTED)}"
              f"{found.categories[number] and f' ({found.categories[number]})'}", number)
             for place, number in enumerate(numbers, 1)]
    return named or [("none here", NONE)]
