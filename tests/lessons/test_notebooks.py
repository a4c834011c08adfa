"""Building, checking and running notebooks, on sources of a few cells in a folder of their own."""

import base64
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from course_lib.lessons.builder import editions, execution, notebooks, report
from course_lib.lessons.builder.execution import At, NotebookError

SMALL = "# %% [markdown]\n# # A small one\n\n# %%\nprint(6 * 7)\n"
# The smallest PNG there is: figures are tested without matplotlib's start-up time.
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\nrest").decode()
SHOW = f"from IPython.display import display\ndisplay({{'image/png': '{PNG}'}}, raw=True)\n"


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


def test_cell_ids_are_the_notebooks_number_and_the_cells(root):
    assert [cell.id for cell in notebooks.read_source(write(root, SMALL)).cells] == ["05-001", "05-002"]


def test_a_source_without_a_number_gets_ids_from_its_name(root):
    path = write(root, SMALL, name="odd näme")
    nbformat.validate(notebooks.read_source(path))
    assert notebooks.read_source(path).cells[0].id == "odd-n-me-001"


def test_a_source_with_a_bad_header_is_named(root):
    path = write(root, "# ---\n# jupyter:\n#   kernelspec:\n#     name: other\n# ---\n\n" + SMALL)
    with pytest.raises(NotebookError, match=r"05_small\.py: .*'display_name'"):
        notebooks.read_source(path)


def test_cell_tags_survive_the_parser(root):
    path = write(root, '# %% tags=["solution"]\nx = 1\n')
    assert notebooks.read_source(path).cells[0].metadata.tags == ["solution"]


def test_the_kernel_is_this_python(root):
    assert "<python>" in printed(executed(root, "# %%\nimport sys\nprint(sys.prefix)\n"))


def test_a_users_own_python3_kernel_is_not_taken(root, monkeypatch):
    spec = root / "jupyter" / "kernels" / "python3"
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text(json.dumps({"argv": ["/bin/false"], "display_name": "x", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(root / "jupyter"))
    assert printed(executed(root, SMALL)) == "42\n"


def test_a_notebook_runs_in_the_notebooks_folder(root):
    assert printed(executed(root, "# %%\nimport os\nprint(os.path.basename(os.getcwd()))\n")) == "notebooks\n"


def test_a_failing_cell_is_named_with_its_line_and_error(root):
    text = SMALL + "\n# %%\n# divide\nvalue = 1 / 0\n"
    with pytest.raises(NotebookError) as caught:
        executed(root, text)
    assert str(caught.value).startswith("05_small, cell 3 `# divide`: ZeroDivisionError: division by zero; ")


def test_a_cell_that_takes_too_long_is_named(root):
    with pytest.raises(NotebookError, match="05_small, cell 1 `import time`: .*1 s"):
        executed(root, "# %%\nimport time\ntime.sleep(30)\n", timeout=1)


def test_a_process_that_dies_is_named(root):
    with pytest.raises(NotebookError, match="05_small, cell 1 `import os`: "):
        executed(root, "# %%\nimport os\nos._exit(9)\n")


def test_on_cell_is_told_the_cells_done_and_the_present_heading(root):
    seen = []
    executed(root, SMALL + "\n# %% [markdown]\n# text\n# ## Next\n\n# %%\n1\n", on_cell=seen.append)
    assert seen == [At(0, 4, "A small one"), At(1, 4, "A small one"), At(2, 4, "Next"), At(3, 4, "Next")]


def test_a_lesson_says_in_a_file_where_it_is(root, monkeypatch, capsys):
    monkeypatch.setattr(notebooks, "PAUSE", 0.0)
    write(root, SMALL)
    notebooks.run_all(root=root)
    assert re.search(r"^05_small .*2 of 3 .*A small one$", capsys.readouterr().out, re.MULTILINE)


def test_a_widget_leaves_a_note_and_no_state(root):
    notebook = executed(root, "# %%\nimport ipywidgets\nipywidgets.IntSlider()\n")
    assert notebook.cells[0].outputs[0].data == {"text/plain": execution.WIDGET_NOTE}
    assert "widgets" not in notebook.metadata


def test_an_output_widget_that_prints_does_not_stop_the_run(root):
    text = "# %%\nimport ipywidgets\nout = ipywidgets.Output()\nwith out:\n    print('inside')\nprint('after')\n"
    notebook = executed(root, text)
    assert printed(notebook) == "after\n" and "widgets" not in notebook.metadata


def test_timings_are_not_stored(root):
    assert all("execution" not in cell.metadata for cell in executed(root, SMALL).cells)


def test_outputs_do_not_name_folders_of_the_machine(root):
    assert printed(executed(root, "# %%\nimport os\nprint(os.getcwd())\n")) == "./notebooks\n"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("10%\r50%\r100%\n", "100%\n"),
        ("one\r\ntwo\n", "one\r\ntwo\n"),
        ("/tmp/ipykernel_77/123.py:1: UserWarning: x", "<cell>:1: UserWarning: x"),
        ("<function f at 0x7f00aa>", "<function f>"),
        ("/home/me/project/runs", "PROJECT/runs"),
    ],
)
def test_text_is_cleaned_of_one_moment_and_one_machine(text, left):
    assert execution._clean_text(text, {"/home/me": "~", "/home/me/project": "PROJECT"}) == left


