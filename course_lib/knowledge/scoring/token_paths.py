"""The token paths of an answer after many prompts, laid out so that a model reads each prompt once.

A path is a way to write an accepted answer: its canonical tokens, then any token of an end set. Some tokenizers merge
the last character of an answer with the newline (Qwen2: ".\\n" is one token); then the answer has a second path. Paths
are disjoint, so their probabilities add up.

A text that is not encodable has no path: its tokens hold the unknown token, or decode to another text, so the model can
never write it. A question is refused by name where that is its answer; a further accepted text is left out, for it adds
nothing.

The questions of one relation are asked after the same P prompts. Up to its last example a prompt is the same for all
questions, and from there on a row is the same after all prompts:

    prompt 1 tokens ┐                ┌ row 1: question 1, answer 1
    ...             ├─ each before ──┤ ...
    prompt P tokens ┘                └ row R: question Q, answer Q

so a :class:`Layout` holds P prefixes and R rows instead of P x R texts. Where a tokenizer does not split so (a token
merges across the end of a prompt and the question), each prompt gets a layout of its own.
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
from course_lib.text import short

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["Layout", "TokenPath", "lay_out", "never_written", "not_encodable"]

CHECKED_CELLS = 500  # up to so many texts all prompts are tokenised in full; above it, a sample proves the layout
SAMPLE = 16


@dataclass(frozen=True, slots=True)
class TokenPath:
    """Tokens to force from ``start`` on, then any token of ``ends``, for the question ``row``.

    ``tokens`` follow the prefix of a layout and ``start`` counts from there; at least one token stands before it, so
    that the first forced token has a token to be predicted from. ``asked`` are the tokens of the prompt alone, which
    greedy decoding continues (``start < len(asked)`` where a token merges across the prompt/answer boundary); None for
    every further path, which only adds probability.
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

    def after(self, shared: int) -> TokenPath:
        """The path without its first ``shared`` tokens."""
        asked = None if self.asked is None else self.asked[shared:]
        return TokenPath(self.row, self.tokens[shared:], self.start - shared, self.ends, asked)


@dataclass(frozen=True, slots=True)
class Layout:
    """Rows that are the same after each of some prompts; ``columns`` are the numbers of these prompts."""

    columns: tuple[int, ...]
    prefixes: tuple[tuple[int, ...], ...]
    rows: tuple[TokenPath, ...]


