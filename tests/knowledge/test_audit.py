"""The audit of a fine-tuning file: what texts show, one decision a row, the files of a split, the model's answers."""

from __future__ import annotations

import csv
import json
import math
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from course_lib.data.datasets import load_questions
from course_lib.data.facts import Fact, FactSet
from course_lib.data.paper import CATEGORIES
from course_lib.data.questions import Problem, Question, QuestionSet, read_file
from course_lib.files import CourseError, DataError
from course_lib.knowledge import audit
from course_lib.knowledge.audit import DECISIONS, Rules, counts, decide, describe, write_report, write_split
from course_lib.knowledge.audit_example import write_example
from course_lib.knowledge.row_checks import Finding, check_rows, plain, with_clean_examples
from course_lib.knowledge.scoring.prompts import few_shot_prompt
from course_lib.knowledge.scoring.scores import Scores
from course_lib.knowledge.slick import label
from tests.support.tiny import TOKENIZERS, tiny_model


def asked(*pairs: tuple[str, str], relation: str = "r") -> QuestionSet:
    """Questions from (question, answer) pairs, each an example for the others."""
    rows = tuple(Question(question, answer, relation, row=row) for row, (question, answer) in enumerate(pairs, 1))
    return QuestionSet("file", "file line {row}", rows, rows, shared=True)


def found(*pairs: tuple[str, str], **more) -> list[tuple[int, str]]:
    return [(finding.row, finding.kind) for finding in check_rows(asked(*pairs), **more)]


def labelled(*p_unknown: float, categories: tuple[str, ...] = (), problem: str = "") -> pd.DataFrame:
    """A table of labels, one row for each P(Unknown)."""
    names = categories or ["Unknown" if p > 0.5 else "WeaklyKnown" if p else "HighlyKnown" for p in p_unknown]
    return pd.DataFrame({"row": range(1, len(p_unknown) + 1), "question": "Q?", "object": "A", "category": names,
                         "prob_Unknown": p_unknown, "problem": problem})


def decisions(*args, **more) -> list[str]:
    return decide(*args, **more)["decision"].tolist()


# What the texts show


@pytest.mark.parametrize(("text", "words"), [
    ("  Where was  ADA-Lovelace born in 1815?\n", "where was ada lovelace born in 1815"),
    ("Где родился Łukasz?", "где родился łukasz")])
def test_plain_keeps_letters_of_every_alphabet_and_digits_as_lower_case_words(text, words):
    assert plain(text) == words


def cities(end="", *last):
    """Five rows whose answers are City0 to City4 with the same end, and one more."""
    return [*((f"Q{number}?", f"City{number}{end}") for number in range(5)), *last]


@pytest.mark.parametrize(("rows", "expected"), [
    ([("Who?", "Ada"), ("Who?", "Ada")], [(2, "repeat")]),
    ([("Who is it?", "Ada"), ("who is it", "ada")], [(2, "repeat")]),
    ([("Who?", "Ada"), ("Who?", "Ada"), ("Who?", "Bo")], [(1, "two answers"), (2, "repeat"), (3, "two answers")]),
    ([("Where is Paris Park?", "Paris"), ("Where is Parish Hall?", "Paris")], [(1, "answer in question")]),
    *((cities("", ("Q9?", odd)), [(6, "other form")])
      for odd in ("Rome.", "rome", "The capital of the country is of course Rome")),
    (cities(".", ("Q9?", "Rome")), [(6, "other form")]),
    ([("A?", "One"), ("B?", "Two"), ("C?", "Three"), ("D?", "rome.")], []),
    ([(f"Q{number}?", "rome" if number % 4 else "Rome") for number in range(8)], []),
], ids=["the second of two equal rows is the repeat", "a repeat in other letters and marks",
        "of two answers one of which stands twice the second is a repeat", "an answer in its question, as whole words",
        "a full stop", "a small letter", "a sentence", "no full stop", "fewer than five rows show no common form",
        "a form of a quarter of the rows is no other form"])
def test_what_texts_show_is_found_in_its_row(rows, expected):
    assert found(*rows) == expected


def test_an_answer_among_the_aliases_of_the_other_row_is_a_repeat():
    both = asked(("Who?", "Ada"), ("Who?", "Countess"))
    first = replace(both.questions[0], aliases=("Countess",))
    assert [one.kind for one in check_rows(replace(both, questions=(first, both.questions[1])))] == ["repeat"]


def test_both_rows_of_two_answers_are_named_with_each_other():
    findings = check_rows(asked(("Who?", "Ada"), ("What?", "Bo"), ("who", "Cem")))
    assert [(one.row, one.text.partition("'")[2]) for one in findings] == [(1, "Cem' in row 3"), (3, "Ada' in row 1")]


