"""Which rows of a fine-tuning file will teach a model to make things up? A first version of the audit.

From the labels of :mod:`.slick`, what the texts show (:mod:`.row_checks`) and what the model answers instead
(:func:`model_answers`) to one decision a row. The first line that fits decides:

    hold back   the row cannot be read, repeats another one, or stands in your test set
    look at     its question has two answers, holds its answer, or the answer has another form: its label means little
    look at     it has no label
    look at     Unknown, but the model is sure of another answer (confidence >= 0.9): is the recorded one right?
    hold back   P(Unknown) >= 0.9
    look at     P(Unknown) > 0.1: two independent measurements may differ
    keep        anything else

P(Unknown) is the exact chance that the paper's protocol says Unknown. A wrong recorded answer looks like an Unknown
fact: the model never gives it. The two differ in what the model says instead. With a its greedy answer after one
few-shot prompt,

    confidence = 1/P sum_i P(a | prompt i; T = 0.5, top-k 40)          (over the P prompts of the relation)

is what P_Correct would be if a were the recorded answer. It is high where the model knows another answer, and lower,
but not low, where it makes one up: so this says where to look, not who is right. (Pocket preset, training facts:
confidence 0.9 or more in 78 % of 1,139 HighlyKnown facts and in 6 % of 978 facts with P(Unknown) >= 0.9.)

Rows are copied, byte for byte, into one of three files. What stands in a row is text and nothing else: no formula in
the table, no HTML and no link in the report.

Limits of this version: closed-book rows with one question and one short answer; exact match; one way to ask; a repeat
or a leak in other words is not seen; an Unknown row may be a wrong row, and a Known one a lucky guess.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from course_lib.data.paper import CATEGORIES
from course_lib.data.questions import Problem, Question, read_file
from course_lib.files import FILE_BYTES, CourseError, DataError, read_bytes, write_bytes, write_text
from course_lib.knowledge.row_checks import Finding
from course_lib.knowledge.scoring import sampling
from course_lib.knowledge.scoring.prompts import Prompt
from course_lib.knowledge.slick import measure
from course_lib.text import in_markdown, one_line

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["DECISIONS", "Rules", "Split", "counts", "decide", "describe", "model_answers", "write_report",
           "write_split"]

DECISIONS = ("keep", "look at", "hold back")
DROPPED = ("repeat", "in the test set")  # findings that need no label
LABELS = ("row", "question", "object", "category", "prob_Unknown", "problem")
LISTED = 40  # rows that the report lists of each decision; decisions.csv has all
LONGEST = 300  # letters of a text in the report
FORMULA = re.compile("[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")  # what a spreadsheet takes for the start of one
LIMITS = ("Exact match: a right answer in other words counts as wrong, and long answers nearly always do.",
          "One way to ask: few-shot prompts made of your own rows. Another way may find more, or less.",
          "An Unknown row may hold a wrong answer, and a Known one may be a lucky guess.",
          "Repeats and test questions in other words are not found.",
          "Only this base model was asked. Another one knows other things.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Limits of the decisions: ``sure`` is the P(Unknown) that holds a row back, and 1 - ``sure`` the one that is
    still kept; ``confident`` is the model's confidence in another answer from which a person should look.
    """

    sure: float = 0.9
    confident: float = 0.9

    def __post_init__(self) -> None:
        if not 0.5 <= self.sure <= 1:
            raise CourseError(f"sure = {self.sure}: it must be between 0.5 and 1")
        if not 0 < self.confident <= 1:
            raise CourseError(f"confident = {self.confident}: it must be above 0 and at most 1")

    @property
    def keep_up_to(self) -> float:
        """The largest P(Unknown) of a row that is kept."""
        return round(1 - self.sure, 9)  # 1 - 0.9 is a little less than 0.1


@dataclass(frozen=True, slots=True)
class Split:
    """The three files of a split: rows to train on, rows for a person, rows that are held back."""

    kept: Path
    look: Path
    held: Path


