"""The benchmark of one pass: what it compares, and its last line."""

import json

import pytest
import torch

from benchmarks import sweep
from benchmarks.sweep import Report, Result, Trained, draw_mixes, last_line, table
from course_lib.data.facts import Fact

AT_8 = Result(8, 8, 20, one_by_one=3.0, together=2.0, one_by_one_spread=0.1, together_spread=0.2, max_difference=1e-7)
AT_32 = Result(32, 8, 20, one_by_one=6.0, together=5.0, one_by_one_spread=0.1, together_spread=0.2, max_difference=3e-7)
REPORT = Report("pocket", (AT_8, AT_32), 3, {"date": "2026-01-02", "gpu": "", "cpu": "a CPU", "threads": 2,
                                             "device": "cpu", "versions": {"torch": "2", "lm_eval": None}})


def test_the_last_line_has_the_ratios_and_the_table_has_rows_a_second() -> None:
    assert json.loads(last_line(REPORT)) == {"vs_one_by_one_8": 1.5, "vs_one_by_one_32": 1.2, "max_difference": 3e-7}

    # 8 runs x 20 steps x 8 rows in 3 and in 2 seconds
    assert "| 8 | 8 | 20 | 427 | 10% | 640 | 20% | 1.50 | 1.0e-07 |" in table(REPORT)


def test_every_run_has_rows_of_its_own_and_the_same_ones_each_time() -> None:
    facts = [Fact(f"subject {i}", "P19", "x") for i in range(50)]
    first, second = draw_mixes(facts, runs=2, rows=10)
    assert len(set(first.rows)) == 10 and first.rows != second.rows
    assert draw_mixes(facts, runs=2, rows=10)[1] == second


def test_the_difference_is_the_largest_of_losses_and_weights() -> None:
    one = Trained(1.0, [[1.0, 2.0]], [{"a": torch.zeros(2)}])
    other = Trained(1.0, [[1.0, 2.25]], [{"a": torch.tensor([0.0, -0.5])}])
    assert sweep.difference(one, other) == 0.5


@pytest.mark.slow
def test_a_quick_run_ends_with_json_and_leaves_a_table(tmp_path, capsys) -> None:
    sweep.main(["--quick", "--device", "cpu", "--out", str(tmp_path)])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(found) == {"vs_one_by_one_8", "vs_one_by_one_32", "max_difference"} and found["max_difference"] < 1e-5
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".md"]
