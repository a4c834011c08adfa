"""Plans: what a file says, and every mistake in it, named with its key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from course_lib.files import CourseError, DataError
from course_lib.plans import Plan, Wanted, Way, read_plan
from course_lib.study import Settings, Study


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


def test_the_mirror_is_beside_the_plan(plan, tmp_path) -> None:
    found = plan('how = "together"\nat_once = 4\nmirror = "copy"')
    assert found.way == Way("together", at_once=4, mirror=tmp_path / "copy")


def test_a_plan_of_another_preset_is_refused(plan) -> None:
    with pytest.raises(CourseError, match=r"plan.toml: preset 'olmo2-1b', but the study is of 'pocket'"):
        plan('preset = "olmo2-1b"').study(Study("pocket", Path("x"), Settings()))


@pytest.mark.parametrize(("text", "said"), [
    ("seed = [1]", "'seed' is no key; did you mean 'seeds'?"),
    ("seeds = 3", "key 'seeds': 3: give a list"),
    ("seeds = []", "key 'seeds': []: give a list, with at least one entry"),
    ("seeds = [-1]", "key 'seeds': -1: give a whole number from 0 on"),
    ("seeds = [true]", "key 'seeds': True: give a whole number"),
    ("percents = [0, 120]", "key 'percents': 120: give a percentage from 0 to 100"),
    ("percents = [nan]", "key 'percents': nan: give a percentage"),
    ("rates = [0]", "key 'rates': 0: give a number above 0"),
    ('rates = ["1e-3"]', "key 'rates': '1e-3': give a number above 0"),
    ("epochs = 2.5", "key 'epochs': 2.5: give a whole number from 1 on"),
    ("warmup = -1", "key 'warmup': -1: give a number that is 0 or above"),
    ("clip = inf", "key 'clip': inf: give a number above 0"),
    ('rule = "knwon"', "key 'rule': 'knwon' is no rule; did you mean 'known'?"),
    ('how = "togther"', "key 'how': 'togther' is no way to run; did you mean 'together'?"),
    ("preset = 3", "key 'preset': 3: give a text in quotation marks"),
    ('variants = ["D_Knwon"]', "'D_Knwon' is no variant; did you mean 'D_Known'?"),
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
])
def test_a_mistake_is_named_with_file_and_key(plan, text: str, said: str) -> None:
    with pytest.raises(CourseError) as error:
        plan(text)
    assert "plan.toml: " in str(error.value) and said in str(error.value)


def test_all_mistakes_are_told_together(plan) -> None:
    with pytest.raises(CourseError, match="'sead' is no key.*key 'size': 0: give.*key 'percents': 101"):
        plan("sead = 1\nsize = 0\npercents = [101]")


def test_a_broken_file_is_named_with_its_line(plan) -> None:
    with pytest.raises(DataError, match=r"plan.toml: not TOML \(.*line 2"):
        plan("size = 3\nseeds = 1 2")


def test_a_missing_file_is_named(tmp_path) -> None:
    with pytest.raises(DataError, match="missing.toml: no such plan"):
        read_plan(tmp_path / "missing.toml")


def test_known_and_idk_are_left_out_where_they_are_d_or_empty() -> None:
    shares = (0, 50, 100)
    assert list(Wanted("D_Known").at(shares)) == [50]
    assert list(Wanted("D_IDK").at(shares)) == [50, 100]
    assert list(Wanted("D_Natural").at(shares)) == [None]


@pytest.mark.parametrize("wrong", [{"how": "nohow"}, {"workers": 0}, {"at_once": 0}, {"gpus": -1}])
def test_a_way_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(CourseError, match=next(iter(wrong))):
        Way(**wrong)


def test_the_plan_in_the_docs_is_one() -> None:
    plan = read_plan(Path(__file__).parents[1] / "docs" / "plan.toml")
    assert {wanted.variant for wanted in plan.variants} >= {"D", "D_IDK", "D_Free"} and plan.way.how == "together"
