"""The probability that the canonical tokens of an answer leave out: the same text, written with other tokens.

A sampler may write "Paris" as one token or letter by letter, so with s over *all* token sequences and x the prompt

    P(text | x) = sum over s with text(s) = answer of P(s | x)  >=  P(canonical tokens | x),

and :mod:`.engine` computes the right side alone. This module finds the left side on a sample of cells. It
walks the tree of all token sequences whose text can still become an accepted answer; a path ends at an end token or
at a newline, and counts if its text is right. Branches that weigh less than ``floor`` are cut and their weight is
added up, so that the result is an interval without any estimate in it:

    lower = weight of the right paths found,    upper = lower + weight of the cut branches.

The distribution is made by transformers' own warpers on plain forward passes over whole texts, without a KV cache and
without padding: no arithmetic is shared with the code that is measured. (Cao and Rimell, EMNLP 2021, "You should
evaluate your language model on marginal likelihood over tokenisations", estimate the left side by sampling.)

Shapes: B nodes of a batch, V vocabulary.
"""

from __future__ import annotations

import codecs
import itertools
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np

from course_lib.data.facts import Fact
from course_lib.files import CourseError
from course_lib.knowledge.scoring.distribution import Distribution, room
from course_lib.knowledge.scoring.engine import TEMPERATURE, TOP_K, score
from course_lib.knowledge.scoring.forward_pass import evaluation_mode
from course_lib.knowledge.scoring.prompts import Prompt, encode_answers, end_tokens, is_match, right_texts

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["Summary", "spelling_gap", "summary"]

BATCH_TOKENS, BATCH_LOGITS = 8192, 2**24  # most tokens, and most logits, of one forward pass
SLACK = 32  # tokens beyond the bytes of the longest answer: a model may write spaces for ever
BROKEN = "\ufffd"  # what a decoder shows for bytes that are no letter yet
_BYTE = re.compile("<0x[0-9A-F]{2}>")
ROUNDING = 1e-5  # difference of two passes in single precision where their batches differ


def spelling_gap(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, facts: Sequence[Fact],
                 prompts: Sequence[Prompt] | Mapping[str, Sequence[Prompt]], *, temperature: float = TEMPERATURE,
                 top_k: int = TOP_K, top_p: float = 1.0, accepted: Callable[[Fact], Sequence[str]] | None = None,
                 sample: int = 100, floor: float = 1e-7, seed: int = 0, progress: bool = False) -> pd.DataFrame:
    """Measure ``sample`` cells (question, prompt), drawn without replacement; all of them if there are fewer.

    ``prompts`` are for all facts, or by relation as ``slick.draw_prompts`` makes them. ``temperature``, ``top_k``,
    ``top_p`` and ``accepted`` (further right texts) are those of :func:`.engine.score`.

    Returns:
        One row a cell. ``row`` and ``prompt``: the numbers of fact and prompt. ``greedy``: whether the greedy answer
        is right. ``canonical``: the probability that ``score`` finds. ``lower`` and ``upper``: bounds of the
        probability of the text. Where ``score`` names a problem the three numbers are nan.

    Raises:
        CourseError: there is nothing to measure, ``sample`` or ``floor`` make no sense, ``score`` refuses the model,
            or ``canonical`` is above ``upper`` by more than rounding.
    """
    import torch

    if not 0 < floor < 1 or sample < 1:
        raise CourseError(f"floor = {floor}, sample = {sample}: floor must lie between 0 and 1, sample must be 1 or "
                          f"more; the defaults are 1e-7 and 100")
    cells = _draw(facts, prompts, sample, seed)
    frame = _canonical(model, tokenizer, cells, accepted, temperature=temperature, top_k=top_k, top_p=top_p)
    sound = frame["canonical"].notna()
    roots = [root for i in np.flatnonzero(sound) for root in _roots(tokenizer, i, cells[i], accepted)]
    tree = _Tree(model, tokenizer, Distribution(temperature, top_k, top_p).warpers(), floor, len(cells))
    with evaluation_mode(model), torch.inference_mode():
        tree.walk(roots, progress)
    frame["lower"] = np.where(sound, tree.found, np.nan)
    frame["upper"] = frame["lower"] + tree.cut  # upper = lower + weight of the cut branches
    _check(frame, model)
    return frame


