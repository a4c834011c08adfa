"""The exact probability that a causal model gives an answer, and whether greedy decoding gives it: no sampling.

For an answer of tokens t_1 ... t_n after a prompt x, sampled at temperature T among the k best tokens,

    P(answer | x) = prod_i P_T,k(t_i | x, t_<i) * sum over e in E of P_T,k(e | x, t_1..n),

where E is the set of tokens that end an answer: end of text, and every token that begins with a newline. One
teacher-forced pass gives all factors (Hayes et al. 2024, arXiv 2410.19482). Greedy decoding is right exactly when
each t_i, and then some e, is the most likely token. Gekhman et al. 2024 (arXiv 2405.05904, App. C) sample
instead: 17 generations for each of 10 prompts.

What is exact: the probability of the *canonical* tokens of the answer. A sampler may also spell the same text with
other tokens, so the value is a lower bound; for common tokenizers the gap is small. Greedy bits have no such gap:
where greedy decoding leaves the canonical tokens but not the text, it is followed to its end. They are what
``generate(do_sample=False)`` writes after the prompt, special tokens skipped.

Shapes: Q questions, P prompts, B rows of a batch, T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from course_lib.answers import (
    INSTRUCTION,
    Encoded,
    Prompt,
    Spelling,
    common_length,
    encode_answers,
    few_shot_prompt,
    is_match,
    spellings,
)
from course_lib.facts import Fact
from course_lib.files import CourseError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# the first names are those of course_lib.answers, which belong to the use of this module
__all__ = ["INSTRUCTION", "Encoded", "Prompt", "Scores", "encode_answers", "exact_match", "few_shot_prompt", "is_match",
           "score"]

TEMPERATURE, TOP_K = 0.5, 40  # paper, App. C
SLACK = 32  # tokens beyond the bytes of an answer after which greedy decoding is taken to write spaces for ever


@dataclass(frozen=True, slots=True)
class Scores:
    """What one pass found, each of shape (Q, P).

    ``greedy``: whether the greedy answer is exactly right. ``log_probability``: natural logarithm of the exact
    probability of the answer at the temperature and top-k asked for; -inf where a token is cut off. ``margin``: the
    smallest difference between the two best logits along the answer, so that near ties can be seen.
    """

    greedy: np.ndarray
    log_probability: np.ndarray
    margin: np.ndarray


def score(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, facts: Sequence[Fact], prompts: Sequence[Prompt],
          *, temperature: float | None = TEMPERATURE, top_k: int = TOP_K, batch_tokens: int = 4096) -> Scores:
    """Score the gold answer of every fact after every prompt.

    The shared prefix of a prompt is computed once; rows of similar length go together, at most ``batch_tokens``
    tokens a batch. ``top_k=0`` keeps the whole vocabulary; ``temperature=None`` finds the greedy bits alone. The
    model is put in evaluation mode for the pass. Sampling settings stored with the model, such as Qwen's
    ``top_p=0.8``, play no part: the distribution is the one asked for here.

    Raises:
        CourseError: the model's own generation settings would change the distribution, or the temperature is not
            above 0.
    """
    import torch

    refuse_changed_distribution(model)
    if temperature is not None and not temperature > 0:
        raise CourseError(f"temperature {temperature}: it must be above 0; None finds the greedy answers alone")
    shape = (len(facts), len(prompts))
    scores = Scores(np.zeros(shape, bool), np.full(shape, -np.inf), np.full(shape, np.inf))
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            for column, prompt in enumerate(prompts):
                paths = spellings(tokenizer, model, prompt, facts, column)
                _score_paths(model, tokenizer, paths, scores, temperature, top_k, batch_tokens)
    finally:
        model.train(training)
    return scores


def exact_match(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, facts: Sequence[Fact],
                prompt: Prompt = INSTRUCTION, *, batch_tokens: int = 4096) -> np.ndarray:
    """Whether greedy decoding answers each fact exactly right after ``prompt``; shape (Q,), bool."""
    return score(model, tokenizer, facts, [prompt], temperature=None, batch_tokens=batch_tokens).greedy[:, 0]


def refuse_changed_distribution(model: PreTrainedModel) -> None:
    """Stop where ``generate`` would not sample from the model's own distribution.

    Raises:
        CourseError: for example a repetition penalty in the model's generation_config; the message names it.
    """
    config = model.generation_config
    neutral = {"repetition_penalty": 1.0, "encoder_repetition_penalty": 1.0, "no_repeat_ngram_size": 0,
               "bad_words_ids": None, "suppress_tokens": None, "begin_suppress_tokens": None, "sequence_bias": None,
               "min_length": 0, "min_new_tokens": 0, "forced_eos_token_id": None, "forced_bos_token_id": None,
               "exponential_decay_length_penalty": None, "guidance_scale": 1.0, "num_beams": 1, "stop_strings": None}
    for name, value in neutral.items():
        found = getattr(config, name, None)
        if found not in (None, value, []):
            raise CourseError(f"generation_config.{name} = {found} changes what the model answers; set "
                              f"model.generation_config.{name} = {value} before scoring, and say so in your report")


def _score_paths(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, paths: list[Spelling], scores: Scores,
                 temperature: float | None, top_k: int, batch_tokens: int) -> None:
    """Score all paths of one prompt and add them to ``scores``."""
    if not paths:
        return
    shared = min(min(path.start for path in paths) - 1,
                 min(common_length(paths[0].tokens, path.tokens) for path in paths))
    cache = _prefill(model, paths[0].tokens[:shared]) if shared > 0 else None
    for batch in _batches(paths, max(shared, 0), batch_tokens):
        steps = _steps(model, tokenizer, batch, max(shared, 0), cache)
        _add_greedy(model, tokenizer, scores, batch, steps)
        if temperature is not None:
            _add_probability(scores, batch, steps, temperature, top_k)


def _batches(paths: list[Spelling], shared: int, batch_tokens: int) -> Iterator[list[Spelling]]:
    """Rows of similar length together, longest first, at most ``batch_tokens`` tokens with their padding."""
    ordered = sorted(paths, key=lambda path: -len(path.tokens))
    while ordered:
        size = max(1, batch_tokens // max(1, len(ordered[0].tokens) - shared))
        yield ordered[:size]
        ordered = ordered[size:]


def _prefill(model: PreTrainedModel, tokens: Sequence[int]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Keys and values of the shared prefix: one (1, heads, T, head size) pair a layer."""
    import torch
    from transformers import DynamicCache

    # the model's own cache may keep only a sliding window, which is not enough to go on from
    out = model(input_ids=torch.tensor([list(tokens)], device=model.device), past_key_values=DynamicCache(),
                use_cache=True, logits_to_keep=1)
    return [(layer.keys, layer.values) for layer in out.past_key_values.layers]


