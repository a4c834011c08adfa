"""Ask a model every fact after the few-shot prompts of its relation: exactly, or by sampling as the paper does.

All questions of a relation share their prompts, so that none gets an easier set, and a fact never stands among its own
solved examples. A question that cannot be asked (no answer, too few examples) is named; the others are asked.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from course_lib.data.facts import Fact, by_relation
from course_lib.files import CourseError
from course_lib.knowledge.scoring import sampling
from course_lib.knowledge.scoring.engine import TEMPERATURE, TOP_K, score
from course_lib.knowledge.scoring.prompts import Prompt, few_shot_prompt
from course_lib.knowledge.scoring.sampling import Samples
from course_lib.knowledge.scoring.scores import Cells, Scores

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["draw_prompts", "measure", "sample"]


def draw_prompts(exemplars: Sequence[Fact], *, n_prompts: int = 10, shots: int = 4,
                 seed: int = 0) -> dict[str, list[Prompt]]:
    """The few-shot prompts of every relation: the same for all its questions (paper, App. C).

    A relation with fewer exemplars than ``shots`` gets none; :func:`measure` names its questions.

    Raises:
        CourseError: no prompt at all is asked for, or no relation has enough exemplars.
    """
    if n_prompts < 1:
        raise CourseError(f"n_prompts = {n_prompts}: at least one prompt is needed; the paper takes 10")
    groups = by_relation(exemplars)
    prompts = {relation: _draw(facts, n_prompts, shots, random.Random(f"{seed} {relation}"))
               for relation, facts in groups.items() if len(facts) >= shots}
    if groups and not prompts:
        counts = ", ".join(f"{relation}: {len(facts)} exemplars" for relation, facts in groups.items())
        raise CourseError(f"{counts}, {shots} are needed; add development facts of these relations or lower shots")
    return prompts


def _draw(facts: Sequence[Fact], n_prompts: int, shots: int, rng: random.Random) -> list[Prompt]:
    drawn = [rng.sample(facts, min(shots + 1, len(facts))) for _ in range(n_prompts)]
    return [few_shot_prompt(some[:shots], spare=some[shots] if len(some) > shots else None) for some in drawn]


def measure(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, facts: Sequence[Fact],
            prompts: Mapping[str, Sequence[Prompt]], *, temperature: float = TEMPERATURE, top_k: int = TOP_K,
            top_p: float = 1.0, accepted: Callable[[Fact], Sequence[str]] | None = None,
            batch_tokens: int | None = None, progress: bool = False) -> Scores:
    """Score every fact after the prompts of its relation; rows in the order of ``facts``.

    A fact never stands among its own solved examples: there, another example of its relation takes its place. The
    sampling distribution is the paper's; a top-p that comes with the model is left out unless it is asked for here.
    What cannot be scored (no answer, too few examples, a text that the tokenizer cannot write) is named in
    ``Scores.problems``, the rest is scored.

    Raises:
        CourseError: the numbers of prompts differ between relations, or see :func:`.engine.score`.
    """
    def ask(some: Sequence[Fact], after: Sequence[Prompt]) -> Scores:
        return score(model, tokenizer, some, after, temperature=temperature, top_k=top_k, top_p=top_p,
                     accepted=accepted, batch_tokens=batch_tokens)

    scores = Scores.empty(len(facts), _width(prompts))
    _ask_all(ask, facts, prompts, scores, progress=progress)
    return scores


def sample(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, facts: Sequence[Fact],
           prompts: Mapping[str, Sequence[Prompt]], *, n_samples: int = 16, temperature: float = TEMPERATURE,
           top_k: int = TOP_K, top_p: float = 1.0, accepted: Callable[[Fact], Sequence[str]] | None = None,
           batch_questions: int = 8, seed: int = 0, progress: bool = False) -> Samples:
    """The paper's protocol: what :func:`measure` computes, estimated by ``n_samples`` draws a prompt."""
    def ask(some: Sequence[Fact], after: Sequence[Prompt]) -> Samples:
        return sampling.sample(model, tokenizer, some, after, n_samples=n_samples, temperature=temperature,
                               top_k=top_k, top_p=top_p, accepted=accepted, batch_questions=batch_questions,
                               seed=seed)

    samples = Samples.empty(len(facts), _width(prompts), n_samples)
    _ask_all(ask, facts, prompts, samples, progress=progress)
    return samples


