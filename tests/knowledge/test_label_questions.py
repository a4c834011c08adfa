"""A long labelling: stopped and continued, damaged, changed, and what it says of its problems and its cost."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from course_lib.data.paper import CATEGORIES
from course_lib.data.questions import Problem, Question, QuestionSet
from course_lib.files import CourseError, read_json
from course_lib.knowledge import label_questions, labelling, slick
from course_lib.knowledge.label_questions import Settings
from course_lib.knowledge.scoring.scores import Scores
from course_lib.models.loading import Loaded

ROOT = Path(__file__).parents[2]
# what the fake model gives for an answer that begins with this letter: (greedy bits of two prompts, probability)
GIVES = {"H": ([True, True], 0.9), "M": ([True, False], 0.5), "W": ([False, False], 0.5), "U": ([False, False], 0.0)}
SMALL = Settings(prompts=2, shots=1, samples=4)


def asked(answers: str, *, relation: str = "r", **more) -> QuestionSet:
    """A question for each letter of ``answers``; see GIVES. An X cannot be scored."""
    questions = tuple(Question(f"q{row}?", f"{letter}{row}", relation, row=row)
                      for row, letter in enumerate(answers, 1))
    exemplars = tuple(Question(f"e{row}?", "H", relation, row=row) for row in range(3))
    return QuestionSet("tiny", "tiny {row}", questions, exemplars, **more)


class Fake:
    """In place of a model: counts the questions that it was asked, and stops like Ctrl-C before call ``stop_at``."""

    def __init__(self) -> None:
        self.calls, self.loads, self.stop_at, self.options = [], 0, None, {}

    def load(self, preset: str, *, four_bit: bool) -> Loaded:
        self.loads += 1
        model = SimpleNamespace(device=SimpleNamespace(type="none"), config=SimpleNamespace(_commit_hash=None))
        return Loaded(preset, model, lambda texts: {"input_ids": [text.split() for text in texts]})

    def measure(self, model, tokenizer, facts, prompts, **options) -> Scores:
        self.calls.append([fact.row for fact in facts])
        self.options = options
        if self.stop_at == len(self.calls):
            raise KeyboardInterrupt
        scores = Scores.empty(len(facts), 2)
        for row, fact in enumerate(facts):
            if fact.object[0] == "X":
                scores.reject(row, "it cannot be spelled")
                continue
            scores.greedy[row], p = GIVES[fact.object[0]]
            with np.errstate(divide="ignore"):
                scores.log_probability[row] = np.log(p)
            scores.margin[row] = fact.row
        return scores


@pytest.fixture
def fake(monkeypatch) -> Fake:
    """A fake model; units hold two questions."""
    made = Fake()
    monkeypatch.setattr(label_questions, "load", made.load)
    monkeypatch.setattr(slick, "measure", made.measure)
    monkeypatch.setattr(label_questions, "default_batch_tokens", lambda model: 64)
    monkeypatch.setattr(label_questions, "UNIT", 2)
    return made


class Words(list):
    """What was said."""

    def __call__(self, line: str) -> None:
        self.append(line)

    @property
    def text(self) -> str:
        return "\n".join(self)


def label(data: QuestionSet, out: Path, *, settings: Settings = SMALL, said: Words | None = None) -> dict:
    return label_questions.run(data, out, settings=settings, progress=False, say=Words() if said is None else said)


def table(summary: dict) -> pd.DataFrame:
    return pd.read_parquet(summary["labels"])


def content(summary: dict) -> bytes:
    return Path(summary["labels"]).read_bytes()


# The result


def test_every_question_has_its_label_in_the_order_of_the_data(fake, tmp_path):
    frame = table(label(asked("HMWU"), tmp_path / "out"))
    assert frame["category"].tolist() == list(CATEGORIES)
    assert frame["row"].tolist() == [1, 2, 3, 4] and frame["question"].tolist() == ["q1?", "q2?", "q3?", "q4?"]
    assert frame["prob_Unknown"].tolist() == [0, 0, pytest.approx(0.5**8), 1]  # 2 prompts, 4 samples each


def test_the_scores_of_every_prompt_stand_in_the_table(fake, tmp_path):
    row = table(label(asked("M"), tmp_path / "out")).iloc[0]
    assert row["greedy"].tolist() == [True, False] and np.exp(row["log_probability"]).tolist() == [0.5, 0.5]
    assert row["margin"].tolist() == [1, 1]


def test_the_questions_of_two_relations_keep_their_order(fake, tmp_path):
    first, second = asked("HM", relation="r"), asked("WU", relation="s")
    mixed = tuple(question for pair in zip(first.questions, second.questions, strict=True) for question in pair)
    both = QuestionSet("both", "{row}", mixed, first.exemplars + second.exemplars)
    frame = table(label(both, tmp_path / "out"))
    assert frame["category"].tolist() == ["HighlyKnown", "WeaklyKnown", "MaybeKnown", "Unknown"]


def test_the_summary_counts_and_is_json(fake, tmp_path):
    found = json.loads(json.dumps(label(asked("HHMX"), tmp_path / "out"), allow_nan=False))
    assert found["counts"] == {"HighlyKnown": 2, "MaybeKnown": 1, "WeaklyKnown": 0, "Unknown": 0}
    assert found["relations"] == {"r": found["counts"]}
    assert found["shares"]["HighlyKnown"] == pytest.approx(2 / 3)
    assert (found["questions"], found["labelled"]) == (4, 3)


def test_the_record_tells_what_was_measured_with_what(fake, tmp_path):
    summary = label(asked("HM"), tmp_path / "out")
    record = read_json(tmp_path / "out" / "slick.json")
    assert record["status"] == "completed" and record["digest"] == summary["digest"]
    assert record["batch_tokens"] == 64 and record["decides"]["temperature"] == 0.5
    assert record["machine"]["threads"] >= 1
    assert {"model", "tokenizer", "dtype", "device", "torch", "transformers", "course"} <= set(record["decides"])
    assert [text.endswith("Q: {question}\nA:") for text in record["prompts"]["r"]] == [True, True]


def test_the_table_carries_the_digest_of_its_settings(fake, tmp_path):
    summary = label(asked("HM"), tmp_path / "out")
    about = json.loads(pq.read_schema(summary["labels"]).metadata[b"course"])
    assert about["digest"] == summary["digest"] == labelling.digest(about["decides"])


def test_aliases_are_accepted_and_stored(fake, tmp_path):
    question = Question("q?", "H", "r", aliases=("HH",))
    data = QuestionSet("tiny", "{row}", (question,), asked("").exemplars)
    assert table(label(data, tmp_path / "out"))["aliases"][0].tolist() == ["HH"]
    assert fake.options["accepted"](question) == ("H", "HH")


# Stopped and continued


@pytest.mark.parametrize("stop_at", [1, 2, 3, 4])
def test_a_stopped_run_ends_in_the_same_bytes(fake, tmp_path, stop_at):
    data = asked("HMWUHXH")
    undisturbed = content(label(data, tmp_path / "undisturbed"))
    fake.calls.clear()
    fake.stop_at = stop_at
    with pytest.raises(KeyboardInterrupt):
        label(data, tmp_path / "out")
    fake.stop_at = None
    assert content(label(data, tmp_path / "out")) == undisturbed


def test_what_is_finished_is_not_measured_again(fake, tmp_path):
    fake.stop_at = 4  # calls: the warm-up and the first unit, the second unit, the third
    with pytest.raises(KeyboardInterrupt):
        label(asked("HMWUHM"), tmp_path / "out")
    fake.stop_at = None
    fake.calls.clear()
    label(asked("HMWUHM"), tmp_path / "out")
    assert {row for rows in fake.calls for row in rows} == {5, 6}


def test_a_finished_run_loads_no_model_and_gives_the_same_bytes(fake, tmp_path):
    first = content(label(asked("HMWU"), tmp_path / "out"))
    assert content(label(asked("HMWU"), tmp_path / "out")) == first and fake.loads == 1


def test_the_size_of_a_pass_is_chosen_once(fake, tmp_path, monkeypatch):
    fake.stop_at = 4
    with pytest.raises(KeyboardInterrupt):
        label(asked("HMWUHM"), tmp_path / "out")
    fake.stop_at = None
    monkeypatch.setattr(label_questions, "default_batch_tokens", lambda model: 4096)
    label(asked("HMWUHM"), tmp_path / "out")
    assert fake.options["batch_tokens"] == 64


def test_the_seconds_of_a_continued_run_are_those_of_all_its_units(fake, tmp_path, monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(label_questions.time, "perf_counter", lambda: float(next(clock)))  # each unit takes a second
    fake.stop_at = 4
    with pytest.raises(KeyboardInterrupt):
        label(asked("HMWUHM"), tmp_path / "out")
    fake.stop_at = None
    assert label(asked("HMWUHM"), tmp_path / "out")["seconds_measuring"] == 3


def test_what_a_kill_left_of_a_write_is_no_other_run_and_is_swept_up(fake, tmp_path):
    out = tmp_path / "out"
    (out).mkdir()
    (out / ".slick.json.abc.tmp").write_text("{")
    assert label(asked("HM"), out)["folder"] == str(out)
    assert sorted(path.name for path in out.iterdir()) == ["labels.parquet", "parts", "slick.json"]


@pytest.mark.parametrize("damage", [
    lambda data: data[:20], lambda data: data[:-5], lambda data: b"", lambda data: data[:-1] + b"\x01",
    lambda data: data.replace(b'"run":"', b'"run":"x')])
def test_a_damaged_part_is_named_and_computed_again(fake, tmp_path, damage):
    first = content(label(asked("HMWU"), tmp_path / "out"))
    part = tmp_path / "out" / "parts" / "00001.safetensors"
    part.write_bytes(damage(part.read_bytes()))
    fake.calls.clear()
    said = Words()
    assert content(label(asked("HMWU"), tmp_path / "out", said=said)) == first
    assert re.search(rf"{re.escape(str(part))}: .*\b2 ", said.text)
    assert {row for rows in fake.calls for row in rows} == {3, 4}


def test_a_part_of_another_size_is_computed_again(fake, tmp_path):
    label(asked("HMW"), tmp_path / "out")
    folder = tmp_path / "out" / "parts"
    (folder / "00000.safetensors").write_bytes((folder / "00001.safetensors").read_bytes())
    said = Words()
    assert table(label(asked("HMW"), tmp_path / "out", said=said))["category"].tolist() == list(CATEGORIES[:3])
    assert "00000.safetensors: " in said.text


# Changed model, data or settings


def test_another_setting_goes_to_another_folder_and_says_what_differs(fake, tmp_path):
    first = label(asked("HM"), tmp_path / "out")
    before, said = content(first), Words()
    other = Settings(prompts=2, shots=1, samples=4, temperature=0.7)
    second = label(asked("HM"), tmp_path / "out", settings=other, said=said)
    assert second["folder"] == f"{tmp_path / 'out'}-2" and content(first) == before
    assert re.match(rf"{tmp_path / 'out'} .*\(temperature: 0\.5 -> 0\.7\).*{tmp_path / 'out'}-2 ", said[0])


def test_the_same_command_finds_its_folder_again(fake, tmp_path):
    settings = [Settings(prompts=2, shots=1, samples=samples) for samples in (1, 2, 3)]
    folders = [label(asked("HM"), tmp_path / "out", settings=one)["folder"] for one in settings]
    assert folders == [label(asked("HM"), tmp_path / "out", settings=one)["folder"] for one in settings]
    assert [Path(folder).name for folder in folders] == ["out", "out-2", "out-3"]


def test_another_answer_in_the_data_is_another_run(fake, tmp_path):
    label(asked("HM"), tmp_path / "out")
    said = Words()
    assert label(asked("HW"), tmp_path / "out", said=said)["folder"].endswith("out-2")
    assert "(data: " in said[0]


def test_another_model_or_version_is_another_run(fake, tmp_path, monkeypatch):
    label(asked("HM"), tmp_path / "out")
    monkeypatch.setattr(label_questions, "model_fingerprint",
                        lambda preset: {"model": "m", "revision": "", "tokenizer": "t"})
    monkeypatch.setattr(label_questions, "__version__", "9.9")
    said = Words()
    label(asked("HM"), tmp_path / "out", said=said)
    assert "-> m; tokenizer: " in said[0] and "-> 9.9)" in said[0]


def test_other_files_in_the_folder_are_left_alone(fake, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    said = Words()
    assert label(asked("HM"), tmp_path, said=said)["folder"] == f"{tmp_path}-2"
    assert re.match(f"{tmp_path} .*{tmp_path}-2 ", said[0])
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_model_is_known_by_its_files(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "tokenizer.json").write_text("{}")
    before = label_questions.model_fingerprint(str(tmp_path))
    (tmp_path / "README.md").write_text("new")
    assert label_questions.model_fingerprint(str(tmp_path)) == before
    (tmp_path / "tokenizer.json").write_text("{ }")
    after = label_questions.model_fingerprint(str(tmp_path))
    assert after["model"] == before["model"] and after["tokenizer"] != before["tokenizer"]


def test_a_model_that_is_not_to_be_had_is_one_message():
    with pytest.raises(CourseError, match="^poket: .*owner/name.*pocket") as caught:
        label_questions.model_fingerprint("poket")
    assert "\n" not in str(caught.value)


def test_a_hub_model_that_changed_between_two_looks_is_refused(fake, tmp_path, monkeypatch):
    monkeypatch.setattr(label_questions, "model_fingerprint",
                        lambda preset: {"model": preset, "revision": "abc", "tokenizer": preset})
    with pytest.raises(CourseError, match="^pocket: .*Hub"):
        label(asked("HM"), tmp_path / "out")


# Problems, each with its row


def test_a_question_that_cannot_be_scored_is_named_and_the_others_are_labelled(fake, tmp_path):
    said = Words()
    summary = label(asked("HXM"), tmp_path / "out", said=said)
    assert summary["problems"] == [{"row": 2, "place": "tiny 2", "text": "it cannot be spelled"}]
    assert said[-2].endswith(": 1") and said[-1] == "  tiny 2: it cannot be spelled"
    frame = table(summary)
    assert frame["problem"].tolist() == ["", "it cannot be spelled", ""] and frame["category"].isna().tolist() == [
        False, True, False]


def test_a_problem_is_known_again_when_a_run_goes_on(fake, tmp_path):
    first = label(asked("HXM"), tmp_path / "out")
    assert label(asked("HXM"), tmp_path / "out")["problems"] == first["problems"]


def test_rows_that_were_left_out_are_named_first(fake, tmp_path):
    said = Words()
    bad = (Problem(7, "tiny 7", "empty answer"),)
    assert label(asked("HM", problems=bad), tmp_path / "out", said=said)["problems"][0]["row"] == 7
    assert said[0].endswith(": 1") and said[1] == "  tiny 7: empty answer"


def test_many_problems_are_counted_and_the_first_ten_named(fake, tmp_path):
    said = Words()
    bad = tuple(Problem(row, f"tiny {row}", "empty answer") for row in range(1200))
    label(asked("HM", problems=bad), tmp_path / "out", said=said)
    assert len(said) == 16 and re.search(r"\b1,190 .*slick\.json", said[11])


def test_a_relation_with_too_few_exemplars_is_named_and_the_others_are_labelled(fake, tmp_path):
    few = Question("f?", "H", "few", row=9)
    data = asked("HM")
    both = QuestionSet("tiny", "tiny {row}", (*data.questions, few), (*data.exemplars, few), shared=True)
    summary = label(both, tmp_path / "out")
    [problem] = summary["problems"]
    assert (problem["row"], problem["place"]) == (9, "tiny 9") and re.search(r"'few': 1, .*\b2;", problem["text"])
    assert summary["labelled"] == 2


def test_no_relation_with_exemplars_is_an_error(fake, tmp_path):
    with pytest.raises(CourseError, match="^tiny: .*'r': 3"):
        label(asked("HM"), tmp_path / "out", settings=Settings(prompts=2, shots=4))
    assert not (tmp_path / "out").exists()


def test_questions_asked_twice_are_named_and_labelled(fake, tmp_path):
    twice = asked("HM").questions[0]
    data = QuestionSet("tiny", "tiny {row}", (twice, Question(twice.question, "H", "r", row=2)), asked("").exemplars)
    said = Words()
    summary = label(data, tmp_path / "out", said=said)
    assert summary["labelled"] == 2 and [note["row"] for note in summary["duplicates"]] == [2]
    assert re.search("^  tiny 2: .*tiny 1, ", said.text, re.MULTILINE)


@pytest.mark.parametrize("wrong", [
    {"prompts": 0}, {"prompts": 10**9}, {"prompts": 2.5}, {"prompts": None}, {"samples": 0}, {"samples": 10**30},
    {"shots": -1}, {"shots": 101}, {"temperature": 0}, {"temperature": float("nan")}, {"temperature": 10**400},
    {"temperature": 1e-300}, {"temperature": "1"}, {"top_k": -1}, {"top_k": 10**30}, {"seed": -1}, {"seed": 2**32},
    {"batch_tokens": 0}, {"batch_tokens": 10**30}, {"four_bit": "no"}], ids=str)
def test_settings_that_make_no_sense_are_refused_before_anything_is_loaded(wrong):
    with pytest.raises(CourseError, match=f"^{next(iter(wrong))} = .*: "):
        Settings(**wrong)


def test_every_setting_has_a_range():
    assert set(label_questions.ASKING) == set(Settings.__slots__)


@pytest.mark.parametrize("out", ["loop", "loop/below", "file", "file/below", "nowhere"])
def test_a_folder_that_cannot_be_one_is_refused_before_anything_is_loaded(fake, tmp_path, out):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "nowhere").symlink_to("gone")
    (tmp_path / "file").write_text("")
    with pytest.raises(CourseError, match="^out = "):
        label(asked("H"), tmp_path / out)
    assert fake.loads == 0 and not (tmp_path / "gone").exists()


def test_a_folder_whose_name_is_not_utf8_is_written_to(fake, tmp_path):
    folder = tmp_path / os.fsdecode(b"o\xffut")
    assert label(asked("H"), folder)["folder"] == str(tmp_path / "o") + "\\udcffut"
    assert read_json(folder / "slick.json")["status"] == "completed"


@pytest.mark.parametrize("preset", ["", ".", "pokcet"])
def test_a_preset_that_is_none_is_refused_before_anything_is_loaded(fake, tmp_path, monkeypatch, preset):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CourseError, match=f"^preset '{preset}': "):
        label_questions.run(asked("H"), tmp_path / "out", preset=preset, say=Words())


# The plan


def test_the_plan_tells_the_cost_from_a_piece_that_is_timed(fake, tmp_path, monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(label_questions.time, "perf_counter", lambda: float(next(clock)))  # a second each
    said = Words()
    label(asked("HMWU"), tmp_path / "out", said=said)
    assert re.search(r"\b2 .*\b2 ", said.pop(0))  # a model may be slow to answer even these
    assert re.search(r"tiny: .*: 1, .*: 4, .*: 2; 4-bit", said[0])
    # "Q: q1? A: H1" are 4 words a question and prompt; "Q: e0? A: H Q: A:" are 6 a prompt and unit
    assert re.search(r": 0 .*: 4, .*\b56 tokens .*\b28 .*\b2 seconds", said[1])
    assert re.search(rf"\b64 tokens .*{tmp_path / 'out'}", said[2])


def test_the_timed_piece_is_the_first_unit_where_that_is_short(fake, tmp_path):
    label(asked("HMWU"), tmp_path / "out")
    assert fake.calls == [[1, 2], [1, 2], [3, 4]]  # warm-up, first unit, second unit


def test_a_slow_model_is_timed_on_fewer_questions(fake, tmp_path, monkeypatch):
    monkeypatch.setattr(label_questions, "UNIT", 50)
    clock = iter(range(0, 100_000, 5))
    monkeypatch.setattr(label_questions.time, "perf_counter", lambda: float(next(clock)))  # five seconds a measurement
    label(asked("H" * 50), tmp_path / "out")
    assert [len(rows) for rows in fake.calls] == [8, 16, 50]


def test_the_plan_of_a_continued_run_counts_what_is_left(fake, tmp_path):
    fake.stop_at = 4
    with pytest.raises(KeyboardInterrupt):
        label(asked("HMWUHM"), tmp_path / "out")
    fake.stop_at = None
    said = Words()
    label(asked("HMWUHM"), tmp_path / "out", said=said)
    assert re.search(r": 4 .*: 2\b", said.text)


def test_the_bar_shows_the_labels_so_far(fake, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")  # a narrow terminal cuts the bar off
    label_questions.run(asked("HMWU"), tmp_path / "out", settings=SMALL)
    assert "4/4" in (shown := capsys.readouterr().err)
    assert "HighlyKnown 1  MaybeKnown 1  WeaklyKnown 1  Unknown 1" in shown


# The real command, killed


def command(out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "course_lib.cli", "slick", "--preset", "pocket", "--out", str(out), "--json",
            *(more or ("--limit", "6"))]


def start(out: Path) -> subprocess.Popen:
    return subprocess.Popen(command(out), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            env=os.environ | {"OMP_NUM_THREADS": "1"})


def finish(out: Path) -> dict:
    done = subprocess.run(command(out), cwd=ROOT, capture_output=True, check=True,
                          env=os.environ | {"OMP_NUM_THREADS": "1"})
    return json.loads(done.stdout)


def stop(out: Path, how: signal.Signals, there: str, count: int) -> int:
    """Send a signal when ``count`` files match ``there`` in ``out``; returns the exit status."""
    process = start(out)
    deadline = time.monotonic() + 120
    while len(list(out.glob(there))) < count:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.002)
    process.send_signal(how)
    process.communicate(timeout=60)
    return process.returncode


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> dict:
    return finish(tmp_path_factory.mktemp("undisturbed") / "out")


@pytest.mark.slow
@pytest.mark.parametrize(("how", "status"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)])
def test_a_killed_command_goes_on_to_the_same_bytes(undisturbed, tmp_path, how, status):
    out = tmp_path / "out"
    moments = [("slick.json", 1), ("parts/*.safetensors", 1), ("parts/*.safetensors", 7)]
    assert [stop(out, how, there, count) for there, count in moments] == [status] * 3
    summary = finish(out)
    assert content(summary) == content(undisturbed)
    assert summary["sha256"] == undisturbed["sha256"] and summary["questions"] == 72


@pytest.mark.slow
def test_a_kill_in_the_middle_of_a_write_goes_on_to_the_same_bytes(undisturbed, tmp_path):
    out = tmp_path / "out"
    stop(out, signal.SIGKILL, "parts/.*.tmp", 1)
    assert content(finish(out)) == content(undisturbed)


@pytest.mark.slow
def test_a_file_with_every_kind_of_bad_row_is_labelled_in_one_command(tmp_path):
    good = [{"question": f"Where was person {row} born?", "answer": f"Town{row}", "relation": "born"}
            for row in range(6)]
    odd = [{"question": "Where was Zoë born?", "answer": answer, "relation": "born"}
           for answer in ("e\u0301te\u0301", "שלום", "👩‍👩‍👧", "x " * 2000 + "x")]
    bad = [{"question": "Q?", "answer": ""}, {"question": "Q?", "answer": "A\nB"}, {"question": "Q?", "answer": 7},
           {"question": "Alone?", "answer": "A", "relation": "alone"}]
    path = tmp_path / "facts.jsonl"
    path.write_text("\n".join(map(json.dumps, good + odd + bad)) + "\nbroken {", encoding="utf-8")
    done = subprocess.run(command(tmp_path / "out", "--data", str(path), "--prompts", "2"), cwd=ROOT, check=True,
                          capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    summary = json.loads(done.stdout)
    named = {problem["row"] for problem in summary["problems"]}
    assert {11, 12, 13, 14, 15} <= named <= {7, 8, 9, 10, 11, 12, 13, 14, 15}
    assert {note["row"] for note in summary["duplicates"]} == {8, 9, 10}
