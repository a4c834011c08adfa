"""Notebooks are built, not edited: ``notebooks/src/05_x.py`` is the source, ``notebooks/05_x.ipynb`` the result.

A source is jupytext's percent format. Building gives each cell an id made of the notebook's number and the cell's
(``05-012``), makes the learner's or the instructor's edition of it (:mod:`.editions`), executes all cells in
order, and stores the outputs. Beside them stands the source's SHA-256, so that a stale notebook is found without
running anything. The solutions of the exercises are collected for the package by the same command.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from course_lib import limits
from course_lib.files import read_json, repository, write_json, write_text
from course_lib.lessons import exercises
from course_lib.lessons.builder import editions, report
from course_lib.lessons.builder.execution import At, NotebookError, OnCell, execute
from course_lib.lessons.quizzes import FOLDER
from course_lib.text import short

if TYPE_CHECKING:
    from nbformat import NotebookNode

__all__ = ["NotebookError", "build", "build_folder", "execute", "find_root", "problems",
           "read_source", "run_all", "solutions", "source_paths"]

KEY = "known_unknowns"
TITLE = "Known Unknowns: the course, run from start to end"
# Stored outputs are always the pocket model's: anyone can make them again on a CPU.
STORED_PRESET = "pocket"
PAUSE = 30.0  # seconds between two lines about a notebook that runs, where they go to a file


def _print(line: str) -> None:
    print(line, flush=True)  # in a pipe, too, a line appears when its notebook is done


def find_root(start: str | Path | None = None) -> Path:
    """The folder that holds ``notebooks/src``: ``start`` (default: here), one above it, or this package's clone."""
    here = Path(start or Path.cwd()).resolve()
    if found := repository(here) or repository(Path(__file__).parent):
        return found
    raise NotebookError(f"{here}: no notebooks/src here or above; change into a clone of the repository and try again")


def source_paths(names: Sequence[str] | None = None, *, root: str | Path | None = None) -> list[Path]:
    """The sources in course order; a name is a notebook's name or the beginning of it, such as ``05``."""
    folder = Path(root or find_root()) / "notebooks" / "src"
    paths = sorted(folder.glob("*.py"))
    if not paths:
        raise NotebookError(f"{folder}: no notebook sources (*.py); fetch the repository again")
    wanted = [Path(name).name.removesuffix(".py").removesuffix(".ipynb") for name in names or [""]]
    for given, name in zip(names or (), wanted, strict=False):
        if not name or not any(path.stem.startswith(name) for path in paths):
            raise NotebookError(f"{short(str(given))[1:-1]}: no such notebook; choose from "
                                f"{', '.join(path.stem for path in paths)}")
    return [path for path in paths if path.stem.startswith(tuple(wanted))]


def read_source(path: str | Path) -> NotebookNode:
    """Parse one source into a notebook without outputs; the same text always gives the same notebook."""
    import jupytext

    path = Path(path)
    text = path.read_text(encoding="utf-8")
    try:
        notebook = jupytext.reads(text, fmt="py:percent")
    except Exception as error:  # YAML, JSON, schema: whatever the parser stumbles over, the cure is the same
        reason = str(error).strip().partition("\n")[0]
        raise NotebookError(f"{path}: not a notebook source ({reason}); correct its header or cell marks") from None
    number = re.match(r"\d+", path.stem)
    prefix = number.group() if number else re.sub(r"[^A-Za-z0-9-]", "-", path.stem)[:50]
    for place, cell in enumerate(notebook.cells, start=1):
        cell.id = f"{prefix}-{place:03d}"
    notebook.metadata.clear()
    notebook.metadata.update(kernelspec={"display_name": "Python 3", "language": "python", "name": "python3"},
                             language_info={"name": "python"})
    quiz = FOLDER / f"{prefix}.json"  # its questions stand in the outputs
    asked = quiz.read_text(encoding="utf-8") if quiz.is_file() else ""
    notebook.metadata[KEY] = {"name": path.stem, "source_sha256": hashlib.sha256((text + asked).encode()).hexdigest()}
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def problems(notebook: NotebookNode) -> list[str]:
    """List what a reader without sight would miss: figures without a sentence, images without alternative text."""
    found = [f"cell {figure.cell} shows a figure without a sentence; print what the figure shows"
             for figure in report.figures(notebook) if not figure.caption]
    for number, cell in enumerate(notebook.cells, start=1):
        if cell.cell_type != "markdown":
            continue
        tags = re.findall(r"<img\b[^>]*>", cell.source)
        if re.search(r"!\[\s*\]\(", cell.source) or not all(re.search(r'\balt="[^"]+"', tag) for tag in tags):
            found.append(f"cell {number} has an image without alternative text; write it between the brackets")
    return found


