"""A small model that has read some of the real EntityQuestions: a stand-in for real weights on the real-data track.

A Llama of 1.5 million weights and a tokenizer of its own are pre-trained on the facts of the first look (600 training
questions and what goes with them), with the pocket world's corpus and training: statements, question lists in the form
of the few-shot prompts, and lists in the form of the fine-tuning rows. A fifth of the facts is never read, the others
6 to 192 times. An answer of several words is read cut to its first word too, as people shorten names, and a question
list keeps to one of the two forms: so the prompt decides about some answers, and all four categories appear. Made in
three minutes on one core::

    COURSE_DATA=... python tests/support/entity_model.py build/entity-model
"""

import os
import sys
from pathlib import Path

from course_lib.data import entityquestions
from course_lib.data.facts import FactSet
from course_lib.data.pocket.build import save_model
from course_lib.data.pocket.corpus import CorpusConfig, make_corpus
from course_lib.data.pocket.pretrain import PretrainConfig, pretrain, rows_of, train_tokenizer
from course_lib.data.pocket.world import PocketFact, WorldConfig
from course_lib.experiments.settings import FIRST_LOOK, draw_facts

__all__ = ["READING", "SHAPE", "build", "documents_of"]

READING = WorldConfig(never_read=0.2, fewest=6, most=192, list_share=0.6, gold_low=0.6, gold_high=0.9)
TEXTS = CorpusConfig(seed=1, instruction_share=0.12, bare_share=0.5)
SHAPE = PretrainConfig(seed=2, vocabulary=3072, hidden=192, intermediate=512, layers=2, heads=3, batch=4, lr=3e-3)


def documents_of(facts: FactSet) -> list[str]:
    """The texts about these facts, in reading order; ``ood_dev``, which only gives examples, is not read."""
    world = [PocketFact(fact, split, other=_shortened(fact.object))
             for split in ("train", "dev", "test", "ood") for fact in getattr(facts, split)]
    return make_corpus(world, READING, TEXTS)


def _shortened(answer: str) -> str:
    """The first of several words; "" where there is one alone."""
    first, _, rest = answer.partition(" ")
    return first if rest else ""


def build(folder: str | Path, data: str | Path | None = None, *, progress: bool = False) -> Path:
    """Write the model and its tokenizer to ``folder``, as ``save_pretrained`` does; returns the folder."""
    documents = documents_of(draw_facts(entityquestions.load(data, progress=progress), FIRST_LOOK))
    tokenizer = train_tokenizer(documents, SHAPE)
    rows = rows_of(documents, tokenizer, SHAPE.length)
    model = pretrain(rows, tokenizer, SHAPE, progress=progress)
    save_model(model, Path(folder))
    tokenizer.save_pretrained(folder)
    return Path(folder)


if __name__ == "__main__":
    print(build(sys.argv[1], os.environ.get("COURSE_DATA"), progress=True))
