"""The site shows what is written elsewhere: start, lessons, notes, reference; the built one holds together."""

import json
import re
import shutil
import subprocess
from importlib import util

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from course_lib.files import CourseError
from course_lib.lessons.start import REPOSITORY, TAG
from tools.site import api, build, pages
from tools.site.check import site_faults

ROOT = build.ROOT


@pytest.mark.parametrize(("link", "page", "target"), [
    ("../README.md#start", "docs/glossary", "index"),
    ("../../notebooks/src", "docs/instructor/index", "docs/instructor/lessons"),
    ("Makefile#L3", "index", f"{REPOSITORY}/blob/{TAG}/Makefile#L3"),
    ("../benchmarks/results", "docs/glossary", f"{REPOSITORY}/blob/{TAG}/benchmarks/results"),
    ("../nowhere.md", "docs/glossary", None),
])
def test_a_link_leads_to_the_page_or_the_file_that_it_meant(link, page, target):
    assert pages.leads_to(link, page=page, root=ROOT) == target


def test_a_lessons_set_up_is_folded_and_its_picture_has_the_stored_text():
    picture = new_output("display_data", data={"image/png": "iVBO"}, metadata={"image/png": {"alt": "A dot"}})
    stored = new_notebook(cells=[new_code_cell("ready()", id="06-setup"), new_code_cell("plot()", outputs=[picture])])
    setup, plot = nbformat.reads(pages.lesson(nbformat.writes(stored)), as_version=4).cells
    assert setup.metadata.tags == ["hide-cell"] and plot.metadata.mystnb.image.alt == "A dot"


HEAD = new_markdown_cell("# 06 · Mixing\n\n**Time.** 40 minutes to read and run, 25 for the exercises.")
NOTE = new_markdown_cell("## For the instructor\n\n**Goal.** One.", metadata={"tags": ["instructor"]})


def test_the_notes_have_a_lessons_minutes_and_its_cells_without_their_heading():
    text = pages.lesson_notes({"06_x": new_notebook(cells=[HEAD, NOTE, new_markdown_cell("Not this.")])})
    assert "| [06 · Mixing](../../notebooks/06_x.ipynb) | 40 | 25 | 65 |" in text
    assert text.endswith("## 06 · Mixing\n\n**Goal.** One.\n")


def test_a_lesson_without_notes_is_named():
    with pytest.raises(CourseError, match="06_x"):
        pages.lesson_notes({"06_x": new_notebook(cells=[HEAD])})


def test_what_a_module_takes_from_another_is_described_there():
    assert api.taken("course_lib.lessons.exercises")["Verdict"] == "course_lib.lessons.exercises.core.Verdict"
    assert not {"lesson", "SOLUTIONS"} & set(api.taken("course_lib.lessons.exercises"))


def test_a_name_means_what_its_module_took_it_from():
    found = api.meanings("course_lib.training.finetune")
    assert found["TuneConfig"] == "course_lib.training.records.TuneConfig"
    assert found["tune"] == "course_lib.training.finetune.tune" and not {"object", "Sequence"} & set(found)


@pytest.mark.parametrize(("lines", "made"), [
    (["A formula", "", "    a = |D|", "", "    b", "", "The |D| of `a|b` and ``c|d``, `Q: ... / A: ...`."],
     ["A formula", "", "::", "", "    a = |D|", "", "    b", "",
      r"The \|D\| of `a|b` and ``c|d``, `Q: … / A: ...`."]),
    (["So::", "", "    a | b"], ["So::", "", "    a | b"]),
    (["One.", "", "Args:", "    size: |D|", "    seed: of"], ["One.", "", "Args:", r"    size: \|D\|", "    seed: of"]),
])
def test_a_docstring_keeps_its_drawings_and_bars(lines, made):
    assert api.docstring(lines) == made


SOUND = '<html lang="en"><body><h1>A</h1><h2>B</h2>{}</body></html>'


def found(tmp_path, body):
    (tmp_path / "index.html").write_text(SOUND.format(body), encoding="utf-8")
    (tmp_path / "dot.png").touch()
    return site_faults(tmp_path)


@pytest.mark.parametrize("body", [
    '<a href="https://example.org/nowhere">out</a>',
    '<img src="dot.png?1" alt="A dot">',
    '<img src="data:image/png;base64,aGk=" alt="A dot">',
    "<h3>C</h3><H2>D</H2>",
    '<script>"<img src=lost.png>"</script>',
])
def test_a_sound_page_has_no_faults(tmp_path, body):
    assert found(tmp_path, body) == []


