"""The site of the course: the executed lessons, the glossary, the instructor's pages, the API reference.

Two steps. :func:`gather` copies each page from where it is written; :func:`build` lets Sphinx with MyST-NB make HTML
of it, which needs no network, neither to build nor to read, and checks links (Sphinx and its ``linkcheck``), pictures
and headings (:mod:`tools.site.check`). Lessons are shown as they are stored; no cell runs.

Run by ``make site``, which is ``python -m tools.site.build``; with ``--links``, links that lead out are tried as well.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import util
from pathlib import Path

from course_lib.files import CourseError, write_text
from course_lib.lessons.builder import notebooks
from tools.site import api
from tools.site.check import site_faults
from tools.site.pages import lesson_notes

__all__ = ["NEEDED", "build", "gather", "main"]

ROOT, HERE = Path(__file__).parents[2], Path(__file__).parent
NEEDED = ("sphinx", "myst_nb", "furo")
GATHERED = ("notebooks/*.ipynb", "docs/*.md", "docs/*.png", "docs/instructor/*.md")
SHOWN_FAULTS = 20


def gather(source: Path, *, root: Path = ROOT) -> None:
    """Make ``source`` hold the pages, with the paths and times of their files, and the start of the API reference.

    Raises:
        CourseError: something that the site shows is missing or malformed; the message names the file.
    """
    import jinja2

    shutil.rmtree(source, ignore_errors=True)
    for pattern in GATHERED:
        if not (paths := list(root.glob(pattern))):
            raise CourseError(f"{root}: no {pattern}; fetch the repository again, or run `make notebooks`")
        for path in paths:
            copy = source / path.relative_to(root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copy)
    start = [path.read_text(encoding="utf-8") for path in (root / "README.md", HERE / "index.md")]
    write_text(source / "index.md", "\n".join(start))
    lessons = {path.stem: notebooks.read_source(path) for path in notebooks.source_paths(root=root)}
    write_text(source / "docs" / "instructor" / "lessons.md", lesson_notes(lessons))
    template = (HERE / "templates" / "autosummary" / "module.rst").read_text(encoding="utf-8")
    reference = jinja2.Template(template).render(fullname="course_lib", **api.context())
    write_text(source / "api" / "index.rst", reference)


def build(*, links: bool = False, echo: Callable[[str], None] = print) -> Path:
    """Build the site into ``site`` of the build folder, and check it; returns the path of its first page.

    Raises:
        CourseError: Sphinx or its helpers are not installed, Sphinx found a fault, or the checker did.
    """
    if lacking := [name for name in NEEDED if util.find_spec(name) is None]:
        raise CourseError(f"{', '.join(lacking)}: not installed; run `make site`, or `pip install -e '.[site]'`")
    folder = notebooks.build_folder(ROOT)
    gather(folder / "site-source")
    run_sphinx(folder, links=links)
    if found := site_faults(folder / "site"):
        raise CourseError("\n".join([f"{len(found)} faults, first of all:", *found[:SHOWN_FAULTS]]))
    first = folder / "site" / "index.html"
    pages = len(list(first.parent.rglob("*.html")))
    echo(f"Done: {pages} pages, every link, picture and heading checked. Open {first}")
    return first


def run_sphinx(folder: Path, *, links: bool = False) -> None:
    """Make ``site`` of ``site-source``, both in ``folder``, and try the links; with ``links`` those that lead out too.

    Raises:
        CourseError: Sphinx found a fault, which it prints.
    """
    shutil.rmtree(folder / "site", ignore_errors=True)  # of pages that are gone
    for builder, out in (("html", "site"), ("linkcheck", "site-links")):
        command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", builder, "-c", str(HERE), "-d",
                   str(folder / "site-doctrees"), *([] if links else ["-D", "linkcheck_ignore=^https?:"]),
                   str(folder / "site-source"), str(folder / out)]
        quiet = os.environ | {"PYDEVD_DISABLE_FILE_VALIDATION": "1"}
        if subprocess.run(command, cwd=ROOT, env=quiet, check=False).returncode:
            raise CourseError("Sphinx found the faults above; mend them where they are written, and try again")


def main() -> int:
    """Build the site of this clone; what goes wrong is said without a traceback."""
    try:
        build(links="--links" in sys.argv[1:])
    except CourseError as error:
        print(f"course: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
