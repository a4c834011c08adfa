"""The data sets by their names, and the questions behind ``--data``."""

from dataclasses import replace

import pytest

from course_lib.data import entityquestions
from course_lib.data.datasets import DATASETS, DEFAULT, load_questions
from course_lib.data.entityquestions import Record
from course_lib.data.facts import QUESTIONS, SPLITS, Fact, FactSet, by_relation
from course_lib.data.questions import Question
from course_lib.files import CourseError


@pytest.fixture
def world(monkeypatch) -> FactSet:
    """A paper's split of one fact each."""
    one = {split: (Fact(f"{split} subject", "P19", "A"),) for split in ("train", "dev", "test")}
    loaded = FactSet("tiny", **one, ood=(Fact("ood subject", "P127", "B"),), ood_dev=(Fact("O", "P127", "C"),))
    monkeypatch.setitem(DATASETS, DEFAULT, replace(DATASETS[DEFAULT], load=lambda source: loaded))
    return loaded


def test_the_papers_split_asks_its_facts_and_takes_the_exemplars_of_dev(world):
    asked = load_questions("folder")
    assert asked.questions == (Question("Where was test subject born?", "A", "P19", "test subject", row=1),)
    assert [exemplar.subject for exemplar in asked.exemplars] == ["dev subject", "O"]
    assert asked.place(asked.questions[0]) == "tiny test 1" and not asked.shared


def test_questions_of_dev_are_the_same_as_its_exemplars(world):
    asked = load_questions("folder", split="dev")
    assert asked.shared and set(asked.questions) <= set(asked.exemplars)


def test_all_relations_take_every_answer_and_the_exemplars_have_one(monkeypatch):
    records = {(split, relation): [Record(f"{split} one", ("A",)), Record(f"{split} two", ("A", "B", "A"))]
               for split in ("dev", "test") for relation in QUESTIONS}
    monkeypatch.setattr(entityquestions, "read_records", lambda source, splits: records)
    asked = load_questions("folder", relations="all")
    assert len(asked.questions) == 48 and len(asked.exemplars) == 24
    assert asked.questions[1] == Question("Where is test two located?", "A", "P131", "test two", ("B",), 2)
    assert asked.place(asked.questions[1]) == "P131.test.json record 2"


@pytest.mark.parametrize("wanted", [{"split": "valid"}, {"relations": "some"}, {"split": "ood", "relations": "all"}])
def test_a_split_or_relations_that_do_not_exist_are_refused(wanted):
    with pytest.raises(CourseError, match=f"'{next(iter(wanted.values()))}'.*'paper'.*'all'"):
        load_questions("pocket", **wanted)


def test_the_pocket_world_is_the_default_of_the_pocket_model_and_can_be_named():
    asked = load_questions(None, default="pocket")
    assert asked == load_questions("pocket") and asked.name == "pocket test"
    assert {question.relation for question in asked.questions} <= {exemplar.relation for exemplar in asked.exemplars}


def test_all_relations_of_the_pocket_world_add_the_ood_questions():
    both = [len(load_questions("pocket", split=split).questions) for split in ("test", "ood")]
    assert len(load_questions("pocket", relations="all").questions) == sum(both)


def test_any_other_model_asks_entityquestions(world):
    assert load_questions(None) == load_questions("entityquestions") == load_questions("folder")


def test_the_sizes_that_are_known_before_are_those_of_the_facts(course_data):
    for dataset in DATASETS.values():
        loaded = dataset.load()
        assert loaded.totals() == {split: dataset.sizes[split] for split in SPLITS}
        assert set(by_relation((*loaded.train, *loaded.dev, *loaded.test))) == set(dataset.relations)
        assert set(by_relation((*loaded.ood, *loaded.ood_dev))) == set(dataset.ood_relations)


def test_the_real_test_files_of_all_24_relations_are_22_075_questions(course_data):
    asked = load_questions(course_data, relations="all")
    assert len(asked.questions) == 22_075 and len(by_relation(asked.questions)) == 24
    assert min(map(len, by_relation(asked.exemplars).values())) > 100  # 24 relations have dev exemplars
    assert len(by_relation(asked.exemplars)) == 24


def test_a_file_of_ones_own_has_no_splits(tmp_path):
    (tmp_path / "facts.jsonl").write_text('{"question": "Q?", "answer": "A"}')
    assert len(load_questions(tmp_path / "facts.jsonl").questions) == 1
    with pytest.raises(CourseError, match=r"facts\.jsonl: .*'dev'"):
        load_questions(tmp_path / "facts.jsonl", split="dev")