def _width(prompts: Mapping[str, Sequence[Prompt]]) -> int:
    """The number of prompts, which is the same for every relation."""
    widths = {len(group) for group in prompts.values()} or {0}
    if len(widths) > 1:
        raise CourseError(f"relations have {min(widths)} to {max(widths)} prompts; give each the same number")
    return widths.pop()


def _ask_all(ask: Callable[[Sequence[Fact], Sequence[Prompt]], Cells], facts: Sequence[Fact],
             prompts: Mapping[str, Sequence[Prompt]], found: Cells, *, progress: bool) -> None:
    """Fill ``found``, relation by relation; where a fact is among its own examples, ask again without it."""
    for relation, rows in _groups(facts, prompts, found, progress=progress):
        asked = [facts[row] for row in rows]
        found.put(rows, ask(asked, prompts[relation]))
        for at, columns, others in _own_examples(asked, prompts[relation]):
            if None in others:
                found.reject(rows[at], f"{relation}: this fact is one of its own solved examples and no other is left; "
                                       f"{len(prompts[relation][columns[0]].solved) + 1} exemplars are needed")
            elif rows[at] not in found.problems:
                found.put([rows[at]], ask([asked[at]], others), columns=columns)


def _groups(facts: Sequence[Fact], prompts: Mapping[str, Sequence[Prompt]], found: Cells, *,
            progress: bool) -> Iterator[tuple[str, list[int]]]:
    """Numbers of the facts of each relation; those that cannot be asked are named in ``found`` and left out."""
    from tqdm.auto import tqdm

    groups: dict[str, list[int]] = defaultdict(list)
    for row, fact in enumerate(facts):
        if complaint := _complaint(fact, prompts):
            found.reject(row, complaint)
        else:
            groups[fact.relation].append(row)
    with tqdm(total=len(facts), desc="what it knows", unit="question", disable=not progress) as bar:
        for relation, rows in groups.items():
            yield relation, rows
            bar.update(len(rows))


def _complaint(fact: Fact, prompts: Mapping[str, Sequence[Prompt]]) -> str:
    """Why this fact cannot be asked at all; "" if it can."""
    if not fact.object.strip():
        return "empty answer; every fact needs one"
    if fact.object != fact.object.strip():
        return f"the answer {fact.object!r} begins or ends with a space; strip it"
    if fact.relation not in prompts:
        return f"too few exemplars for {fact.relation}; give more solved examples of this relation, or lower shots"
    try:
        return "" if fact.question.strip() else "empty question; every fact needs one"
    except CourseError as error:
        return str(error)


def _own_examples(facts: Sequence[Fact],
                  prompts: Sequence[Prompt]) -> Iterator[tuple[int, list[int], list[Prompt | None]]]:
    """(row, columns, prompts to take there instead) for every fact that stands among the examples of prompts."""
    where = defaultdict(set)
    for column, prompt in enumerate(prompts):
        for example in prompt.solved:
            where[example.question].add(column)
    for row, fact in enumerate(facts):
        if columns := sorted(where.get(fact.question, ())):
            yield row, columns, [_without(fact, prompts[column]) for column in columns]


def _without(fact: Fact, prompt: Prompt) -> Prompt | None:
    """The prompt with its spare example in the place of ``fact``; None where there is none."""
    if prompt.spare is None or prompt.spare.question == fact.question:
        return None
    return few_shot_prompt([prompt.spare if example.question == fact.question else example
                            for example in prompt.solved])
