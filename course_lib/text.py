"""Text that others wrote, such as a question of a file, as the text that it is: in one line, and in Markdown."""

from __future__ import annotations

import re

__all__ = ["in_markdown", "one_line"]

MARKS = re.compile(r"[\\`*_{}\[\]<>$|#~&@]|(?<=:)(?=//)|(?<=www)(?=\.)", re.IGNORECASE)  # what Markdown acts on


def one_line(text: str, *, longest: int) -> str:
    """A text without line breaks, control characters and marks that turn the direction, and not too long."""
    begun = text[:4 * longest]  # a giant is not read to its end
    shown = "".join(letter for letter in " ".join(begun.split()) if letter.isprintable())
    return shown if len(shown) <= longest and len(begun) == len(text) else f"{shown[:longest - 3]}..."


def in_markdown(text: str) -> str:
    """A text as Markdown shows it as it is: no HTML, no link, no formula, no cell of a table."""
    return MARKS.sub(lambda found: f"\\{found[0]}", text)
