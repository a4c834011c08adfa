"""The paper's claims about the curve (Figs. 1, 3, 4 and 6, Table 1), checked on runs of D and D_Known.

Thresholds stand in the text of each claim. They turn words of the paper ("most", "little") into numbers and were
chosen before the runs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from course_lib.analysis.intervals import Estimate
from course_lib.analysis.linear import linear_fit, tuned_epochs
from course_lib.analysis.stopping import STOPS, stops
from course_lib.analysis.verdicts import Claim, Runs, Step, claim, step
from course_lib.data import paper
from course_lib.data.protocol import D_KNOWN, D

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["curve_claims", "rate_claims", "sign_claims"]


def curve_claims(stopped: pd.DataFrame) -> list[Claim]:
    """Figs. 1, 3a, 3b, 4 and the out-of-distribution figure; a claim that these runs cannot tell is left out."""
    runs = Runs(stopped)
    percents = runs.percents(D.name)
    slopes = [_falls_with_unknown, _early_stop_is_mild, _gap_widens] if len(percents) > 1 else []
    found = [check(runs, percents) for check in (_rises_then_falls, *slopes, _unknown_does_harm, _fitted_first,
                                                 _milder_out_of_distribution)]
    return [each for each in found if each]


def _listed(values: Sequence[float], form: str = ".1f") -> str:
    return ", ".join(f"{value:{form}}" for value in values)


def _means(series: Sequence[pd.Series]) -> list[float]:
    return [float(values.mean()) for values in series]


def _gaps(runs: Runs, percents: Sequence[float], measure: str = "test") -> list[pd.Series]:
    """Points that each share loses from EARLY_STOP to CONVERGENCE, by seed."""
    return [runs(D.name, "EARLY_STOP", measure, p) - runs(D.name, "CONVERGENCE", measure, p) for p in percents]


def _rises_then_falls(runs: Runs, percents: Sequence[float]) -> Claim | None:
    if 50 not in percents:
        return None
    early, late = ({name: runs(D.name, stop, name, 50) for name in ("known_fitted", "unknown_fitted", "test")}
                   for stop in STOPS)
    first, last = ({name: values.mean() for name, values in at.items()} for at in (early, late))
    told = (f"at EARLY_STOP {first['known_fitted']:.0f} % of Known and {first['unknown_fitted']:.0f} % of Unknown "
            f"fitted, test {first['test']:.1f}; at CONVERGENCE {last['known_fitted']:.0f} and "
            f"{last['unknown_fitted']:.0f} %, test {last['test']:.1f}")
    published = paper.UNKNOWN_MIX[50]
    margins = (early["known_fitted"] - 60, 25 - early["unknown_fitted"], late["known_fitted"] - 97,
               late["unknown_fitted"] - 97, early["test"] - late["test"] - 4)
    return claim("50 % Unknown: dev peaks with most of Known (>= 60 %) and little of Unknown (<= 25 %) fitted; when "
                 "both are fitted (>= 97 %), test has lost 4 points or more (Fig. 1)",
                 f"test {published['ES']:g} to {published['CONV']:g}", told,
                 [step(margin, strict=False) for margin in margins])


def _falls_with_unknown(runs: Runs, percents: Sequence[float]) -> Claim:
    late = [runs(D.name, "CONVERGENCE", "test", p) for p in percents]
    return claim("At CONVERGENCE accuracy falls with every step of % Unknown (Fig. 3a)",
                 f"falls; {paper.UNKNOWN_MIX[100]['CONV']:g} at 100 %",
                 f"{' > '.join(f'{value:.1f}' for value in _means(late))} at {_listed(percents, 'g')} %",
                 [step(late[0] - late[-1])], series=[step(a - b) for a, b in itertools.pairwise(late)])


def _early_stop_is_mild(runs: Runs, percents: Sequence[float]) -> Claim:
    first, last = (runs(D.name, "EARLY_STOP", "test", p) for p in (percents[0], percents[-1]))
    return claim("At EARLY_STOP accuracy depends little on % Unknown: at most a quarter is lost (Fig. 3a)",
                 f"{paper.NATURAL_MIX['ES']:g} at the natural mix, {paper.UNKNOWN_MIX[100]['ES']:g} at 100 %",
                 f"{first.mean():.1f} at {percents[0]:g} %, {last.mean():.1f} at {percents[-1]:g} %",
                 [step(last - 0.75 * first, strict=False)])


def _gap_widens(runs: Runs, percents: Sequence[float]) -> Claim:
    gaps = _gaps(runs, percents)
    return claim("The loss from EARLY_STOP to CONVERGENCE grows with % Unknown, threefold or more (Fig. 3a)",
                 f"{paper.UNKNOWN_MIX[100]['ES'] - paper.UNKNOWN_MIX[100]['CONV']:.1f} points at 100 %",
                 f"{_listed(_means(gaps))} points at {_listed(percents, 'g')} %",
                 [step(gaps[-1] / 3 - gaps[0], strict=False)],
                 series=[step(b - a) for a, b in itertools.pairwise(gaps)])


def _unknown_does_harm(runs: Runs, percents: Sequence[float]) -> Claim | None:
    inner = [p for p in percents if p in runs.percents(D_KNOWN.name)]
    if not inner:
        return None
    early, late = ([runs(D_KNOWN.name, stop, "test", p) - runs(D.name, stop, "test", p) for p in inner]
                   for stop in STOPS)
    told = "; ".join(f"{stop} {_listed(_means(gaps), '+.1f')}" for stop, gaps in zip(STOPS, (early, late), strict=True))
    return claim("Without its Unknown rows (D_Known) far less is lost: a gap at CONVERGENCE that grows (Fig. 3b)",
                 "no gap at EARLY_STOP, a growing one at CONVERGENCE",
                 f"D_Known minus D at {_listed(inner, 'g')} %: {told}",
                 [step(last - first) for first, last in zip(early, late, strict=True)],
                 series=[step(b - a) for a, b in itertools.pairwise(late)])


def _fitted_first(runs: Runs, percents: Sequence[float]) -> Claim | None:
    inner = [p for p in percents if 0 < p < 100]
    if not inner:
        return None
    known, unknown = ([runs(D.name, "EARLY_STOP", name, p) for p in inner]
                      for name in ("known_fitted", "unknown_fitted"))
    return claim("At EARLY_STOP most Known rows are fitted (more than half) and few Unknown ones (less than a "
                 "quarter), at every share (Fig. 4)", "so for all shares; a figure only",
                 f"Known {_listed(_means(known), '.0f')} %, Unknown {_listed(_means(unknown), '.0f')} % at "
                 f"{_listed(inner, 'g')} %", [*(step(values - 50) for values in known),
                                              *(step(25 - values) for values in unknown)])


def _milder_out_of_distribution(runs: Runs, percents: Sequence[float]) -> Claim | None:
    if not runs.measured("ood"):
        return None
    drop, ood_drop = (_gaps(runs, percents[-1:], measure)[0] for measure in ("test", "ood"))
    shares = []
    for measure, lost in (("test", drop), ("ood", ood_drop)):
        start = runs(D.name, "EARLY_STOP", measure, percents[-1]).mean()
        shares.append(lost.mean() / start if start else math.nan)
    return claim("Out of distribution accuracy falls too, by fewer points (OOD figure)",
                 f"up to {paper.LARGEST_DROP['test']:g} points, out of distribution up to "
                 f"{paper.LARGEST_DROP['ood']:g}",
                 f"at {percents[-1]:g} % Unknown {drop.mean():.1f} points ({shares[0]:.0%} of the start), out of "
                 f"distribution {ood_drop.mean():.1f} ({shares[1]:.0%})", [step(ood_drop), step(drop - ood_drop)])


def sign_claims(epochs: pd.DataFrame) -> list[Claim]:
    """Table 1: fitting Known rows helps and fitting Unknown rows harms; ``epochs`` of one learning rate."""
    found = []
    for measure, name in (("test", "in"), ("ood", "out of")):
        rows = tuned_epochs(epochs, measure)
        if rows["unknown_percent"].nunique() < 2 or len(rows) < 4:
            continue
        fit, printed = linear_fit(epochs, measure), paper.LINEAR_MODEL[measure]
        known, unknown = (Estimate(*fit.loc[row, ["mean", "low", "high"]], n=int(fit.loc[row, "n"]))
                          for row in ("b_kn", "b_unk"))
        found.append(claim(
            f"Fitted Known rows add to accuracy, fitted Unknown rows take away, {name} distribution (Table 1)",
            f"Known {printed.known:+.1f}, Unknown {printed.unknown:+.1f} points",
            f"Known {known}, Unknown {unknown} points",
            [Step(known), Step(Estimate(-unknown.mean, -unknown.high, -unknown.low, unknown.n))]))
    return found


def rate_claims(epochs: pd.DataFrame, *, lr: float) -> list[Claim]:
    """Fig. 6: at every other learning rate than ``lr`` the curve has the same form."""
    found = []
    for other in sorted(set(epochs["lr"]) - {lr}) if "lr" in epochs else []:
        runs = Runs(stops(epochs[epochs["lr"] == other]))
        percents = runs.percents(D.name)
        if len(percents) > 1:
            late = [runs(D.name, "CONVERGENCE", "test", p) for p in percents]
            gaps = _gaps(runs, percents)
            found.append(claim(
                f"With another learning rate ({other:g} in place of {lr:g}) too, accuracy at CONVERGENCE falls with % "
                f"Unknown and the loss since EARLY_STOP grows (Fig. 6)",
                f"similar with {paper.OTHER_LEARNING_RATES[0]:g} in place of {paper.FINE_TUNING.learning_rate:g}",
                f"CONVERGENCE {_listed(_means(late))}, lost since EARLY_STOP {_listed(_means(gaps))} at "
                f"{_listed(percents, 'g')} %", [step(late[0] - late[-1]), step(gaps[-1] - gaps[0])]))
    return found
