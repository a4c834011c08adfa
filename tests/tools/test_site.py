# ruff: noqa: E501
"""The site shows what is written elsewhere: start, lessons, notes, reference; the built one holds together."""

import hashlib
import json
import re
import shutil
import subprocess
from base64 import b64decode
from importlib import util
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from course_lib import site, site_api, site_pages
from course_lib.files import CourseError
from course_lib.lessons.start import REPOSITORY, TAG
from course_lib.site_api import Module, api_pages, mapped_modules, meanings
from course_lib.site_pages import alternative_texts, lesson_notes, relink

ROOT = Path(__file__).parents[2]
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PLACES = {"README.md": "index.md", "docs/curve.png": "pictures/curve.png", "notebooks/06_x.ipynb": "lessons/06_x.ipynb",
          "docs/glossary.md": "glossary.md"}
README = """# T

Start, with [lesson 06](notebooks/06_x.ipynb).

## Use the library alone

No.

```
course_lib/
    files.py            writing
    facts.py            facts
    models.py           *D*, |D| and `x`
    slick.py            labels
    mixing.py           mixes
    run_files.py        runs
    forgetting.py       lost
    row_checks.py       rows
    plots.py            figures
    exercises/core.py   checks
    exercises/lesson_NN.py each lesson's
    pocket/schema.py    names
notebooks/              lessons
```
"""


def test_the_start_is_the_readme_up_to_the_library():
    start = site_pages.readme_start(README)
    assert start.endswith("[lesson 06](notebooks/06_x.ipynb).\n")


def test_a_readme_without_that_heading_is_named():
    with pytest.raises(CourseError, match="README.md: no heading '## Use the library alone'"):
        site_pages.readme_start("# T\n")


@pytest.mark.parametrize(("text", "turned"), [
    ("[a](06_x.ipynb)", "[a](06_x.ipynb)"),
    ("[a](../docs/glossary.md#slick)", "[a](../glossary.md#slick)"),
    ("![a](../docs/curve.png)", "![a](../pictures/curve.png)"),
    ("[a](../Makefile)", f"[a]({REPOSITORY}/blob/{TAG}/Makefile)"),
    ("[a](../nowhere.md)", "[a](../nowhere.md)"),
    ("[a](#here) and [b](https://example.org/c.md)", "[a](#here) and [b](https://example.org/c.md)"),
    ("[![Open](https://x.org/b.svg)](https://x.org/c)", "[Open](https://x.org/c)"),
])
def test_a_link_leads_to_the_page_of_the_file_that_it_meant(text, turned):
    files = frozenset({"Makefile"})
    assert relink(text, at="notebooks/05_y.ipynb", page="lessons/05_y.ipynb", places=PLACES, files=files) == turned


def test_a_link_from_the_root_is_turned_too():
    assert relink("[a](docs/curve.png)", at="README.md", page="index.md", places=PLACES) == "[a](pictures/curve.png)"


def picture(**metadata):
    return new_output("display_data", data={"image/png": PNG}, metadata=metadata)


@pytest.mark.parametrize(("outputs", "text"), [
    ([picture(**{"image/png": {"alt": "A stored one"}}), new_output("stream", text="Printed\n")], "A stored one"),
    ([new_output("stream", text="Two\nlines\n"), picture()], "Two lines"),
])
def test_a_picture_gets_the_stored_text_or_the_printed_one(outputs, text):
    notebook = new_notebook(cells=[new_code_cell("x", outputs=outputs)])
    assert alternative_texts(notebook) == {hashlib.sha256(b64decode(PNG)).hexdigest(): text}


def lesson(*cells, head="# 06 · Mixing\n\n**Time.** 40 minutes to read and run, 25 for the exercises."):
    return new_notebook(cells=[new_markdown_cell(head), *cells])


NOTE = new_markdown_cell("## For the instructor\n\n**Goal.** One.", metadata={"tags": ["instructor"]})


def test_the_notes_have_a_lessons_minutes_and_its_cells_without_their_heading():
    text = lesson_notes({"notebooks/06_x.ipynb": lesson(NOTE, new_markdown_cell("Not this."))})
    assert "| [06 · Mixing](../../notebooks/06_x.ipynb) | 40 | 25 | 65 |" in text
    assert text.endswith("## 06 · Mixing\n\n**Goal.** One.\n") and "For the instructor" not in text


