"""SliCK: what a model knows, in four categories (Gekhman et al. 2024, arXiv 2405.05904, section 3).

P_Correct(q, a; T) is the share of right answers over 10 random four-shot prompts at temperature T.

    HighlyKnown   P(T=0) = 1                    every greedy answer right
    MaybeKnown    0 < P(T=0) < 1                some greedy answers right
    WeaklyKnown   P(T=0) = 0 and P(T>0) > 0     no greedy answer right, at least one sample right
    Unknown       P(T=0) = 0 and P(T>0) = 0     nothing right

The paper draws 16 samples a prompt at T=0.5, top-k 40. Here :mod:`course_lib.scoring` computes the probability p_i of
a right sample exactly, so the number of right samples is a binomial draw and each category has a probability:
where no greedy answer is right, P(WeaklyKnown) = 1 - prod_i (1 - p_i)^16. The first two categories are certain.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from course_lib.facts import Fact, by_relation
from course_lib.files import CourseError
from course_lib.scoring import TEMPERATURE, TOP_K, Prompt, Scores, few_shot_prompt, score

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["CATEGORIES", "categorize", "draw_prompts", "label", "shares"]

CATEGORIES = ("HighlyKnown", "MaybeKnown", "WeaklyKnown", "Unknown")


def draw_prompts(exemplars: Sequence[Fact], *, n_prompts: int = 10, shots: int = 4,
                 seed: int = 0) -> dict[str, list[Prompt]]:
    """The few-shot prompts of every relation: the same for all its questions (paper, App. C).

    Raises:
        CourseError: a relation has fewer exemplars than ``shots``, or no prompt at all is asked for.
    """
    if n_prompts < 1:
        raise CourseError(f"n_prompts = {n_prompts}: at least one prompt is needed; the paper takes 10")
    prompts = {}
    for relation, facts in by_relation(exemplars).items():
        if len(facts) < shots:
            raise CourseError(f"{relation}: {len(facts)} exemplars, {shots} are needed; add development facts of this "
                              f"relation or lower shots")
        rng = random.Random(f"{seed} {relation}")
        prompts[relation] = [few_shot_prompt(rng.sample(facts, shots)) for _ in range(n_prompts)]
    return prompts


def label(scores: Scores, *, n_samples: int = 16, seed: int | Sequence[int] = 0) -> pd.DataFrame:
    """From scores (Q, P) to one row a question.

    Columns: ``p_greedy`` = P_Correct at T=0; ``p_sampled`` = the expected P_Correct at the temperature of the scores;
    ``prob_HighlyKnown`` ... ``prob_Unknown`` under the paper's protocol; ``category`` = the most likely one;
    ``drawn`` = one seeded draw of the protocol, which is what a sampling run would have said.
    """
    import pandas as pd

    greedy, p = scores.greedy, np.exp(scores.log_probability)
    hits = np.random.default_rng(seed).binomial(n_samples, np.clip(p, 0, 1)).sum(1)
    with np.errstate(divide="ignore"):
        missed = np.exp(n_samples * np.log1p(-np.clip(p, 0, 1)).sum(1))
    all_right, any_right = greedy.all(1), greedy.any(1)
    probability = np.stack([all_right, any_right & ~all_right, ~any_right * (1 - missed), ~any_right * missed], axis=1)
    certain = np.argmax(probability, axis=1)
    drawn = np.where(any_right, certain, np.where(hits > 0, 2, 3))
    frame = pd.DataFrame({"p_greedy": greedy.mean(1), "p_sampled": p.mean(1)})
    for column, name in enumerate(CATEGORIES):
        frame[f"prob_{name}"] = probability[:, column].astype(float)
    for name, codes in (("category", certain), ("drawn", drawn)):
        frame[name] = pd.Categorical.from_codes(codes, CATEGORIES, ordered=True)
    return frame


def categorize(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, facts: Sequence[Fact],
               exemplars: Sequence[Fact] | Mapping[str, list[Prompt]], *, n_prompts: int = 10, shots: int = 4,
               n_samples: int = 16, temperature: float = TEMPERATURE, top_k: int = TOP_K, seed: int = 0,
               batch_tokens: int = 4096, progress: bool = False) -> pd.DataFrame:
    """Measure what the model knows of ``facts``: one row a fact, in the order of ``facts``.

    ``exemplars`` are development facts to draw the prompts from, or prompts by relation. Columns: relation, subject,
    object, question, and those of :func:`label`.

    Raises:
        CourseError: there are no facts, or a relation of ``facts`` has no exemplars.
    """
    import pandas as pd
    from tqdm.auto import tqdm

    if not facts:
        raise CourseError("categorize: no facts were given; pass at least one, for example facts.test")
    prompts = exemplars if isinstance(exemplars, Mapping) else draw_prompts(
        exemplars, n_prompts=n_prompts, shots=shots, seed=seed)
    index: dict[str, list[int]] = defaultdict(list)
    for row, fact in enumerate(facts):
        index[fact.relation].append(row)
    missing = sorted(set(index) - set(prompts))
    if missing:
        raise CourseError(f"no exemplars for {', '.join(missing)}; give development facts of these relations")
    parts = []
    bar = tqdm(index.items(), desc="what it knows", unit="relation", disable=not progress)
    for number, (relation, rows) in enumerate(bar):
        scores = score(model, tokenizer, [facts[i] for i in rows], prompts[relation], temperature=temperature,
                       top_k=top_k, batch_tokens=batch_tokens)
        parts.append(label(scores, n_samples=n_samples, seed=[seed, number]).set_index(pd.Index(rows)))
    about = pd.DataFrame({name: [getattr(fact, name) for fact in facts]
                          for name in ("relation", "subject", "object", "question")})
    return about.join(pd.concat(parts).sort_index())


def shares(frame: pd.DataFrame, *, column: str = "category") -> dict[str, float]:
    """Category -> fraction of the rows of :func:`categorize`."""
    counts = frame[column].value_counts(normalize=True)
    return {name: float(counts.get(name, 0.0)) for name in CATEGORIES}
