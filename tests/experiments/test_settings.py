"""The size of a study: which questions a size draws, and where it comes from."""

import re
from collections import Counter
from pathlib import Path

import pytest

from course_lib.data import entityquestions
from course_lib.data.facts import Fact, FactSet
from course_lib.experiments.settings import SETTINGS, WHOLE, counts, draw_facts, thin_out
from course_lib.experiments.study import open_study
from course_lib.files import CourseError

SPLITS = ("train", "dev", "test", "ood")


def world(**sizes: int) -> FactSet:
    """Invented facts; each relation has as many train facts as said, and 300 of each other split."""
    def some(split: str, relation: str, count: int) -> list[Fact]:
        return [Fact(f"{split} {number}", relation, "Rome") for number in range(count)]

    splits = {split: tuple(fact for relation, size in sizes.items()
                           for fact in some(split, relation, size if split == "train" else 300))
              for split in (*SPLITS, "ood_dev")}
    return FactSet("world", **splits)


@pytest.fixture(scope="module")
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


def test_a_draw_is_the_same_again_and_no_run_of_neighbours_and_leaves_the_examples_whole() -> None:
    drawn = draw_facts(world(P19=6000), 600)
    numbers = [int(fact.subject.split()[1]) for fact in drawn.train]
    assert max(numbers) > 5500 and sorted(numbers) != numbers
    assert draw_facts(world(P19=6000), 600) == drawn and len(drawn.ood_dev) == 300


@pytest.mark.parametrize(("questions", "expected"), [
    (600, (600, 240, 480, 280)), (3600, (3600, 360, 720, 420)), (48000, (48000, 4800, 9600, 5600))])
def test_dev_test_and_ood_scale_with_the_size_above_their_least(questions: int, expected: tuple[int, ...]) -> None:
    assert counts(questions) == dict(zip(SPLITS, expected, strict=True))


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


def test_the_size_comes_from_the_environment_unless_an_argument_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COURSE_QUESTIONS", "first-look")
    assert open_study("olmo2-1b").settings.questions == 600
    assert open_study("olmo2-1b", questions="default").settings == SETTINGS["default"]
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
    assert set(Counter(fact.relation for fact in drawn.train).values()) == {50}


def test_all_is_the_papers_split(real: FactSet, monkeypatch: pytest.MonkeyPatch, course_data: Path) -> None:
    monkeypatch.setenv("COURSE_DATA", str(course_data))
    assert open_study("owner/name", questions="all").facts == real


def test_a_large_real_size_gives_the_small_relation_all_it_has(real: FactSet) -> None:
    drawn = Counter(fact.relation for fact in draw_facts(real, 48_000).train)
    assert drawn["P800"] == 1356 and max(drawn.values()) - sorted(drawn.values())[1] <= 1
