"""A JupyterLab of our own in a real browser: open a notebook, run it, press keys, look at what is shown.

The server listens on a free port of 127.0.0.1 and has its own empty folders for notebooks, settings and kernels, so
nobody's JupyterLab is touched and nothing of it is read. Every wait is for a condition, with a limit that a busy
machine does not reach. What a learner would see is kept as a picture in ``build/browser``.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat

REPOSITORY = Path(__file__).resolve().parents[2]
PICTURES = REPOSITORY / "build" / "browser"
TOKEN = "browser-tests"
WAIT_S = 90  # for one step; a busy core makes steps slow, never this slow
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# JupyterLab asks on its first start whether it may fetch news: a dialog over the notebook, and a network call.
QUIET = {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True}


def chromium() -> str | None:
    """The path of a Chromium or Chrome on this machine, or None."""
    return next(filter(None, map(shutil.which, CHROMIUMS)), None)


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab; ``root`` is the folder whose notebooks it serves."""

    url: str
    root: Path

    def write(self, name: str, cells: Sequence[str]) -> str:
        """Store a notebook of code cells in the root and return its name.

        It names its kernel: without that, JupyterLab asks for one in a dialog.
        """
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        notebook.metadata.kernelspec = {"display_name": "Python 3", "language": "python", "name": "python3"}
        nbformat.write(notebook, self.root / name)
        return name

    def copy(self, path: Path, cells: Sequence[str] = ()) -> str:
        """Store a copy of a notebook in the root, with more code cells at its beginning, and return its name."""
        notebook = nbformat.read(path, as_version=4)
        notebook.cells[:0] = [nbformat.v4.new_code_cell(cell) for cell in cells]
        nbformat.write(notebook, self.root / path.name)
        return path.name

    def ask(self, path: str, *, method: str = "GET") -> Any:
        """The answer of the server's REST interface, from JSON; None if it is empty."""
        request = urllib.request.Request(f"{self.url}{path}", method=method,
                                         headers={"Authorization": f"token {TOKEN}"})
        with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
            return json.loads(answer.read() or b"null")

    def stop_kernels(self) -> None:
        """End all kernels, so that one test's memory is free for the next."""
        for session in self.ask("api/sessions"):
            self.ask(f"api/sessions/{session['id']}", method="DELETE")


@contextlib.contextmanager
def running_lab(folder: Path) -> Iterator[Lab]:
    """A JupyterLab whose every folder lies in ``folder``; it ends with the block, its kernels too."""
    folders = {name: folder / name for name in ("root", "config", "data", "runtime", "settings", "workspaces")}
    for path in folders.values():
        path.mkdir()
    settings = folders["settings"] / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text(json.dumps(QUIET))
    with open(folder / "lab.log", "w") as log:
        process = subprocess.Popen(_command(folders), env=_environment(folders, folder), stdout=log,
                                   stderr=subprocess.STDOUT, start_new_session=True)
    lab = None
    try:
        lab = Lab(_address(folders["runtime"], process, folder / "lab.log"), folders["root"])
        yield lab
    finally:
        if lab:
            with contextlib.suppress(OSError):
                lab.stop_kernels()
        process.terminate()
        try:
            process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            process.kill()


def _command(folders: dict[str, Path]) -> list[str]:
    return [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--expose-app-in-browser",
            "--ServerApp.ip=127.0.0.1", "--ServerApp.port=0", f"--IdentityProvider.token={TOKEN}",
            f"--ServerApp.root_dir={folders['root']}", f"--LabApp.user_settings_dir={folders['settings']}",
            f"--LabApp.workspaces_dir={folders['workspaces']}", "--LabApp.news_url=None"]


def _environment(folders: dict[str, Path], folder: Path) -> dict[str, str]:
    paths = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))
    return os.environ | {
        "JUPYTER_CONFIG_DIR": str(folders["config"]), "JUPYTER_DATA_DIR": str(folders["data"]),
        "JUPYTER_RUNTIME_DIR": str(folders["runtime"]), "IPYTHONDIR": str(folder / "ipython"), "PYTHONPATH": paths,
        "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "COURSE_PRESET": "pocket", "COURSE_BUILD": str(folder / "build"),
    }


def _address(runtime: Path, process: subprocess.Popen, log: Path) -> str:
    """Where the server listens: it chooses the port itself and writes it down when it is ready."""
    def found() -> str | None:
        if process.poll() is not None:
            raise RuntimeError(f"JupyterLab ended with {process.returncode}:\n{log.read_text()[-2000:]}")
        for path in runtime.glob("jpserver-*.json"):
            with contextlib.suppress(ValueError, OSError):  # half written, or not listening yet
                url = json.loads(path.read_text())["url"]
                urllib.request.urlopen(f"{url}api", timeout=5).close()
                return url
        return None
    return until(found, "JupyterLab to start")


def until(condition: Callable[[], Any], what: str, *, wait_s: float = WAIT_S) -> Any:
    """The first true value of ``condition``, asked ten times a second."""
    ends = time.monotonic() + wait_s
    while time.monotonic() < ends:
        if value := condition():
            return value
        time.sleep(0.1)
    raise TimeoutError(f"waited {wait_s:g} s for {what}")
