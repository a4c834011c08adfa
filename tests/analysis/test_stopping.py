"""When a run is looked at: its two stops, fixed epochs, and runs told apart by learning rate."""

from collections.abc import Callable

import pandas as pd
import pytest

from course_lib.analysis.stopping import at_epochs, over_seeds, single_rate, stops
from course_lib.files import CourseError
from tests.support.made_runs import NAN, epochs


def test_early_stop_is_the_best_dev_epoch_and_convergence_the_last() -> None:
    found = stops(epochs([0, 30, 50, 40])).set_index("stop")
    assert found["epoch"].to_dict() == {"EARLY_STOP": 2, "CONVERGENCE": 3}
    assert found["dev"].to_dict() == {"EARLY_STOP": 50, "CONVERGENCE": 40}


@pytest.mark.parametrize("dev", [[0, 30, 50, 50], [90, 30, 50]], ids=["a tie: the first", "never the untuned epoch"])
def test_early_stop_of_a_tie_and_of_a_base_that_is_best(dev: list[float]) -> None:
    assert stops(epochs(dev)).query("stop == 'EARLY_STOP'")["epoch"].item() == 2


def test_every_run_has_its_own_two_stops() -> None:
    table = pd.concat([epochs([0, 2, 1]), epochs([0, 1, 2], seed=1), epochs([0, 3, 1], variant="D_Known")])
    found = stops(table.sample(frac=1, random_state=0))  # in any order, with repeated index labels
    early = found[found["stop"] == "EARLY_STOP"]
    assert dict(zip(zip(early["variant"], early["seed"], strict=True), early["epoch"], strict=True)) == {
        ("D", 0): 1, ("D", 1): 2, ("D_Known", 0): 1}
    assert len(found) == 6


def test_over_seeds_has_one_row_for_each_mix_and_stop() -> None:
    found = over_seeds(stops(pd.concat([epochs([0, 10, 6]), epochs([0, 20, 10], seed=1)])))
    rows = {row["stop"]: (row["mean"], row["n"]) for row in found.to_dict("records")}
    assert rows == {"EARLY_STOP": (15, 2), "CONVERGENCE": (8, 2)}


def test_runs_that_differ_in_their_rate_alone_have_their_own_stops() -> None:
    table = pd.concat([epochs([0, 2, 1]).assign(lr=1e-3), epochs([0, 1, 2]).assign(lr=1e-4)])
    early = stops(table).query("stop == 'EARLY_STOP'")
    assert dict(zip(early["lr"], early["epoch"], strict=True)) == {1e-3: 1, 1e-4: 2}
    assert dict(zip(over_seeds(early)["lr"], over_seeds(early)["mean"], strict=True)) == {1e-3: 2, 1e-4: 2}


def test_a_rate_that_all_runs_share_adds_no_column() -> None:
    assert "lr" not in over_seeds(stops(epochs([0, 2, 1]).assign(lr=1e-3)))


def test_free_mixes_of_other_shares_are_other_runs() -> None:
    table = pd.concat([epochs([0, 2], variant="D_Free").assign(shares=name) for name in ("one", "two")])
    assert len(stops(table)) == 4


@pytest.mark.parametrize("use, table, said", [
    (single_rate, pd.concat([epochs([0, 2]).assign(lr=1e-3), epochs([0, 1]).assign(lr=1e-4)]),
     r"\b2 .*\(0\.0001, 0\.001\): "),
    (lambda table: at_epochs(table, [1, 9]), epochs([0, 1, 2]), r"\b9; .*\b2$"),
    (stops, epochs([NAN] * 3, test=[0, 1, 2]), r"\bdev\b"),
    (stops, pd.concat([epochs([0, 2], variant="D_Free"), epochs([0, 1], variant="D_Free")]),
     "^D_Free at 50 %, seed 0: epoch 1 ")],
    ids=["several rates", "an epoch that no run has", "no dev questions", "two runs that look alike"])
def test_what_cannot_be_told_is_refused(use: Callable[[pd.DataFrame], object], table: pd.DataFrame, said: str) -> None:
    with pytest.raises(CourseError, match=said):
        use(table)


def test_fixed_epochs_take_the_place_of_stops() -> None:
    found = over_seeds(at_epochs(epochs([0, 10, 20, 30]), (1, 3)))
    assert dict(zip(found["stop"], found["mean"], strict=True)) == {"epoch 1": 10, "epoch 3": 30}
