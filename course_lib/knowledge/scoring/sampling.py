"""What a model writes after a text: its greedy answer, or samples (Gekhman et al. 2024, arXiv 2405.05904, App. C).

For each question and each of P prompts the paper lets the model answer once greedily and n = 16 times at T = 0.5 among
the 40 best tokens: 170 written answers a question. :mod:`.engine` computes what they estimate in one forward pass an
answer; here the model writes. An answer is the first line, spaces at its ends aside.

Shapes: B rows of a batch, V vocabulary.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from course_lib.files import CourseError
from course_lib.knowledge.scoring.distribution import NOT_FINITE, Distribution, refuse_changed_distribution, room
from course_lib.knowledge.scoring.prompts import Remembered, encode, end_tokens
from course_lib.knowledge.scoring.shared_prefix import same_logits
from course_lib.models.four_bit import merged_for_evaluation
from course_lib.models.hardware import out_of_memory

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["answers"]

_batched = Remembered()  # model -> up to how many tokens a prompt was found to continue as it does alone; 0: never


def answers(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, n_samples: int = 0,
            temperature: float = 0.5, top_k: int = 40, top_p: float = 1.0, max_tokens: int = 32,
            batch_questions: int = 8, seed: int = 0) -> list[list[str]]:
    """Let the model write after each text; returns first lines, without the spaces at their ends.

    ``n_samples=0`` gives one greedy answer a text, else as many samples. A line longer than ``max_tokens`` tokens is
    cut. ``top_k=0`` and ``top_p=1`` cut no token off. ``batch_questions * max(1, n_samples)`` answers are written at a
    time, in batches of neighbours; each batch has its own random numbers, from the seed and its texts. The same seed
    and batches give the same samples on the same kind of machine; torch's own random state stays as it was.

    Raises:
        CourseError: the model's own generation settings would change the distribution, a setting is out of range, the
            answers of a batch do not fit into memory, or a text cannot be asked, such as one too long for the model.
    """
    import torch

    for name, value, least in (("n_samples", n_samples, 0), ("batch_questions", batch_questions, 1),
                               ("max_tokens", max_tokens, 1)):
        if value < least:
            raise CourseError(f"{name} = {value}: it must be {least} or more")
    refuse_changed_distribution(model, top_p=top_p, sampling=n_samples > 0)
    drawing = _Drawing(n_samples, Distribution(temperature, top_k, top_p), batch_questions, max_tokens)
    prompts, ends = encode(tokenizer, list(texts)), end_tokens(tokenizer, model)
    _refuse(model, texts, prompts, max_tokens)
    written: list[list[str]] = [[] for _ in texts]
    with _evaluation(model), torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        if prompts and drawing.batch * max(1, n_samples) > 1:
            drawing = replace(drawing, cached=not _batches_show(model, prompts, ends, drawing))
        for start, rows in _batches(prompts, drawing):
            some = [texts[row] for row in rows]
            torch.manual_seed(random.Random(f"{seed} {start} {some}").getrandbits(63))
            for row, lines in zip(rows, _lines(model, tokenizer, some, [prompts[row] for row in rows], ends, drawing),
                                  strict=True):
                written[row] = lines
    return written


@dataclass(frozen=True, slots=True)
class _Drawing:
    """Settings of ``generate``: ``n_samples`` answers a text (0: the greedy one), ``batch`` texts at a time.

    Without a KV cache (``cached``) each token reads the whole text, and no text is padded: slower, and right for every
    model.
    """

    n_samples: int
    distribution: Distribution
    batch: int
    max_tokens: int
    cached: bool = True

    def settings(self) -> dict[str, Any]:
        """Arguments of ``generate``; each is given, so that none is taken from the model."""
        shared = {"max_new_tokens": self.max_tokens, "max_time": None, "use_cache": self.cached,
                  "return_dict_in_generate": False, "num_return_sequences": max(1, self.n_samples)}
        if not self.n_samples:
            return shared | {"do_sample": False, "temperature": 1.0, "top_k": 50, "top_p": 1.0}  # the neutral values
        drawn = self.distribution
        return shared | {"do_sample": True, "temperature": drawn.temperature, "top_k": drawn.top_k,
                         "top_p": drawn.top_p}


def _refuse(model: PreTrainedModel, texts: Sequence[str], prompts: list[list[int]], max_tokens: int) -> None:
    """Refuse a prompt without a token, and one that is too long."""
    most = room(model).tokens
    for text, prompt in zip(texts, prompts, strict=True):
        if not prompt:
            raise _cannot_ask(text, "no token of the prompt stands before the answer; put some text in front")
        if len(prompt) + max_tokens > most:
            raise _cannot_ask(text, f"{len(prompt)} tokens of prompt and up to {max_tokens} of answer, but the model "
                                    f"has room for {most:g}; use fewer shots or a shorter question")


def _cannot_ask(text: str, why: str) -> CourseError:
    return CourseError(f"{text[-60:]!r} cannot be asked: {why}")


def _batches(prompts: list[list[int]], drawing: _Drawing) -> Iterator[tuple[int, list[int]]]:
    """Neighbours, and where they start; only those of one length where padding would show."""
    groups = [list(range(len(prompts)))]
    if not drawing.cached:
        rows = sorted(groups[0], key=lambda row: len(prompts[row]))
        groups = [list(group) for _, group in itertools.groupby(rows, key=lambda row: len(prompts[row]))]
    for group in groups:
        yield from ((start, group[start:start + drawing.batch]) for start in range(0, len(group), drawing.batch))


def _batches_show(model: PreTrainedModel, prompts: list[list[int]], ends: Sequence[int], drawing: _Drawing) -> bool:
    """Whether a short prompt continues otherwise beside the longest, padded and with a KV cache, than alone.

    Tried once a model, and again for longer prompts. RWKV reads the padding, and mixes up the rows of a cache.
    """
    import torch

    long, short = max(prompts, key=len), min(prompts, key=len)
    if (known := _batched.get(model)) is not None and (known == 0 or len(long) <= known):
        return known == 0
    short = short if len(short) < len(long) else long[len(long) // 2:]
    greedy = replace(drawing, n_samples=0)
    beside, alone = (
        [step[-1:] for step in _call(model, some, ends, how, output_logits=True, return_dict_in_generate=True).logits]
        for some, how in (([long, short], greedy), ([short], replace(greedy, cached=False))))
    differs = False
    for one, other in zip(beside, alone, strict=False):
        differs = differs or not same_logits(model, one, other)
        if not torch.equal(one.argmax(-1), other.argmax(-1)):
            break  # from here on the texts are others
    _batched.put(model, 0 if differs else len(long))
    return differs


@contextmanager
def _evaluation(model: PreTrainedModel) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        with merged_for_evaluation(model):
            yield
    finally:
        model.train(training)


class _NonFinite:
    """A logits processor that marks the rows with non-finite logits, and lets the others continue."""

    def __init__(self) -> None:
        self.rows: torch.Tensor | None = None

    def __call__(self, input_ids: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        bad = logits.isnan().any(-1) | logits.isposinf().any(-1)  # (B,) from (B, V)
        self.rows = bad if self.rows is None else self.rows | bad
        return logits.masked_fill(bad[:, None], 0.0)  # else the draw fails, and on a GPU no other works after it


def _lines(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], prompts: list[list[int]],
           ends: Sequence[int], drawing: _Drawing) -> list[list[str]]:
    """The first lines of a batch, ``n_samples`` a prompt."""
    watch, stops, lines, each = _NonFinite(), set(ends), [], max(1, drawing.n_samples)
    out = _call(model, prompts, ends, drawing, logits_processor=[watch])
    for number, broken in enumerate(watch.rows.tolist()):
        if broken:
            raise _cannot_ask(texts[number // each], NOT_FINITE)
    for tokens in out[:, max(map(len, prompts)):].tolist():
        end = next((i for i, token in enumerate(tokens) if token in stops), None)
        lines.append(tokenizer.decode(tokens[:end], skip_special_tokens=True).split("\n")[0].strip())
    return [lines[start:start + each] for start in range(0, len(lines), each)]


def _call(model: PreTrainedModel, prompts: list[list[int]], ends: Sequence[int], drawing: _Drawing, **more: Any) -> Any:
    """Call ``generate``; padding is on the left and by hand: all answers begin in one column, the tokenizer stays."""
    import torch

    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts], device=model.device)
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=model.device)
    try:
        # what pads the rows that have ended is cut off by _lines, so any token will do
        return model.generate(input_ids=ids, attention_mask=mask, eos_token_id=list(ends) or None, pad_token_id=0,
                              **drawing.settings() | more)
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        rows = len(prompts) * max(1, drawing.n_samples)
        raise CourseError(f"{rows} answers at a time do not fit into the memory of {model.device}; lower "
                          f"batch_questions") from None
