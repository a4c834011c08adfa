"""Run one notebook headless with *this* Python, and leave nothing of this machine in its outputs.

Jupyter would start whichever interpreter is registered under the name ``python3``, often one that lacks the course's
packages; here the kernel is always ``sys.executable``. Afterwards the outputs are cleaned: no widget views (their
state is not stored), no half-drawn progress bars, no folders, addresses or process numbers of the machine.
"""

from __future__ import annotations

import asyncio
import math
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_lib.figures.widgets.display import WIDGET, WIDGET_NOTE
from course_lib.files import CourseError
from course_lib.text import one_line

if TYPE_CHECKING:
    from nbformat import NotebookNode

__all__ = ["At", "NotebookError", "OnCell", "clean", "execute", "kernel_manager"]


@dataclass(frozen=True, slots=True)
class At:
    """The place that a running notebook has reached: cells done, cells in all, and the heading of the present one."""

    done: int
    total: int
    heading: str


OnCell = Callable[[At], None]
"""Called before each cell."""

# A bar that redraws itself is of no use in a stored notebook, and pydevd warns in every kernel of Python 3.11.
QUIET = {"TQDM_DISABLE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}


class NotebookError(CourseError):
    """A notebook that is missing, stale, incomplete or stopped at a cell."""


def execute(notebook: NotebookNode, *, cwd: str | Path, timeout: float = 1200, on_cell: OnCell | None = None,
            env: Mapping[str, str] | None = None) -> NotebookNode:
    """Run all cells, in place, with this Python; ``timeout`` is in seconds for one cell.

    ``env`` adds to the environment of the kernel, whose working directory is ``cwd``.

    Raises:
        NotebookError: a cell failed or took too long; the cells before it keep their outputs.
    """
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    cwd, at = Path(cwd).resolve(), 0

    def before(cell: NotebookNode, cell_index: int) -> None:
        nonlocal at
        at = cell_index
        if on_cell:
            on_cell(At(cell_index, len(notebook.cells), _heading(notebook, cell_index)))

    # without the state of widgets nbclient stops at an Output widget; clean() drops it
    client = NotebookClient(notebook, timeout=timeout, kernel_manager_class=kernel_manager(), record_timing=False,
                            resources={"metadata": {"path": str(cwd)}}, store_widget_state=True, coalesce_streams=True,
                            on_cell_start=before)
    try:
        _run(client.async_execute(env=_environment(env or {})))
    except CellExecutionError as error:
        raise NotebookError(_failure(notebook, at, f"{error.ename}: {_first_line(error.evalue)}")) from None
    except CellTimeoutError:
        raise NotebookError(_failure(notebook, at, f"took longer than {timeout:g} s")) from None
    except DeadKernelError:
        raise NotebookError(_failure(notebook, at, "the Python process died, perhaps for lack of memory")) from None
    except RuntimeError as error:
        raise NotebookError(f"the notebook's Python did not start ({error}); run `course doctor`") from None
    finally:
        clean(notebook, {str(cwd.parent): ".", sys.prefix: "<python>", str(Path.home()): "~"})
    return notebook


def clean(notebook: NotebookNode, names: Mapping[str, str]) -> None:
    """Take out of the outputs, in place, what belongs to one machine or one moment.

    ``names`` maps folders to what stands for them in text; the longest folder is replaced first.
    """
    notebook.metadata.pop("widgets", None)
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if not _is_progress_bar(output)]
        for output in cell.get("outputs", []):
            if output.output_type == "stream":
                output.text = _clean_text(output.text, names)
            elif output.output_type == "error":
                output.traceback = [_clean_text(line, names) for line in output.traceback]
            else:
                _clean_data(output.data, names)


def _is_progress_bar(output: NotebookNode) -> bool:
    """A bar of tqdm, drawn as a widget: its text is " 40%|####   | ..."."""
    data = output.get("data", {})
    return WIDGET in data and bool(re.search(r"\d%\|", data.get("text/plain", "")))


def _clean_data(data: dict[str, Any], names: Mapping[str, str]) -> None:
    if data.pop(WIDGET, None) is not None:
        data["text/plain"] = WIDGET_NOTE
    for kind in ("text/plain", "text/html", "text/markdown"):
        if kind in data:
            data[kind] = _clean_text(data[kind], names)


