"""The whole course headless, as ``make course`` runs it: measure, sweep, summarise, execute the notebooks, compare.

The long work comes first, with a bar and the time left; the notebooks then draw from what it left in the build
folder, so each of them takes seconds. Everything that is finished is kept and used again by the next run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_lib import limits
from course_lib.analysis import paper_claims
from course_lib.data.protocol import D_KNOWN, D
from course_lib.experiments import sweep
from course_lib.experiments.forecast import describe_compared, forecast_study
from course_lib.experiments.study import Study, open_study
from course_lib.files import write_bytes, write_json
from course_lib.knowledge.slick import categorize, shares
from course_lib.lessons.builder import notebooks
from course_lib.models.loading import load

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["draw_curve", "measure_pocket", "run_course", "summarise"]


def run_course(names: Sequence[str] | None = None, *, preset: str | None = None, build_dir: str | Path | None = None,
               questions: int | str | None = None, echo: Callable[[str], None] = print) -> Path:
    """Run everything, or only the notebooks that are named; returns the path of the report.

    Writes ``summary.json``, ``curve.png``, ``report.html``, ``notebooks/``, ``labels/`` and ``runs/`` into the build
    folder. ``questions`` is the size of the study (:mod:`.settings`), for the notebooks too.

    Raises:
        CourseError: a preset or a size that is none, training sets that cannot be built, or a notebook that failed.
    """
    lessons = [path.stem for path in notebooks.source_paths(names)]
    folder = notebooks.build_folder(folder=build_dir)
    if data := os.environ.get("COURSE_DATA"):
        os.environ["COURSE_DATA"] = str(limits.absolute(data, "COURSE_DATA"))  # the notebooks run in another folder
    study = open_study(preset or os.environ.get("COURSE_PRESET") or "pocket", folder=folder, questions=questions)
    if questions is not None:
        os.environ["COURSE_QUESTIONS"] = str(questions)  # the notebooks open the study themselves
    if names:
        if any(name[:2] in ("07", "08") for name in lessons):
            sweep.run(study)  # here it shows a bar; within a notebook that runs headless it would not
        return notebooks.run_all(names, preset=study.preset, build_dir=folder, echo=echo)
    runs = len(study.variants) * len(study.settings.seeds)
    echo(f"Preset {study.preset}: measuring what it knows ({len(study.facts.train):,} training questions), then {runs} "
         f"fine-tuning runs (finished ones are used again)")
    echo(str(forecast_study(study)))
    epochs = sweep.run(study)
    summary = summarise(study, epochs)
    write_json(folder / "summary.json", summary)
    draw_curve(epochs, folder / "curve.png", preset=_label(study))
    page = notebooks.run_all(preset=study.preset, build_dir=folder, echo=echo)
    for line in compared_with_the_paper(summary):
        echo(line)
    for line in describe_compared(study):
        echo(line)
    echo(f"The curve: {folder / 'curve.png'}; the numbers: {folder / 'summary.json'}")
    return page


def summarise(study: Study, epochs: pd.DataFrame) -> dict[str, Any]:
    """The content of ``summary.json``: how many training facts, their shares, never-read facts, every run, claims."""
    labelled = study.labels(progress=False)
    train = labelled[labelled["split"] == "train"]
    found = paper_claims.summary(epochs, shares(train), never_read_unknown(study, labelled), preset=_label(study))
    return found | {"questions": len(train)}


def _label(study: Study) -> str:
    """The preset as results carry it: a folder by its name, without the path to it on this machine."""
    return study.name if Path(study.preset).is_absolute() else study.preset


def never_read_unknown(study: Study, labelled: pd.DataFrame) -> float | None:
    """Fraction of the never-read facts that come out Unknown; None where nobody knows what the model has read."""
    from course_lib.data import pocket

    if study.facts.name != "pocket":
        return None
    keys = ["relation", "subject", "object"]
    joined = labelled.merge(pocket.exposures()[[*keys, "total"]], on=keys)
    return shares(joined[joined["total"] == 0])["Unknown"]


def measure_pocket(folder: str | Path, *, progress: bool = True) -> dict[str, Any]:
    """Measure by SliCK the 4-bit model in a folder that ``course pocket build`` wrote.

    Category shares of the training facts, and the share of Unknown among those that were never read, with their n.
    """
    from course_lib.data import pocket

    world = pocket.read_world(Path(folder) / "facts.json")
    facts, loaded = pocket.fact_set(world), load(Path(folder) / "model")
    labelled = categorize(loaded.model, loaded.tokenizer, facts.train, facts.exemplars, progress=progress)
    total = {item.fact: item.exposures.total for item in world}
    never = labelled[[total[fact] == 0 for fact in facts.train]]
    return {"n": len(labelled), "shares": {name: round(share, 4) for name, share in shares(labelled).items()},
            "never_read": len(never), "never_read_unknown": round(shares(never)["Unknown"], 4)}


def compared_with_the_paper(summary: dict[str, Any]) -> list[str]:
    """The curve with its intervals; then, claim by claim, the verdict, what was measured, what was published."""
    lines = ["Test accuracy in percent, mean [95 % interval over seeds]:"]
    for row in summary["curve"]:
        if row["measure"] == "test" and row["variant"] == D.name:
            interval = "" if row["low"] is None else f" [{row['low']:.1f}, {row['high']:.1f}]"
            lines.append(f"  {row['unknown_percent']:3g} % Unknown, {row['stop']:11} {row['mean']:.1f}{interval}")
    lines.append(f"How the curve compares with the paper (preset {summary['preset']}):")
    for claim in summary["claims"]:
        lines += [f"  {claim['verdict']}: {claim['claim']}", f"      here: {claim['measured']}",
                  f"      paper: {claim['published']}"]
    return lines


def draw_curve(epochs: pd.DataFrame, path: str | Path, *, preset: str) -> Path:
    """The figure of the README: one run by epoch, and the hallucination curves in and out of distribution."""
    import io

    from matplotlib.figure import Figure

    from course_lib.figures import plots

    figure = Figure(figsize=(13, 4), layout="constrained")
    first, second, third = figure.subplots(1, 3)
    half = epochs.query("variant == 'D' and unknown_percent == 50 and seed == seed.min()")
    plots.run_curve(half, ax=first).set_title("50 % Unknown, one seed")
    variants = (D.name, D_KNOWN.name) if (epochs["variant"] == D_KNOWN.name).any() else (D.name,)
    plots.hallucination_curve(epochs, variants=variants, ax=second).set_title("in distribution")
    plots.hallucination_curve(epochs, measure="ood", ax=third).set_title("out of distribution")
    figure.suptitle(f"Fine-tuning on facts that the model did not know (preset {plots.plain_text(preset)}, "
                    f"{epochs['seed'].nunique()} seed(s))")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return write_bytes(path, buffer.getvalue())