def test_a_lesson_without_notes_is_named():
    with pytest.raises(CourseError, match="notebooks/06_x.ipynb: its source has no cell tagged instructor"):
        lesson_notes({"notebooks/06_x.ipynb": lesson()})


def test_the_modules_are_those_of_the_map_in_its_order():
    modules = mapped_modules(README)
    assert modules[0] == Module("files.py", "writing")
    assert [module.name for module in modules[9:]] == [
        "course_lib.lessons.exercises", "course_lib.lessons.exercises.core", "course_lib.data.pocket", "course_lib.data.pocket.schema"]


def test_a_map_without_the_first_module_of_a_group_is_named():
    with pytest.raises(CourseError, match="its map has no slick.py, where a group"):
        mapped_modules(README.replace("    slick.py", "    sleek.py"))


def test_each_module_stands_in_the_group_that_began_before_it():
    pages = api_pages(mapped_modules(README))
    assert len(pages) == len(site_api.GROUPS) + 1
    first = pages["facts-files-and-machines.rst"]
    assert re.findall(r"automodule:: (\S+)", first) == ["course_lib.files", "course_lib.data.facts"]
    assert r"* :mod:`.loading`: \*D\*, \|D\| and ``x``" in pages["index.rst"]


def test_what_a_module_takes_from_another_is_described_there():
    page = api_pages([Module("mixing.py", "x"), Module("finetune.py", "y")])["training-sets-and-training.rst"]
    assert re.search(r"automodule:: course_lib.training.finetune\n   :exclude-members: .*\bTuneConfig\b", page)
    assert ":obj:`~course_lib.training.records.TuneConfig`" in page and "exclude-members" not in page.partition("finetune")[0]


def test_a_name_means_what_its_module_took_it_from():
    found = meanings("course_lib.training.finetune")
    assert found["TuneConfig"] == "course_lib.training.records.TuneConfig" and found["tune"] == "course_lib.training.finetune.tune"
    assert "object" not in found and "Sequence" not in found


@pytest.mark.parametrize(("lines", "made"), [
    (["A formula", "", "    a = |D|", "", "    b", "", "The |D| of `a|b` and ``c|d``."],
     ["A formula", "", "::", "", "    a = |D|", "", "    b", "", r"The \|D\| of `a|b` and ``c|d``."]),
    (["So::", "", "    a | b"], ["So::", "", "    a | b"]),
    (["One.", "", "Args:", "    size: |D|", "    seed: of"], ["One.", "", "Args:", r"    size: \|D\|", "    seed: of"]),
])
def test_a_docstring_keeps_its_drawings_and_bars(lines, made):
    assert site_api.docstring(lines) == made


def test_the_readme_of_the_course_has_a_start_and_every_group():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert site_pages.readme_start(readme).startswith("# Known Unknowns") and len(mapped_modules(readme)) > 50


