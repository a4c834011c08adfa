"""What the tests of figures share."""

import matplotlib.figure
import matplotlib.pyplot as plt
import pytest

from tests.support.tuning import base, folder  # noqa: F401


@pytest.fixture(autouse=True)
def nothing_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A figure is never shown or saved by the library."""
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a figure was shown or saved")

    monkeypatch.setattr(plt, "show", refuse)
    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", refuse)
