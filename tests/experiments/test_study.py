"""Study: presets, labels that are measured once, mixes and the plan of the sweep; no model is run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from course_lib.data.datasets import DATASETS
from course_lib.data.facts import Fact
from course_lib.data.paper import CATEGORIES
from course_lib.experiments import study
from course_lib.experiments.settings import SETTINGS, Settings
from course_lib.experiments.study import Study, open_study
from course_lib.files import CourseError
from course_lib.knowledge import labelling, slick
from course_lib.knowledge.scoring.scores import Scores
from course_lib.training.finetune import TuneConfig
from course_lib.training.mixing import VARIANTS
from tests.support.fake_study import fake_labels, fake_load

SMALL = Settings(TuneConfig(epochs=1), size=24, rule="known", percents=(0, 50, 100), seeds=(0, 1),
                 per_relation={"train": 8, "dev": 4, "test": 1, "ood": 1})


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Replaces the measurement; grows by the number of facts each time something is measured."""
    calls: list[int] = []

    def measure(_load: Any, facts: Sequence[Fact], *_: Any, **__: Any) -> pd.DataFrame:
        calls.append(len(facts))
        return fake_labels(facts)

    monkeypatch.setattr(study, "label_facts", measure)
    return calls


@pytest.fixture
def small(measured: list[int], tmp_path: Path) -> Study:
    return open_study("pocket", folder=tmp_path, settings=SMALL)


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """A folder that could hold a model: some bytes of weights."""
    folder = tmp_path / "models" / "my-model"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "config.json").write_text("{}")
    return folder


