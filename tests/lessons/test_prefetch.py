"""A room without a network: everything is fetched into one folder, once, and the course runs from it."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pooch
import pytest
from typer.testing import CliRunner

from course_lib import cli
from course_lib.data import entityquestions
from course_lib.data.pocket import FOLDER as POCKET
from course_lib.files import CourseError
from course_lib.installation import CLASSROOM, HUB, use_classroom
from course_lib.lessons.builder import prefetch
from course_lib.models.presets import PRESETS
from tests.support import public_source
from tests.support.fake_hub import FakeHub

ROOT = Path(__file__).parents[2]
# Taken in by a Python before anything else: whatever leaves this machine fails, a kernel's own sockets work.
NO_NETWORK = '''
import socket
def closed(name):
    real = getattr(socket.socket, name)
    def connect(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "localhost", "::1"):
            raise RuntimeError(f"the network is off, but {address} was called")
        return real(self, address)
    return connect
for name in ("connect", "connect_ex"):
    setattr(socket.socket, name, closed(name))
real_lookup = socket.getaddrinfo
def lookup(host, *rest, **more):
    if host not in (None, "", "127.0.0.1", "localhost", "::1", b"127.0.0.1", b"localhost"):
        raise RuntimeError(f"the network is off, but {host} was looked up")
    return real_lookup(host, *rest, **more)
socket.getaddrinfo = lookup
'''


@pytest.fixture
def source(tmp_path, monkeypatch):
    """All 72 files of EntityQuestions with one fact each, served as the public source, their sums as the published."""
    root = public_source.fill(tmp_path / "public")
    public_source.publish(root, monkeypatch)
    with public_source.serve(root, monkeypatch) as asked:
        yield asked


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A repository with two learner's notebooks and one instructor's, as the working directory."""
    root = tmp_path / "clone"
    for folder in ("notebooks/src", "build/instructor", "course_lib"):
        (root / folder).mkdir(parents=True)
    for name in ("notebooks/00_a.ipynb", "notebooks/01_b.ipynb", "build/instructor/00_a.ipynb"):
        (root / name).write_text(name, encoding="utf-8")
    (root / "requirements.lock").write_text("torch==2.13.0\n", encoding="utf-8")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (root / name).touch()
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def room(tmp_path):
    return tmp_path / "room"


def fill(room, **options):
    said = []
    path = prefetch.prefetch(room, echo=said.append, **options)
    return path.read_text(encoding="utf-8"), "\n".join(said)


def test_a_room_holds_all_facts_the_notebooks_of_both_kinds_and_the_commands(source, clone, room):
    text, said = fill(room)
    assert len(list(room.glob("entityquestions/dataset/*/*.json"))) == 72
    assert (room / "notebooks" / "01_b.ipynb").read_text() == "notebooks/01_b.ipynb"
    assert (room / "instructor" / "00_a.ipynb").read_text() == "build/instructor/00_a.ipynb"
    assert all(re.search(r"\b2 for learners, 1 for instructors", told) for told in (text, said))
    assert 'COURSE_HOME="$PWD" course lab ~/my-notebooks' in text and "pip install" not in text


def test_a_second_call_fetches_nothing_and_a_cut_file_is_fetched_again(source, clone, room):
    first, _ = fill(room)
    source.clear()
    second, _ = fill(room)
    assert source == [] and second == first
    (room / "entityquestions/dataset/dev/P26.dev.json").write_text("[cut")
    fill(room)
    assert source == ["dataset/dev/P26.dev.json"]


def test_facts_come_from_the_room_when_nothing_can_be_fetched(source, clone, room, monkeypatch):
    fill(room)
    public_source.offline(monkeypatch)
    monkeypatch.setenv("COURSE_HOME", str(room))
    assert entityquestions.load(progress=False).totals() == {"train": 12, "dev": 12, "test": 12, "ood": 7}


def test_facts_may_come_from_a_copy_of_ones_own_unless_it_was_edited(source, clone, room, tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "public"))
    fill(room)
    assert source == [] and len(list(room.glob("entityquestions/dataset/*/*.json"))) == 72
    monkeypatch.delenv("COURSE_DATA")
    fill(room)
    assert source == []  # they stand where a download puts them
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "public"))
    (tmp_path / "public/dataset/dev/P26.dev.json").write_text("[]")
    with pytest.raises(CourseError, match=r"P26\.dev\.json: .*SHA-256"):
        fill(room.with_name("another"))


