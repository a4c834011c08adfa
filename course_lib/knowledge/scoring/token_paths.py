"""The token paths of an answer after many prompts, laid out so that a model reads each prompt once.

A path is a way to write an accepted answer: its canonical tokens, then any token of an end set. Some tokenizers melt
the last character of an answer with the newline (Qwen2: ".\\n" is one token); then the answer has a second path. Paths
are disjoint, so their probabilities add up.

A text that the tokenizer cannot spell has no path: its tokens hold the unknown token, or read back as another text, so
the model can never write it. A question is refused by name where that is its answer; a further accepted text is left
out, for it adds nothing.

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

from course_lib.data.facts import Fact
from course_lib.knowledge.scoring.prompts import (
    Prompt,
    Vocabulary,
    common_length,
    encode,
    end_tokens,
    is_match,
    right_texts,
    surface_forms,
    vocabulary,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["Layout", "Spelling", "lay_out", "never_written", "unspeakable"]

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
    speller = _Speller(tokenizer, vocabulary(tokenizer), end_tokens(tokenizer, model), accepted)
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


def unspeakable(tokenizer: PreTrainedTokenizerBase, layouts: Sequence[Layout],
                facts: Sequence[Fact]) -> dict[int, str]:
    """Question -> why no text of the model can ever equal its answer; questions that are fine are absent."""
    first = [row for layout in layouts for row in layout.rows if row.asked is not None]
    answers = [facts[row.row].object for row in first]
    complaints = _complaints(tokenizer, answers, [(row.asked, row.tokens) for row in first])
    return {row.row: complaint for row, complaint in zip(first, complaints, strict=True) if complaint}


def never_written(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, prompts: Sequence[Prompt],
                  facts: Sequence[Fact]) -> dict[int, str]:
    """:func:`unspeakable`, for those who need no layout."""
    return unspeakable(tokenizer, lay_out(tokenizer, model, prompts, facts), facts) if facts and prompts else {}


def _complaints(tokenizer: PreTrainedTokenizerBase, answers: Sequence[str],
                paths: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[str]:
    """What is wrong with each answer, spelled by the tokens (asked, whole) after a prompt; "" where it is fine."""
    starts = [common_length(asked, whole) for asked, whole in paths]
    tokens = [list(whole[start:]) for (_, whole), start in zip(paths, starts, strict=True)]
    read = tokenizer.decode(tokens) if tokens else []
    melted = [tokenizer.decode(list(asked[start:])) for (asked, _), start in zip(paths, starts, strict=True)]
    return [_complaint(answer, text.removeprefix(before), tokenizer.unk_token_id in own)
            for answer, text, before, own in zip(answers, read, melted, tokens, strict=True)]


def _complaint(answer: str, spelled: str, unknown: bool) -> str:
    """``spelled`` is what the answer's tokens say; ``unknown``: one of them is the unknown token."""
    if "\n" in answer:
        return f"the answer {_short(answer)} has a line break, and an answer ends at the first one; take it out"
    if not is_match(spelled, answer.strip()):
        return f"the tokenizer cannot spell the answer {_short(answer)}: it reads back as {_short(spelled.strip())}"
    return f"the tokenizer cannot spell the answer {_short(answer)}: it takes the unknown token" if unknown else ""


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")


@dataclass(frozen=True, slots=True)
class _Speller:
    tokenizer: PreTrainedTokenizerBase
    vocabulary: Vocabulary
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
        first = [i == 0 or forms[i - 1][0] != at for i, (at, _) in enumerate(forms)]
        wrong = self._unspeakable(forms, first, asked, whole)
        paths = [path for i, (at, _) in enumerate(forms) if i not in wrong
                 for path in self._ways(rows[at], asked[at], whole[i], ended[i], first=first[i]) if path.start > 0]
        return _distinct(paths)

    def _unspeakable(self, forms: Sequence[tuple[int, str]], first: Sequence[bool], asked: Sequence[Sequence[int]],
                     whole: Sequence[Sequence[int]]) -> set[int]:
        """Numbers of the further forms that add nothing."""
        further = [i for i, is_first in enumerate(first) if not is_first]
        complaints = _complaints(self.tokenizer, [forms[i][1] for i in further],
                                 [(asked[forms[i][0]], whole[i]) for i in further])
        return {i for i, complaint in zip(further, complaints, strict=True) if complaint}

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
        head, newline, _ = self.vocabulary.texts[last].partition("\n")
        if "\ufffd" in head:  # a part of a character: other parts look the same
            return (last,)
        return self.vocabulary.beginning(head + newline) if newline else ()


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