@dataclass(frozen=True, slots=True)
class Summary:
    """A sample in a few numbers.

    The gap is ``lower - canonical``, what scoring is known to miss. ``uncertain`` is the largest ``upper - lower``.
    ``explained`` is the share of all probability found that the canonical tokens hold (nan if there is none).

    Only where the greedy answer is wrong do samples decide between WeaklyKnown and Unknown: these cells are
    ``relevant``. One is ``changed`` if its chance of a right answer among the samples moves by more than ``by``.
    """

    cells: int
    largest_gap: float
    mean_gap: float
    uncertain: float
    explained: float
    relevant: int
    changed: int
    by: float


def summary(frame: pd.DataFrame, *, n_samples: int = 16, by: float = 0.01) -> Summary:
    """Summarise a frame of :func:`spelling_gap`; cells that could not be scored are left out.

    Raises:
        CourseError: no cell is left.
    """
    known = frame.dropna(subset=["canonical"])
    if known.empty:
        raise CourseError("no cell of this frame could be scored; Scores.problems says why")
    canonical = known["canonical"].clip(0, 1)
    lower = known["lower"].clip(canonical, 1)  # rounding may put it a hair below
    relevant = ~known["greedy"]
    moved = (1 - canonical) ** n_samples - (1 - lower) ** n_samples  # of the chance of one right sample in n
    explained = float(canonical.sum() / lower.sum()) if lower.any() else float("nan")
    return Summary(len(known), float((lower - canonical).max()), float((lower - canonical).mean()),
                   float((known["upper"] - known["lower"]).max()), explained, int(relevant.sum()),
                   int((relevant & (moved > by)).sum()), by)


@dataclass(frozen=True, slots=True)
class _Cell:
    row: int
    column: int
    fact: Fact
    prompt: Prompt


def _draw(facts: Sequence[Fact], prompts: Sequence[Prompt] | Mapping[str, Sequence[Prompt]], sample: int,
          seed: int) -> list[_Cell]:
    """Some of all cells, in the order of the facts."""
    try:
        every = [_Cell(row, column, fact, prompt) for row, fact in enumerate(facts) for column, prompt in
                 enumerate(prompts[fact.relation] if isinstance(prompts, Mapping) else prompts)]
    except KeyError as error:
        raise CourseError(f"no prompts for relation {error}; draw them from exemplars that hold it") from None
    if not every:
        raise CourseError("spelling_gap: there is no cell to measure; give at least one fact and one prompt")
    chosen = np.random.default_rng(seed).choice(len(every), min(sample, len(every)), replace=False)
    return [every[i] for i in sorted(chosen)]


def _canonical(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, cells: list[_Cell],
               accepted: Callable[[Fact], Sequence[str]] | None, **settings: float) -> pd.DataFrame:
    """Columns row, prompt, greedy, canonical: one call of ``score`` a prompt."""
    import pandas as pd

    greedy, canonical, groups = np.zeros(len(cells), bool), np.zeros(len(cells)), defaultdict(list)
    for number, cell in enumerate(cells):
        groups[cell.prompt].append(number)
    for prompt, numbers in groups.items():
        scores = score(model, tokenizer, [cells[i].fact for i in numbers], [prompt], accepted=accepted, **settings)
        greedy[numbers], canonical[numbers] = scores.greedy[:, 0], np.exp(scores.log_probability[:, 0])
    return pd.DataFrame({"row": [cell.row for cell in cells], "prompt": [cell.column for cell in cells],
                         "greedy": greedy, "canonical": canonical})