def test_no_network_is_one_line_with_what_to_do(source, clone, room, monkeypatch):
    monkeypatch.setattr(entityquestions, "SOURCE_URL", "http://127.0.0.1:9/")
    result = CliRunner().invoke(cli.app, ["prefetch", str(room)])
    assert result.exit_code == 1 and result.stderr.splitlines()[-1].startswith("course: http://127.0.0.1:9/dataset/")
    assert "COURSE_DATA" in result.stderr and "Traceback" not in result.stderr


def test_a_full_disk_and_a_folder_with_other_things_in_it_are_one_line(source, clone, room, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pooch.Pooch, "fetch", full)
    with pytest.raises(CourseError, match=f"^{room}"):
        fill(room)
    photos = room.with_name("photos")
    photos.mkdir()
    (photos / "cat.jpg").touch()
    with pytest.raises(CourseError, match=r"photos: .*cat\.jpg"):
        fill(photos)


def test_outside_of_a_clone_there_are_neither_notebooks_nor_wheels_and_it_says_so(room):
    said = prefetch.copy_notebooks(None, room)
    assert said.startswith("0 for learners, 0 for instructors") and "`course build --instructor`" in said
    with pytest.raises(CourseError, match=r"requirements\.lock"):
        prefetch.fetch_wheels(None, room, done=None, echo=print)


# ------------------------------------------------------------------------------------------------------- wheels


class Pip:
    """pip, replaced: ``calls`` are its words; it leaves one wheel for each call, or fails with ``error``."""

    def __init__(self):
        self.calls, self.error = [], ""

    def __call__(self, words, **_):
        self.calls.append(words[5:])
        shelf = Path(words[words.index("-d" if "-d" in words else "-w") + 1])
        shelf.mkdir(exist_ok=True)
        (shelf / f"{words[5]}-1-py3-none-any.whl").touch()
        return subprocess.CompletedProcess(words, bool(self.error), stderr=self.error)


@pytest.fixture
def pip(monkeypatch):
    fake = Pip()
    monkeypatch.setattr(subprocess, "run", fake)
    return fake


def test_wheels_are_those_of_the_lock_and_the_course_and_of_the_same_lock_not_asked_for_again(source, clone, room, pip):
    text, _ = fill(room, wheels=True)
    download, build = pip.calls
    assert download == ["download", "--only-binary", ":all:", "-r", str(clone / "requirements.lock"), "-d",
                        str(room / "wheels")]
    assert build[:3] == ["wheel", "-q", "--no-deps"] and str(clone) not in build  # built from a copy
    assert '--no-index --find-links wheels "known-unknowns[lab]"' in text
    assert re.search(rf"\b2 .*Python {sys.version_info[0]}\.{sys.version_info[1]}", text)
    fill(room, wheels=True)
    assert [call[0] for call in pip.calls] == ["download", "wheel", "wheel"]
    (clone / "requirements.lock").write_text("torch==2.14.0\n", encoding="utf-8")
    fill(room, wheels=True)
    assert [call[0] for call in pip.calls][3:] == ["download", "wheel"]


@pytest.mark.parametrize(("error", "said"), [
    ("WARNING: x\nERROR: No matching distribution found for torch==2.13.0\n",
     r"pip download .*\(No matching distribution found for torch==2\.13\.0\)"),
    ("ERROR: Could not install: [Errno 28] No space left on device\n", "wheels: "),
])
def test_a_failing_pip_is_one_sentence(source, clone, room, pip, error, said):
    pip.error = error
    with pytest.raises(CourseError, match=said):
        fill(room, wheels=True)
    pip.error = ""
    fill(room, wheels=True)
    assert [call[0] for call in pip.calls] == ["download", "download", "wheel"]  # it goes on from there


# ------------------------------------------------------------------------------------------------------- models

HUB_ID, COMMIT = PRESETS["smollm2-360m"].source, PRESETS["smollm2-360m"].revision


@pytest.fixture
def hub():
    """A Hub on this machine; one of its models holds the pocket model's files and two others."""
    made, model = FakeHub(), {path.name: path.read_bytes() for path in (POCKET / "model").iterdir() if path.is_file()}
    made.add(HUB_ID, model | {"pytorch_model.bin": b"x" * 1000, "onnx/config.json": b"{}"}, commit=COMMIT)
    yield made
    made.close()


