"""The rhythm of a lesson: a head that says what and how long, short cells, a check after each step, a quiz, an end.

All limits are those of the course's design; they are measured on what a learner sees, without the instructor's notes.
"""

import ast
import importlib
import re
from statistics import median

import pytest

from course_lib.lessons.builder import editions
from tests.support.lessons import SOURCES, cells, source

NAMES = [path.stem for path in SOURCES.values()]
EACH = pytest.mark.parametrize("lesson", SOURCES)
NOTES = ("**Goal.**", "**Misconceptions.**", "**Ask.**", "**Where it breaks.**", "**When late.**")


def code(lesson):
    return cells(lesson, "code")


def texts(lesson):
    return cells(lesson, "markdown")


def words(text):
    prose = re.sub(r"\$+[^$]*\$+", "x", text)
    return len([word for word in re.findall(r"\S+", prose) if re.search(r"\w", word)])


def lines(cell):
    return sum(bool(line.strip()) and "SOLUTION" not in line for line in cell.splitlines())


def calls(cell, name):
    return any(isinstance(node, ast.Call) and getattr(node.func, "id", "") == name
               for node in ast.walk(ast.parse(cell)))


def test_there_are_twelve_lessons_from_00_to_11():
    assert [*SOURCES] == [f"{number:02d}" for number in range(12)]


@EACH
def test_the_head_says_goal_objectives_time_memory_and_what_before(lesson):
    head = texts(lesson)[0]
    assert re.match(rf"# {lesson} · [A-Z]", head)
    for part in ("**Goal.**", "**You will be able to**", "**Time.**", "**Memory.**", "`course doctor`", "**Before.**"):
        assert part in head
    assert len(re.findall(r"^\d\. ", head, re.M)) == 3 and editions.minutes(source(lesson)).reading > 0


@EACH
def test_the_first_code_cell_opens_the_study_and_names_the_preset(lesson):
    assert "\n\nstudy = open_study()\n" in code(lesson)[0]
    assert "{study.preset}" in code(lesson)[0]


FACES = {"course_lib", *(f"course_lib.{room}" for room in (
    "analysis", "data", "experiments", "figures", "knowledge", "lessons", "models", "training"))}


def imported(lesson):
    """(module, name) of everything that a lesson takes from the library."""
    nodes = [node for cell in code(lesson) for node in ast.walk(ast.parse(cell)) if isinstance(node, ast.ImportFrom)]
    return [(node.module, alias.name) for node in nodes if node.module.startswith("course_lib") for alias in node.names]


@EACH
def test_a_lesson_imports_from_the_faces_of_few_rooms(lesson):
    assert {module for module, _ in imported(lesson)} <= FACES
    assert len({f"{module}.{found}" if module == "course_lib" else module for module, found in imported(lesson)}) <= 6
    assert [found for module, found in imported(lesson) if not hasattr(importlib.import_module(module), found)] == []


def test_all_lessons_together_import_few_names():
    assert len({found for lesson in SOURCES for found in imported(lesson)}) <= 45


@EACH
def test_code_cells_are_short(lesson):
    lengths = [lines(cell) for cell in code(lesson)]
    assert max(lengths) <= 15, code(lesson)[lengths.index(max(lengths))]
    assert 3 <= median(lengths) <= 9


@EACH
def test_text_cells_are_short(lesson):
    between = [text for text in texts(lesson)[1:] if not text.startswith(("## What to remember", "## Recall"))
               and "|---" not in text]
    assert [text for text in between if words(text) > 65] == []


@EACH
def test_a_check_or_a_print_follows_nearly_every_step(lesson):
    said = [cell for cell in code(lesson) if "assert" in cell or "print(" in cell or calls(cell, "check")]
    assert len(said) >= 0.5 * len(code(lesson))
    assert all(node.msg for cell in code(lesson) for node in ast.walk(ast.parse(cell)) if isinstance(node, ast.Assert))


@EACH
def test_a_seed_stands_just_before_each_random_step(lesson):
    for cell in code(lesson):
        if re.search(r"samples=\d", cell) and "def " not in cell:
            assert "manual_seed" in cell


@EACH
def test_each_lesson_asks_for_a_prediction_and_not_too_often(lesson):
    assert 1 <= sum("**Predict.**" in text for text in texts(lesson)) <= 3


@EACH
def test_no_cell_forks_on_the_preset(lesson):
    assert [cell for cell in code(lesson) if re.search(r"preset\s*(==|!=|in)\s*[\"'(\[]", cell)] == []


@EACH
def test_headings_go_down_one_level_at_a_time(lesson):
    levels = [len(mark) for text in texts(lesson) for mark in re.findall(r"^(#+) ", text, re.M)]
    assert levels[0] == 1 and 1 not in levels[1:] and max(levels) <= 3
    assert all(after - before <= 1 for before, after in zip(levels, levels[1:], strict=False))


@EACH
def test_a_figure_has_its_sentence_and_the_numbers_behind_it(lesson):
    for cell in code(lesson):
        if re.search(r"subplots\(|add_subplot\(|plots\.\w+\(", cell) and "def " not in cell:
            assert "print(" in cell, cell
    drawing = [cell for cell in code(lesson) if "subplots(" in cell or re.search(r"\bplots\.(?!describe)\w+\(", cell)]
    assert not drawing or any(calls(cell, "data_table") for cell in code(lesson))


@EACH
def test_the_lesson_ends_with_a_quiz_what_to_remember_and_three_questions(lesson):
    remember, recall = texts(lesson)[-2:]
    assert remember.startswith("## What to remember") and 3 <= len(re.findall(r"^\* ", remember, re.M)) <= 5
    assert recall.startswith("## Recall") and re.findall(r"^\d\.", recall, re.M) == ["1.", "2.", "3."]
    assert "**Next:**" in recall
    assert any(f'quiz("{lesson}")' in cell for cell in code(lesson))


@EACH
def test_the_instructor_finds_goal_misconceptions_questions_breakages_and_cuts(lesson):
    notes = [cell for cell in source(lesson).cells if "instructor" in cell.metadata.get("tags", [])]
    assert len(notes) == 1 and notes[0] is source(lesson).cells[1]
    assert notes[0].source.startswith("## For the instructor") and all(part in notes[0].source for part in NOTES)


@EACH
def test_links_to_other_lessons_lead_to_lessons(lesson):
    linked = re.findall(r"\]\((\d\d_\w+)\.ipynb\)", "\n".join(texts(lesson)))
    assert set(linked) <= set(NAMES)
    after = NAMES[int(lesson) + 1:][:1]
    assert not after or f"]({after[0]}.ipynb)" in texts(lesson)[-1]


@EACH
def test_sources_are_plain_text_in_narrow_lines(lesson):
    text = SOURCES[lesson].read_text(encoding="utf-8")
    assert max(map(len, text.splitlines())) <= 120
    assert set(re.findall(r"[^\x00-\x7f]", text)) <= set("·⁴")
