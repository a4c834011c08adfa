"""What several test files share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import course_lib  # noqa: F401  before any test imports torch: it sets how threads wait


@pytest.fixture(scope="session")
def course_data() -> Path:
    """The folder of the real EntityQuestions; tests that need it are skipped, with the reason, where it is not."""
    folder = os.environ.get("COURSE_DATA")
    if not folder:
        pytest.skip("needs the real data: set COURSE_DATA to a folder that holds EntityQuestions' dataset.zip")
    return Path(folder)
