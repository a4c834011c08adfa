"""SliCK of a study's facts in shards: resumed after a kill, never mixed, measured again where damaged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from course_lib.data.facts import Fact
from course_lib.knowledge import labelling, slick
from course_lib.knowledge.labelling import label_facts
from course_lib.knowledge.scoring.prompts import Prompt
from course_lib.knowledge.scoring.scores import Scores
from course_lib.models.loading import Loaded

RELATIONS = ["P19", "P36", "P131"]
FACTS = tuple(Fact(f"subject {number}", relation, "Rome") for relation in RELATIONS for number in range(5))
PROMPTS = {relation: [Prompt("", "{question}")] * 2 for relation in RELATIONS}
NOBODY = Loaded("nobody", SimpleNamespace(device=SimpleNamespace(type="nowhere")), None)


class Measuring:
    """Replaces the measurement of one unit; is struck at one of its calls."""

    def __init__(self, struck_at: int = 0) -> None:
        self.asked: list[str] = []
        self.struck_at = struck_at

    def __call__(self, _model: Any, _tokenizer: Any, facts: Sequence[Fact], *_: Any, **named: Any) -> Scores:
        if len(self.asked) + 1 == self.struck_at:
            raise KeyboardInterrupt
        self.asked += [facts[0].relation]
        self.batch_tokens = named["batch_tokens"]
        p = [[int(fact.subject.split()[1]) / 7, 0.1] for fact in facts]
        return Scores(np.array(p) > 0.5, np.log(np.array(p) + 1e-9), np.ones((len(facts), 2)))


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Labels the facts in a folder; returns the table as text."""
    def label(folder: Path, measuring: Measuring, *, decides: str = "one", tokens: int = 100) -> str:
        monkeypatch.setattr(slick, "measure", measuring)
        monkeypatch.setattr(labelling, "default_batch_tokens", lambda _: tokens)
        return label_facts(lambda: NOBODY, FACTS, PROMPTS, folder, {"base": decides}).to_csv()

    return label


@pytest.fixture
def struck(table: Callable[..., str], tmp_path: Path) -> Path:
    """The folder of a measurement that was killed in its last unit."""
    with pytest.raises(KeyboardInterrupt):
        table(tmp_path / "struck", Measuring(struck_at=3))
    return tmp_path / "struck"


def test_a_killed_measurement_is_resumed_after_its_last_finished_unit(table, struck: Path, tmp_path: Path) -> None:
    again = Measuring()
    assert table(struck, again, tokens=999) == table(tmp_path / "whole", Measuring())
    assert again.asked == ["P131"] and again.batch_tokens == 100, "the tokens of a forward pass are those of before"


def test_no_model_is_loaded_where_all_shards_are_there(table, tmp_path: Path) -> None:
    whole = table(tmp_path, Measuring())
    again = label_facts(lambda: pytest.fail("loaded"), FACTS, PROMPTS, tmp_path, {"base": "one"})
    assert again.to_csv() == whole


def test_shards_of_another_measurement_are_not_mixed_in(table, struck: Path) -> None:
    other = Measuring()
    table(struck, other, decides="another", tokens=50)
    assert other.asked == RELATIONS and other.batch_tokens == 50


def test_without_its_record_a_measurement_begins_anew(table, struck: Path) -> None:
    (struck / "slick.json").write_text("{")
    again = Measuring()
    table(struck, again, tokens=50)
    assert again.asked == RELATIONS and again.batch_tokens == 50


def test_a_damaged_shard_is_measured_again(table, tmp_path: Path) -> None:
    table(tmp_path, Measuring())
    sorted((tmp_path / "parts").iterdir())[1].write_bytes(b"torn")
    again = Measuring()
    table(tmp_path, again)
    assert again.asked == ["P36"]
