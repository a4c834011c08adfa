"""Ask the base and the tuned model the same question: what each says, how sure it is, and whether it is right.

Both are asked greedily, in the form of the training rows (the paper's instruction and the question, App. E) or after
solved examples. How sure a model is of what it says is the probability of exactly the tokens that it writes, from the
first to the stop, when tokens are drawn from the model as it is (temperature 1, whole vocabulary); beside it stands
that of the recorded answer (:func:`.engine.score`). The base is the tuned model with its adapter switched
off. One question takes a few passes: about half a second on the pocket model and one CPU core.

"Right" is the paper's exact match. A base often answers in a sentence, which exact match calls wrong; where the
recorded answer stands in it as a whole, we say "right name, other form".
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from course_lib.data.facts import Fact
from course_lib.data.paper import CATEGORIES
from course_lib.figures.plots.style import COLOURS, new_axes, plain_text
from course_lib.files import CourseError
from course_lib.knowledge.scoring.distribution import room
from course_lib.knowledge.scoring.engine import score
from course_lib.knowledge.scoring.prompts import INSTRUCTION, Prompt, encode, end_tokens, is_match
from course_lib.models.four_bit import merged_for_evaluation

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from course_lib.training.mixing import Mix

__all__ = ["VERDICTS", "Answer", "Asked", "a_few", "ask", "certainty_bars", "describe_asked", "describe_many",
           "exposures_of", "find", "greedy", "verdict"]

MODELS = ("base", "tuned")
LONGEST = 32  # tokens of an answer
VERDICTS = ("right", "right name, other form", "wrong", "not known")


@dataclass(frozen=True, slots=True)
class Answer:
    """A model's greedy answer, the probability of it, and one of ``VERDICTS``.

    ``recorded`` is the probability of the recorded answer; None where there is none, or where it cannot be scored.
    """

    text: str
    probability: float
    verdict: str
    recorded: float | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A question put to both models.

    ``object`` is the recorded answer, None for a question that was typed in. ``exposures`` says how often the fact was
    read in pre-training, ``trained`` the category of its training row; None where nobody knows, or where it had none.
    """

    question: str
    object: str | None
    base: Answer
    tuned: Answer
    exposures: int | None = None
    trained: str | None = None


def ask(model: PeftModel, tokenizer: PreTrainedTokenizerBase, fact: Fact | str, *,
        prompt: Prompt = INSTRUCTION, exposures: pd.DataFrame | None = None, data: Mix | None = None) -> Asked:
    """Ask both models about a fact, or a question in words.

    ``prompt`` is the form of the question. ``exposures`` are those of :func:`.exposures`, ``data`` is
    the training set of the tuned model.

    Raises:
        CourseError: an empty question, one that is too long, or a model without an adapter.
    """
    if not hasattr(model, "disable_adapter"):
        raise CourseError("this model has no adapter: give the model of a run, such as tune(...).model")
    known = isinstance(fact, Fact)
    question = fact.question if known else str(fact).strip()
    if not question:
        raise CourseError("the question is empty; type one, or choose a fact")
    answers = []
    for context in (model.disable_adapter(), nullcontext()):
        with context:
            answers.append(_answer(model, tokenizer, prompt, question, fact.object if known else None))
    return Asked(question, fact.object if known else None, *answers,
                 exposures=exposures_of(fact, exposures) if known else None,
                 trained=_category(fact, data) if known else None)


def _answer(model: PeftModel, tokenizer: PreTrainedTokenizerBase, prompt: Prompt, question: str,
            right: str | None) -> Answer:
    with merged_for_evaluation(model):
        text, probability = greedy(model, tokenizer, prompt.text(question))
        if right is None:
            return Answer(text, probability, VERDICTS[-1])
        found = score(model, tokenizer, [_AsTyped(question, right)], [prompt], temperature=1.0, top_k=0, top_p=1.0)
    recorded = None if found.problems else float(np.exp(found.log_probability[0, 0]))
    return Answer(text, probability, verdict(text, right), recorded)


