"""pyproject.toml, environment.yml, requirements.lock, constraints/ and CHANGELOG.md say the same thing."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from setuptools import find_packages

from course_lib import __version__
from tests.support.hosts import COLAB

ROOT = Path(__file__).resolve().parents[1]
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = CONFIG["project"]
EXTRAS = PROJECT["optional-dependencies"]


def requirements(lines):
    return {canonicalize_name(item.name): item for item in map(Requirement, lines)}


USED = requirements(PROJECT["dependencies"] + EXTRAS["lab"])
DIRECT = USED | requirements(EXTRAS["dev"])
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
PINNED = ("requirements.lock", "constraints/colab.txt", "constraints/lowest.txt")
# The CPU build of torch that is tested is newer than what is promised and than what Colab has; see constraints/*.txt.
OTHER_THAN_LOWEST = OTHER_THAN_COLABS = {"torch"}
NOT_IN_COLABS_LIST = {"bitsandbytes", "json5", "jupyterlab", "pytest", "pytest-xdist", "ruff", "setuptools"}


def lines_of(name):
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def pins(name):
    return {canonicalize_name(package): version for package, version in (line.split("==") for line in lines_of(name))}


def in_environment_yml():
    pip = next(item["pip"] for item in ENVIRONMENT["dependencies"] if isinstance(item, dict))
    return requirements(line for line in pip if not line.startswith("-"))


def test_environment_yml_has_the_ranges_of_pyproject_and_a_python_that_it_allows():
    assert in_environment_yml() == USED
    version = next(item for item in ENVIRONMENT["dependencies"] if str(item).startswith("python=")).split("=")[1]
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(version)


@pytest.mark.parametrize("file", PINNED)
def test_a_file_of_pins_has_plain_sorted_pins_of_each_package_once(file):
    assert [line for line in lines_of(file) if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line)] == []
    assert lines_of(file) == sorted(lines_of(file), key=str.upper)
    assert len(pins(file)) == len(lines_of(file)) > 20


@pytest.mark.parametrize(("file", "absent"), list(zip(PINNED, (set(), NOT_IN_COLABS_LIST, set()), strict=True)))
def test_each_direct_dependency_is_pinned_within_its_range_unless_colabs_list_lacks_it(file, absent):
    assert set(DIRECT) - set(pins(file)) == absent
    assert [f"{name}=={version}" for name, version in pins(file).items()
            if name in DIRECT and not DIRECT[name].specifier.contains(version)] == []


def test_lock_pins_the_tested_torch():
    assert {pins(file)["torch"] for file in PINNED} == {"2.13.0"}


@pytest.mark.parametrize("name", sorted(DIRECT))
def test_lowest_pins_exactly_what_is_promised(name):
    pinned = Version(pins("constraints/lowest.txt")[name])
    promised = next(Version(part.version) for part in DIRECT[name].specifier if part.operator == ">=")
    assert pinned > promised if name in OTHER_THAN_LOWEST else pinned == promised


def test_colabs_constraints_are_all_of_its_list_that_the_course_installs():
    pinned = pins("constraints/colab.txt")
    installed = set(pins("requirements.lock")) | {"notebook"}  # which ipywidgets 7 brings
    other = {name for name, version in pinned.items() if COLAB[name] != version}
    assert set(pinned) == set(COLAB) & installed
    assert other == OTHER_THAN_COLABS


def test_every_package_that_the_course_imports_is_declared():
    known = sys.stdlib_module_names | {"course_lib", "google", "ray"}  # Colab's own, and the extra "cluster"
    files = [*(ROOT / "course_lib").rglob("*.py"), *(ROOT / "notebooks" / "src").glob("*.py")]
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))]
    modules = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names} | {
        node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    tops = {module.partition(".")[0] for module in modules} - known
    assert "torch" in tops and {canonicalize_name(top) for top in tops} - set(USED) == set()


def test_the_wheel_holds_the_library_alone():
    found = find_packages(str(ROOT), **CONFIG["tool"]["setuptools"]["packages"]["find"])
    assert "course_lib.data.pocket" in found and {name.partition(".")[0] for name in found} == {"course_lib"}


def test_changelog_and_citation_have_the_version_of_the_package():
    headings = re.findall(r"^## \[([^\]]+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert __version__ in headings
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"] == __version__
