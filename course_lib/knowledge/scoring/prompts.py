"""Prompts and answers as tokens: the boundary between them, and the tokens that end an answer.

An answer ends at end of text or with any token that begins with a newline. Where a token merges across the
prompt/answer boundary, the answer starts at the first token that differs. Which texts count as right is a closed list
of *surface forms*: the answer itself, and what the user accepts beside it.
"""

from __future__ import annotations

import unicodedata
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from course_lib.data.facts import FINE_TUNING_PREFIX, Fact
from course_lib.files import CourseError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["INSTRUCTION", "Encoded", "Prompt", "Remembered", "Vocabulary", "common_length", "encode", "encode_answers",
           "end_tokens", "few_shot_prompt", "fingerprint", "is_match", "normal", "right_texts", "surface_forms",
           "token_texts", "vocabulary"]

PROBE = "Q: Łódź, 東京 e\u0301 1984.\n\nA:  </s>"  # letters, marks, digits, spaces and newlines of many kinds


@dataclass(frozen=True, slots=True)
class Prompt:
    """Text before a question: ``prefix`` is the same for many questions, ``template`` holds ``{question}``.

    Answers follow after one space. ``solved`` are the examples that the prefix shows, where it shows any; ``spare`` is
    one more, for a question that stands among them.
    """

    prefix: str
    template: str = "Q: {question}\nA:"
    solved: tuple[Fact, ...] = ()
    spare: Fact | None = None

    def text(self, question: str) -> str:
        """The whole prompt for one question."""
        return self.prefix + self.template.format(question=question)


INSTRUCTION = Prompt(FINE_TUNING_PREFIX, "{question}")


def few_shot_prompt(exemplars: Sequence[Fact], *, spare: Fact | None = None) -> Prompt:
    """Make the paper's ``Q: ... / A: ...`` prompt (App. C) with these solved examples in front."""
    return Prompt("".join(f"Q: {fact.question}\nA: {fact.object}\n" for fact in exemplars), solved=tuple(exemplars),
                  spare=spare)


def is_match(generated: str, answer: str) -> bool:
    """Compare the first line exactly, spaces at its ends aside: "Paris" is not "Parish".

    Two ways to write one letter in Unicode (é as one code point or as two) are the same text.
    """
    return normal(generated.split("\n")[0].strip()) == normal(answer)


def normal(text: str) -> str:
    """Unicode's composed form (NFC)."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def surface_forms(answer: str, *, aliases: Sequence[str] = (), case: bool = False,
                  full_stop: bool = False) -> tuple[str, ...]:
    """Texts that count as this answer, the answer first, none twice; each also in Unicode's composed form.

    ``case`` adds each text with its first letter changed to upper or lower case, in lower case and in upper case;
    ``full_stop`` adds each with a full stop behind it, where it has none.
    """
    texts = [answer, *aliases]
    if case:
        texts += [form for text in texts for form in (text[:1].upper() + text[1:], text[:1].lower() + text[1:],
                                                      text.lower(), text.upper())]
    if full_stop:
        texts += [f"{text}." for text in texts if text and not text.endswith(".")]
    return tuple(dict.fromkeys(form for text in texts for form in (text, normal(text))))


def right_texts(fact: Fact, accepted: Callable[[Fact], Sequence[str]] | None) -> tuple[str, ...]:
    """The fact's own answer, and the texts that ``accepted`` counts as right beside it."""
    return (fact.object, *(accepted(fact) if accepted else ()))


@dataclass(frozen=True, slots=True)
class Encoded:
    """A prompt and its answer as tokens; the answer begins at ``start``. ``prompt`` are the tokens of the prompt alone.

    ``start < len(prompt)`` where a token merges across the prompt/answer boundary.
    """

    tokens: tuple[int, ...]
    start: int
    prompt: tuple[int, ...] = ()


def encode_answers(tokenizer: PreTrainedTokenizerBase, prompt: Prompt, facts: Sequence[Fact]) -> list[Encoded]:
    """Encode prompt and gold answer of every fact, without an end token.

    Raises:
        CourseError: no token stands before an answer, so that nothing could predict its first token.
    """
    texts = [prompt.text(fact.question) for fact in facts]
    whole = encode(tokenizer, [f"{text} {fact.object}" for text, fact in zip(texts, facts, strict=True)])
    encoded = [Encoded(tuple(after), common_length(before, after), tuple(before))
               for before, after in zip(encode(tokenizer, texts), whole, strict=True)]
    for row, text in zip(encoded, texts, strict=True):
        if row.start == 0:
            raise CourseError(f"no token of the prompt {text!r} stands before the answer; put some text in front")
    return encoded


