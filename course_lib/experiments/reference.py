"""Stored runs to read: the reference runs that come with the package, or those of a study.

The reference runs are every variant of the paper on the pocket preset, five seeds: a zip file of runs (bundle.py) that
is read like any folder of runs, so that every curve can be explored at once and offline. Beside it stands a table of
the questions that they were asked, with what the base model knew of each. Each run says where it comes from: commit,
versions, processor.

:func:`reproduce` makes one of them again here and compares: on the same processor all accuracies come out the same; on
another computer the numbers differ a little. :func:`make_reference` makes them all, which is needed whenever the pocket
model, its facts or the settings of the study change.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from course_lib.analysis.paper_claims import main_rate
from course_lib.data.paper import MEASURES
from course_lib.data.pocket.world import exposures
from course_lib.data.protocol import D
from course_lib.files import CourseError, read_csv, read_json, write_text
from course_lib.knowledge.p_true import p_true
from course_lib.knowledge.scoring.scores import Scores
from course_lib.knowledge.slick import draw_prompts, label, measure
from course_lib.models.four_bit import merged_for_evaluation
from course_lib.training.runs.folder import (
    RunSpec,
    bundle_specs,
    is_completed,
    read_history,
    read_right,
    read_runs,
    write_bundle,
)

if TYPE_CHECKING:
    import pandas as pd

    from course_lib.experiments.study import Study
    from course_lib.training.finetune import EpochRecord

__all__ = ["FOLDER", "SEEDS", "Reproduction", "StoredRuns", "finished_runs", "has_reference", "make_reference",
           "question_table", "reference_runs", "reproduce", "stored_runs"]

FOLDER = Path(__file__).parent / "reference_runs"
CLOSE = 3.0  # points: what another computer's rounding may change, and more than another seed rarely does
SEEDS = (0, 1, 2, 3, 4)
FEWER = (1, 2, 5)  # prompts, beside the ten of the labels (paper, Fig. 5)


@dataclass(frozen=True, slots=True)
class StoredRuns:
    """Completed runs: the folder or zip file that they lie in, which they are, and the questions they were asked.

    ``questions`` has one row for every "test" and "ood" question (column split), in the order in which they were
    asked, with its category before fine-tuning; for the reference runs also readings (exposures), p_true and
    category_1, _2 and _5 (with fewer prompts).
    """

    source: str
    root: Path
    specs: tuple[RunSpec, ...]
    questions: pd.DataFrame

    def epochs(self) -> pd.DataFrame:
        """Read all epochs, as :func:`.folder.read_runs` does."""
        return read_runs(self.root, self.specs)

    def main_rate(self) -> pd.DataFrame:
        """The epochs of the learning rate that most runs have."""
        return main_rate(self.epochs())

    def right(self, split: str = "test", *, variant: str | None = None) -> dict[tuple[str, float, int], np.ndarray]:
        """Single answers, bool (epochs, questions), by variant, share of Unknown and seed; of the main rate alone.

        ``split`` is "test", "ood" or, for D_IDK, "answered"; ``variant`` takes the runs of one alone.
        """
        rate = Counter(spec.tune.lr for spec in self.specs).most_common(1)[0][0]
        return {(spec.variant, spec.unknown_percent, spec.seed): read_right(spec.folder(self.root))[split]
                for spec in self.specs if spec.tune.lr == rate and variant in (None, spec.variant)}

    def asked(self, split: str = "test") -> pd.DataFrame:
        """The questions of one split."""
        return self.questions[self.questions["split"] == split].reset_index(drop=True)

    def provenance(self) -> Mapping[str, Any]:
        """Number of runs, seeds, commits, processors and versions that made them."""
        about = [read_json(spec.folder(self.root) / "run.json") for spec in self.specs]
        return {"runs": len(about), "seeds": sorted({spec.seed for spec in self.specs}),
                "commits": sorted({run["commit"] for run in about}),
                "devices": sorted({run["device"] for run in about}), "versions": about[0]["versions"]}

    def __str__(self) -> str:
        about = self.provenance()
        return (f"{self.source}: {about['runs']} runs, seeds {', '.join(map(str, about['seeds']))}; made at commit "
                f"{', '.join(about['commits']) or 'unknown'} on {', '.join(about['devices'])}")


def has_reference(preset: str) -> bool:
    """Return whether reference runs of this preset come with the package."""
    return (FOLDER / f"{preset}.zip").is_file()


@functools.lru_cache(maxsize=1)
def reference_runs(preset: str = "pocket") -> StoredRuns:
    """The reference runs of a preset.

    Raises:
        CourseError: none come with the package.
    """
    if not has_reference(preset):
        have = ", ".join(sorted(path.stem for path in FOLDER.glob("*.zip"))) or "none"
        raise CourseError(f"preset {preset}: no reference runs come with the package (there are: {have}); make your "
                          f"own with course sweep")
    root = FOLDER / f"{preset}.zip"
    questions = read_csv(FOLDER / f"{preset}-questions.csv", keep_default_na=False, na_values={"p_true": [""]})
    return StoredRuns(f"reference runs of {preset}", root, tuple(bundle_specs(root)), questions)


def finished_runs(study: Study) -> StoredRuns | None:
    """The study's own sweep if all of its runs are completed; else None. Nothing is measured or made."""
    plan, root = study.plan() if study.labels_file.is_file() else [], study.folder / "runs"
    done = bool(plan) and all(is_completed(spec, root) for spec in plan)
    return StoredRuns(f"runs of {study.name}", root, tuple(plan), _questions(study)) if done else None


