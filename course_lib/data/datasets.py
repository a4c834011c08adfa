"""The data sets that the course knows by name, and the questions behind ``--data``.

A second data set is one more line of :data:`DATASETS`, and ``Preset.facts`` names the one that goes with a model. Its
relations need a template in :data:`.facts.QUESTIONS`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from course_lib.data import entityquestions, paper
from course_lib.data.facts import IN_DISTRIBUTION, OUT_OF_DISTRIBUTION, QUESTIONS, SPLITS, Fact, FactSet
from course_lib.data.pocket import world
from course_lib.data.questions import KINDS, Question, QuestionSet, read_file
from course_lib.files import CourseError, DataError

__all__ = ["DATASETS", "DEFAULT", "Dataset", "load_questions"]

DEFAULT = "entityquestions"  # the data set of a model that no preset names


@dataclass(frozen=True, slots=True)
class Dataset:
    """Facts in the splits of the paper.

    ``load`` reads them; that of a data set which is not ``shipped`` may be given a folder or a .zip of it. ``sizes``
    are the facts of each split, known before anything is read or downloaded. ``relations`` belong to train, dev and
    test, ``ood_relations`` to ood.
    """

    name: str
    load: Callable[..., FactSet]
    sizes: Mapping[str, int]
    relations: tuple[str, ...] = IN_DISTRIBUTION
    ood_relations: tuple[str, ...] = OUT_OF_DISTRIBUTION
    shipped: bool = False


DATASETS: dict[str, Dataset] = {dataset.name: dataset for dataset in (
    Dataset("pocket", world.load, world.sizes(), shipped=True),
    Dataset("entityquestions", entityquestions.load, {
        "train": paper.TRAIN_TOTAL.total, "dev": paper.DEV_QUESTIONS, "test": paper.TEST_TOTAL.total,
        "ood": paper.OOD_TOTAL.total}),
)}


def load_questions(data: str | Path | None = None, *, default: str = DEFAULT, split: str = "test",
                   relations: str = "paper") -> QuestionSet:
    """The questions behind ``--data``.

    Args:
        data: the name of a data set; a folder or .zip of EntityQuestions; your own .jsonl, .json or .csv file; or None
            for the data set ``default``.
        split: train, dev, test or ood; your own file has none.
        relations: "paper" for the relations and the one-answer questions of the paper's split; "all" for every
            question of the split's files in all 24 relations, where each of several answers counts as right. In the
            pocket world "all" adds the out-of-distribution relations.

    Raises:
        CourseError: the data cannot be read, has no question, or there is no such split; the message says which.
    """
    if split not in SPLITS or relations not in ("paper", "all") or (split == "ood" and relations == "all"):
        raise CourseError(f"split {split!r} of {relations!r} relations: take train, dev, test or ood of 'paper', or "
                          f"train, dev or test of 'all'")
    if data is not None and Path(data).suffix.lower() in KINDS:
        if split != "test":
            raise CourseError(f"{data}: a file of your own has no split {split!r}; leave it out")
        return read_file(data)
    dataset = DATASETS.get(default if data is None else str(data))
    if dataset and dataset.shipped:
        return _of_fact_set(dataset.load(), split, ood=relations == "all")
    if data is not None and os.path.isfile(data) and Path(data).suffix.lower() != ".zip":
        raise DataError(f"{data}: not a kind of file that is known; give {', '.join(KINDS)}, a folder or a .zip")
    source = None if dataset else data
    if relations == "all":
        return _of_all_relations(source, split)
    return _of_fact_set((dataset or DATASETS[DEFAULT]).load(source), split)


def _of_fact_set(facts: FactSet, split: str, *, ood: bool = False) -> QuestionSet:
    more = {"test": facts.ood, "dev": facts.ood_dev}.get(split, ()) if ood else ()
    chosen = _numbered((*getattr(facts, split), *more))
    if not chosen:
        raise DataError(f"{facts.name}: the split {split} is empty; take another")
    name = f"{facts.name} {split}" + (" and ood" if more else "")
    return QuestionSet(name, f"{name} {{row}}", chosen, _numbered(facts.exemplars), shared=split == "dev")


def _numbered(facts: Iterable[Fact]) -> tuple[Question, ...]:
    return tuple(Question(fact.question, fact.object, fact.relation, fact.subject, row=row)
                 for row, fact in enumerate(facts, 1))


def _of_all_relations(source: str | Path | None, split: str) -> QuestionSet:
    records = entityquestions.read_records(source, splits=(split, "dev"))

    def questions(split: str) -> Iterator[Question]:
        for relation, template in QUESTIONS.items():
            for row, record in enumerate(records[split, relation], 1):
                gold, *others = dict.fromkeys(record.answers)
                yield Question(template.replace("[E]", record.subject), gold, relation, record.subject, tuple(others),
                               row)

    exemplars = tuple(question for question in questions("dev") if not question.aliases)  # as in the paper
    return QuestionSet(f"entityquestions {split}, all relations", f"{{relation}}.{split}.json record {{row}}",
                       tuple(questions(split)), exemplars, shared=split == "dev")