def python(code, tmp_path, **env):
    """Run code in a Python of its own, since the Hub's library reads the environment when it is imported."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("COURSE_", "HF_"))}
    settings = {"PYTHONPATH": str(ROOT), "HF_HOME": str(tmp_path / "hf"), "NO_PROXY": "127.0.0.1",
                "CUDA_VISIBLE_DEVICES": "", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    return subprocess.run([sys.executable, "-c", code], env=clean | settings | env, cwd=tmp_path, capture_output=True,
                          text=True, timeout=500)


def closed(tmp_path):
    """PYTHONPATH under which a Python has no network."""
    (tmp_path / "closed").mkdir(exist_ok=True)
    (tmp_path / "closed" / "sitecustomize.py").write_text(NO_NETWORK, encoding="utf-8")
    return os.pathsep.join([str(tmp_path / "closed"), str(ROOT)])


FETCH = """
from pathlib import Path
from course_lib.files import CourseError
from course_lib.lessons.builder.prefetch import fetch_model
Path({room!r}).mkdir(exist_ok=True)
try:
    print(fetch_model({model!r}, Path({room!r}), echo=print))
except CourseError as error:
    print("course:", error)
"""


@pytest.mark.slow
def test_a_model_is_fetched_once_as_plain_files_and_then_loads_without_a_network(hub, room, tmp_path):
    fetch, files = FETCH.format(room=str(room), model="smollm2-360m"), hub.repos[HUB_ID].commits[COMMIT]
    first = python(fetch, tmp_path, HF_ENDPOINT=hub.url)
    kept = {name for name in files if name.endswith((".json", ".safetensors", ".txt")) and "/" not in name}
    size = sum(len(files[name]) for name in kept) / 10**9
    assert re.match(rf"Model {HUB_ID} \(.*apache-2\.0; .*{COMMIT}\): {size:.2f} GB .*\b{len(kept)} files",
                    first.stdout), first.stderr
    assert set(hub.got) == kept
    snapshot = room / HUB / "models--HuggingFaceTB--SmolLM2-360M" / "snapshots" / COMMIT
    found = list(snapshot.iterdir())
    assert {path.name for path in found} == kept and not any(path.is_symlink() for path in found)

    hub.requests.clear()
    again = python(fetch, tmp_path, HF_ENDPOINT=hub.url)
    assert re.fullmatch(f"Model {HUB_ID}: .*\n{snapshot}\n", again.stdout) and hub.requests == []
    offline = python(fetch, tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    assert offline.stdout == again.stdout, offline.stderr

    (room / CLASSROOM).write_text('{"version": "0.1.0"}')
    load = ("from course_lib.models.loading import load\nloaded = load('smollm2-360m')\n"
            "print(loaded.preset, loaded.revision, loaded.model.config.vocab_size)")
    done = python(load, tmp_path, PYTHONPATH=closed(tmp_path), COURSE_HOME=str(room))
    vocabulary = json.loads((POCKET / "model" / "config.json").read_text())["vocab_size"]
    assert done.stdout.split() == ["smollm2-360m", COMMIT, str(vocabulary)], done.stderr


@pytest.mark.slow
def test_a_model_that_cannot_be_fetched_is_one_sentence(hub, room, tmp_path):
    done = python(FETCH.format(room=str(room), model="nobody/nothing"), tmp_path, HF_ENDPOINT=hub.url)
    assert done.stdout.startswith("course: nobody/nothing: "), done.stderr
    assert done.stdout.count("\n") == 1


@pytest.mark.parametrize(("name", "said"), [("pocket", "pocket"), ("smollm", "^smollm: .*owner/name"),
                                            (".", r"^\.: .*owner/name")])
def test_a_name_that_is_no_model_of_the_hub_is_told(room, name, said):
    with pytest.raises(CourseError, match=said):
        prefetch.fetch_model(name, room, echo=print)


@pytest.mark.parametrize(("marked", "own", "expected"), [
    (True, None, ("ROOM/hub", "1")), (True, "/mine", ("/mine", "1")), (False, None, (None, None))])
def test_course_home_points_the_hubs_library_at_a_room_alone(tmp_path, monkeypatch, marked, own, expected):
    (tmp_path / HUB).mkdir()
    if marked:
        (tmp_path / CLASSROOM).touch()
    for name, value in (("COURSE_HOME", str(tmp_path)), ("HF_HUB_CACHE", own), ("HF_HUB_OFFLINE", None)):
        monkeypatch.delenv(name, raising=False)
        if value:
            monkeypatch.setenv(name, value)
    use_classroom()
    found = tuple(os.environ.get(name) for name in ("HF_HUB_CACHE", "HF_HUB_OFFLINE"))
    for name in ("HF_HUB_CACHE", "HF_HUB_OFFLINE"):
        os.environ.pop(name, None)
    assert found == tuple(value and value.replace("ROOM", str(tmp_path)) for value in expected)


# ----------------------------------------------------------------------------- the course itself, with the network off


def test_the_network_of_these_tests_is_really_off(tmp_path):
    for code in ("import socket; socket.create_connection(('192.0.2.1', 80), 1)",
                 "import urllib.request; urllib.request.urlopen('http://example.org')"):
        done = python(code, tmp_path, PYTHONPATH=closed(tmp_path))
        assert done.returncode == 1 and "the network is off" in done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The package as a wheel, built as `course prefetch --wheels` builds it, and unpacked; the folder that holds it."""
    shelf = tmp_path_factory.mktemp("shelf")
    before = {path.name for path in (ROOT / "build").glob("*")}
    with pytest.MonkeyPatch.context() as patch:
        real = prefetch._pip

        def without_download(*words, folder):
            if words[0] == "wheel":
                real(*words, folder=folder)

        patch.setattr(prefetch, "_pip", without_download)
        prefetch.fetch_wheels(ROOT, shelf, done=None, echo=print)
    assert not {path.name for path in (ROOT / "build").glob("*")} - before  # nothing of setuptools is left in the clone
    (made,) = (shelf / "wheels").glob("known_unknowns-*.whl")
    shutil.unpack_archive(made, shelf / "site", "zip")
    return shelf / "site"


