"""Does a folder of HTML pages hold together? Links, pictures and headings, looked at without a browser or a network.

A page is sound when every link to the site itself leads to a file that is there, and to a place in it that is there;
when every picture exists and has an alternative text; and when it has one main heading and skips no level below it
(a screen reader's user walks a page by its headings). Addresses with a scheme (``https:``, ``mailto:``) lead out of the
site and are not followed; a picture or script that a page would fetch from elsewhere is reported, except where named.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

__all__ = ["Page", "faults", "read_page", "site_faults"]

LOADED = {"img": "src", "script": "src", "source": "src", "iframe": "src", "video": "src"}


@dataclass(slots=True)
class Page:
    """What one page of HTML refers to and offers, in the order in which it stands there."""

    links: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)
    places: set[str] = field(default_factory=set)
    headings: list[int] = field(default_factory=list)
    without_alt: list[str] = field(default_factory=list)
    language: str = ""


class _Reader(HTMLParser):
    """Fills a :class:`Page`; what stands in ``<template>`` or as text of a script is no part of it."""

    def __init__(self) -> None:
        super().__init__()
        self.page = Page()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.page.places.update(value for name, value in values.items()
                                if name == "id" or (tag == "a" and name == "name"))
        if tag == "html":
            self.page.language = values.get("lang", "")
        elif tag in ("a", "area") and "href" in values:
            self.page.links.append(values["href"])
        elif tag == "link" and "stylesheet" in values.get("rel", ""):
            self.page.loads.append(values.get("href", ""))
        elif re.fullmatch("h[1-6]", tag):
            self.page.headings.append(int(tag[1]))
        if tag in LOADED and LOADED[tag] in values:
            self.page.loads.append(values[LOADED[tag]])
        if tag == "img" and not values.get("alt", "").strip():
            self.page.without_alt.append(_short(values.get("src", "")))


def read_page(html: str) -> Page:
    """What a page refers to and offers."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return reader.page


def site_faults(folder: str | Path) -> list[str]:
    """All faults of all pages below ``folder``, as ``page: what is wrong``; an empty list when all is well."""
    folder = Path(folder)
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    pages = {name: read_page((folder / name).read_text(encoding="utf-8"))
             for name in sorted(files) if name.endswith(".html")}
    if not pages:
        return [f"{folder}: no pages there"]
    return [f"{name}: {fault}" for name in pages for fault in faults(name, pages, files)]


def faults(name: str, pages: Mapping[str, Page], files: set[str]) -> list[str]:
    """What is wrong with one page, given all pages and all files of the site (paths with ``/``, from its root)."""
    page = pages[name]
    found = [f"a picture without alternative text: {source}" for source in page.without_alt]
    found += [fault for link in page.links if (fault := _link_fault(name, link, pages, files))]
    found += [fault for load in page.loads if (fault := _load_fault(name, load, files))]
    found += _heading_faults(page.headings)
    return found if page.language else [*found, "no language: write <html lang=...>"]


def _heading_faults(levels: list[int]) -> list[str]:
    found = [] if levels.count(1) == 1 else [f"{levels.count(1)} main headings (h1) instead of one"]
    jumps = [(above, below) for above, below in zip([0, *levels], levels, strict=False) if below > above + 1]
    return found + [f"a heading h{below} directly after {f'h{above}' if above else 'nothing'}"
                    for above, below in jumps]


def _link_fault(name: str, link: str, pages: Mapping[str, Page], files: set[str]) -> str | None:
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    if not link:
        return "a link that leads nowhere"
    target = _target(name, parts.path)
    if target not in files:
        return f"a link to {link}, which is not there"
    place = unquote(parts.fragment)
    if place and target in pages and place not in pages[target].places:
        return f"a link to {link}, a page without that place"
    return None


def _load_fault(name: str, load: str, files: set[str]) -> str | None:
    parts = urlsplit(load)
    if parts.scheme == "data":
        return None
    if parts.scheme or parts.netloc:
        return f"it loads {_short(load)} from elsewhere; keep a copy in the site"
    return None if _target(name, parts.path) in files else f"it loads {_short(load) or 'nothing'}, which is not there"


def _target(name: str, path: str) -> str:
    """The file that a path on page ``name`` means; the page itself for an empty one, a folder's index for a folder."""
    if not path:
        return name
    joined = posixpath.normpath(posixpath.join(posixpath.dirname(name), unquote(path)))
    return posixpath.join(joined, "index.html") if path.endswith("/") else joined


def _short(text: str, limit: int = 80) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."
