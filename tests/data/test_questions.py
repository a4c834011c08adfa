"""Sets of questions, and reading them from a file of the user's own: every way a row can be wrong."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from course_lib.data import questions
from course_lib.data.datasets import load_questions
from course_lib.data.facts import MAX_LENGTH
from course_lib.data.questions import Question, QuestionSet, read_file
from course_lib.files import CourseError, DataError

GOOD = {"question": "Where was Ada born?", "answer": "London"}


def jsonl(folder: Path, *rows, name: str = "facts.jsonl") -> Path:
    """One row a line: bytes as they are, anything else as JSON."""
    path = folder / name
    path.write_bytes(b"\n".join(row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows))
    return path


def csv_file(folder: Path, text: str | bytes) -> Path:
    path = folder / "facts.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def complaints(path: Path) -> list[str]:
    return [str(problem) for problem in read_file(path).problems]


# Rows that are right


LISTED = {"question": "Q?", "answer": ["London", "City of London", "London"], "relation": "born", "subject": "Ada"}


@pytest.mark.parametrize(("row", "question"), [
    (GOOD, Question("Where was Ada born?", "London", row=1)),
    (LISTED, Question("Q?", "London", "born", "Ada", ("City of London",), 1)),  # the first is gold, none twice
    ({"question": " Q? ", "answer": "A \n", "relation": " r"}, Question("Q?", "A", "r", row=1)),
    ({"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Q?"},
                   {"role": "assistant", "content": "A"}], "relation": "r"}, Question("Q?", "A", "r", row=1)),
    ({"prompt": "Q?", "completion": "A"}, Question("Q?", "A", row=1)),
    ({"instruction": "Q?", "input": "", "output": "A"}, Question("Q?", "A", row=1))],
    ids=["text", "list", "spaces", "messages", "prompt", "instruction"])
def test_the_usual_forms_of_rows_are_read(tmp_path, row, question):
    assert read_file(jsonl(tmp_path, row)).questions == (question,)


@pytest.mark.parametrize(("row", "why"), [
    ({"messages": [{"role": "user", "content": "Q?"}]}, "1 "),
    ({"messages": "Q?"}, "messages"),
    ({"messages": [{"role": "assistant", "content": "A"}, {"role": "user", "content": "Q?"}]}, "2 "),
    ({"instruction": "Sum up.", "input": "A text.", "output": "A"}, "input"),
    ({"prompt": "Q?"}, "answer")])
def test_a_fine_tuning_row_without_one_question_and_one_answer_is_named(tmp_path, row, why):
    assert why in complaints(jsonl(tmp_path, GOOD, row))[0].removeprefix("facts.jsonl line 2: ")


def test_blank_lines_are_no_rows_but_count(tmp_path):
    assert [question.row for question in read_file(jsonl(tmp_path, b"", GOOD, b"  ", GOOD)).questions] == [2, 4]


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path):
    path = jsonl(tmp_path, b"\xef\xbb\xbf" + json.dumps(GOOD).encode() + b"\r", json.dumps(GOOD).encode() + b"\r")
    assert len(read_file(path).questions) == 2 and not read_file(path).problems


@pytest.mark.parametrize("answer", ["e\u0301te\u0301", "שלום", "👩‍👩‍👧 family", "x" * 4096, "{name}", '"quoted"'])
def test_an_answer_of_any_letters_is_kept_as_it_is(tmp_path, answer):
    assert read_file(jsonl(tmp_path, GOOD | {"answer": answer})).questions[0].object == answer


def test_a_json_list_is_read_with_its_records_numbered(tmp_path):
    path = tmp_path / "facts.json"
    path.write_text(json.dumps([GOOD, {"question": "Q?"}]), encoding="utf-8")
    assert len(read_file(path).questions) == 1
    assert [re.match(r"facts\.json record 2: .*answer", said) is not None for said in complaints(path)] == [True]


def test_a_file_of_entityquestions_is_a_file_of_questions(tmp_path):
    path = tmp_path / "P19.test.json"
    path.write_text(json.dumps([{"question": "Where was Ada born?", "answers": ["London", "England"]}]))
    assert read_file(path).questions == (Question("Where was Ada born?", "London", aliases=("England",), row=1),)


def test_a_csv_has_named_columns_in_any_order_and_lists_as_json(tmp_path):
    path = csv_file(tmp_path, 'relation,Answer, question\nborn,"[""London"", ""LDN""]",Q?\n,"Paris, France",R?\n')
    assert read_file(path).questions == (
        Question("Q?", "London", "born", aliases=("LDN",), row=2), Question("R?", "Paris, France", row=3))


@pytest.mark.parametrize("mark", [";", "\t"])
def test_a_csv_may_be_split_by_semicolons_or_tabs(tmp_path, mark):
    assert read_file(csv_file(tmp_path, f"question{mark}answer\nQ?{mark}A\n")).questions[0].object == "A"


def test_a_csv_row_is_named_by_the_line_it_begins_in(tmp_path):
    path = csv_file(tmp_path, 'question,answer\n"long\nquestion",A\n\nQ?,\n')
    assert read_file(path).questions[0].row == 2
    assert [re.match(r"facts\.csv line 5: .*answer", said) is not None for said in complaints(path)] == [True]


# Rows that are wrong: named, and the others still read


@pytest.mark.parametrize(("row", "part"), [
    *(({"question": "Q?", "answer": answer}, "answer") for answer in ("", "  ", ["A", ""], [None], [])),
    ({"question": "Q?"}, "answer"), ({"answer": "A"}, "question"), ({"question": " ", "answer": "A"}, "question"),
    ({"question": 7, "answer": "A"}, "question 7 "), ({"question": "Q?", "answer": 1984}, "answer 1984 "),
    ({"question": "Q?", "answer": {"a": "b"}}, "answer {'a': 'b'} "),
    ({"question": "Q?", "answer": "A", "relation": 19}, "relation 19 "),
    ({"question": "Q?", "answer": "A", "subject": ["S"]}, "subject ['S'] "),
    ({"question": "Q?", "answer": "A\nB"}, "answer"), ({"question": "Q?", "answer": ["A", "B\rC"]}, "answer"),
    ({"question": "Q \ud83d?", "answer": "A"}, "'\\ud83d'"), (["Q?", "A"], '{"question": ..., "answer": ...}'),
    (b'{"question": "Q?", "answer": "Pel\xe9"}', "byte 33 "), (b"[" * 100_000, ""),
])
def test_a_bad_row_is_named_and_the_others_are_read(tmp_path, row, part):
    path = jsonl(tmp_path, GOOD, row, GOOD | {"question": "R?"})
    [complaint] = complaints(path)
    assert complaint.startswith("facts.jsonl line 2: ") and part in complaint
    assert [question.row for question in read_file(path).questions] == [1, 3]


def shapes(question, answer) -> list[dict]:
    """A row in every form that is read."""
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": question},
             {"role": "assistant", "content": answer}]
    return [{"question": question, "answer": answer}, {"messages": turns}, {"messages": turns[1:]},
            {"prompt": question, "completion": answer}, {"instruction": question, "input": "", "output": answer}]


@pytest.mark.parametrize("value", [7, 0.5, True, False, {"a": 1}, [["A"]], [7], [None, "A"], [{"text": "A"}],
                                   "x" * (MAX_LENGTH + 1), "A\0", " \u200b"])
@pytest.mark.parametrize("shape", range(5))
def test_what_is_no_text_is_a_problem_of_its_row_in_every_form(tmp_path, shape, value):
    rows = [GOOD, shapes(value, "A")[shape], shapes("Q?", value)[shape]]
    [*first] = complaints(jsonl(tmp_path, *rows))
    (tmp_path / "facts.json").write_text(json.dumps(rows))
    assert [text.split(": ")[0] for text in first] == ["facts.jsonl line 2", "facts.jsonl line 3"]
    again = complaints(tmp_path / "facts.json")
    assert [text.replace("facts.json record", "facts.jsonl line") for text in again] == first


@pytest.mark.parametrize("shape", range(5))
def test_a_list_of_answers_stands_in_the_first_form_alone(tmp_path, shape):
    data = read_file(jsonl(tmp_path, GOOD, shapes("Q?", ["A", "B"])[shape]))
    assert len(data.problems) == (shape > 0)


@pytest.mark.parametrize("shape", range(5))
def test_null_and_an_absent_field_are_the_same_in_every_form(tmp_path, shape):
    absent = complaints(jsonl(tmp_path, GOOD, {"answer": "A"}, {"question": "Q?"}))
    assert complaints(jsonl(tmp_path, GOOD, shapes(None, "A")[shape], shapes("Q?", None)[shape])) == absent


@pytest.mark.parametrize(("bad", "why"), [
    (b'{"question": "Q?", "answer": "A", "answer": "B"}', "'answer'"),
    (b'{"question": "Q?", "answer": NaN}', "NaN"),
    (b'{"question": "Q?", "answer": %s}' % (b"1" * 9000), "9,000")])
@pytest.mark.parametrize("name", ["facts.jsonl", "facts.json"])
def test_an_odd_record_is_named_with_its_number_and_the_others_are_read(tmp_path, name, bad, why):
    rows, good = (b"%s\n%s\n%s", b"[%s, %s , %s]")[name == "facts.json"], json.dumps(GOOD).encode()
    (tmp_path / name).write_bytes(rows % (good, bad, good))
    [complaint] = complaints(tmp_path / name)
    assert why in complaint and " 2: " in complaint and len(read_file(tmp_path / name).questions) == 2


@pytest.mark.parametrize(("name", "text", "rows"), [
    ("facts.jsonl", b'{"question": "P?", "answer": "A"}\n{"question": "' + b"x" * 5_000_000 + b'"}\n'
                    b'{"question": "Q?", "answer": "A"}', [1, 3]),
    ("facts.csv", b"question,answer\nP?,A\n" + b"x," * 3_000_000 + b"\nQ?,A\n", [2, 4])])
def test_a_giant_line_is_a_problem_and_the_next_keeps_its_number(tmp_path, name, text, rows):
    (tmp_path / name).write_bytes(text)
    data = read_file(tmp_path / name)
    assert [question.row for question in data.questions] == rows and [one.row for one in data.problems] == [rows[1] - 1]


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv"])
def test_a_pipe_under_the_name_of_a_file_is_refused_and_not_waited_for(tmp_path, suffix):
    os.mkfifo(tmp_path / f"facts{suffix}")
    with pytest.raises(DataError, match=rf"facts\{suffix}: .*pipe"):
        load_questions(tmp_path / f"facts{suffix}")


@pytest.mark.parametrize("name", ["facts.txt", "x" * 5000, "a\0", "~nobody-here/facts.csv"])
def test_a_path_that_leads_to_no_questions_is_one_message(tmp_path, name):
    with pytest.raises(DataError):
        load_questions(str(tmp_path / name) if name[0] != "~" else name)


def test_more_rows_than_anybody_can_label_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(questions, "ROWS", 2)
    assert len(read_file(jsonl(tmp_path, GOOD, GOOD)).questions) == 2
    with pytest.raises(DataError, match=r"facts\.jsonl: .*\b2 lines"):
        read_file(jsonl(tmp_path, GOOD, GOOD, GOOD))


def test_more_answers_than_can_count_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(questions, "ANSWERS", 2)
    [complaint] = complaints(jsonl(tmp_path, GOOD | {"answer": ["A", "B"]}, GOOD | {"answer": ["A", "B", "C"]}))
    assert "line 2: 3 " in complaint


@pytest.mark.parametrize("line", [b'{"question": "Q?", "ans', b"Q? A", b'{"question": ' + b"1" * 5000 + b"}"])
def test_a_broken_line_is_named(tmp_path, line):
    [complaint] = complaints(jsonl(tmp_path, line, GOOD))
    assert complaint.startswith("facts.jsonl line 1: ")


@pytest.mark.parametrize(("row", "part"), [
    ("Q?,", "answer"), ("Q?", "answer"), (",A", "question"), ("Q?,Paris, France", "3 .* 2 "), ("Q?,A,B", "3 .* 2 "),
    (b"Q?,Pel\xe9", "answer .*UTF-8"), ('Q?,"A\nB"', "answer")])
def test_a_bad_csv_row_is_named_and_the_others_are_read(tmp_path, row, part):
    row = row if isinstance(row, bytes) else row.encode()
    path = csv_file(tmp_path, b"question,answer\nP?,A\n" + row + b"\nR?,B\n")
    [complaint] = complaints(path)
    assert re.match(rf"facts\.csv line 3: .*{part}", complaint)
    assert [question.question for question in read_file(path).questions] == ["P?", "R?"]


def test_a_quote_that_is_never_closed_is_named_by_its_first_line(tmp_path):
    path = csv_file(tmp_path, 'question,answer\nP?,A\nQ?,"B\nR?,C\n')
    [complaint] = complaints(path)
    assert re.match(r"facts\.csv line 3: .*\(unexpected end of data\)", complaint)


# Files that are wrong as a whole


@pytest.mark.parametrize(("name", "content", "message"), [
    ("facts.json", b'{"question": "Q?"}', r": .*\[{"), ("facts.json", b"[{", " line 1: "),
    ("facts.json", b"[\xe9]", ": byte 1 "), ("facts.jsonl", b"", ": "),
    ("facts.jsonl", b"{}", r": .*\b1 .*facts\.jsonl line 1: .*question"),
    ("facts.csv", b"Q?,A\n", ": .*question and answer"), ("facts.csv", b"", ": .*question and answer"),
    ("facts.csv", b"question,answer,Answer\nQ?,A,B", " line 1: .*answer"), ("facts.csv", b"q" * 200_000, " line 1: "),
    ("facts.json", b"[1,]", " line 1: "), ("facts.json", b"[{}] {}", " line 1: "),
    ("facts.json", b"[" * 100_000, ": ")])
def test_a_file_that_is_wrong_as_a_whole_is_one_message(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"^{path}{message}") as caught:
        read_file(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_an_unknown_kind_are_named(tmp_path):
    with pytest.raises(DataError, match=r"facts\.jsonl: "):
        load_questions(tmp_path / "facts.jsonl")
    (tmp_path / "facts.xlsx").write_text("")
    with pytest.raises(DataError, match=r"facts\.xlsx: .*\.jsonl, \.json, \.csv"):
        load_questions(tmp_path / "facts.xlsx")


def test_a_file_name_with_braces_is_named_as_it_is(tmp_path):
    [complaint] = complaints(jsonl(tmp_path, GOOD, {}, name="{row}.jsonl"))
    assert complaint.startswith("{row}.jsonl line 2: ")


# Duplicates and exemplars


def test_a_question_asked_twice_is_named_with_the_first(tmp_path):
    other, elsewhere = GOOD | {"answer": "Paris"}, GOOD | {"relation": "born"}
    asked = read_file(jsonl(tmp_path, GOOD, GOOD, other, elsewhere))
    same, differs = map(str, asked.duplicates())
    assert re.match(r"facts\.jsonl line 2: .* facts\.jsonl line 1;", same)
    assert re.match(r"facts\.jsonl line 3: .* facts\.jsonl line 1, .*answer", differs)
    assert len(asked.questions) == 4


def test_the_rows_of_a_file_are_its_exemplars(tmp_path):
    asked = read_file(jsonl(tmp_path, GOOD, {}))
    assert asked.exemplars == asked.questions and asked.shared


def test_a_row_far_longer_than_its_relations_others_is_asked_but_is_no_example(tmp_path):
    long = {"question": "Q?", "answer": "x" * 4000}
    asked = read_file(jsonl(tmp_path, GOOD, long, GOOD))
    assert len(asked.questions) == 3 and [exemplar.row for exemplar in asked.exemplars] == [1, 3]


def test_where_all_rows_are_long_they_are_all_examples(tmp_path):
    rows = [{"question": f"Q{row}?", "answer": "x" * 400 * (row + 1)} for row in range(3)]
    assert len(read_file(jsonl(tmp_path, *rows)).exemplars) == 3


# A part of a set


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
