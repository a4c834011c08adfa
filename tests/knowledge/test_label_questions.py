"""A long labelling: stopped and resumed, damaged, changed, and what it says of its problems and its cost."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
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
from course_lib.knowledge.label_questions import Settings, model_fingerprint
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

    def __init__(self, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.out, self.patch, self.loads, self.stop_at = out, monkeypatch.setattr, 0, None
        self.calls, self.said, self.options = [], [], {}
        self.patch(label_questions, "load", self.load)
        self.patch(slick, "measure", self.measure)
        self.patch(label_questions, "default_batch_tokens", lambda model: 64)
        self.patch(label_questions, "UNIT", 2)

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

    def clock(self, seconds: int) -> None:
        """Let each measurement take so many seconds."""
        ticks = iter(range(0, 10**6, seconds))
        self.patch(label_questions.time, "perf_counter", lambda: float(next(ticks)))

    def label(self, data: str | QuestionSet, out: Path | None = None, *, settings: Settings = SMALL) -> dict:
        """The summary of one run; ``said`` and ``calls`` are those of this run alone."""
        self.calls, self.said = [], []
        return label_questions.run(asked(data) if isinstance(data, str) else data, self.out if out is None else out,
                                   settings=settings, progress=False, say=self.said.append)

    def stop(self, data: str, at: int) -> None:
        """A run that ends before measurement ``at``: 1 is the warm-up, 2 the first unit, 3 the second one."""
        self.stop_at = at
        with pytest.raises(KeyboardInterrupt):
            self.label(data)
        self.stop_at = None

    @property
    def rows(self) -> set[int]:
        return {row for rows in self.calls for row in rows}


@pytest.fixture
def fake(monkeypatch, tmp_path) -> Fake:
    """A fake model; units hold two questions."""
    return Fake(tmp_path / "out", monkeypatch)


def table(summary: dict) -> pd.DataFrame:
    return pd.read_parquet(summary["labels"])


def content(summary: dict) -> bytes:
    return Path(summary["labels"]).read_bytes()


def found(pattern: str, lines: Iterable[str]) -> bool:
    return re.search(pattern, "\n".join(lines), re.MULTILINE) is not None


# The result


def test_every_question_has_its_label_and_the_scores_of_every_prompt_in_the_order_of_the_data(fake):
    frame = table(fake.label("HMWU"))
    assert frame["category"].tolist() == list(CATEGORIES)
    assert frame["row"].tolist() == [1, 2, 3, 4] and frame["question"].tolist() == ["q1?", "q2?", "q3?", "q4?"]
    assert frame["prob_Unknown"].tolist() == [0, 0, pytest.approx(0.5**8), 1]  # 2 prompts, 4 samples each
    row = frame.iloc[1]
    assert row["greedy"].tolist() == [True, False] and np.exp(row["log_probability"]).tolist() == [0.5, 0.5]
    assert row["margin"].tolist() == [2, 2]


def test_the_questions_of_two_relations_keep_their_order(fake):
    first, second = asked("HM", relation="r"), asked("WU", relation="s")
    mixed = tuple(question for pair in zip(first.questions, second.questions, strict=True) for question in pair)
    both = QuestionSet("both", "{row}", mixed, first.exemplars + second.exemplars)
    assert table(fake.label(both))["category"].tolist() == ["HighlyKnown", "WeaklyKnown", "MaybeKnown", "Unknown"]


def test_the_summary_counts_and_is_json(fake):
    summary = json.loads(json.dumps(fake.label("HHMX"), allow_nan=False))
    assert summary["counts"] == {"HighlyKnown": 2, "MaybeKnown": 1, "WeaklyKnown": 0, "Unknown": 0}
    assert summary["relations"] == {"r": summary["counts"]}
    assert summary["shares"]["HighlyKnown"] == pytest.approx(2 / 3)
    assert (summary["questions"], summary["labelled"]) == (4, 3)


def test_the_record_and_the_table_tell_what_was_measured_with_what(fake):
    summary = fake.label("HM")
    record = read_json(fake.out / "slick.json")
    assert record["status"] == "completed" and record["digest"] == summary["digest"]
    assert record["batch_tokens"] == 64 and record["decides"]["temperature"] == 0.5
    assert record["machine"]["threads"] >= 1
    assert {"model", "tokenizer", "dtype", "device", "torch", "transformers", "course"} <= set(record["decides"])
    assert [text.endswith("Q: {question}\nA:") for text in record["prompts"]["r"]] == [True, True]
    about = json.loads(pq.read_schema(summary["labels"]).metadata[b"course"])
    assert about["digest"] == summary["digest"] == labelling.digest(about["decides"])


def test_aliases_are_accepted_and_stored(fake):
    question = Question("q?", "H", "r", aliases=("HH",))
    data = QuestionSet("tiny", "{row}", (question,), asked("").exemplars)
    assert table(fake.label(data))["aliases"][0].tolist() == ["HH"]
    assert fake.options["accepted"](question) == ("H", "HH")


# Stopped and resumed


@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_a_stopped_run_ends_in_the_same_bytes(fake, tmp_path, at):
    undisturbed = content(fake.label("HMWUHXH", tmp_path / "undisturbed"))
    fake.stop("HMWUHXH", at)
    assert content(fake.label("HMWUHXH")) == undisturbed


def test_a_resumed_run_measures_and_plans_what_is_left_with_the_size_of_a_pass_that_was_chosen(fake):
    fake.clock(1)
    fake.stop("HMWUHM", at=4)
    fake.patch(label_questions, "default_batch_tokens", lambda model: 4096)
    summary = fake.label("HMWUHM")
    assert fake.rows == {5, 6} and fake.options["batch_tokens"] == 64
    assert found(r": 4 .*: 2\b", fake.said)
    assert summary["seconds_measuring"] == 3  # of all units


def test_a_finished_run_loads_no_model_and_gives_the_same_bytes(fake):
    assert content(fake.label("HMXU")) == content(fake.label("HMXU")) and fake.loads == 1
    assert fake.label("HMXU")["problems"][0]["row"] == 3


def test_what_a_kill_left_of_a_write_is_no_other_run_and_is_swept_up(fake):
    fake.out.mkdir()
    (fake.out / ".slick.json.abc.tmp").write_text("{")
    assert fake.label("HM")["folder"] == str(fake.out)
    assert sorted(path.name for path in fake.out.iterdir()) == ["labels.parquet", "parts", "slick.json"]


@pytest.mark.parametrize("damage", [
    lambda data, other: data[:20], lambda data, other: data[:-5], lambda data, other: b"", lambda data, other: other,
    lambda data, other: data[:-1] + b"\x01", lambda data, other: data.replace(b'"run":"', b'"run":"x')],
    ids=["head", "cut", "empty", "other size", "changed", "other run"])
def test_a_damaged_shard_is_named_and_computed_again(fake, damage):
    first = content(fake.label("HMWUH"))
    shards = [fake.out / "parts" / f"0000{number}.safetensors" for number in (1, 2)]
    shards[0].write_bytes(damage(*(shard.read_bytes() for shard in shards)))
    assert content(fake.label("HMWUH")) == first and fake.rows == {3, 4}
    assert found(rf"^{re.escape(str(shards[0]))}: .*\b2 ", fake.said)


# Changed model, data or settings


def test_another_setting_goes_to_another_folder_and_says_what_differs(fake):
    first = fake.label("HM")
    before = content(first)
    second = fake.label("HM", settings=Settings(prompts=2, shots=1, samples=4, temperature=0.7))
    assert second["folder"] == f"{fake.out}-2" and content(first) == before
    assert re.match(rf"{fake.out} .*\(temperature: 0\.5 -> 0\.7\).*{fake.out}-2 ", fake.said[0])


def test_the_same_command_finds_its_folder_again(fake):
    folders = [fake.label("HM", settings=Settings(prompts=2, shots=1, samples=samples))["folder"]
               for samples in (1, 2, 3, 1, 2, 3)]
    assert [Path(folder).name for folder in folders] == ["out", "out-2", "out-3"] * 2


def test_another_answer_in_the_data_is_another_run(fake):
    fake.label("HM")
    assert fake.label("HW")["folder"].endswith("out-2") and "(data: " in fake.said[0]


def test_another_model_or_version_is_another_run(fake):
    fake.label("HM")
    fake.patch(label_questions, "model_fingerprint", lambda preset: {"model": "m", "revision": "", "tokenizer": "t"})
    fake.patch(label_questions, "__version__", "9.9")
    fake.label("HM")
    assert "-> m; tokenizer: " in fake.said[0] and "-> 9.9)" in fake.said[0]


def test_other_files_in_the_folder_are_left_alone(fake, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    assert fake.label("HM", tmp_path)["folder"] == f"{tmp_path}-2"
    assert re.match(f"{tmp_path} .*{tmp_path}-2 ", fake.said[0])
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_model_is_known_by_its_files(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "tokenizer.json").write_text("{}")
    before = model_fingerprint(str(tmp_path))
    (tmp_path / "README.md").write_text("new")
    assert model_fingerprint(str(tmp_path)) == before
    (tmp_path / "tokenizer.json").write_text("{ }")
    after = model_fingerprint(str(tmp_path))
    assert after["model"] == before["model"] and after["tokenizer"] != before["tokenizer"]


def test_a_model_that_is_not_to_be_had_is_one_message():
    with pytest.raises(CourseError, match="^poket: .*owner/name.*pocket") as caught:
        model_fingerprint("poket")
    assert "\n" not in str(caught.value)


def test_a_hub_model_that_changed_between_two_looks_is_refused(fake):
    fake.patch(label_questions, "model_fingerprint", lambda preset: {"model": preset, "revision": "abc"})
    with pytest.raises(CourseError, match="^pocket: .*Hub"):
        fake.label("HM")


# Problems, each with its row


def test_a_question_that_cannot_be_scored_is_named_and_the_others_are_labelled(fake):
    summary = fake.label("HXM")
    assert summary["problems"] == [{"row": 2, "place": "tiny 2", "text": "it cannot be spelled"}]
    assert fake.said[-2].endswith(": 1") and fake.said[-1] == "  tiny 2: it cannot be spelled"
    frame = table(summary)
    assert frame["problem"].tolist() == ["", "it cannot be spelled", ""]
    assert frame["category"].isna().tolist() == [False, True, False]


def test_rows_that_were_left_out_are_named_first_and_of_many_ten(fake):
    bad = tuple(Problem(row, f"tiny {row}", "empty answer") for row in range(7, 1207))
    assert fake.label(asked("HM", problems=bad))["problems"][0]["row"] == 7
    assert fake.said[0].endswith(": 1,200") and fake.said[1] == "  tiny 7: empty answer"
    assert len(fake.said) == 16 and re.search(r"\b1,190 .*slick\.json", fake.said[11])


def test_a_relation_with_too_few_exemplars_is_named_and_the_others_are_labelled(fake):
    few, data = Question("f?", "H", "few", row=9), asked("HM")
    summary = fake.label(QuestionSet("tiny", "tiny {row}", (*data.questions, few), (*data.exemplars, few), shared=True))
    [problem] = summary["problems"]
    assert (problem["row"], problem["place"]) == (9, "tiny 9") and re.search(r"'few': 1, .*\b2;", problem["text"])
    assert summary["labelled"] == 2


def test_no_relation_with_exemplars_is_an_error(fake):
    with pytest.raises(CourseError, match="^tiny: .*'r': 3"):
        fake.label("HM", settings=Settings(prompts=2, shots=4))
    assert not fake.out.exists()


def test_questions_asked_twice_are_named_and_labelled(fake):
    twice = asked("HM").questions[0]
    summary = fake.label(QuestionSet("tiny", "tiny {row}", (twice, Question(twice.question, "H", "r", row=2)),
                                     asked("").exemplars))
    assert summary["labelled"] == 2 and [note["row"] for note in summary["duplicates"]] == [2]
    assert found("^  tiny 2: .*tiny 1, ", fake.said)


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
        fake.label("H", tmp_path / out)
    assert fake.loads == 0 and not (tmp_path / "gone").exists()


def test_a_folder_whose_name_is_not_utf8_is_written_to(fake, tmp_path):
    folder = tmp_path / os.fsdecode(b"o\xffut")
    assert fake.label("H", folder)["folder"] == str(tmp_path / "o") + "\\udcffut"
    assert read_json(folder / "slick.json")["status"] == "completed"


@pytest.mark.parametrize("preset", ["", ".", "pokcet"])
def test_a_preset_that_is_none_is_refused_before_anything_is_loaded(fake, tmp_path, monkeypatch, preset):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CourseError, match=f"^preset '{preset}': "):
        label_questions.run(asked("H"), fake.out, preset=preset)


# The plan


def test_the_plan_tells_the_cost_from_the_first_unit_where_that_is_short(fake):
    fake.clock(1)
    fake.label("HMWU")
    assert fake.calls == [[1, 2], [1, 2], [3, 4]]  # warm-up, first unit, second unit
    assert re.search(r"\b2 .*\b2 ", fake.said[0])  # a model may be slow to answer even these
    assert re.search(r"tiny: .*: 1, .*: 4, .*: 2; 4-bit", fake.said[1])
    # "Q: q1? A: H1" are 4 words a question and prompt; "Q: e0? A: H Q: A:" are 6 a prompt and unit
    assert re.search(r": 0 .*: 4, .*\b56 tokens .*\b28 .*\b2 seconds", fake.said[2])
    assert re.search(rf"\b64 tokens .*{fake.out}", fake.said[3])


def test_a_slow_model_is_timed_on_fewer_questions(fake):
    fake.patch(label_questions, "UNIT", 50)
    fake.clock(5)
    fake.label("H" * 50)
    assert [len(rows) for rows in fake.calls] == [8, 16, 50]


def test_the_bar_shows_the_labels_so_far(fake, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")  # a narrow terminal cuts the bar off
    label_questions.run(asked("HMWU"), fake.out, settings=SMALL)
    assert "4/4" in (shown := capsys.readouterr().err)
    assert "HighlyKnown 1  MaybeKnown 1  WeaklyKnown 1  Unknown 1" in shown


# The real command, killed

ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}


def command(out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "course_lib.cli", "slick", "--preset", "pocket", "--out", str(out), "--json",
            *(more or ("--limit", "6"))]


def finish(out: Path, *more: str) -> dict:
    done = subprocess.run(command(out, *more), cwd=ROOT, capture_output=True, check=True, env=ONE_THREAD)
    return json.loads(done.stdout)


def stop(out: Path, how: signal.Signals, there: str, count: int) -> int:
    """Send a signal when ``count`` files match ``there`` in ``out``; returns the exit status."""
    process = subprocess.Popen(command(out), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ONE_THREAD)
    deadline = time.monotonic() + 300
    while len(list(out.glob(there))) < count:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.002)
    process.send_signal(how)
    process.communicate(timeout=60)
    return process.returncode


@pytest.mark.slow
def test_a_command_that_is_struck_again_and_again_goes_on_to_the_same_bytes(tmp_path):
    """Killed and interrupted at its start, at its first part, in the middle of a write and near its end."""
    strikes = [(signal.SIGKILL, "slick.json", 1), (signal.SIGINT, "parts/*.safetensors", 1),
               (signal.SIGKILL, "parts/.*.tmp", 1), (signal.SIGINT, "parts/*.safetensors", 5),
               (signal.SIGKILL, "parts/*.safetensors", 7)]
    status = {signal.SIGKILL: -signal.SIGKILL, signal.SIGINT: 130}
    for how, there, count in strikes:
        assert stop(tmp_path / "struck", how, there, count) == status[how]
    struck, undisturbed = finish(tmp_path / "struck"), finish(tmp_path / "undisturbed")
    assert content(struck) == content(undisturbed)
    assert struck["sha256"] == undisturbed["sha256"] and struck["questions"] == 72


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
    summary = finish(tmp_path / "out", "--data", str(path), "--prompts", "2")
    named = {problem["row"] for problem in summary["problems"]}
    assert {11, 12, 13, 14, 15} <= named <= {7, 8, 9, 10, 11, 12, 13, 14, 15}
    assert {note["row"] for note in summary["duplicates"]} == {8, 9, 10}