def test_build_stores_a_valid_notebook_with_outputs(root):
    write(root, SMALL)
    (path,) = notebooks.build(root=root, echo=lambda line: None)
    stored = nbformat.read(path, as_version=4)
    nbformat.validate(stored)
    assert path == root / "notebooks" / "05_small.ipynb" and printed(stored) == "42\n"


def test_building_twice_gives_the_same_bytes(root):
    write(root, SMALL)
    (path,) = notebooks.build(root=root, echo=lambda line: None)
    first = path.read_bytes()
    notebooks.build(root=root, echo=lambda line: None)
    assert path.read_bytes() == first


def test_check_accepts_what_was_just_built(root):
    write(root, SMALL)
    built = notebooks.build(root=root, echo=lambda line: None)
    assert notebooks.build(root=root, check=True) == built


def test_check_names_every_stale_notebook(root):
    write(root, SMALL)
    notebooks.build(root=root, echo=lambda line: None)
    write(root, SMALL.replace("7", "8"))
    write(root, SMALL, name="06_new")
    (root / "notebooks" / "04_gone.ipynb").write_text("{}")
    with pytest.raises(NotebookError) as caught:
        notebooks.build(root=root, check=True)
    parts = ("05_small (", "06_new (", "04_gone (", "make notebooks")
    assert [part for part in parts if part not in str(caught.value)] == []


def test_check_refuses_a_notebook_without_outputs(root):
    path = write(root, SMALL)
    nbformat.write(editions.learner(notebooks.read_source(path)), root / "notebooks" / "05_small.ipynb")
    with pytest.raises(NotebookError, match=r"05_small \("):
        notebooks.build(root=root, check=True)


def test_check_refuses_a_broken_notebook(root):
    write(root, SMALL)
    (root / "notebooks" / "05_small.ipynb").write_text("{ half")
    with pytest.raises(NotebookError, match=r"05_small \("):
        notebooks.build(root=root, check=True)


def test_build_refuses_a_figure_without_a_sentence(root):
    write(root, f"# %%\n{SHOW}")
    with pytest.raises(NotebookError, match="05_small: cell 2 "):
        notebooks.build(root=root, echo=lambda line: None)


@pytest.mark.parametrize(
    ("markdown", "count"),
    [("![](a.png)", 1), ("![A curve](a.png)", 0), ('<img src="a">', 1), ('<img alt="A" src="a">', 0)],
)
def test_images_in_text_need_alternative_text(markdown, count):
    cell = nbformat.v4.new_markdown_cell(markdown)
    assert len(notebooks.problems(nbformat.v4.new_notebook(cells=[cell]))) == count


def test_names_choose_notebooks_by_their_beginning(root):
    for name in ("05_small", "06_other", "07_last"):
        write(root, SMALL, name=name)
    assert [path.stem for path in notebooks.source_paths(["07", "05"], root=root)] == ["05_small", "07_last"]


