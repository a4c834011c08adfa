"""The site of the course: the executed lessons, the glossary, the instructor's pages, the API reference.

Two steps. :func:`pages` gathers the site's source from where each thing is written, so that nothing is copied by hand;
:func:`build` lets Sphinx with MyST-NB make HTML of it, which needs no network, neither to build nor to read, and checks
every link, picture and heading of the result (:mod:`.site_check`). Lessons are shown as they are stored; no
cell runs.

Run by ``make site``, which is ``python -m course_lib.site``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib import util
from pathlib import Path

from course_lib.files import CourseError, write_bytes
from course_lib.lessons.builder import notebooks
from course_lib.site_api import api_pages, mapped_modules
from course_lib.site_check import site_faults
from course_lib.site_pages import lesson_notes, readme_start, relink

__all__ = ["NEEDED", "SiteError", "build", "main", "pages"]

NEEDED = ("sphinx", "myst_nb", "furo")
SHOWN_FAULTS = 20
SETUP_ENDS = "-setup"  # the id of a notebook's set-up cell (course_lib.lessons.builder.editions)


class SiteError(CourseError):
    """The site cannot be built, or what was built does not hold together."""


def pages(root: str | Path | None = None) -> dict[str, bytes]:
    """The source of the site: path below the source folder, with ``/`` -> content.

    Raises:
        CourseError: something that the site shows is missing or malformed; the message names the file.
    """
    root = Path(root) if root else notebooks.find_root()
    places, found = _places(root), {}
    files = frozenset(_files(root))
    for path, page in places.items():
        content = (root / path).read_bytes()
        if path.endswith(".md"):
            text = content.decode()
            if path == "README.md":
                text = readme_start(text) + "\n" + (root / "docs" / "site" / "index.md").read_text(encoding="utf-8")
            content = relink(text, at=path, page=page, places=_with_notes(path, places), files=files).encode()
        elif path.endswith(".ipynb"):
            content = _lesson(content.decode(), path=path, page=page, places=places, files=files)
        found[page] = content
    return found | _generated(root, places, files)


def _places(root: Path) -> dict[str, str]:
    """Path in the repository -> path in the site's source, for every file that becomes a page or a picture of it."""
    lessons = {f"notebooks/{path.name}": f"lessons/{path.name}" for path in sorted(root.glob("notebooks/*.ipynb"))}
    kit = {f"docs/instructor/{path.name}": f"instructor/{path.name}"
           for path in sorted(root.glob("docs/instructor/*.md"))}
    pictures = {f"docs/{path.name}": f"pictures/{path.name}" for path in sorted(root.glob("docs/*.png"))}
    for needed, name in ((lessons, "notebooks/*.ipynb"), (kit, "docs/instructor/*.md")):
        if not needed:
            raise SiteError(f"{root}: no {name}; fetch the repository again, or run `make notebooks`")
    return {"README.md": "index.md", "docs/glossary.md": "glossary.md"} | lessons | kit | pictures


def _with_notes(path: str, places: dict[str, str]) -> dict[str, str]:
    """In the instructor's pages the sources stand for the notes in them, which have a page of their own here."""
    kit = path.startswith("docs/instructor/")
    return places | {"notebooks/src": "instructor/lessons.md"} if kit else places


def _files(root: Path) -> list[str]:
    """What git holds of the repository, and its folders, with ``/``."""
    command = ["git", "-C", str(root), "ls-files", "-z"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split("\0")[:-1]
    folders = {parent.as_posix() for path in listed for parent in Path(path).parents} - {"."}
    return [*listed, *folders]


def _lesson(text: str, *, path: str, page: str, places: dict[str, str], files: frozenset[str]) -> bytes:
    """A stored notebook with its links turned, and its set-up cell folded: a reader here has nothing to set up."""
    import nbformat

    notebook = nbformat.reads(text, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = relink(cell.source, at=path, page=page, places=places, files=files)
        elif cell.id.endswith(SETUP_ENDS):
            cell.metadata["tags"] = ["hide-cell"]
    return nbformat.writes(notebook).encode()


def _generated(root: Path, places: dict[str, str], files: frozenset[str]) -> dict[str, bytes]:
    sources = {f"notebooks/{path.stem}.ipynb": notebooks.read_source(path)
               for path in notebooks.source_paths(root=root)}
    page = "instructor/lessons.md"
    notes = relink(lesson_notes(sources), at="docs/instructor/lessons.md", page=page, places=places, files=files)
    readme = (root / "README.md").read_text(encoding="utf-8")
    api = {f"api/{name}": text.encode() for name, text in api_pages(mapped_modules(readme)).items()}
    return {page: notes.encode()} | api


def build(root: str | Path | None = None, *, echo: Callable[[str], None] = print) -> Path:
    """Build the site into ``site`` of the build folder, and check it; returns the path of its first page.

    A page whose source is as before is not built again.

    Raises:
        SiteError: Sphinx or its helpers are not installed, Sphinx found a fault, or the checker did.
    """
    root = Path(root) if root else notebooks.find_root()
    if lacking := [name for name in NEEDED if util.find_spec(name) is None]:
        raise SiteError(f"{', '.join(lacking)}: not installed; run `make site`, or `pip install -e '.[site]'`")
    folder = notebooks.build_folder(root)
    source, out = folder / "site-source", folder / "site"
    _write(pages(root), source)
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-c", str(root / "docs" / "site"),
               "-d", str(folder / "site-doctrees"), str(source), str(out)]
    if subprocess.run(command, env=os.environ | {"PYDEVD_DISABLE_FILE_VALIDATION": "1"}, check=False).returncode:
        raise SiteError("Sphinx found the faults above; mend them where they are written, and run `make site` again")
    if found := site_faults(out):
        more = f"\n... and {len(found) - SHOWN_FAULTS} more" if len(found) > SHOWN_FAULTS else ""
        raise SiteError("\n".join([f"{len(found)} faults in {out}:", *found[:SHOWN_FAULTS]]) + more)
    echo(f"Done: {len(list(out.rglob('*.html')))} pages, every link, picture and heading checked. Open "
         f"{out / 'index.html'}")
    return out / "index.html"


def _write(content: dict[str, bytes], folder: Path) -> None:
    """Make ``folder`` hold exactly this; a file that holds it already keeps its time, so that Sphinx skips it."""
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        if path.relative_to(folder).as_posix() not in content:
            path.unlink()
    for name, data in content.items():
        path = folder / name
        if not path.is_file() or path.read_bytes() != data:
            write_bytes(path, data)


def main() -> int:
    """Build the site of the clone that this package belongs to; what goes wrong is said without a traceback."""
    try:
        build()
    except CourseError as error:
        print(f"course: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
