"""Facts, their questions and the counts of a set of them."""

import subprocess
import sys
from pathlib import Path

import pytest

from course_lib.data import facts
from course_lib.data.facts import QUESTIONS, Fact, FactSet
from course_lib.files import DataError


def test_a_fact_asks_its_template_with_its_subject():
    assert Fact("Paris Hilton", "P19", "New York City").question == "Where was Paris Hilton born?"


def test_a_fact_of_a_relation_without_a_template_says_which():
    with pytest.raises(DataError, match=r"'P9999'.*\bQUESTIONS"):
        _ = Fact("Paris", "P9999", "France").question


def test_every_relation_has_one_place_for_the_subject_and_a_name():
    assert all(template.count("[E]") == 1 for template in QUESTIONS.values())
    assert facts.RELATION_NAMES.keys() == QUESTIONS.keys()
    assert facts.RELATION_NAMES["P19"] == "place of birth"


def test_facts_are_grouped_by_relation_in_order():
    born, owner, other = Fact("a", "P19", "x"), Fact("b", "P127", "y"), Fact("c", "P19", "z")
    assert facts.by_relation([born, owner, other]) == {"P19": [born, other], "P127": [owner]}


def test_the_summary_counts_each_relation_once_per_split():
    born, owner = Fact("a", "P19", "x"), Fact("b", "P127", "y")
    fact_set = FactSet("tiny", train=(born, born), dev=(), test=(born,), ood=(owner,))
    assert fact_set.summary().to_dict("records") == [
        {"relation": "P19", "question": "Where was [E] born?", "train": 2, "dev": 0, "test": 1, "ood": 0},
        {"relation": "P127", "question": "Who owns [E]?", "train": 0, "dev": 0, "test": 0, "ood": 1},
    ]
    assert fact_set.totals() == {"train": 2, "dev": 0, "test": 1, "ood": 1}


def test_the_summary_of_no_facts_keeps_its_columns():
    columns = list(FactSet("none", (), (), (), ()).summary().columns)
    assert columns == ["relation", "question", "train", "dev", "test", "ood"]


def test_importing_facts_loads_neither_pandas_nor_pooch():
    code = ("import sys; from course_lib.data import facts, paper; "
            "assert not {'pandas', 'pooch', 'tqdm'} & set(sys.modules)")
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(facts.__file__).parents[2])
