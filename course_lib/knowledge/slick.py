"""SliCK: what a model knows, in four categories (Gekhman et al. 2024, arXiv 2405.05904, section 3).

P_Correct(q, a; T) is the share of right answers over 10 random four-shot prompts at temperature T.

    HighlyKnown   P(T=0) = 1                    every greedy answer right
    MaybeKnown    0 < P(T=0) < 1                some greedy answers right
    WeaklyKnown   P(T=0) = 0 and P(T>0) > 0     no greedy answer right, at least one sample right
    Unknown       P(T=0) = 0 and P(T>0) = 0     nothing right

The paper draws 16 samples a prompt at T=0.5, top-k 40. Here :mod:`.engine` computes the probability p_i of
a right sample exactly, so the number of right samples is a binomial draw and each category has a probability:
where no greedy answer is right, P(Unknown) = prod_i (1 - p_i)^16 and P(WeaklyKnown) is the rest. The first two
categories are certain. Two honest sampling runs give a fact different labels with probability 1 - sum_c P(c)^2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from course_lib.data.facts import Fact
from course_lib.files import CourseError
from course_lib.knowledge.measure import draw_prompts, measure, sample
from course_lib.knowledge.scoring.engine import TEMPERATURE, TOP_K
from course_lib.knowledge.scoring.prompts import Prompt
from course_lib.knowledge.scoring.sampling import Samples
from course_lib.knowledge.scoring.scores import Scores

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# three names are those of course_lib.knowledge.measure, which belong to the use of this module
__all__ = ["CATEGORIES", "categorize", "draw_prompts", "label", "label_samples", "measure", "sample", "shares",
           "shares_by_budget", "tabulate"]

CATEGORIES = ("HighlyKnown", "MaybeKnown", "WeaklyKnown", "Unknown")


def label(scores: Scores, *, n_samples: int = 16, seed: int | Sequence[int] = 0) -> pd.DataFrame:
    """From scores (Q, P) to one row a question.

    Columns: ``p_greedy`` = P_Correct at T=0; ``p_sampled`` = the expected P_Correct at the temperature of the scores;
    ``prob_HighlyKnown`` ... ``prob_Unknown`` under the paper's protocol; ``disagreement`` = the chance that two
    sampling runs give different labels; ``category`` = the most likely one; ``drawn`` = one seeded draw of the
    protocol, which is what a sampling run would have said; ``problem`` = why a question has no label, else "".
    """
    p = np.clip(np.exp(np.nan_to_num(scores.log_probability, nan=-np.inf)), 0, 1)
    hits = np.random.default_rng(seed).binomial(n_samples, p).sum(1)
    with np.errstate(divide="ignore"):
        missed = np.exp(n_samples * np.log1p(-p).sum(1))
    all_right, any_right = scores.greedy.all(1), scores.greedy.any(1)
    probability = np.stack([all_right, any_right & ~all_right, ~any_right * (1 - missed), ~any_right * missed], axis=1)
    drawn = np.where(any_right, np.argmax(probability, axis=1), np.where(hits > 0, 2, 3))
    return _frame(scores, p.mean(1), probability.astype(float), np.argmax(probability, axis=1), drawn)


def label_samples(samples: Samples) -> pd.DataFrame:
    """From drawn samples (Q, P) to the columns of :func:`label`: what was seen, without probabilities."""
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
    frame["disagreement"] = 1 - (probability**2).sum(1)
    frame.loc[bad, :] = np.nan
    for name, codes in (("category", category), ("drawn", drawn)):
        frame[name] = pd.Categorical.from_codes(np.where(bad, -1, codes), CATEGORIES, ordered=True)
    return frame.assign(problem=problem)


def categorize(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, facts: Sequence[Fact],
               exemplars: Sequence[Fact] | Mapping[str, list[Prompt]], *, method: str = "exact", n_prompts: int = 10,
               shots: int = 4, n_samples: int = 16, temperature: float = TEMPERATURE, top_k: int = TOP_K,
               top_p: float = 1.0, accepted: Callable[[Fact], Sequence[str]] | None = None, seed: int = 0,
               batch_tokens: int | None = None, progress: bool = False) -> pd.DataFrame:
    """Measure what the model knows of ``facts``: one row a fact, in the order of ``facts``.

    ``exemplars`` are development facts to draw the prompts from, or prompts by relation. ``method="sample"`` draws
    1 + ``n_samples`` answers a prompt with ``generate``, as the paper does: some hundred times slower, and without
    probabilities. Columns: relation, subject, object, question, and those of :func:`label`.

    Raises:
        CourseError: there are no facts, no relation of ``facts`` has exemplars, or the method is another.
    """
    if not facts:
        raise CourseError("categorize: no facts were given; pass at least one, for example facts.test")
    prompts = exemplars if isinstance(exemplars, Mapping) else draw_prompts(
        exemplars, n_prompts=n_prompts, shots=shots, seed=seed)
    missing = sorted({fact.relation for fact in facts} - set(prompts))
    if len(missing) == len({fact.relation for fact in facts}):
        raise CourseError(f"no exemplars for {', '.join(missing)}; give development facts of these relations")
    settings = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "accepted": accepted, "progress": progress}
    if method == "exact":
        scores = measure(model, tokenizer, facts, prompts, batch_tokens=batch_tokens, **settings)
        labels = label(scores, n_samples=n_samples, seed=seed)
    elif method == "sample":
        labels = label_samples(sample(model, tokenizer, facts, prompts, n_samples=n_samples, seed=seed, **settings))
    else:
        raise CourseError(f"method {method!r}: use 'exact' or 'sample'")
    return _about(facts).join(labels)


def tabulate(facts: Sequence[Fact], scores: Scores) -> pd.DataFrame:
    """The table of :func:`categorize` from the scores of :func:`measure`, with the paper's samples and seed 0."""
    return _about(facts).join(label(scores))