def greedy(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[str, float]:
    """The greedy answer after ``text``, and the probability of its tokens and of a stop after them.

    It is that of the tokens that were written, however they spell the answer. One of more than ``LONGEST`` tokens is
    cut, and the probability is that of its beginning.

    Raises:
        CourseError: the text is too long for the model.
    """
    import torch

    [before], ends, written, total = encode(tokenizer, [text]), list(end_tokens(tokenizer, model)), [], 0.0
    most = room(model).tokens - LONGEST
    if len(before) > most:
        raise CourseError(f"the question has {len(before)} tokens, and the model has room for {most:g}; shorten it")
    with torch.inference_mode():
        for _ in range(LONGEST):
            ids = torch.tensor([[*before, *written]], device=model.device)
            log_p = model(input_ids=ids, use_cache=False).logits[0, -1].float().log_softmax(-1)
            best = int(log_p.argmax())
            if best in ends:
                total += float(log_p[ends].logsumexp(0))
                break
            total += float(log_p[best])
            written.append(best)
    return tokenizer.decode(written, skip_special_tokens=True).split("\n")[0].strip(), math.exp(total)


def verdict(answer: str, right: str) -> str:
    """One of ``VERDICTS``, for an answer beside the recorded one.

    >>> verdict("The answer is Rome.", "Rome"), verdict("Romeville", "Rome")
    ('right name, other form', 'wrong')
    """
    if is_match(answer, right):
        return "right"
    return "right name, other form" if re.search(rf"(?<!\w){re.escape(right)}(?!\w)", answer) else "wrong"


@dataclass(frozen=True, slots=True)
class _AsTyped:
    """A question in any words with its answer, where the scorer expects a fact."""

    question: str
    object: str


def exposures_of(fact: Fact, exposures: pd.DataFrame | None) -> int | None:
    """Count how often a fact was read in pre-training; None where nobody counted."""
    if exposures is None:
        return None
    rows = exposures[(exposures["relation"] == fact.relation) & (exposures["subject"] == fact.subject)
                    & (exposures["object"] == fact.object)]
    return int(rows["total"].iloc[0]) if len(rows) else None


def find(facts: Sequence[Fact], text: str) -> Fact | str:
    """The fact whose question this is, capitals and spaces at the ends aside; else the text itself."""
    wanted = text.strip().casefold()
    return next((fact for fact in facts if fact.question.casefold() == wanted), text)


def a_few(facts: Sequence[Fact], categories: Sequence[str], *, each: int = 1, seed: int = 0) -> list[Fact]:
    """Up to ``each`` facts of every category before fine-tuning, the best known first.

    ``categories[i]`` is that of ``facts[i]``.

    Raises:
        CourseError: another number of categories than of facts.
    """
    if len(facts) != len(categories):
        raise CourseError(f"{len(facts)} facts and {len(categories)} categories: give one for each, for example "
                          f"study.categories()['test'] for study.facts.test")
    pools = {name: [fact for fact, category in zip(facts, categories, strict=True) if category == name]
             for name in CATEGORIES}
    return [fact for name, pool in pools.items()
            for fact in random.Random(f"{seed} {name}").sample(pool, min(each, len(pool)))]


def _category(fact: Fact, data: Mix | None) -> str | None:
    return next((row.category for row in data.rows if row.fact == fact), None) if data else None


def certainty_bars(asked: Sequence[Asked], *, ax: Axes | None = None) -> Axes:
    """The probabilities that both models give to their own answers: two bars a question, named by the answers."""
    ax, places = new_axes(ax), np.arange(len(asked))
    ax.grid(visible=False, axis="y")
    for shift, name, colour, hatch in ((-0.2, "base", COLOURS["test"], ""), (0.2, "tuned", COLOURS["unknown"], "///")):
        answers = [getattr(one, name) for one in asked]
        ends = np.nan_to_num([one.probability for one in answers])  # no answer: no bar
        ax.barh(places + shift, ends, 0.36, color=colour, hatch=hatch, edgecolor="white", label=name)
        for place, end, one in zip(places + shift, ends, answers, strict=True):
            text = plain_text(one.text) or "(nothing)"
            ax.text(end + 0.015, place, f"{text}{_in_brackets(one)}", va="center", fontsize=8)
    ax.set(xlim=(0, 2.1), xticks=[0, 0.25, 0.5, 0.75, 1], xlabel="probability of the answer that it gives",
           yticks=places)
    ax.set_yticklabels([plain_text(one.question) for one in asked], fontsize=8)
    ax.set_ylim(max(0.8, len(asked) - 0.4), -0.8 if len(asked) == 1 else -0.6)
    ax.legend(frameon=False, fontsize="small", ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return ax


def _in_brackets(answer: Answer) -> str:
    return "" if answer.verdict == VERDICTS[-1] else f" ({answer.verdict})"


def _chance(p: float) -> str:
    return "below 0.01" if p < 0.005 else f"{p:.2f}"


def describe_asked(one: Asked) -> str:
    """A sentence for one question."""
    models = dict(zip(MODELS, (one.base, one.tuned), strict=True))
    says = ", ".join(f"{name} says {answer.text or '(nothing)'!r} with probability {_chance(answer.probability)}"
                     f"{_in_brackets(answer)}" for name, answer in models.items())
    sure = [f"{name} {_chance(answer.recorded)}" for name, answer in models.items() if answer.recorded is not None]
    chance = f" (its probability: {', '.join(sure)})" if sure else ""
    known = "" if one.object is None else f" Recorded: {one.object}{chance}."
    read = "" if one.exposures is None else " Never read." if one.exposures == 0 else f" Read {one.exposures} times."
    row = "" if one.trained is None else f" It stood in the training set, as {one.trained}."
    return f"{one.question} {says[:1].upper()}{says[1:]}.{known}{read}{row}"


def describe_many(asked: Sequence[Asked]) -> str:
    """A sentence for several questions: how many each has right, and how sure it is where it is wrong."""
    parts = []
    for name in MODELS:
        answers: list[Answer] = [getattr(one, name) for one in asked]
        wrong = [one.probability for one in answers if one.verdict == "wrong" and not math.isnan(one.probability)]
        sure = f", its wrong answers have a mean probability of {np.mean(wrong):.2f}" if wrong else ""
        other = sum(one.verdict == VERDICTS[1] for one in answers)
        named = f" (and {other} right names in another form)" if other else ""
        parts.append(f"{name}: {sum(one.verdict == 'right' for one in answers)} of {len(answers)} right{named}{sure}")
    return "; ".join(parts) + "."