@pytest.fixture
def pocket_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives the pocket facts to every study."""
    monkeypatch.setattr(study, "dataset_of", lambda _: DATASETS["pocket"])


@pytest.mark.parametrize(("preset", "name", "settings"), [("pocket", "pocket", "pocket"),
                                                          ("owner/name", "owner--name", "default")])
def test_a_preset_takes_its_own_settings_and_a_hub_id_the_default(preset: str, name: str, settings: str,
                                                                  tmp_path: Path) -> None:
    opened = open_study(preset, folder=tmp_path)
    assert (opened.preset, opened.name, opened.folder) == (preset, name, tmp_path)
    assert opened.settings == SETTINGS[settings]


def test_preset_and_folder_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COURSE_PRESET", "olmo2-1b")
    monkeypatch.setenv("COURSE_BUILD", str(tmp_path))
    opened = open_study()
    assert (opened.preset, opened.folder) == ("olmo2-1b", tmp_path)
    assert open_study("pocket").preset == "pocket"  # an argument goes before the environment


def test_a_typo_is_told_the_presets() -> None:
    with pytest.raises(CourseError, match="^preset 'pokcet': .*pocket, .*owner/name"):
        open_study("pokcet")


def test_facts_are_thinned_per_relation_and_the_same_every_time(small: Study) -> None:
    assert set(Counter(fact.relation for fact in small.facts.train).values()) == {8}
    assert open_study("pocket", settings=SMALL).facts == small.facts
    assert small.facts.ood_dev == DATASETS["pocket"].load().ood_dev, "a split without a limit is used whole"


def test_labels_are_measured_once_and_come_back_equal(small: Study, measured: list[int]) -> None:
    first = small.labels(progress=False)
    again = open_study("pocket", folder=small.folder, settings=SMALL).labels(progress=False)
    assert measured == [12 * 8 + 12 * 1 + 7 * 1]
    pd.testing.assert_frame_equal(first, again)


def test_labels_cover_train_test_and_ood_in_the_order_of_the_facts(small: Study) -> None:
    labelled = small.labels(progress=False)
    for split in ("train", "test", "ood"):
        subjects = labelled.loc[labelled["split"] == split, "subject"].tolist()
        assert subjects == [fact.subject for fact in getattr(small.facts, split)]


def test_categories_come_back_from_disk_ordered_and_numbers_as_they_were_measured(small: Study) -> None:
    labelled = small.labels(progress=False)
    for column in ("category", "drawn"):
        assert tuple(labelled[column].cat.categories) == CATEGORIES
        assert labelled[column].cat.ordered and labelled[column].notna().all()
    facts = [fact for split in ("train", "test", "ood") for fact in getattr(small.facts, split)]
    assert np.array_equal(labelled["prob_Unknown"], fake_labels(facts)["prob_Unknown"])


def test_a_name_that_looks_like_a_missing_value_is_kept(measured: list[int], tmp_path: Path,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_study("pocket", folder=tmp_path, settings=SMALL)
    odd = replace(opened.facts, test=(Fact("NA", "P19", "None"),))
    monkeypatch.setitem(opened.__dict__, "facts", odd)
    row = opened.labels(progress=False).query("split == 'test'").iloc[0]
    assert (row["subject"], row["object"]) == ("NA", "None")


@pytest.mark.parametrize("change", [
    lambda opened: opened.__dict__.update(base="other weights"),
    lambda opened: opened.__dict__.update(facts=replace(opened.facts, test=opened.facts.test[1:])),
    lambda opened: (opened.folder / "labels" / "pocket.csv").unlink(),
    lambda opened: (opened.folder / "labels" / "pocket.json").unlink(),
], ids=["another base", "other facts", "no table", "no note"])
def test_labels_are_measured_again_after_a_change(change: Callable, small: Study, measured: list[int]) -> None:
    small.labels(progress=False)
    change(small)
    small.labels(progress=False)
    assert len(measured) == 2


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_other_weights_another_tokenizer_or_configuration_are_another_base(name: str, model_folder: Path) -> None:
    before = open_study(str(model_folder)).base
    (model_folder / name).write_text('{"other": 1}')
    assert len(before.split("-")[0]) == 16 and open_study(str(model_folder)).base != before


def test_the_base_of_a_hub_model_is_its_id_its_commit_and_the_dtype_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "device_dtype", lambda: "float16")
    commit = "c" * 40
    assert open_study(f"owner/name@{commit}").base == f"owner/name@{commit}-float16"


def test_another_rule_for_the_size_makes_other_runs(small: Study) -> None:
    assert replace(small, settings=replace(small.settings, rule="category")).spec(50).name != small.spec(50).name


def test_results_go_to_the_repository_from_any_folder_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "notebooks" / "src").mkdir(parents=True)
    monkeypatch.delenv("COURSE_BUILD", raising=False)
    monkeypatch.chdir(tmp_path / "notebooks")
    assert open_study("pocket").folder == tmp_path / "build"


def test_results_on_a_model_folder_stay_in_the_studys_folder(model_folder: Path, measured: list[int], tmp_path: Path,
                                                             pocket_facts: None) -> None:
    opened = open_study(str(model_folder), folder=tmp_path / "build", settings=SMALL)
    opened.labels(progress=False)
    assert (tmp_path / "build" / "labels" / "my-model.csv").is_file()
    assert opened.spec(50).folder("runs").parent == Path("runs/my-model")
    assert sorted(path.name for path in model_folder.parent.rglob("*")) == [
        "config.json", "model.safetensors", "my-model"]


def test_a_mix_has_the_size_and_share_of_the_settings(small: Study) -> None:
    drawn = small.mix(50, seed=1)  # 2 rows of each of 12 relations, one of them Unknown
    assert (len(drawn.rows), len(drawn.unknown), drawn.seed) == (24, 12, 1)


def test_d_known_leaves_the_known_rows_of_d(small: Study) -> None:
    assert small.mix(0, variant="D_Known").rows == small.mix(0).rows
    assert small.mix(100, variant="D_Known").rows == ()


@pytest.mark.parametrize(("percent", "variant", "said"), [
    (50, "D_known", "variant 'D_known': .*D, D_Known, "), (None, "D_IDK", "variant 'D_IDK' .*unknown_percent")])
@pytest.mark.parametrize("ask", ["mix", "spec"])
def test_a_variant_that_does_not_exist_or_lacks_its_share_is_refused(small: Study, ask: str, percent: float | None,
                                                                     variant: str, said: str) -> None:
    with pytest.raises(CourseError, match=said):
        getattr(small, ask)(percent, variant=variant)


def test_a_single_category_follows_the_papers_rule(small: Study) -> None:
    spec = small.spec(variant="D_MaybeKnown")
    assert (spec.rule, spec.unknown_percent) == ("category", 0) and small.spec(50).rule == "known"
    assert {row.category for row in small.mix_of(spec).rows} == {"MaybeKnown"}
    assert small.spec(variant="D_Unknown").unknown_percent == 100


def test_shares_of_a_free_mix_are_part_of_its_run(small: Study) -> None:
    half, other = ({"MaybeKnown": share, "Unknown": 100 - share} for share in (50, 75))
    specs = [small.spec(variant="D_Free", shares=shares) for shares in (half, other)]
    assert specs[0].name != specs[1].name and [spec.unknown_percent for spec in specs] == [50, 25]
    assert {row.category for row in small.mix_of(specs[0]).rows} == {"MaybeKnown", "Unknown"}


def test_another_rate_makes_another_run(small: Study) -> None:
    assert small.spec(50, lr=1e-4).tune.lr == 1e-4 and small.spec(50, lr=1e-4).name != small.spec(50).name


def test_the_full_plan_has_every_variant_and_rate(small: Study) -> None:
    plan = small.full_plan(seeds=[0])
    assert {spec.variant for spec in plan} == set(VARIANTS) - {"D_Free"}
    assert sorted({spec.tune.lr for spec in plan}) == [SMALL.tune.lr, 2 * SMALL.tune.lr]
    assert len({spec.name for spec in plan}) == len(plan), "no run twice"


def test_categories_are_those_of_the_questions_in_their_order(small: Study) -> None:
    labelled = small.labels()
    assert small.categories()["ood"] == labelled.query("split == 'ood'")["category"].tolist()
    assert len(small.categories()["test"]) == len(small.facts.test)


def test_a_spec_holds_everything_that_decides_the_run(small: Study) -> None:
    spec = small.spec(50, variant="D_Known", seed=1)
    assert (spec.preset, spec.variant, spec.unknown_percent, spec.seed, spec.size) == ("pocket", "D_Known", 50, 1, 24)
    assert spec.tune == TuneConfig(epochs=1, seed=1)
    assert spec.base == small.base


def test_other_labels_make_other_runs(small: Study) -> None:
    before = small.spec(50).name
    path = small.folder / "labels" / "pocket.csv"
    path.write_text(path.read_text().replace(",Unknown", ",WeaklyKnown", 1))
    assert replace(small).spec(50).name != before


def test_the_plan_has_five_mixes_and_three_without_unknown_for_each_seed(measured: list[int], tmp_path: Path) -> None:
    settings = replace(SMALL, percents=(0, 25, 50, 75, 100))
    plan = open_study("pocket", folder=tmp_path, settings=settings).plan()
    one_seed = [("D", p) for p in (0, 25, 50, 75, 100)] + [("D_Known", p) for p in (25, 50, 75)]
    assert [(spec.variant, spec.unknown_percent) for spec in plan] == one_seed * 2
    assert [spec.seed for spec in plan] == [0] * 8 + [1] * 8
    assert len({spec.name for spec in plan}) == 16


@pytest.mark.parametrize("wrong", [
    {"size": 0}, {"size": 10**30}, {"rule": "knwon"}, {"percents": ()}, {"percents": (101,)}, {"percents": "0"},
    {"percents": (0, 0)}, {"seeds": ()}, {"seeds": (2**32,)}, {"seeds": (1, 1)}, {"seeds": range(1001)},
    {"per_relation": {"trian": 8}}, {"per_relation": {"train": -1}}, {"per_relation": [8]}, {"questions": 599},
    {"questions": 10**30}, {"size": 600, "tune": TuneConfig(batch=601)}], ids=str)
def test_settings_out_of_range_are_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(CourseError, match="batch = 601" if "tune" in wrong else f"^{next(iter(wrong))} = "):
        Settings(**wrong)


@pytest.mark.parametrize(("name", "value"), [
    ("COURSE_PRESET", "pokcet"), ("COURSE_PRESET", " "), ("COURSE_PRESET", "../nowhere"),
    ("COURSE_PRESET", "a/" * 3000), ("COURSE_PRESET", "~nobody-of-that-name/model"),
    ("COURSE_QUESTIONS", "twelve"), ("COURSE_QUESTIONS", "1e3"),
    ("COURSE_QUESTIONS", "9" * 5000), ("COURSE_QUESTIONS", "-600"), ("COURSE_QUICK", "yes"), ("COURSE_QUICK", "01"),
    ("COURSE_DTYPE", "int4"),
    ("COURSE_BUILD", "{}/file"), ("COURSE_BUILD", "{}/file/below"), ("COURSE_BUILD", "{}/loop"),
    ("COURSE_BUILD", "{}/loop/below"), ("COURSE_BUILD", "{}/nowhere"), ("COURSE_BUILD", "x" * 5000),
    ("COURSE_BUILD", "~nobody-of-that-name/build")], ids=lambda text: text[:30])
def test_a_variable_that_makes_no_sense_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str,
                                                 value: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "nowhere").symlink_to("gone")
    monkeypatch.setenv(name, value.format(tmp_path))
    with pytest.raises(CourseError, match=f"^{name}[ =]"):
        open_study()


@pytest.mark.parametrize(("value", "rows"), [("", 600), ("0", 600), ("1", 96)])
def test_course_quick_is_1_or_0(monkeypatch: pytest.MonkeyPatch, value: str, rows: int) -> None:
    monkeypatch.setenv("COURSE_QUICK", value)
    assert open_study("pocket").settings.size == rows


@pytest.mark.parametrize("preset", ["", " ", ".", "~", "/nowhere/model", "owner/name@", 3])
def test_a_preset_that_is_none_is_refused_before_anything_is_read(preset: Any, monkeypatch: pytest.MonkeyPatch,
                                                                  tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CourseError, match="^preset "):
        open_study(preset)


def test_shards_are_gone_when_the_table_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slick, "measure", lambda _m, _t, facts, prompts, **_: Scores.empty(len(facts), 10))
    monkeypatch.setattr(study, "load", fake_load)
    monkeypatch.setattr(labelling, "default_batch_tokens", lambda _: 100)
    open_study("pocket", folder=tmp_path, questions=600).labels(progress=False)
    assert sorted(path.name for path in (tmp_path / "labels").iterdir()) == ["pocket-600.csv", "pocket-600.json"]
