"""Building, checking and running notebooks, on sources of a few cells in a folder of their own."""

import asyncio
import base64
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from queue import Empty

import nbformat
import pytest

from course_lib.lessons.builder import editions, execution, notebooks, report
from course_lib.lessons.builder.execution import At, NotebookError

SMALL = "# %% [markdown]\n# # A small one\n\n# %%\nprint(6 * 7)\n"
# The smallest PNG there is: figures are tested without matplotlib's start-up time.
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\nrest").decode()
SHOW = f"from IPython.display import display\ndisplay({{'image/png': '{PNG}'}}, raw=True)\n"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(notebooks.__file__).parents[3])}


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.delenv("COURSE_BUILD", raising=False)
    monkeypatch.delenv("COURSE_PRESET", raising=False)
    (tmp_path / "notebooks" / "src").mkdir(parents=True)
    return tmp_path


def write(root, text, name="05_small"):
    path = root / "notebooks" / "src" / f"{name}.py"
    path.write_text(text, encoding="utf-8")
    return path


def executed(root, text, **options):
    return notebooks.execute(notebooks.read_source(write(root, text)), cwd=root / "notebooks", **options)


def printed(notebook, cell=-1):
    return "".join(output.get("text", "") for output in notebook.cells[cell].outputs)


def test_cell_ids_are_the_notebooks_number_or_its_name_and_the_cells(root):
    numbered, named = (notebooks.read_source(write(root, SMALL, name=name)) for name in ("05_small", "odd näme"))
    assert [cell.id for cell in numbered.cells] == ["05-001", "05-002"] and named.cells[0].id == "odd-n-me-001"
    nbformat.validate(named)


def test_a_source_with_a_bad_header_is_named(root):
    path = write(root, "# ---\n# jupyter:\n#   kernelspec:\n#     name: other\n# ---\n\n" + SMALL)
    with pytest.raises(NotebookError, match=r"05_small\.py: .*'display_name'"):
        notebooks.read_source(path)


def test_cell_tags_survive_the_parser(root):
    path = write(root, '# %% tags=["solution"]\nx = 1\n')
    assert notebooks.read_source(path).cells[0].metadata.tags == ["solution"]


RUN = {  # a cell -> what it leaves, cleaned of the moment and the machine
    "import sys\nprint(sys.prefix)": ["<python>\n"], "import os\nprint(os.getcwd())": ["./notebooks\n"],
    "import ipywidgets\nipywidgets.IntSlider()": [{"text/plain": execution.WIDGET_NOTE}],
    "out = ipywidgets.Output()\nwith out:\n    print('inside')\nprint('after')": ["after\n"],
    "from course_lib.figures.widgets.display import show\nshow(ipywidgets.IntSlider(), '**at 0** nothing')": [
        {"text/plain": execution.WIDGET_NOTE, "text/markdown": "**at 0** nothing"}],
    "from tqdm.auto import tqdm\nfor _ in tqdm(range(3), disable=False):\n    pass\nprint('done')": ["done\n"]}


