"""The whole course on EntityQuestions, on a model that is not ours, and a session of it that is lost.

The model is :mod:`entity_model`, a small Llama that has read some of the real facts. Tests that need the real facts are
skipped where COURSE_DATA does not say where they are.
"""

import json
from pathlib import Path

import pytest

from course_lib.experiments.settings import SETTINGS
from course_lib.experiments.study import open_study
from course_lib.training.runs.folder import read_right
from tests.support.lost_session import done, kill_at, start_work
from tests.support.small_course import Made
from tests.support.train_less import train_less


@pytest.mark.slow
def test_a_session_lost_in_measuring_and_in_the_sweep_costs_nothing(entity_model: Path, tmp_path: Path) -> None:
    struck, whole = tmp_path / "struck", tmp_path / "whole"
    for word, count in (("shard", 4), ("epoch", 4)):
        kill_at(start_work(entity_model, struck), struck, word, count)
    for folder in (struck, whole):
        assert start_work(entity_model, folder).wait() == 0
    # a shard or an epoch may be on disk whose writer was killed before it could say so
    assert {word: done(whole)[word] - done(struck)[word] for word in ("shard", "epoch")}.items() <= {
        (word, count) for word in ("shard", "epoch") for count in (0, 1)}
    table = f"labels/{entity_model.name}-600.csv"
    assert (struck / table).read_bytes() == (whole / table).read_bytes()
    for path in sorted((whole / "runs").rglob("adapter*/*.safetensors")):
        assert (struck / path.relative_to(whole)).read_bytes() == path.read_bytes(), path
    assert len(list((whole / "runs" / entity_model.name).iterdir())) == 3


@pytest.mark.slow
def test_the_whole_course_runs_on_real_facts(entity_model: Path, small_course: Made,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    """But for its notebooks, which run in test_run_all.py."""
    monkeypatch.setenv("COURSE_QUESTIONS", "first-look")
    monkeypatch.setitem(SETTINGS, "default", SETTINGS["default"])
    train_less()
    folder, summary = small_course.folder, json.loads((small_course.folder / "summary.json").read_text())
    study = open_study(str(entity_model), folder=folder)
    assert all(share > 0 for share in summary["shares"].values()) and summary["never_read_unknown"] is None
    assert {run.name for run in (folder / "runs").iterdir()} == {entity_model.name}
    asked = [row for row in summary["curve"] if row["measure"] in ("dev", "test", "ood")]
    assert {row["n"] for row in asked} == {1} and len(summary["runs"]) == 8
    right = read_right(study.spec(50).folder(folder / "runs"))
    assert {split: answers.shape for split, answers in right.items()} == {"test": (5, 480), "ood": (5, 280)}
    assert summary["preset"] == entity_model.name and "600 " in small_course.lines[0]
