"""Is a greedy answer right? Followed to its end, where it leaves the canonical tokens but not the text.

One teacher-forced pass shows the most likely token at every step of the canonical answer. Up to the first step where
it differs, greedy decoding has written the canonical tokens. From there it can still spell the same text with other
tokens, so it is followed, token by token, as long as its text can become an accepted answer. Nearly always the first
differing token already settles it; the few answers that it does not are gone on with together.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from course_lib.knowledge.scoring.distribution import room
from course_lib.knowledge.scoring.prompts import common_length, end_tokens, is_match, normal
from course_lib.knowledge.scoring.shared_prefix import Prompts
from course_lib.knowledge.scoring.token_paths import Spelling

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["Greedy", "can_become"]

SLACK = 8  # tokens beyond the bytes of an answer after which greedy decoding is taken to write spaces for ever


@dataclass(frozen=True, slots=True)
class _Open:
    """A greedy answer that is not finished: ``written`` after the prompt ``column``, for the question of ``row``."""

    column: int
    row: Spelling
    written: tuple[int, ...]
    forms: tuple[str, ...]


@dataclass(slots=True)
class Greedy:
    """Judges greedy answers; ``tell(row, column, right)`` is called once for each, at once or in :meth:`finish`.

    ``right`` is None where the model has no room to go on.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    tell: Callable[[Spelling, int, bool | None], None]
    _open: list[_Open] = field(default_factory=list)
    _seen: dict[tuple[int, tuple[int, ...]], bool | None] = field(default_factory=dict)
    _ends: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        self._ends = frozenset(end_tokens(self.tokenizer, self.model))

    def judge(self, column: int, row: Spelling, best: Sequence[int], forms: tuple[str, ...]) -> None:
        """``best`` are the most likely tokens at ``row.steps``, along the canonical path of the answer ``forms[0]``."""
        written: tuple[int, ...] = ()
        if row.start == len(row.asked):
            forced = row.tokens[row.start:]
            same = common_length(best, forced)
            written = (*forced[:same], int(best[same]))
        self._go_on(_Open(column, row, written, forms))

    def finish(self, prompts: Prompts, *, rows: int = 32) -> None:
        """Write the open answers on, one token a pass, until each is settled; ``rows`` answers a pass."""
        if not self._open:
            return
        most = room(self.model).tokens
        while self._open:
            waiting, self._open = self._open, []
            for column, group in _by_column(waiting):
                group = self._fitting(group, most - len(prompts.prompts[column]))
                for first in range(0, len(group), rows):
                    some = group[first:first + rows]
                    texts = [(*answer.row.asked, *answer.written) for answer in some]
                    logits = prompts.logits(texts, [range(len(text) - 1, len(text)) for text in texts],
                                            slice(column, column + 1))
                    for answer, token in zip(some, logits[0].argmax(-1).tolist(), strict=True):
                        self._go_on(_Open(column, answer.row, (*answer.written, token), answer.forms))

    def _fitting(self, group: Sequence[_Open], most: float) -> list[_Open]:
        """The answers that leave the model room to read them; the others are told to be open."""
        fits = [len(answer.row.asked) + len(answer.written) <= most for answer in group]
        for answer in itertools.compress(group, [not fit for fit in fits]):
            self.tell(answer.row, answer.column, None)
        return list(itertools.compress(group, fits))

    def _go_on(self, answer: _Open) -> None:
        """Tell the verdict where there is one: ties between tokens are broken by argmax, as ``generate`` does."""
        key = (answer.row.row, answer.written)  # after other prompts the same wrong token is common
        if key not in self._seen:
            self._seen[key] = self._verdict(answer.written, answer.forms)
        if (verdict := self._seen[key]) is None:
            self._open.append(answer)
        else:
            self.tell(answer.row, answer.column, verdict)

    def _verdict(self, written: tuple[int, ...], forms: Sequence[str]) -> bool | None:
        """Right or wrong; None where the text is not finished and may still become right."""
        ended = bool(written) and written[-1] in self._ends
        text = self.tokenizer.decode(list(written[:len(written) - ended]), skip_special_tokens=True)
        if ended or "\n" in text or len(written) > max(len(form.encode()) for form in forms) + SLACK:
            return any(is_match(text, form) for form in forms)
        return None if any(can_become(text.strip(), form) for form in forms) else False


def _by_column(waiting: Sequence[_Open]) -> Iterator[tuple[int, list[_Open]]]:
    groups: dict[int, list[_Open]] = defaultdict(list)
    for answer in waiting:
        groups[answer.column].append(answer)
    yield from groups.items()


def can_become(text: str, answer: str) -> bool:
    """Whether a text may go on to be the answer; bytes that are no letter yet ("\ufffd") may still become any."""
    text, answer = normal(text), normal(answer)
    sure, wanted = text.split("\ufffd")[0], answer.split("\ufffd")[0]
    return answer.startswith(sure) or (wanted != answer and sure.startswith(wanted))