def lay_out(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, prompts: Sequence[Prompt],
            facts: Sequence[Fact], *, accepted: Callable[[Fact], Sequence[str]] | None = None) -> list[Layout]:
    """Lay out all paths of ``facts`` after ``prompts``: in one layout where the prompts allow it, else in one a prompt.

    A question whose prompt has no token (an empty prompt and no beginning-of-text token) is left out.
    """
    paths = _Paths(tokenizer, vocabulary(tokenizer), end_tokens(tokenizer, model), accepted)
    first = _split((0,), paths.of(prompts[0], facts))
    columns, prefixes, alone = [0], list(first.prefixes), []
    every = len(facts) * len(prompts) <= CHECKED_CELLS
    chosen = range(len(facts)) if every else [i * len(facts) // SAMPLE for i in range(SAMPLE)]
    for column, prompt in list(enumerate(prompts))[1:]:
        some = paths.of(prompt, facts, chosen)
        prefix = _prefix_before(some, [row for row in first.rows if row.row in set(chosen)])
        if prefix is None:
            alone.append(_split((column,), some if every else paths.of(prompt, facts)))
        else:
            columns.append(column)
            prefixes.append(prefix)
    return [Layout(tuple(columns), tuple(prefixes), first.rows), *alone]


def _split(columns: tuple[int, ...], paths: list[TokenPath]) -> Layout:
    """Take off the beginning that all paths share."""
    if not paths:
        return Layout(columns, ((),) * len(columns), ())
    shared = min(min(path.start for path in paths) - 1,
                 min(common_length(paths[0].tokens, path.tokens) for path in paths))
    return Layout(columns, (paths[0].tokens[:shared],), tuple(path.after(shared) for path in paths))


def _prefix_before(paths: list[TokenPath], rows: Sequence[TokenPath]) -> tuple[int, ...] | None:
    """The tokens of another prompt before these very rows; None where the rows differ after it."""
    if not paths or len(paths) != len(rows):
        return None
    cut = len(paths[0].tokens) - len(rows[0].tokens)
    prefix = paths[0].tokens[:cut]
    if cut < 0 or any(path.tokens[:cut] != prefix or path.start <= cut for path in paths):
        return None
    return prefix if [path.after(cut) for path in paths] == list(rows) else None


def not_encodable(tokenizer: PreTrainedTokenizerBase, layouts: Sequence[Layout],
                  facts: Sequence[Fact]) -> dict[int, str]:
    """Question -> why no text of the model can ever equal its answer; questions that are fine are absent."""
    first = [row for layout in layouts for row in layout.rows if row.asked is not None]
    answers = [facts[row.row].object for row in first]
    complaints = _complaints(tokenizer, answers, [(row.asked, row.tokens) for row in first])
    return {row.row: complaint for row, complaint in zip(first, complaints, strict=True) if complaint}


def never_written(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, prompts: Sequence[Prompt],
                  facts: Sequence[Fact]) -> dict[int, str]:
    """:func:`not_encodable`, for those who need no layout."""
    return not_encodable(tokenizer, lay_out(tokenizer, model, prompts, facts), facts) if facts and prompts else {}


def _complaints(tokenizer: PreTrainedTokenizerBase, answers: Sequence[str],
                paths: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[str]:
    """Complaint about each answer, written by the tokens (asked, whole) after a prompt; "" where it is fine."""
    starts = [common_length(asked, whole) for asked, whole in paths]
    tokens = [list(whole[start:]) for (_, whole), start in zip(paths, starts, strict=True)]
    read = tokenizer.decode(tokens) if tokens else []
    merged = [tokenizer.decode(list(asked[start:])) for (asked, _), start in zip(paths, starts, strict=True)]
    return [_complaint(answer, text.removeprefix(before), tokenizer.unk_token_id in own)
            for answer, text, before, own in zip(answers, read, merged, tokens, strict=True)]


def _complaint(answer: str, decoded: str, unknown: bool) -> str:
    """``decoded`` is what the answer's tokens say; ``unknown``: one of them is the unknown token."""
    if "\n" in answer:
        return f"the answer {short(answer)} has a line break, and an answer ends at the first one; take it out"
    if not is_match(decoded, answer.strip()):
        return f"the answer {short(answer)} is not encodable: its tokens decode to {short(decoded.strip())}"
    return f"the answer {short(answer)} is not encodable: it takes the unknown token" if unknown else ""


@dataclass(frozen=True, slots=True)
class _Paths:
    tokenizer: PreTrainedTokenizerBase
    vocabulary: Vocabulary
    ends: tuple[int, ...]
    accepted: Callable[[Fact], Sequence[str]] | None

    def of(self, prompt: Prompt, facts: Sequence[Fact], rows: Sequence[int] | None = None) -> list[TokenPath]:
        """Every path of these rows of ``facts``, from the first token of the whole text on."""
        rows = range(len(facts)) if rows is None else rows
        texts = [prompt.text(facts[row].question) for row in rows]
        forms = [(at, form) for at, row in enumerate(rows) for form in surface_forms(
            facts[row].object, aliases=right_texts(facts[row], self.accepted)[1:])]  # the answer itself first
        asked = encode(self.tokenizer, texts)
        whole = encode(self.tokenizer, [f"{texts[at]} {form}" for at, form in forms])
        ended = encode(self.tokenizer, [f"{texts[at]} {form}\n" for at, form in forms])
        first = [i == 0 or forms[i - 1][0] != at for i, (at, _) in enumerate(forms)]
        further = [i for i, is_first in enumerate(first) if not is_first]
        complaints = _complaints(self.tokenizer, [forms[i][1] for i in further],
                                 [(asked[forms[i][0]], whole[i]) for i in further])
        adds_nothing = {i for i, complaint in zip(further, complaints, strict=True) if complaint}
        found: dict[tuple, TokenPath] = {}
        for i, (at, _) in enumerate(forms):
            for path in self._ways(rows[at], asked[at], whole[i], ended[i], first=first[i]):
                if path.start > 0 and i not in adds_nothing:
                    # a tokenizer that normalises its text gives two forms the same tokens: count them once
                    found.setdefault((path.row, path.tokens, path.ends), path)
        return list(found.values())

    def _ways(self, row: int, asked: list[int], gold: list[int], ended: list[int], *, first: bool) -> list[TokenPath]:
        """The canonical path, and the one in which the answer merges with the newline after it."""
        start = common_length(asked, gold)
        ways = [TokenPath(row, tuple(gold), start, self.ends, tuple(asked) if first else None)]
        before = ended[:-1]
        if before != gold and (ends := self._merged_ends(ended[-1])):
            ways.append(TokenPath(row, tuple(before), min(start, common_length(gold, before)), ends, None))
        return ways

    def _merged_ends(self, last: int) -> tuple[int, ...]:
        """All tokens that begin as ``last`` does, up to its newline; none if it holds no newline."""
        head, newline, _ = self.vocabulary.texts[last].partition("\n")
        if "\ufffd" in head:  # a part of a character: other parts look the same
            return (last,)
        return self.vocabulary.beginning(head + newline) if newline else ()
