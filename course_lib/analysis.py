"""From stored epochs to the paper's comparisons: EARLY_STOP and CONVERGENCE, intervals over seeds, claims checked.

A table of epochs is what :func:`course_lib.runs.read_runs` gives: one row an epoch, accuracies in percent. Nothing
here needs a model.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from course_lib import paper
from course_lib.files import CourseError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Claim", "Estimate", "claims", "estimate", "linear_model", "over_seeds", "stops", "summary"]

RUN = ["variant", "unknown_percent", "seed"]
MEASURES = ["dev", "test", "ood", "known_fitted", "unknown_fitted"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over n seeds with its 95 % t-interval; ``low`` and ``high`` are NaN for one seed, never equal to it."""

    mean: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        if math.isnan(self.low):
            return f"{self.mean:.1f} (n = {self.n}, no interval)"
        return f"{self.mean:.1f} [{self.low:.1f}, {self.high:.1f}]"


def estimate(values: Any) -> Estimate:
    """Mean and 95 % interval of a few values (Student's t); missing values are left out."""
    from scipy import stats

    kept = np.asarray(values, float)
    kept = kept[~np.isnan(kept)]
    if len(kept) < 2:
        return Estimate(float(kept.mean()) if len(kept) else math.nan, math.nan, math.nan, len(kept))
    half = stats.t.ppf(0.975, len(kept) - 1) * stats.sem(kept)
    return Estimate(float(kept.mean()), float(kept.mean() - half), float(kept.mean() + half), len(kept))


def stops(epochs: pd.DataFrame) -> pd.DataFrame:
    """EARLY_STOP (first epoch of the best dev accuracy, not epoch 0) and CONVERGENCE (last) of every run.

    One row a run and stop, with a column ``stop``: "EARLY_STOP" or "CONVERGENCE".
    """
    import pandas as pd

    tuned = epochs[epochs["epoch"] > 0].sort_values([*RUN, "epoch"], ignore_index=True)
    early = tuned.loc[tuned.groupby(RUN)["dev"].idxmax()].assign(stop="EARLY_STOP")
    last = tuned.loc[tuned.groupby(RUN)["epoch"].idxmax()].assign(stop="CONVERGENCE")
    return pd.concat([early, last]).sort_values([*RUN, "stop"]).reset_index(drop=True)


def over_seeds(stopped: pd.DataFrame, measure: str = "test") -> pd.DataFrame:
    """Mean and interval over seeds: one row per variant, unknown_percent and stop; columns mean, low, high, n."""
    import pandas as pd

    rows = [{"variant": variant, "unknown_percent": percent, "stop": stop} | asdict(estimate(group[measure]))
            for (variant, percent, stop), group in stopped.groupby(["variant", "unknown_percent", "stop"])]
    return pd.DataFrame(rows)


def linear_model(epochs: pd.DataFrame, measure: str = "test") -> pd.Series:
    """The paper's Table 1: Accuracy = b0 + b_kn N_kn/|D| + b_unk N_unk/|D|, by least squares over all epochs of D.

    N counts the training rows that the model fits. Returns b0, b_kn, b_unk, r2 and n (epochs). The untuned epoch 0 is
    left out: it does not answer in the form that fine-tuning teaches.
    """
    import pandas as pd

    rows = epochs[(epochs["variant"] == "D") & (epochs["epoch"] > 0)].dropna(subset=measure)
    if len(rows) < 4:
        raise CourseError(f"{len(rows)} epochs of D with {measure}: three coefficients need at least 4; give more runs")
    share = rows["unknown_percent"].to_numpy(float) / 100
    known = np.nan_to_num(rows["known_fitted"].to_numpy(float)) / 100 * (1 - share)
    unknown = np.nan_to_num(rows["unknown_fitted"].to_numpy(float)) / 100 * share
    inputs = np.column_stack([np.ones(len(rows)), known, unknown])
    target = rows[measure].to_numpy(float)
    solution, *_ = np.linalg.lstsq(inputs, target, rcond=None)
    r2 = 1 - ((target - inputs @ solution) ** 2).sum() / ((target - target.mean()) ** 2).sum()
    return pd.Series([*solution, r2, len(rows)], index=["b0", "b_kn", "b_unk", "r2", "n"], name=measure)


