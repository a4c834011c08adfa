"""The paper's own protocol: let the model write its answers and count the right ones (arXiv 2405.05904, App. C).

For each question and each of P prompts the model answers once greedily and n = 16 times at T = 0.5 among the 40 best
tokens. With h right samples for prompt p,

    P_Correct(q, a; T=0) = mean over p of greedy,      P_Correct(q, a; T=0.5) = sum over p of h / (n P).

This costs P (n + 1) = 170 written answers a question. :mod:`.engine` computes the expectation of h / n in one forward
pass an answer; this module is the check on it, and shows what the model writes.

An answer is the first line, spaces at its ends aside. It is right if it came to its end (a newline or the end of
text) and is one of the accepted texts. Two differences to the exact value: any tokens that write the text count
here, so the share of right samples may be a little higher; and an answer that needs more than ``max_tokens`` tokens
is cut, and never right.

Shapes: Q questions, P prompts, B rows of a batch, T tokens, V vocabulary.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from course_lib.files import CourseError
from course_lib.knowledge.scoring.distribution import NOT_FINITE, Distribution, Room, refuse_changed_distribution, room
from course_lib.knowledge.scoring.forward_pass import evaluation_mode
from course_lib.knowledge.scoring.prompts import Prompt, Remembered, encode, end_tokens, is_match, right_texts
from course_lib.knowledge.scoring.scores import Cells
from course_lib.knowledge.scoring.shared_prefix import same_logits
from course_lib.knowledge.scoring.token_paths import never_written
from course_lib.models.four_bit import merged_for_evaluation
from course_lib.models.hardware import out_of_memory

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from course_lib.data.facts import Fact

__all__ = ["Samples", "answers", "sample"]

_batched = Remembered()  # model -> up to how many tokens a prompt was found to continue as it does alone; 0: never
SLACK = 8  # tokens beyond those of the longest right answer: its end, and ways to write it with a few tokens more


@dataclass(frozen=True, slots=True)
class Samples(Cells):
    """Written answers, counted.

    ``greedy`` (Q, P), bool: whether the greedy answer is right. ``hits`` (Q, P), int: how many of the ``n_samples``
    samples are right. ``problems``: number of a question -> why it could not be asked. Its row is False and 0, and
    these mean nothing.
    """

    greedy: np.ndarray
    hits: np.ndarray
    n_samples: int
    problems: dict[int, str] = field(default_factory=dict)

    @classmethod
    def empty(cls, questions: int, prompts: int, n_samples: int) -> Samples:
        """Nothing found yet: no hit."""
        return cls(np.zeros((questions, prompts), bool), np.zeros((questions, prompts), int), n_samples)


def sample(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, facts: Sequence[Fact],
           prompts: Sequence[Prompt], *, n_samples: int = 16, temperature: float = 0.5, top_k: int = 40,
           top_p: float = 1.0, accepted: Callable[[Fact], Sequence[str]] | None = None, batch_questions: int = 8,
           seed: int = 0, progress: bool = False) -> Samples:
    """Draw one greedy answer and ``n_samples`` samples for every fact after every prompt.

    ``facts`` and ``prompts`` belong to one relation. ``accepted(fact)`` gives texts that are right beside the fact's
    own answer. ``top_k=0`` and ``top_p=1`` cut nothing off. ``batch_questions * n_samples`` answers are written at a
    time, each at most ``SLACK`` tokens longer than the longest right answer. The same seed and batches give the same
    samples on the same kind of machine; torch's own random state stays as it was.

    Raises:
        CourseError: the model's own generation settings would change the distribution, a setting is out of range,
            or the answers of a batch do not fit into memory.
    """
    from tqdm.auto import tqdm

    drawing = _drawing(model, n_samples, temperature, top_k, top_p, batch_questions, seed)
    right = [right_texts(fact, accepted) for fact in facts]
    texts = sorted({f" {text}" for forms in right for text in forms})
    rows = tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
    drawing = replace(drawing, max_tokens=max(map(len, rows), default=0) + SLACK)
    found = Samples.empty(len(facts), len(prompts), n_samples)
    problems = never_written(tokenizer, model, prompts, facts)  # left out as by the exact engine
    parts = [(drawing.greedy(), found.greedy), (drawing, found.hits)][:2 if n_samples else 1]
    for column, prompt in enumerate(tqdm(prompts, desc="sampling", unit="prompt", disable=not progress)):
        texts = [prompt.text(fact.question) for fact in facts]
        for part, table in parts:
            for row, written in enumerate(_write(model, tokenizer, texts, part)):
                table[row, column] = sum(line.is_one_of(right[row]) for line in written.lines)
                if written.problem:
                    problems.setdefault(row, written.problem)
    for row, why in problems.items():
        found.reject(row, why)
    return found


def answers(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, n_samples: int = 0,
            temperature: float = 0.5, top_k: int = 40, top_p: float = 1.0, max_tokens: int = 32,
            batch_questions: int = 8, seed: int = 0) -> list[list[str]]:
    """Let the model write after each text; returns first lines, without the spaces at their ends.

    ``n_samples=0`` gives one greedy answer a text, else as many samples. A line longer than ``max_tokens`` tokens is
    cut. Batches and seed as in :func:`sample`.

    Raises:
        CourseError: as :func:`sample`; or a text cannot be asked, such as one too long for the model.
    """
    drawing = _drawing(model, n_samples, temperature, top_k, top_p, batch_questions, seed, max_tokens)
    written = _write(model, tokenizer, texts, drawing)
    for text, one in zip(texts, written, strict=True):
        if one.problem:
            raise CourseError(f"{text[-60:]!r} cannot be asked: {one.problem}")
    return [[line.text.split("\n")[0].strip() for line in one.lines] for one in written]


@dataclass(frozen=True, slots=True)
class _Drawing:
    """Settings of ``generate``: ``n_samples`` answers a text (0: the greedy one), ``batch`` texts at a time.

    Without a KV cache (``cached``) each token reads the whole text, and no text is padded: slower, and right for every
    model.
    """

    n_samples: int
    distribution: Distribution
    batch: int
    seed: int
    max_tokens: int
    cached: bool = True

    def greedy(self) -> _Drawing:
        """The greedy answers of as many rows at a time."""
        return replace(self, n_samples=0, batch=self.batch * max(1, self.n_samples))

    def settings(self) -> dict[str, Any]:
        """Arguments of ``generate``; each is given, so that none is taken from the model."""
        shared = {"max_new_tokens": self.max_tokens, "max_time": None, "use_cache": self.cached,
                  "return_dict_in_generate": False, "num_return_sequences": max(1, self.n_samples)}
        if not self.n_samples:
            return shared | {"do_sample": False, "temperature": 1.0, "top_k": 50, "top_p": 1.0}  # the neutral values
        drawn = self.distribution
        return shared | {"do_sample": True, "temperature": drawn.temperature, "top_k": drawn.top_k,
                         "top_p": drawn.top_p}


def _drawing(model: PreTrainedModel, n_samples: int, temperature: float, top_k: int, top_p: float, batch: int,
             seed: int, max_tokens: int = 1) -> _Drawing:
    """The checked settings of one call."""
    for name, value, least in (("n_samples", n_samples, 0), ("batch_questions", batch, 1),
                               ("max_tokens", max_tokens, 1)):
        if value < least:
            raise CourseError(f"{name} = {value}: it must be {least} or more")
    refuse_changed_distribution(model, top_p=top_p, sampling=n_samples > 0)
    return _Drawing(n_samples, Distribution(temperature, top_k, top_p), batch, seed, max_tokens)


@dataclass(frozen=True, slots=True)
class _Line:
    """One written text, and whether its first line came to an end before it was cut."""

    text: str
    ended: bool

    def is_one_of(self, right: Sequence[str]) -> bool:
        """Compare with the accepted texts; a line that was cut is none of them."""
        return self.ended and any(is_match(self.text, text) for text in right)


@dataclass(frozen=True, slots=True)
class _Written:
    """All lines after one text, or why there are none."""

    lines: tuple[_Line, ...] = ()
    problem: str = ""


def _write(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str],
           drawing: _Drawing) -> list[_Written]:
    """Write after every text, in batches of neighbours.

    Each batch has its own random numbers, from the seed and its texts: they depend on no other batch or relation.
    """
    import torch

    prompts, ends = encode(tokenizer, list(texts)), end_tokens(tokenizer, model)
    most = room(model)
    written = [_Written(problem=_problem(most, prompt, drawing.max_tokens)) for prompt in prompts]
    sound = [row for row, one in enumerate(written) if not one.problem]
    fork = torch.random.fork_rng(devices=range(torch.cuda.device_count()))
    with evaluation_mode(model), merged_for_evaluation(model), fork:
        if sound and drawing.batch * max(1, drawing.n_samples) > 1:
            drawing = replace(drawing, cached=not _batches_show(model, [prompts[row] for row in sound], ends, drawing))
        for start, rows in _batches(prompts, sound, drawing):
            torch.manual_seed(random.Random(f"{drawing.seed} {start} {[texts[row] for row in rows]}").getrandbits(63))
            for row, one in zip(rows, _generate(model, tokenizer, [prompts[row] for row in rows], ends, drawing),
                                strict=True):
                written[row] = one
    return written


def _batches(prompts: list[list[int]], rows: list[int], drawing: _Drawing) -> Iterator[tuple[int, list[int]]]:
    """Neighbours, and where they start; only those of one length where others would show."""
    groups = [rows]
    if not drawing.cached:
        rows = sorted(rows, key=lambda row: len(prompts[row]))
        groups = [list(group) for _, group in itertools.groupby(rows, key=lambda row: len(prompts[row]))]
    for group in groups:
        yield from ((start, group[start:start + drawing.batch]) for start in range(0, len(group), drawing.batch))


def _batches_show(model: PreTrainedModel, prompts: list[list[int]], ends: Sequence[int], drawing: _Drawing) -> bool:
    """Check whether a short prompt continues otherwise beside the longest, padded and with a KV cache.

    Tried once a model, and again for longer prompts. RWKV reads the padding, and mixes up the rows of a cache.
    """
    import torch

    long, short = max(prompts, key=len), min(prompts, key=len)
    if (known := _batched.get(model)) is not None and (known == 0 or len(long) <= known):
        return known == 0
    short = short if len(short) < len(long) else long[len(long) // 2:]
    beside, alone = (
        [step[-1:] for step in _call(model, some, ends, how, output_logits=True, return_dict_in_generate=True).logits]
        for some, how in (([long, short], drawing.greedy()), ([short], replace(drawing.greedy(), cached=False))))
    differs = False
    for one, other in zip(beside, alone, strict=False):
        differs = differs or not same_logits(model, one, other)
        if not torch.equal(one.argmax(-1), other.argmax(-1)):
            break  # from here on the texts are others
    _batched.put(model, 0 if differs else len(long))
    return differs


def _problem(most: Room, prompt: list[int], max_tokens: int) -> str:
    """Reason why a prompt cannot be asked; empty if it can."""
    if not prompt:
        return "no token of the prompt stands before the answer; put some text in front"
    if len(prompt) + max_tokens > most.tokens:
        return (f"{len(prompt)} tokens of prompt and up to {max_tokens} of answer, but the model has room for "
                f"{most.tokens:g}; use fewer shots or a shorter question")
    return ""


class _NonFinite:
    """A logits processor that marks the rows with non-finite logits, and lets the others continue."""

    def __init__(self) -> None:
        self.rows: torch.Tensor | None = None

    def __call__(self, input_ids: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        bad = logits.isnan().any(-1) | logits.isposinf().any(-1)  # (B,) from (B, V)
        self.rows = bad if self.rows is None else self.rows | bad
        return logits.masked_fill(bad[:, None], 0.0)  # else the draw fails, and on a GPU no other works after it


def _generate(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: list[list[int]],
              ends: Sequence[int], drawing: _Drawing) -> list[_Written]:
    """The lines of a batch of prompts."""
    watch, stops, lines, per_prompt = _NonFinite(), set(ends), [], max(1, drawing.n_samples)
    out = _call(model, prompts, ends, drawing, logits_processor=[watch])
    broken = watch.rows.tolist()
    for tokens in out[:, max(map(len, prompts)):].tolist():
        end = next((i for i, token in enumerate(tokens) if token in stops), None)
        text = tokenizer.decode(tokens[:end], skip_special_tokens=True)
        lines.append(_Line(text, end is not None or "\n" in text))
    spans = [slice(start, start + per_prompt) for start in range(0, len(lines), per_prompt)]
    return [_Written(problem=NOT_FINITE) if any(broken[span]) else _Written(tuple(lines[span])) for span in spans]


def _call(model: PreTrainedModel, prompts: list[list[int]], ends: Sequence[int], drawing: _Drawing, **more: Any) -> Any:
    """Call ``generate``; padding is on the left and by hand: all answers begin in one column, the tokenizer stays."""
    import torch

    longest = max(map(len, prompts))
    # both (B, T)
    ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts], device=model.device)
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=model.device)
    try:
        # what pads the rows that have ended is cut off by _generate, so any token will do
        return model.generate(input_ids=ids, attention_mask=mask, eos_token_id=list(ends) or None, pad_token_id=0,
                              **drawing.settings() | more)
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        rows = len(prompts) * max(1, drawing.n_samples)
        raise CourseError(f"{rows} answers at a time do not fit into the memory of {model.device}; lower "
                          f"batch_questions") from None
