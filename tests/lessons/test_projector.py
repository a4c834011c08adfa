"""Projector mode: figures and JupyterLab's text are larger when it is asked for, and the user's settings stay."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress

import matplotlib
import pytest
from typer.testing import CliRunner

from course_lib import cli
from course_lib.lessons import projector, start


@pytest.fixture
def rc():
    with matplotlib.rc_context():
        matplotlib.rcParams.update({"figure.dpi": 100, "font.size": 10})
        yield matplotlib.rcParams


@pytest.mark.parametrize(("value", "dpi", "size"), [("1", 150, 12), ("", 100, 10), ("0", 100, 10)])
def test_the_set_up_cell_turns_it_on_by_its_variable(monkeypatch, rc, value, dpi, size):
    monkeypatch.setenv("COURSE_PROJECTOR", value)
    start.ready()
    assert (rc["figure.dpi"], rc["font.size"]) == (dpi, size)


def test_a_figure_gets_half_as_many_pixels_again_and_larger_type(rc):
    from matplotlib.figure import Figure

    def drawn():
        figure = Figure(figsize=(6.4, 4.0))
        label = figure.subplots().set_xlabel("epoch")
        return figure.get_size_inches()[0] * figure.dpi, label.get_fontsize() * figure.dpi

    width, type_size = drawn()
    projector.enlarge_figures()
    assert drawn() == (pytest.approx(1.5 * width), pytest.approx(1.8 * type_size))


THEME = "@jupyterlab/apputils-extension/themes.jupyterlab-settings"


def test_lab_gets_a_copy_of_the_users_settings_with_larger_text(monkeypatch, tmp_path):
    own = tmp_path / "own" / THEME
    own.parent.mkdir(parents=True)
    own.write_text('{"theme": "JupyterLab Dark", // at night\n "overrides": {"ui-font-size1": "9px", "x": "y"}}')
    (tmp_path / "own" / "keys").write_text("mine")
    before = own.read_text()
    monkeypatch.setenv("JUPYTERLAB_SETTINGS_DIR", str(tmp_path / "own"))
    given = projector.enlarge_lab(tmp_path / "projector")
    copy = tmp_path / "projector" / "user-settings"
    assert given == {"COURSE_PROJECTOR": "1", "JUPYTERLAB_SETTINGS_DIR": str(copy)}
    assert json.loads((copy / THEME).read_text()) == {
        "theme": "JupyterLab Dark", "overrides": {"x": "y", **projector.JUPYTERLAB}}
    assert (copy / "keys").read_text() == "mine" and own.read_text() == before


def test_lab_in_projector_mode_may_start_another_one(monkeypatch, tmp_path):
    monkeypatch.setenv("JUPYTERLAB_SETTINGS_DIR", str(tmp_path / "none"))
    first = projector.enlarge_lab(tmp_path)
    monkeypatch.setenv("JUPYTERLAB_SETTINGS_DIR", first["JUPYTERLAB_SETTINGS_DIR"])
    assert projector.enlarge_lab(tmp_path) == first and (tmp_path / "user-settings" / THEME).is_file()


@pytest.fixture
def started(monkeypatch):
    """The command and the environment of the JupyterLab that `course lab` would have started."""
    calls = []

    class Process:
        returncode = 0

        def __init__(self, words, env):
            calls.append((words[1:], env))

        def poll(self):
            return 0

    for name in ("COURSE_BUILD", "COURSE_PROJECTOR", "JUPYTERLAB_SETTINGS_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cli.subprocess, "Popen", Process)
    return calls


def test_course_lab_projector_passes_it_on(started, tmp_path):
    CliRunner().invoke(cli.app, ["lab", "--projector", "--build", str(tmp_path)])
    (words, env), = started
    assert words[:2] == ["-m", "jupyterlab"] and env["COURSE_PROJECTOR"] == "1"
    assert env["JUPYTERLAB_SETTINGS_DIR"] == str(tmp_path / "projector" / "user-settings")


def test_course_lab_opens_another_folder_with_its_results_in_it_and_without_projector_mode(started, tmp_path):
    CliRunner().invoke(cli.app, ["lab", str(tmp_path)])
    (words, env), = started
    assert words[-1] == str(tmp_path) and env["COURSE_BUILD"] == str(tmp_path / "build")
    assert not {"COURSE_PROJECTOR", "JUPYTERLAB_SETTINGS_DIR"} & set(env)


def test_course_lab_in_a_missing_folder_is_one_line(tmp_path):
    result = CliRunner().invoke(cli.app, ["lab", str(tmp_path / "nowhere")])
    assert result.exit_code == 1 and "nowhere: " in result.stderr


@pytest.mark.browser
def test_a_real_jupyterlab_shows_the_larger_text(tmp_path):
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install -e '.[browser]'")
    pytest.importorskip("jupyterlab")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("needs Chromium or Chrome: apt-get install chromium")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folders = {"JUPYTER_CONFIG_DIR": str(tmp_path / "mine"), "JUPYTERLAB_WORKSPACES_DIR": str(tmp_path / "spaces")}
    words = ["-m", "jupyterlab", "--no-browser", f"--port={port}", "--IdentityProvider.token=t", "--allow-root"]
    server = subprocess.Popen([sys.executable, *words, str(tmp_path)], stderr=subprocess.DEVNULL,
                              env={**os.environ, **folders, **projector.enlarge_lab(tmp_path / "settings")})
    try:
        until = time.monotonic() + 90
        while time.monotonic() < until:
            with suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api/status?token=t", timeout=20).close()
                break
            time.sleep(0.3)
        with sync_api.sync_playwright() as playwright:
            page = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"]).new_page()
            page.goto(f"http://127.0.0.1:{port}/lab?token=t")
            page.wait_for_function("getComputedStyle(document.body).getPropertyValue('--jp-content-font-size1')"
                                   ".trim() === '20px'", timeout=90_000)
    finally:
        server.terminate()
        server.wait(20)
