"""The reference runs: what is shipped belongs to the shipped model, is read like any run, and can be made again."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from course_lib.data import pocket
from course_lib.experiments import executors, reference, sweep
from course_lib.experiments.reference import Reproduction, has_reference, reproduce, stored_runs
from course_lib.experiments.study import open_study
from course_lib.files import CourseError
from course_lib.training.mixing import VARIANTS
from course_lib.training.runs import writer as runs
from course_lib.training.runs.folder import write_bundle
from tests.support.fake_runs import DEVS, SPEC, command

QUESTIONS = pd.DataFrame({"split": ["test"] * 10 + ["ood"], "category": ["Unknown"] * 11, "p_true": [0.5] * 10 + [""]})


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """One shipped run, made by a rule, in a folder of its own."""
    monkeypatch.setattr(runs, "_commit", lambda: "abc1234")
    folder = tmp_path / "shipped"
    folder.mkdir()
    command(tmp_path / "theirs", spec=SPEC)
    write_bundle(folder / "pocket.zip", tmp_path / "theirs", [SPEC])
    QUESTIONS.to_csv(folder / "pocket-questions.csv", index=False)
    monkeypatch.setattr(reference, "FOLDER", folder)
    reference.reference_runs.cache_clear()
    yield folder
    reference.reference_runs.cache_clear()


def a_study(folder: Path, **more: Any) -> SimpleNamespace:
    values = {"name": "pocket", "folder": folder, "base": SPEC.base, "spec": lambda _: SPEC}
    return SimpleNamespace(**values | more)


def test_reference_runs_are_read_like_any_runs(shipped: Path) -> None:
    found = reference.reference_runs("pocket")
    assert found.epochs()["dev"].tolist() == list(DEVS)
    assert len(found.asked("test")) == 10 and len(found.asked("ood")) == 1


def test_reference_runs_say_where_they_come_from(shipped: Path) -> None:
    found = reference.reference_runs("pocket")
    about = found.provenance()
    assert (about["runs"], about["seeds"], about["commits"]) == (1, [0], ["abc1234"]) and "torch" in about["versions"]
    assert re.match("reference .*pocket: 1 runs, seeds 0; .*abc1234", str(found))


def test_a_preset_without_reference_runs_is_told_which_there_are(shipped: Path) -> None:
    assert has_reference("pocket") and not has_reference("qwen2.5-1.5b")
    with pytest.raises(CourseError, match=r"qwen2\.5-1\.5b: .*\bpocket\).*course sweep"):
        reference.reference_runs("qwen2.5-1.5b")


def test_a_study_with_reference_runs_makes_none_of_its_own(shipped: Path, tmp_path: Path) -> None:
    assert re.match("reference .*pocket$", stored_runs(a_study(tmp_path)).source)


@pytest.mark.parametrize("differs", [{"name": "mine"}, {"name": "mine", "base": "another-float32"},
                                      {"base": "another-float32"}])
def test_a_study_of_another_model_makes_its_own(shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                differs: dict[str, str]) -> None:
    labels = pd.DataFrame({"split": ["train", "test", "ood"], "category": ["Unknown"] * 3})
    other = a_study(tmp_path, full_plan=lambda: [SPEC], labels=lambda: labels, **differs)
    monkeypatch.setattr(sweep, "run", lambda study, plan, **_: command(study.folder / "runs", spec=plan[0]))
    found = stored_runs(other, progress=False)
    assert re.match(f"(?!reference).*{other.name}$", found.source) and found.epochs()["dev"].tolist() == list(DEVS)
    assert found.questions["split"].tolist() == ["test", "ood"]


@pytest.mark.parametrize(("devs", "largest"), [(DEVS, 0.0), ((50.0, 10.5, 30.0, 20.0), 0.5)])
def test_a_run_made_again_is_compared_epoch_by_epoch(shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                     devs: tuple[float, ...], largest: float) -> None:
    monkeypatch.setattr(executors, "run_one",
                        lambda study, spec, **_: command(study.folder / "runs", spec=spec, devs=devs))
    found = reproduce(a_study(tmp_path / "ours"))
    assert (found.spec, found.difference["dev"], found.largest) == (SPEC, largest, largest)
    assert ("equal" in str(found)) == (largest == 0) and found.close


def test_what_rounding_cannot_explain_is_said() -> None:
    found = Reproduction(SPEC, {"dev": 0.0, "test": 7.0})
    assert not found.close and re.search(r"\b3 points.*test 7\.00", str(found))


@pytest.mark.parametrize("other", [{"base": "another"}, {"spec": lambda _: replace(SPEC, labels="another")}])
def test_another_model_or_other_labels_are_not_compared(shipped: Path, tmp_path: Path, other: dict[str, Any]) -> None:
    with pytest.raises(CourseError, match=f"^{SPEC.name} .*{SPEC.base} .*{SPEC.labels}"):
        reproduce(a_study(tmp_path, **other))


# ---------------------------------------------------------------- what the package ships


@pytest.fixture(scope="module")
def real() -> reference.StoredRuns:
    reference.reference_runs.cache_clear()
    return reference.reference_runs("pocket")


def test_every_variant_of_the_paper_is_shipped_with_five_seeds(real: reference.StoredRuns) -> None:
    seeds = Counter((spec.variant, spec.unknown_percent, spec.tune.lr) for spec in real.specs)
    assert set(seeds.values()) == {5} and {variant for variant, _, _ in seeds} == set(VARIANTS) - {"D_Free"}


def test_the_shipped_runs_are_small_and_belong_to_the_shipped_model(real: reference.StoredRuns) -> None:
    files = list(reference.FOLDER.iterdir())
    assert sum(path.stat().st_size for path in files) < 2_000_000
    assert {spec.base.partition("-")[0] for spec in real.specs} == {open_study("pocket").base.partition("-")[0]}


def test_the_shipped_questions_are_those_of_the_pocket_world_in_their_order(real: reference.StoredRuns) -> None:
    world = pocket.load()
    for split in ("test", "ood"):
        asked = real.asked(split)
        assert [(fact.relation, fact.subject, fact.object) for fact in getattr(world, split)] == list(
            zip(asked["relation"], asked["subject"], asked["object"], strict=True))


def test_single_answers_add_up_to_the_shipped_accuracies(real: reference.StoredRuns) -> None:
    epochs = real.epochs().query("variant == 'D_IDK' and seed == 4").sort_values("epoch")
    right, answered = (real.right(split, variant="D_IDK")["D_IDK", 50, 4] for split in ("test", "answered"))
    assert (100 * right.mean(axis=1)).tolist() == pytest.approx(epochs["test"].tolist())
    assert (100 * answered.mean(axis=1)).tolist() == pytest.approx(epochs["answered"].tolist())
    assert not (right & ~answered).any(), "who declines gives no right answer"
