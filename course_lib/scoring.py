"""The exact probability that a causal model gives an answer, and whether greedy decoding gives it: no sampling.

For an answer of tokens t_1 ... t_n after a prompt x, sampled at temperature T among the k best tokens,

    P(answer | x) = prod_i P_T,k(t_i | x, t_<i) * sum over e in E of P_T,k(e | x, t_1..n),

where E is the set of tokens that end an answer: end of text, and every token that begins with a newline. One
teacher-forced pass gives all factors (Hayes et al. 2024, arXiv 2410.19482). Greedy decoding is right exactly when
each t_i, and then some e, is the most likely token. Gekhman et al. 2024 (arXiv 2405.05904, App. C) sample
instead: 17 generations for each of 10 prompts.

What is exact: the probability of the *canonical* tokens of the answer. A sampler may also spell the same text with
other tokens, so the value is a lower bound; for common tokenizers the gap is small. Greedy bits have no such gap:
where greedy decoding leaves the canonical tokens but not the text, it is followed to its end.

Shapes: Q questions, P prompts, B rows of a batch, T tokens, V vocabulary.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from course_lib.facts import Fact
from course_lib.files import CourseError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["INSTRUCTION", "Encoded", "Prompt", "Scores", "encode_answers", "exact_match", "few_shot_prompt", "is_match",
           "score"]

TEMPERATURE, TOP_K = 0.5, 40  # paper, App. C


@dataclass(frozen=True, slots=True)
class Prompt:
    """Text before a question: ``prefix`` is the same for many questions, ``template`` holds ``{question}``.

    Answers follow after one space.
    """

    prefix: str
    template: str = "Q: {question}\nA:"

    def text(self, question: str) -> str:
        """The whole prompt for one question."""
        return self.prefix + self.template.format(question=question)


INSTRUCTION = Prompt("Answer the following question.\n", "{question}")  # paper, App. E: the fine-tuning input


def few_shot_prompt(exemplars: Sequence[Fact]) -> Prompt:
    """The paper's ``Q: ... / A: ...`` prompt (App. C) with these solved examples in front."""
    return Prompt("".join(f"Q: {fact.question}\nA: {fact.object}\n" for fact in exemplars))


def is_match(generated: str, answer: str) -> bool:
    """Exact match of the first line, spaces at its ends aside: "Paris" is not "Parish"."""
    return generated.split("\n")[0].strip() == answer


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


@dataclass(frozen=True, slots=True)
class _Path:
    """Tokens to force from ``start`` on, then any token of ``ends``, for the cell (question, prompt)."""

    cell: tuple[int, int]
    tokens: tuple[int, ...]
    start: int
    ends: tuple[int, ...]
    answer: str


def score(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, facts: Sequence[Fact], prompts: Sequence[Prompt],
          *, temperature: float | None = TEMPERATURE, top_k: int = TOP_K, batch_tokens: int = 4096) -> Scores:
    """Score the gold answer of every fact after every prompt.

    The shared prefix of a prompt is computed once; rows of similar length go together, at most ``batch_tokens``
    tokens a batch. ``top_k=0`` keeps the whole vocabulary; ``temperature=None`` finds the greedy bits alone. The
    model is put in evaluation mode for the pass.

    Raises:
        CourseError: the model's own generation settings would change the distribution.
    """
    import torch

    refuse_changed_distribution(model)
    shape = (len(facts), len(prompts))
    scores = Scores(np.zeros(shape, bool), np.full(shape, -np.inf), np.full(shape, np.inf))
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            for column, prompt in enumerate(prompts):
                paths = _paths(tokenizer, model, prompt, facts, column)
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
               "min_length": 0, "min_new_tokens": None, "forced_eos_token_id": None, "forced_bos_token_id": None}
    for name, value in neutral.items():
        found = getattr(config, name, None)
        if found is not None and found != value:
            raise CourseError(f"generation_config.{name} = {found} changes what the model answers; set "
                              f"model.generation_config.{name} = {value} before scoring, and say so in your report")


# ---------------------------------------------------------------- tokens


