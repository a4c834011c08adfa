"""Studies of the pocket preset whose labels are made up: no model is asked, and every fourth fact is Unknown."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from course_lib.data.facts import Fact
from course_lib.experiments import study
from course_lib.experiments.settings import Settings
from course_lib.experiments.study import Study
from course_lib.knowledge.scoring.scores import Scores
from course_lib.knowledge.slick import label
from course_lib.models.loading import Loaded
from course_lib.training.finetune import TuneConfig

SETTINGS = Settings(TuneConfig(epochs=1, warmup=0), size=24, percents=(0, 50), seeds=(0,),
                    per_relation={"train": 8, "dev": 4, "test": 1, "ood": 1})
DECIDING = ["variant", "unknown_percent", "seed", "epoch", "loss", "dev", "test", "ood", "known_fitted",
            "unknown_fitted"]
FAKE_MODEL = SimpleNamespace(device=SimpleNamespace(type="nowhere"))


def fake_load(preset: str, **_: Any) -> Loaded:
    """Load nothing."""
    return Loaded(preset, FAKE_MODEL, None)


def fake_labels(facts: Sequence[Fact]) -> pd.DataFrame:
    """Label without a model: the four categories take turns."""
    turn = np.arange(len(facts)) % 4
    greedy = np.stack([turn == 0, turn <= 1], axis=1)
    p = np.where(turn < 3, 0.3, 1e-9)[:, None].repeat(2, 1)
    about = pd.DataFrame({name: [getattr(fact, name) for fact in facts]
                          for name in ("relation", "subject", "object", "question")})
    return about.join(label(Scores(greedy, np.log(p), np.ones(p.shape))))


def labelled_study(folder: Path, settings: Settings = SETTINGS) -> Study:
    """A study whose labels are stored, so that neither it nor a worker of it measures any."""
    opened = Study("pocket", folder, settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "label_facts", lambda _load, facts, *_, **__: fake_labels(facts))
        patch.setattr(study, "load", fake_load)
        opened.labels(progress=False)
    return opened


def moved(opened: Study, folder: Path) -> Study:
    """The same study in another folder, with its labels and none of its runs."""
    folder.mkdir()
    (opened.folder / "labels").rename(folder / "labels")
    return Study(opened.preset, folder, opened.settings)
