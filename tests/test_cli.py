"""The ``course`` command: exit codes, one-line errors, JSON that a script can read."""

import json
import os
import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from course_lib import __version__, cli, doctor, limits
from course_lib.data import datasets, entityquestions, facts
from course_lib.data.facts import Fact, FactSet
from course_lib.data.pocket import build
from course_lib.files import CourseError
from course_lib.knowledge import label_questions
from course_lib.lessons.builder import course as course_module
from course_lib.lessons.builder import notebooks


@pytest.fixture
def course(monkeypatch):
    for name in ("COURSE_QUESTIONS", "COURSE_QUICK"):  # a command may set them; the next test must not find them
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    runner = CliRunner()
    return lambda *words: runner.invoke(cli.app, list(words))


@pytest.fixture
def refused(course):
    """Run a command that must fail with one line on stderr; the message."""
    def run(*words):
        result = course(*words)
        assert result.exit_code == 1 and result.stderr.count("\n") == 1 and result.stderr.startswith("course: ")
        return result.stderr.removeprefix("course: ").rstrip()

    return run


@pytest.fixture
def two_facts(monkeypatch):
    loaded = FactSet("tiny", (Fact("Paris Hilton", "P19", "New York City"),), (), (Fact("Oslo", "P17", "Norway"),), ())
    monkeypatch.setattr(entityquestions, "load", lambda source=None: loaded)


def raising(error):
    def function(*args, **kwargs):
        raise error

    return function


def test_a_course_error_of_a_command_or_a_sub_command_is_one_line(refused, monkeypatch):
    monkeypatch.setattr(course_module, "run_course", raising(CourseError("05: cell 3 is empty; write it")))
    monkeypatch.setattr(build, "verify", raising(CourseError("no sums; build")))
    assert (refused("run"), refused("pocket", "verify")) == ("05: cell 3 is empty; write it", "no sums; build")


@pytest.mark.parametrize(("error", "said"), [(MemoryError(), "memory"), ("\ud800", "UTF-8"),
                                             (PermissionError(13, "Permission denied", "here"), "here: Permission")])
def test_other_errors_of_the_machine_are_one_line(refused, monkeypatch, error, said):
    monkeypatch.setattr(course_module, "run_course", raising(error) if isinstance(error, Exception)
                        else lambda *_, **__: error.encode())
    assert said in refused("run")


@pytest.mark.parametrize(("module", "name", "words"), [(course_module, "run_course", ["run"]),
                                                       (label_questions, "run", ["slick", "--out", "."])])
def test_an_interrupt_exits_with_130_and_one_line(course, monkeypatch, tmp_path, module, name, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, name, raising(KeyboardInterrupt()))
    result = course(*words)
    assert result.exit_code == 130 and result.stderr.splitlines()[-1].startswith("course: ")


