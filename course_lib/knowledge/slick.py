"""SliCK: what a model knows, in four categories (Gekhman et al. 2024, arXiv 2405.05904, section 3).

P_Correct(q, a; T) is the share of right answers over 10 random four-shot prompts at temperature T.

    HighlyKnown   P(T=0) = 1                    every greedy answer right
    MaybeKnown    0 < P(T=0) < 1                some greedy answers right
    WeaklyKnown   P(T=0) = 0 and P(T>0) > 0     no greedy answer right, at least one sample right
    Unknown       P(T=0) = 0 and P(T>0) = 0     nothing right

The paper draws 16 samples a prompt at T=0.5, top-k 40. Here :mod:`.engine` computes the probability p_i of
a right sample exactly, so the number of right samples is a binomial draw and each category has a probability:
where no greedy answer is right, P(Unknown) = prod_i (1 - p_i)^16 and P(WeaklyKnown) is the rest. The first two
categories are certain. Two independent sampling runs label a fact differently with probability 1 - sum_c P(c)^2.

All questions of a relation share their prompts, so that none gets an easier set, and a fact never stands among its own
solved examples. A question that cannot be asked (no answer, too few examples) is named; the others are asked.

Shapes: Q questions, P prompts.
"""

from __future__ import annotations

import functools
import math
import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from course_lib.data.facts import Fact, by_relation
from course_lib.data.paper import CATEGORIES
from course_lib.files import CourseError
from course_lib.knowledge.scoring import sampling
from course_lib.knowledge.scoring.engine import TEMPERATURE, TOP_K, score
from course_lib.knowledge.scoring.prompts import Prompt, few_shot_prompt
from course_lib.knowledge.scoring.sampling import Samples
from course_lib.knowledge.scoring.scores import Cells, Scores

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["categorize", "draw_prompts", "label", "label_samples", "measure", "sample", "shares",
           "shares_by_budget", "tabulate"]

AnyCells = TypeVar("AnyCells", bound=Cells)


def categorize(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, facts: Sequence[Fact],
               exemplars: Sequence[Fact] | Mapping[str, list[Prompt]], *, method: str = "exact", n_prompts: int = 10,
               shots: int = 4, n_samples: int = 16, temperature: float = TEMPERATURE, top_k: int = TOP_K,
               top_p: float = 1.0, accepted: Callable[[Fact], Sequence[str]] | None = None, seed: int = 0,
               batch_tokens: int | None = None, progress: bool = False) -> pd.DataFrame:
    """Label what the model knows of ``facts``: one row a fact, in the order of ``facts``.

    ``exemplars`` are development facts to draw the prompts from, or prompts by relation. ``method="sample"`` draws
    1 + ``n_samples`` answers a prompt with ``generate``, as the paper does: some hundred times slower, and without
    probabilities. Columns: relation, subject, object, question, and those of :func:`label`.

    Raises:
        CourseError: there are no facts, no relation of ``facts`` has exemplars, or there is no such method.
    """
    if not facts:
        raise CourseError("categorize: no facts were given; pass at least one, for example facts.test")
    prompts = exemplars if isinstance(exemplars, Mapping) else draw_prompts(
        exemplars, n_prompts=n_prompts, shots=shots, seed=seed)
    relations = {fact.relation for fact in facts}
    if not relations & set(prompts):
        raise CourseError(f"no exemplars for {', '.join(sorted(relations))}; give development facts of these relations")
    settings = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "accepted": accepted, "progress": progress}
    if method == "exact":
        scores = measure(model, tokenizer, facts, prompts, batch_tokens=batch_tokens, **settings)
        labels = label(scores, n_samples=n_samples, seed=seed)
    elif method == "sample":
        labels = label_samples(sample(model, tokenizer, facts, prompts, n_samples=n_samples, seed=seed, **settings))
    else:
        raise CourseError(f"method {method!r}: use 'exact' or 'sample'")
    return _about(facts).join(labels)


def draw_prompts(exemplars: Sequence[Fact], *, n_prompts: int = 10, shots: int = 4,
                 seed: int = 0) -> dict[str, list[Prompt]]:
    """Draw the few-shot prompts of every relation: the same for all its questions (paper, App. C).

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
            prompts: Mapping[str, Sequence[Prompt]], *, temperature: float | None = TEMPERATURE, top_k: int = TOP_K,
            top_p: float = 1.0, accepted: Callable[[Fact], Sequence[str]] | None = None,
            batch_tokens: int | None = None, progress: bool = False) -> Scores:
    """Score every fact after the prompts of its relation; rows in the order of ``facts``.

    A fact never stands among its own solved examples: there, the prompt's spare example takes its place. The sampling
    distribution is the paper's; a top-p stored with the model is left out unless it is asked for here. What cannot be
    scored (no answer, too few examples, a text that is not encodable) is named in ``Scores.problems``, the rest is
    scored. ``temperature=None`` computes only whether the greedy answers match.

    Raises:
        CourseError: the numbers of prompts differ between relations, or see :func:`.engine.score`.
    """
    ask = functools.partial(score, model, tokenizer, temperature=temperature, top_k=top_k, top_p=top_p,
                            accepted=accepted, batch_tokens=batch_tokens)
    return _fill(Scores.empty(len(facts), _width(prompts)), ask, facts, prompts, progress=progress)


def sample(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, facts: Sequence[Fact],
           prompts: Mapping[str, Sequence[Prompt]], *, n_samples: int = 16, temperature: float = TEMPERATURE,
           top_k: int = TOP_K, top_p: float = 1.0, accepted: Callable[[Fact], Sequence[str]] | None = None,
           batch_questions: int = 8, seed: int = 0, progress: bool = False) -> Samples:
    """Estimate what :func:`measure` computes by ``n_samples`` draws a prompt: the paper's protocol."""
    ask = functools.partial(sampling.sample, model, tokenizer, n_samples=n_samples, temperature=temperature,
                            top_k=top_k, top_p=top_p, accepted=accepted, batch_questions=batch_questions, seed=seed)
    return _fill(Samples.empty(len(facts), _width(prompts), n_samples), ask, facts, prompts, progress=progress)


