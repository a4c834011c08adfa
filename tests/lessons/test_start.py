"""The first cell of every notebook on Colab, on Kaggle and elsewhere, against the packages that these publish."""

import ast
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
import tomllib
import types
import zipfile
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from course_lib.experiments.study import open_study
from course_lib.installation import BUILDER
from course_lib.lessons import start
from course_lib.lessons.start import KEEP, Plan, SetUpError, constraints, plan, ready
from tests.support.hosts import COLAB, KAGGLE

ROOT = Path(__file__).parents[2]
DEPENDENCIES = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
REQUIRED = {re.match(r"[A-Za-z0-9-]+", line)[0]: re.sub(r"^[A-Za-z0-9-]+", "", line) for line in DEPENDENCIES}
EVERYTHING = dict.fromkeys(REQUIRED, "99") | {"transformers": "5.99"}


def names(plan):
    return {re.match(r"[A-Za-z0-9-]+", line)[0] for line in (*plan.install, *plan.uninstall)}


def test_colab_lacks_bitsandbytes_alone_and_has_a_torchao_that_peft_refuses():
    assert plan(COLAB, REQUIRED, "Colab") == Plan(install=(f"bitsandbytes{REQUIRED['bitsandbytes']}",),
                                                  uninstall=("torchao",))


def test_kaggle_lacks_bitsandbytes_and_has_an_old_peft_transformers_and_filelock():
    assert names(plan(KAGGLE, REQUIRED, "Kaggle")) == {"bitsandbytes", "filelock", "peft", "transformers", "torchao"}


def test_jupyter_packages_that_only_the_builder_needs_stay_as_old_as_they_are():
    older = COLAB | {"ipykernel": "6.5.0", "jupyter-client": "7.0.0"}  # below what the builder asks for
    assert not names(plan(older, REQUIRED, "Colab")) & (BUILDER | KEEP)


@pytest.mark.parametrize(("packages", "host"), [(COLAB, None), (KAGGLE, None), ({}, None), (EVERYTHING, None),
                                                (EVERYTHING, "Colab")])
def test_plain_jupyter_and_a_host_that_has_everything_are_left_alone(packages, host):
    assert plan(packages, REQUIRED, host) == Plan()


@pytest.mark.parametrize(("packages", "host"), [(COLAB, "Colab"), (KAGGLE, "Kaggle")])
def test_a_second_plan_finds_nothing_to_do(packages, host):
    first = plan(packages, REQUIRED, host)
    after = {name: version for name, version in packages.items() if name not in first.uninstall}
    after |= {line.partition(">=")[0]: line.partition(">=")[2].partition(",")[0] for line in first.install}
    assert plan(after, REQUIRED, host) == Plan()


def test_a_package_that_is_never_replaced_is_refused_by_its_name_before_pip_is_called():
    found = plan({}, REQUIRED, "Colab")
    assert not found.install
    assert {line.split()[0] for line in found.refused} == {"torch", "numpy", "ipython", "ipywidgets"}
    assert plan(COLAB | {"torch": "2.9.0+cu128"}, REQUIRED, "Colab") == Plan(
        refused=(f"torch 2.9.0+cu128 (needed: {REQUIRED['torch']})",))


@pytest.mark.parametrize(("imported", "restart"), [((), False), (("numpy", "torch", "bitsandbytes"), False),
                                                   (("peft",), True), (("torchao",), True)])
def test_a_restart_is_asked_for_only_when_something_replaced_has_been_imported(imported, restart):
    assert plan(KAGGLE, REQUIRED, "Kaggle", imported=imported).restart is restart


def test_pip_is_bound_to_every_installed_package_but_the_replaced_ones():
    lines = constraints(KAGGLE, plan(KAGGLE, REQUIRED, "Kaggle"))
    assert {"torch==2.10.0+cu128", "numpy==2.0.2", "ipykernel==6.17.1", "tokenizers==0.22.2"} <= set(lines)
    assert len(lines) == len(KAGGLE) - 4  # filelock, peft, transformers, torchao


