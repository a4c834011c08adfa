"""One browser and one JupyterLab for all tests of this folder, a fresh page and kernel for each test."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.harness import Lab, chromium, running_lab
from tests.browser.notebook_page import NotebookPage

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium; tests are skipped, with the reason, where it or Playwright is missing."""
    pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install -e '.[browser]'")
    from playwright.sync_api import sync_playwright

    if not (path := chromium()):
        pytest.skip("needs Chromium or Chrome: apt-get install chromium")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A JupyterLab in a new folder; tests are skipped, with the reason, where it is not installed."""
    if importlib.util.find_spec("jupyterlab") is None:
        pytest.skip("needs JupyterLab: pip install -e '.[lab]'")
    with running_lab(tmp_path_factory.mktemp("lab")) as running:
        yield running


@pytest.fixture
def opened(lab: Lab, browser: Browser, request: pytest.FixtureRequest) -> Iterator[Callable[..., NotebookPage]]:
    """``opened(cells)``: a notebook of these code cells, open in the browser; errors in it fail the test.

    ``opened(cells, path)``: a copy of the notebook at ``path``, behind these cells.
    """
    pages: list[NotebookPage] = []

    def open_notebook(cells: Sequence[str], path: Path | None = None) -> NotebookPage:
        name = path.name if path else f"{request.node.name[:60]}.ipynb"
        pages.append(NotebookPage(browser.new_page(), lab, lab.write(name, cells, path)))
        return pages[-1]

    yield open_notebook
    found = [problem for page in pages for problem in page.problems()]
    for page in pages:
        page.page.close()
    lab.stop_kernels()
    assert not found