def _about(facts: Sequence[Fact]) -> pd.DataFrame:
    import pandas as pd

    about = pd.DataFrame({name: [getattr(fact, name) for fact in facts] for name in ("relation", "subject", "object")})
    return about.assign(question=[_question(fact) for fact in facts])


def _question(fact: Fact) -> str:
    """The question; "" where the relation has none, which its row names as a problem."""
    try:
        return fact.question
    except CourseError:
        return ""


def shares(frame: pd.DataFrame, *, column: str = "category") -> dict[str, float]:
    """Category -> fraction of the labelled rows of :func:`categorize`."""
    counts = frame[column].value_counts(normalize=True)
    return {name: float(counts.get(name, 0.0)) for name in CATEGORIES}


def shares_by_budget(scores: Scores, *, prompts: Sequence[int] = (1, 2, 5, 10),
                     samples: Sequence[int] = (1, 4, 16, 64)) -> pd.DataFrame:
    """Expected shares of the four categories when fewer prompts, or other numbers of samples, are taken.

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
        missed = _symmetric(np.where(greedy, 0.0, (1 - p) ** n))
        for m in prompts:
            ways = math.comb(width, m)
            every = np.array([math.comb(g, m) for g in hits]) / ways
            none = np.array([math.comb(width - g, m) for g in hits]) / ways
            unknown = missed[:, m] / ways
            parts = (every, np.maximum(1 - every - none, 0), none - unknown, unknown)  # no -0.0 from rounding
            rows.append({"prompts": m, "samples": n} | {
                name: float(part.mean()) for name, part in zip(CATEGORIES, parts, strict=True)})
    return pd.DataFrame(rows).sort_values(["prompts", "samples"], ignore_index=True)


def _symmetric(values: np.ndarray) -> np.ndarray:
    """Elementary symmetric polynomials e_0 ... e_P of the columns of ``values`` (Q, P); shape (Q, P + 1)."""
    found = np.zeros((len(values), values.shape[1] + 1))
    found[:, 0] = 1
    for column in values.T:
        found[:, 1:] = found[:, 1:] + found[:, :-1] * column[:, None]
    return found