def build(names: Sequence[str] | None = None, *, check: bool = False, instructor: bool = False,
          root: str | Path | None = None, timeout: float = 1200, echo: Callable[[str], None] = _print) -> list[Path]:
    """Execute the sources on the pocket preset and store the notebooks; with ``check``, only look for stale ones.

    The learner's edition goes to ``notebooks``; ``instructor`` makes the other one, in ``build/instructor``, which is
    not part of the repository. Returns the notebooks that were written, or found to be fresh.

    Raises:
        NotebookError: a cell failed; or, with ``check``, some stored notebook is stale: the message names them all.
    """
    root = Path(root) if root else find_root()
    paths = source_paths(names, root=root)
    if check:
        return _check(paths, root=root, orphans=not names)
    if root == find_root():
        write_json(exercises.SOLUTIONS, solutions(root))
    env = {"COURSE_BUILD": str(build_folder(root)), "COURSE_PRESET": STORED_PRESET}
    edition, built = editions.instructor if instructor else editions.learner, []
    for path in paths:
        started, notebook = time.monotonic(), edition(read_source(path))
        execute(notebook, cwd=root / "notebooks", timeout=timeout, on_cell=_live(path.stem), env=env)
        report.describe(notebook)
        if found := problems(notebook):
            raise NotebookError(f"{path.stem}: {'; '.join(found)}")
        folder = root / "build" / "instructor" if instructor else root / "notebooks"
        built.append(_write(notebook, folder / f"{path.stem}.ipynb"))
        echo(f"{path.stem} ... {time.monotonic() - started:.0f} s")
    return built


def solutions(root: Path) -> dict[str, dict[str, str | int]]:
    """Title, difficulty, minutes and solution of every exercise in the sources, by number; the package keeps them."""
    return {one.id: {"title": one.title, "difficulty": one.difficulty, "minutes": one.minutes,
                     "solution": editions.filled(one.code)}
            for path in source_paths(root=root) for one in editions.exercises(read_source(path))}


def run_all(names: Sequence[str] | None = None, *, preset: str | None = None, build_dir: str | Path | None = None,
            root: str | Path | None = None, timeout: float = 7200, echo: Callable[[str], None] = _print) -> Path:
    """Execute all or the named notebooks in course order; write copies and ``report.html`` into the build folder.

    The notebooks find the preset in ``COURSE_PRESET`` and the folder in ``COURSE_BUILD``. The report is written
    anew after each notebook, so that a run that stops leaves what it had. Returns the path of the report.

    Raises:
        NotebookError: a cell failed; the copy of that notebook holds what was executed, and the traceback.
    """
    root = Path(root) if root else find_root()
    folder = build_folder(root, build_dir)
    preset = preset or os.environ.get("COURSE_PRESET") or STORED_PRESET
    env = {"COURSE_BUILD": str(folder), "COURSE_PRESET": preset}
    page, chapters = folder / "report.html", []
    for path in source_paths(names, root=root):
        chapter = _run(path, cwd=root / "notebooks", folder=folder, timeout=timeout, env=env)
        chapters.append(chapter)
        write_text(page, report.render(chapters, heading=TITLE, preset=preset))
        if chapter.error:
            raise NotebookError(f"{chapter.error}; the executed part is in {folder / chapter.link}")
        echo(f"{path.stem} ... {chapter.elapsed_s:.0f} s")
    echo(f"Done. Open {page} to see every figure; the executed notebooks are in {folder / 'notebooks'}.")
    return page


