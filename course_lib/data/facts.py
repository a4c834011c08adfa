"""Facts as (subject, relation, object), their questions, and the splits of a data set.

One relation has one question template, so a fact *is* its question and answer: (Paris Hilton, P19, New York City) is
"Where was Paris Hilton born?" - "New York City". The relations are those of EntityQuestions (:mod:`.entityquestions`),
named as in Wikidata; the pocket world asks the same questions of invented subjects.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from course_lib.files import DataError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FINE_TUNING_PREFIX", "IN_DISTRIBUTION", "MAX_LENGTH", "OUT_OF_DISTRIBUTION", "QUESTIONS", "RELATION_NAMES",
           "SPLITS", "Fact", "FactSet", "by_relation"]

# In the order of the paper's tables (App. A), so that our tables can be compared row by row.
IN_DISTRIBUTION = ("P131", "P136", "P17", "P19", "P26", "P264", "P36", "P40", "P495", "P69", "P740", "P800")
OUT_OF_DISTRIBUTION = ("P127", "P50", "P407", "P176", "P170", "P175", "P112")

# Wikidata property -> (short name, question); [E] stands for the subject. The last five relations are in no split of
# the paper, which dropped them as too near to one of the twelve; their test subjects still filter the training set.
_RELATIONS = {
    "P131": ("administrative location", "Where is [E] located?"),
    "P136": ("genre", "What type of music does [E] play?"),
    "P17": ("country", "Which country is [E] located in?"),
    "P19": ("place of birth", "Where was [E] born?"),
    "P26": ("spouse", "Who is [E] married to?"),
    "P264": ("record label", "What music label is [E] represented by?"),
    "P36": ("capital", "What is the capital of [E]?"),
    "P40": ("child", "Who is [E]'s child?"),
    "P495": ("country of origin", "Which country was [E] created in?"),
    "P69": ("place of education", "Where was [E] educated?"),
    "P740": ("place founded", "Where was [E] founded?"),
    "P800": ("notable work", "What is [E] famous for?"),
    "P127": ("owner", "Who owns [E]?"),
    "P50": ("author", "Who is the author of [E]?"),
    "P407": ("language of work", "Which language was [E] written in?"),
    "P176": ("manufacturer", "Which company is [E] produced by?"),
    "P170": ("creator", "Who was [E] created by?"),
    "P175": ("performer", "Who performed [E]?"),
    "P112": ("founder", "Who founded [E]?"),
    "P106": ("occupation", "What kind of work does [E] do?"),
    "P159": ("headquarters", "Where is the headquarter of [E]?"),
    "P20": ("place of death", "Where did [E] die?"),
    "P276": ("location", "Where is [E] located?"),
    "P413": ("playing position", "What position does [E] play?"),
}
RELATION_NAMES: dict[str, str] = {relation: name for relation, (name, _) in _RELATIONS.items()}
QUESTIONS: dict[str, str] = {relation: question for relation, (_, question) in _RELATIONS.items()}

SPLITS = ("train", "dev", "test", "ood")
MAX_LENGTH = 32_000  # characters of a question or an answer: some 8,192 tokens, the longest text our models read
FINE_TUNING_PREFIX = "Answer the following question.\n"  # before the question of a training row (paper, App. E)


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact: ``subject`` and ``object`` are names as text, ``relation`` is a Wikidata property such as "P19"."""

    subject: str
    relation: str
    object: str

    @property
    def question(self) -> str:
        """The relation's template with the subject filled in.

        Raises:
            DataError: the relation has no template in ``QUESTIONS``.
        """
        if self.relation not in QUESTIONS:
            raise DataError(f"relation {self.relation!r} has no question; add one to course_lib.data.facts.QUESTIONS")
        return QUESTIONS[self.relation].replace("[E]", self.subject)


def by_relation(facts: Iterable[Fact]) -> dict[str, list[Fact]]:
    """Facts of each relation, in the order they come; a relation without facts is absent."""
    groups: dict[str, list[Fact]] = {}
    for fact in facts:
        groups.setdefault(fact.relation, []).append(fact)
    return groups


@dataclass(frozen=True, slots=True)
class FactSet:
    """The facts of one data set, split: train, dev and test share their relations, ``ood`` tests other relations.

    ``ood_dev`` are development facts of the ``ood`` relations; they serve as few-shot exemplars alone.
    """

    name: str
    train: tuple[Fact, ...]
    dev: tuple[Fact, ...]
    test: tuple[Fact, ...]
    ood: tuple[Fact, ...]
    ood_dev: tuple[Fact, ...] = ()

    @property
    def exemplars(self) -> tuple[Fact, ...]:
        """The development facts of all relations, to draw few-shot prompts from (paper, App. C)."""
        return self.dev + self.ood_dev

    def totals(self) -> dict[str, int]:
        """Number of facts in each split: keys train, dev, test, ood."""
        return {split: len(getattr(self, split)) for split in SPLITS}

    def summary(self) -> pd.DataFrame:
        """Number of facts, one row per relation; columns relation, question, train, dev, test, ood."""
        import pandas as pd

        groups = {split: by_relation(getattr(self, split)) for split in SPLITS}
        relations = dict.fromkeys(relation for group in groups.values() for relation in group)
        rows = [{"relation": relation, "question": QUESTIONS.get(relation, "")}
                | {split: len(groups[split].get(relation, [])) for split in SPLITS} for relation in relations]
        return pd.DataFrame(rows, columns=["relation", "question", *SPLITS])
