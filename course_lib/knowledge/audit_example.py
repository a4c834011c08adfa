"""A small fine-tuning file with things wrong in it, to try the audit on before your own.

Most rows are facts of a study, drawn at random: some are known to the model, some are not, as in any real file. In one
row of each relation the answer is another one of that relation, so it is wrong. At the end stand rows with one fault
each. Since we planted them, we can count what the audit finds.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course_lib.data.facts import RELATION_NAMES, Fact, FactSet, by_relation
from course_lib.files import CourseError, write_text

__all__ = ["Example", "write_example"]

FRESH = 8  # facts for the faulty rows, which stand in no other row


@dataclass(frozen=True, slots=True)
class Example:
    """The file, what is planted in it (row -> what), and the fact behind each row that asks for one as it is."""

    path: Path
    planted: dict[int, str]
    facts: dict[int, Fact]


def write_example(path: str | Path, facts: FactSet, *, per_relation: int = 15, seed: int = 0) -> Example:
    """Write a .jsonl file of ``per_relation`` training facts of each relation, and the faulty rows.

    Raises:
        CourseError: a relation has too few facts, or there are too few rows to plant all faults.
    """
    if per_relation < 1:
        raise CourseError(f"per_relation = {per_relation}: too few rows to plant faults in; ask for 3 or more")
    rng, rows, unused = random.Random(seed), [], []
    for relation, group in by_relation(facts.train).items():
        if len(group) < per_relation + FRESH:
            raise CourseError(f"{relation}: {len(group)} training facts, and {per_relation + FRESH} are needed; ask "
                              f"for fewer")
        drawn = rng.sample(group, per_relation + FRESH)
        rows += [(fact, "") for fact in drawn[1:per_relation]] + [(_wrong(drawn[0], group, rng), "wrong answer")]
        unused += drawn[per_relation:]
    rng.shuffle(rows)
    right = [fact for fact, kind in rows if not kind]
    if len(right) < 3 or len(facts.test) < 3 or not _others(right):
        raise CourseError(f"per_relation = {per_relation}: {len(rows)} rows and {len(facts.test)} test facts are too "
                          f"few to plant every fault in; ask for more")
    entries = [*((_row(fact), kind) for fact, kind in rows), *_faulty(right, rng.sample(unused, FRESH), facts.test)]
    lines = [entry if isinstance(entry, str) else json.dumps(entry, ensure_ascii=False) for entry, _ in entries]
    planted = {row: kind for row, (_, kind) in enumerate(entries, 1) if kind}
    planted[rows.index((right[2], "")) + 1] = "two answers"  # the other half of that pair
    return Example(write_text(path, "".join(f"{line}\n" for line in lines)), dict(sorted(planted.items())),
                   {row: fact for row, (fact, kind) in enumerate(rows, 1) if not kind})


def _row(fact: Fact, **changed: str) -> dict[str, str]:
    return {"question": fact.question, "answer": fact.object, "relation": RELATION_NAMES[fact.relation]} | changed


def _wrong(fact: Fact, group: Sequence[Fact], rng: random.Random) -> Fact:
    """The fact with the answer of another one of its relation."""
    others = sorted({other.object for other in group} - {fact.object})
    if not others:
        raise CourseError(f"{fact.relation}: all training facts have one answer, so none of theirs is a wrong one")
    return Fact(fact.subject, fact.relation, rng.choice(others))


def _others(rows: Sequence[Fact]) -> list[str]:
    """Other answers of the relation of the third row."""
    return [fact.object for fact in rows if fact.relation == rows[2].relation and fact.object != rows[2].object]


def _faulty(rows: Sequence[Fact], fresh: Sequence[Fact], test: Sequence[Fact]) -> Iterator[tuple[Any, str]]:
    """(row, what is wrong with it); "other shape" is not wrong, only written otherwise. A text is a line as it is."""
    empty, cut, given, stop, small, long, chat, completed = fresh
    other = _others(rows)[0]
    yield _row(rows[0]), "repeat"
    yield _row(rows[1], question=rows[1].question.rstrip("?").lower()), "repeat"
    yield _row(rows[2], answer=other), "two answers"
    yield _row(test[0]), "in the test set"
    yield _row(test[1], question=test[1].question.upper()), "in the test set"
    yield _row(test[2], question=f"Tell me: {test[2].question}"), "in the test set, in other words"
    yield _row(empty, answer=""), "cannot be read"
    yield json.dumps(_row(cut), ensure_ascii=False)[:-9], "cannot be read"
    yield _row(given, question=f"{given.question} Is it {given.object}?"), "answer in question"
    yield _row(stop, answer=f"{stop.object}."), "other form"
    yield _row(small, answer=small.object[0].lower() + small.object[1:]), "other form"
    yield _row(long, answer=f"As far as anybody can tell, the answer is {long.object}"), "other form"
    yield {"messages": [{"role": "user", "content": chat.question}, {"role": "assistant", "content": chat.object}],
           "relation": RELATION_NAMES[chat.relation]}, "other shape"
    yield {"prompt": completed.question, "completion": completed.object,
           "relation": RELATION_NAMES[completed.relation]}, "other shape"
