"""Plans: what a file says, and every mistake in it, named with its key."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from course_lib.experiments import plan as plans
from course_lib.experiments.plan import Execution, Plan, TrainingSet, read_plan
from course_lib.experiments.settings import Settings
from course_lib.experiments.study import Study
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
    assert plan('how = "together"\nat_once = 4').execution == Execution("together", at_once=4)


def test_a_plan_of_another_preset_is_refused(plan) -> None:
    with pytest.raises(CourseError, match=r"plan\.toml: preset 'olmo2-1b', .*'pocket'"):
        plan('preset = "olmo2-1b"').study(Study("pocket", Path("x"), Settings()))


@pytest.mark.parametrize(("text", "said"), [
    ("seed = [1]", "'seed' ... 'seeds'"),
    ("a.b.c.d.e.f.g.h = 1", "'a' "),
    (f"{'a' * 9999} = 1", "aaa' "),
    ("seeds = 3", "'seeds': 3: ... 1 to 1,000"),
    ("seeds = []", "'seeds': []: "),
    (f"seeds = {list(range(10_000))}", "'seeds': [0, 1, 2, 3, 4, 5, ...]: ... 1 to 1,000"),
    ("seeds = [-1]", "'seeds': -1: ... 0 to 4,294,967,295"),
    (f"seeds = [{2**32}]", "'seeds': 4294967296: "),
    (f"seeds = [1{'0' * 400}]", "'seeds': ... 000: "),
    (f"seeds = [0x{'f' * 9999}]", "'seeds': ... 4,300"),
    ("seeds = [true]", "'seeds': True: "),
    ("seeds = [2024-01-01]", "'seeds': datetime.date(2024, 1, 1): "),
    ("seeds = [1, 2, 1]", "'seeds': 1 "),
    ("percents = [0, 120]", "'percents': 120: ... 0 to 100"),
    ("percents = [nan]", "'percents': nan: "),
    ("percents = [50, 50.0]", "'percents': 50.0 "),
    ("rates = [0]", "'rates': 0: ... 1e-09 to 10"),
    (f"rates = [1{'0' * 400}]", "'rates': ... 000: "),
    ('rates = ["1e-3"]', "'rates': '1e-3': "),
    ("rates = [1e-3, 0.001]", "'rates': 0.001 "),
    ("size = 81_701", "'size': 81701: ... 1 to 81,700"),
    ("epochs = 2.5", "'epochs': 2.5: ... 1 to 1,000"),
    ("epochs = 1_000_000_000_000", "'epochs': 1000000000000: "),
    ("warmup = -1", "'warmup': -1: ... 0 to 1000"),
    ("rank = 1_000_000_000", "'rank': 1000000000: ... 1 to 1,024"),
    ("alpha = 0", "'alpha': 0: "),
    ("batch = 1_000_000_000", "'batch': 1000000000: "),
    ("clip = inf", "'clip': inf: ... 1e-06 to 1e+06"),
    ("clip = 1e-300", "'clip': 1e-300: "),
    ('rule = "knwon"', "'rule': 'knwon' ... 'known'"),
    ('how = "togther"', "'how': 'togther' ... 'together'"),
    ("workers = 1_000_000", "'workers': 1000000: ... 1 to "),
    ("at_once = 257", "'at_once': 257: "),
    ("cpus = 0", "'cpus': 0: ... 0.001 "),
    ("gpus = 1.5", "'gpus': 1.5: "),
    ('ray = "over there"', "'ray': 'over there': ... local, auto"),
    ('ray = "head:65536"', "'ray': 'head:65536': "),
    ("preset = 3", "'preset': ... 3: ... pocket"),
    ('preset = " "', "'preset': ... ' ': ... pocket"),
    ('preset = "pokcet"', "'preset': ... 'pokcet': ... pocket"),
    ('preset = "a/b/c"', "'preset': ... 'a/b/c': "),
    (f'preset = "{"a/" * 3000}"', "'preset': ... File name too long"),
    ('variants = ["D_Knwon"]', "'D_Knwon' ... 'D_Known'"),
    ('variants = [["D"]]', "'variants': ['D']: "),
    ('variants = ["D", {variant = "D"}]', "'variants': {'variant': 'D'} "),
    ("variants = [{percent = 3}]", "'variants': {'percent': 3}: ... variant = NAME"),
    ('variants = [{variant = "D", unknwon_percent = 3}]', "'unknwon_percent' ... 'unknown_percent'"),
    ('variants = [{variant = "D_Unknown", unknown_percent = 3}]', "'variants': D_Unknown ... unknown_percent "),
    ('variants = [{variant = "D_Known", unknown_percent = 100}]', "'variants': D_Known ... 100 %"),
    ('variants = [{variant = "D_Known", unknown_percent = 0}]', "'variants': D_Known ... 0 %"),
    ('variants = ["D_Free"]', "'variants': D_Free: shares = "),
    ('variants = [{variant = "D", shares = {Unknown = 100}}]', "'variants': D: shares = ... D_Free"),
    ('variants = [{variant = "D_Free", shares = 3}]', "'variants': shares = 3: "),
    ('variants = [{variant = "D_Free", shares = {Unknwon = 100}}]', "'Unknwon' ... 'Unknown'"),
    ('variants = [{variant = "D_Free", shares = {Unknown = 90}}]', "'variants': shares ... 90; ... 100"),
], ids=lambda text: text[:40])
def test_a_mistake_is_named_with_file_and_key(plan, text: str, said: str) -> None:
    with pytest.raises(CourseError) as error:
        plan(text)
    assert [part for part in ("plan.toml: ", *said.split(" ... ")) if part not in str(error.value)] == []


@pytest.mark.parametrize(("text", "said"), [
    ("epochs = 4\nwarmup = 5", "warmup = 5: .*epochs = 4"), ("warmup = 13", "warmup = 13: .*epochs = 12"),
    ("size = 40\nbatch = 41", "batch = 41: .*size = 40"),
    ('variants = ["D_Known"]\npercents = [0, 100]', "0 runs"),
    (f"seeds = {list(range(1000))}\npercents = [1, 2, 3, 4, 5, 6]", "12,000 .*12 .*1,000 .*1 "),
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
    with pytest.raises(CourseError, match="'sead' .*'size': 0: .*'percents': 101"):
        plan("sead = 1\nsize = 0\npercents = [101]")


@pytest.mark.parametrize(("text", "said"), [
    ("size = 3\nseeds = 1 2", "TOML .*line 2"), (f"seeds = {'[' * 9999}{']' * 9999}", ""),
    (f"seeds = [{'1' * 5000}]", "TOML .*4300 digits"), (f"# {'x' * 70_000}", "70,002 .*65,536"),
])
def test_a_file_that_cannot_be_read_is_named(plan, text: str, said: str) -> None:
    with pytest.raises(DataError, match=rf"plan\.toml: .*{said}"):
        plan(text)


@pytest.mark.parametrize("name", ["missing.toml", "."])
def test_a_path_that_is_no_file_is_named(tmp_path, name: str) -> None:
    with pytest.raises(DataError, match=str(tmp_path)):
        read_plan(tmp_path / name)


def test_known_and_idk_are_left_out_where_they_are_d_or_empty() -> None:
    shares = (0, 50, 100)
    assert list(TrainingSet("D_Known").at(shares)) == [50]
    assert list(TrainingSet("D_IDK").at(shares)) == [50, 100]
    assert list(TrainingSet("D_Natural").at(shares)) == [None]


@pytest.mark.parametrize("wrong", [
    {"how": "nohow"}, {"how": ["ray"]}, {"workers": 0}, {"workers": 10**6}, {"workers": 1.5}, {"at_once": None},
    {"at_once": 0}, {"ray": ""}, {"ray": None}, {"cpus": 0}, {"cpus": math.nan}, {"gpus": -1}, {"gpus": 10**400}],
    ids=str)
def test_a_way_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(CourseError, match=f"^{next(iter(wrong))} = "):
        Execution(**wrong)


def test_every_key_of_a_plan_and_every_setting_of_a_run_has_a_range() -> None:
    names = {name for record in (TuneConfig, Execution) for name in record.__slots__}
    assert names - {"lr", "seed"} < set(plans.CHECKS) and set(TUNE) == set(TuneConfig.__slots__)


def test_the_plan_in_the_docs_is_one() -> None:
    plan = read_plan(Path(__file__).parents[2] / "docs" / "plan.toml")
    assert {wanted.variant for wanted in plan.variants} >= {"D", "D_IDK", "D_Free"} and plan.execution.how == "together"
