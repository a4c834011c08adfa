"""The epochs at which runs are compared: EARLY_STOP, CONVERGENCE, or a fixed number (paper, section 4).

A table of epochs is what :func:`.read_runs` gives: one row an epoch, accuracies in percent. A run is
known by variant, unknown_percent and seed, and by its learning rate where the table has several.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from course_lib.analysis.intervals import estimate
from course_lib.data.protocol import NO_DEV, early_stop
from course_lib.files import CourseError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RUN", "STOPS", "at_epochs", "over_seeds", "run_columns", "single_rate", "stops"]

RUN = ["variant", "unknown_percent", "seed"]
STOPS = ("EARLY_STOP", "CONVERGENCE")


def run_columns(epochs: pd.DataFrame) -> list[str]:
    """The columns that tell one run from another in this table."""
    # a rate that is the same everywhere would only add a column to every result
    return [*RUN, *(name for name in ("lr", "shares") if name in epochs and epochs[name].nunique(dropna=False) > 1)]


def single_rate(epochs: pd.DataFrame) -> pd.DataFrame:
    """The same table, for what cannot tell learning rates apart.

    Raises:
        CourseError: the runs have several rates.
    """
    if "lr" in run_columns(epochs):
        rates = sorted(epochs["lr"].unique())
        raise CourseError(f"runs of {len(rates)} learning rates ({', '.join(f'{rate:g}' for rate in rates)}): choose "
                          f"one, for example epochs.query('lr == {rates[0]:g}')")
    return epochs


def stops(epochs: pd.DataFrame) -> pd.DataFrame:
    """EARLY_STOP (:func:`.protocol.early_stop`) and CONVERGENCE (the last epoch) of every run.

    One row a run and stop, with a column ``stop``: "EARLY_STOP" or "CONVERGENCE". Dev accuracy counts all questions,
    so that EARLY_STOP of D_IDK is not the epoch that is most accurate where it answers.

    Raises:
        CourseError: a run has no dev accuracy, or the table has an epoch of a run twice.
    """
    run = run_columns(epochs)
    tuned = epochs[epochs["epoch"] > 0].sort_values([*run, "epoch"], ignore_index=True)
    twice = tuned[tuned.duplicated([*run, "epoch"])]
    if len(twice):
        first = twice.iloc[0]
        raise CourseError(f"{first['variant']} at {first['unknown_percent']:g} %, seed {first['seed']}: epoch "
                          f"{first['epoch']} stands twice in the table, so two runs would be taken for one; give each "
                          f"preset, size and free mix a table of its own")
    at, names = [], []
    for _, rows in tuned.groupby(run, dropna=False):
        best = early_stop(dict(zip(rows["epoch"], rows["dev"], strict=True)))
        if best is None:
            raise CourseError(NO_DEV)
        at += [rows.index[rows["epoch"] == best][0], rows.index[-1]]  # they are sorted by epoch
        names += STOPS
    return tuned.loc[at].assign(stop=names).sort_values([*run, "stop"]).reset_index(drop=True)


def at_epochs(epochs: pd.DataFrame, numbers: Sequence[int]) -> pd.DataFrame:
    """The rows after fixed numbers of epochs, with a column ``stop`` such as "epoch 4"; takes the place of stops.

    Raises:
        CourseError: no run has come to one of these epochs.
    """
    missing = sorted(set(numbers) - set(epochs["epoch"]))
    if missing:
        raise CourseError(f"no run has epoch {', '.join(map(str, missing))}; the last one is {epochs['epoch'].max()}")
    chosen = epochs[epochs["epoch"].isin(list(numbers))]
    return chosen.assign(stop=[f"epoch {number:g}" for number in chosen["epoch"]]).reset_index(drop=True)


def over_seeds(stopped: pd.DataFrame, measure: str = "test") -> pd.DataFrame:
    """Mean and interval over seeds: one row per variant, unknown_percent and stop; columns mean, low, high, n.

    Where the table has several learning rates, each has rows of its own and there is a column lr.
    """
    import pandas as pd

    keys = [name for name in run_columns(stopped) if name != "seed"] + ["stop"]
    rows = [dict(zip(keys, values, strict=True)) | asdict(estimate(group[measure]))
            for values, group in stopped.groupby(keys, dropna=False)]
    return pd.DataFrame(rows)
