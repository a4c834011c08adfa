"""Projector mode: figures and JupyterLab's text are larger when it is asked for, and the user's settings stay."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress

import matplotlib
import pytest
from typer.testing import CliRunner

from course_lib import cli, projector, start


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


def test_lab_gets_its_settings_beside_those_that_are_there(monkeypatch, tmp_path):
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", "/mine")
    given = projector.enlarge_lab(tmp_path)
    assert given == {"COURSE_PROJECTOR": "1", "JUPYTER_CONFIG_PATH": f"{tmp_path}{os.pathsep}/mine"}


@pytest.fixture
def opened(monkeypatch):
    """The command and the environment of the JupyterLab that `course lab` would have started."""
    calls = []

    class Process:
        returncode = 0

        def __init__(self, words, env):
            calls.append((words[1:], env))

        def poll(self):
            return 0

    monkeypatch.setattr(cli.subprocess, "Popen", Process)
    return calls


def test_course_lab_projector_passes_it_on(opened, tmp_path):
    CliRunner().invoke(cli.app, ["lab", "--projector", "--build", str(tmp_path)])
    (words, env), = opened
    assert words[:2] == ["-m", "jupyterlab"] and env["COURSE_PROJECTOR"] == "1"
    settings = json.loads((tmp_path / "projector/labconfig/default_setting_overrides.json").read_text())
    assert settings == projector.JUPYTERLAB and env["JUPYTER_CONFIG_PATH"].startswith(f"{tmp_path}/projector")


def test_course_lab_without_it_leaves_all_as_it_is(opened, tmp_path, monkeypatch):
    monkeypatch.delenv("COURSE_PROJECTOR", raising=False)
    monkeypatch.delenv("JUPYTER_CONFIG_PATH", raising=False)
    CliRunner().invoke(cli.app, ["lab", "--build", str(tmp_path)])
    assert not {"COURSE_PROJECTOR", "JUPYTER_CONFIG_PATH"} & set(opened[0][1])


def test_course_lab_opens_another_folder_with_its_results_in_it(opened, tmp_path, monkeypatch):
    monkeypatch.delenv("COURSE_BUILD", raising=False)
    CliRunner().invoke(cli.app, ["lab", str(tmp_path)])
    (words, env), = opened
    assert words[-1] == str(tmp_path) and env["COURSE_BUILD"] == str(tmp_path / "build")


def test_course_lab_in_a_missing_folder_is_one_line(tmp_path):
    result = CliRunner().invoke(cli.app, ["lab", str(tmp_path / "nowhere")])
    assert result.exit_code == 1 and "nowhere: no such folder" in result.stderr


@pytest.mark.slow
def test_a_real_jupyterlab_has_the_larger_text(tmp_path):
    pytest.importorskip("jupyterlab")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {**os.environ, **projector.enlarge_lab(tmp_path / "settings"), "JUPYTER_CONFIG_DIR": str(tmp_path / "mine")}
    words = ["-m", "jupyterlab", "--no-browser", f"--port={port}", "--IdentityProvider.token=t", "--allow-root"]
    server = subprocess.Popen([sys.executable, *words, str(tmp_path)], env=env, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}/lab/api/settings/@jupyterlab/apputils-extension:themes?token=t"
        found = None
        until = time.monotonic() + 60
        while found is None and time.monotonic() < until:
            with suppress(OSError):
                found = json.load(urllib.request.urlopen(url, timeout=20))
            time.sleep(0.3)
        assert found["schema"]["properties"]["overrides"]["default"]["code-font-size"] == "18px"
    finally:
        server.terminate()
        server.wait(20)
