"""What the tests of training share."""

from __future__ import annotations

import pytest

from tests.support.tuning import base, folder  # noqa: F401  fixtures


@pytest.fixture(autouse=True)
def no_git(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are begun by the dozen here; asking git each time would take most of the time."""
    monkeypatch.setattr("course_lib.training.runs.writer._commit", lambda: "none")