def _width(prompts: Mapping[str, Sequence[Prompt]]) -> int:
    """Number of prompts P, which is the same for every relation."""
    widths = {len(group) for group in prompts.values()} or {0}
    if len(widths) > 1:
        raise CourseError(f"relations have {min(widths)} to {max(widths)} prompts; give each the same number")
    return widths.pop()


def _fill(found: AnyCells, ask: Callable[[Sequence[Fact], Sequence[Prompt]], AnyCells], facts: Sequence[Fact],
          prompts: Mapping[str, Sequence[Prompt]], *, progress: bool) -> AnyCells:
    """Fill ``found`` (Q, P) relation by relation; questions that cannot be asked are named and left out."""
    from tqdm.auto import tqdm

    groups: dict[str, list[int]] = defaultdict(list)
    for row, fact in enumerate(facts):
        if complaint := _complaint(fact, prompts):
            found.reject(row, complaint)
        else:
            groups[fact.relation].append(row)
    with tqdm(total=len(facts), desc="what it knows", unit="question", disable=not progress) as bar:
        for relation, rows in groups.items():
            asked = [facts[row] for row in rows]
            found.put(rows, ask(asked, prompts[relation]))  # all P columns
            _without_own_examples(found, ask, asked, prompts[relation], rows)
            bar.update(len(rows))
    return found


def _without_own_examples(found: AnyCells, ask: Callable[[Sequence[Fact], Sequence[Prompt]], AnyCells],
                          facts: Sequence[Fact], prompts: Sequence[Prompt], rows: Sequence[int]) -> None:
    """Ask every fact again that is among its own examples, with the spare one in its place."""
    where = defaultdict(set)
    for column, prompt in enumerate(prompts):
        for example in prompt.solved:
            where[example.question].add(column)
    for row, fact in zip(rows, facts, strict=True):
        columns = sorted(where.get(fact.question, ()))
        others = [_without(fact, prompts[column]) for column in columns]
        if None in others:
            found.reject(row, f"{fact.relation}: this fact is one of its own solved examples and no other is left; "
                              f"{len(prompts[columns[0]].solved) + 1} exemplars are needed")
        elif columns and row not in found.problems:
            found.put([row], ask([fact], others), columns=columns)


def _complaint(fact: Fact, prompts: Mapping[str, Sequence[Prompt]]) -> str:
    """Reason why this fact cannot be asked at all; "" if it can."""
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


def _without(fact: Fact, prompt: Prompt) -> Prompt | None:
    """The prompt with its spare example in the place of ``fact``; None where there is none."""
    if prompt.spare is None or prompt.spare.question == fact.question:
        return None
    return few_shot_prompt([prompt.spare if example.question == fact.question else example
                            for example in prompt.solved])


def label(scores: Scores, *, n_samples: int = 16, seed: int | Sequence[int] = 0) -> pd.DataFrame:
    """Label each question from scores (Q, P): one row a question.

    Columns: ``p_greedy`` = P_Correct at T=0; ``p_sampled`` = the expected P_Correct at the temperature of the scores;
    ``prob_HighlyKnown`` ... ``prob_Unknown`` under the paper's protocol; ``disagreement`` = the chance that two
    sampling runs give different labels; ``category`` = the most likely one; ``drawn`` = one seeded draw of the
    protocol, which is what a sampling run would have said; ``problem`` = why a question has no label, else "".
    """
    p = np.clip(np.exp(np.nan_to_num(scores.log_probability, nan=-np.inf)), 0, 1)  # p_i, (Q, P)
    hits = np.random.default_rng(seed).binomial(n_samples, p).sum(1)  # right samples of one drawn protocol, (Q,)
    with np.errstate(divide="ignore"):
        missed = np.exp(n_samples * np.log1p(-p).sum(1))  # prod_i (1 - p_i)^n, (Q,)
    all_right, any_right = scores.greedy.all(1), scores.greedy.any(1)
    # the four inequalities, in the order of CATEGORIES, (Q, 4)
    probability = np.stack([all_right, any_right & ~all_right, ~any_right * (1 - missed), ~any_right * missed], axis=1)
    drawn = np.where(any_right, np.argmax(probability, axis=1), np.where(hits > 0, 2, 3))
    return _frame(scores, p.mean(1), probability.astype(float), np.argmax(probability, axis=1), drawn)