def test_an_unknown_name_lists_the_known_ones(root):
    write(root, SMALL)
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


def test_run_all_leaves_the_stored_notebooks_alone(root):
    write(root, SMALL)
    notebooks.run_all(root=root, build_dir=root / "out", echo=lambda line: None)
    assert (root / "out" / "notebooks" / "05_small.ipynb").is_file()
    assert not (root / "notebooks" / "05_small.ipynb").exists()


def test_run_all_tells_the_notebook_preset_and_folder(root):
    write(root, "# %%\nimport os\nprint(os.environ['COURSE_PRESET'], os.environ['COURSE_BUILD'])\n")
    notebooks.run_all(root=root, preset="olmo2-1b", echo=lambda line: None)
    copy = nbformat.read(root / "build" / "notebooks" / "05_small.ipynb", as_version=4)
    assert printed(copy) == "olmo2-1b ./build\n"


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


@pytest.mark.parametrize(
    ("items", "captions"),
    [
        (["png", "after\n"], ["after"]),
        (["before\n", "png"], ["before"]),
        (["before\n", "png", "after\n"], ["after"]),
        (["png", "first\n", "png", "second\n"], ["first", "second"]),
        (["first\n", "png", "second\n", "png"], ["second", "second"]),
        (["png"], [""]),
    ],
)
def test_a_caption_is_the_text_after_the_figure_or_before_it(items, captions):
    assert [figure.caption for figure in report.figures(outputs(*items))] == captions


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for a child process")
def test_an_interrupt_stops_the_run_and_its_kernel(root):
    pid_file = root / "pid"
    write(root, f"# %%\nimport os, time\nopen({str(pid_file)!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)\n")
    command = [sys.executable, "-m", "course_lib.cli", "run", "05"]
    env = {**os.environ, "PYTHONPATH": str(Path(notebooks.__file__).parents[3])}
    with subprocess.Popen(command, cwd=root, env=env, stderr=subprocess.PIPE, text=True) as process:
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
    env = {**os.environ, "PYTHONPATH": str(Path(notebooks.__file__).parents[3])}
    done = subprocess.run([sys.executable, "-c", code, "run", "05"], cwd=root, env=env, capture_output=True, text=True,
                          timeout=60)
    assert done.returncode == 130 and re.fullmatch("course: .*", done.stderr.strip())


def test_a_widget_with_a_twin_leaves_its_words(root):
    text = ("# %%\nimport ipywidgets\nfrom course_lib.figures.widgets.display import show\n"
            "show(ipywidgets.IntSlider(), '**at 0** nothing')\n")
    notebook = executed(root, text)
    assert notebook.cells[0].outputs[0].data == {
        "text/plain": execution.WIDGET_NOTE, "text/markdown": "**at 0** nothing"}


def test_a_progress_bar_leaves_nothing(root):
    text = "# %%\nfrom tqdm.auto import tqdm\nfor _ in tqdm(range(3), disable=False):\n    pass\nprint('done')\n"
    assert [output.text for output in executed(root, text).cells[0].outputs] == ["done\n"]


def test_a_reply_that_was_not_announced_is_heard_all_the_same(monkeypatch):
    import asyncio
    from queue import Empty

    waits = []

    async def deaf(self, timeout=None):
        waits.append(timeout)
        if len(waits) < 3:
            raise Empty
        return {"msg": "here"}

    monkeypatch.setattr(execution._patient_channel().__base__, "get_msg", deaf)
    channel = execution._patient_channel().__new__(execution._patient_channel())
    assert asyncio.run(channel.get_msg()) == {"msg": "here"} and waits == [1.0, 1.0, 1.0]


def test_a_wait_for_a_reply_ends_when_its_time_is_over(monkeypatch):
    import asyncio
    from queue import Empty

    async def never(self, timeout=None):
        await asyncio.sleep(timeout)
        raise Empty

    monkeypatch.setattr(execution._patient_channel().__base__, "get_msg", never)
    channel = execution._patient_channel().__new__(execution._patient_channel())
    with pytest.raises(Empty):
        asyncio.run(channel.get_msg(timeout=0.05))
