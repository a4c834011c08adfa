"""The first cell of every notebook, and what it does on a machine that is lent for an hour.

On Google Colab and on Kaggle (a *host*: a machine with hundreds of packages that one must not disturb) the course is
not there yet. :data:`CELL` fetches the package without its dependencies; :func:`ready` then compares what the notebooks
need with what the host has, and installs only what is missing. Everywhere else both change nothing.
"""

from __future__ import annotations

from course_lib import __version__

__all__ = ["CELL", "REPOSITORY", "TAG", "badge", "ready"]

# Set both at publication: the set-up cell fetches the package from this tag, the badge opens the notebook of this tag.
REPOSITORY = "https://github.com/known-unknowns/known-unknowns"
TAG = f"v{__version__}"
PACKAGE = f"{REPOSITORY}/archive/refs/tags/{TAG}.zip"

CELL = f"""\
# Set-up: on Colab or Kaggle it installs what is missing, once; elsewhere it changes nothing.
import os, subprocess, sys
COURSE = "{PACKAGE}"
try:
    from course_lib import start
except ModuleNotFoundError:
    if "google.colab" not in sys.modules and "KAGGLE_KERNEL_RUN_TYPE" not in os.environ:
        sys.exit(f"course_lib is missing: start with `make lab` in the course's folder, or run `pip install {{COURSE}}`")
    if subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", COURSE]).returncode:
        sys.exit("pip could not fetch the course: allow this notebook the internet, then run this cell again.")
    from course_lib import start
start.ready()
"""


def badge(name: str) -> str:
    """Markdown that opens the learner's notebook ``name`` ("05_what_does_it_know") on Colab or on Kaggle."""
    file = f"blob/{TAG}/notebooks/{name}.ipynb"
    colab = f"https://colab.research.google.com/github/{REPOSITORY.removeprefix('https://github.com/')}/{file}"
    kaggle = f"https://www.kaggle.com/kernels/welcome?src={REPOSITORY}/{file}"
    picture = "https://colab.research.google.com/assets/colab-badge.svg"
    return f"[![Open in Colab]({picture})]({colab}) or [open on Kaggle]({kaggle})"


def ready() -> None:
    """Nothing to do yet outside of a host."""