def _clean_text(text: str, names: Mapping[str, str]) -> str:
    for folder in sorted(names, key=len, reverse=True):
        if len(folder) > 1:  # a home of "/" would match every path
            text = text.replace(folder, names[folder])
    text = re.sub(r"\S*ipykernel_\d+/\d+\.py", "<cell>", text)
    text = re.sub(r" at 0x[0-9a-fA-F]+", "", text)
    # A carriage return draws a line anew: only the last drawing counts.
    return re.sub(r"[^\n]*\r(?!\n)", "", text)


def _failure(notebook: NotebookNode, at: int, reason: str) -> str:
    name = notebook.metadata.get("known_unknowns", {}).get("name", "notebook")
    line = _first_line(notebook.cells[at].source)
    return f"{name}, cell {at + 1} `{line}`: {reason}; run the notebook with `course lab` to see where it comes from"


def _first_line(text: str) -> str:
    return one_line(text.strip().partition("\n")[0], longest=200)


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    """This process's environment, quieted, with this very copy of the package first on the path."""
    package = str(Path(__file__).resolve().parents[3])
    path = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, **QUIET, "PYTHONPATH": path, **extra}


def _run(execution: Coroutine[Any, Any, Any]) -> None:
    """Wait for an execution in a thread of its own, where nbclient cannot put its signal handlers over Python's.

    Raises:
        KeyboardInterrupt: Ctrl-C; the kernel has been ended.
    """
    stop, running = threading.Event(), []

    async def cancellable() -> None:
        running.append((asyncio.get_running_loop(), asyncio.current_task()))
        if not stop.is_set():
            await execution

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(asyncio.run, cancellable())
        try:
            while not done.done():
                wait([done], timeout=1)  # Windows hears Ctrl-C only between two waits
        except KeyboardInterrupt:
            stop.set()
            for loop, task in running:
                with suppress(RuntimeError):  # the loop has just been closed
                    loop.call_soon_threadsafe(task.cancel)
            raise
    done.result()


def _heading(notebook: NotebookNode, at: int) -> str:
    """The last heading of the notebook's text up to the cell ``at``."""
    text = "\n".join(cell.source for cell in notebook.cells[:at + 1] if cell.cell_type == "markdown")
    headings = re.findall(r"^#+ +(.+)$", text, flags=re.MULTILINE)
    return headings[-1].strip() if headings else ""


def kernel_manager() -> type:
    """A kernel manager for nbclient that knows one kernel, this interpreter, and hears all of its replies."""
    from jupyter_client import AsyncKernelClient, AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpec
    from traitlets import Type

    # What goes wrong in a cell comes back with its outputs; the kernel's own log would only break up ours.
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=50"]

    class Client(AsyncKernelClient):
        shell_channel_class = Type(_patient_channel())

    class ThisPython(AsyncKernelManager):
        client_factory = Type(default_value=Client, klass=AsyncKernelClient)

        @property
        def kernel_spec(self) -> KernelSpec:
            return KernelSpec(argv=argv, display_name="Python 3", language="python")

    return ThisPython


def _patient_channel() -> type:
    """A channel that looks for a message again every second, whether or not one was announced.

    nbclient answers an Output widget on the channel on which it waits for the reply to a cell. A message that arrives
    while it sends is then not announced, and a wait without an end never ends (nbclient issue 312).
    """
    from queue import Empty

    from jupyter_client import AsyncKernelClient

    # the class that this jupyter_client uses itself: its name is not the same in 7 (Colab) and 8
    class Patient(AsyncKernelClient.shell_channel_class.default_value):
        async def get_msg(self, timeout: float | None = None) -> dict[str, Any]:
            """Wait for a message; ``timeout`` in seconds, None for ever."""
            end = math.inf if timeout is None else time.monotonic() + timeout
            while True:
                try:
                    return await super().get_msg(min(1.0, max(0.0, end - time.monotonic())))
                except Empty:
                    if time.monotonic() >= end:
                        raise

    return Patient
