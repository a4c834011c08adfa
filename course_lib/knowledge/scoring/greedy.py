"""Whether a greedy answer is right: followed to its end, where it leaves the canonical tokens but not the text.

One teacher-forced pass shows the most likely token at every step of the canonical answer. Up to the first step where
it differs, greedy decoding has written the canonical tokens. From there it can still write the same text with other
tokens, so it is followed, token by token, as long as its text can become an accepted answer. Nearly always the first
differing token already settles it; the few answers that it does not are continued together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from course_lib.knowledge.scoring.distribution import room
from course_lib.knowledge.scoring.prompts import common_length, end_tokens, is_match, normal
from course_lib.knowledge.scoring.shared_prefix import Prompts
from course_lib.knowledge.scoring.token_paths import TokenPath

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["Greedy"]

SLACK = 8  # tokens beyond the bytes of an answer after which greedy decoding is taken to write spaces for ever


@dataclass(frozen=True, slots=True)
class _Open:
    """A greedy answer that is not finished: ``written`` after the prompt ``column``, for the question of ``row``."""

    column: int
    row: TokenPath
    written: tuple[int, ...]
    forms: tuple[str, ...]

    @property
    def text(self) -> tuple[int, ...]:
        """The tokens of the prompt and of what is written."""
        return (*self.row.asked, *self.written)


@dataclass(slots=True)
class Greedy:
    """Judges greedy answers; ``settle(row, column, right)`` is called once for each, at once or in :meth:`finish`.

    ``right`` is None where the model has no room to continue.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    settle: Callable[[TokenPath, int, bool | None], None]
    _open: list[_Open] = field(default_factory=list)
    _seen: dict[tuple[int, tuple[int, ...]], bool | None] = field(default_factory=dict)
    _ends: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        self._ends = frozenset(end_tokens(self.tokenizer, self.model))

    def judge(self, column: int, row: TokenPath, best: Sequence[int], forms: tuple[str, ...]) -> None:
        """Judge from ``best``, the most likely tokens at ``row.steps`` along the canonical path of ``forms[0]``."""
        written: tuple[int, ...] = ()
        if row.start == len(row.asked):
            forced = row.tokens[row.start:]  # t_1 ... t_n
            same = common_length(best, forced)  # greedy decoding leaves them after so many
            written = (*forced[:same], int(best[same]))
        self._continue(_Open(column, row, written, forms))

    def finish(self, prompts: Prompts, *, rows: int = 32) -> None:
        """Continue the open answers, one token a forward pass, until each is settled; ``rows`` answers a pass."""
        most = room(self.model).tokens if self._open else 0
        while self._open:
            columns: dict[int, list[_Open]] = defaultdict(list)
            for answer in self._open:
                if len(prompts.prompts[answer.column]) + len(answer.text) <= most:
                    columns[answer.column].append(answer)
                else:
                    self.settle(answer.row, answer.column, None)
            self._open = []
            for column, group in columns.items():
                for some in (group[first:first + rows] for first in range(0, len(group), rows)):
                    texts = [answer.text for answer in some]
                    logits = prompts.logits(texts, [range(len(text) - 1, len(text)) for text in texts],
                                            slice(column, column + 1))  # (1, rows, V)
                    for answer, token in zip(some, logits[0].argmax(-1).tolist(), strict=True):
                        self._continue(_Open(column, answer.row, (*answer.written, token), answer.forms))

    def _continue(self, answer: _Open) -> None:
        """Settle the answer where there is a verdict: argmax breaks ties between tokens, as ``generate`` does."""
        key = (answer.row.row, answer.written)  # after other prompts the same wrong token is common
        if key not in self._seen:
            self._seen[key] = self._verdict(answer.written, answer.forms)
        if (verdict := self._seen[key]) is None:
            self._open.append(answer)
        else:
            self.settle(answer.row, answer.column, verdict)

    def _verdict(self, written: tuple[int, ...], forms: Sequence[str]) -> bool | None:
        """Right or wrong; None where the text is not finished and may still become right."""
        ended = bool(written) and written[-1] in self._ends
        text = self.tokenizer.decode(list(written[:len(written) - ended]), skip_special_tokens=True)
        if ended or "\n" in text or len(written) > max(len(form.encode()) for form in forms) + SLACK:
            return any(is_match(text, form) for form in forms)
        return None if any(_can_become(text.strip(), form) for form in forms) else False


def _can_become(text: str, answer: str) -> bool:
    """Check whether a text may continue to the answer; bytes that are no letter yet ("\ufffd") may still become any."""
    text, answer = normal(text), normal(answer)
    sure, wanted = text.split("\ufffd")[0], answer.split("\ufffd")[0]
    return answer.startswith(sure) or (wanted != answer and sure.startswith(wanted))
