"""A study of one preset: its facts, its base model, what that model knows, and the runs that belong to them.

The notebooks open a study in their first cell and never ask again which track they are on::

    study = open_study()          # the pocket model without a GPU, a real model with one
    labelled = study.labels()     # SliCK of all training, test and out-of-distribution facts, measured once
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_lib import limits
from course_lib.data.facts import FactSet
from course_lib.data.paper import CATEGORIES
from course_lib.data.protocol import D_IDK, D_KNOWN, D_NATURAL, SINGLE, VARIANTS, D, variant_named
from course_lib.experiments.settings import SETTINGS, Settings, draw_facts, thin_out
from course_lib.files import CourseError, digest, read_csv, read_json, repository, sha256, write_json, write_text
from course_lib.knowledge.labelling import delete_shards, label_facts
from course_lib.knowledge.scoring.prompts import Prompt
from course_lib.knowledge.slick import draw_prompts
from course_lib.models.hardware import device_dtype
from course_lib.models.hub import commit_of
from course_lib.models.loading import Loaded, load
from course_lib.models.presets import PRESETS, dataset_of, default_preset, folder_of, hub_id, known_preset
from course_lib.text import printable, short
from course_lib.training.mixing import Mix, draw, relation_sizes
from course_lib.training.records import History
from course_lib.training.runs.folder import RunSpec, read_history

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Study", "open_study"]


@dataclass(frozen=True)
class Study:
    """A preset, the folder for what it computes, and its settings."""

    preset: str
    folder: Path
    settings: Settings

    @property
    def name(self) -> str:
        """The preset as the name of a file or folder: that of a model folder, "owner--name" for a Hub id."""
        path = Path(os.path.expanduser(self.preset))
        if self.preset not in PRESETS and path.is_dir():
            return printable(path.resolve().name)  # it goes into files
        return self.preset.replace("/", "--")

    @functools.cached_property
    def facts(self) -> FactSet:
        """The facts, thinned out to ``settings.questions`` or ``settings.per_relation`` with a fixed seed.

        Raises:
            CourseError: there are fewer training facts than questions are asked for, or EntityQuestions cannot be had.
        """
        everything = dataset_of(self.preset).load()
        if self.settings.questions is None:
            return thin_out(everything, self.settings.per_relation)
        return draw_facts(everything, self.settings.questions)

    def load(self) -> Loaded:
        """A fresh copy of the 4-bit base model and its tokenizer."""
        return load(self.preset, revision=self.revision) if self.revision else load(self.preset)

    @functools.cached_property
    def revision(self) -> str | None:
        """The commit of a Hub model, the same for all that this study measures; None for a folder.

        Raises:
            CourseError: an id without a commit hash whose model is not on this disk, and the Hub cannot be asked.
        """
        model = hub_id(self.preset)
        return commit_of(model) if model else None

    @functools.cached_property
    def base(self) -> str:
        """Fingerprint of the base model: a digest of its files, or its Hub id and commit; and its dtype here."""
        if model := hub_id(self.preset):
            return f"{model.repo}@{self.revision}-{device_dtype()}"
        folder = folder_of(self.preset)
        files = sorted([*folder.glob("*.safetensors"), *folder.glob("*.json")])
        return f"{digest(''.join(map(sha256, files)))}-{device_dtype()}"

    @property
    def labels_file(self) -> Path:
        """The file of the labels: one for each size of the study, so that sizes can be changed back and forth."""
        size = "" if self.settings.questions is None else f"-{self.settings.questions}"
        return self.folder / "labels" / f"{self.name}{size}.csv"

    def labels(self, *, progress: bool = True) -> pd.DataFrame:
        """SliCK of train, test and ood facts, with a column ``split``; measured once, stored, and resumable."""
        import pandas as pd

        path, prompts = self.labels_file, draw_prompts(self.facts.exemplars)
        expected = {"base": self.base, "facts": _digest(self.facts), "prompts": _digest_prompts(prompts)}
        note = path.with_suffix(".json")
        if not (path.is_file() and note.is_file() and read_json(note) == expected):
            splits = [(split, fact) for split in ("train", "test", "ood") for fact in getattr(self.facts, split)]
            shards = path.with_suffix(".parts")
            frame = label_facts(self.load, [fact for _, fact in splits], prompts, shards, expected, progress=progress)
            frame.insert(0, "split", [split for split, _ in splits])
            note.unlink(missing_ok=True)  # a kill between the two writes must not leave a note about another table
            write_text(path, frame.to_csv(index=False))
            write_json(note, expected)
            delete_shards(shards)
        numbers = ["p_greedy", "p_sampled", *(f"prob_{name}" for name in CATEGORIES), "disagreement"]
        frame = read_csv(path, keep_default_na=False, na_values=dict.fromkeys(numbers, [""]))
        for column in ("category", "drawn"):
            frame[column] = pd.Categorical(frame[column], CATEGORIES, ordered=True)
        return frame

    def categories(self) -> dict[str, list[str]]:
        """Categories of the "test" and "ood" questions before fine-tuning, in their order."""
        labelled = self.labels()
        return {split: labelled.loc[labelled["split"] == split, "category"].astype(str).tolist()
                for split in ("test", "ood")}

    @functools.cached_property
    def _train(self) -> pd.DataFrame:
        return self.labels().query("split == 'train'").reset_index(drop=True)

    def mix(self, unknown_percent: float | None = None, *, variant: str = D.name, seed: int = 0) -> Mix:
        """A training set of this study; see :func:`.mixing.draw` for the variants.

        Raises:
            CourseError: another variant, or too few facts of a category; the message has the counts.
        """
        return self.mix_of(self.spec(unknown_percent, variant=variant, seed=seed))

    def mix_of(self, spec: RunSpec) -> Mix:
        """The training set of a run."""
        sizes = relation_sizes(self._train, rule=spec.rule, limit=spec.size)
        percent = spec.unknown_percent if variant_named(spec.variant).at_share else None
        return draw(self.facts.train, self._train, spec.variant, unknown_percent=percent, sizes=sizes,
                    shares=dict(spec.shares) or None, seed=spec.seed)

    def spec(self, unknown_percent: float | None = None, *, variant: str = D.name, seed: int = 0,
             lr: float | None = None, shares: Mapping[str, float] | None = None) -> RunSpec:
        """The run of one mix and seed; ``lr`` instead of the settings' rate, ``shares`` for D_Free.

        Raises:
            CourseError: a variant that does not exist, or D, D_Known or D_IDK without a percentage.
        """
        if unknown_percent is None and variant_named(variant).at_share:
            raise CourseError(f"variant {variant!r} needs unknown_percent, a percentage from 0 to 100")
        changes = {"seed": int(seed)} | ({"lr": lr} if lr else {})
        return RunSpec(
            self.name, variant, self._percent(variant, shares) if unknown_percent is None else unknown_percent, seed,
            self.settings.size, replace(self.settings.tune, **changes), self.base, self._drawn_from,
            rule=self.rule(variant), shares=tuple(sorted((shares or {}).items())))

    def rule(self, variant: str) -> str:
        """The rule of a variant's size (:func:`.mixing.relation_sizes`)."""
        return self.settings.rule if variant_named(variant).at_share else "category"

    def _percent(self, variant: str, shares: Mapping[str, float] | None) -> float:
        """The share of Unknown in a mix of categories, in percent; of D_Natural on average over its draws."""
        if variant == D_NATURAL.name:
            return round(100 * float((self._train["category"] == "Unknown").mean()))
        return 100 * (VARIANTS[variant].category == "Unknown") if shares is None else shares.get("Unknown", 0)

    @functools.cached_property
    def _drawn_from(self) -> str:
        """A digest of what decides a mix besides its rule, share and seed: the facts and their categories."""
        # the categories alone: the last digits of a probability differ between processors
        decided = self.labels()[["relation", "subject", "object", "split", "category"]]
        return digest(f"{_digest(self.facts)} {decided.to_csv()}")

    def history(self, spec: RunSpec) -> History:
        """Read the epochs of a finished run of this study."""
        return read_history(spec.folder(self.folder / "runs"))

    def cached(self, name: str, depends_on: str, make: Callable[[], Any]) -> Any:
        """Give what ``make`` gives, as JSON holds it; read it back later, as long as ``depends_on`` is the same."""
        path, key = self.folder / name / f"{self.name}.json", digest(depends_on)
        kept = read_json(path) if path.is_file() else {}
        if kept.get("key") != key:
            kept = {"key": key, "made": make()}
            write_json(path, kept)
        return kept["made"]

    @property
    def variants(self) -> list[tuple[str, float]]:
        """The mixes of the sweep: every D, and D_Known wherever it differs from D and is not empty."""
        percents = self.settings.percents
        return [(D.name, percent) for percent in percents] + [
            (D_KNOWN.name, percent) for percent in percents if D_KNOWN.differs_from_d(percent)]

    def plan(self, *, seeds: Sequence[int] | None = None) -> list[RunSpec]:
        """The runs of the curve: every mix with every seed."""
        return [self.spec(percent, variant=variant, seed=seed) for seed in seeds or self.settings.seeds
                for variant, percent in self.variants]

    @property
    def further(self) -> list[tuple[str, float | None, float | None]]:
        """Variant, % Unknown and rate of what the paper's other tables and figures need besides the curve.

        Single categories, D_Natural, D_IDK, and the curve at twice the rate; None: what the variant or settings say.
        """
        silent, faster = (D_IDK.name, 50, None), self.settings.tune.lr * 2
        return [(variant, None, None) for variant in (*SINGLE, D_NATURAL.name)] + [silent] + [
            (D.name, percent, faster) for percent in (0, 50, 100)]

    def full_plan(self, *, seeds: Sequence[int] | None = None) -> list[RunSpec]:
        """The runs of every table and figure of the paper: the curve, and what is needed further."""
        seeds = seeds or self.settings.seeds
        return self.plan(seeds=seeds) + [self.spec(percent, variant=variant, seed=seed, lr=lr)
                                         for variant, percent, lr in self.further for seed in seeds]