@pytest.fixture
def host(monkeypatch):
    """A host with these packages; pip is replaced, its calls are returned: (words, the constraints it was given)."""

    def make(packages, *, kind="Colab", fails=None):
        calls, packages = [], dict(packages)

        def pip(words, **_):
            given = Path(words[words.index("-c") + 1]).read_text(encoding="utf-8").split() if "-c" in words else []
            calls.append((words[words.index("--no-input") + 1:], given))
            if not fails:
                packages.update(dict.fromkeys((re.split("[<>=]", w)[0] for w in words if ">=" in w), "5.99"))
                packages.pop("torchao", None)
            return subprocess.CompletedProcess(words, bool(fails), stdout="", stderr=fails or "")

        monkeypatch.setattr(start, "host_name", lambda: kind)
        monkeypatch.setattr(start, "installed", lambda: dict(packages))
        monkeypatch.setattr(start, "ranges", lambda: REQUIRED)
        monkeypatch.setattr(start, "version", packages.get)
        monkeypatch.setattr(subprocess, "run", pip)
        # a session that has imported nothing yet, whatever other tests have imported here
        monkeypatch.setattr(start, "sys", types.SimpleNamespace(executable=sys.executable, modules={}))
        return calls

    return make


def test_ready_on_colab_installs_with_everything_else_held_still(host, capsys):
    calls = host(COLAB)
    ready()
    words = [" ".join(words[:2]) for words, _ in calls]
    assert words == ["uninstall -y", "install -q"] and calls[0][0][-1] == "torchao"
    assert calls[1][0][4:] == [f"bitsandbytes{REQUIRED['bitsandbytes']}"]
    assert {"torch==2.11.0+cu128", "numpy==2.1.3", "ipywidgets==7.7.1"} <= set(calls[1][1])
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and "torch 2.11.0+cu128" in said and "peft 0.20.0" in said


def test_ready_twice_calls_pip_once_and_outside_of_a_host_never(host, capsys):
    calls = host(KAGGLE, kind="Kaggle")
    ready()
    assert len(calls) == 2
    ready()
    assert len(calls) == 2
    capsys.readouterr()
    calls = host({}, kind=None)
    ready(drive=True)
    assert calls == [] and capsys.readouterr().out == ""


def test_a_failing_pip_is_one_sentence_with_pips_reason_and_a_cure(host):
    host(COLAB | {"torchao": "0.16.0"}, kind="Kaggle",
         fails="WARNING: retrying\nERROR: No matching distribution found for bitsandbytes\n")
    with pytest.raises(SetUpError, match="Kaggle.*No matching distribution.*Internet") as caught:
        ready()
    assert caught.value._render_traceback_() == [str(caught.value)]  # what IPython shows instead of a traceback


def test_ready_says_to_restart_once_when_the_old_peft_is_in_memory(host, monkeypatch, capsys):
    host(KAGGLE, kind="Kaggle")
    monkeypatch.setitem(start.sys.modules, "peft", types.ModuleType("peft"))
    with pytest.raises(SetUpError, match="Restart session"):
        ready()
    ready()  # the new session
    assert re.match(r"[^:\n]*\bKaggle: ", capsys.readouterr().out)


def test_ready_refuses_an_old_torch_with_the_menu_to_change_it(host):
    calls = host(COLAB | {"torch": "2.9.0+cu128"})
    with pytest.raises(SetUpError, match=r"torch 2\.9\.0\+cu128.*Runtime version"):
        ready()
    assert calls == []


@pytest.fixture
def drive(monkeypatch, tmp_path):
    """A stand-in for google.colab.drive; the folders that were mounted."""
    mounted = []

    def mount(folder):
        mounted.append(folder)
        Path(folder, "MyDrive").mkdir()

    colab = types.ModuleType("google.colab")
    colab.drive = types.SimpleNamespace(mount=mount)
    monkeypatch.setitem(sys.modules, "google", types.ModuleType("google"))
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    monkeypatch.setenv("COURSE_BUILD", "")
    assert start.DRIVE == Path("/content/drive")
    monkeypatch.setattr(start, "DRIVE", tmp_path)
    return mounted


@pytest.mark.parametrize(("argument", "variable", "folder"), [
    (True, "", "known-unknowns"), ("Mon", "", "Mon"), (None, "1", "known-unknowns"), (None, "Tue", "Tue")])
def test_labels_and_runs_go_to_drive_when_asked_for(host, drive, monkeypatch, tmp_path, argument, variable, folder):
    host(EVERYTHING)
    monkeypatch.setenv("COURSE_DRIVE", variable)
    ready(drive=argument)
    assert drive == [str(tmp_path)]
    assert open_study("owner/name", questions=600).labels_file == tmp_path.joinpath(
        "MyDrive", folder, "labels", "owner--name-600.csv")


@pytest.mark.parametrize("variable", ["/content", "../elsewhere", "Mon/../../x", "~", " "])
def test_a_folder_outside_of_drive_is_refused_before_it_is_connected(host, drive, monkeypatch, variable):
    host(EVERYTHING)
    monkeypatch.setenv("COURSE_DRIVE", variable)
    with pytest.raises(SetUpError, match=f"^COURSE_DRIVE .*{re.escape(repr(variable))} "):
        ready()
    assert drive == []


