"""What people do instead of computing P_Correct: the paper's sampling, and lm-evaluation-harness' log-likelihoods.

The paper's protocol (Gekhman et al. 2024, arXiv 2405.05904, App. C) lets the model write 1 greedy answer and 16
samples (T = 0.5, top-k 40) after each of P prompts: 17 P written answers a question. Here it is `generate` of
transformers as one would use it with care: rows sorted by length and padded on the left, stopped at the end of the
line, no token more than a right answer can need. The rivals in :mod:`benchmarks.cached` share caches as well.

lm-evaluation-harness gives log P(answer | prompt) at T = 1 in one pass a row, and whether each token of the answer is
the most likely one. It does not ask whether the answer ends there. It computes every prompt anew for every question.

Shapes: Q questions, P prompts.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from course_lib.data.facts import Fact
from course_lib.files import CourseError
from course_lib.knowledge.scoring.prompts import Prompt, encode, end_tokens, is_match, token_texts
from course_lib.knowledge.scoring.sampling import Samples
from course_lib.knowledge.slick import label_samples

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["LM_EVAL_MISSING", "Likelihoods", "Protocol", "Reader", "Sampled", "has_lm_eval", "joined",
           "lm_eval_harness", "log_likelihoods", "longest_answer", "mean_answer", "paper_protocol"]

LM_EVAL_MISSING = "lm-evaluation-harness is not installed, so it is left out; `pip install lm_eval` adds it."
SPARE = 2  # tokens beyond the longest right answer: its end, and one for another spelling


@dataclass(frozen=True, slots=True)
class Protocol:
    """How answers are written: at most ``max_tokens`` tokens each, the other settings as in the paper."""

    max_tokens: int
    n_samples: int = 16
    temperature: float = 0.5
    top_k: int = 40
    seed: int = 0


class Sampled(Samples):
    """What was written, counted, with the labels that it gives."""

    __slots__ = ()

    def labels(self) -> list[str]:
        """The category of every question."""
        return label_samples(self)["category"].tolist()


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads written tokens. ``ends``: tokens that end an answer; ``stops``: these, and any other with a newline."""

    tokenizer: PreTrainedTokenizerBase
    ends: frozenset[int]
    stops: frozenset[int]

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> Reader:
        ends = frozenset(end_tokens(tokenizer, model))
        texts = token_texts(tokenizer, len(tokenizer))
        return cls(tokenizer, ends, ends | {token for token, text in enumerate(texts) if "\n" in text})

    def count(self, written: Sequence[Sequence[int]], answer: str) -> int:
        """How many of these texts are the answer. Equal texts, which are common, are read once."""
        seen: dict[tuple[int, ...], int] = {}
        for tokens in written:
            length = next((i + 1 for i, token in enumerate(tokens) if token in self.stops), 0)
            seen[tuple(tokens[:length])] = seen.get(tuple(tokens[:length]), 0) + 1
        return sum(times for line, times in seen.items() if self._is_right(line, answer))

    def _is_right(self, line: tuple[int, ...], answer: str) -> bool:
        if not line:  # it never came to an end
            return False
        told = line[:-1] if line[-1] in self.ends else line
        return is_match(self.tokenizer.decode(told, skip_special_tokens=True), answer)


def longest_answer(tokenizer: PreTrainedTokenizerBase, facts: Sequence[Fact]) -> int:
    """Tokens that the longest right answer may need, with its end."""
    return max(map(len, _answer_tokens(tokenizer, facts))) + SPARE


def mean_answer(tokenizer: PreTrainedTokenizerBase, facts: Sequence[Fact]) -> int:
    """Tokens of an average right answer, with its end."""
    return round(float(np.mean([len(row) for row in _answer_tokens(tokenizer, facts)]))) + 1


def _answer_tokens(tokenizer: PreTrainedTokenizerBase, facts: Sequence[Fact]) -> list[list[int]]:
    return tokenizer([f" {fact.object}" for fact in facts], add_special_tokens=False)["input_ids"]