def summary(epochs: pd.DataFrame, shares: dict[str, float], never_read_unknown: float | None, *,
            preset: str) -> dict[str, Any]:
    """The content of ``build/summary.json``; its fields are documented in the README."""
    runs = []
    for (variant, percent, seed), group in stops(epochs).groupby(RUN):
        points = {row["stop"].lower(): {"epoch": int(row["epoch"])} | {name: _rounded(row[name]) for name in MEASURES}
                  for row in group.to_dict("records")}
        runs.append({"unknown_percent": float(percent), "variant": variant, "seed": int(seed)} | points)
    return {"preset": preset, "shares": shares, "never_read_unknown": never_read_unknown, "curve": _curve(epochs),
            "runs": runs, "claims": [asdict(claim) for claim in claims(epochs)]}


def _curve(epochs: pd.DataFrame) -> list[dict[str, Any]]:
    """Mean and interval over seeds for every variant, share, stop and measure."""
    stopped = stops(epochs)
    return [{"measure": measure} | {name: _rounded(value) if isinstance(value, float) else value
                                    for name, value in row.items()}
            for measure in MEASURES for row in over_seeds(stopped, measure).to_dict("records")]


@dataclass(frozen=True, slots=True)
class Claim:
    """One statement of the paper, what it says in numbers, what these runs say, and the verdict."""

    claim: str
    published: str
    measured: str
    holds: bool


def claims(epochs: pd.DataFrame) -> list[Claim]:
    """The paper's claims about the curve, checked on these epochs (means over seeds).

    A claim that these runs cannot tell, such as one about a slope with a single mix, is left out.

    Raises:
        CourseError: there is no run of D.
    """
    stopped = stops(epochs)
    test, ood = (over_seeds(stopped, name).set_index(["variant", "unknown_percent", "stop"])["mean"]
                 for name in ("test", "ood"))
    percents = sorted(stopped.loc[stopped["variant"] == "D", "unknown_percent"].unique())
    if not percents:
        raise CourseError("no epoch of D after the untuned one; run the sweep, or give all of its epochs")
    early, late = ([test["D", p, stop] for p in percents] for stop in ("EARLY_STOP", "CONVERGENCE"))
    slopes = [_falls_with_unknown(percents, late), _early_stop_is_mild(percents, early),
              _gap_widens(percents, early, late)] if len(percents) > 1 else []
    found = [_rises_then_falls(stopped), *slopes, _unknown_does_harm(test, percents),
             _milder_out_of_distribution(test, ood, percents)]
    return [claim for claim in found if claim]


def _arrow(values: list[float]) -> str:
    return " > ".join(f"{value:.1f}" for value in values)


def _rises_then_falls(stopped: pd.DataFrame) -> Claim | None:
    half = stopped[(stopped["variant"] == "D") & (stopped["unknown_percent"] == 50)]
    if half.empty:
        return None
    early, late = (half[half["stop"] == stop][["known_fitted", "unknown_fitted", "test"]].mean()
                   for stop in ("EARLY_STOP", "CONVERGENCE"))
    told = (f"at EARLY_STOP {early.known_fitted:.0f} % of Known and {early.unknown_fitted:.0f} % of Unknown fitted, "
            f"test {early.test:.1f}; at CONVERGENCE {late.known_fitted:.0f} and {late.unknown_fitted:.0f} %, "
            f"test {late.test:.1f}")
    published = paper.UNKNOWN_MIX[50]
    return Claim("50 % Unknown: dev peaks with most of Known (>= 60 %) and little of Unknown (<= 25 %) fitted; when "
                 "both are fitted (>= 97 %), test has lost 4 points or more (Fig. 1)",
                 f"test {published['ES']:g} to {published['CONV']:g}", told,
                 bool(early.known_fitted >= 60 and early.unknown_fitted <= 25 and late.known_fitted >= 97
                      and late.unknown_fitted >= 97 and early.test - late.test >= 4))