def model_answers(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, questions: Sequence[Question],
                  prompts: Mapping[str, Sequence[Prompt]], *, max_tokens: int = 32) -> pd.DataFrame:
    """Ask the model what it answers to each question, and how sure it is of that.

    ``prompts`` are those that the questions were labelled with, by relation. Columns: row (the question's), says (the
    greedy answer after the first prompt that does not hold the question, cut at ``max_tokens`` tokens; "" where there
    is none), confidence (NaN where nothing is said).

    Raises:
        CourseError: see :func:`.sampling.answers`.
    """
    import pandas as pd

    texts = [_first_prompt(prompts.get(question.relation, ()), question) for question in questions]
    asked = [number for number, text in enumerate(texts) if text]
    written = sampling.answers(model, tokenizer, [texts[number] for number in asked], max_tokens=max_tokens)
    says = dict(zip(asked, (lines[0] for lines in written), strict=True))
    kept = [number for number in asked if says[number]]
    confidence = np.full(len(questions), np.nan)
    if kept:
        scores = measure(model, tokenizer, [replace(questions[number], object=says[number], aliases=())
                                            for number in kept], prompts)
        confidence[kept] = np.exp(scores.log_probability).mean(axis=1)  # 1/P sum_i P(a | prompt i)
    return pd.DataFrame({"row": [question.row for question in questions],
                         "says": [says.get(number, "") for number in range(len(questions))], "confidence": confidence})


def _first_prompt(prompts: Sequence[Prompt], question: Question) -> str:
    """Text of the first prompt that does not show this very question; "" if there is none."""
    return next((prompt.text(question.question) for prompt in prompts
                 if all(example.question != question.question for example in prompt.solved)), "")


def decide(labels: pd.DataFrame, findings: Iterable[Finding] = (), *, problems: Iterable[Problem] = (),
           answers: pd.DataFrame | None = None, rules: Rules | None = None) -> pd.DataFrame:
    """Decide on each row of a file, with reasons.

    Args:
        labels: one row a question: row, question, object, and the columns of :func:`.slick.label`; the
            ``labels.parquet`` of ``course slick`` has them.
        findings: of :func:`.row_checks.check_rows`.
        problems: rows that could not be read.
        answers: of :func:`model_answers`, for any of the rows.

    Columns: row, question, object, category (missing without a label), prob_Unknown, decision (one of ``DECISIONS``),
    reasons (a sentence or more). Sorted by row.

    Raises:
        CourseError: there are no rows, a column is missing, a row has two labels or one that is none, or a probability
            lies outside 0 ... 1.
    """
    import pandas as pd

    rules, found = rules or Rules(), {}
    for finding in findings:
        found.setdefault(finding.row, []).append(finding)
    labels, problems = _checked(labels), list(problems)
    _one_a_row([*labels["row"], *(problem.row for problem in problems)])
    if answers is not None:
        _columns(answers, ("row", "says", "confidence"))
        _probabilities(answers.dropna(subset="confidence"), "confidence")
    sure = {} if answers is None else {one["row"]: one for one in answers.to_dict("records")
                                       if one["confidence"] >= rules.confident}
    table = [{"row": problem.row, "question": "", "object": "", "category": None, "prob_Unknown": math.nan,
              "decision": "hold back", "reasons": f"cannot be read: {problem.text}"} for problem in problems]
    for label in labels.to_dict("records"):
        decision, why = _decision(label, found.get(label["row"], ()), sure.get(label["row"]), rules)
        table.append({name: label[name] for name in ("row", "question", "object", "category", "prob_Unknown")}
                     | {"decision": decision, "reasons": "; ".join(why)})
    frame = pd.DataFrame(table).sort_values("row", ignore_index=True)
    frame["category"] = pd.Categorical(frame["category"], CATEGORIES, ordered=True)
    return frame.assign(decision=pd.Categorical(frame["decision"], DECISIONS, ordered=True))