def label_samples(samples: Samples) -> pd.DataFrame:
    """Label each question from drawn samples (Q, P): the columns of :func:`label`, without probabilities."""
    any_right, some = samples.greedy.any(1), samples.hits.sum(1) > 0
    seen = np.where(samples.greedy.all(1), 0, np.where(any_right, 1, np.where(some, 2, 3)))
    rate = samples.hits.mean(1) / max(1, samples.n_samples)
    return _frame(samples, rate, np.full((len(seen), 4), np.nan), seen, seen)


def _frame(found: Scores | Samples, p_sampled: np.ndarray, probability: np.ndarray, category: np.ndarray,
           drawn: np.ndarray) -> pd.DataFrame:
    import pandas as pd

    problem = np.array([found.problems.get(row, "") for row in range(len(category))], dtype=object)
    bad = problem != ""
    frame = pd.DataFrame({"p_greedy": found.greedy.mean(1), "p_sampled": p_sampled})
    for column, name in enumerate(CATEGORIES):
        frame[f"prob_{name}"] = probability[:, column]
    frame["disagreement"] = 1 - (probability**2).sum(1)  # 1 - sum_c P(c)^2
    frame.loc[bad, :] = np.nan
    for name, codes in (("category", category), ("drawn", drawn)):
        frame[name] = pd.Categorical.from_codes(np.where(bad, -1, codes), CATEGORIES, ordered=True)
    return frame.assign(problem=problem)


def tabulate(facts: Sequence[Fact], scores: Scores) -> pd.DataFrame:
    """Make the table of :func:`categorize` from the scores of :func:`measure`, with the paper's samples and seed 0."""
    return _about(facts).join(label(scores))


def _about(facts: Sequence[Fact]) -> pd.DataFrame:
    import pandas as pd

    def question(fact: Fact) -> str:
        try:
            return fact.question
        except CourseError:  # the relation has none, which its row names as a problem
            return ""

    about = pd.DataFrame({name: [getattr(fact, name) for fact in facts] for name in ("relation", "subject", "object")})
    return about.assign(question=[question(fact) for fact in facts])


def shares(frame: pd.DataFrame) -> dict[str, float]:
    """Fraction of each category among the labelled rows of :func:`categorize`."""
    counts = frame["category"].value_counts(normalize=True)
    return {name: float(counts.get(name, 0.0)) for name in CATEGORIES}


def shares_by_budget(scores: Scores, *, prompts: Sequence[int] = (1, 2, 5, 10),
                     samples: Sequence[int] = (1, 4, 16, 64)) -> pd.DataFrame:
    """Expected shares of the four categories with fewer prompts, or other numbers of samples.

    Of the P prompts of the scores, m are chosen at random. With g greedy hits the chance that all m are hits is
    C(g, m) / C(P, m), that none is C(P - g, m) / C(P, m), and that all samples miss as well is the elementary
    symmetric polynomial e_m of the (1 - p_i)^n over the prompts without a hit, divided by C(P, m). Exact, no draws.

    Columns: prompts, samples and the categories, one row a pair. Questions with a problem do not count.

    Raises:
        CourseError: more prompts than the scores have.
    """
    import pandas as pd

    ok = [row for row in range(len(scores.greedy)) if row not in scores.problems]
    greedy, p = scores.greedy[ok], np.clip(np.exp(scores.log_probability[ok]), 0, 1)
    width, hits = greedy.shape[1], greedy.sum(1)
    if max(prompts) > width or min(prompts) < 1:
        raise CourseError(f"prompts = {tuple(prompts)}: the scores have {width}; take 1 to {width}")
    rows = []
    for n in samples:
        missed = _symmetric(np.where(greedy, 0.0, (1 - p) ** n))  # e_0 ... e_P, (Q, P + 1)
        for m in prompts:
            ways = math.comb(width, m)
            every = np.array([math.comb(g, m) for g in hits]) / ways  # C(g, m) / C(P, m)
            none = np.array([math.comb(width - g, m) for g in hits]) / ways  # C(P - g, m) / C(P, m)
            unknown = missed[:, m] / ways  # e_m / C(P, m)
            parts = (every, np.maximum(1 - every - none, 0), none - unknown, unknown)  # no -0.0 from rounding
            rows.append({"prompts": m, "samples": n} | {
                name: float(part.mean()) for name, part in zip(CATEGORIES, parts, strict=True)})
    return pd.DataFrame(rows).sort_values(["prompts", "samples"], ignore_index=True)


def _symmetric(values: np.ndarray) -> np.ndarray:
    """Elementary symmetric polynomials e_0 ... e_P of the columns of ``values`` (Q, P); shape (Q, P + 1)."""
    found = np.zeros((len(values), values.shape[1] + 1))
    found[:, 0] = 1
    for column in values.T:  # e_k of one value more is e_k + e_(k-1) x
        found[:, 1:] = found[:, 1:] + found[:, :-1] * column[:, None]
    return found
