"""One model, the same prompts and questions: exact scoring and its rivals in turn.

Every rival gets its best batch size first. Then ours and the rivals run in turn, ours before and after each, so that
a machine that slows down shows as a spread. A question costs a rival the same however many there are, so a slow one
is timed on fewer. What a rival computes once a prompt is timed apart and shared out over all questions, as for ours.

    ratio = (median seconds a question of the rival) / (median seconds a question of ours)
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks import rivals, timing
from benchmarks.agreement import Agreement, label_agreement, remark
from benchmarks.subjects import Part, Subject, count_of, tell, window
from course_lib.knowledge import slick
from course_lib.knowledge.scoring.engine import score
from course_lib.knowledge.scoring.scores import Scores

__all__ = ["Comparison", "Entrant", "Plan", "Row", "compare", "entrants", "exact"]


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to measure: ``rounds`` of about ``seconds`` for each rival; ``search`` seconds for a batch size."""

    rounds: int = 2
    seconds: float = 60.0
    search: float = 40.0


@dataclass(frozen=True, slots=True)
class Entrant:
    """A rival. ``prepare()`` is done once for all questions; ``run(part, prepared, batch, seed)`` for some.

    ``by_prompt``: its batches hold questions of one prompt; else they hold any questions and prompts.
    """

    name: str
    title: str
    run: Callable[[Part, Any, int, int], rivals.Sampled | rivals.Likelihoods]
    prepare: Callable[[], Any]
    by_prompt: bool = False


def entrants(subject: Subject) -> list[Entrant]:
    """All rivals that can run here, bound to the model. One that is not installed is left out, and that is said."""
    from benchmarks import cached

    both = (subject.model, subject.tokenizer)
    prompts = [prompt for part in subject.parts for prompt in part.prompts]

    def paper(part: Part, _: Any, batch: int, seed: int) -> rivals.Sampled:
        return rivals.paper_protocol(*both, part.facts, part.prompts, batch=batch,
                                     protocol=rivals.Protocol(subject.max_tokens, seed=seed))

    def cached_in(layout: str) -> Callable[[Part, Any, int, int], rivals.Sampled]:
        return lambda part, prefixes, batch, seed: cached.cached_sampling(
            *both, part.facts, part.prompts, batch=batch, prefixes=prefixes, layout=layout,
            protocol=rivals.Protocol(subject.max_tokens, seed=seed))

    def prefill() -> Any:
        return cached.prefill(*both, prompts)

    def likelihoods(part: Part, harness: Any, batch: int, _: int) -> rivals.Likelihoods:
        return rivals.log_likelihoods(harness, part.facts, part.prompts, batch=batch)

    found = [Entrant("sampling", "the paper's protocol by `generate`", paper, lambda: None),
             Entrant("cached_sampling", "sampling from caches, a row a sample", cached_in("rows"), prefill, True),
             Entrant("tree_sampling", "sampling from caches, tree attention", cached_in("tree"), prefill, True)]
    if not rivals.has_lm_eval():
        tell(rivals.LM_EVAL_MISSING)
        return found
    harness = rivals.lm_eval_harness(*both)  # neither loading nor setting up is part of any measurement
    return [*found, Entrant("lm_eval", "lm-evaluation-harness, log-likelihoods", likelihoods, lambda: harness)]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table, all but ``ratio`` and ``filler`` a question.

    ``positions``: token positions that went through the layers; ``filler``: the share of them that was padding;
    ``output_rows``: positions that the output layer was applied to; ``remark``: agreement in words.
    """

    name: str
    title: str
    questions: int
    batch: int | None
    seconds: float
    spread: float
    ratio: float
    positions: float
    filler: float
    output_rows: float
    remark: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was measured on one model; ``batches``: rival -> batch size -> seconds an item."""

    subject: str
    about: str
    questions: int
    prompts: int
    max_tokens: int
    rows: tuple[Row, ...]
    labels: Agreement
    batches: dict[str, dict[int, float]]

    def ratio(self, *names: str) -> float | None:
        """How many times our seconds the fastest of these rivals needs; None where none of them ran."""
        return min((row.ratio for row in self.rows if row.name in names), default=None)


def exact(subject: Subject, parts: Sequence[Part]) -> Scores:
    """Ours: the scores of all questions, part after part."""
    found = [score(subject.model, subject.tokenizer, part.facts, part.prompts) for part in parts]
    return Scores(*(np.concatenate([getattr(scores, name) for scores in found])
                    for name in ("greedy", "log_probability", "margin")))


@dataclass(slots=True)
class _Lane:
    """A rival on its way: its settings, and what each round gave."""

    entrant: Entrant
    prepared: Any
    once: float
    batch: timing.Batch
    questions: int
    seconds: list[float]
    found: list[Any]
    rows: list[int]
    traffic: timing.Traffic