def _questions(study: Study) -> pd.DataFrame:
    """The questions of a study that every run of it is asked, with their categories."""
    asked = study.labels().query("split in ('test', 'ood')").astype({"category": str})
    return asked.reset_index(drop=True)


def stored_runs(study: Study, *, progress: bool = True) -> StoredRuns:
    """The runs for all tables of the paper: the reference runs of this model, or else the study's own, made now."""
    if has_reference(study.name) and _weights(study.base) == _weights(reference_runs(study.name).specs[0].base):
        return reference_runs(study.name)
    from course_lib.experiments import sweep

    plan = study.full_plan()
    sweep.run(study, plan, progress=progress)
    return StoredRuns(f"runs of {study.name}", study.folder / "runs", tuple(plan), _questions(study))


def _weights(base: str) -> str:
    """The part of ``RunSpec.base`` that tells the weights, without the dtype that they compute in."""
    return base.rpartition("-")[0]


@dataclass(frozen=True, slots=True)
class Reproduction:
    """A reference run made again: the largest difference in points over all epochs, by measure."""

    spec: RunSpec
    difference: dict[str, float]

    @property
    def largest(self) -> float:
        """The largest difference of all, in points."""
        return max(self.difference.values())

    @property
    def close(self) -> bool:
        """True where rounding explains the difference."""
        return self.largest <= CLOSE

    def __str__(self) -> str:
        verdict = ("equal in every digit" if self.largest == 0 else "close, as on another computer" if self.close
                   else f"further off than rounding explains (limit {CLOSE:g} points)")
        told = ", ".join(f"{name} {value:.2f}" for name, value in self.difference.items())
        return f"{self.spec.name}: {verdict}; largest differences in points: {told}"


def reproduce(study: Study, *, spec: RunSpec | None = None,
              on_epoch: Callable[[EpochRecord], None] | None = None) -> Reproduction:
    """Make a reference run again, in the study's folder, and compare; without ``spec``, D at 50 % with the first seed.

    A run that is there already is not made again, only compared.

    Raises:
        CourseError: there is no such run, or this study would draw other training sets or has another base model.
    """
    from course_lib.experiments.executors import run_one

    found = reference_runs(study.name)
    spec = spec or next(one for one in found.specs if (one.variant, one.unknown_percent) == (D.name, 50))
    if (spec.base, spec.labels) != (here := (study.base, study.spec(50).labels)):
        raise CourseError(f"{spec.name} was made with base {spec.base} and labels {spec.labels}, here they are "
                          f"{here[0]} and {here[1]}: another model, other facts, or labels that fell otherwise on this "
                          f"processor; compare curves instead, not runs")
    run_one(study, spec, on_epoch=on_epoch)
    theirs, ours = (read_history(spec.folder(root)).to_frame()
                    for root in (found.root, study.folder / "runs"))
    return Reproduction(spec, {name: _difference(ours[name], theirs[name]) for name in MEASURES})


def _difference(ours: pd.Series, theirs: pd.Series) -> float:
    apart = np.abs(ours.to_numpy(float) - theirs.to_numpy(float))
    return float(np.nanmax(apart)) if not np.isnan(apart).all() else 0.0


def make_reference(study: Study, *, seeds: Sequence[int] = SEEDS, folder: Path = FOLDER) -> Path:
    """Run what is missing of the study's full plan, and write the zip file of its runs and the table of questions.

    About half an hour on two cores; finished runs are kept, so it may be stopped.
    """
    from course_lib.experiments import sweep

    plan = study.full_plan(seeds=seeds)
    sweep.run(study, plan)
    write_text(folder / f"{study.name}-questions.csv", question_table(study).to_csv(index=False))
    return write_bundle(folder / f"{study.name}.zip", study.folder / "runs", plan)


def question_table(study: Study) -> pd.DataFrame:
    """Tabulate the questions that the runs of a pocket study are asked, with columns as in :class:`StoredRuns`.

    P(True) and SliCK with fewer prompts are measured here.
    """
    table = _questions(study)[["split", "relation", "subject", "object", "category"]].copy()
    count = exposures().set_index(["relation", "subject"])["total"]
    table["readings"] = [count[row.relation, row.subject] for row in table.itertuples()]
    loaded, facts = study.load(), [*study.facts.test, *study.facts.ood]
    with merged_for_evaluation(loaded.model):
        table["p_true"] = p_true(loaded.model, loaded.tokenizer, facts).round(6)
        scores = measure(loaded.model, loaded.tokenizer, facts, draw_prompts(study.facts.exemplars))
    for prompts in FEWER:
        fewer = Scores(scores.greedy[:, :prompts], scores.log_probability[:, :prompts], scores.margin[:, :prompts])
        table[f"category_{prompts}"] = label(fewer)["category"].astype(str)
    return table
