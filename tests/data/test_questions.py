"""A set of questions: drawing a part of it."""

import pytest

from course_lib.data.questions import Question, QuestionSet
from course_lib.files import CourseError


def many(count: int) -> QuestionSet:
    asked = tuple(Question(f"{relation}{row}", "A", relation, row=row) for row in range(count) for relation in "rs")
    return QuestionSet("many", "many {row}", asked, asked)


def test_a_limit_draws_from_each_relation_and_keeps_the_order_and_the_exemplars():
    kept = many(50).limited(3, seed=1)
    assert [question.relation for question in kept.questions].count("r") == 3 and len(kept.questions) == 6
    assert list(kept.questions) == sorted(kept.questions, key=many(50).questions.index)
    assert len(kept.exemplars) == 100


def test_a_limit_depends_on_the_seed_alone():
    assert many(50).limited(3, seed=1) == many(50).limited(3, seed=1) != many(50).limited(3, seed=2)


def test_a_limit_above_the_number_of_questions_keeps_all_and_below_one_is_refused():
    assert many(5).limited(9) == many(5).limited(None)
    with pytest.raises(CourseError, match="limit = 0"):
        many(5).limited(0)
