"""The stored lessons as a page without a kernel, as GitHub shows them: on a phone and on a screen, all is readable.

GitHub runs no script of a notebook and shows no widget. The same is done here: nbconvert's plain HTML, in a frame with
GitHub's rules for what is too wide (pictures shrink; code, outputs and tables scroll by themselves).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.harness import PICTURES, REPOSITORY
from tests.browser.notebook_page import SCRIPT

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

pytestmark = pytest.mark.browser
NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
KEPT = ("00_start_here", "08_hallucination_curves")  # pictures of these two pages are kept, to be looked at
PHONE, SCREEN = 390, 1000
BADGES = ("https://colab.research.google.com/assets/",)  # the one address that a page may load from: GitHub does
BADGE = '<svg xmlns="http://www.w3.org/2000/svg" width="117" height="20"></svg>'
FRAME = """<!doctype html><html lang="en"><head><meta charset="utf-8"><base href="{base}">
<meta name="viewport" content="width=device-width"><title>{title}</title><style>
body {{ margin: 16px; font: 16px/1.5 sans-serif; }} img {{ max-width: 100%; height: auto; }}
pre, .rendered_html table, table {{ display: block; overflow-x: auto; }} .prompt, .anchor-link {{ display: none; }}
</style></head><body>{body}</body></html>"""


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty page that is closed after the test."""
    page = browser.new_page()
    page.add_init_script(path=SCRIPT)
    yield page
    page.close()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_stored_lesson_is_readable_without_a_kernel_on_a_phone_and_on_a_screen(path: Path, page: Page) -> None:
    errors, asked = listen(page)
    file = as_html(path)
    for width in (PHONE, SCREEN):
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(file.as_uri(), wait_until="load")
        assert page.evaluate("course.notLoaded()") == []
        assert page.evaluate("course.tooWide()") == []
        if path.stem in KEPT:
            page.screenshot(path=PICTURES / f"{path.stem}_{width}.png", full_page=True)
    assert page.locator("h1").count() == 1, "one title"
    assert page.locator("img").count() > 0, "a lesson shows something"
    assert "VBox(" not in page.inner_text("body"), "what a widget leaves behind is said in words"
    assert (errors, asked) == ([], []), "no script fails, nothing is loaded from elsewhere"


def as_html(path: Path) -> Path:
    """Write a notebook as a page of plain HTML beside the pictures; relative links are those of the notebook."""
    from nbconvert import HTMLExporter

    body, _ = HTMLExporter(template_name="basic").from_filename(str(path))
    PICTURES.mkdir(parents=True, exist_ok=True)
    file = PICTURES / f"{path.stem}.html"
    file.write_text(FRAME.format(base=f"{path.parent.as_uri()}/", title=path.stem, body=body), encoding="utf-8")
    return file


def listen(page: Page) -> tuple[list[str], list[str]]:
    """Two lists that fill while the page is used: errors of its scripts, and what it wants from the network."""
    errors: list[str] = []
    asked: list[str] = []

    def outside(route: Route) -> None:
        if route.request.url.startswith(BADGES):
            route.fulfill(body=BADGE, content_type="image/svg+xml")
        else:
            asked.append(route.request.url)
            route.abort()

    page.on("pageerror", lambda error: errors.append(str(error)))
    page.route("http*://**", outside)
    return errors, asked