@dataclass(frozen=True, slots=True)
class _Steps:
    """The steps of a batch one after another, N = sum of (n + 1): logits (N, V), the row of each, its forced token.

    The forced token is -1 at the last step of a row, where any of the row's ends will do.
    """

    logits: torch.Tensor
    row: torch.Tensor
    forced: torch.Tensor


def _steps(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, batch: list[Spelling], shared: int,
           prefix: list[tuple[torch.Tensor, torch.Tensor]] | None) -> _Steps:
    """One forward pass over the rows; padding is on the right, where the causal mask hides it from every real token."""
    import torch
    from transformers import DynamicCache

    longest, first = max(len(path.tokens) for path in batch), min(path.start for path in batch) - 1
    filler = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    ids = torch.tensor([[*path.tokens[shared:], *[filler] * (longest - len(path.tokens))] for path in batch])
    cache = None
    if prefix is not None:
        cache = DynamicCache()
        for layer, (keys, values) in enumerate(prefix):
            cache.update(keys.expand(len(batch), -1, -1, -1), values.expand(len(batch), -1, -1, -1), layer)
    keep = torch.arange(first - shared, longest - shared, device=model.device)
    out = model(input_ids=ids.to(model.device), past_key_values=cache, use_cache=cache is not None, logits_to_keep=keep)
    row = [r for r, path in enumerate(batch) for _ in range(path.start - 1, len(path.tokens))]
    at = [position - first for path in batch for position in range(path.start - 1, len(path.tokens))]
    forced = [token for path in batch for token in (*path.tokens[path.start:], -1)]
    to = {"device": model.device}
    return _Steps(out.logits[torch.tensor(row, **to), torch.tensor(at, **to)].float(), torch.tensor(row, **to),
                  torch.tensor(forced, **to))


