"""What is measured: models with their questions and prompts.

Two kinds: a preset of the course with the facts that belong to it, and a model with random weights in the shape of a
published one. Random weights cost the same seconds as trained ones and need no download, but they know nothing and
never end a line; there, every rival writes exactly as many tokens as an average right answer has, with its end.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.rivals import longest_answer, mean_answer
from course_lib.data import pocket
from course_lib.data.facts import Fact, FactSet, by_relation
from course_lib.files import CourseError
from course_lib.knowledge import slick
from course_lib.knowledge.scoring.prompts import Prompt
from course_lib.models import hardware, memory
from course_lib.models.loading import load
from course_lib.models.presets import POCKET_MODEL

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["SHAPES", "Part", "Subject", "count_of", "of_preset", "of_shape", "parts_of", "shortened", "tell",
           "widened_tokenizer", "window"]

SHAPES = {name.lower(): shape for name, shape in memory.SHAPES.items()}
RELATION = "P69"  # where somebody studied: in the pocket world its answers are of average length, 3 tokens


def tell(text: str) -> None:
    """Progress goes to stderr."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True)
class Part:
    """Questions of one relation and the prompts that they share; ``rows`` are their numbers among all questions."""

    facts: tuple[Fact, ...]
    prompts: tuple[Prompt, ...]
    rows: tuple[int, ...]


def count_of(parts: Sequence[Part]) -> int:
    """How many questions there are."""
    return sum(len(part.facts) for part in parts)


def window(parts: Sequence[Part], count: int, number: int) -> list[Part]:
    """The ``number``-th group of at most ``count`` questions, shared out over the parts; at the end from the start."""
    chosen = []
    for part in parts[:count]:
        size = min(len(part.facts), count // min(count, len(parts)))
        at = [(number * size + i) % len(part.facts) for i in range(size)]
        chosen.append(Part(tuple(part.facts[i] for i in at), part.prompts, tuple(part.rows[i] for i in at)))
    return chosen


def parts_of(facts: FactSet, *, questions: int | None = None, relations: Sequence[str] = (RELATION,), prompts: int = 10,
             seed: int = 0) -> tuple[Part, ...]:
    """Seeded questions of each relation, test and training facts alike, and its prompts.

    Raises:
        CourseError: there is no such relation.
    """
    grouped, drawn, start, parts = by_relation([*facts.test, *facts.train]), slick.draw_prompts(facts.exemplars), 0, []
    for relation in relations:
        if relation not in grouped:
            raise CourseError(f"{relation}: {facts.name} asks no such question; take one of {', '.join(grouped)}")
        known = grouped[relation]
        some = random.Random(f"{seed} {relation}").sample(
            known, len(known) if questions is None else min(len(known), max(1, questions // len(relations))))
        parts.append(Part(tuple(some), tuple(drawn[relation][:prompts]), tuple(range(start, start + len(some)))))
        start += len(some)
    return tuple(parts)


@dataclass(frozen=True, slots=True)
class Subject:
    """A model to measure. ``max_tokens``: the most that a rival writes as an answer, with its end."""

    name: str
    about: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    parts: tuple[Part, ...]
    max_tokens: int


def shortened(subject: Subject, questions: int) -> Subject:
    """The same subject with at most so many questions, the first of each part."""
    import dataclasses

    parts, start = [], 0
    for part in window(subject.parts, questions, 0):
        parts.append(dataclasses.replace(part, rows=tuple(range(start, start + len(part.facts)))))
        start += len(part.facts)
    return dataclasses.replace(subject, parts=tuple(parts))


def of_preset(name: str, facts: FactSet, *, questions: int | None = None) -> Subject:
    """A preset as the course loads it: in NF4, and ``questions`` of all relations of its test set (default: all).

    Measure it under ``merged_for_evaluation``, as the course does.
    """
    loaded = load(name)
    parts = parts_of(facts, questions=questions, relations=tuple(by_relation(facts.test)))
    asked = [fact for part in parts for fact in part.facts]
    about = f"the {loaded.preset} preset as the course loads it (4 bits; on a CPU merged for evaluation)"
    return Subject(loaded.preset, about, loaded.model, loaded.tokenizer, parts, longest_answer(loaded.tokenizer, asked))


def widened_tokenizer(size: int) -> PreTrainedTokenizerBase:
    """The pocket tokenizer with ``size`` tokens: the new ones have a text each, but no text is ever split into them.

    Without a text for each token, what a random model writes would read as nothing at all.
    """
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    own = AutoTokenizer.from_pretrained(POCKET_MODEL)
    description = json.loads(own.backend_tokenizer.to_str())
    description["model"]["vocab"] |= {f"~{number}": number for number in range(len(own), size)}  # no merge makes them
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(description)),
                                   eos_token=own.eos_token, pad_token=own.pad_token, clean_up_tokenization_spaces=False)


def of_shape(name: str, *, questions: int, prompts: int = 10, seed: int = 0) -> Subject:
    """A model with random weights in the shape ``name``; questions of one relation, tokenizer of the pocket preset.

    Raises:
        CourseError: no such shape is known.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from benchmarks.counted import config_of

    if name not in SHAPES:
        raise CourseError(f"shape {name}: not known; give one of {', '.join(SHAPES)}, or none")
    tokenizer = widened_tokenizer(SHAPES[name].vocabulary)
    device = hardware.device()
    dtype = hardware.device_dtype(device)
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config_of(SHAPES[name], tokenizer)).to(device, getattr(torch, dtype))
    parts = parts_of(pocket.load(), questions=questions, prompts=prompts)
    length = mean_answer(tokenizer, parts[0].facts)
    about = (f"a model of the shape of {name} with random weights in {dtype}; pocket questions and the pocket "
             f"tokenizer, its vocabulary filled up to the size of the model's; random weights end no line, so rivals "
             f"write {length} tokens each, as many as an average right answer has")
    return Subject(f"{name}-shape", about, model.eval().requires_grad_(False), tokenizer, parts, length)