def test_drive_is_left_alone_unless_asked_for(host, drive, monkeypatch):
    host(EVERYTHING)
    monkeypatch.delenv("COURSE_DRIVE", raising=False)
    ready()
    assert drive == [] and start.os.environ["COURSE_BUILD"] == ""


def test_a_refused_consent_is_one_sentence(host, drive):
    host(EVERYTHING)

    def refuse(_):
        raise ValueError("mount failed")

    sys.modules["google.colab"].drive.mount = refuse
    with pytest.raises(SetUpError, match=r"\(mount failed\)"):
        ready(drive=True)


# ------------------------------------------------- the cell itself, in a Python that holds what Colab's list says

FAKE_PIP = '''
import json, os, pathlib, re, sys
site, words = pathlib.Path(__file__).parents[1], sys.argv[1:]
def unpack(name, version, needs=()):
    folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir(exist_ok=True)
    lines = [f"Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {n}" for n in needs)]
    (folder / "METADATA").write_text("\\n".join(lines) + "\\n")
with open(site / "pip.log", "a") as log:
    log.write(json.dumps(words) + "\\n")
if os.environ.get("NO_NETWORK"):
    sys.exit("ERROR: no network")
for word in words:
    if word.startswith("https://"):
        (site / "course_lib").symlink_to(os.environ["COURSE_SOURCE"] + "/course_lib")
        unpack("known-unknowns", "0.1.0", json.loads(os.environ["COURSE_NEEDS"]))
    elif ">=" in word:
        name, _, rest = word.partition(">=")
        unpack(name, rest.partition(",")[0])
    elif word == "torchao":
        next(site.glob("torchao-*")).rename(site / "removed")
'''


