"""Plans: what a file says, and every mistake in it, named with its key."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from course_lib.experiments import plan as plans
from course_lib.experiments.plan import Plan, Wanted, Way, read_plan
from course_lib.experiments.study import Settings, Study
from course_lib.files import CourseError, DataError
from course_lib.training.records import TUNE, TuneConfig


@pytest.fixture
def plan(tmp_path: Path):
    path = tmp_path / "plan.toml"
    return lambda text: read_plan(path) if path.write_text(text, encoding="utf-8") else read_plan(path)


def listed(given: Plan, monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """Variant, share, seed, rate and shares of each run, without measuring anything."""
    def spec(_: Study, percent: Any = None, *, variant: str, seed: int, lr: Any, shares: Any) -> tuple:
        return (variant, percent, seed, lr, *(tuple(shares.items()) if shares else ()))

    monkeypatch.setattr(Study, "spec", spec)
    return given.specs(given.study(Study("pocket", Path("nowhere"), Settings(percents=(0, 50, 100), seeds=(0,)))))


def test_an_empty_plan_is_the_curve_of_the_study(plan, monkeypatch) -> None:
    assert listed(plan("# nothing\n"), monkeypatch) == [
        ("D", 0, 0, None), ("D", 50, 0, None), ("D", 100, 0, None), ("D_Known", 50, 0, None)]


def test_variants_seeds_and_rates_make_a_grid(plan, monkeypatch) -> None:
    text = 'variants = ["D", "D_MaybeKnown"]\npercents = [25]\nseeds = [3, 4]\nrates = [1e-3, 2e-3]'
    assert listed(plan(text), monkeypatch) == [
        (variant, percent, seed, rate) for rate in (1e-3, 2e-3) for seed in (3, 4)
        for variant, percent in (("D", 25), ("D_MaybeKnown", None))]


def test_a_table_asks_for_one_share_or_for_shares_of_categories(plan, monkeypatch) -> None:
    text = """variants = [{variant = "D_IDK", unknown_percent = 30},
                          {variant = "D_Free", shares = {Unknown = 40, HighlyKnown = 60}}]"""
    assert listed(plan(text), monkeypatch) == [
        ("D_IDK", 30, 0, None), ("D_Free", None, 0, None, ("HighlyKnown", 60), ("Unknown", 40))]


def test_a_run_that_is_asked_for_twice_is_there_once(plan, monkeypatch) -> None:
    assert listed(plan('variants = ["D", {variant = "D", unknown_percent = 50}]'), monkeypatch) == [
        ("D", 0, 0, None), ("D", 50, 0, None), ("D", 100, 0, None)]


def test_settings_of_a_run_go_before_those_of_the_study(plan) -> None:
    study = plan("size = 24\nepochs = 2\nrank = 4\nbatch = 16").study(Study("pocket", Path("x"), Settings()))
    assert (study.settings.size, study.settings.tune.epochs, study.settings.tune.rank) == (24, 2, 4)
    assert (study.settings.tune.batch, study.settings.tune.alpha) == (16, 32)


def test_the_way_to_run_stands_in_the_plan(plan) -> None:
    assert plan('how = "together"\nat_once = 4').way == Way("together", at_once=4)


def test_a_plan_of_another_preset_is_refused(plan) -> None:
    with pytest.raises(CourseError, match=r"plan.toml: preset 'olmo2-1b', but the study is of 'pocket'"):
        plan('preset = "olmo2-1b"').study(Study("pocket", Path("x"), Settings()))


@pytest.mark.parametrize(("text", "said"), [
    ("seed = [1]", "'seed' is no key; did you mean 'seeds'?"),
    ("a.b.c.d.e.f.g.h = 1", "'a' is no key"),
    (f"{'a' * 9999} = 1", "aaa' is no key"),
    ("seeds = 3", "key 'seeds': 3: it must be a list of 1 to 1,000 entries"),
    ("seeds = []", "key 'seeds': []: it must be a list"),
    (f"seeds = {list(range(10_000))}", "key 'seeds': [0, 1, 2, 3, 4, 5, ...]: it must be a list of 1 to 1,000 entries"),
    ("seeds = [-1]", "key 'seeds': -1: it must be a whole number from 0 to 4,294,967,295"),
    (f"seeds = [{2**32}]", "key 'seeds': 4294967296: it must be"),
    (f"seeds = [1{'0' * 400}]", "000: it must be a whole number"),
    (f"seeds = [0x{'f' * 9999}]", "key 'seeds': an integer of over 4,300 digits: it must be"),
    ("seeds = [true]", "key 'seeds': True: it must be a whole number"),
    ("seeds = [2024-01-01]", "key 'seeds': datetime.date(2024, 1, 1): it must be"),
    ("seeds = [1, 2, 1]", "key 'seeds': 1 stands there twice"),
    ("percents = [0, 120]", "key 'percents': 120: it must be a number from 0 to 100"),
    ("percents = [nan]", "key 'percents': nan: it must be"),
    ("percents = [50, 50.0]", "key 'percents': 50.0 stands there twice"),
    ("rates = [0]", "key 'rates': 0: it must be a number from 1e-09 to 10"),
    (f"rates = [1{'0' * 400}]", "000: it must be a number from"),
    ('rates = ["1e-3"]', "key 'rates': '1e-3': it must be a number"),
    ("rates = [1e-3, 0.001]", "key 'rates': 0.001 stands there twice"),
    ("size = 81_701", "key 'size': 81701: it must be a whole number from 1 to 81,700"),
    ("epochs = 2.5", "key 'epochs': 2.5: it must be a whole number from 1 to 1,000"),
    ("epochs = 1_000_000_000_000", "key 'epochs': 1000000000000: it must be"),
    ("warmup = -1", "key 'warmup': -1: it must be a number from 0 to 1000"),
    ("rank = 1_000_000_000", "key 'rank': 1000000000: it must be a whole number from 1 to 1,024"),
    ("alpha = 0", "key 'alpha': 0: it must be"),
    ("batch = 1_000_000_000", "key 'batch': 1000000000: it must be"),
    ("clip = inf", "key 'clip': inf: it must be a number from 1e-06 to 1e+06"),
    ("clip = 1e-300", "key 'clip': 1e-300: it must be"),
    ('rule = "knwon"', "key 'rule': 'knwon' is no rule; did you mean 'known'?"),
    ('how = "togther"', "key 'how': 'togther' is no way to run; did you mean 'together'?"),
    ("workers = 1_000_000", "key 'workers': 1000000: it must be a whole number from 1 to"),
    ("at_once = 257", "key 'at_once': 257: it must be"),
    ("cpus = 0", "key 'cpus': 0: it must be a number from 0.001"),
    ("gpus = 1.5", "key 'gpus': 1.5: it must be a part of one GPU, or a whole number"),
    ('ray = "over there"', "key 'ray': 'over there': it must be local, auto or the address"),
    ('ray = "head:65536"', "key 'ray': 'head:65536': it must be"),
    ("preset = 3", "key 'preset': preset 3: give one of pocket"),
    ('preset = " "', "key 'preset': preset ' ': give one of"),
    ('preset = "pokcet"', "key 'preset': preset 'pokcet': give one of"),
    ('preset = "a/b/c"', "key 'preset': preset 'a/b/c': a/b/c: no such folder"),
    (f'preset = "{"a/" * 3000}"', "File name too long"),
    ('variants = ["D_Knwon"]', "'D_Knwon' is no variant; did you mean 'D_Known'?"),
    ('variants = [["D"]]', "key 'variants': ['D']: give a name, or a table"),
    ('variants = ["D", {variant = "D"}]', "key 'variants': {'variant': 'D'} stands there twice"),
    ("variants = [{percent = 3}]", "give a name, or a table with variant = NAME"),
    ('variants = [{variant = "D", unknwon_percent = 3}]', "did you mean 'unknown_percent'?"),
    ('variants = [{variant = "D_Unknown", unknown_percent = 3}]', "D_Unknown has no unknown_percent to choose"),
    ('variants = [{variant = "D_Known", unknown_percent = 100}]', "D_Known at 100 % Unknown is empty"),
    ('variants = [{variant = "D_Known", unknown_percent = 0}]', "D_Known at 0 % Unknown is D itself"),
    ('variants = ["D_Free"]', "belong to D_Free, which needs them"),
    ('variants = [{variant = "D", shares = {Unknown = 100}}]', "belong to D_Free"),
    ('variants = [{variant = "D_Free", shares = 3}]', "shares = 3: give a table"),
    ('variants = [{variant = "D_Free", shares = {Unknwon = 100}}]', "did you mean 'Unknown'?"),
    ('variants = [{variant = "D_Free", shares = {Unknown = 90}}]', "shares sum to 90; they must sum to 100"),
], ids=lambda text: text[:40])
def test_a_mistake_is_named_with_file_and_key(plan, text: str, said: str) -> None:
    with pytest.raises(CourseError) as error:
        plan(text)
    assert "plan.toml: " in str(error.value) and said in str(error.value)


@pytest.mark.parametrize(("text", "said"), [
    ("epochs = 4\nwarmup = 5", "warmup = 5: it must be at most epochs = 4"),
    ("warmup = 13", "warmup = 13: it must be at most epochs = 12"),
    ("size = 40\nbatch = 41", "batch = 41: it must be at most size = 40"),
    ('variants = ["D_Known"]\npercents = [0, 100]', "0 runs"),
    (f"seeds = {list(range(1000))}\npercents = [1, 2, 3, 4, 5, 6]", "12,000 runs .12 training sets, 1,000 seeds, 1"),
])
def test_settings_that_do_not_fit_together_are_refused(plan, text: str, said: str) -> None:
    with pytest.raises(CourseError, match=f"plan.toml: .*{said}"):
        plan(text).study(Study("pocket", Path("x"), Settings()))


@pytest.mark.parametrize("text", ["epochs = 1", "epochs = 1000\nwarmup = 1000", "size = 8", "rank = 1024\nseeds = [0]",
                                  'ray = "ray://head.example.org:10001"', 'ray = "[::1]:6379"', "gpus = 0.25",
                                  "seeds = [4294967295]", "\ufeffseeds = [1]", "percents = [33.3, 66.6]"])
def test_what_makes_sense_is_taken(plan, text: str) -> None:
    read = plan(text)
    assert read.study(Study("pocket", Path("x"), Settings())).settings.tune.batch == 32


def test_all_mistakes_are_told_together(plan) -> None:
    with pytest.raises(CourseError, match="'sead' is no key.*key 'size': 0: it must.*key 'percents': 101"):
        plan("sead = 1\nsize = 0\npercents = [101]")


@pytest.mark.parametrize(("text", "said"), [
    ("size = 3\nseeds = 1 2", r"not TOML \(.*line 2"),
    (f"seeds = {'[' * 9999}{']' * 9999}", "lists or tables nested too deep"),
    (f"seeds = [{'1' * 5000}]", "not TOML .*4300 digits"), (f"# {'x' * 70_000}", "70,002 bytes, and at most 65,536"),
])
def test_a_file_that_cannot_be_read_is_named(plan, text: str, said: str) -> None:
    with pytest.raises(DataError, match=f"plan.toml: {said}"):
        plan(text)


@pytest.mark.parametrize("name", ["missing.toml", "."])
def test_a_path_that_is_no_file_is_named(tmp_path, name: str) -> None:
    with pytest.raises(DataError, match=str(tmp_path)):
        read_plan(tmp_path / name)


def test_known_and_idk_are_left_out_where_they_are_d_or_empty() -> None:
    shares = (0, 50, 100)
    assert list(Wanted("D_Known").at(shares)) == [50]
    assert list(Wanted("D_IDK").at(shares)) == [50, 100]
    assert list(Wanted("D_Natural").at(shares)) == [None]


@pytest.mark.parametrize("wrong", [
    {"how": "nohow"}, {"how": ["ray"]}, {"workers": 0}, {"workers": 10**6}, {"workers": 1.5}, {"at_once": None},
    {"at_once": 0}, {"ray": ""}, {"ray": None}, {"cpus": 0}, {"cpus": math.nan}, {"gpus": -1}, {"gpus": 10**400}],
    ids=str)
def test_a_way_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(CourseError, match=f"^{next(iter(wrong))} = "):
        Way(**wrong)


@pytest.mark.parametrize("wrong", [
    {"epochs": 1001}, {"epochs": True}, {"epochs": "3"}, {"epochs": None}, {"lr": 10**400}, {"lr": 1e-300},
    {"warmup": math.inf}, {"warmup": 13}, {"rank": 1025}, {"alpha": 1.5}, {"batch": 10**9}, {"clip": 1e-300},
    {"seed": -1}, {"seed": 2**32}, {"seed": 0.0}], ids=str)
def test_a_tune_config_out_of_range_is_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(CourseError, match=f"^TuneConfig.{next(iter(wrong))} = .*: it must be"):
        TuneConfig(**wrong)


def test_all_fields_that_are_wrong_are_named_and_numpys_numbers_are_right() -> None:
    with pytest.raises(CourseError, match="TuneConfig.epochs = 0: .*; TuneConfig.rank = 0: "):
        TuneConfig(epochs=0, rank=0)
    assert TuneConfig(seed=np.int64(3), lr=np.float32(0.5)).seed == 3


def test_every_key_of_a_plan_and_every_setting_of_a_run_has_a_range() -> None:
    names = {name for record in (TuneConfig, Way) for name in record.__slots__}
    assert names - {"lr", "seed"} < set(plans.CHECKS) and set(TUNE) == set(TuneConfig.__slots__)


def test_the_plan_in_the_docs_is_one() -> None:
    plan = read_plan(Path(__file__).parents[2] / "docs" / "plan.toml")
    assert {wanted.variant for wanted in plan.variants} >= {"D", "D_IDK", "D_Free"} and plan.way.how == "together"
