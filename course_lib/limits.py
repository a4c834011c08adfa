"""The valid values of a setting: one check for its key in a plan, its option of a command and its field in Python.

A check takes a value and raises a ValueError that begins with it: "0: it must be a whole number from 1 to 1,024". The
checks of a record stand beside it by the names of its fields, and :func:`refuse` applies them when one is made.
"""

from __future__ import annotations

import difflib
import errno
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from numbers import Integral, Real
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from course_lib.files import CourseError
from course_lib.text import short

__all__ = ["ENTRIES", "SEED", "Check", "absolute", "each", "flag", "folder", "number", "one_of", "problem", "refuse",
           "unknown", "whole"]

Check = Callable[[Any], None]
ENTRIES = 1000  # of a list


def whole(least: int, most: int, *, why: str = "") -> Check:
    """A whole number within these bounds; ``why`` explains them."""
    return _within(Integral, least, most, f"a whole number from {least:,} to {most:,}{why and f' ({why})'}")


def number(least: float, most: float) -> Check:
    """Any number within these bounds."""
    return _within(Real, least, most, f"a number from {least:g} to {most:g}")


def _within(kind: type, least: float, most: float, text: str) -> Check:
    def check(value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, kind) or not least <= value <= most:  # refuses NaN too
            raise ValueError(f"{short(value)}: it must be {text}")
    return check


SEED = whole(0, 2**32 - 1)  # what numpy and torch both take


def flag(value: Any) -> None:
    """True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"{short(value)}: it must be True or False")


def one_of(kind: str, known: Iterable[str]) -> Check:
    """One of these names."""
    def check(value: Any) -> None:
        if not isinstance(value, str) or value not in known:
            raise ValueError(unknown(kind, value, known))
    return check


def unknown(kind: str, name: Any, known: Iterable[str]) -> str:
    """The message about a name that is none of those known."""
    near = difflib.get_close_matches(short(name).strip("'"), list(known), n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"the known ones are {', '.join(known)}"
    return f"{short(name)} is no {kind}; {hint}"


def each(check: Check, *, same: Callable[[Any], Any] = lambda value: value) -> Check:
    """A list of 1 to ENTRIES different entries that pass ``check``; they differ where ``same`` of them does."""
    def every(values: Any) -> None:
        if not isinstance(values, Sequence) or isinstance(values, str) or not 0 < len(values) <= ENTRIES:
            raise ValueError(f"{short(values)}: it must be a list of 1 to {ENTRIES:,} entries")
        seen = []
        for value in values:
            check(value)
            if same(value) in seen:
                raise ValueError(f"{short(value)} stands there twice; take one out")
            seen.append(same(value))
    return every


def problem(check: Check, value: Any) -> str | None:
    """The message of a check that refuses a value; None where nothing is wrong."""
    try:
        check(value)
    except (CourseError, ValueError) as error:
        return str(error)
    return None


def refuse(record: Any, checks: Mapping[str, Check], *, owner: str = "") -> None:
    """Check the fields of a dataclass; None passes where it is the default.

    Raises:
        CourseError: names every field that is wrong, after ``owner``.
    """
    values = {field.name: getattr(record, field.name) for field in fields(record) if field.name in checks}
    none = {field.name for field in fields(record) if field.default is None}
    wrong = [f"{owner}{name} = {said}" for name, value in values.items()
             if not (value is None and name in none) and (said := problem(checks[name], value))]
    if wrong:
        raise CourseError("; ".join(wrong))


def absolute(path: str | Path, place: str) -> Path:
    """A path with ``~`` and links followed; ``place`` is the option or variable that it comes from.

    Raises:
        CourseError: no path, a loop of links, or the home of a user who is none.
    """
    try:
        return Path(path).expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise CourseError(f"{place} = {short(path)}: no such place ({error}); give another") from None


def folder(path: str | Path, place: str, *, write: bool = False) -> Path:
    """A folder that is there or can be made, with ``~`` followed; ``place`` is the option or variable.

    Raises:
        CourseError: a loop of links, a file in its place, or, with ``write``, one that nothing can be written in.
    """
    absolute(path, place)
    path = Path(path).expanduser()
    try:
        there = _standing(path)
    except OSError as error:
        raise CourseError(f"{place} = {short(path)}: no such place ({error.strerror}); give another folder") from None
    if not there.is_dir():
        raise CourseError(f"{place} = {short(path)}: {there} is no folder; move it away, or give another folder")
    if write:
        _refuse_closed(there, f"{place} = {short(path)}")
    return path


def _refuse_closed(there: Path, place: str) -> None:
    try:
        TemporaryFile(dir=there).close()  # what a system says of rights is not what it does
    except OSError as error:
        raise CourseError(f"{place}: nothing can be written in {there} ({error.strerror}); give another "
                          f"folder") from None


def _standing(path: Path) -> Path:
    """The path itself, or the first above it that is there."""
    for place in (path, *path.parents):
        try:
            place.stat()
            return place
        except (FileNotFoundError, NotADirectoryError):
            if place.is_symlink():
                raise OSError(errno.ENOENT, "a link that leads nowhere") from None
    raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
