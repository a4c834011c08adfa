"""One page to read after a headless run: every figure of the executed notebooks, each with the words printed beside it.

The page is a single HTML file. Its figures are embedded, so that it can be mailed or handed in; the links to the
executed notebooks work as long as it stays beside them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from course_lib.figures.plots.values import CLASS

__all__ = ["Chapter", "Figure", "describe", "figures", "render", "title"]

STYLE = """
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 56rem; margin: 2rem auto; padding: 0 1rem; }
body { color: #1a1a1a; background: #fff; }
figure { margin: 1.5rem 0; }
img { max-width: 100%; height: auto; }
figcaption { white-space: pre-wrap; overflow-x: auto; }
.mono { font-family: ui-monospace, monospace; font-size: .85rem; white-space: pre; }
"""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A picture that a cell showed, as base64 PNG, with the text that the same cell printed next to it."""

    cell: int
    png: str
    caption: str


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """One executed notebook on the page; ``link`` is relative to the page, ``error`` says why it stopped."""

    title: str
    link: str
    elapsed_s: float
    figures: Sequence[Figure]
    error: str | None = None


def title(notebook: Any) -> str:
    """The first heading of a notebook, or an empty string."""
    lines = (line for cell in notebook.cells if cell.cell_type == "markdown" for line in cell.source.splitlines())
    return next((line.lstrip("# ").strip() for line in lines if line.startswith("#")), "")


def figures(notebook: Any) -> tuple[Figure, ...]:
    """Every PNG output of a notebook in order; ``cell`` counts all cells from 1.

    A caption is the text after the picture, up to the next one; failing that, the text before it, because the
    inline backend shows an open figure only after everything that the cell printed.
    """
    found = []
    for number, cell in enumerate(notebook.cells, start=1):
        outputs = cell.get("outputs", [])
        places = [place for place, output in enumerate(outputs) if "image/png" in output.get("data", {})]
        for here, place in enumerate(places):
            after = outputs[place + 1 : places[here + 1] if here + 1 < len(places) else None]
            before = outputs[places[here - 1] + 1 if here else 0 : place]
            png = "".join(outputs[place]["data"]["image/png"].split())
            found.append(Figure(cell=number, png=png, caption=_text(after) or _text(before)))
    return tuple(found)


def describe(notebook: Any) -> None:
    """Store each picture's caption as its alternative text, in place, where converters to HTML look for it."""
    pictures = [output for cell in notebook.cells for output in cell.get("outputs", [])
                if "image/png" in output.get("data", {})]
    for output, figure in zip(pictures, figures(notebook), strict=True):
        output.setdefault("metadata", {})["image/png"] = {"alt": " ".join(figure.caption.split())}


def render(chapters: Iterable[Chapter], *, heading: str, preset: str) -> str:
    """The whole page as HTML; ``preset`` stands below the heading, since no number means anything without it."""
    body = "\n".join(_chapter(chapter) for chapter in chapters)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(heading)}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{STYLE}</style>\n</head>\n'
        f"<body>\n<h1>{escape(heading)}</h1>\n<p>Preset: <strong>{escape(preset)}</strong>. "
        f"Every figure below was made with it.</p>\n{body}\n</body>\n</html>\n"
    )


def _chapter(chapter: Chapter) -> str:
    name = escape(chapter.title)
    link = f'<a href="{escape(chapter.link)}">Executed notebook: {name}</a>'
    parts = [f"<section>\n<h2>{name}</h2>", f"<p>{link}, {chapter.elapsed_s:.0f} s</p>"]
    if chapter.error:
        parts.append(f"<p><strong>Stopped:</strong> {escape(chapter.error)}</p>")
    elif not chapter.figures:
        parts.append("<p>This notebook shows no figure.</p>")
    return "\n".join([*parts, *(_figure(figure) for figure in chapter.figures), "</section>"])


def _figure(figure: Figure) -> str:
    caption = figure.caption or f"Figure of cell {figure.cell}; the cell printed no text."
    # A printed table needs its columns; a sentence reads better in the page's own type.
    mono = ' class="mono"' if "\n" in caption else ""
    image = f'<img src="data:image/png;base64,{escape(figure.png)}" alt="{escape(caption)}">'
    return f"<figure>\n{image}\n<figcaption{mono}>{escape(caption)}</figcaption>\n</figure>"


def _text(outputs: Iterable[Any]) -> str:
    """The text that was printed or returned; a bare ``<Axes: ...>`` says nothing to a reader."""
    texts = []
    for output in outputs:
        if f'class="{CLASS}"' in output.get("data", {}).get("text/html", ""):
            continue  # the table behind a figure says more than a caption should
        if output.output_type == "stream" and output.name == "stdout":
            texts.append(output.text)
        elif "text/markdown" in output.get("data", {}):
            texts.append(output.data["text/markdown"])
        elif output.output_type in ("execute_result", "display_data"):
            plain = output.get("data", {}).get("text/plain", "")
            texts.append("" if plain.startswith(("<", "[<", "(<", "array([<")) else plain)
    return "\n".join(text.strip() for text in texts if text.strip())