def paper_protocol(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, facts: Sequence[Fact],
                   prompts: Sequence[Prompt], *, batch: int, protocol: Protocol) -> Sampled:
    """The paper's protocol by ``generate``: ``batch`` prompts at a time, each with all its samples.

    The greedy answers are written in batches of as many rows.
    """
    import torch

    reader = Reader.of(tokenizer, model)
    rows = encode(tokenizer, [prompt.text(fact.question) for fact in facts for prompt in prompts])
    longest_first = sorted(range(len(rows)), key=lambda row: -len(rows[row]))
    found = Sampled.empty(len(facts), len(prompts), protocol.n_samples)
    torch.manual_seed(protocol.seed)
    for table, samples, size in ((found.greedy, 0, batch * protocol.n_samples),
                                 (found.hits, protocol.n_samples, batch)):
        for start in range(0, len(rows), size):
            cells = longest_first[start:start + size]
            written = _generate(model, reader, [rows[cell] for cell in cells], samples, protocol)
            for cell, lines in zip(cells, written, strict=True):
                table.flat[cell] = reader.count(lines, facts[cell // len(prompts)].object)
    return found


def _generate(model: PreTrainedModel, reader: Reader, prompts: list[list[int]], samples: int,
              protocol: Protocol) -> list[list[list[int]]]:
    """One call of ``generate``: for each prompt its sampled lines, or the greedy one where ``samples`` is 0."""
    import torch

    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts], device=model.device)
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=model.device)
    how: dict[str, Any] = {"do_sample": False, "temperature": 1.0, "top_k": 50, "top_p": 1.0}  # the neutral values
    if samples:
        how = {"do_sample": True, "temperature": protocol.temperature, "top_k": protocol.top_k, "top_p": 1.0,
               "num_return_sequences": samples}
    with torch.inference_mode():
        out = model.generate(input_ids=ids, attention_mask=mask, eos_token_id=sorted(reader.stops), pad_token_id=0,
                             max_new_tokens=protocol.max_tokens, **how)
    lines, each = out[:, longest:].tolist(), max(1, samples)
    return [lines[start:start + each] for start in range(0, len(lines), each)]


@dataclass(frozen=True, slots=True)
class Likelihoods:
    """What lm-evaluation-harness found, each (Q, P): log P(answer | prompt) at T = 1, and whether all is greedy."""

    log_probability: np.ndarray
    greedy: np.ndarray


def joined(found: Sequence[Sampled] | Sequence[Likelihoods]) -> Sampled | Likelihoods:
    """Several results of one rival as one, question after question."""
    arrays = [field.name for field in fields(found[0]) if isinstance(getattr(found[0], field.name), np.ndarray)]
    return replace(found[0], **{name: np.concatenate([getattr(one, name) for one in found]) for name in arrays})


def has_lm_eval() -> bool:
    return importlib.util.find_spec("lm_eval") is not None


def lm_eval_harness(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Any:
    """lm-evaluation-harness around a model that is loaded already.

    Raises:
        CourseError: lm_eval is not installed.
    """
    if not has_lm_eval():
        raise CourseError(LM_EVAL_MISSING)
    logging.getLogger("lm_eval").setLevel(logging.ERROR)  # it warns of every model that it did not load itself
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1)


def log_likelihoods(harness: Any, facts: Sequence[Fact], prompts: Sequence[Prompt], *, batch: int) -> Likelihoods:
    """Log-likelihoods of all answers, ``batch`` rows at a time; it sorts them by length itself."""
    from lm_eval.api.instance import Instance

    harness.batch_size_per_gpu = batch
    requests = [Instance("loglikelihood", {}, (prompt.text(fact.question), f" {fact.object}"), number)
                for number, (fact, prompt) in enumerate((fact, prompt) for fact in facts for prompt in prompts)]
    found = harness.loglikelihood(requests, disable_tqdm=True)
    shape = (len(facts), len(prompts))
    return Likelihoods(np.array([value for value, _ in found]).reshape(shape),
                       np.array([greedy for _, greedy in found]).reshape(shape))