def _add_greedy(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, scores: Scores, batch: list[Spelling],
                steps: _Steps) -> None:
    """Compare the most likely token of every step with the forced one, and keep the smallest margin of each row."""
    top = steps.logits.topk(2, dim=-1).values
    best, margin = steps.logits.argmax(-1).tolist(), (top[:, 0] - top[:, 1]).tolist()  # generate breaks ties by argmax
    position = 0
    for path in batch:
        span = slice(position, position + len(path.tokens) - path.start + 1)
        position = span.stop
        if path.prompt is None:
            continue
        scores.margin[path.cell] = min(margin[span])
        tokens = list(path.prompt)
        if path.start == len(path.prompt):
            same = common_length(best[span], path.tokens[path.start:])
            tokens = [*path.tokens[:path.start + same], best[span][same]]
        scores.greedy[path.cell] = _follow_greedy(model, tokenizer, tokens, path)


def _add_probability(scores: Scores, batch: list[Spelling], steps: _Steps, temperature: float, top_k: int) -> None:
    """Add the probability of every path of the batch to its cell."""
    import torch

    log_p = _sampling_log_softmax(steps.logits, temperature, top_k)
    inner = steps.forced >= 0
    total = torch.zeros(len(batch), dtype=torch.float64, device=log_p.device)
    total.index_add_(0, steps.row[inner], log_p[inner].gather(1, steps.forced[inner, None])[:, 0].double())
    last = log_p[~inner]  # one a row, in the order of the rows
    for ends in {path.ends for path in batch}:
        rows = torch.tensor([row for row, path in enumerate(batch) if path.ends == ends], device=log_p.device)
        known = torch.tensor([end for end in ends if end < log_p.shape[1]], dtype=torch.long, device=log_p.device)
        total[rows] += last[rows][:, known].logsumexp(-1)
    for path, value in zip(batch, total.tolist(), strict=True):
        scores.log_probability[path.cell] = np.logaddexp(scores.log_probability[path.cell], value)


def _sampling_log_softmax(logits: torch.Tensor, temperature: float, top_k: int) -> torch.Tensor:
    """Log-probabilities as transformers samples: temperature first, then top-k with ties kept."""
    logits = logits / temperature
    if 0 < top_k < logits.shape[-1]:
        weakest = logits.topk(top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < weakest, float("-inf"))
    return logits.log_softmax(-1)


def _follow_greedy(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tokens: list[int],
                   path: Spelling) -> bool:
    """Go on decoding greedily as long as the text can still become the answer: other tokens may spell it too."""
    import torch

    first = len(path.prompt)
    longest = first + len(path.answer.encode()) + SLACK
    while True:
        ended = len(tokens) > first and tokens[-1] in path.ends
        text = tokenizer.decode(tokens[first:len(tokens) - ended], skip_special_tokens=True)
        if ended or "\n" in text or len(tokens) > longest:
            return is_match(text, path.answer)
        if not _can_become(text.strip(), path.answer):
            return False
        logits = model(input_ids=torch.tensor([tokens], device=model.device), use_cache=False, logits_to_keep=1).logits
        tokens = [*tokens, int(logits[0, -1].argmax())]


def _can_become(text: str, answer: str) -> bool:
    """Whether a text may go on to be the answer; bytes that are no letter yet ("\ufffd") may still become any."""
    sure, wanted = text.split("\ufffd")[0], answer.split("\ufffd")[0]
    return answer.startswith(sure) or (wanted != answer and sure.startswith(wanted))