def _falls_with_unknown(percents: list[float], late: list[float]) -> Claim:
    return Claim("At CONVERGENCE accuracy falls with every step of % Unknown (Fig. 3a)",
                 f"falls; {paper.UNKNOWN_MIX[100]['CONV']:g} at 100 %",
                 f"{_arrow(late)} at {', '.join(f'{p:g}' for p in percents)} %", bool(np.all(np.diff(late) < 0)))


def _early_stop_is_mild(percents: list[float], early: list[float]) -> Claim:
    return Claim("At EARLY_STOP accuracy depends little on % Unknown: at most a quarter is lost (Fig. 3a)",
                 f"{paper.NATURAL_MIX['ES']:g} at the natural mix, {paper.UNKNOWN_MIX[100]['ES']:g} at 100 %",
                 f"{early[0]:.1f} at {percents[0]:g} %, {early[-1]:.1f} at {percents[-1]:g} %",
                 bool(early[-1] >= 0.75 * early[0]))


def _gap_widens(percents: list[float], early: list[float], late: list[float]) -> Claim:
    gaps = [first - last for first, last in zip(early, late, strict=True)]
    return Claim("The loss from EARLY_STOP to CONVERGENCE grows with % Unknown, threefold or more (Fig. 3a)",
                 f"{paper.UNKNOWN_MIX[100]['ES'] - paper.UNKNOWN_MIX[100]['CONV']:.1f} points at 100 %",
                 f"{', '.join(f'{gap:.1f}' for gap in gaps)} points at {', '.join(f'{p:g}' for p in percents)} %",
                 bool(np.all(np.diff(gaps) > 0) and gaps[0] <= gaps[-1] / 3))


def _unknown_does_harm(test: pd.Series, percents: list[float]) -> Claim | None:
    inner = [p for p in percents if ("D_Known", p, "CONVERGENCE") in test.index]
    if not inner:
        return None
    gaps = {stop: [test["D_Known", p, stop] - test["D", p, stop] for p in inner]
            for stop in ("EARLY_STOP", "CONVERGENCE")}
    told = "; ".join(f"{stop} {', '.join(f'{gap:+.1f}' for gap in values)}" for stop, values in gaps.items())
    return Claim("Without its Unknown rows (D_Known) far less is lost: a gap at CONVERGENCE that grows (Fig. 3b)",
                 "no gap at EARLY_STOP, a growing one at CONVERGENCE",
                 f"D_Known minus D at {', '.join(f'{p:g}' for p in inner)} %: {told}",
                 bool(np.all(np.diff(gaps["CONVERGENCE"]) > 0) and min(gaps["CONVERGENCE"]) > max(gaps["EARLY_STOP"])))


def _milder_out_of_distribution(test: pd.Series, ood: pd.Series, percents: list[float]) -> Claim:
    early, late = ([values["D", percents[-1], stop] for values in (test, ood)]
                   for stop in ("EARLY_STOP", "CONVERGENCE"))
    drops = [first - last for first, last in zip(early, late, strict=True)]
    shares = [drop / first if first else math.nan for drop, first in zip(drops, early, strict=True)]
    return Claim("Out of distribution accuracy falls too, by fewer points (OOD figure)",
                 "up to 14 points, out of distribution up to 6",
                 f"at {percents[-1]:g} % Unknown {drops[0]:.1f} points ({shares[0]:.0%} of the start), out of "
                 f"distribution {drops[1]:.1f} ({shares[1]:.0%})", bool(0 < drops[1] < drops[0]))


def _rounded(value: float) -> float | None:
    return None if value is None or math.isnan(value) else round(float(value), 3)
