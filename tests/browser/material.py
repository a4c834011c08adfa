"""What the notebooks of these tests show; a notebook's kernel and its test take the same from here."""

import numpy as np
import pandas as pd

from course_lib.data import pocket
from course_lib.data.facts import Fact
from course_lib.data.paper import CATEGORIES
from course_lib.experiments.reference import reference_runs
from course_lib.figures.widgets.fact_browser import Browse
from course_lib.knowledge.one_question import OneQuestion
from course_lib.knowledge.scoring.prompts import Prompt
from course_lib.models.nf4 import weight_samples

EPOCHS = reference_runs().epochs()
FIRST_SEED = EPOCHS[EPOCHS["seed"] == 0]
WEIGHTS = weight_samples(np.random.default_rng(0).normal(size=(256, 256)).astype(np.float32), seed=0)

QUESTIONS = [OneQuestion(fact, answers, np.array(right), (0.1, 0.5, 1.5), np.linspace(*p, 30).reshape(3, 10))
             for fact, answers, right, p in (
    (Fact("Ana Maria Castellanos", "P19", "Oslo"), ("Oslo", "Bergen") * 5, [True, False] * 5, (0.1, 0.9)),
    (Fact("Bo Larsen", "P26", "Ida Larsen"), ("Eva Holm",) * 10, [False] * 10, (0.0, 0.02)))]
DRAWN = Browse(tuple(QUESTIONS), ("MaybeKnown", "WeaklyKnown"),
               dict.fromkeys(("P19", "P26"), [Prompt("Q: Where was Ida Holm born?\nA: Narvik\n")] * 10))

READ = pocket.exposures().query("split == 'train'").reset_index(drop=True)
FACTS = [Fact(row.subject, row.relation, row.object) for row in READ.itertuples()]
LABELLED = pd.DataFrame({"relation": READ["relation"], "category": pd.cut(
    READ["total"], [-1, 0, 16, 64, float("inf")], labels=list(reversed(CATEGORIES))).astype(str)})
