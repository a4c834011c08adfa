"""Facts to browse: a few for each relation and category, each measured in detail, once, before a slider moves.

For every relation and each of the four categories some facts are drawn; for each the greedy answer after each of the
ten prompts and the probability of the right answer at a few temperatures are computed (:mod:`.one_question`). On
the pocket preset that is 91 training facts in under 20 seconds on one CPU core. Whoever browses them runs no model.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pandas as pd

from course_lib.data.facts import QUESTIONS, Fact
from course_lib.data.paper import CATEGORIES
from course_lib.files import CourseError
from course_lib.knowledge.one_question import OneQuestion, measure
from course_lib.knowledge.scoring.prompts import Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["GRID", "Browse", "asked_text", "browse", "relation_name"]

GRID = (0.2, 0.5, 1.0, 1.5)  # temperatures; 0.5 is the paper's


@dataclass(frozen=True, slots=True)
class Browse:
    """Facts in detail: a measurement and a category each, in one order; ``prompts`` by relation, where they are known.

    A category is "" where nobody measured it.
    """

    questions: tuple[OneQuestion, ...]
    categories: tuple[str, ...]
    prompts: Mapping[str, Sequence[Prompt]] = field(default_factory=dict)

    @property
    def relations(self) -> list[str]:
        """The relations, in the order in which they come."""
        return list(dict.fromkeys(one.fact.relation for one in self.questions))

    def chosen(self, *, relation: str = "", category: str = "") -> list[int]:
        """Numbers of the facts of a relation and a category; "" takes all of them."""
        return [number for number, (one, label) in enumerate(zip(self.questions, self.categories, strict=True))
                if relation in ("", one.fact.relation) and category in ("", label)]


def browse(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, facts: Sequence[Fact], labelled: pd.DataFrame,
           prompts: Mapping[str, Sequence[Prompt]], *, each: int = 2, temperatures: Sequence[float] = GRID,
           seed: int = 0, progress: bool = True) -> Browse:
    """Draw ``each`` facts for every relation and category, and look at them; row i of ``labelled`` is about facts[i].

    ``prompts`` are the ten of each relation (:func:`.slick.draw_prompts`); none of ``facts`` may stand in
    them. A category with fewer facts in a relation gives what it has.

    Raises:
        CourseError: ``labelled`` is not about ``facts``, a relation has no prompts, or none was drawn.
    """
    from tqdm.auto import tqdm

    groups = _drawn(facts, labelled, each, seed)
    missing = sorted(set(groups) - set(prompts))
    if missing or not groups:
        raise CourseError(f"no prompts for {', '.join(missing)}; give those of slick.draw_prompts" if missing else
                          "no fact has a category; label some first, for example with study.labels()")
    measured: list[OneQuestion] = []
    for relation, group in tqdm(groups.items(), desc="measuring facts", unit="relation", disable=not progress):
        measured += measure(model, tokenizer, [fact for fact, _ in group], prompts[relation], temperatures=temperatures)
    labels = tuple(label for group in groups.values() for _, label in group)
    return Browse(tuple(measured), labels, {relation: prompts[relation] for relation in groups})


def _drawn(facts: Sequence[Fact], labelled: pd.DataFrame, each: int, seed: int) -> dict[str, list[tuple[Fact, str]]]:
    """Relation -> facts with their category, the best known first."""
    if len(facts) != len(labelled):
        raise CourseError(f"{len(facts)} facts and {len(labelled)} labelled rows: give the rows of these facts alone, "
                          f"for example those of split 'train'")
    pools: dict[str, dict[str, list[Fact]]] = {}
    for fact, label in zip(facts, labelled["category"].astype(str), strict=True):
        if label in CATEGORIES:  # a fact that could not be asked has none
            pools.setdefault(fact.relation, {name: [] for name in CATEGORIES})[label].append(fact)
    return {relation: [(fact, name) for name, pool in groups.items()
                       for fact in random.Random(f"{seed} {relation} {name}").sample(pool, min(each, len(pool)))]
            for relation, groups in pools.items()}


def relation_name(relation: str) -> str:
    """A relation in a list: "P19: Where was ... born?"."""
    question = QUESTIONS.get(relation, "").replace("[E]", "...")
    return f"{relation}: {question}" if question else relation


def asked_text(found: Browse, fact: int, prompt: int) -> str:
    """The text that the model read, prompt number ``prompt`` (from 1) with the question, and its answer.

    Raises:
        CourseError: the prompts of this relation are not known, or there are fewer.
    """
    one = found.questions[fact]
    prompts = found.prompts.get(one.fact.relation, ())
    if not 1 <= prompt <= min(len(prompts), len(one.answers)):
        raise CourseError(f"prompt {prompt} of {one.fact.relation}: there are {len(prompts)}; give browse() the "
                          f"prompts of every relation")
    mark = "right" if one.right[prompt - 1] else f"wrong; right is {one.fact.object}"
    text = prompts[prompt - 1].text(one.fact.question)
    return f"Prompt {prompt} of {len(prompts)}:\n{text} >>> {one.answers[prompt - 1]} ({mark})"