@dataclass(frozen=True, slots=True)
class Encoded:
    """A prompt and its answer as tokens; the answer begins at ``start``."""

    tokens: tuple[int, ...]
    start: int


def encode_answers(tokenizer: PreTrainedTokenizerBase, prompt: Prompt, facts: Sequence[Fact]) -> list[Encoded]:
    """Prompt and gold answer of every fact, without an end token.

    Where the last token of a prompt melts with the answer, the answer starts at the first token that differs.
    """
    texts = [prompt.text(fact.question) for fact in facts]
    whole = _encode(tokenizer, [f"{text} {fact.object}" for text, fact in zip(texts, facts, strict=True)])
    return [Encoded(tuple(after), _common(before, after))
            for before, after in zip(_encode(tokenizer, texts), whole, strict=True)]


def _encode(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    """Tokens of texts that go on: with a beginning-of-text token where the tokenizer adds one, without an end."""
    return [ids[:-1] if ids and ids[-1] == tokenizer.eos_token_id else ids for ids in tokenizer(texts)["input_ids"]]


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    length = min(len(first), len(second))
    return next((i for i in range(length) if first[i] != second[i]), length)


@functools.lru_cache(maxsize=8)
def _strings(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The text that each token adds after other text (a first token may lose its leading space when decoded alone)."""
    anchor = tokenizer("a", add_special_tokens=False)["input_ids"]
    before = len(tokenizer.decode(anchor))
    return [tokenizer.decode([*anchor, token])[before:] for token in range(len(tokenizer))]


@functools.lru_cache(maxsize=512)
def _tokens_beginning(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[int, ...]:
    return tuple(token for token, string in enumerate(_strings(tokenizer)) if string.startswith(text))


def _end_tokens(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> tuple[int, ...]:
    """End of text (the tokenizer's and the model's) and every token that begins with a newline."""
    declared = getattr(model.generation_config, "eos_token_id", None)
    stops = {tokenizer.eos_token_id, *(declared if isinstance(declared, list | tuple) else [declared])} - {None}
    return tuple(sorted(stops | set(_tokens_beginning(tokenizer, "\n"))))


def _paths(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, prompt: Prompt, facts: Sequence[Fact],
           column: int) -> list[_Path]:
    """The ways to write each answer: its tokens and an end; and, where they melt with a newline, the melted form."""
    encoded = encode_answers(tokenizer, prompt, facts)
    ended = _encode(tokenizer, [f"{prompt.text(fact.question)} {fact.object}\n" for fact in facts])
    ends, paths = _end_tokens(tokenizer, model), []
    for row, (fact, gold) in enumerate(zip(facts, encoded, strict=True)):
        paths.append(_Path((row, column), gold.tokens, gold.start, ends, fact.object))
        kept = _common(gold.tokens, ended[row])
        if kept < len(gold.tokens):
            rest = tokenizer.decode(gold.tokens)[len(tokenizer.decode(gold.tokens[:kept])):]
            melted = _tokens_beginning(tokenizer, rest + "\n")
            paths.append(_Path((row, column), gold.tokens[:kept], min(gold.start, kept), melted, fact.object))
    return paths


# ---------------------------------------------------------------- the pass


def _score_paths(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, paths: list[_Path], scores: Scores,
                 temperature: float | None, top_k: int, batch_tokens: int) -> None:
    """Score all paths of one prompt and add them to ``scores``."""
    if not paths:
        return
    shared = min(min(path.start for path in paths) - 1,
                 min(_common(paths[0].tokens, path.tokens) for path in paths))
    cache = _prefill(model, paths[0].tokens[:shared]) if shared > 0 else None
    for batch in _batches(paths, max(shared, 0), batch_tokens):
        steps = _steps(model, tokenizer, batch, max(shared, 0), cache)
        _add_greedy(model, tokenizer, scores, batch, steps)
        if temperature is not None:
            _add_probability(scores, batch, steps, temperature, top_k)


def _batches(paths: list[_Path], shared: int, batch_tokens: int) -> Iterator[list[_Path]]:
    """Rows of similar length together, longest first, at most ``batch_tokens`` tokens with their padding."""
    ordered = sorted(paths, key=lambda path: -len(path.tokens))
    while ordered:
        size = max(1, batch_tokens // max(1, len(ordered[0].tokens) - shared))
        yield ordered[:size]
        ordered = ordered[size:]


def _prefill(model: PreTrainedModel, tokens: Sequence[int]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Keys and values of the shared prefix: one (1, heads, T, head size) pair a layer."""
    import torch

    out = model(input_ids=torch.tensor([list(tokens)], device=model.device), use_cache=True, logits_to_keep=1)
    return [(layer.keys, layer.values) for layer in out.past_key_values.layers]


@dataclass(frozen=True, slots=True)
class _Steps:
    """The steps of a batch one after another, N = sum of (n + 1): logits (N, V), the row of each, its forced token.

    The forced token is -1 at the last step of a row, where any of the row's ends will do.
    """

    logits: torch.Tensor
    row: torch.Tensor
    forced: torch.Tensor


def _steps(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, batch: list[_Path], shared: int,
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


def _add_greedy(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, scores: Scores, batch: list[_Path],
                steps: _Steps) -> None:
    """Compare the most likely token of every step with the forced one, and keep the smallest margin of each row."""
    top = steps.logits.topk(2, dim=-1)
    best, forced = top.indices[:, 0].tolist(), steps.forced.tolist()
    margin = (top.values[:, 0] - top.values[:, 1]).tolist()
    position = 0
    for path in batch:
        count = len(path.tokens) - path.start + 1
        chosen, wanted = best[position:position + count], forced[position:position + count - 1]
        scores.margin[path.cell] = min(scores.margin[path.cell], *margin[position:position + count])
        position += count
        same = _common(chosen, wanted)
        if same == len(wanted) and chosen[-1] in path.ends:
            scores.greedy[path.cell] = True
        elif not scores.greedy[path.cell]:
            tokens = [*path.tokens[:path.start + same], chosen[same]]
            scores.greedy[path.cell] = _follow_greedy(model, tokenizer, tokens, path)


def _add_probability(scores: Scores, batch: list[_Path], steps: _Steps, temperature: float, top_k: int) -> None:
    """Add the probability of every path of the batch to its cell."""
    import torch

    log_p = _sampling_log_softmax(steps.logits, temperature, top_k)
    inner = steps.forced >= 0
    total = torch.zeros(len(batch), dtype=torch.float64, device=log_p.device)
    total.index_add_(0, steps.row[inner], log_p[inner].gather(1, steps.forced[inner, None])[:, 0].double())
    last = log_p[~inner]  # one a row, in the order of the rows
    for ends in {path.ends for path in batch}:
        rows = torch.tensor([row for row, path in enumerate(batch) if path.ends == ends], device=log_p.device)
        total[rows] += last[rows][:, torch.tensor(ends, device=log_p.device)].logsumexp(-1)
    for path, value in zip(batch, total.tolist(), strict=True):
        scores.log_probability[path.cell] = np.logaddexp(scores.log_probability[path.cell], value)


def _sampling_log_softmax(logits: torch.Tensor, temperature: float, top_k: int) -> torch.Tensor:
    """Log-probabilities as transformers samples: temperature first, then top-k with ties kept."""
    logits = logits / temperature
    if 0 < top_k < logits.shape[-1]:
        weakest = logits.topk(top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < weakest, float("-inf"))
    return logits.log_softmax(-1)


def _follow_greedy(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tokens: list[int], path: _Path) -> bool:
    """Go on decoding greedily as long as the text can still become the answer: other tokens may spell it too."""
    import torch

    stops = set(_end_tokens(tokenizer, model))
    while True:
        ended = tokens[-1] in stops
        text = "".join(_strings(tokenizer)[token] for token in tokens[path.start:len(tokens) - ended])
        if ended or "\n" in text:
            return is_match(text, path.answer)
        if not (path.answer.startswith(text.lstrip().rstrip("\ufffd")) or text.strip() == path.answer):
            return False
        logits = model(input_ids=torch.tensor([tokens], device=model.device), use_cache=False, logits_to_keep=1).logits
        tokens = [*tokens, int(logits[0, -1].argmax())]