@pytest.mark.parametrize(("body", "fault"), [
    ('<img src="dot.png">', "without alternative text: dot.png"),
    ('<img src="dot.png" alt=" ">', "without alternative text: dot.png"),
    ('<img src="gone.png" alt="A dot">', "loads gone.png"),
    ('<script src="gone.js"></script>', "loads gone.js"),
    ('<link rel="stylesheet" href="gone.css">', "loads gone.css"),
    ('<script src="https://example.org/a.js"></script>', "loads https://example.org/a.js"),
    ("<h4>D</h4>", "h4 after level 2"),
    ("<h1>D</h1>", "2 main headings"),
])
def test_each_fault_is_named_with_its_page(tmp_path, body, fault):
    (one,) = found(tmp_path, body)
    assert one.startswith("index.html: ") and fault in one


def test_a_page_without_a_language_or_a_main_heading_is_named(tmp_path):
    (tmp_path / "a.html").write_text("<h2>B</h2>")
    assert [fault.partition(":")[0] for fault in site_faults(tmp_path)] == ["a.html"] * 3


def test_an_empty_folder_is_no_site(tmp_path):
    assert site_faults(tmp_path) == [f"{tmp_path}: no pages there"]


def test_a_clone_without_stored_notebooks_is_named(tmp_path):
    with pytest.raises(CourseError, match=r"notebooks/\*.ipynb"):
        build.gather(tmp_path / "source", root=tmp_path)


def test_without_sphinx_the_command_says_what_to_install(monkeypatch):
    monkeypatch.setattr(build.util, "find_spec", lambda name: None)
    with pytest.raises(CourseError, match="sphinx, myst_nb, furo"):
        build.build()


def needs_sphinx():
    if lacking := [name for name in build.NEEDED if util.find_spec(name) is None]:
        pytest.skip(f"needs {', '.join(lacking)}: pip install -e '.[site]'")


@pytest.mark.slow
@pytest.mark.parametrize(("text", "dead"), [
    ("[a](gone.md)\n\n[a](index.md#nowhere)\n\n![a](gone.png)\n\n```{eval-rst}\n:func:`course_lib.files.gone`\n```",
     ("gone.md", "nowhere", "gone.png", "course_lib.files.gone")),
    ("```{eval-rst}\n`a <gone.html>`_\n```", ("gone.html",)),  # which Sphinx leaves to its link checker
])
def test_each_dead_link_is_named(tmp_path, text, dead, capfd):
    needs_sphinx()
    (tmp_path / "site-source").mkdir()
    (tmp_path / "site-source" / "index.md").write_text(f"# A\n\n{text}\n", encoding="utf-8")
    with pytest.raises(CourseError):
        build.run_sphinx(tmp_path)
    said = capfd.readouterr().err
    assert [link for link in dead if link not in said] == []


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder of the whole site, built without a warning and with no fault that the checker sees."""
    needs_sphinx()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSE_BUILD", str(tmp_path_factory.mktemp("build")))
        return build.build(echo=lambda line: None).parent


@pytest.mark.slow
def test_the_built_site_shows_every_lesson_with_its_pictures_and_formulas(built):
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        page = (built / "notebooks" / f"{notebook.stem}.html").read_text(encoding="utf-8")
        text = notebook.read_text(encoding="utf-8")
        assert len(set(re.findall(r"_images/([0-9a-f]{64})\.png", page))) == text.count('"image/png": "')
        assert "<math" in page or "$$" not in text


@pytest.mark.slow
def test_the_reference_has_a_page_for_each_folder_with_all_its_modules(built):
    files = [path.relative_to(ROOT).with_suffix("") for path in (ROOT / "course_lib").rglob("*.py")]
    for path in files:
        module = ".".join(path.parts).removesuffix(".__init__")
        page = "index" if len(path.parts) == 2 else ".".join(path.parent.parts)
        assert f'id="module-{module}"' in (built / "api" / f"{page}.html").read_text(encoding="utf-8"), module


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
    listed = [path.relative_to(built).as_posix() for path in built.rglob("*.html")]
    harness = built.parent / "widths.html"
    harness.write_text(WIDTHS.replace("PAGES", json.dumps(listed)), encoding="utf-8")
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files",
               "--virtual-time-budget=300000", "--dump-dom", harness.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout
    widths = json.loads(re.search(r'<pre id="found">(.*?)</pre>', shown, re.DOTALL)[1])
    assert set(widths) == set(listed) and {page: width for page, width in widths.items() if width > 390} == {}
