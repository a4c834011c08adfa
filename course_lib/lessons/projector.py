"""Projector mode, larger type for the back row: ``course lab --projector``, or the variable COURSE_PROJECTOR=1.

A figure has its size in inches from its lesson. With more dots an inch all of it grows on the screen, text, lines and
markers alike, so nothing in it collides that did not before; type and lines gain a little more on top.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from course_lib.files import write_json

__all__ = ["FIGURES", "JUPYTERLAB", "enlarge_figures", "enlarge_lab", "is_on"]

FIGURES = {"figure.dpi": 150, "font.size": 12, "lines.linewidth": 2, "lines.markersize": 7, "axes.linewidth": 1.2,
           "legend.handlelength": 3}
JUPYTERLAB = {"code-font-size": "18px", "content-font-size1": "20px", "ui-font-size1": "16px"}


def is_on() -> bool:
    """True if COURSE_PROJECTOR asks for it; "0" and nothing do not."""
    return os.environ.get("COURSE_PROJECTOR", "0") not in ("", "0")


def enlarge_figures() -> None:
    """Draw every figure of this session half as large again, with larger type and bolder lines."""
    import matplotlib

    matplotlib.rcParams.update(FIGURES)


def enlarge_lab(folder: Path) -> dict[str, str]:
    """Environment variables under which JupyterLab starts with larger text, and kernels in projector mode.

    JupyterLab takes sizes of text from the user's own settings alone. So these are copied to ``folder``, and the sizes
    set there: what the user changes while it runs does not last, and their own settings stay as they are.
    """
    own, copy = _own_settings(), folder.resolve() / "user-settings"
    if own != copy:  # the same when this is started from a terminal of a JupyterLab in projector mode
        shutil.rmtree(copy, ignore_errors=True)
        if own.is_dir():
            shutil.copytree(own, copy)
    theme = copy / "@jupyterlab" / "apputils-extension" / "themes.jupyterlab-settings"
    known = _read(theme)
    write_json(theme, known | {"overrides": known.get("overrides", {}) | JUPYTERLAB})
    return {"COURSE_PROJECTOR": "1", "JUPYTERLAB_SETTINGS_DIR": str(copy)}


def _own_settings() -> Path:
    from jupyter_core.paths import jupyter_config_dir

    default = Path(jupyter_config_dir(), "lab", "user-settings")
    return Path(os.environ.get("JUPYTERLAB_SETTINGS_DIR") or default).resolve()


def _read(path: Path) -> dict[str, Any]:
    """A file of settings, which may hold comments; nothing where it is missing or broken."""
    import json5  # comes with JupyterLab

    try:
        return json5.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
