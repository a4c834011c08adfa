"""What the scoring engine is compared with: plain passes over whole texts, transformers' warpers, and generate."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from course_lib.data.facts import Fact
from course_lib.knowledge.scoring.engine import exact_match
from course_lib.knowledge.scoring.prompts import INSTRUCTION, is_match
from tests.support.tiny import FEW_SHOT, PLAIN, SUBJECTS, newlines


def prompt_ids(tokenizer, text):
    ids = tokenizer(text)["input_ids"]
    return ids[:-1] if ids[-1] == tokenizer.eos_token_id else ids


@dataclass(frozen=True)
class Draw:
    """A sampling distribution."""

    temperature: float = 0.5
    top_k: int = 40
    top_p: float = 1.0

    @property
    def settings(self):
        return {"temperature": self.temperature, "top_k": self.top_k, "top_p": self.top_p}

    def next_tokens(self, model, rows):
        """Probabilities (rows, V) of the next token after rows of one length."""
        with torch.no_grad():
            logits = model(input_ids=torch.tensor(rows), use_cache=False).logits[:, -1].float()
        logits = TemperatureLogitsWarper(self.temperature)(None, logits)
        if self.top_k:
            logits = TopKLogitsWarper(self.top_k)(None, logits)
        if self.top_p < 1:
            logits = TopPLogitsWarper(self.top_p)(None, logits)
        return logits.double().softmax(-1).numpy()


def paths(tokenizer, text, answer):
    """[(tokens, ids that may end them)]: the canonical tokens; and, where a newline merges with them, that form."""
    before, whole = prompt_ids(tokenizer, text), prompt_ids(tokenizer, f"{text} {answer}")
    ended = prompt_ids(tokenizer, f"{text} {answer}\n")
    assert whole[:len(before)] == before
    found = [(tuple(whole[len(before):]), {tokenizer.eos_token_id, *newlines(tokenizer)})]
    if ended[:-1] != whole:
        head = tokenizer.convert_ids_to_tokens(ended[-1]).partition("Ċ")[0] + "Ċ"
        found.append((tuple(ended[len(before):-1]),
                      {token for string, token in tokenizer.get_vocab().items() if string.startswith(head)}))
    return found


def without_cache(model, tokenizer, text, answer, draw):
    """Probability of an answer over all its paths: one plain pass over the whole text for every token of it."""
    before, total = prompt_ids(tokenizer, text), 0.0
    for tokens, ends in paths(tokenizer, text, answer):
        steps = [draw.next_tokens(model, [[*before, *tokens[:i]]])[0] for i in range(len(tokens) + 1)]
        total += np.prod([step[token] for step, token in zip(steps, tokens, strict=False)]) * steps[-1][[*ends]].sum()
    return total


def samples(model, tokenizer, text, draw, count, *, tokens=12, seed=0):
    """Token rows (count, up to ``tokens``) that ``generate`` draws after a text."""
    torch.manual_seed(seed)
    ids = torch.tensor([prompt_ids(tokenizer, text)])
    out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=True, max_new_tokens=tokens,
                         num_return_sequences=count, pad_token_id=tokenizer.eos_token_id, **draw.settings)
    return [tuple(row) for row in out[:, ids.shape[1]:].tolist()]


def canonical_answers(tokenizer, text, rows, *, most, least=1):
    """The ``most`` answers that samples wrote with their canonical tokens and ended, ``least`` times at the least."""
    golds, ends = Counter(), {tokenizer.eos_token_id, *newlines(tokenizer)}
    for row, number in Counter(rows).items():
        cut = next((i for i, token in enumerate(row) if token in ends), 0)
        gold = tokenizer.decode(row[:cut]).strip()
        if gold and "\ufffd" not in gold and paths(tokenizer, text, gold)[0][0] == row[:cut]:
            golds[gold] += number
    return [gold for gold, number in golds.most_common(most) if number >= least]


def written_greedily(model, tokenizer, texts, *, tokens=20):
    """What ``generate`` writes after each text, all in one batch padded on the left; None where no end was reached.

    Byte fallback shows a newline beside a byte that is no letter as one more "\ufffd": then nobody can say where the
    line ended, and it is None too.
    """
    rows = [prompt_ids(tokenizer, text) for text in texts]
    longest = max(map(len, rows))
    ids = torch.tensor([[tokenizer.eos_token_id] * (longest - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    out = model.generate(ids, attention_mask=mask, do_sample=False, max_new_tokens=tokens,
                         pad_token_id=tokenizer.eos_token_id)[:, longest:].tolist()
    newline = tokenizer.get_vocab().get("<0x0A>", -1)
    return [text if (tokenizer.eos_token_id in row or "\n" in text) and row.count(newline) in (0, text.count("\n"))
            else None for row, text in zip(out, tokenizer.decode(out, skip_special_tokens=True), strict=True)]


def around(line):
    """A greedy line, and answers that are wrong by little."""
    return dict.fromkeys(text for text in (line, f"{line}h", line[:-1], line[1:], f"{line}.", line.swapcase(),
                                           line.replace(" ", "  ", 1), "Paris", "Apple Inc.") if text == text.strip())


def greedy_cells(model, tokenizer, prompt, subjects=SUBJECTS):
    """[(fact, whether ``generate`` writes its answer)] for answers around every greedy line that came to an end."""
    texts = written_greedily(model, tokenizer, [prompt.text(Fact(subject, "P19", "").question) for subject in subjects])
    return [(Fact(subject, "P19", gold), is_match(text, gold)) for subject, text in zip(subjects, texts, strict=True)
            if text is not None for gold in around(text.split("\n")[0].strip())]


def check_greedy(model, tokenizer, prompts=(FEW_SHOT, INSTRUCTION, PLAIN), subjects=SUBJECTS):
    """Every greedy bit is what ``generate`` writes; returns how many are right and wrong."""
    counts = Counter()
    for prompt in prompts:
        cells = greedy_cells(model, tokenizer, prompt, subjects)
        found = exact_match(model, tokenizer, [fact for fact, _ in cells], prompt)
        assert [(fact, bool(bit)) for (fact, _), bit in zip(cells, found, strict=True)] == cells
        counts.update(right for _, right in cells)
    return counts
