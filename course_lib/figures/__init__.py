"""Figures: plots that take data and an ``ax``, and widgets over them. Nothing here measures or trains by itself."""

from course_lib.lazy import attach

__all__, __getattr__, __dir__ = attach(__name__, "plots", "widgets")
