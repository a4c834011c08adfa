"""What the tests of the lessons share: a small model that has read real facts, and a small course."""

import os
from pathlib import Path

import pytest

from tests.support import entity_model as entity
from tests.support.small_course import Made, make, once


@pytest.fixture(scope="session")
def entity_model(course_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the small model that has read some real facts; COURSE_ENTITY_MODEL names one that is there."""
    if made := os.environ.get("COURSE_ENTITY_MODEL"):
        return Path(made)
    return once("entity-model", tmp_path_factory, lambda folder: entity.build(folder, course_data))


@pytest.fixture(scope="session")
def small_course(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The first look at real facts; where they are not, the quick pocket study."""
    if os.environ.get("COURSE_DATA"):
        model = request.getfixturevalue("entity_model")
        variables = {"COURSE_PRESET": str(model), "COURSE_QUESTIONS": "first-look"}
    else:
        variables = {"COURSE_PRESET": "pocket", "COURSE_QUICK": "1"}
    return Made(once("small-course", tmp_path_factory, lambda folder: make(folder, variables)), variables)
