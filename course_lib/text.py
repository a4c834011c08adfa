"""Text that others wrote, such as names of files and questions, shown as it is: in errors, on one line, in Markdown."""

from __future__ import annotations

import re
import reprlib
from pathlib import PurePath
from typing import Any

__all__ = ["in_markdown", "one_line", "printable", "short"]

MARKS = re.compile(r"[\\`*_{}\[\]<>$|#~&@]|(?<=:)(?=//)|(?<=www)(?=\.)", re.IGNORECASE)  # what Markdown acts on
UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80


def printable(text: str) -> str:
    """A text with control characters, changes of the writing direction and lone surrogates written as escapes.

    They come from names of files and from rows, and would change a terminal, or could not be written to one.
    """
    return UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)


def short(value: Any) -> str:
    """A value as an error names it: its ``repr``, cut where it is long or deep; a path as its text."""
    try:
        return _SHORT.repr(str(value) if isinstance(value, PurePath) else value)
    except ValueError:  # Python writes no integer of more digits than this
        return "an integer of over 4,300 digits"


def one_line(text: str, *, longest: int) -> str:
    """A text without line breaks, control characters and changes of the writing direction, cut at ``longest``."""
    begun = text[:4 * longest]  # a giant is not read to its end
    shown = "".join(char for char in " ".join(begun.split()) if char.isprintable())
    return shown if len(shown) <= longest and len(begun) == len(text) else f"{shown[:longest - 3]}..."


def in_markdown(text: str) -> str:
    """A text escaped for Markdown: no HTML, no link, no formula, no cell of a table."""
    return MARKS.sub(lambda found: f"\\{found[0]}", text)