def _checked(labels: pd.DataFrame) -> pd.DataFrame:
    """The labels, if each can be decided on."""
    import pandas as pd

    _columns(labels, LABELS)
    if len(labels) and not pd.api.types.is_integer_dtype(labels["row"]):
        raise CourseError(f"row {labels['row'].iloc[0]!r}: the column row must hold whole numbers, those of the file")
    labels = labels.assign(problem=labels["problem"].astype(object).where(labels["problem"].notna(), ""))
    labelled = labels[labels["problem"] == ""]
    _probabilities(labelled, "prob_Unknown")
    odd = labelled[~labelled["category"].isin(CATEGORIES)]
    if len(odd):
        raise CourseError(f"row {odd['row'].iloc[0]}: category {odd['category'].iloc[0]!r}; use one of "
                          f"{', '.join(CATEGORIES)}, or say in the column problem why there is none")
    return labels


def _columns(table: pd.DataFrame, names: Sequence[str]) -> None:
    missing = [name for name in names if name not in table]
    if missing:
        raise CourseError(f"the table has no column {missing[0]}; give one with the columns {', '.join(names)}")


def _probabilities(table: pd.DataFrame, name: str) -> None:
    """Refuse what is none; a rounding error outside 0 ... 1 is let pass."""
    import pandas as pd

    odd = table[~pd.to_numeric(table[name], errors="coerce").between(-1e-9, 1 + 1e-9)]
    if len(odd):
        raise CourseError(f"row {odd['row'].iloc[0]}: {name} = {odd[name].iloc[0]!r} is no probability; measure the "
                          f"row again, with method='exact', or leave it out")


def _one_a_row(rows: Sequence[Any]) -> None:
    if not rows:
        raise CourseError("no rows to decide on; give the labels or the problems of at least one")
    (row, times), = Counter(rows).most_common(1)
    if times > 1:
        raise CourseError(f"row {row} has two labels, or a label and a problem; give one a row")


def _decision(label: Mapping[str, Any], findings: Sequence[Finding], answer: Mapping[str, Any] | None,
              rules: Rules) -> tuple[str, list[str]]:
    """Apply the first rule that fits one row; see the top of the module."""
    seen = [f"{finding.kind}: {finding.text}" for finding in findings]
    if any(finding.kind in DROPPED for finding in findings):
        return "hold back", seen
    if findings:
        return "look at", seen
    if label["problem"]:
        return "look at", [f"no label: {label['problem']}"]
    p = label["prob_Unknown"]
    if answer and p > rules.keep_up_to:
        return "look at", [f"P(Unknown) = {p:.2f}, and the model is sure of another answer: {answer['says']!r} "
                           f"({answer['confidence']:.2f})"]
    if p >= rules.sure:
        return "hold back", [f"the model does not know it: P(Unknown) = {p:.2f}"]
    if p > rules.keep_up_to:
        return "look at", [f"P(Unknown) = {p:.2f}: two measurements may differ"]
    return "keep", [f"the model knows it: {label['category']}"]


def counts(decisions: pd.DataFrame) -> pd.DataFrame:
    """Count how many rows of each category (and without a label) are kept, to be looked at, held back: shape (5, 3)."""
    import pandas as pd

    named = decisions["category"].astype(object).where(decisions["category"].notna(), "no label")
    return pd.crosstab(named, decisions["decision"].astype(str)).reindex(
        index=[*CATEGORIES, "no label"], columns=list(DECISIONS), fill_value=0).rename_axis(index=None, columns=None)


def describe(decisions: pd.DataFrame) -> str:
    """The audit in one sentence."""
    number = decisions["decision"].value_counts()
    return f"Of {len(decisions):,} rows: {', '.join(f'{name} {number[name]:,}' for name in DECISIONS)}."