def _run(path: Path, *, cwd: Path, folder: Path, timeout: float, env: dict[str, str]) -> report.Chapter:
    """Execute the learner's edition, write its copy, and keep its figures, whether or not it came to its end."""
    started, notebook, error = time.monotonic(), editions.learner(read_source(path)), None
    notebook.metadata[KEY]["preset"] = env["COURSE_PRESET"]
    try:
        execute(notebook, cwd=cwd, timeout=timeout, on_cell=_live(path.stem), env=env)
        report.describe(notebook)
    except NotebookError as failure:
        error = str(failure)
    _write(notebook, folder / "notebooks" / f"{path.stem}.ipynb")
    return report.Chapter(title=report.title(notebook) or path.stem, link=f"notebooks/{path.stem}.ipynb", error=error,
                          elapsed_s=time.monotonic() - started, figures=report.figures(notebook))


def _check(paths: Sequence[Path], *, root: Path, orphans: bool) -> list[Path]:
    stale = {path.stem: reason for path in paths if (reason := _stale(path, _stored(path, root)))}
    if orphans:
        sources = {path.stem for path in paths}
        extra = (path.stem for path in sorted((root / "notebooks").glob("*.ipynb")) if path.stem not in sources)
        stale.update((name, "has no source in notebooks/src") for name in extra)
    if root == find_root() and (not exercises.SOLUTIONS.is_file() or read_json(exercises.SOLUTIONS) != solutions(root)):
        stale[exercises.SOLUTIONS.name] = "older than the sources"
    if stale:
        listed = ", ".join(f"{name} ({reason})" for name, reason in stale.items())
        raise NotebookError(f"stale notebooks: {listed}; run `make notebooks` and commit the result")
    return [_stored(path, root) for path in paths]


def _stale(source: Path, stored: Path) -> str | None:
    """The reason why a stored notebook may not stand for its source, or ``None`` when it may."""
    import nbformat

    if not stored.is_file():
        return "not built yet"
    try:
        old, new = nbformat.read(stored, as_version=4), editions.learner(read_source(source))
        nbformat.validate(old)
    except (ValueError, nbformat.ValidationError):
        return "not a valid notebook"
    cells, sources = ([(cell.id, cell.cell_type, cell.source) for cell in one.cells] for one in (old, new))
    if cells != sources or old.metadata.get(KEY) != new.metadata[KEY]:
        return "older than its source"
    if any(cell.cell_type == "code" and cell.source.strip() and not cell.execution_count for cell in old.cells):
        return "not executed"
    return next(iter(problems(old)), None)


def _stored(source: Path, root: Path) -> Path:
    return root / "notebooks" / f"{source.stem}.ipynb"


def build_folder(root: Path | None = None, folder: str | Path | None = None) -> Path:
    """The given folder, else that of ``COURSE_BUILD``, else ``build`` in the repository; absolute, for the kernel.

    Raises:
        CourseError: it cannot be one, or not be written to; the message names where it comes from.
    """
    place = "build" if folder else "COURSE_BUILD"
    wanted = folder or os.environ.get("COURSE_BUILD") or (root or find_root()) / "build"
    return limits.folder(wanted, place, write=True).resolve()


def _write(notebook: NotebookNode, path: Path) -> Path:
    import nbformat

    return write_text(path, nbformat.writes(notebook).rstrip("\n") + "\n")


def _live(name: str) -> OnCell:
    """Show where a notebook is: on one line that redraws itself, or as a line every half minute in a file."""
    terminal, printed = sys.stdout.isatty(), time.monotonic()

    def show(at: At) -> None:
        nonlocal printed
        line = f"{name} ... {at.done} of {at.total} cells done: {at.heading}"
        if terminal:
            width = shutil.get_terminal_size().columns
            print(f"\r{line[:width - 1]}\033[K", end="\r" if at.done + 1 < at.total else "\r\033[K", flush=True)
        elif time.monotonic() - printed > PAUSE:
            printed = time.monotonic()
            _print(line)

    return show
