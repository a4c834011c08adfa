"""EntityQuestions on a model that is not ours: the size dial, labels in shards, and the whole course at a small size.

The model is :mod:`entity_model`, a small Llama that has read some of the real facts. Tests that need the real facts are
skipped where COURSE_DATA does not say where they are.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from course_lib.data import entityquestions
from course_lib.data.facts import Fact, FactSet
from course_lib.experiments import study as study_module
from course_lib.experiments import sweep
from course_lib.experiments.settings import SETTINGS, WHOLE, Settings, counts, draw_facts, thin_out
from course_lib.experiments.study import open_study
from course_lib.files import CourseError
from course_lib.knowledge import labelling, slick
from course_lib.knowledge.scoring.scores import Scores
from course_lib.lessons import start
from course_lib.models.loading import Loaded
from course_lib.training.records import TuneConfig
from course_lib.training.runs import writer as runs
from course_lib.training.runs.folder import read_right
from tests.support.small_course import Made

SPLITS = ("train", "dev", "test", "ood")


def world(**sizes: int) -> FactSet:
    """Invented facts; each relation has as many train facts as said, and 300 of each other split."""
    def some(split: str, relation: str, count: int) -> list[Fact]:
        return [Fact(f"{split} {number}", relation, "Rome") for number in range(count)]

    splits = {"train": [fact for relation, count in sizes.items() for fact in some("train", relation, count)]}
    splits |= {split: [fact for relation in sizes for fact in some(split, relation, 300)]
               for split in ("dev", "test", "ood", "ood_dev")}
    return FactSet("world", **{split: tuple(facts) for split, facts in splits.items()})


@pytest.fixture(scope="session")
def real(course_data: Path) -> FactSet:
    return entityquestions.load(course_data)


def test_relations_are_even_as_far_as_each_has_facts() -> None:
    drawn = draw_facts(world(P19=1000, P36=50, P800=1000), 600)
    assert Counter(fact.relation for fact in drawn.train) == {"P19": 275, "P36": 50, "P800": 275}


def test_one_question_more_goes_to_one_relation() -> None:
    few, more = (draw_facts(world(P19=1000, P36=1000), size) for size in (600, 601))
    assert len(set(more.train) - set(few.train)) == 1


def test_a_larger_size_holds_all_facts_of_a_smaller_one_in_each_split() -> None:
    everything = world(P19=4000, P36=60, P800=2000)
    sizes = [draw_facts(everything, size) for size in (600, 601, 700, 2400, 3600, 6000)]
    for small, large in zip(sizes, sizes[1:], strict=False):
        assert all(set(getattr(small, split)) <= set(getattr(large, split)) for split in SPLITS)


def test_the_same_size_draws_the_same_facts() -> None:
    assert draw_facts(world(P19=900), 600) == draw_facts(world(P19=900), 600)


def test_a_draw_is_no_run_of_neighbours() -> None:
    numbers = [int(fact.subject.split()[1]) for fact in draw_facts(world(P19=6000), 600).train]
    assert max(numbers) > 5500 and sorted(numbers) != numbers


def test_the_examples_for_prompts_out_of_distribution_stay_whole() -> None:
    assert len(draw_facts(world(P19=900), 600).ood_dev) == 300


@pytest.mark.parametrize(("questions", "expected"), [
    (600, {"train": 600, "dev": 240, "test": 480, "ood": 280}),
    (3600, {"train": 3600, "dev": 360, "test": 720, "ood": 420}),
    (48000, {"train": 48000, "dev": 4800, "test": 9600, "ood": 5600})])
def test_dev_test_and_ood_scale_with_the_size_above_their_least(questions: int, expected: dict[str, int]) -> None:
    assert counts(questions) == expected


@pytest.mark.parametrize(("size", "questions", "rows"), [
    ("first-look", 600, 200), (600, 600, 200), ("1,200", 1200, 200), ("default", 1800, 300), (12000, 12000, 2000)])
def test_a_size_is_a_number_or_a_name(size: int | str, questions: int, rows: int) -> None:
    settings = SETTINGS["default"].resized(size)
    assert (settings.questions, settings.size, settings.rule) == (questions, rows, "known")


@pytest.mark.parametrize("size", ["all", WHOLE, "81,700"])
def test_all_takes_the_splits_whole_and_the_papers_rule(size: int | str) -> None:
    settings = SETTINGS["quick"].resized(size)
    assert (settings.questions, settings.per_relation, settings.rule) == (None, {}, "category")


def test_the_pocket_study_is_whole_by_default_and_at_all() -> None:
    assert SETTINGS["pocket"].resized("all") == SETTINGS["pocket"].resized("default") == SETTINGS["pocket"]


@pytest.mark.parametrize("size", ["many", 599, 81_701, 0, -600, "600.5", "", True, "nan"])
def test_another_size_is_refused_in_one_sentence(size: int | str) -> None:
    bounds = "600 to 81,700, .*first-look, default, all$"
    with pytest.raises(CourseError, match=rf"^questions = {re.escape(repr(size))}: .*{bounds}"):
        SETTINGS["default"].resized(size)


def test_more_questions_than_there_are_is_refused_with_their_number() -> None:
    with pytest.raises(CourseError, match="^questions = 3600: .*3,360 "):
        _ = open_study("pocket", questions=3600).facts


def test_the_size_comes_from_the_environment_so_that_notebooks_need_no_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COURSE_QUESTIONS", "first-look")
    assert open_study("olmo2-1b").settings.questions == 600


def test_an_argument_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COURSE_QUESTIONS", "first-look")
    assert open_study("olmo2-1b", questions="default").settings == SETTINGS["default"]


def test_settings_of_ones_own_are_not_resized_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COURSE_QUESTIONS", "first-look")
    assert open_study("pocket", settings=SETTINGS["pocket"]).settings == SETTINGS["pocket"]


def test_each_size_has_a_file_of_labels_of_its_own(tmp_path: Path) -> None:
    names = [open_study(preset, folder=tmp_path, questions=size).labels_file.name
             for preset, size in (("pocket", None), ("pocket", 600), ("owner/name", "default"), ("owner/name", "all"))]
    assert names == ["pocket.csv", "pocket-600.csv", "owner--name-1800.csv", "owner--name.csv"]


def test_a_split_without_a_limit_stays_as_it_is() -> None:
    thin = thin_out(world(P19=900, P36=5), {"train": 7})
    assert Counter(fact.relation for fact in thin.train) == {"P19": 7, "P36": 5} and len(thin.test) == 600


def test_the_real_first_look_has_fifty_questions_of_each_relation(real: FactSet) -> None:
    drawn = draw_facts(real, 600)
    assert drawn.totals() == {"train": 600, "dev": 240, "test": 480, "ood": 280}
    assert {count for split, count in Counter((split, fact.relation) for split in SPLITS
                                              for fact in getattr(drawn, split)).items()
            if split[0] == "train"} == {50}


def test_all_is_the_papers_split(real: FactSet, monkeypatch: pytest.MonkeyPatch, course_data: Path) -> None:
    monkeypatch.setenv("COURSE_DATA", str(course_data))
    assert open_study("owner/name", questions="all").facts == real


def test_a_large_real_size_gives_the_small_relation_all_it_has(real: FactSet) -> None:
    drawn = Counter(fact.relation for fact in draw_facts(real, 48_000).train)
    assert drawn["P800"] == 1356 and max(drawn.values()) - sorted(drawn.values())[1] <= 1


# -- labels in shards -------------------------------------------------------------------------------------------------

NOBODY = Loaded("nobody", SimpleNamespace(device=SimpleNamespace(type="nowhere")), None)


def test_shards_are_gone_when_the_table_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slick, "measure", lambda _m, _t, facts, prompts, **_: Scores.empty(len(facts), 10))
    monkeypatch.setattr(study_module, "load", lambda _: NOBODY)
    monkeypatch.setattr(labelling, "default_batch_tokens", lambda _: 100)
    opened = open_study("pocket", folder=tmp_path, questions=600)
    opened.labels(progress=False)
    assert sorted(path.name for path in (tmp_path / "labels").iterdir()) == ["pocket-600.csv", "pocket-600.json"]


def test_results_of_another_preset_can_live_on_drive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    colab = ModuleType("google.colab")
    colab.drive = SimpleNamespace(mount=lambda place: (Path(place) / "MyDrive").mkdir(parents=True))
    monkeypatch.setitem(sys.modules, "google", ModuleType("google"))
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    monkeypatch.setattr(start, "DRIVE", tmp_path / "drive")
    monkeypatch.setenv("COURSE_BUILD", "")
    start._mount("known-unknowns")
    place = tmp_path / "drive" / "MyDrive" / "known-unknowns"
    assert open_study("owner/name", questions=600).labels_file == place / "labels" / "owner--name-600.csv"


# -- the small model that knows some real facts ------------------------------------------------------------------------

SMALL = Settings(TuneConfig(epochs=2, lr=1e-3, warmup=0, batch=16), size=48, rule="known", percents=(0, 50), seeds=(0,),
                 questions=600)


def work(preset: str, folder: str) -> None:
    """Measure and sweep, with a line in FOLDER/done.txt for each finished shard and epoch."""
    def noted(real: Callable, word: str) -> Callable:
        def call(*values: Any, **named: Any) -> None:
            real(*values, **named)
            with (Path(folder) / "done.txt").open("a") as file:
                file.write(word + "\n")
        return call

    labelling.write_shard = noted(labelling.write_shard, "shard")
    runs.RunWriter.epoch = noted(runs.RunWriter.epoch, "epoch")
    runs._commit = lambda: "none"
    sweep.run(open_study(preset, folder=folder, settings=SMALL), progress=False)


def start_work(preset: Path, folder: Path) -> subprocess.Popen:
    folder.mkdir(parents=True, exist_ok=True)
    code = f"from tests.lessons.test_real_track import work\nwork({str(preset)!r}, {str(folder)!r})"
    return subprocess.Popen([sys.executable, "-c", code],
                            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])})


def kill_at(process: subprocess.Popen, folder: Path, word: str, count: int) -> None:
    """End it hard once so many lines say ``word``."""
    for _ in range(3000):
        if done(folder)[word] >= count:
            break
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.1)
    process.kill()
    assert process.wait() == -9


def done(folder: Path) -> Counter:
    path = folder / "done.txt"
    return Counter(path.read_text().split()) if path.is_file() else Counter()


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
    folder, summary = small_course.folder, json.loads((small_course.folder / "summary.json").read_text())
    study = open_study(str(entity_model), folder=folder)
    assert all(share > 0 for share in summary["shares"].values()) and summary["never_read_unknown"] is None
    assert {run.name for run in (folder / "runs").iterdir()} == {entity_model.name}
    asked = [row for row in summary["curve"] if row["measure"] in ("dev", "test", "ood")]
    assert {row["n"] for row in asked} == {1} and len(summary["runs"]) == 8
    right = read_right(study.spec(50).folder(folder / "runs"))
    assert {split: answers.shape for split, answers in right.items()} == {"test": (13, 480), "ood": (13, 280)}
    assert summary["preset"] == entity_model.name and "600 " in small_course.lines[0]
