"""Learner's and instructor's editions of a small source."""

import pytest

from course_lib.lessons import start
from course_lib.lessons.builder import editions
from course_lib.lessons.builder.execution import NotebookError
from course_lib.lessons.builder.notebooks import read_source

SOURCE = '''# %% [markdown]
# # 05 · A lesson
#
# **Time.** 40 minutes to read and run, 7 for the exercises.

# %% [markdown] tags=["instructor"]
# ## For the instructor

# %% [markdown]
# ### Exercise 05.1 · Double it
#
# *Difficulty 1 of 3 · 5 minutes.* Write it.

# %% tags=["exercise"]
def double(x):
    """Twice x."""
    ### BEGIN SOLUTION
    if x:
        return 2 * x
    return 0
    ### END SOLUTION

# %%
print("between")

# %% [markdown]
# ### Exercise 05.2 · A number
#
# *Difficulty 3 of 3 · 2 minutes.* Guess.

# %% tags=["exercise"]
### BEGIN SOLUTION
low, high = 1, 2
guess = 4.5
### END SOLUTION
shown = "kept"
'''


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "05_a_lesson.py"
    path.write_text(SOURCE, encoding="utf-8")
    return read_source(path)


def code(notebook):
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def test_exercises_are_found_with_title_difficulty_and_minutes(source):
    assert [(one.id, one.title, one.difficulty, one.minutes) for one in editions.exercises(source)] == [
        ("05.1", "Double it", 1, 5), ("05.2", "A number", 3, 2)]


def test_minutes_are_read_from_the_head(source):
    assert editions.minutes(source) == editions.Minutes(40, 7) and editions.minutes(source).total == 47
    source.cells[0].source = "# 05 · A lesson"
    with pytest.raises(NotebookError, match=r"05_a_lesson: .*\*\*Time\.\*\*"):
        editions.minutes(source)


def test_a_learner_finds_a_function_whose_body_says_that_it_is_missing(source):
    assert code(editions.learner(source))[1] == (
        'def double(x):\n    """Twice x."""\n    raise NotImplementedError("exercise 05.1")  # your code here')


def test_a_learner_finds_dots_in_place_of_a_value_and_keeps_the_rest(source):
    source.cells[-1].source = source.cells[-1].source.replace("low, high = 1, 2\n", "")
    assert code(editions.learner(source))[3] == 'guess = ...  # your answer\nshown = "kept"'


def test_a_learner_does_not_get_the_instructors_notes(source):
    assert "For the instructor" not in str(editions.learner(source))
    assert "For the instructor" in str(editions.instructor(source))


def test_the_instructors_code_has_the_solution_and_no_marks(source):
    assert code(editions.instructor(source))[1] == (
        'def double(x):\n    """Twice x."""\n    if x:\n        return 2 * x\n    return 0')


def test_the_set_up_cell_and_the_badge_stand_in_every_edition(source):
    for made in (editions.learner(source), editions.instructor(source)):
        assert made.cells[0].source.startswith(f"# 05 · A lesson\n\n{start.badge('05_a_lesson')}\n")
        assert made.cells[1].source == start.CELL.strip("\n") and made.cells[1].id == "05-setup"


def test_making_an_edition_leaves_the_source_as_it_was_and_keeps_its_ids(source):
    before = str(source)
    assert [cell.id for cell in editions.learner(source).cells] == [
        "05-001", "05-setup", "05-003", "05-004", "05-005", "05-006", "05-007"]
    assert str(source) == before


@pytest.mark.parametrize("broken", ["*Difficulty 1 of 3 · 5 minutes.*", 'tags=["exercise"]\ndef',
                                    "### BEGIN SOLUTION\n    if"])
def test_an_exercise_that_lacks_a_part_is_refused_by_its_number(tmp_path, broken):
    path = tmp_path / "05_a_lesson.py"
    path.write_text(SOURCE.replace(broken, broken[-3:] if broken.endswith("def") else ""), encoding="utf-8")
    with pytest.raises(NotebookError, match=r"exercise 05\.1: "):
        editions.exercises(read_source(path))
