"""The exact probability that a causal model gives an answer, and whether greedy decoding gives it: no sampling.

For an answer of tokens t_1 ... t_n after a prompt x, sampled at temperature T among the k best tokens,

    P(answer | x) = prod_i P_T,k(t_i | x, t_<i) * sum over e in E of P_T,k(e | x, t_1..n),

where E is the set of tokens that end an answer: end of text, and every token that begins with a newline. One
teacher-forced forward pass gives all factors (Hayes et al. 2024, arXiv 2410.19482). Greedy decoding is right exactly
when each t_i, and then some e, is the most likely token. Gekhman et al. 2024 (arXiv 2405.05904, App. C) sample instead:
17 generations for each of 10 prompts.

What is exact: the probability of the *canonical* tokens of the answer. A sampler may also write the same text with
other tokens, so the value is a lower bound; for common tokenizers the gap is small. Whether the greedy answer matches
has no such gap: where greedy decoding leaves the canonical tokens but not the text, it is followed to its end. It is
what ``generate(do_sample=False)`` writes after the prompt, special tokens skipped.

Shapes: Q questions, P prompts, R rows of a block, N steps of a block, V vocabulary.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from course_lib.data.facts import Fact
from course_lib.files import CourseError
from course_lib.knowledge.scoring.batching import block_size, default_batch_tokens
from course_lib.knowledge.scoring.distribution import NOT_FINITE, Distribution, refuse_changed_distribution, room
from course_lib.knowledge.scoring.forward_pass import evaluation_mode
from course_lib.knowledge.scoring.greedy import Greedy
from course_lib.knowledge.scoring.prompts import INSTRUCTION, Prompt, Remembered, end_tokens, right_texts
from course_lib.knowledge.scoring.scores import Scores
from course_lib.knowledge.scoring.shared_prefix import Prompts
from course_lib.knowledge.scoring.token_paths import Layout, TokenPath, lay_out, not_encodable
from course_lib.models.four_bit import merged_for_evaluation
from course_lib.models.hardware import device, out_of_memory

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["TEMPERATURE", "TOP_K", "exact_match", "score"]

TEMPERATURE, TOP_K = 0.5, 40  # paper, App. C
_last = Remembered()  # tokenizer -> the questions that were asked last, and their layouts
CHUNK = 2048  # questions whose tokens are held at once: memory does not grow with the number of questions


def score(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, facts: Sequence[Fact], prompts: Sequence[Prompt],
          *, temperature: float | None = TEMPERATURE, top_k: int = TOP_K, top_p: float | None = None,
          accepted: Callable[[Fact], Sequence[str]] | None = None, ended: bool = True,
          batch_tokens: int | None = None) -> Scores:
    """Score the gold answer of every fact after every prompt.

    Args:
        temperature, top_k, top_p: the sampling distribution, applied in this order as transformers does, ties kept.
            ``temperature=None`` computes only whether the greedy answer matches; ``top_k=0`` keeps the whole
            vocabulary. ``top_p=None`` wants none, and refuses a model that has one stored; a number decides.
        accepted: further texts that count as right for a fact, such as ``surface_forms``; a closed list, summed. One
            that is not encodable is left out: the model never writes it.
        ended: False asks for the probability that the text only begins with the answer; ``greedy`` then looks at the
            canonical tokens alone.
        batch_tokens: most tokens in one forward pass; None finds it from the free memory. Out of memory, blocks are
            halved and nothing that is finished is lost.

    The model is put in evaluation mode meanwhile. A question that cannot be scored is named in ``problems``; the others
    are not touched by it.

    Raises:
        CourseError: the model's own generation settings would change the distribution, it is no causal language
            model, or a temperature or top-p makes no sense.
    """
    import torch

    refuse_changed_distribution(model, top_p=top_p, sampling=temperature is not None)
    distribution = None if temperature is None else Distribution(temperature, top_k, 1.0 if top_p is None else top_p)
    scores = Scores.empty(len(facts), len(prompts))
    with evaluation_mode(model), torch.inference_mode(), merged_for_evaluation(model):
        for first in range(0, len(facts) if prompts else 0, CHUNK):
            rows = range(first, min(first + CHUNK, len(facts)))
            part = _Pass(model, tokenizer, [facts[row] for row in rows], prompts, distribution, accepted, ended)
            scores.put(list(rows), part.run(batch_tokens))
    return scores


def exact_match(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, facts: Sequence[Fact],
                prompt: Prompt = INSTRUCTION, *, accepted: Callable[[Fact], Sequence[str]] | None = None,
                batch_tokens: int | None = None) -> np.ndarray:
    """Exact match of the greedy answer to each fact after ``prompt``; shape (Q,), bool."""
    return score(model, tokenizer, facts, [prompt], temperature=None, accepted=accepted,
                 batch_tokens=batch_tokens).greedy[:, 0]


def _laid_out(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, prompts: Sequence[Prompt],
              facts: Sequence[Fact], accepted: Callable[[Fact], Sequence[str]] | None
              ) -> tuple[list[Layout], dict[int, str]]:
    """The layouts of all questions and what is not encodable; the last ones are remembered.

    A run asks the same after every epoch, and to find the tokens again takes a tenth of the time.
    """
    key = (tuple(facts), tuple(prompts), end_tokens(tokenizer, model))
    if accepted is None and (last := _last.get(tokenizer)) and last[0] == key:
        return last[1]
    layouts = lay_out(tokenizer, model, prompts, facts, accepted=accepted)
    found = layouts, not_encodable(tokenizer, layouts, facts)
    if accepted is None:
        _last.put(tokenizer, (key, found))
    return found


class _Pass:
    """One chunk of questions after all prompts."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, facts: Sequence[Fact],
                 prompts: Sequence[Prompt], distribution: Distribution | None,
                 accepted: Callable[[Fact], Sequence[str]] | None, ended: bool) -> None:
        self.model, self.tokenizer, self.facts, self.prompts = model, tokenizer, facts, prompts
        self.distribution, self.accepted, self.ended = distribution, accepted, ended
        self.scores = Scores.empty(len(facts), len(prompts))

    def run(self, batch_tokens: int | None) -> Scores:
        """Score all questions that can be scored, layout by layout."""
        layouts, complaints = _laid_out(self.tokenizer, self.model, self.prompts, self.facts, self.accepted)
        self._reject(layouts, dict(complaints))
        limit = batch_tokens or default_batch_tokens(self.model)
        for layout in layouts:
            # a further path only adds probability
            rows = [row for row in layout.rows if row.row not in self.scores.problems
                    and (self.distribution or row.asked is not None)]
            if rows:
                self._score_layout(layout, sorted(rows, key=lambda row: -len(row.tokens)), limit)
        return self.scores

    def _reject(self, layouts: Sequence[Layout], found: dict[int, str]) -> None:
        """Take out the questions that cannot be scored, with the reason; some are ``found`` already."""
        most = room(self.model)
        for layout in layouts:
            before = max(map(len, layout.prefixes), default=0)
            for row in layout.rows:  # the token that ends an answer is predicted, and never read
                if before + len(row.tokens) > most.tokens:
                    found.setdefault(row.row, f"prompt and answer take {before + len(row.tokens):,} tokens and "
                                              f"{most.why}; shorten the answer or take fewer shots")
            missing = set(range(len(self.facts))) - {row.row for row in layout.rows}
            found |= {row: "no token of the prompt stands before the answer; put some text in front" for row in missing}
        for row, why in found.items():
            self.scores.reject(row, why)

    def _score_layout(self, layout: Layout, rows: list[TokenPath], limit: int) -> None:
        """Score ``rows``, longest first, in blocks; out of memory, continue with smaller ones."""
        filler = self.tokenizer.pad_token_id
        prompts = Prompts(self.model, layout.prefixes, filler=0 if filler is None else filler)
        prompts.choose_way([row.tokens for row in rows], [row.steps for row in rows])
        greedy = Greedy(self.model, self.tokenizer, functools.partial(self._settle, layout))
        groups = max(1, min(prompts.together, limit // len(rows[0].tokens)))  # prompts in one forward pass
        tasks = deque((slice(first, first + groups), rows) for first in range(0, len(layout.prefixes), groups))
        while tasks:
            columns, left = tasks.popleft()
            many = len(layout.prefixes[columns])
            block = left[:block_size([len(row.tokens) for row in left], limit // many)]
            try:
                self._score_block(prompts, layout, columns, block, greedy)
            except (MemoryError, RuntimeError) as error:
                if not out_of_memory(error):
                    raise
                limit = self._smaller(limit, len(block[0].tokens) * len(block) * many, many)
                if len(block) == 1 and many > 1:  # then fewer prompts at once
                    middle = columns.start + many // 2
                    tasks.extendleft([(slice(middle, columns.stop), left), (slice(columns.start, middle), left)])
                else:
                    tasks.appendleft((columns, left))
                continue
            if left[len(block):]:
                tasks.appendleft((columns, left[len(block):]))
        greedy.finish(prompts)

    def _settle(self, layout: Layout, row: TokenPath, column: int, right: bool | None) -> None:
        if right is None:
            self.scores.reject(row.row, f"the greedy answer continues where {room(self.model).why} tokens; "
                                        f"take fewer shots")
        if row.row not in self.scores.problems:
            self.scores.greedy[row.row, layout.columns[column]] = right

    def _smaller(self, limit: int, tokens: int, prompts: int) -> int:
        """Half of what did not fit."""
        import torch

        if device() == "cuda":
            torch.cuda.empty_cache()
        if prompts == 1 and limit < 2:
            raise CourseError("not enough memory for one row; free some, or take a smaller model")
        return max(1, min(limit, tokens) // 2)

    def _score_block(self, prompts: Prompts, layout: Layout, columns: slice, rows: list[TokenPath],
                     greedy: Greedy) -> None:
        """One forward pass: ``rows`` after the prompts ``columns``; all of it is written, or nothing."""
        import torch

        logits = prompts.logits([row.tokens for row in rows], [row.steps for row in rows], columns)  # (P, N, V)
        many, steps = logits.shape[:2]
        flat = logits.flatten(0, 1)  # (P * N, V)
        top = flat.topk(2, dim=-1).values  # the two best logits of each step, (P * N, 2)
        best = flat.argmax(-1).view(many, steps).tolist()  # generate breaks ties by argmax
        margin = (top[:, 0] - top[:, 1]).view(many, steps).cpu().numpy()  # (P, N)
        finite = torch.isfinite(top[:, 0]).view(many, steps).cpu().numpy()
        starts = np.cumsum([0, *(len(row.steps) for row in rows)])  # where the steps of each row begin, (R + 1,)
        total = self._log_probability(flat, rows, starts[:-1], many) if self.distribution else None  # (P, R)
        closest = np.minimum.reduceat(margin, starts[:-1], axis=1)  # (P, R)
        whole = np.logical_and.reduceat(finite, starts[:-1], axis=1).all(0)  # (R,)
        which = range(*columns.indices(len(layout.columns)))
        at = [layout.columns[column] for column in which]
        for number, row in enumerate(rows):
            if not whole[number]:
                self.scores.reject(row.row, NOT_FINITE)
            if row.row in self.scores.problems:
                continue
            if total is not None:  # log(P(this path) + P(paths so far))
                self.scores.log_probability[row.row, at] = np.logaddexp(
                    self.scores.log_probability[row.row, at], total[:, number])
            if row.asked is not None:
                self.scores.margin[row.row, at] = closest[:, number]
                forms, span = right_texts(self.facts[row.row], self.accepted), slice(*starts[number:number + 2])
                for column, tokens in zip(which, best, strict=True):
                    if self.ended:
                        greedy.judge(column, row, tokens[span], forms)
                    else:
                        greedy.settle(row, column, tokens[span][:-1] == list(row.tokens[row.start:]))

    def _log_probability(self, logits: torch.Tensor, rows: list[TokenPath], starts: np.ndarray,
                         many: int) -> np.ndarray:
        """Natural logarithms (P, R) of the paths' probabilities, from logits (P * N, V)."""
        import torch

        forced = np.array([token for row in rows for token in (*row.tokens[row.start:], -1)])  # t_i; -1: any e in E
        steps, inner = len(forced), forced >= 0
        table = self.distribution.next_token(logits)
        values = np.zeros((many, steps))
        columns = torch.arange(many, device=logits.device)[:, None] * steps

        def look_up(at: np.ndarray, tokens: torch.Tensor) -> np.ndarray:
            """log sum over tokens (n, m) at steps (n,), after each prompt: (P, n)."""
            where = (columns + torch.from_numpy(at).to(logits.device)).flatten()
            found = table.log_probability(where, tokens.to(logits.device).repeat(many, 1))
            return found.logsumexp(-1).view(many, len(at)).cpu().numpy()

        values[:, inner] = look_up(np.flatnonzero(inner), torch.from_numpy(forced[inner])[:, None])  # log P(t_i | ...)
        last = np.flatnonzero(~inner)
        for ends in {row.ends for row in rows} if self.ended else ():
            mine = last[[row.ends == ends for row in rows]]
            known = torch.tensor([end for end in ends if end < logits.shape[1]], dtype=torch.long)
            values[:, mine] = look_up(mine, known.expand(len(mine), -1))  # log sum over e in E of P(e | ...)
        return np.add.reduceat(values, starts, axis=1)  # the product over the steps of each row
