"""The benchmark of a busy machine: its ratios, its table, and what it sets in the measured process."""

import json
import re

import pytest

from benchmarks import busy
from benchmarks.busy import Measured, Setting, last_line, table

FOUND = [Measured(Setting("run", 0), (4.0, 5.0, 9.0)), Measured(Setting("run", 1), (6.0, 8.0, 10.0)),
         Measured(Setting("run", 0, spinning=True), (4.0,)),
         Measured(Setting("run", 1, spinning=True), (100.0,), cut=True)]


def test_medians_are_compared_with_those_of_a_quiet_machine_and_the_table_says_where_one_was_cut() -> None:
    # 8 / 5 beside one busy process; 5 / 4 beside spinning threads
    assert json.loads(last_line(FOUND)) == {"slowdown": {"run": {"1": 1.6}}, "vs_spinning": {"run": 1.25}}
    lines = table(FOUND, {"date": "2026-01-02", "cpu": "a CPU"}, rounds=3, lesson="03").splitlines()
    assert "| run | the course | 1 | 8.0 | 50% | 1.60 |" in lines
    assert re.search(r"^\| run \| spinning \| 1 \| \D+ 100\.0 \| 0% \| \D+ 25\.00 \|$", "\n".join(lines), re.MULTILINE)


def test_only_a_spinning_process_is_told_how_to_wait(monkeypatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    assert not {"OMP_NUM_THREADS", "OMP_WAIT_POLICY"} & Setting("run", 0).environment.keys()
    assert "GOMP_SPINCOUNT" in Setting("run", 0, spinning=True).environment


def test_a_quick_run_ends_with_json_and_leaves_a_table(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(busy, "measure", lambda setting, **_: 2.0 + setting.busy)
    busy.main(["--quick", "--out", str(tmp_path)])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found == {"slowdown": {"labels": {"1": 1.5}, "run": {"1": 1.5}}, "vs_spinning": {"labels": 1, "run": 1}}
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".md"]


@pytest.mark.slow
@pytest.mark.parametrize("work", ["labels", "run"])
def test_a_piece_of_work_is_measured_in_a_process_of_its_own(work) -> None:
    assert busy.measure(Setting(work, 1), lesson="03", quick=True, limit=300) > 0


def test_work_that_takes_more_than_the_limit_is_cut() -> None:
    assert busy.measure(Setting("labels", 0), lesson="03", quick=True, limit=0.1) is None