def _check(frame: pd.DataFrame, model: PreTrainedModel) -> None:
    """Refuse canonical tokens, which are one of the paths, with more probability than all paths together."""
    import torch

    coarser = torch.finfo(model.dtype).eps / torch.finfo(torch.float32).eps  # 65,536 in bfloat16: nothing is checked
    for cell in frame[frame["canonical"] > frame["upper"] + ROUNDING * max(1, coarser)].itertuples():
        raise CourseError(f"fact {cell.row}, prompt {cell.prompt}: the canonical tokens have probability "
                          f"{cell.canonical:.9f}, all spellings together at most {cell.upper:.9f}; this cannot be, so "
                          f"please report it with the model and the tokenizer")


@dataclass(frozen=True, slots=True)
class _Root:
    """A tree: it stands after the tokens ``before``, and ``texts`` are right.

    Where a token merges across the prompt/answer boundary, the answer's tokens begin inside the prompt, and so does the
    tree: ``owed`` is the rest of the prompt's text, which must come first. Else it is empty.
    """

    cell: int
    before: tuple[int, ...]
    owed: str
    texts: tuple[str, ...]

    def answer(self, text: str) -> str | None:
        """Answer so far; None while the prompt is not complete."""
        return text[len(self.owed):] if text.startswith(self.owed) else None

    def matches(self, text: str) -> bool:
        """Check whether a finished text is right."""
        answer = self.answer(text)
        return answer is not None and any(is_match(answer, right) for right in self.texts)

    def may_match(self, text: str) -> bool:
        """Check whether an unfinished text may still become right."""
        answer = self.answer(text)
        if answer is None:
            return self.owed.startswith(text.split(BROKEN)[0])
        return any(_may_become(answer.strip(), right) for right in self.texts)

    @property
    def longest(self) -> int:
        """Number of tokens after which a path is cut."""
        return max(len(f"{self.owed}{text}".encode()) for text in self.texts) + SLACK


def _may_become(text: str, right: str) -> bool:
    """Check whether more tokens can turn ``text`` into ``right``, letters with marks (é) written in either way.

    Bytes at the end that are no letter yet may become any; what is broken further ahead stays so. Marks at the end may
    still change their order. Spaces at the ends play no part.
    """
    text, right = (unicodedata.normalize("NFD", part) for part in (text, right))
    known, _, unknown = text.partition(BROKEN)
    if BROKEN in right:
        wanted = right.partition(BROKEN)[0]
        return wanted.startswith(known) or known.startswith(wanted)
    while known and unicodedata.combining(known[-1]):
        known = known[:-1]
    return not unknown and right.startswith(known)


def _roots(tokenizer: PreTrainedTokenizerBase, number: int, cell: _Cell,
           accepted: Callable[[Fact], Sequence[str]] | None) -> list[_Root]:
    """The trees of a cell: one, or more where a token merges across the boundary for some of the texts."""
    texts = dict.fromkeys(text.strip() for text in right_texts(cell.fact, accepted))  # spaces at its ends do not count
    encoded = encode_answers(tokenizer, cell.prompt, [
        SimpleNamespace(question=cell.fact.question, object=text) for text in texts])
    groups = defaultdict(list)
    for text, tokens in zip(texts, encoded, strict=True):
        groups[tokens.prompt, tokens.start].append(text)
    return [_Root(number, prompt[:start], tokenizer.decode(list(prompt[start:]), skip_special_tokens=True),
                  tuple(group)) for (prompt, start), group in groups.items()]


@dataclass(frozen=True, slots=True)
class _Node:
    """A token sequence after a root, its text and its probability."""

    root: _Root
    tokens: tuple[int, ...]
    text: str
    p: float

    @property
    def context(self) -> tuple[int, ...]:
        """The tokens that the next one is predicted from."""
        return (*self.root.before, *self.tokens)