@pytest.fixture
def clone(tmp_path):
    """The smallest repository that the site can be gathered from."""
    for name, text in {
        "README.md": README, "docs/glossary.md": "# Glossary\n", "docs/site/index.md": "toctree\n",
        "docs/instructor/index.md": "# For\n\n[notes](../../notebooks/src), [06](../../notebooks/06_x.ipynb)\n",
        "notebooks/src/06_x.py": "# %% [markdown]\n# # 06 · Mixing\n#\n# **Time.** 4 minutes to read and run, 2 for "
                                 'the exercises.\n\n# %% [markdown] tags=["instructor"]\n# ## For the instructor\n',
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    cells = [new_markdown_cell("# 06\n\n[words](../docs/glossary.md)"), new_code_cell("start.ready()", id="06-setup")]
    nbformat.write(new_notebook(cells=cells), tmp_path / "notebooks" / "06_x.ipynb")
    (tmp_path / "docs" / "curve.png").write_bytes(b64decode(PNG))
    return tmp_path


def test_the_source_holds_start_lessons_kit_and_reference(clone):
    found = site.pages(clone)
    assert {name for name in found if not name.startswith("api/")} == {
        "index.md", "glossary.md", "lessons/06_x.ipynb", "instructor/index.md", "instructor/lessons.md",
        "pictures/curve.png"}
    assert found["index.md"].decode().endswith("[lesson 06](lessons/06_x.ipynb).\n\ntoctree\n")
    assert found["instructor/index.md"].decode().endswith("[notes](lessons.md), [06](../lessons/06_x.ipynb)\n")


def test_a_lessons_links_are_turned_and_its_set_up_is_folded(clone):
    text, setup = nbformat.reads(site.pages(clone)["lessons/06_x.ipynb"].decode(), as_version=4).cells
    assert text.source.endswith("[words](../glossary.md)") and setup.metadata.tags == ["hide-cell"]


def test_a_clone_without_stored_notebooks_is_named(clone):
    (clone / "notebooks" / "06_x.ipynb").unlink()
    with pytest.raises(site.SiteError, match=r"no notebooks/\*.ipynb; .* run `make notebooks`"):
        site.pages(clone)


def test_what_is_unchanged_keeps_its_time_and_what_is_gone_is_removed(tmp_path):
    site._write({"a/b.md": b"one", "c.md": b"two"}, tmp_path)
    before = (tmp_path / "a" / "b.md").stat().st_mtime_ns
    site._write({"a/b.md": b"one", "d.md": b"three"}, tmp_path)
    assert (tmp_path / "a" / "b.md").stat().st_mtime_ns == before
    assert sorted(path.name for path in tmp_path.rglob("*.md")) == ["b.md", "d.md"]


def test_without_sphinx_the_command_says_what_to_install(clone, monkeypatch):
    monkeypatch.setattr(site.util, "find_spec", lambda name: None)
    with pytest.raises(site.SiteError, match="sphinx, myst_nb, furo: not installed; run `make site`"):
        site.build(clone)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder of the whole site, built without a warning and with no fault that the checker sees."""
    if lacking := [name for name in site.NEEDED if util.find_spec(name) is None]:
        pytest.skip(f"needs {', '.join(lacking)}: pip install -e '.[site]'")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSE_BUILD", str(tmp_path_factory.mktemp("build")))
        return site.build(ROOT, echo=lambda line: None).parent


@pytest.mark.slow
def test_the_built_site_shows_every_lesson_with_its_pictures_and_formulas(built):
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        page = (built / "lessons" / f"{notebook.stem}.html").read_text(encoding="utf-8")
        texts = alternative_texts(nbformat.read(notebook, as_version=4))
        assert len(texts) == len(set(re.findall(r"_images/([0-9a-f]{64})\.png", page)))
        assert "<math" in page or "$$" not in notebook.read_text(encoding="utf-8")


# Loads each page into a frame as wide as a phone, and writes down how wide the page became.
WIDTHS = """<pre id="found"></pre><script>
const pages = PAGES, found = {};
function next() {
  const page = pages.pop();
  if (!page) { document.getElementById("found").textContent = JSON.stringify(found); return; }
  const frame = document.createElement("iframe");
  frame.style = "border: 0; width: 390px; height: 800px";
  frame.onload = () => { found[page] = frame.contentDocument.documentElement.scrollWidth; frame.remove(); next(); };
  frame.src = "site/" + page;
  document.body.append(frame);
}
next();
</script>"""


@pytest.mark.browser
def test_no_page_is_wider_than_a_phone(built):
    if not (chromium := shutil.which("chromium") or shutil.which("chromium-browser")):
        pytest.skip("needs Chromium on the path")
    pages = [path.relative_to(built).as_posix() for path in built.rglob("*.html")]
    harness = built.parent / "widths.html"
    harness.write_text(WIDTHS.replace("PAGES", json.dumps(pages)), encoding="utf-8")
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files",
               "--virtual-time-budget=300000", "--dump-dom", harness.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout
    widths = json.loads(re.search(r'<pre id="found">(.*?)</pre>', shown, re.DOTALL)[1])
    assert set(widths) == set(pages) and {page: width for page, width in widths.items() if width > 390} == {}