def test_run_passes_names_preset_folder_and_size_on(course, monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(course_module, "run_course", lambda names, **options: calls.append((names, options)))
    course("run", "05", "06", "--preset", "olmo2-1b", "--build", str(tmp_path), "--questions", "600")
    assert calls == [(["05", "06"], {"preset": "olmo2-1b", "build_dir": tmp_path, "questions": "600"})]


def test_a_size_that_is_none_is_one_line_and_forgotten(refused, tmp_path):
    for command in ("run", "sweep"):
        said = refused(command, "--preset", "olmo2-1b", "--build", str(tmp_path), "--questions", "12")
        assert re.fullmatch(r"questions = '12': .*600 .*81,700, .*first-look, default, all", said)
    assert "COURSE_QUESTIONS" not in os.environ


def test_build_check_counts_the_fresh_notebooks(course, monkeypatch):
    monkeypatch.setattr(notebooks, "build", lambda names, check, instructor: ["a", "b"])
    assert course("build", "--check").stdout.endswith(" 2\n")


def test_lab_without_jupyterlab_says_what_to_install(refused, monkeypatch):
    monkeypatch.setattr(cli.util, "find_spec", lambda name: None)
    assert "known-unknowns[lab]" in refused("lab")


def test_facts_as_json_has_totals_and_relations(course, two_facts):
    assert json.loads(course("facts", "--json").stdout) == {
        "name": "tiny",
        "total": {"train": 1, "dev": 0, "test": 1, "ood": 0},
        "relations": {"P19": {"train": 1, "dev": 0, "test": 0, "ood": 0},
                      "P17": {"train": 0, "dev": 0, "test": 1, "ood": 0}}}


def test_facts_summary_has_a_line_per_relation_and_the_totals(course, two_facts):
    lines = course("facts", "--summary").stdout.splitlines()
    assert len(lines) == 4 and lines[-1] == "tiny: train 1, dev 0, test 1, ood 0"


def test_facts_of_a_missing_folder_is_one_line(refused, tmp_path):
    assert str(tmp_path / "nowhere") in refused("facts", "--data", str(tmp_path / "nowhere"))


SUMMARY = {"data": "tiny", "shares": {"HighlyKnown": 0.25, "Unknown": 0.75}, "labelled": 4, "problems": [{}],
           "labels": "out/labels.parquet"}


@pytest.fixture
def labelled(monkeypatch):
    """The arguments of each labelling, in place of a real one; words are said on stderr."""
    calls = []

    def fake(data, out, *, preset, settings):
        calls.append({"data": data, "out": out, "preset": preset, "settings": settings})
        label_questions._say("Plan: tiny")
        return SUMMARY

    monkeypatch.setattr(label_questions, "run", fake)
    return calls


def test_slick_measures_the_pocket_world_with_the_papers_settings(course, labelled, tmp_path):
    assert course("slick", "--out", str(tmp_path)).exit_code == 0
    assert labelled[0]["data"].name == "pocket test" and labelled[0]["preset"] == "pocket"
    assert (labelled[0]["out"], labelled[0]["settings"]) == (tmp_path, label_questions.Settings())


def test_slick_passes_its_settings_on(course, labelled, tmp_path):
    options = {"prompts": 3, "samples": 4, "shots": 2, "temperature": 0.7, "top_k": 0, "seed": 5, "batch_tokens": 99}
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    course("slick", "--out", str(tmp_path), *words, "--no-four-bit")
    assert labelled[0]["settings"] == label_questions.Settings(**options, four_bit=False)


def test_slick_limits_the_questions_of_each_relation(course, labelled, tmp_path):
    course("slick", "--split", "ood", "--limit", "2", "--out", str(tmp_path))
    groups = facts.by_relation(labelled[0]["data"].questions)
    assert {len(group) for group in groups.values()} == {2}


def test_slick_reads_a_file_of_the_users_own(course, labelled, tmp_path):
    (tmp_path / "facts.jsonl").write_text('{"question": "Q?", "answer": "A"}')
    course("slick", "--preset", "olmo2-1b", "--data", str(tmp_path / "facts.jsonl"))
    assert labelled[0]["data"].name == "facts.jsonl" and labelled[0]["preset"] == "olmo2-1b"


def test_slick_as_json_prints_the_summary_alone_on_stdout(course, labelled, tmp_path):
    result = course("slick", "--json", "--out", str(tmp_path))
    assert json.loads(result.stdout) == SUMMARY and result.stderr == "Plan: tiny\n"


def test_slick_says_the_shares_and_where_the_labels_are(course, labelled, tmp_path):
    assert re.fullmatch(r"tiny: HighlyKnown 25\.0%, Unknown 75\.0% .*\b4 .* 1\nout/labels\.parquet\n",
                        course("slick", "--out", str(tmp_path)).stdout)


@pytest.mark.parametrize(("words", "message"), [
    (["--temperature", "0"], "temperature = 0.0: "), (["--prompts", "0"], "prompts = 0: "),
    (["--limit", "0"], "limit = 0: "), (["--split", "valid"], "split 'valid' of 'paper'"),
    (["--data", "nowhere.jsonl"], "nowhere.jsonl: ")])
def test_slick_refuses_what_makes_no_sense_in_one_line(refused, labelled, words, message):
    assert refused("slick", *words).startswith(message) and not labelled


@pytest.mark.parametrize(("option", "value"), [
    ("prompts", 10**9), ("samples", 10**30), ("shots", -1), ("temperature", "nan"), ("temperature", "-inf"),
    ("top-k", 10**30), ("seed", -1), ("seed", 2**32), ("batch-tokens", -1), ("preset", "pokcet"), ("preset", ".")])
def test_slick_refuses_an_option_out_of_range_before_it_reads_the_data(refused, monkeypatch, tmp_path, option, value):
    monkeypatch.setattr(datasets, "load_questions", raising(AssertionError("nothing may be read")))
    monkeypatch.chdir(tmp_path)
    assert re.match(f"(--)?{option.replace('-', '_')} ", refused("slick", f"--{option}", str(value)))


@pytest.mark.parametrize(("words", "named"), [
    (["run", ""], ""), (["run", "05", " "], ""), (["build", ""], ""), (["run", "--build="], "--build"),
    (["slick", "--preset", ""], "--preset"), (["sweep", "--ray", ""], "--ray"),
    (["doctor", "--gpu", ""], "--gpu")])
def test_an_empty_name_or_option_is_refused(course, words, named):
    result = course(*words)
    assert result.exit_code == 2 and named in result.stderr


@pytest.mark.parametrize("name", [".", "./", ".py", "nonsense", "08_other", "5", "ü", "0" * 999])
def test_a_name_of_no_notebook_is_refused_before_anything_runs(refused, monkeypatch, name):
    monkeypatch.setattr(course_module, "sweep", raising(AssertionError("nothing may run")))
    for command in ("run", "build"):
        said = refused(command, "00", name)
        assert " 00_" in said and name[:9] in said


@pytest.mark.parametrize("words", [["run", "00"], ["sweep"], ["lab"], ["pocket", "reference"]])
@pytest.mark.parametrize("place", ["option", "variable"])
def test_a_build_folder_that_cannot_be_one_is_refused_before_all_else(refused, monkeypatch, tmp_path, words, place):
    monkeypatch.setattr(cli.subprocess, "Popen", raising(AssertionError("nothing may run")))
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_text("")
    for name in ("loop/below", "file"):
        if place == "variable":
            monkeypatch.setenv("COURSE_BUILD", str(tmp_path / name))
        said = refused(*words, *(["--build", str(tmp_path / name)] if place == "option" else []))
        assert said.startswith(f"{'build' if place == 'option' else 'COURSE_BUILD'} = ")


@pytest.mark.parametrize("words", [["run", "00", "--build"], ["sweep", "--build"], ["lab", "--build"],
                                   ["slick", "--out"]])
def test_a_folder_that_nothing_can_be_written_in_is_refused(refused, monkeypatch, tmp_path, words):
    monkeypatch.setattr(limits, "TemporaryFile", raising(PermissionError(13, "Permission denied")))
    assert f" {tmp_path} (Permission" in refused(*words, str(tmp_path / "a" / "b"))


@pytest.mark.parametrize("name", ["COURSE_HOME", "COURSE_DATA"])
@pytest.mark.parametrize("value", ["~nobody-of-that-name/data", "{}/loop/below"])
def test_a_variable_with_a_path_that_is_none_is_named(tmp_path, name, value):
    (tmp_path / "loop").symlink_to("loop")
    done = subprocess.run([sys.executable, "-m", "course_lib.cli", "facts"], capture_output=True, text=True,
                          env=os.environ | {name: value.format(tmp_path)})
    assert done.returncode == 1 and done.stderr.startswith("course: ") and done.stderr.count("\n") == 1
    assert name in done.stderr or "loop" in done.stderr


@pytest.mark.parametrize("seed", ["-1", str(10**30)])
def test_a_seed_of_the_pocket_world_is_in_range(refused, tmp_path, seed):
    assert refused("pocket", "build", "--seed", seed, "--out", str(tmp_path)).startswith("--seed = ")


@pytest.mark.parametrize("closed", [{"PYTHONIOENCODING": "ascii"},
                                    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}], ids=str)