def open_study(preset: str | None = None, *, folder: str | Path | None = None, settings: Settings | None = None,
               questions: int | str | None = None) -> Study:
    """Open the study of a preset, a Hub id or a model folder.

    Without an argument the preset comes from the environment variable COURSE_PRESET, else it is "pocket" without a
    GPU and a real model with one. Results go to ``folder``, else to COURSE_BUILD, else to ``build`` in the repository
    that the working directory is in (in the working directory itself, outside of one). COURSE_QUICK=1 takes the
    "quick" settings: a tiny study to try the machinery. ``questions``, else COURSE_QUESTIONS, is the size of the study:
    600 to 81,700 training questions, or "first-look", "default" or "all" (:mod:`.settings`); ``settings`` of your
    own are resized by the argument alone.

    Raises:
        CourseError: a preset that looks like a typo, or a size that is none.
    """
    if preset is None:
        preset = os.environ.get("COURSE_PRESET") or default_preset()
    if os.environ.get("COURSE_DTYPE"):
        device_dtype()  # one that is none is refused before anything is measured
    preset = known_preset(preset, "COURSE_PRESET" if preset == os.environ.get("COURSE_PRESET") else "preset")
    chosen = settings or SETTINGS.get("quick" if _is_quick() else preset, SETTINGS["default"])
    if questions is not None:
        chosen = chosen.resized(questions)
    elif (size := os.environ.get("COURSE_QUESTIONS")) and not settings:
        chosen = chosen.resized(size, place="COURSE_QUESTIONS")
    place = "folder" if folder else "COURSE_BUILD"
    default = (repository(Path.cwd()) or Path.cwd()) / "build"
    return Study(preset, limits.folder(folder or os.environ.get("COURSE_BUILD") or default, place), chosen)


def _is_quick() -> bool:
    chosen = os.environ.get("COURSE_QUICK") or "0"
    if chosen not in ("0", "1"):
        raise CourseError(f"COURSE_QUICK = {short(chosen)}: it must be 1 for the quick settings, or 0")
    return chosen == "1"


def _digest(facts: FactSet) -> str:
    used = [asdict(fact) for fact in (*facts.train, *facts.test, *facts.ood, *facts.exemplars)]
    return digest(json.dumps(used))


def _digest_prompts(prompts: Mapping[str, Sequence[Prompt]]) -> str:
    texts = {relation: [prompt.text("") for prompt in group] for relation, group in prompts.items()}
    return digest(json.dumps(texts))