def test_a_notebook_runs_with_this_python_in_the_notebooks_folder_and_leaves_nothing_of_the_machine(root, monkeypatch):
    spec = root / "jupyter" / "kernels" / "python3"  # a kernel of the user's own
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text(json.dumps({"argv": ["/bin/false"], "display_name": "x", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(root / "jupyter"))
    notebook = executed(root, "".join(f"# %%\n{cell}\n\n" for cell in RUN))
    left = [[output.get("text") or output.data for output in cell.outputs] for cell in notebook.cells]
    assert left == [*RUN.values()]
    assert "widgets" not in notebook.metadata
    assert all("execution" not in cell.metadata for cell in notebook.cells)  # no timings


@pytest.mark.parametrize(("text", "timeout", "said"), [
    (f"{SMALL}\n# %%\n# divide\nvalue = 1 / 0\n", 60, "3 `# divide`: ZeroDivisionError: division by zero; "),
    ("# %%\nimport time\ntime.sleep(30)\n", 1, "1 `import time`: took longer than 1 s"),
    ("# %%\nimport os\nos._exit(9)\n", 60, "1 `import os`: ")], ids=["error", "too long", "dies"])
def test_a_failing_cell_is_named_with_its_line_and_reason(root, text, timeout, said):
    with pytest.raises(NotebookError) as caught:
        executed(root, text, timeout=timeout)
    assert str(caught.value).startswith(f"05_small, cell {said}")


def test_on_cell_is_told_the_cells_done_and_the_present_heading(root):
    seen = []
    executed(root, SMALL + "\n# %% [markdown]\n# text\n# ## Next\n\n# %%\n1\n", on_cell=seen.append)
    assert seen == [At(0, 4, "A small one"), At(1, 4, "A small one"), At(2, 4, "Next"), At(3, 4, "Next")]


def test_a_lesson_says_in_a_file_where_it_is(root, monkeypatch, capsys):
    monkeypatch.setattr(notebooks, "PAUSE", 0.0)
    write(root, SMALL)
    notebooks.run_all(root=root)
    assert re.search(r"^05_small .*2 of 3 .*A small one$", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.parametrize(("text", "left"), [
    ("10%\r50%\r100%\n", "100%\n"), ("one\r\ntwo\n", "one\r\ntwo\n"), ("/home/me/project/runs", "PROJECT/runs"),
    ("/tmp/ipykernel_77/123.py:1: UserWarning: x", "<cell>:1: UserWarning: x"),
    ("<function f at 0x7f00aa>", "<function f>")])
def test_text_is_cleaned_of_one_moment_and_one_machine(text, left):
    assert execution._clean_text(text, {"/home/me": "~", "/home/me/project": "PROJECT"}) == left


def test_build_stores_a_valid_notebook_with_outputs_and_twice_the_same_bytes(root):
    write(root, SMALL)
    (path,) = built = notebooks.build(root=root, echo=lambda line: None)
    stored, first = nbformat.read(path, as_version=4), path.read_bytes()
    nbformat.validate(stored)
    assert path == root / "notebooks" / "05_small.ipynb" and printed(stored) == "42\n"
    assert notebooks.build(root=root, check=True) == built
    notebooks.build(root=root, echo=lambda line: None)
    assert path.read_bytes() == first


def test_check_names_every_stale_notebook(root):
    sources = {name: write(root, SMALL, name=name) for name in ("05_small", "06_new", "07_empty", "08_broken")}
    notebooks.build(["05"], root=root, echo=lambda line: None)
    write(root, SMALL.replace("7", "8"))
    nbformat.write(editions.learner(notebooks.read_source(sources["07_empty"])), root / "notebooks" / "07_empty.ipynb")
    (root / "notebooks" / "08_broken.ipynb").write_text("{ half")
    (root / "notebooks" / "04_gone.ipynb").write_text("{}")
    with pytest.raises(NotebookError) as caught:
        notebooks.build(root=root, check=True)
    parts = (*(f"{name} (" for name in sources), "04_gone (", "make notebooks")
    assert [part for part in parts if part not in str(caught.value)] == []


def test_build_refuses_a_figure_without_a_sentence(root):
    write(root, f"# %%\n{SHOW}")
    with pytest.raises(NotebookError, match="05_small: cell 2 "):
        notebooks.build(root=root, echo=lambda line: None)


@pytest.mark.parametrize(("markdown", "count"), [("![](a.png)", 1), ("![A curve](a.png)", 0), ('<img src="a">', 1),
                                                 ('<img alt="A" src="a">', 0)])
def test_images_in_text_need_alternative_text(markdown, count):
    cell = nbformat.v4.new_markdown_cell(markdown)
    assert len(notebooks.problems(nbformat.v4.new_notebook(cells=[cell]))) == count


def test_names_choose_notebooks_by_their_beginning_and_an_unknown_one_lists_the_known_ones(root):
    for name in ("05_small", "06_other", "07_last"):
        write(root, SMALL, name=name)
    assert [path.stem for path in notebooks.source_paths(["07", "05"], root=root)] == ["05_small", "07_last"]
    with pytest.raises(NotebookError, match="^99: .*05_small"):
        notebooks.source_paths(["99"], root=root)


def test_root_is_found_from_a_folder_below_it(root):
    assert notebooks.find_root(root / "notebooks" / "src") == root.resolve()


def test_run_all_writes_a_report_with_the_figure_and_its_caption(root):
    write(root, f"# %% [markdown]\n# # Curves & more\n\n# %%\n{SHOW}print('Rises < 3')\n")
    lines = []
    page = notebooks.run_all(root=root, preset="pocket", echo=lines.append).read_text(encoding="utf-8")
    for part in (f"data:image/png;base64,{PNG}", "Rises &lt; 3", "Curves &amp; more", "<strong>pocket</strong>"):
        assert part in page
    assert 'href="notebooks/05_small.ipynb"' in page and "report.html" in lines[-1] and len(lines) == 2


def test_run_all_tells_the_notebook_preset_and_folder_and_leaves_the_stored_notebooks_alone(root):
    write(root, "# %%\nimport os\nprint(os.environ['COURSE_PRESET'], os.environ['COURSE_BUILD'])\n")
    notebooks.run_all(root=root, preset="olmo2-1b", build_dir=root / "out", echo=lambda line: None)
    copy = nbformat.read(root / "out" / "notebooks" / "05_small.ipynb", as_version=4)
    assert printed(copy) == "olmo2-1b ./out\n" and not (root / "notebooks" / "05_small.ipynb").exists()


def test_a_run_that_fails_leaves_the_report_of_what_it_had(root):
    write(root, SMALL)
    write(root, "# %%\nraise ValueError('no <facts>')\n", name="06_bad")
    with pytest.raises(NotebookError, match=r"06_bad, cell 2 .*06_bad\.ipynb"):
        notebooks.run_all(root=root, echo=lambda line: None)
    page = (root / "build" / "report.html").read_text(encoding="utf-8")
    assert "A small one" in page and "ValueError: no &lt;facts&gt;" in page


def outputs(*items):
    make = {"png": lambda: nbformat.v4.new_output("display_data", data={"image/png": PNG, "text/plain": "<Figure>"})}
    found = [make[item]() if item in make else nbformat.v4.new_output("stream", text=item) for item in items]
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x", outputs=found)])


@pytest.mark.parametrize(("items", "captions"), [
    (["png", "after\n"], ["after"]), (["before\n", "png"], ["before"]), (["before\n", "png", "after\n"], ["after"]),
    (["png", "first\n", "png", "second\n"], ["first", "second"]), (["png"], [""]),
    (["first\n", "png", "second\n", "png"], ["second", "second"])])
def test_a_caption_is_the_text_after_the_figure_or_before_it(items, captions):
    assert [figure.caption for figure in report.figures(outputs(*items))] == captions


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for a child process")
def test_an_interrupt_stops_the_run_and_its_kernel(root):
    pid_file = root / "pid"
    write(root, f"# %%\nimport os, time\nopen({str(pid_file)!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)\n")
    command = [sys.executable, "-m", "course_lib.cli", "run", "05"]
    with subprocess.Popen(command, cwd=root, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True) as process:
        while not pid_file.exists() or not pid_file.read_text():
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130 and re.fullmatch("course: .*", stderr.strip())
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for a child process")
def test_an_interrupt_while_the_kernel_starts_is_one_line(root):
    write(root, SMALL)
    code = ("import os, signal, jupyter_client\nfrom course_lib import cli\n"
            "start = jupyter_client.AsyncKernelManager.start_kernel\n"
            "async def struck(*words, **options):\n"
            "    os.kill(os.getpid(), signal.SIGINT)\n"
            "    return await start(*words, **options)\n"
            "jupyter_client.AsyncKernelManager.start_kernel = struck\n"
            "cli.main()\n")
    done = subprocess.run([sys.executable, "-c", code, "run", "05"], cwd=root, env=ENVIRONMENT, capture_output=True,
                          text=True, timeout=60)
    assert done.returncode == 130 and re.fullmatch("course: .*", done.stderr.strip())


def answering(monkeypatch, get_msg):
    """A channel whose own way to get a message is replaced."""
    kind = execution._patient_channel()
    monkeypatch.setattr(kind.__base__, "get_msg", get_msg)
    return kind.__new__(kind)


def test_a_reply_that_was_not_announced_is_heard_all_the_same(monkeypatch):
    waits = []

    async def deaf(self, timeout=None):
        waits.append(timeout)
        if len(waits) < 3:
            raise Empty
        return {"msg": "here"}

    assert asyncio.run(answering(monkeypatch, deaf).get_msg()) == {"msg": "here"} and waits == [1.0, 1.0, 1.0]


def test_a_wait_for_a_reply_ends_when_its_time_is_over(monkeypatch):
    async def never(self, timeout=None):
        await asyncio.sleep(timeout)
        raise Empty

    with pytest.raises(Empty):
        asyncio.run(answering(monkeypatch, never).get_msg(timeout=0.05))
