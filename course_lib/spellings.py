"""The token paths of an answer after many prompts, laid out so that a model reads each prompt once.

A path is a way to write an accepted answer: its canonical tokens, then any token of an end set. Some tokenizers melt
the last character of an answer with the newline (Qwen2: ".\\n" is one token); then the answer has a second path. Paths
are disjoint, so their probabilities add up.

The questions of one relation are asked after the same P prompts. Up to its last example a prompt is the same for all
questions, and from there on a row is the same after all prompts:

    prompt 1 tokens ┐                ┌ row 1: question 1, answer 1
    ...             ├─ each before ──┤ ...
    prompt P tokens ┘                └ row R: question Q, answer Q

so a :class:`Layout` holds P prefixes and R rows instead of P x R texts. Where a tokenizer does not split so (it melts
the end of a prompt with the question), each prompt gets a layout of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from course_lib.answers import (
    Prompt,
    common_length,
    encode,
    end_tokens,
    is_match,
    right_texts,
    surface_forms,
    token_texts,
    tokens_beginning,
)
from course_lib.facts import Fact

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["Layout", "Spelling", "lay_out", "unspeakable"]

CHECKED_CELLS = 500  # up to so many texts all prompts are tokenised in full; above it, a sample proves the layout
SAMPLE = 16


@dataclass(frozen=True, slots=True)
class Spelling:
    """Tokens to force from ``start`` on, then any token of ``ends``, for the question ``row``.

    ``tokens`` follow the prefix of a layout and ``start`` counts from there; at least one token stands before it, so
    that the first forced token has a token to be predicted from. ``asked`` are the tokens of the prompt alone, which
    greedy decoding goes on from (``start < len(asked)`` where the end of the prompt melts with the answer); None for
    every further spelling, which only adds probability.
    """

    row: int
    tokens: tuple[int, ...]
    start: int
    ends: tuple[int, ...]
    asked: tuple[int, ...] | None

    @property
    def steps(self) -> range:
        """Positions in ``tokens`` whose next token is forced, the end included."""
        return range(self.start - 1, len(self.tokens))


@dataclass(frozen=True, slots=True)
class Layout:
    """Rows that are the same after each of some prompts; ``columns`` are the numbers of these prompts."""

    columns: tuple[int, ...]
    prefixes: tuple[tuple[int, ...], ...]
    rows: tuple[Spelling, ...]


def lay_out(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, prompts: Sequence[Prompt],
            facts: Sequence[Fact], *, accepted: Callable[[Fact], Sequence[str]] | None = None) -> list[Layout]:
    """All paths of ``facts`` after ``prompts``: one layout where the prompts allow it, else one a prompt.

    A question whose prompt has no token (an empty prompt and no beginning-of-text token) is left out.
    """
    speller = _Speller(tokenizer, end_tokens(tokenizer, model), accepted)
    first = _split((0,), speller.paths(prompts[0], facts))
    columns, prefixes, alone = [0], list(first.prefixes), []
    every = len(facts) * len(prompts) <= CHECKED_CELLS
    chosen = range(len(facts)) if every else [i * len(facts) // SAMPLE for i in range(SAMPLE)]
    for column, prompt in list(enumerate(prompts))[1:]:
        paths = speller.paths(prompt, facts, chosen)
        prefix = _prefix_before(paths, [row for row in first.rows if row.row in set(chosen)])
        if prefix is None:
            alone.append(_split((column,), paths if every else speller.paths(prompt, facts)))
        else:
            columns.append(column)
            prefixes.append(prefix)
    return [Layout(tuple(columns), tuple(prefixes), first.rows), *alone]


def unspeakable(tokenizer: PreTrainedTokenizerBase, rows: Sequence[Spelling], facts: Sequence[Fact]) -> dict[int, str]:
    """Question -> why no text of the model can ever equal its answer; questions that are fine are absent."""
    first = [row for row in rows if row.asked is not None]
    texts = tokenizer.decode([list(row.tokens[row.start:]) for row in first]) if first else []
    found = {row.row: _complaint(facts[row.row].object, text, tokenizer.decode(list(row.asked[row.start:])))
             for row, text in zip(first, texts, strict=True)}
    return {row: complaint for row, complaint in found.items() if complaint}


def _complaint(answer: str, spelled: str, melted: str) -> str:
    """``spelled`` is what the answer's tokens say, the end of the prompt first where it has melted with them."""
    if "\n" in answer:
        return f"the answer {_short(answer)} has a line break, and an answer ends at the first one; take it out"
    if is_match(spelled.removeprefix(melted), answer.strip()):
        return ""
    return f"the tokenizer cannot spell the answer {_short(answer)}: it reads back as {_short(spelled.strip())}"


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")


