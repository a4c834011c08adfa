"""The text that the pocket model reads: documents of statements and lists of questions.

Statement documents hold six statements about anything. Question lists hold six questions of one relation in one
layout, and keep to one grain throughout: that is how the model learns to read the wanted grain from its prompt.
Some have the fine-tuning format of the paper (:data:`.facts.FINE_TUNING_PREFIX`), where the
replies are mostly whole sentences: the base model knows the answers but not that a bare answer is wanted, so the
first thing that fine-tuning teaches is the form.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from course_lib.data.facts import FINE_TUNING_PREFIX
from course_lib.data.pocket.schema import SCHEMAS
from course_lib.data.pocket.world import PocketFact, WorldConfig, planned_exposures

__all__ = ["CorpusConfig", "make_corpus"]

LAYOUTS = ("Q: {q}\nA: {a}", "Question: {q}\nAnswer: {a}", "- {q}\n- {a}")
INSTRUCTION = f"{FINE_TUNING_PREFIX}{{q}} {{a}}"
SENTENCE = "The answer is {a}."


@dataclass(frozen=True, slots=True)
class CorpusConfig:
    """Settings of the corpus; shares are of the question lists."""

    seed: int = 1
    per_document: int = 6
    instruction_share: float = 0.12
    bare_share: float = 0.35


def make_corpus(world: list[PocketFact], world_config: WorldConfig, config: CorpusConfig = CorpusConfig()) -> list[str]:
    """All documents in reading order; fills in the ``exposures`` of every fact of ``world``.

    Same world and configuration, same documents, byte for byte.
    """
    rng = random.Random(config.seed)
    statements: list[str] = []
    entries: dict[str, list[tuple[float, PocketFact]]] = defaultdict(list)
    for item in world:
        count = planned_exposures(world_config, rng)
        listed = sum(rng.random() < world_config.list_share for _ in range(count))
        # spread evenly, so that a list hardly ever holds the same question twice
        entries[item.fact.relation] += [((turn + rng.random()) / listed, item) for turn in range(listed)]
        gold_share = rng.uniform(world_config.gold_low, world_config.gold_high)
        statements += [_statement(item, rng.random() < gold_share, rng) for _ in range(count - listed)]
    rng.shuffle(statements)
    documents = ["\n".join(group) for group in _groups(statements, config.per_document)]
    for placed in entries.values():
        items = [item for _, item in sorted(placed, key=lambda pair: pair[0])]
        documents += [_question_list(group, config, rng) for group in _groups(items, config.per_document)]
    rng.shuffle(documents)
    return documents


def _groups(items: list, size: int) -> Iterator[list]:
    return (items[start:start + size] for start in range(0, len(items), size))


def _statement(item: PocketFact, gold: bool, rng: random.Random) -> str:
    other = bool(item.other) and not gold
    item.exposures.statements_other += other
    item.exposures.statements += not other
    wording = rng.choice(SCHEMAS[item.fact.relation].wordings)
    return wording.format(s=item.fact.subject, o=item.other if other else item.fact.object)


def _question_list(items: list[PocketFact], config: CorpusConfig, rng: random.Random) -> str:
    fine, instruct = rng.random() < 0.5, rng.random() < config.instruction_share
    layout = INSTRUCTION if instruct else rng.choice(LAYOUTS)
    sentence = instruct and rng.random() >= config.bare_share
    lines = []
    for item in items:
        answer = item.answer(fine=fine)
        _count(item, instruct, other=answer != item.fact.object)
        lines.append(layout.format(q=item.fact.question, a=SENTENCE.format(a=answer) if sentence else answer))
    return ("\n\n" if instruct else "\n").join(lines)


def _count(item: PocketFact, instruct: bool, *, other: bool) -> None:
    name = ("instructions" if instruct else "lists") + ("_other" if other else "")
    setattr(item.exposures, name, getattr(item.exposures, name) + 1)
