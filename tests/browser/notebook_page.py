"""One notebook in JupyterLab, as a learner uses it: run its cells, reach a control with Tab, press keys, read.

A control is named by its label. What a widget shows is read from the page: the source of its picture and its text.
Errors that a learner would not see count as well: those of the page's scripts, and those of callbacks, which a kernel
reports without any cell.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.browser.harness import PICTURES, TOKEN, WAIT_S, Lab, until

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

WIDTH, HEIGHT = 1280, 1000  # a laptop, with JupyterLab's file list open
SCRIPT = Path(__file__).with_name("page.js")


class View(NamedTuple):
    """What a cell shows: the source of its last picture ("" if there is none) and all of its text."""

    picture: str
    text: str


class NotebookPage:
    """A notebook that is open in JupyterLab; its code cells are numbered from 0."""

    def __init__(self, page: Page, lab: Lab, name: str) -> None:
        """Open it and wait until its kernel is idle: JupyterLab runs nothing before that."""
        self.page = page
        self.page_errors: list[str] = []
        page.on("pageerror", lambda error: self.page_errors.append(str(error)))
        page.set_default_timeout(1000 * WAIT_S)
        page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
        page.add_init_script(path=SCRIPT)
        page.goto(f"{lab.url}lab/tree/{name}?token={TOKEN}&reset")
        page.wait_for_function("course.kernel()?.status === 'idle'")
        page.evaluate("course.listen()")

    def start(self) -> None:
        """Begin to run all cells."""
        self.page.evaluate("course.runAll()")

    def finish(self, *, wait_s: float = WAIT_S) -> None:
        """Wait until all cells have run; a cell that failed fails the test."""
        self.page.wait_for_function("course.ended !== ''", timeout=1000 * wait_s)
        assert (ended := self.page.evaluate("course.ended")) == "done", f"{ended}: {self.problems()}"

    def run(self, *, wait_s: float = WAIT_S) -> None:
        """Run all cells to the end."""
        self.start()
        self.finish(wait_s=wait_s)

    def running(self) -> bool:
        """Whether cells are still running."""
        return self.page.evaluate("course.ended") == ""

    def problems(self) -> list[str]:
        """Errors of the page, of cells and of callbacks, and what was printed to stderr."""
        failed = ", ".join(f".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.{kind}']"
                           for kind in ("error", "stderr"))
        shown = self.page.locator(failed).all_inner_texts()
        return [*self.page_errors, *self.page.evaluate("course.kernelErrors"), *shown]

    def cell(self, number: int) -> Locator:
        """Code cell ``number``."""
        return self.page.locator(".jp-Notebook .jp-CodeCell").nth(number)

    def output(self, number: int) -> Locator:
        """What code cell ``number`` shows."""
        return self.cell(number).locator(".jp-Cell-outputArea").first

    def view(self, number: int) -> View:
        """What code cell ``number`` shows now."""
        return View(**self.output(number).evaluate("element => course.view(element)"))

    def shows(self, number: int, text: str, *, wait_s: float = WAIT_S) -> View:
        """Scroll to a cell and wait until its text contains ``text``, however it is broken into lines."""
        def found() -> View | None:
            self.cell(number).scroll_into_view_if_needed()  # JupyterLab draws only what is in sight
            view = self.view(number)
            there = flat(text) in flat(view.text)
            self.page.evaluate("course.nextFrame()")  # a picture may be drawn after its text: twice the same is settled
            return view if there and view == self.view(number) else None
        try:
            return until(found, "the text", wait_s=wait_s)
        except TimeoutError:
            raise AssertionError(f"not shown: {text!r}\nbut: {self.view(number).text!r}\n{self.problems()}") from None

    def control(self, number: int, label: str) -> Locator:
        """What of the control named ``label`` takes the keys: handle, list, box or button; several of a choice."""
        name = re.compile(rf"^\s*{re.escape(label)}\s*$")
        row = self.output(number).locator(".widget-inline-hbox, .widget-radio, .widget-toggle-buttons").filter(
            has=self.page.locator(".widget-label, .widget-label-basic").filter(has_text=name))
        inside = row.locator("[role=slider], select, input, button")
        return inside.or_(self.output(number).locator("button.widget-button").filter(has_text=name))

    def press(self, number: int, label: str, *keys: str, place: int = 0) -> None:
        """Put the focus on a control (the ``place``-th part of it) and press keys."""
        self.control(number, label).nth(place).focus()
        for key in keys:
            self.page.keyboard.press(key)

    def tab_stops(self, number: int, *, presses: int = 60) -> list[str]:
        """The labels of the controls that Tab reaches from the cell on, in this order, each once."""
        self.cell(number).focus()
        labels: list[str] = []
        for _ in range(presses):
            self.page.keyboard.press("Tab")
            label = self.output(number).evaluate("element => course.focused(element)")
            if label is None and labels:
                break
            if label is not None and label not in labels:
                labels.append(label)
        return labels

    def layout(self, number: int) -> list[str]:
        """What does not fit in a cell's output."""
        return self.output(number).evaluate("element => course.layout(element)")

    def keep(self, name: str, number: int) -> None:
        """Keep a picture of the page as ``build/browser/NAME.png``, high enough for the whole output of a cell."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        box = self.output(number).bounding_box() or {"height": HEIGHT}
        self.page.set_viewport_size({"width": WIDTH, "height": max(HEIGHT, int(box["height"]) + 300)})
        self.cell(number).scroll_into_view_if_needed()
        self.page.screenshot(path=PICTURES / f"{name}.png")
        self.page.set_viewport_size({"width": WIDTH, "height": HEIGHT})


def flat(text: str) -> str:
    """Text with every run of white space made one blank."""
    return " ".join(text.split())


Open = Callable[..., NotebookPage]  # of the fixture ``opened``
