"""Make the reference runs that the package ships (reference.py): every variant, five seeds, and what was asked.

About half an hour on two cores; finished runs are kept, so it may be stopped. Needed again whenever the pocket model,
its facts or the settings of the study change.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from course_lib.data.pocket.world import exposures
from course_lib.experiments.reference import FOLDER
from course_lib.experiments.sweep import sweep
from course_lib.files import write_text
from course_lib.knowledge.p_true import p_true
from course_lib.knowledge.scoring.scores import Scores
from course_lib.knowledge.slick import draw_prompts, label, measure
from course_lib.models.four_bit import merged_for_evaluation
from course_lib.training.runs.folder import write_bundle

if TYPE_CHECKING:
    import pandas as pd

    from course_lib.experiments.study import Study

__all__ = ["SEEDS", "make_reference", "question_table"]

SEEDS = (0, 1, 2, 3, 4)
FEWER = (1, 2, 5)  # prompts, beside the ten of the labels (paper, Fig. 5)


def make_reference(study: Study, *, seeds: Sequence[int] = SEEDS, folder: Path = FOLDER) -> Path:
    """Run what is missing of the study's full plan, and write the zip file of its runs and the table of questions."""
    plan = study.full_plan(seeds=seeds)
    sweep(study, plan)
    write_text(folder / f"{study.name}-questions.csv", question_table(study).to_csv(index=False))
    return write_bundle(folder / f"{study.name}.zip", study.folder / "runs", plan)


def question_table(study: Study) -> pd.DataFrame:
    """What the runs of a pocket study are asked: columns as in :class:`.reference.Stored`.

    P(True) and SliCK with fewer prompts are measured here.
    """
    about = ["split", "relation", "subject", "object", "category"]
    table = study.labels().query("split in ('test', 'ood')")[about].reset_index(drop=True)
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
