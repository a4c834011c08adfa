"""Does each page of a folder of HTML have alternative texts and headings in order, and all that it shows beside it?

A page has a language and one main heading, and skips no level below it (a screen reader's user walks a page by its
headings); every picture has an alternative text; nothing is loaded from elsewhere or missing. Links are Sphinx's.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

__all__ = ["page_faults", "site_faults"]


class _Reader(HTMLParser):
    """Collects the faults of a page while it reads its headings; text of a script is no part of it."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder, self.faults, self.levels, self.language = folder, [], [0], ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: (value or "").strip() for name, value in attrs}
        if tag == "html":
            self.language = values.get("lang", "")
        elif re.fullmatch("h[1-6]", tag):
            self.levels.append(int(tag[1]))
            if self.levels[-1] > self.levels[-2] + 1:
                self.faults.append(f"a heading {tag} after level {self.levels[-2]}")
        elif tag == "img" and not values.get("alt"):
            self.faults.append(f"a picture without alternative text: {values.get('src', '')[:80]}")
        loaded = values.get("src") or (values.get("href") if "stylesheet" in values.get("rel", "") else None)
        if loaded is not None and not loaded.startswith("data:"):
            address = urlsplit(loaded)
            if address.netloc or not (self.folder / unquote(address.path)).is_file():
                self.faults.append(f"it loads {loaded[:80]}, which is not in the site")


def page_faults(html: str, *, folder: Path) -> list[str]:
    """What is wrong with a page that lies in ``folder``."""
    reader = _Reader(folder)
    reader.feed(html)
    reader.close()
    mains = reader.levels.count(1)
    return [*reader.faults, *([] if mains == 1 else [f"{mains} main headings (h1) instead of one"]),
            *([] if reader.language else ["no language: write <html lang=...>"])]


def site_faults(folder: Path) -> list[str]:
    """All faults of all pages below ``folder``, as ``page: what is wrong``; an empty list when all is well."""
    pages = sorted(folder.rglob("*.html"))
    return [f"{path.relative_to(folder).as_posix()}: {fault}" for path in pages
            for fault in page_faults(path.read_text(encoding="utf-8"), folder=path.parent)] or (
                [] if pages else [f"{folder}: no pages there"])
