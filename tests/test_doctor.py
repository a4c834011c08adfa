"""The report for a bug form: it sets the scene for a stranger, and names nobody."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from course_lib import __version__, doctor, installation
from course_lib.doctor import Machine, anonymous, checks, report, scene
from course_lib.models.hardware import GIB

GOOD = Machine(python="3.11.7", os="Linux", cpu="A CPU", cores=2, ram_bytes=16 * GIB, gpu=None, capability=None,
               gpu_bytes=None, free_disk_bytes=50 * GIB, omp_threads=None,
               versions={"known-unknowns": "0.1.0", "torch": "2.13.0"})
FORM = Path(__file__).parents[1] / ".github" / "ISSUE_TEMPLATE" / "bug.yml"


@pytest.fixture(autouse=True)
def nobody(monkeypatch, tmp_path):
    """A user named ada at home in a folder of this test, on a machine that is no host."""
    monkeypatch.setenv("HOME", str(tmp_path / "home" / "ada"))
    monkeypatch.setattr(doctor, "_user", lambda: "ada")
    monkeypatch.delenv("KAGGLE_KERNEL_RUN_TYPE", raising=False)
    monkeypatch.delenv("COLAB_RELEASE_TAG", raising=False)
    return tmp_path / "home" / "ada"


def failed(machine):
    return {check.name: check.detail for check in checks(machine) if not check.ok}


@pytest.mark.parametrize(("text", "said"), [
    ("/home/ada/build", "~/build"),
    ("/home/adam/build", "/home/adam/build"),
    ("/mnt/ada/models and /ada", "/mnt/<user>/models and /<user>"),
    ("C:\\Users\\ada\\x", "C:\\Users\\<user>\\x"),
    ("ada writes", "ada writes"),
    ("/data/adapters", "/data/adapters"),
])
def test_home_and_user_are_taken_out_of_paths_and_of_nothing_else(text, said):
    assert anonymous(text, home="/home/ada", user="ada") == said


def test_a_machine_without_a_home_or_a_user_keeps_its_paths():
    assert anonymous("/build/x", home="/", user="") == "/build/x"


def test_the_report_names_nobody(nobody, monkeypatch):
    environ = {"COURSE_BUILD": f"{nobody}/build", "COURSE_HOME": "/mnt/ada/share", "HF_TOKEN": "hf_secret",
               "COURSE_PRESET": f"{nobody}/models/mine", "HF_HOME": f"{nobody}/hub"}
    text = report(GOOD, environ=environ)
    assert "ada" not in text and "hf_secret" not in text and str(nobody.parent) not in text
    assert "COURSE_BUILD=~/build" in text and "COURSE_HOME=/mnt/<user>/share" in text


def test_the_report_sets_the_scene(monkeypatch):
    monkeypatch.setattr(doctor, "commit", lambda: "abc1234")
    monkeypatch.setattr(doctor, "ranges", lambda: {"torch": ">=2.10"})
    monkeypatch.setattr(doctor, "version", {"jupyterlab": "4.6.6", "ipywidgets": "8.1.9"}.get)
    lines = report(GOOD, environ={"OMP_NUM_THREADS": "1", "PATH": "/bin"}).splitlines()
    assert all(re.match(pattern, line) for pattern, line in zip(
        (rf"Course: {__version__} \(.*abc1234\)", "Host: .*Colab", r"Preset: pocket \(.*GPU",
         r"Jupyter: jupyterlab 4\.6\.6, ipywidgets 8\.1\.9$", "Variables: OMP_NUM_THREADS=1$", "Folders: results "),
        lines, strict=False)), lines
    assert "[NO]" not in "".join(lines)


@pytest.mark.parametrize(("gpu", "environ", "preset", "source"), [
    ("Tesla T4", {}, "smollm2-1.7b", "GPU"), (None, {"COURSE_QUICK": "1"}, "pocket", "GPU"),
    (None, {"COURSE_PRESET": "olmo2-1b"}, "olmo2-1b", "COURSE_PRESET")])
def test_the_preset_is_named_with_where_it_comes_from(gpu, environ, preset, source):
    assert re.match(rf"{preset} \(.*{source}", scene(replace(GOOD, gpu=gpu), environ=environ).preset)


def test_a_package_without_a_clone_has_its_version_alone(monkeypatch):
    monkeypatch.setattr(doctor, "commit", lambda: "")
    assert re.fullmatch(rf"{__version__} \([^0-9]*\)", scene(GOOD, environ={}).course)


def test_the_folders_say_what_is_there_and_how_much_is_free(nobody):
    nobody.mkdir(parents=True)
    folders = scene(GOOD, environ={"COURSE_BUILD": str(nobody), "HF_HUB_CACHE": f"{nobody}/hub"}).folders
    assert re.match(r"~ \([\d.,]+ GiB", folders["results"]) and re.match(r"~/hub \([^0-9]+,.* GiB", folders["models"])


@pytest.mark.parametrize(("variable", "host"), [("KAGGLE_KERNEL_RUN_TYPE", "Kaggle"), ("COLAB_RELEASE_TAG", "Colab")])
def test_the_host_is_known_in_a_command_too(monkeypatch, variable, host):
    monkeypatch.setenv(variable, "x")
    assert installation.host_name() == host


def test_a_host_is_not_told_to_change_the_builders_packages(monkeypatch):
    monkeypatch.setattr(doctor, "ranges", lambda: {"ipykernel": ">=6.29", "torch": ">=2.10"})
    old = replace(GOOD, versions=GOOD.versions | {"ipykernel": "6.17.1"})
    assert "pip install 'ipykernel>=6.29'" in failed(old)["ipykernel"]
    assert failed(replace(old, host="Colab")) == {}


def test_the_json_has_the_scene_beside_the_machine_and_the_checks():
    found = json.loads(json.dumps(doctor.as_data(GOOD)))
    assert set(found) == {"scene", "machine", "checks"} and found["scene"]["host"] not in ("Colab", "Kaggle")


def test_the_bug_form_asks_where_which_cell_and_for_course_doctor():
    form = yaml.safe_load(FORM.read_text(encoding="utf-8"))
    fields = {part["id"]: part for part in form["body"] if "id" in part}
    assert {"name", "description", "body"} <= set(form)
    assert fields["where"]["type"] == "dropdown"
    assert {"Google Colab", "Kaggle"} <= set(fields["where"]["attributes"]["options"])
    assert "course doctor" in fields["report"]["attributes"]["label"]
    assert all(fields[name]["validations"]["required"] for name in ("where", "cell", "happened", "report"))


def test_the_choice_of_forms_is_valid():
    assert yaml.safe_load(FORM.with_name("config.yml").read_text(encoding="utf-8")) == {"blank_issues_enabled": True}


@pytest.mark.parametrize(("value", "quick"), [("1", True), ("0", False), ("", False)])
def test_quick_settings_are_named_only_where_they_hold(value, quick):
    assert ("quick" in scene(GOOD, environ={"COURSE_QUICK": value}).preset) is quick


@pytest.fixture
def one_range(monkeypatch):
    monkeypatch.setattr(doctor, "ranges", lambda: {"torch": ">=2.10"})


@pytest.mark.parametrize("changes", [{}, {"versions": {"torch": "2.10.0+cpu"}}, {"busy_cores": 0.4}],
                         ids=["good", "a local build", "a little busy"])
def test_a_good_machine_passes_every_check(changes, one_range):
    assert failed(replace(GOOD, **changes)) == {}


@pytest.mark.parametrize(("changes", "name", "cure"), [
    ({"omp_threads": 8}, "cores", "OMP_NUM_THREADS=2"),
    ({"versions": {**GOOD.versions, "torchao": "0.15.0"}}, "torchao", "pip uninstall torchao"),
    ({"versions": {"torch": "2.9.1"}}, "torch", "pip install 'torch>=2.10'"),
    ({"ram_bytes": 2 * GIB}, "memory", "3.5 GiB"),
    ({"python": "3.10.2"}, "Python", "3.11"),
    ({"busy_cores": 1.2}, "other programs", "1.2 of 2"),
    ({"threads_spin": True}, "cores", "import course_lib")], ids=str)
def test_what_will_not_do_is_told_with_its_cure(changes, name, cure, one_range):
    found = failed(replace(GOOD, **changes))
    assert list(found) == [name] and cure in found[name]


def test_a_t4_computes_in_float16(one_range):
    found = report(replace(GOOD, gpu="Tesla T4", capability=(7, 5), gpu_bytes=15 * GIB))
    assert re.search(r"\[OK\] GPU: Tesla T4, 15\.0 GiB, .*7\.5, .*float16$", found, re.M)


def test_the_report_counts_what_failed(one_range):
    assert report(replace(GOOD, omp_threads=8)).splitlines()[-1].startswith("1 of")


def test_inspect_describes_this_machine():
    machine = doctor.inspect()
    assert machine.cores >= 1 and machine.ram_bytes > 0 and machine.free_disk_bytes > 0 and machine.cpu


def test_the_package_that_is_not_installed_is_told_how(monkeypatch):
    monkeypatch.setattr(doctor, "ranges", dict)
    assert "pip install -e ." in failed(GOOD)["known-unknowns"]