def write_split(decisions: pd.DataFrame, source: str | Path, folder: str | Path) -> Split:
    """Copy every row of a .jsonl file into kept.jsonl, look.jsonl or held.jsonl, byte for byte and in its order.

    Raises:
        CourseError: the file is no .jsonl.
        DataError: it cannot be read, or it has other rows than those that were decided on, or another question or
            answer in one.
    """
    source, folder = Path(os.path.expanduser(source)), Path(folder)
    if source.suffix.lower() != ".jsonl":
        raise CourseError(f"{source}: only .jsonl files can be split as yet; write one object a line")
    _columns(decisions, ("row", "question", "object", "decision"))
    _one_a_row(list(decisions["row"]))
    _same_rows(decisions, source)
    content = read_bytes(source, most=FILE_BYTES)
    lines = {row: line for row, line in enumerate(content.split(b"\n"), 1) if line.strip()}
    chosen = dict(zip(decisions["row"], decisions["decision"], strict=True))
    if odd := sorted(row for row in lines if chosen.get(row) not in DECISIONS):
        raise CourseError(f"{source} line {odd[0]}: decided as {chosen.get(odd[0])!r}; use one of "
                          f"{', '.join(DECISIONS)}")
    if 1 in lines:
        lines[1] = lines[1].removeprefix(b"\xef\xbb\xbf")  # a byte order mark may stand only at the start of a file
    parts = {decision: b"".join(lines[row] + b"\n" for row in sorted(lines) if chosen[row] == decision)
             for decision in DECISIONS}
    return Split(*(write_bytes(folder / name, part) for name, part in
                   zip(("kept.jsonl", "look.jsonl", "held.jsonl"), parts.values(), strict=True)))


def _same_rows(decisions: pd.DataFrame, source: Path) -> None:
    """Refuse a file that does not say what was decided on; a table that came back from its CSV file is as good."""
    data = read_file(source)
    there = {one.row: (_cell(one.question), _cell(one.object)) for one in data.questions}
    there |= {problem.row: ("", "") for problem in data.problems}
    texts = (decisions[name].astype(object).where(decisions[name].notna(), "").map(_cell)
             for name in ("question", "object"))
    decided = dict(zip(decisions["row"], zip(*texts, strict=True), strict=True))
    odd = [row for row in there.keys() | decided.keys() if there.get(row) != decided.get(row)]
    if odd:
        raise DataError(f"{source} line {min(odd)}: the file and the decisions have other rows; audit the file again")


def write_report(decisions: pd.DataFrame, folder: str | Path, *, about: Mapping[str, str]) -> Path:
    """Write ``audit.md``, for people, and ``decisions.csv``, with all rows; returns the first.

    ``about`` names what was asked, such as the file, the model and the settings.
    """
    _columns(decisions, ("row", "question", "object", "category", "decision", "reasons"))
    folder, table = Path(folder), counts(decisions)
    parts = ["# Audit of a fine-tuning file",
             "\n".join(f"* {_plain(name)}: {_plain(value)}" for name, value in about.items()),
             describe(decisions), _as_table(table)]
    for decision in ("look at", "hold back"):
        rows = decisions[decisions["decision"] == decision]
        listed = [f"* row {row.row}: {_plain(row.question)} {_plain(row.object)} ({_plain(row.reasons)})".replace(
            "  ", " ") for row in rows.head(LISTED).itertuples()]
        more = [f"* and {len(rows) - LISTED:,} more, in decisions.csv"] if len(rows) > LISTED else []
        parts += [f"## Rows to {decision}", "\n".join([*listed, *more]) or "None."]
    parts += ["## What this audit does not see", "\n".join(f"* {limit}" for limit in LIMITS)]
    write_text(folder / "decisions.csv", decisions.map(_cell).to_csv(index=False))
    return write_text(folder / "audit.md", "\n\n".join(parts) + "\n")


def _plain(text: object) -> str:
    return in_markdown(one_line(str(text), longest=LONGEST))


def _cell(value: Any) -> Any:
    """A text as a spreadsheet shows it: an apostrophe stands before what would be a formula."""
    if not isinstance(value, str):
        return value
    text = value.replace("\r\n", "\n").replace("\r", "\n")  # a lone one would end the row without quotes
    return f"'{text}" if FORMULA.match(text) else text


def _as_table(table: pd.DataFrame) -> str:
    """A Markdown table."""
    head = [f"| rows | {' | '.join(table.columns)} |", f"|---|{'--:|' * len(table.columns)}"]
    return "\n".join(head + [f"| {name} | {' | '.join(map(str, row))} |" for name, row in
                             zip(table.index, table.to_numpy().tolist(), strict=True)])