def test_one_question_with_many_answers_names_the_first_of_them():
    findings = check_rows(asked(*[("Q?", f"A{number}") for number in range(40)]))
    assert len(findings) == 40 and all(finding.kind == "two answers" for finding in findings)
    assert "'A1' in row 2, 'A2' in row 3" in findings[0].text
    assert findings[39].text.partition("'A19' in row 20")[2].split()[1] == "19"


def test_a_test_question_is_found_in_other_letters_but_not_in_other_words():
    rows = (("WHO IS IT", "Ada"), ("Tell me: who is it?", "Ada"))
    assert found(*rows, tested=["Who is it?"]) == [(1, "in the test set")]


def test_forms_are_compared_within_a_relation():
    towns, jobs = (asked(*[(f"{name}{number}?", answer) for number in range(5)], relation=name)
                   for name, answer in (("town", "Rome"), ("job", "actor")))
    assert check_rows(replace(towns, questions=towns.questions + jobs.questions)) == ()


def test_rows_with_a_finding_are_asked_but_are_no_examples():
    data = asked(("Who?", "Ada"), ("What?", "Bo"), ("Who?", "Ada"))
    clean = with_clean_examples(data, check_rows(data))
    assert clean.questions == data.questions and [one.row for one in clean.exemplars] == [1, 2]


def test_a_file_in_which_every_row_has_a_finding_is_refused():
    data = asked(("Who?", "Ada"), ("Who?", "Bo"))
    with pytest.raises(CourseError, match="^file: "):
        with_clean_examples(data, check_rows(data))


# Decisions


def test_the_decision_follows_the_probability_of_unknown():
    assert decisions(labelled(0.0, 0.1, 0.11, 0.89, 0.9, 1.0)) == ["keep", "keep", "look at", "look at", "hold back",
                                                                  "hold back"]


def test_the_border_can_be_moved():
    assert decisions(labelled(0.05, 0.3, 0.7), rules=Rules(sure=0.7)) == ["keep", "keep", "hold back"]


@pytest.mark.parametrize("kind", ["two answers", "answer in question", "other form"])
def test_a_label_is_not_trusted_where_the_text_spoils_it(kind):
    assert decisions(labelled(0.0, 1.0), [Finding(row, kind, "") for row in (1, 2)]) == ["look at", "look at"]


@pytest.mark.parametrize("kind", ["repeat", "in the test set"])
def test_a_repeat_or_a_leak_is_held_back_however_well_it_is_known(kind):
    assert decisions(labelled(0.0), [Finding(1, kind, ""), Finding(1, "other form", "")]) == ["hold back"]


def test_a_row_that_cannot_be_read_is_held_back_in_its_place():
    table = decide(labelled(0.0).assign(row=2), problems=[Problem(1, "file line 1", "empty answer")])
    assert table["row"].tolist() == [1, 2] and table["decision"].tolist() == ["hold back", "keep"]
    assert table["reasons"][0].endswith(": empty answer") and pd.isna(table["category"][0])


@pytest.mark.parametrize("p", [math.nan, 7.0, -1.0, math.inf, "x", None])
def test_a_probability_that_is_none_is_refused_with_its_row(p):
    table = labelled(0.0, 0.0).assign(prob_Unknown=[0.5, p])
    with pytest.raises(CourseError, match="row 2: prob_Unknown = "):
        decide(table)
    answers = pd.DataFrame({"row": [1, 2], "says": "B", "confidence": [math.nan, 7.0]})
    with pytest.raises(CourseError, match="row 2: confidence = "):
        decide(labelled(1.0, 1.0), answers=answers)


@pytest.mark.parametrize(("table", "why"), [
    (labelled(), None), (labelled(0.5).drop(columns="problem"), "column problem;"),
    (labelled(0.5).drop(columns="row"), "column row;"), (labelled(0.5).assign(row="1"), "^row '1': "),
    (labelled(0.5, categories=("Known",)), "row 1: category 'Known'"),
    (labelled(0.5, categories=(None,)), "row 1: category None"), (labelled(0.5, 0.5).assign(row=1), "^row 1 ")])
def test_labels_that_cannot_be_decided_on_are_refused(table, why):
    with pytest.raises(CourseError, match=why):
        decide(table)


def test_a_label_and_a_problem_of_one_row_are_refused():
    with pytest.raises(CourseError, match="^row 1 "):
        decide(labelled(0.5), problems=[Problem(1, "", "empty answer")])


