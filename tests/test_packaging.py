"""pyproject.toml, environment.yml, requirements.lock and CHANGELOG.md say the same thing."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from course_lib import __version__

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]


def requirements(lines):
    return {canonicalize_name(item.name): item for item in map(Requirement, lines)}


DIRECT = requirements(PROJECT["dependencies"] + EXTRAS["lab"] + EXTRAS["dev"])


@pytest.fixture(scope="module")
def lock():
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


@pytest.fixture(scope="module")
def environment():
    return yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))


def test_environment_yml_has_the_ranges_of_pyproject(environment):
    pip = next(item["pip"] for item in environment["dependencies"] if isinstance(item, dict))
    found = requirements(line for line in pip if not line.startswith("-"))
    wanted = requirements(PROJECT["dependencies"] + EXTRAS["lab"])
    assert {name: str(item.specifier) for name, item in found.items()} == {
        name: str(item.specifier) for name, item in wanted.items()
    }


def test_environment_yml_has_a_python_that_pyproject_allows(environment):
    version = next(item for item in environment["dependencies"] if str(item).startswith("python=")).split("=")[1]
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(version)


def test_lock_has_plain_pins_only(lock):
    assert [line for line in lock if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line)] == []


def test_lock_is_sorted(lock):
    assert lock == sorted(lock, key=str.upper)


def test_lock_holds_each_package_once(lock):
    names = [canonicalize_name(line.split("==")[0]) for line in lock]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", sorted(DIRECT))
def test_lock_holds_each_direct_dependency_within_its_range(name, lock):
    pins = {canonicalize_name(line.split("==")[0]): line.split("==")[1] for line in lock}
    assert DIRECT[name].specifier.contains(pins[name])


def test_lock_pins_the_tested_torch(lock):
    assert "torch==2.13.0" in lock


def test_changelog_has_the_version_of_the_package():
    headings = re.findall(r"^## \[([^\]]+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert __version__ in headings


def test_citation_has_the_version_of_the_package():
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"] == __version__