def test_a_terminal_that_has_only_ascii_shows_the_rest_as_escapes(tmp_path, closed):
    code = ("import sys; from course_lib import cli; from course_lib.lessons.builder import course; "
            "from tqdm.auto import tqdm; "
            "course.run_course = lambda *_, **__: [print('\\xfc\\u2713'), list(tqdm([1], desc='\\xfc\\u2713'))]; "
            "cli.main()")
    done = subprocess.run([sys.executable, "-c", code, "run"], capture_output=True, env=os.environ | closed)
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, rb"\xfc\u2713")
    assert rb"\xfc\u2713: 100%" in done.stderr


def test_doctor_prints_the_report(course, monkeypatch):
    monkeypatch.setattr(doctor, "report", lambda *, study, gpu: f"[OK] Python: 3.11, {study.preset}, {gpu}")
    found = course("doctor", "--preset", "smollm2-360m", "--gpu", "T4").stdout
    assert found == "[OK] Python: 3.11, smollm2-360m, T4\n"


def test_doctor_as_json_has_machine_and_checks(course):
    found = course("doctor", "--json")
    assert found.exit_code == 0, found.stderr
    found = json.loads(found.stdout)
    assert found["machine"]["cores"] >= 1 and {"name", "ok", "detail"} == set(found["checks"][0])


def test_pocket_build_says_what_was_measured_and_whether_the_facts_are_the_shipped_ones(course, monkeypatch, tmp_path):
    made = build.read_json(build.FOLDER / "provenance.json")
    monkeypatch.setattr(build, "build", lambda *, seed, out, measure: made | {"seed": seed})
    lines = course("pocket", "build", "--seed", "7", "--out", str(tmp_path)).stdout.splitlines()
    never_read = f"{made['measured']['never_read_unknown']:.1%}"
    assert lines[0].startswith(f"{tmp_path}: HighlyKnown ") and never_read in lines[0]
    assert [re.match(r"(\w+): .*\bsame\b", line)[1] for line in lines[1:]] == ["facts", "corpus"]


@pytest.mark.parametrize("words", [(), ("run",), ("sweep",), ("slick",), ("pocket", "build")])
def test_help_is_shown_for_every_command(course, words):
    result = course(*words, "--help")
    assert result.exit_code == 0 and "--help" in result.stdout


def test_version_is_the_packages(course):
    assert course("--version").stdout == f"known-unknowns {__version__}\n"