def test_an_empty_cell_of_problems_from_a_csv_file_is_no_problem():
    assert decisions(labelled(0.0).assign(problem=math.nan)) == ["keep"]


def test_a_row_without_a_label_goes_to_a_person():
    row = decide(labelled(math.nan, categories=(None,), problem="too few examples")).iloc[0]
    assert row["decision"] == "look at" and row["reasons"].endswith(": too few examples")


def test_another_answer_that_the_model_is_sure_of_sends_an_unknown_row_to_a_person():
    answers = pd.DataFrame({"row": [1, 2, 3], "says": ["B", "B", "B"], "confidence": [0.95, 0.5, math.nan]})
    table = decide(labelled(1.0, 1.0, 1.0), answers=answers)
    assert table["decision"].tolist() == ["look at", "hold back", "hold back"] and "'B' (0.95)" in table["reasons"][0]


def test_another_answer_does_not_matter_where_the_recorded_one_is_known():
    answers = pd.DataFrame({"row": [1], "says": ["B"], "confidence": [1.0]})
    assert decisions(labelled(0.0), answers=answers) == ["keep"]


def test_two_labels_of_one_row_are_refused():
    with pytest.raises(CourseError, match="^row 1 "):
        decide(labelled(0.0, 1.0).assign(row=1))


@pytest.mark.parametrize("bad", [{"sure": 0.4}, {"sure": 1.5}, {"confident": 0.0}, {"confident": 2.0}])
def test_rules_outside_their_range_are_refused(bad):
    with pytest.raises(CourseError, match=next(iter(bad))):
        Rules(**bad)


def test_labels_as_the_library_makes_them_can_be_decided_on():
    greedy = np.array([[True, True], [False, False]])
    with np.errstate(divide="ignore"):
        made = label(Scores(greedy, np.log(np.array([[1.0, 1.0], [0.0, 0.0]])), np.zeros((2, 2))))
    made = made.assign(row=[1, 2], question="Q?", object="A")
    assert decisions(made) == ["keep", "hold back"]


def test_counts_hold_every_row_once_by_category_and_decision():
    table = decide(labelled(0.0, 0.5, 1.0), problems=[Problem(4, "", "no answer")])
    expected = pd.DataFrame(0, index=[*CATEGORIES, "no label"], columns=list(DECISIONS))
    expected.loc["HighlyKnown", "keep"] = expected.loc["WeaklyKnown", "look at"] = 1
    expected.loc["Unknown", "hold back"] = expected.loc["no label", "hold back"] = 1
    pd.testing.assert_frame_equal(counts(table), expected, check_dtype=False, check_column_type=False)
    assert re.search(r"\b4 .*keep 1, look at 1, hold back 2", describe(table))


# Files


def lines(folder, *, end: bytes = b"\n", start: bytes = b""):
    """A file of five lines, the second one blank, and decisions for the others: hold, keep, look, keep."""
    rows = [b'{"question": "A?",  "answer": "x", "more": 1}', b"", b'{"question": "B?", "answer": "y"}',
            b"\xff not JSON", b'{"prompt": "C?", "completion": "z"}']
    path = folder / "mine.jsonl"
    path.write_bytes(start + end.join(rows))
    table = pd.DataFrame({"row": [1, 3, 4, 5], "question": ["A?", "B?", "", "C?"], "object": ["x", "y", "", "z"],
                          "decision": ["hold back", "keep", "look at", "keep"]})
    return path, table, rows


def test_a_split_copies_every_row_as_it_is_into_one_of_three_files(tmp_path):
    path, table, rows = lines(tmp_path)
    split = write_split(table, path, tmp_path / "out")
    assert split.kept.read_bytes() == rows[2] + b"\n" + rows[4] + b"\n"
    assert split.look.read_bytes() == rows[3] + b"\n" and split.held.read_bytes() == rows[0] + b"\n"
    assert [one.name for one in (split.kept, split.look, split.held)] == ["kept.jsonl", "look.jsonl", "held.jsonl"]


def test_a_byte_order_mark_is_not_carried_into_the_middle_and_windows_line_ends_stay(tmp_path):
    path, table, rows = lines(tmp_path, end=b"\r\n", start=b"\xef\xbb\xbf")
    assert write_split(table, path, tmp_path).held.read_bytes() == rows[0] + b"\r\n"


def test_a_file_that_has_changed_since_the_audit_is_refused(tmp_path):
    path, table, _ = lines(tmp_path)
    path.write_bytes(path.read_bytes() + b"\n{}")
    with pytest.raises(DataError, match=r"mine\.jsonl line 6: "):
        write_split(table, path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("number", "row"), [
    (0, b'{"question": "A?", "answer": "Y"}'), (2, b'{"question": "b?", "answer": "y"}'), (2, b"{}"), (1, b"{}"),
    (3, b'{"question": "D?", "answer": "w"}'), (4, b"")])
