"""All claims of the paper with their verdicts, and the summary of a build."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from course_lib.analysis.curve_claims import curve_claims, rate_claims, sign_claims
from course_lib.analysis.stopping import over_seeds, run_columns, stops
from course_lib.analysis.variant_claims import category_claims, idk_claims
from course_lib.analysis.verdicts import Claim
from course_lib.data.paper import MEASURES
from course_lib.data.protocol import D
from course_lib.files import CourseError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["claims", "claims_table", "main_rate", "summary"]


def claims(epochs: pd.DataFrame) -> list[Claim]:
    """The paper's claims, checked on these epochs by one rule (:mod:`.verdicts`).

    A claim that these runs cannot tell, such as one about a slope with a single mix, is left out. Where there are
    several learning rates, all claims but those of Fig. 6 are about the one with the most runs.

    Raises:
        CourseError: there is no run of D.
    """
    main = main_rate(epochs)
    stopped = stops(main)
    if not (stopped["variant"] == D.name).any():
        raise CourseError("no epoch of D after the untuned one; run the sweep, or give all of its epochs")
    found = [*curve_claims(stopped), *sign_claims(main)]
    if len(main) < len(epochs):
        found += rate_claims(epochs, lr=float(main["lr"].iloc[0]))
    return [*found, *category_claims(stopped), *idk_claims(stopped)]


def main_rate(epochs: pd.DataFrame) -> pd.DataFrame:
    """The runs of the learning rate that most epochs have; everything, where the table has a single one or none."""
    if "lr" not in epochs or epochs["lr"].nunique(dropna=False) < 2:
        return epochs
    return epochs[epochs["lr"] == epochs["lr"].value_counts().idxmax()]


def claims_table(found: Sequence[Claim]) -> pd.DataFrame:
    """Columns claim, published, measured and verdict: "holds", "holds weakly" or "does not"."""
    import pandas as pd

    return pd.DataFrame([asdict(claim) for claim in found], columns=["claim", "published", "measured", "verdict"])


def summary(epochs: pd.DataFrame, shares: dict[str, float], never_read_unknown: float | None, *,
            preset: str) -> dict[str, Any]:
    """The content of ``build/summary.json``; its fields are documented in docs/results.md.

    ``curve`` and ``runs`` are about the learning rate that most epochs have (:func:`main_rate`), ``claims`` about all.

    Raises:
        CourseError: there is no run of D.
    """
    main, runs = main_rate(epochs), []
    for (variant, percent, seed, *_), group in stops(main).groupby(run_columns(main)):
        points = {row["stop"].lower(): {"epoch": int(row["epoch"])} | {name: _rounded(row[name]) for name in MEASURES}
                  for row in group.to_dict("records")}
        runs.append({"unknown_percent": float(percent), "variant": variant, "seed": int(seed)} | points)
    return {"preset": preset, "shares": shares, "never_read_unknown": never_read_unknown, "curve": _curve(main),
            "runs": runs, "claims": [asdict(claim) | {"holds": claim.holds} for claim in claims(epochs)]}


def _curve(epochs: pd.DataFrame) -> list[dict[str, Any]]:
    """Mean and interval over seeds for every variant, share, stop and measure."""
    stopped = stops(epochs)
    return [{"measure": measure} | {name: _rounded(value) if isinstance(value, float) else value
                                    for name, value in row.items()}
            for measure in MEASURES for row in over_seeds(stopped, measure).to_dict("records")]


def _rounded(value: float) -> float | None:
    return None if value is None or math.isnan(value) else round(float(value), 3)
