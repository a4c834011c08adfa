"""Projector mode, larger type for the back row: ``course lab --projector``, or the variable COURSE_PROJECTOR=1.

A figure has its size in inches from its lesson. With more dots an inch all of it grows on the screen, text, lines and
markers alike, so nothing in it collides that did not before; type and lines gain a little more on top.
"""

from __future__ import annotations

import os
from pathlib import Path

from course_lib.files import write_json

__all__ = ["FIGURES", "JUPYTERLAB", "enlarge_figures", "enlarge_lab", "is_on"]

FIGURES = {"figure.dpi": 150, "font.size": 12, "lines.linewidth": 2, "lines.markersize": 7, "axes.linewidth": 1.2,
           "legend.handlelength": 3}
JUPYTERLAB = {"@jupyterlab/apputils-extension:themes": {"overrides": {
    "code-font-size": "18px", "content-font-size1": "20px", "ui-font-size1": "16px"}}}


def is_on() -> bool:
    """Whether COURSE_PROJECTOR asks for it; "0" and nothing do not."""
    return os.environ.get("COURSE_PROJECTOR", "0") not in ("", "0")


def enlarge_figures() -> None:
    """Draw every figure of this session half as large again, with larger type and bolder lines."""
    import matplotlib

    matplotlib.rcParams.update(FIGURES)


def enlarge_lab(folder: Path) -> dict[str, str]:
    """Environment variables under which JupyterLab starts with larger text, and kernels in projector mode.

    The settings are written to ``folder``. They stand beside the user's own and last as long as this JupyterLab.
    """
    write_json(folder / "labconfig" / "default_setting_overrides.json", JUPYTERLAB)
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("JUPYTER_CONFIG_PATH")]))
    return {"COURSE_PROJECTOR": "1", "JUPYTER_CONFIG_PATH": path}