def test_a_file_with_an_edited_row_is_refused_with_its_line(tmp_path, number, row):
    path, table, rows = lines(tmp_path)
    rows[number] = row
    path.write_bytes(b"\n".join(rows))
    with pytest.raises(DataError, match=rf"mine\.jsonl line {number + 1}: "):
        write_split(table, path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_decisions_that_came_back_from_their_csv_file_split_the_file_too(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text('{"question": "=1+1", "answer": "-2"}\n{}\n')
    table = decide(labelled(0.0).assign(question="=1+1", object="-2"), problems=[Problem(2, "", "no question")])
    write_report(table, tmp_path, about={})
    again = write_split(pd.read_csv(tmp_path / "decisions.csv"), path, tmp_path / "out")
    assert again.kept.read_text() == '{"question": "=1+1", "answer": "-2"}\n' and again.held.read_text() == "{}\n"


@pytest.mark.parametrize(("changed", "why"), [({"decision": "Keep"}, "line 1: .*'Keep'"), ({"row": 1}, "^row 1 "),
                                              ({}, "column object;")])
def test_decisions_that_decide_nothing_are_refused(tmp_path, changed, why):
    path, table, _ = lines(tmp_path)
    table = table.assign(**changed) if changed else table.drop(columns="object")
    with pytest.raises(CourseError, match=why):
        write_split(table, path, tmp_path / "out")


def test_a_missing_file_is_named_before_anything_is_written(tmp_path):
    _, table, _ = lines(tmp_path)
    with pytest.raises(DataError, match=r"gone\.jsonl: "):
        write_split(table, tmp_path / "gone.jsonl", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_another_kind_of_file_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(CourseError, match=r"mine\.csv: .*\.jsonl"):
        write_split(labelled(), tmp_path / "mine.csv", tmp_path)


def test_the_report_says_how_many_and_why_and_names_what_it_was_made_from(tmp_path):
    table = decide(labelled(0.0, 0.5, 1.0))
    text = write_report(table, tmp_path, about={"model": "pocket"}).read_text()
    assert "* model: pocket" in text and "keep 1, look at 1, hold back 1" in text
    assert "* row 2: Q? A (P(Unknown) = 0.50: " in text
    assert all(limit in text for limit in audit.LIMITS)
    assert pd.read_csv(tmp_path / "decisions.csv")["decision"].tolist() == ["keep", "look at", "hold back"]


def test_a_long_list_is_cut_in_the_report_and_whole_in_the_table(tmp_path):
    many = decide(labelled(*[1.0] * 45))
    text = write_report(many, tmp_path, about={}).read_text()
    assert text.count("* row ") == 40 and re.search(r"\b5 .*decisions\.csv", text)
    assert len(pd.read_csv(tmp_path / "decisions.csv")) == 45


HOSTILE = ("<script>alert(1)</script>", "[a](javascript:x)", "![i](http://e.example/i.png)", "`code`",
           "a | b", "*b* _i_", "a\n\n# Heading\n* item", "&lt;b&gt;", "http://e.example www.e.example a@e.example",
           "$x$", "x" * 32_000, "a\x1b[31m\u202eb\x00")


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_what_others_wrote_stands_in_the_report_as_text(tmp_path, text):
    from markdown_it import MarkdownIt

    table = decide(labelled(1.0).assign(question=text, object=text), [Finding(1, "other form", text)])
    made = write_report(table, tmp_path, about={text: text}).read_text(encoding="utf-8")
    plain_one = write_report(decide(labelled(1.0), [Finding(1, "other form", "Q?")]), tmp_path, about={"Q?": "Q?"})
    parser = MarkdownIt("gfm-like", {"linkify": False}).enable("table")

    def shape(text: str) -> list[str]:
        return [token.type for token in parser.parse(text)]

    tokens = [inline.type for token in parser.parse(made) for inline in token.children or ()]
    assert shape(made) == shape(plain_one.read_text()) and set(tokens) <= {"text", "text_special", "softbreak"}
    assert not [part for part in ("http://", "www.e", "a@e", "\x1b", "\u202e", "\x00") if part in made]
    assert len(made) < 4_000


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\r=", "\n=", "\uff1d"])
def test_a_cell_that_a_spreadsheet_would_run_is_text_in_the_table(tmp_path, start):
    write_report(decide(labelled(1.0).assign(question=f"{start}1+1", object=f"x\r{start}1")), tmp_path, about={})
    [_, row] = csv.reader(open(tmp_path / "decisions.csv", newline="", encoding="utf-8"))
    assert row[1] == f"'{start}1+1".replace("\r", "\n") and "\r" not in row[2] and row[4:6] == ["1.0", "hold back"]


# What the model answers


def prompts():
    solved = [Question(f"e{number}?", "Ulm", "P19") for number in range(3)]
    return {"P19": [few_shot_prompt(solved[:2]), few_shot_prompt(solved[1:])]}


@pytest.fixture(scope="module")
def model():
    tokenizer = TOKENIZERS["gpt2"]()
    return tiny_model("llama", tokenizer, seed=3), tokenizer


def test_the_confidence_is_p_sampled_of_what_the_model_says(model):
    from course_lib.knowledge.slick import categorize

    questions = [Question(f"Who{number}?", "Paris", "P19", row=number) for number in range(6)]
    table = audit.model_answers(*model, questions, prompts())
    said = table[table["says"] != ""]
    assert len(said) > 0 and table["row"].tolist() == list(range(6))
    again = categorize(*model, [replace(questions[row.row], object=row.says) for row in said.itertuples()], prompts())
    np.testing.assert_allclose(said["confidence"], again["p_sampled"])


def test_the_question_is_not_asked_after_its_own_answer(model, monkeypatch):
    texts = []
    monkeypatch.setattr(audit.sampling, "answers", lambda *a, **k: texts.extend(a[2]) or [[""] for _ in a[2]])
    own = Question("e0?", "Ulm", "P19", row=1)
    table = audit.model_answers(*model, [own], prompts())
    assert texts == [prompts()["P19"][1].text("e0?")] and math.isnan(table["confidence"][0])


def test_a_question_of_a_relation_without_prompts_has_no_answer(model):
    table = audit.model_answers(*model, [Question("Who?", "Ada", "P20", row=7)], prompts())
    assert table.loc[0, "says"] == "" and math.isnan(table.loc[0, "confidence"])


# The example file


@pytest.fixture
def world() -> FactSet:
    """Two relations of 12 training facts, and 4 test facts."""
    train = tuple(Fact(f"{relation}-{number}", relation, f"Town {number}") for relation in ("P19", "P36")
                  for number in range(12))
    return FactSet("world", train, dev=(), test=tuple(Fact(f"T{n}", "P19", "Town 1") for n in range(4)), ood=())


def test_everything_that_is_planted_is_found_but_what_only_other_words_hide(tmp_path, world):
    example = write_example(tmp_path / "example.jsonl", world, per_relation=4)
    data = load_questions(example.path)
    seen = {(one.row, one.kind) for one in check_rows(data, tested=[fact.question for fact in world.test])}
    seen |= {(problem.row, "cannot be read") for problem in data.problems}
    hidden = {"in the test set, in other words", "wrong answer", "other shape"}
    planted = {(row, kind) for row, kind in example.planted.items() if kind not in hidden}
    assert seen == planted and hidden < set(example.planted.values())


def test_the_facts_behind_the_rows_are_those_that_the_file_asks_for(tmp_path, world):
    example = write_example(tmp_path / "example.jsonl", world, per_relation=4)
    asks = {question.row: question for question in read_file(example.path).questions}
    assert len(example.facts) == 2 * 3
    assert all((asks[row].question, asks[row].object) == (fact.question, fact.object)
               for row, fact in example.facts.items())


def test_a_wrong_answer_is_another_answer_of_its_relation(tmp_path, world):
    example = write_example(tmp_path / "example.jsonl", world, per_relation=4)
    right, rows = {fact.question: fact.object for fact in world.train}, example.path.read_text().splitlines()
    wrong = [json.loads(rows[row - 1]) for row, kind in example.planted.items() if kind == "wrong answer"]
    assert len(wrong) == 2 and all(row["answer"] != right[row["question"]] for row in wrong)


def test_too_few_facts_for_an_example_are_refused(tmp_path, world):
    with pytest.raises(CourseError, match="12 .*28 "):
        write_example(tmp_path / "example.jsonl", world, per_relation=20)


@pytest.mark.parametrize(("per_relation", "changed"), [
    (0, {}), (-1, {}), (2, {}), (4, {"test": ()}), (4, {"train": ()})])
def test_too_little_for_the_faulty_rows_is_refused(tmp_path, world, per_relation, changed):
    with pytest.raises(CourseError, match=f"^per_relation = {per_relation}: "):
        write_example(tmp_path / "example.jsonl", replace(world, **changed), per_relation=per_relation)