@pytest.fixture
def real_room(course_data, room, monkeypatch):
    """A room with the real EntityQuestions, served from this machine: the published sums hold."""
    files = room.with_name("files")
    shutil.unpack_archive(next(course_data.rglob("dataset.zip")), files)
    with public_source.serve(files, monkeypatch):
        fill(room)
    return room


STRAIGHT_LINE = """
from course_lib import __file__ as place, doctor
from course_lib.data import entityquestions
from course_lib.experiments.study import open_study
from course_lib.experiments import sweep

print(entityquestions.load(progress=False).totals()["train"])
study = open_study("pocket")
print(len(study.labels(progress=False)))
epochs = sweep.run(study, [study.spec(50)], how="one-by-one", progress=False)
print(epochs["epoch"].max())
print(doctor.report().splitlines()[2])
print(place)
"""


@pytest.mark.slow
def test_facts_labels_and_a_tiny_run_need_no_network_and_no_clone(real_room, wheel, tmp_path):
    path = closed(tmp_path).replace(str(ROOT), str(wheel))
    done = python(STRAIGHT_LINE, tmp_path, PYTHONPATH=path, COURSE_HOME=str(real_room), COURSE_QUICK="1",
                  COURSE_BUILD=str(tmp_path / "build"))
    train, labels, epochs, preset, place = done.stdout.splitlines()
    assert (train, epochs) == ("81700", "2") and preset.startswith("Preset: pocket (")
    assert int(labels) > 500 and place.startswith(str(wheel))


LESSON = """
import sys
from pathlib import Path
from course_lib.lessons.builder import editions, notebooks
found = notebooks.read_source(Path(sys.argv[1] if len(sys.argv) > 1 else {source!r}))
made = notebooks.execute(editions.learner(found), cwd=".", env={{"COURSE_PRESET": "pocket"}})
print(sum(cell.cell_type == "code" and cell.execution_count is not None for cell in made.cells), len(made.cells))
import course_lib
print(course_lib.__file__)
"""


@pytest.mark.slow
@pytest.mark.parametrize("lesson", ["02_quantise", "04_facts_as_questions"])
def test_a_lesson_runs_without_a_network_and_without_a_clone(source, clone, room, wheel, tmp_path, lesson):
    fill(room)
    code = LESSON.format(source=str(ROOT / "notebooks" / "src" / f"{lesson}.py"))
    path = closed(tmp_path).replace(str(ROOT), str(wheel))
    done = python(code, tmp_path, PYTHONPATH=path, COURSE_HOME=str(room))
    assert done.returncode == 0, done.stderr
    ran, place = done.stdout.splitlines()
    assert int(ran.split()[0]) > 15 and place.startswith(str(wheel))