@dataclass(frozen=True, slots=True)
class _Speller:
    tokenizer: PreTrainedTokenizerBase
    ends: tuple[int, ...]
    accepted: Callable[[Fact], Sequence[str]] | None

    def paths(self, prompt: Prompt, facts: Sequence[Fact], rows: Sequence[int] | None = None) -> list[Spelling]:
        """Every path of these rows of ``facts``, from the first token of the whole text on."""
        rows = range(len(facts)) if rows is None else rows
        texts = [prompt.text(facts[row].question) for row in rows]
        forms = [(at, form) for at, row in enumerate(rows) for form in self.forms(facts[row])]
        asked = encode(self.tokenizer, texts)
        whole = encode(self.tokenizer, [f"{texts[at]} {form}" for at, form in forms])
        ended = encode(self.tokenizer, [f"{texts[at]} {form}\n" for at, form in forms])
        paths, seen = [], set()
        for (at, _), gold, melted in zip(forms, whole, ended, strict=True):
            for path in self._ways(rows[at], asked[at], gold, melted, first=(rows[at] not in seen)):
                if path.start > 0:
                    paths.append(path)
            seen.add(rows[at])
        return _distinct(paths)

    def forms(self, fact: Fact) -> Sequence[str]:
        """The accepted texts, the answer itself first."""
        return surface_forms(fact.object, aliases=right_texts(fact, self.accepted)[1:])

    def _ways(self, row: int, asked: list[int], gold: list[int], melted: list[int], *, first: bool) -> list[Spelling]:
        """The canonical path, and the one in which the answer melts with the newline after it."""
        start = common_length(asked, gold)
        ways = [Spelling(row, tuple(gold), start, self.ends, tuple(asked) if first else None)]
        spelled = melted[:-1]
        if spelled != gold and (ends := self._melted_ends(melted[-1])):
            ways.append(Spelling(row, tuple(spelled), min(start, common_length(gold, spelled)), ends, None))
        return ways

    def _melted_ends(self, last: int) -> tuple[int, ...]:
        """All tokens that begin as ``last`` does, up to its newline; none if it holds no newline."""
        size = len(self.tokenizer)
        head, newline, _ = token_texts(self.tokenizer, size)[last].partition("\n")
        if "\ufffd" in head:  # a part of a character: other parts look the same
            return (last,)
        return tokens_beginning(self.tokenizer, size, head + newline) if newline else ()


def _distinct(paths: list[Spelling]) -> list[Spelling]:
    """Two forms can have the same tokens, where a tokenizer normalises its text: count them once."""
    kept: dict[tuple, Spelling] = {}
    for path in paths:
        kept.setdefault((path.row, path.tokens, path.ends), path)
    return list(kept.values())


def _split(columns: tuple[int, ...], paths: list[Spelling]) -> Layout:
    """Take off the beginning that all paths share."""
    if not paths:
        return Layout(columns, ((),) * len(columns), ())
    shared = min(min(path.start for path in paths) - 1,
                 min(common_length(paths[0].tokens, path.tokens) for path in paths))
    rows = tuple(_after(path, shared) for path in paths)
    return Layout(columns, (paths[0].tokens[:shared],), rows)


def _after(path: Spelling, shared: int) -> Spelling:
    asked = None if path.asked is None else path.asked[shared:]
    return Spelling(path.row, path.tokens[shared:], path.start - shared, path.ends, asked)


def _prefix_before(paths: list[Spelling], rows: Sequence[Spelling]) -> tuple[int, ...] | None:
    """The tokens of another prompt before these very rows; None where the rows differ after it."""
    if not paths or len(paths) != len(rows):
        return None
    cut = len(paths[0].tokens) - len(rows[0].tokens)
    prefix = paths[0].tokens[:cut]
    if cut < 0 or any(path.tokens[:cut] != prefix or path.start <= cut for path in paths):
        return None
    return prefix if [_after(path, cut) for path in paths] == list(rows) else None