def encode(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    """Encode texts that continue: with a beginning-of-text token where the tokenizer adds one, without an end."""
    encoded = tokenizer(texts)["input_ids"] if texts else []  # transformers 5 fails on an empty list
    return [ids[:-1] if ids and ids[-1] == tokenizer.eos_token_id else ids for ids in encoded]


def common_length(first: Sequence[int], second: Sequence[int]) -> int:
    """Number of tokens that two rows share from their start."""
    length = min(len(first), len(second))
    return next((i for i in range(length) if first[i] != second[i]), length)


def fingerprint(thing: PreTrainedTokenizerBase | PreTrainedModel) -> str:
    """Text that differs after a tokenizer or a model was changed in place; takes about a millisecond.

    Of a tokenizer: its parts, settings and special tokens, and the tokens of a probe. Of a model: its configuration
    and its layers; not its weights, which change in every step of training.
    """
    if not hasattr(thing, "get_vocab"):
        config = getattr(thing, "config", None)
        return repr((config and config.to_dict(), getattr(config, "_attn_implementation", None),
                     next(thing.parameters()).dtype, [type(module).__name__ for module in thing.modules()]))
    backend = getattr(thing, "_tokenizer", None)
    parts = [getattr(backend, name, None) for name in ("normalizer", "pre_tokenizer", "post_processor", "decoder")]
    rules = [getattr(getattr(backend, "model", None), name, None) for name in (
        "unk_token", "dropout", "fuse_unk", "byte_fallback", "ignore_merges", "continuing_subword_prefix")]
    settings = {name: value for name, value in vars(thing).items() if isinstance(value, bool | int | str | list)}
    probe = thing(PROBE)["input_ids"]
    return repr((len(thing), parts, rules, settings, thing.special_tokens_map, thing.added_tokens_decoder, probe,
                 thing.decode(probe)))


class Remembered:
    """Cache of what was found out about tokenizers or models; one that was changed in place since is not found."""

    def __init__(self) -> None:
        self._found: weakref.WeakKeyDictionary[Any, tuple[str, Any]] = weakref.WeakKeyDictionary()

    def get(self, thing: Any, default: Any = None) -> Any:
        """What was put for this tokenizer or model, where it is as it was then."""
        mark, value = self._found.get(thing, ("", None))
        return value if mark and mark == fingerprint(thing) else default

    def put(self, thing: Any, value: Any) -> None:
        """Remember ``value`` for this tokenizer or model as it is now."""
        self._found[thing] = fingerprint(thing), value


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Text that each token adds after other text."""

    texts: list[str]
    _beginning: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def beginning(self, text: str) -> tuple[int, ...]:
        """Tokens whose text begins so."""
        if text not in self._beginning:
            self._beginning[text] = tuple(i for i, string in enumerate(self.texts) if string.startswith(text))
        return self._beginning[text]


_vocabularies = Remembered()


def vocabulary(tokenizer: PreTrainedTokenizerBase) -> Vocabulary:
    """The texts of all tokens, found once."""
    if (found := _vocabularies.get(tokenizer)) is None:
        _vocabularies.put(tokenizer, found := Vocabulary(token_texts(tokenizer, len(tokenizer))))
    return found


def token_texts(tokenizer: PreTrainedTokenizerBase, size: int) -> list[str]:
    """Text that each of ``size`` tokens, and of any with a higher number, adds after other text.

    A first token may lose its leading space when it is decoded alone.
    """
    anchor = tokenizer("a", add_special_tokens=False)["input_ids"]
    before = len(tokenizer.decode(anchor))  # letters of the anchor, which are taken off again
    count = max(size, *tokenizer.get_vocab().values(), 0) + 1
    return [text[before:] for text in tokenizer.decode([[*anchor, token] for token in range(count)])]


def end_tokens(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> tuple[int, ...]:
    """End of text (the tokenizer's and the model's) and every token that begins with a newline."""
    declared = getattr(model.generation_config, "eos_token_id", None)
    stops = {tokenizer.eos_token_id, *(declared if isinstance(declared, list | tuple) else [declared])} - {None}
    return tuple(sorted(stops | set(vocabulary(tokenizer).beginning("\n"))))
