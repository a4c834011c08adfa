"""A JupyterLab of our own in a real browser: open a notebook, run it, press keys, look at what is shown.

The server listens on a free port of 127.0.0.1 and has its own empty folders for notebooks, settings and kernels, so
nobody's JupyterLab is touched and nothing of it is read. Every wait is for a condition, with a limit that a busy
machine does not reach. What a learner would see is kept as a picture in ``build/browser``.
"""

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
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}  # or JupyterLab asks in a dialog


def chromium() -> str | None:
    """The path of a Chromium or Chrome on this machine, or None."""
    return next(filter(None, map(shutil.which, CHROMIUMS)), None)


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab; ``root`` is the folder whose notebooks it serves."""

    url: str
    root: Path

    def write(self, name: str, cells: Sequence[str], path: Path | None = None) -> str:
        """Store a notebook of code cells in the root, with a copy of the one at ``path`` behind them; its name."""
        notebook = nbformat.read(path, 4) if path else nbformat.v4.new_notebook(metadata={"kernelspec": KERNEL})
        notebook.cells[:0] = [nbformat.v4.new_code_cell(cell) for cell in cells]
        nbformat.write(notebook, self.root / name)
        return name

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
    settings = folder / "config" / "lab" / "user-settings" / "@jupyterlab" / "apputils-extension"
    for path in (settings, folder / "root"):
        path.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text(json.dumps(QUIET))
    own = {f"JUPYTER_{name}_DIR": str(folder / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    environment = os.environ | own | {
        "IPYTHONDIR": str(folder / "ipython"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "COURSE_PRESET": "pocket",
        "COURSE_BUILD": str(folder / "build"),
        "PYTHONPATH": os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))}
    words = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--expose-app-in-browser",
             "--ServerApp.ip=127.0.0.1", "--ServerApp.port=0", f"--IdentityProvider.token={TOKEN}",
             f"--ServerApp.root_dir={folder / 'root'}", "--LabApp.news_url=None"]
    with open(folder / "lab.log", "w") as log:
        process = subprocess.Popen(words, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        yield Lab(_address(folder, process), folder / "root")
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(WAIT_S)
        process.kill()


def _address(folder: Path, process: subprocess.Popen) -> str:
    """Where the server listens: it chooses the port itself and writes it down when it is ready."""
    def found() -> str | None:
        if process.poll() is not None:
            told = (folder / "lab.log").read_text()[-2000:]
            raise RuntimeError(f"JupyterLab ended with {process.returncode}:\n{told}")
        for path in folder.glob("runtime/jpserver-*.json"):
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
