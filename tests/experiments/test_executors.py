"""Processes that are started for a sweep: Ctrl-C is answered by their parent alone, and an orphan says nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import multiprocessing, os, signal, time
from course_lib.experiments.executors import _starting

def fail_as_an_orphan(parent):
    while {orphan} and os.getppid() == parent:
        time.sleep(0.01)
    raise SystemExit(0) if not {orphan} else ValueError("a pipe was cut")

if __name__ == "__main__":
    child = multiprocessing.get_context("spawn").Process(target=fail_as_an_orphan, args=(os.getpid(),))
    try:
        with _starting():
            child.start()
            {strike}
            print("started", flush=True)
    except KeyboardInterrupt:
        child.join()
        print("heard", child.exitcode)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows knows neither process groups nor a mask of signals")
@pytest.mark.parametrize(("strike", "orphan", "printed"), [
    ("os.killpg(0, signal.SIGINT)", False, ["started", "heard 0"]),  # what a terminal does, while the child boots
    ("os.kill(os.getpid(), signal.SIGKILL)", True, []),
])
def test_a_strike_while_a_worker_starts_leaves_no_traceback(tmp_path: Path, strike: str, orphan: bool,
                                                            printed: list[str]) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(strike=strike, orphan=orphan))
    done = subprocess.run([sys.executable, script], start_new_session=True, capture_output=True, text=True, timeout=60,
                          env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])})
    assert (done.stdout.splitlines(), done.stderr) == (printed, "")
