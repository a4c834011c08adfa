"""How a prompt and its answer become tokens: the seam between them, and the tokens that end an answer.

An answer ends at end of text or with any token that begins with a newline. Some tokenizers melt the last character
of an answer with the newline (Qwen2: ".\\n" is one token); then the answer has two spellings, which are disjoint, so
their probabilities add up. Where the end of the prompt melts with the answer, the answer starts at the first token
that differs.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from course_lib.facts import Fact
from course_lib.files import CourseError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["INSTRUCTION", "Encoded", "Prompt", "Spelling", "common_length", "encode_answers", "end_tokens",
           "few_shot_prompt", "is_match", "spellings"]


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
class Encoded:
    """A prompt and its answer as tokens; the answer begins at ``start``. ``prompt`` are the tokens of the prompt alone.

    ``start < len(prompt)`` where the end of the prompt melts with the answer.
    """

    tokens: tuple[int, ...]
    start: int
    prompt: tuple[int, ...] = ()


def encode_answers(tokenizer: PreTrainedTokenizerBase, prompt: Prompt, facts: Sequence[Fact]) -> list[Encoded]:
    """Prompt and gold answer of every fact, without an end token.

    Where the last token of a prompt melts with the answer, the answer starts at the first token that differs.

    Raises:
        CourseError: no token stands before an answer, so that nothing could predict its first token.
    """
    texts = [prompt.text(fact.question) for fact in facts]
    whole = _encode(tokenizer, [f"{text} {fact.object}" for text, fact in zip(texts, facts, strict=True)])
    encoded = [Encoded(tuple(after), common_length(before, after), tuple(before))
               for before, after in zip(_encode(tokenizer, texts), whole, strict=True)]
    for row, text in zip(encoded, texts, strict=True):
        if row.start == 0:
            raise CourseError(f"no token of the prompt {text!r} stands before the answer; put some text in front")
    return encoded


def _encode(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    """Tokens of texts that go on: with a beginning-of-text token where the tokenizer adds one, without an end."""
    encoded = tokenizer(texts)["input_ids"] if texts else []  # transformers 5 fails on an empty list
    return [ids[:-1] if ids and ids[-1] == tokenizer.eos_token_id else ids for ids in encoded]


def common_length(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens two rows share from their start."""
    length = min(len(first), len(second))
    return next((i for i in range(length) if first[i] != second[i]), length)


@functools.lru_cache(maxsize=8)
def _strings(tokenizer: PreTrainedTokenizerBase, size: int) -> list[str]:
    """The text that each token adds after other text (a first token may lose its leading space when decoded alone).

    ``size`` is ``len(tokenizer)``: a tokenizer that has grown is read again.
    """
    anchor = tokenizer("a", add_special_tokens=False)["input_ids"]
    before = len(tokenizer.decode(anchor))
    count = max(size, *tokenizer.get_vocab().values(), 0) + 1
    return [text[before:] for text in tokenizer.decode([[*anchor, token] for token in range(count)])]


@functools.lru_cache(maxsize=512)
def _tokens_beginning(tokenizer: PreTrainedTokenizerBase, size: int, text: str) -> tuple[int, ...]:
    return tuple(token for token, string in enumerate(_strings(tokenizer, size)) if string.startswith(text))


def end_tokens(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> tuple[int, ...]:
    """End of text (the tokenizer's and the model's) and every token that begins with a newline."""
    declared = getattr(model.generation_config, "eos_token_id", None)
    stops = {tokenizer.eos_token_id, *(declared if isinstance(declared, list | tuple) else [declared])} - {None}
    return tuple(sorted(stops | set(_tokens_beginning(tokenizer, len(tokenizer), "\n"))))


@dataclass(frozen=True, slots=True)
class Spelling:
    """Tokens to force from ``start`` on, then any token of ``ends``, for the cell (question, prompt).

    ``prompt`` are the tokens that greedy decoding goes on from; None for a second spelling, which only adds
    probability.
    """

    cell: tuple[int, int]
    tokens: tuple[int, ...]
    start: int
    ends: tuple[int, ...]
    answer: str
    prompt: tuple[int, ...] | None


def spellings(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, prompt: Prompt, facts: Sequence[Fact],
           column: int) -> list[Spelling]:
    """The ways to write each answer: its tokens and an end; and, where they melt with a newline, the melted form."""
    encoded = encode_answers(tokenizer, prompt, facts)
    ended = _encode(tokenizer, [f"{prompt.text(fact.question)} {fact.object}\n" for fact in facts])
    ends, paths = end_tokens(tokenizer, model), []
    for row, (fact, gold, melted) in enumerate(zip(facts, encoded, ended, strict=True)):
        paths.append(Spelling((row, column), gold.tokens, gold.start, ends, fact.object, gold.prompt))
        spelled = tuple(melted[:-1])
        if spelled != gold.tokens and (others := _melted_ends(tokenizer, melted[-1])):
            start = min(gold.start, common_length(gold.tokens, spelled))
            paths.append(Spelling((row, column), spelled, start, others, fact.object, None))
    return paths


def _melted_ends(tokenizer: PreTrainedTokenizerBase, last: int) -> tuple[int, ...]:
    """All tokens that begin as ``last`` does, up to its newline; none if it holds no newline."""
    head, newline, _ = _strings(tokenizer, len(tokenizer))[last].partition("\n")
    if "\ufffd" in head:  # a part of a character: other parts look the same
        return (last,)
    return _tokens_beginning(tokenizer, len(tokenizer), head + newline) if newline else ()
