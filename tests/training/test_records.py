"""Settings, epochs and packed answers of a run."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest

from course_lib.files import CourseError, DataError
from course_lib.training.records import (
    EpochRecord,
    History,
    TrainingMemory,
    TuneConfig,
    best_epoch,
    pack_bits,
    unpack_bits,
)


@pytest.mark.parametrize("wrong", [
    {"epochs": 0}, {"epochs": 1001}, {"epochs": 2.5}, {"epochs": True}, {"epochs": "3"}, {"epochs": None},
    {"lr": -1e-4}, {"lr": math.nan}, {"lr": math.inf}, {"lr": 10**400}, {"lr": 1e-300}, {"warmup": -1},
    {"warmup": math.inf}, {"warmup": 13}, {"rank": 0}, {"rank": 1025}, {"alpha": 0}, {"alpha": 1.5}, {"batch": 0},
    {"batch": 1.5}, {"batch": 10**9}, {"clip": 0}, {"clip": 1e-300}, {"seed": -1}, {"seed": 2**32}, {"seed": 0.0}],
    ids=str)
def test_a_setting_out_of_range_is_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(CourseError, match=rf"^TuneConfig\.{next(iter(wrong))} = .*: "):
        TuneConfig(**wrong)


def test_all_settings_that_are_wrong_are_named_and_numpys_numbers_are_right() -> None:
    with pytest.raises(CourseError, match="TuneConfig.epochs = 0: .*; TuneConfig.rank = 0: "):
        TuneConfig(epochs=0, rank=0)
    assert TuneConfig(seed=np.int64(3), lr=np.float32(0.5)).seed == 3


def history(*dev: float | None) -> History:
    return History(tuple(EpochRecord(i, None, value, None, None, None, None, 0.0) for i, value in enumerate(dev)))


def test_early_stop_is_the_best_epoch_on_dev_and_convergence_the_last() -> None:
    found = history(90, 10, 30, 30, 20)
    assert (found.early_stop.epoch, best_epoch(found.records), found.convergence.epoch) == (2, 2, 4)


def test_without_dev_questions_there_is_no_early_stop() -> None:
    with pytest.raises(CourseError, match=r"\bdev\b"):
        _ = history(None, None, None).early_stop


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9])
def test_packed_answers_come_back(count: int) -> None:
    right = np.arange(count) % 3 == 0
    assert np.array_equal(unpack_bits(pack_bits(right)), right) and pack_bits(right).startswith(f"{count}:")


@pytest.mark.parametrize("text", ["", "3", "3:zz", "-1:80", "9:80", "99999999999:80", "3:80:80", "3:8"])
def test_a_row_of_answers_that_is_none_is_named(text: str) -> None:
    with pytest.raises(DataError, match=f"^a run: .*{text!r} "):
        unpack_bits(text)


def test_the_peak_is_told_with_its_forecast() -> None:
    assert "200 MiB" in str(TrainingMemory(None, 200 * 2**20))
    assert re.search(r"200 MiB; .* 220 MiB \(\+10\.0 %\)", str(TrainingMemory(220 * 2**20, 200 * 2**20)))