def compare(subject: Subject, plan: Plan) -> Comparison:
    """Measure ours and all rivals."""
    tell(f"{subject.name}: ours, {count_of(subject.parts)} questions")
    ours = _Ours(subject, exact(subject, subject.parts))  # this pass also warms the machine up
    lanes = [_tune(subject, plan, entrant) for entrant in entrants(subject)]
    for number in range(plan.rounds):
        for lane in lanes:
            ours.go()
            tell(f"{subject.name}: {ours.seconds[-1]:.3g} s a question; round {number + 1} of {plan.rounds}: "
                 f"{lane.entrant.title}, {lane.questions} questions")
            _go(subject, lane, number)
    ours.go()
    sampled = lanes[0]
    labels = [name for found in sampled.found for name in found.labels()]
    frame = slick.label(ours.scores).iloc[sampled.rows]
    base = statistics.median(ours.seconds)
    return Comparison(subject.name, subject.about, count_of(subject.parts), len(subject.parts[0].prompts),
                      subject.max_tokens, (ours.row(), *(_row(lane, ours.scores, base) for lane in lanes)),
                      label_agreement(frame, labels), {lane.entrant.name: lane.batch.tried for lane in lanes})


class _Ours:
    """Exact scoring of all questions, timed again and again."""

    def __init__(self, subject: Subject, scores: Scores) -> None:
        self.subject, self.scores, self.count = subject, scores, count_of(subject.parts)
        self.seconds: list[float] = []
        self.traffic = timing.Traffic()

    def go(self) -> None:
        """Once more. What passes through the model is counted, since it is for the rivals too."""
        with timing.count_traffic(self.subject.model, _fillers(self.subject)) as self.traffic:
            run = timing.timed(self.subject.model.device, lambda: exact(self.subject, self.subject.parts))
        self.seconds.append(run.seconds / self.count)

    def row(self) -> Row:
        traffic = self.traffic
        return Row("ours", "exact (this course)", self.count, None, statistics.median(self.seconds),
                   timing.spread(self.seconds), 1.0, traffic.positions / self.count,
                   traffic.filler / traffic.positions, traffic.output_rows / self.count, "")


def _fillers(subject: Subject) -> set[int]:
    """Tokens that pad: all methods here take one of these, and few-shot prompts hardly ever hold them."""
    return {0, subject.tokenizer.pad_token_id, subject.tokenizer.eos_token_id} - {None}


def _tune(subject: Subject, plan: Plan, entrant: Entrant) -> _Lane:
    """Find a rival's best batch size on pieces of the first part, and how many questions fit into its time."""
    device, first = subject.model.device, subject.parts[0]
    once = timing.timed(device, entrant.prepare)
    wide = 1 if entrant.by_prompt else len(first.prompts)

    def seconds_an_item(size: int) -> float:
        piece = Part(first.facts[:-(-size // wide)], first.prompts[:min(wide, size)], ())
        run = timing.timed(device, lambda: entrant.run(piece, once.value, size, 0))
        if run.seconds < plan.search / 20:  # a short one again: the first of a new size may be slow
            run = timing.timed(device, lambda: entrant.run(piece, once.value, size, 0))
        return run.seconds / (len(piece.facts) * len(piece.prompts))

    batch = timing.best_batch(seconds_an_item, largest=len(first.facts) * wide, budget=plan.search)
    a_question = batch.tried[batch.size] * len(first.prompts)
    questions = int(min(count_of(subject.parts), max(1, plan.seconds / a_question)))
    tell(f"{subject.name}: {entrant.title}: batch {batch.size}, about {a_question:.3g} s a question")
    return _Lane(entrant, once.value, once.seconds / count_of(subject.parts), batch, questions, [], [], [],
                 timing.Traffic())


def _go(subject: Subject, lane: _Lane, number: int) -> None:
    """One round of a rival: each round asks other questions, where there are enough."""
    parts = window(subject.parts, lane.questions, number)
    with timing.count_traffic(subject.model, _fillers(subject)) as traffic:
        run = timing.timed(subject.model.device, lambda: [
            lane.entrant.run(part, lane.prepared, lane.batch.size, number) for part in parts])
    lane.seconds.append(run.seconds / count_of(parts) + lane.once)
    lane.found.extend(run.value)
    lane.rows.extend(row for part in parts for row in part.rows)
    lane.traffic.add(traffic)


def _row(lane: _Lane, scores: Scores, base: float) -> Row:
    """The line of a rival, over all its rounds."""
    seconds, asked, traffic = statistics.median(lane.seconds), len(lane.rows), lane.traffic
    ours = Scores(scores.greedy[lane.rows], scores.log_probability[lane.rows], scores.margin[lane.rows])
    return Row(lane.entrant.name, lane.entrant.title, asked, lane.batch.size, seconds, timing.spread(lane.seconds),
               seconds / base, traffic.positions / asked, traffic.filler / traffic.positions,
               traffic.output_rows / asked, remark(ours, rivals.joined(lane.found)))
