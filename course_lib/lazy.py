"""Faces of the rooms: each name is imported from its module when it is first asked for (PEP 562)."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

__all__ = ["attach"]


def attach(package: str, *modules: str, **names: str
           ) -> tuple[list[str], Callable[[str], Any], Callable[[], list[str]]]:
    """``__all__``, ``__getattr__`` and ``__dir__`` of a package that offers ``modules``, and ``names`` of its modules.

    Example:
        >>> __all__, __getattr__, __dir__ = attach(__name__, "nf4", presets="PRESETS Preset", loading="load")
    """
    homes = {name: module for module, several in names.items() for name in several.split()}
    every = sorted({*modules, *homes})

    def find(name: str) -> Any:
        if name in homes:
            return getattr(importlib.import_module(f"{package}.{homes[name]}"), name)
        if name in modules:
            return importlib.import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return every, find, lambda: every
