"""What several test files share."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import matplotlib
import pytest

import course_lib  # noqa: F401  before any test imports torch: it sets how threads wait

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def no_figure_stays() -> Iterator[None]:
    """Figures are closed after each test."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture(scope="session")
def course_data() -> Path:
    """The folder of the real EntityQuestions; tests that need it are skipped, with the reason, where it is not."""
    folder = os.environ.get("COURSE_DATA")
    if not folder:
        pytest.skip("needs the real data: set COURSE_DATA to a folder that holds EntityQuestions' dataset.zip")
    return Path(folder)