class _Tree:
    """All trees at once, level by level. ``found`` and ``cut`` hold one weight a cell."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, warpers: list[Callable],
                 floor: float, cells: int) -> None:
        self.model, self.tokenizer, self.warpers, self.floor = model, tokenizer, warpers, floor
        self.found, self.cut = np.zeros(cells), np.zeros(cells)
        self.stops = np.array(end_tokens(tokenizer, model), int)
        self.special, self.room = set(tokenizer.all_special_ids), room(model).tokens
        texts = tokenizer.decode(self.stops[:, None].tolist(), skip_special_tokens=True)
        self.silent = self.stops[[not text for text in texts]]  # the rest of a prompt may begin with a newline

    def walk(self, roots: Sequence[_Root], progress: bool) -> None:
        """Fill ``found`` and ``cut``, all nodes of one depth at a time."""
        from tqdm.auto import tqdm

        nodes = [_Node(root, (), "", 1.0) for root in roots]
        with tqdm(desc="spellings", unit="node", disable=not progress) as bar:
            while nodes:
                bar.update(len(nodes))
                nodes = [child for batch in self._batches(nodes)
                         for node, row in zip(batch, self._distribution(batch), strict=True)
                         for child in self._children(node, node.p * row)]  # P(s, t | x) = P(s | x) P(t | x, s)

    def _batches(self, nodes: list[_Node]) -> Iterator[list[_Node]]:
        """Nodes of the same length together, so that nothing is padded."""
        groups, vocabulary = defaultdict(list), self.model.config.get_text_config().vocab_size
        for node in nodes:
            groups[len(node.context)].append(node)
        for length, group in groups.items():
            size = max(1, min(BATCH_TOKENS // length, BATCH_LOGITS // vocabulary))
            yield from (group[i:i + size] for i in range(0, len(group), size))

    def _distribution(self, batch: list[_Node]) -> np.ndarray:
        """Probabilities (B, V) of the next token."""
        import torch

        ids = torch.tensor([node.context for node in batch], device=self.model.device)  # (B, tokens)
        logits = self.model(input_ids=ids, use_cache=False, logits_to_keep=1).logits[:, -1].float()  # (B, V)
        for warper in self.warpers:
            logits = warper(ids, logits)
        return logits.double().softmax(-1).cpu().numpy()  # P(t | x, s)

    def _settled(self, path: tuple[int, ...], text: str) -> str:
        """``text`` with the letters that the bytes at its end make already, and one broken sign for those still open.

        A tokenizer that falls back to bytes shows the whole run of them as broken while its last letter is open.
        """
        names = self.tokenizer.convert_ids_to_tokens([token for token in path if token not in self.special])
        run = list(itertools.takewhile(_BYTE.fullmatch, reversed([name for name in names if name])))
        try:
            letters = codecs.getincrementaldecoder("utf-8")().decode(bytes(int(name[3:5], 16) for name in run[::-1]))
        except UnicodeDecodeError:  # never a letter, whatever follows
            return text + BROKEN
        return text.rstrip(BROKEN) + letters + BROKEN if run else text

    def _children(self, node: _Node, row: np.ndarray) -> list[_Node]:
        """The children to continue from; ``row`` (V,) holds the weight of every child, and is used up."""
        root, cell = node.root, node.root.cell
        stops = self.silent if root.answer(node.text) is None else self.stops
        stops = stops[stops < len(row)]
        self.found[cell] += row[stops].sum() * root.matches(node.text)  # the path ends here: a part of lower
        row[stops] = 0
        light = row < self.floor / len(row)  # all of them together weigh less than the floor
        self.cut[cell] += row[light].sum()  # upper - lower
        paths = [(*node.tokens, token) for token in np.flatnonzero(~light).tolist()]
        texts = self.tokenizer.decode([list(path) for path in paths], skip_special_tokens=True) if paths else []
        children, cut = [], []
        for path, text, p in zip(paths, texts, row[~light].tolist(), strict=True):
            if "\n" in (root.answer(text) or ""):
                self.found[cell] += p * root.matches(text)
            elif root.may_match(self._settled(path, text) if text.endswith(BROKEN) else text):
                more = len(path) < root.longest and len(root.before) + len(path) <= self.room
                (children if p >= self.floor and more else cut).append(_Node(root, path, text, p))
        self.cut[cell] += sum(child.p for child in cut)
        return children
