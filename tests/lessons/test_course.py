"""The whole course: what it writes, and that the documentation says so."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from course_lib.analysis import paper_claims
from course_lib.data import paper
from course_lib.lessons.builder import course, notebooks
from course_lib.training.finetune import EpochRecord
from tests.support.made_runs import epochs

ROOT = Path(__file__).resolve().parents[2]


EPOCHS = pd.concat([epochs([40, 39, 38], percent=percent, test=[40 - step * percent / 10 for step in range(3)])
                    for percent in (0, 50, 100)])  # accuracy falls with the share of Unknown
SUMMARY = paper_claims.summary(EPOCHS, {"Unknown": 1.0}, None, preset="pocket")


def test_every_field_of_the_summary_is_documented() -> None:
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    names = {*SUMMARY, *SUMMARY["runs"][0], *SUMMARY["runs"][0]["early_stop"], *SUMMARY["claims"][0]}
    assert [name for name in sorted(names) if f"`{name}`" not in page] == []


def test_the_comparison_names_every_claim_that_does_not_hold() -> None:
    lines = "\n".join(course.compared_with_the_paper(SUMMARY))
    failed = [claim["claim"] for claim in SUMMARY["claims"] if not claim["holds"]]
    assert failed
    assert all(f"does not: {claim}" in lines for claim in failed)


def test_the_curve_is_a_png_of_three_charts(tmp_path: Path) -> None:
    path = course.draw_curve(EPOCHS, tmp_path / "curve.png", preset="pocket")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_an_epoch_record_holds_the_five_accuracies_of_the_summary() -> None:
    assert set(paper.MEASURES) < set(EpochRecord.__slots__)


def test_every_notebook_has_its_line_in_the_readme() -> None:
    listed = re.findall(r"\(notebooks/(\w+)\.ipynb\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert listed == sorted(path.stem for path in (ROOT / "notebooks" / "src").glob("*.py"))


@pytest.mark.slow
def test_the_course_runs_at_a_small_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the lessons that use the size of the study."""
    monkeypatch.setenv("COURSE_QUICK", "1")
    lessons = notebooks.source_paths(["06", "08", "09", "10"])
    monkeypatch.setattr(notebooks, "source_paths", lambda *_, **__: lessons)
    lines: list[str] = []
    page = course.run_course(preset="pocket", build_dir=tmp_path, echo=lines.append)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert page.is_file() and (tmp_path / "curve.png").is_file()
    assert len(summary["runs"]) == 2 * 4  # D at 0, 50 and 100 %, D_Known at 50 %; two seeds
    assert summary["never_read_unknown"] > 0.5
    assert [line.partition(" ")[0] for line in lines if " ... " in line] == [path.stem for path in lessons]


@pytest.mark.slow
def test_what_make_course_left_is_whole() -> None:
    """The build of the clone, where ``make course`` has filled it; ``.ci/run`` does so first."""
    build = ROOT / "build"
    if not (build / "summary.json").is_file():
        pytest.skip("needs the build of `make course`")
    summary = json.loads((build / "summary.json").read_text())
    assert (build / "report.html").is_file() and (build / "curve.png").is_file()
    assert {row["n"] for row in summary["curve"] if row["measure"] == "test"} == {3}
    assert summary["never_read_unknown"] > 0.5 and summary["questions"] == 3360
    assert [path.stem for path in sorted((build / "notebooks").glob("*.ipynb"))] == [
        path.stem for path in sorted((ROOT / "notebooks" / "src").glob("*.py"))]
