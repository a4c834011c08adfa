"""The instructor's timetables add up, and give each lesson the minutes that its own head asks for."""

import re
from pathlib import Path

import pytest

from course_lib.files import DataError
from course_lib.lessons.builder import editions
from course_lib.lessons.builder.editions import Minutes
from course_lib.lessons.builder.execution import NotebookError
from course_lib.lessons.builder.notebooks import read_source
from course_lib.timetable import Row, Timetable, faults, lesson_minutes, read_timetables

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "instructor" / "timetables.md"
LESSONS = {"00_start_here": Minutes(25, 15), "02_quantise": Minutes(45, 30)}
LINK = "[02 · Quantise](../../notebooks/02_quantise.ipynb)"
SMALL = f"""# Timetables

## An hour

**Length.** 60 minutes, breaks included.

| start | minutes | what | notebook |
|---|--:|---|---|
| 9:40 | 10 | Welcome | |
| 9:50 | 50 | Part: the seven steps of NF4 | {LINK} |

## What to leave out

Words.
"""


def table(*rows, length=None):
    made = tuple(Row(*row) for row in rows)
    return Timetable("T", length or sum(row.minutes for row in made), made)


def test_a_page_is_read_row_by_row():
    welcome = Row(580, 10, "Welcome", "")
    part = Row(590, 50, "Part: the seven steps of NF4", "02_quantise")
    assert read_timetables(SMALL) == (Timetable("An hour", 60, (welcome, part)),)


def test_a_page_that_adds_up_has_no_faults():
    assert faults(read_timetables(SMALL)[0], LESSONS) == []


@pytest.mark.parametrize(("gone", "asked"), [("**Length.** 60", "a line such as"), ("| 9:", "rows such as")])
def test_a_table_without_length_or_rows_is_named(gone, asked):
    with pytest.raises(DataError, match=f"timetable 'An hour': write {asked}"):
        read_timetables(SMALL.replace(gone, "x"))


@pytest.mark.parametrize(("rows", "said"), [
    ([(0, 10, "Welcome", ""), (15, 5, "End", "")], "T: 0:15 'End' should start at 0:10"),
    ([(0, 39, "Whole lesson", "00_start_here")], "T: 0:00 the whole of 00_start_here takes 40 minutes and gets 39"),
    ([(0, 41, "Part: the first three questions", "00_start_here")],
     "T: 0:00 a part of 00_start_here gets 41 minutes, the whole takes 40"),
    ([(0, 20, "Part: some", "00_start_here")],
     "T: 0:00 'Part: some' does not say in words which part of 00_start_here"),
    ([(0, 20, "Start here", "00_start_here")],
     "T: 0:00 'Start here': say 'Whole lesson' or 'Part:' and which, for 00_start_here"),
    ([(0, 90, "Whole lesson", "01_other")], "T: 0:00 01_other is no lesson"),
    ([(0, 90, "Whole lesson", "")], "T: 0:00 'Whole lesson' names no notebook"),
    ([(0, 60, "Talk", ""), (60, 40, "More", "")], "T: 1:00 'More': 100 minutes without a break"),
])
def test_each_fault_of_a_row_is_named(rows, said):
    assert faults(table(*rows), LESSONS) == [said]


def test_rows_that_do_not_fill_the_length_are_named():
    assert faults(table((0, 10, "Welcome", ""), length=90), LESSONS) == [
        "T: the rows add up to 10 minutes, the length says 90"]


def test_a_break_lets_a_room_sit_down_again():
    rows = [(0, 60, "Talk", ""), (60, 15, "Break", ""), (75, 60, "More", "")]
    assert faults(table(*rows), LESSONS) == []


def test_a_whole_lesson_may_have_more_than_its_minutes():
    assert faults(table((0, 45, "Whole lesson, and questions", "00_start_here")), LESSONS) == []


def test_a_lessons_minutes_are_read_from_the_head_of_its_source(tmp_path):
    sources = tmp_path / "notebooks" / "src"
    sources.mkdir(parents=True)
    head = "# %% [markdown]\n# # 03 · Small\n#\n# **Time.** 40 minutes to read and run, 25 for the exercises.\n"
    (sources / "03_small.py").write_text(head, encoding="utf-8")
    assert lesson_minutes(root=tmp_path) == {"03_small": Minutes(40, 25)}


def test_a_lesson_without_minutes_is_named(tmp_path):
    sources = tmp_path / "notebooks" / "src"
    sources.mkdir(parents=True)
    (sources / "03_small.py").write_text("# %% [markdown]\n# # 03 · Small\n", encoding="utf-8")
    with pytest.raises(NotebookError, match="03_small: its head needs the line"):
        lesson_minutes(root=tmp_path)


@pytest.fixture(scope="module")
def timetables():
    return read_timetables(PAGE.read_text(encoding="utf-8"))


def test_there_are_timetables_for_90_minutes_half_a_day_one_day_and_four_evenings(timetables):
    lengths = {made.title: made.length for made in timetables}
    assert lengths["90 minutes"] == 90 and lengths["Half a day"] == 240 and lengths["One day"] == 480
    assert sum(title.endswith("evening") for title in lengths) == 4


def test_every_timetable_adds_up_against_the_lessons(timetables):
    lessons = lesson_minutes(root=ROOT)
    assert [fault for made in timetables for fault in faults(made, lessons)] == []


def test_the_evenings_visit_every_lesson(timetables):
    visited = {row.notebook for made in timetables if made.title.endswith("evening") for row in made.rows}
    assert visited - {""} == set(lesson_minutes(root=ROOT))


def test_what_a_row_names_of_a_lesson_is_there_and_its_exercises_fit(timetables):
    rows = [row for made in timetables for row in made.rows if row.notebook]
    for row in rows:
        source = read_source(ROOT / "notebooks" / "src" / f"{row.notebook}.py")
        minutes = {one.id: one.minutes for one in editions.exercises(source)}
        named = re.findall(r"\b\d\d\.\d+\b", row.what)
        assert set(named) <= set(minutes), row
        assert sum(minutes[number] for number in named) <= row.minutes / 2, f"too little time to read: {row}"
        headings = {line for cell in source.cells for line in cell.source.splitlines() if line.startswith("## ")}
        assert {f"## {words}" for words in re.findall('"([^"]+)"', row.what)} <= headings, row
