"""The instructor's timetables add up, and give each lesson the minutes that its own head asks for."""

import re

import pytest

from course_lib.lessons.builder import editions
from course_lib.lessons.builder.notebooks import read_source
from tools.site import timetable
from tools.site.timetable import Lesson, Row, Sitting, faults

KNOWN = {"00": Lesson("00_start_here", "00 · Start", 40)}


@pytest.mark.parametrize("rows", [
    [Row(minutes=45, lesson="00")],
    [Row(minutes=40, lesson="00", part="the first three questions")],
    [Row(minutes=60, what="Talk"), Row(minutes=15, what="Break: lunch"), Row(minutes=60, what="More")],
])
def test_a_timetable_that_adds_up_has_no_faults(rows):
    assert faults(rows, KNOWN) == []


@pytest.mark.parametrize(("rows", "fault"), [
    ([Row(minutes=39, lesson="00")], "Whole lesson: 39 minutes, .* takes 40"),
    ([Row(minutes=41, lesson="00", part="some")], "Part: some: 41 minutes, .* takes 40"),
    ([Row(minutes=60, what="Talk"), Row(minutes=40, what="More")], "More: 100 minutes without a break"),
])
def test_each_fault_of_a_row_is_named(rows, fault):
    assert re.fullmatch(fault, *faults(rows, KNOWN))


def test_a_row_starts_where_the_one_before_ends():
    rows = (Row(minutes=40, lesson="00"), Row(minutes=25, what="Talk"), Row(minutes=5, what="Break"))
    made = timetable.page("# T", [Sitting(heading="## An hour", start="9:50", rows=rows, after="End.")], KNOWN)
    assert made.splitlines()[-5:] == [
        "| 9:50 | 40 | Whole lesson | [00 · Start](../../notebooks/00_start_here.ipynb) |",
        "| 10:30 | 25 | Talk | |", "| 10:55 | 5 | Break | |", "", "End."]
    assert made.startswith("# T\n\n## An hour\n\n**Length.** 70 minutes, breaks included.\n\n| start |")


@pytest.fixture(scope="module")
def stored():
    return timetable.read()


@pytest.fixture(scope="module")
def known():
    return timetable.lessons()


def test_every_timetable_adds_up_against_the_lessons_and_is_on_the_page(stored, known):
    assert [fault for one in stored[1] for fault in faults(one.rows, known)] == []
    page = timetable.SOURCE.with_suffix(".md").read_text(encoding="utf-8")
    assert page == timetable.page(*stored, known), "run python -m tools.site.timetable"


def test_the_lengths_are_those_promised(stored):
    lengths = {one.heading.lstrip("# "): one.length for one in stored[1] if one.rows}
    evenings = [length for heading, length in lengths.items() if heading.endswith("evening")]
    assert lengths["90 minutes"] == 90 and lengths["Half a day"] == 240 and lengths["One day"] == 480
    assert evenings == [180] * 4


def test_the_evenings_visit_every_lesson(stored, known):
    visited = {row.lesson for one in stored[1] if one.heading.endswith("evening") for row in one.rows}
    assert visited - {""} == set(known)


def test_what_a_row_names_of_a_lesson_is_there_and_its_exercises_fit(stored, known):
    for row in (row for one in stored[1] for row in one.rows if row.lesson):
        source = read_source(timetable.ROOT / "notebooks" / "src" / f"{known[row.lesson].name}.py")
        minutes = {one.id: one.minutes for one in editions.exercises(source)}
        named = re.findall(r"\b\d\d\.\d+\b", row.part)
        assert set(named) <= set(minutes), row
        assert sum(minutes[number] for number in named) <= row.minutes / 2, f"too little time to read: {row}"
        headings = {line for cell in source.cells for line in cell.source.splitlines() if line.startswith("## ")}
        assert {f"## {words}" for words in re.findall('"([^"]+)"', row.part)} <= headings, row