@pytest.fixture
def session(tmp_path):
    """A Python without site-packages that finds a host's packages by their metadata, a fake pip and packaging."""
    import packaging

    site = tmp_path / "site"
    for folder in ("pip", "google/colab"):
        (site / folder).mkdir(parents=True)
        (site / folder / "__init__.py").touch()
    (site / "pip" / "__main__.py").write_text(FAKE_PIP, encoding="utf-8")
    (site / "packaging").symlink_to(Path(packaging.__file__).parent)

    def make(packages):
        for name, version in packages.items():
            folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
            folder.mkdir()
            (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")

    def run(before="", **env):
        settings = {"PYTHONPATH": str(site), "COURSE_SOURCE": str(ROOT), "COURSE_NEEDS": json.dumps(DEPENDENCIES)}
        done = subprocess.run([sys.executable, "-S", "-c", f"{before}\n{start.CELL}"], env=settings | env,
                              capture_output=True, text=True, cwd=tmp_path)
        log = site / "pip.log"
        calls = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        return done, calls

    run.make = make
    return run


def test_the_cell_sets_colab_up_and_touches_neither_torch_nor_numpy_and_run_again_calls_pip_no_more(session):
    session.make(COLAB)
    done, calls = session("import google.colab")
    assert done.returncode == 0, done.stderr
    assert re.match(r"[^:\n]*\bColab: .*bitsandbytes 0\.50", done.stdout)
    assert len(calls) == 3 and calls[0] == ["install", "-q", "--no-deps", start.PACKAGE]
    asked = {re.split("[<>=]", word)[0] for call in calls[1:] for word in call if not word.startswith(("-", "/"))}
    assert asked - {"install", "uninstall"} == {"bitsandbytes", "torchao"} and not asked & KEEP
    done, again = session("import google.colab")
    assert done.returncode == 0 and again == calls


def test_the_cell_works_on_kaggle_where_nothing_of_colab_is_imported(session):
    session.make(KAGGLE)
    done, calls = session(KAGGLE_KERNEL_RUN_TYPE="Interactive")
    assert re.match(r"[^:\n]*\bKaggle: ", done.stdout) and len(calls) == 3


def test_the_cell_elsewhere_without_the_course_is_one_sentence_that_says_what_to_do(session):
    done, calls = session()
    assert done.returncode == 1 and calls == []
    assert done.stderr.count("\n") == 1 and "make lab" in done.stderr and start.PACKAGE in done.stderr


def test_the_cell_with_a_failing_pip_ends_with_one_sentence(session):
    done, _ = session("import google.colab", NO_NETWORK="1")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("pip ")


def test_the_cell_is_short_and_has_no_long_lines():
    lines = start.CELL.splitlines()
    assert len(lines) <= 12 and max(map(len, lines)) <= 120


def test_the_badge_opens_the_notebook_of_the_same_tag_as_the_cell_fetches():
    text = start.badge("05_x")
    assert f"/blob/{start.TAG}/notebooks/05_x.ipynb" in text and start.TAG in start.PACKAGE
    assert text.startswith("[![Open in Colab](https://colab.research.google.com/")


# ----------------------------------------------------------------- what the notebooks need when they run on a host


BUILD = {*(ROOT / "course_lib" / "lessons" / "builder").glob("*.py"), ROOT / "course_lib" / "cli.py"}


def _imports(path):
    """What a file imports; a room's face everything that it offers, a module of the builder what it needs to start."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body if path in BUILD else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))
    if path.name == "__init__.py" and path.parents[1] != ROOT:
        package = ".".join(path.parent.relative_to(ROOT).parts)
        yield from (f"{package}.{name}" for name in getattr(importlib.import_module(package), "__all__", ()))


def _file(name):
    """The file of a module of ours, or of the module that a face takes a name from."""
    path = ROOT / name.replace(".", "/")
    if found := next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None):
        return found
    package, _, name = name.rpartition(".")
    if not (ROOT / package.replace(".", "/") / "__init__.py").is_file():
        return None
    made = getattr(importlib.import_module(package), name)
    home = made.__name__ if inspect.ismodule(made) else getattr(made, "__module__", package)
    return _file(home) if home != package else None


def test_nothing_that_a_notebook_imports_needs_the_builders_packages():
    sources = [*(ROOT / "notebooks" / "src").glob("*.py"),
               *(ROOT / "course_lib" / "lessons" / "exercises").glob("*.py")]
    todo, modules, packages = [(name, file.name) for file in sources for name in _imports(file)], {}, {}
    assert not {_file(name) for name, _ in todo if name.startswith("course_lib")} & BUILD
    while todo:
        name, by = todo.pop()
        if not name.startswith("course_lib"):
            packages.setdefault(canonicalize_name(name.partition(".")[0]), by)
        elif (file := _file(name)) and file not in modules:
            modules[file] = by
            todo += [(inner, str(file.relative_to(ROOT))) for inner in _imports(file)]
    study = ROOT / "course_lib" / "experiments" / "study.py"
    assert study in modules and "torch" in packages  # the walk went somewhere
    assert {name: by for name, by in packages.items() if name in BUILDER - {"ipykernel"}} == {}


# ------------------------------------------------------------------------------------------------ with the real pip


def _wheel(folder, name, version, needs=()):
    """A wheel with nothing in it but its metadata."""
    stem = f"{name}-{version}"
    meta = "".join(f"Requires-Dist: {need}\n" for need in needs)
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as file:
        file.writestr(f"{stem}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{meta}")
        file.writestr(f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\n"
                                                 "Tag: py3-none-any\n")
        file.writestr(f"{stem}.dist-info/RECORD", f"{stem}.dist-info/METADATA,,\n{stem}.dist-info/WHEEL,,\n"
                                                  f"{stem}.dist-info/RECORD,,\n")


@pytest.mark.slow
@pytest.mark.parametrize("offered", [["0.50", "0.60"], ["0.60"]])
def test_the_real_pip_takes_an_older_bitsandbytes_or_gives_up_rather_than_change_torch(tmp_path, monkeypatch, offered):
    import venv

    shelf, home = tmp_path / "shelf", tmp_path / "venv"
    shelf.mkdir()
    for torch in ("2.11.0", "3.0"):
        _wheel(shelf, "torch", torch)
    for version in offered:
        _wheel(shelf, "bitsandbytes", version, [f"torch>={'2' if version == '0.50' else '3'}"])
    venv.create(home, with_pip=True)
    pip = [str(home / "bin" / "python"), "-m", "pip"]
    monkeypatch.setattr(sys, "executable", pip[0])
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)  # this machine's own constraints must not help
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    subprocess.run([*pip, "install", "-q", "torch==2.11.0"], check=True)
    monkeypatch.setattr(start, "installed", lambda: {"torch": "2.11.0"})
    monkeypatch.setattr(start, "ranges", lambda: {"torch": ">=2.10", "bitsandbytes": ">=0.50"})
    if offered == ["0.60"]:
        with pytest.raises(SetUpError, match="pip install .*Colab: "):
            start._carry_out("Colab")
    else:
        start._carry_out("Colab")
    listed = subprocess.run([*pip, "list", "--format=freeze"], check=True, capture_output=True, text=True).stdout
    assert "torch==2.11.0" in listed and ("bitsandbytes==0.50" in listed) == ("0.50" in offered)
