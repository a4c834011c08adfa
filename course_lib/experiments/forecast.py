"""Forecast, before anything is fetched or trained: what a study will cost on a device, and how it will be fitted in.

From the shape of a model, the size of a study and what a GPU has, :func:`forecast_study` chooses the number format, the
micro-batches of a batch, and whether a dequantised copy of the frozen weights is kept; and it predicts the peak of
memory (:mod:`.memory`) and the minutes of each stage::

    print(forecast_study(open_study("smollm2-1.7b")))             # on this machine
    print(forecast_study(open_study("smollm2-1.7b"), gpu="T4"))   # on another

Minutes are the work of a stage over the throughput of the device (:mod:`.throughput` counts the work of a token). With
F facts of the training, test and out-of-distribution splits, R runs of n rows and E epochs, and q questions in the
evaluation after an epoch::

    categorising   10 F forward passes, one after each few-shot prompt
    tuning         R n E rows trained on
    asking         R (E + 1) (q + n) forward passes, the rows themselves among them
    further        the last two again, for the runs that lessons 08 to 10 need besides the curve

Where runs of this kind have been timed in the study's folder, training and asking take those figures instead.

A training run notes the peak of memory that it really had; :func:`compare` puts it beside the forecast made of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from course_lib.data.paper import SLICK
from course_lib.data.protocol import VARIANTS, D
from course_lib.experiments.executors import default_workers
from course_lib.experiments.reference import has_reference
from course_lib.experiments.settings import counts
from course_lib.experiments.throughput import device_throughput, forward_flops, measured_throughput, training_flops
from course_lib.files import CourseError, DataError, read_json
from course_lib.knowledge.scoring.batching import CPU_TOKENS, GPU_TOKENS, token_bytes
from course_lib.models import hub
from course_lib.models.checks import in_one_sentence
from course_lib.models.hardware import compute_dtype, device, device_dtype, device_name, free_memory, installed_memory
from course_lib.models.memory import GIB, GPUS, SHAPES, Gpu, LoopMemory, Rows, Shape, plan_step
from course_lib.models.memory_usage import PeakMemory
from course_lib.models.presets import PRESETS, dataset_of, folder_of, hub_id

if TYPE_CHECKING:
    import pandas as pd

    from course_lib.experiments.study import Study

__all__ = ["Forecast", "Minutes", "as_data", "compare", "describe_compared", "forecast_study", "shape_of"]

SMALLEST = 0.075  # of the training facts are in the smallest categories of their relations, in the paper (6,142)


@dataclass(frozen=True, slots=True)
class Minutes:
    """Minutes of each stage of a study: categorising, training the curve's ``runs``, the questions after their epochs.

    ``further`` is both for the ``further_runs`` that lessons 08 to 10 make, where no reference runs come with a preset.
    """

    categorising: float
    tuning: float
    asking: float
    further: float
    runs: int
    further_runs: int
    source: str

    @property
    def total(self) -> float:
        """Minutes of all stages."""
        return self.categorising + self.tuning + self.asking + self.further

    def __str__(self) -> str:
        more = (f", {self.further_runs} further runs of lessons 08 to 10 {_span(self.further)}"
                if self.further_runs else "")
        return (f"Time: about {_span(self.total)} in all: categorising {_span(self.categorising)}, training "
                f"{self.runs} runs {_span(self.tuning)}, the questions after each epoch {_span(self.asking)}{more}; "
                f"what the lessons do besides comes on top.\nThe speed is {self.source}.")


@dataclass(frozen=True, slots=True)
class Forecast:
    """Expected memory and time of a study on a device. A batch has ``micro_batches``; ``minutes`` may be None."""

    preset: str
    gpu: Gpu
    dtype: str
    rows: Rows
    micro_batches: int
    copies: bool
    memory: LoopMemory
    asking_limit: float
    fetch_bytes: int
    minutes: Minutes | None

    @property
    def asking_bytes(self) -> float:
        """The most that evaluation takes besides what is resident: the tokens of a forward pass are chosen so."""
        return min(max(0.0, self.gpu.free - self.memory.weights) / 2, self.asking_limit)

    @property
    def fits(self) -> bool:
        """True where a training step fits at all."""
        return self.gpu.fits(self.memory.peak)

    def __str__(self) -> str:
        unknown = "Time: not known for this device; the bars of the run itself show what is left."
        return "\n".join([self._what(), self._memory(), str(self.minutes or unknown)])

    def _what(self) -> str:
        cut = f", each batch in {self.micro_batches} micro-batches" if self.micro_batches > 1 else ""
        fetched = (f"{self.fetch_bytes / 1e9:.2f} GB to fetch first" if self.fetch_bytes else "nothing to fetch")
        return (f"Forecast for preset {self.preset} on {self.gpu.name}: computes in {self.dtype}, batches of "
                f"{self.rows.count * self.micro_batches} rows up to {self.rows.longest} tokens{cut}; {fetched}.")

    def _memory(self) -> str:
        held, free = self.memory, self.gpu.free / GIB
        kept = f", a dequantised copy {held.copies / GIB:.2f}" if self.copies else ""
        beside = f", beside the {self.gpu.held / GIB:.1f} that this process holds" if self.gpu.held else ""
        told = (f"weights {held.weights / GIB:.2f}{kept}, adapters {held.adapters / GIB:.2f}, a step "
                f"{held.passing / GIB:.2f}")
        if self.fits:
            asking = f"asking questions takes at most {self.asking_bytes / GIB:.1f} besides the weights"
            return f"Memory while training: {held.peak / GIB:.2f} of {free:.1f} GiB free ({told}){beside}; {asking}."
        return (f"Memory while training: {held.peak / GIB:.2f} GiB, but {free:.1f} are free ({told}): take a smaller "
                f"preset, or a larger GPU.")


def forecast_study(study: Study, *, gpu: str | None = None, rows: Rows | None = None) -> Forecast:
    """Forecast what this study will cost here, or on one of :data:`.memory.GPUS`.

    ``rows`` describes the training rows where they are known better than by EntityQuestions' average.

    Raises:
        CourseError: another GPU, or a model whose sizes are not known.
    """
    shape, place = shape_of(study.preset), _here() if gpu is None else _named(gpu)
    dtype, tune = device_dtype() if gpu is None else compute_dtype(place.capability), study.settings.tune
    batch = replace(rows or Rows(), count=tune.batch)
    plan = plan_step(shape, batch, rank=tune.rank, dtype=dtype, free=place.free)
    return Forecast(study.preset, place, dtype, plan.rows, plan.micro_batches, plan.copies, plan.memory,
                    token_bytes(max(shape.hidden, shape.inner), shape.vocabulary)
                    * (CPU_TOKENS if place.capability is None else GPU_TOKENS),
                    _to_fetch(study.preset), _study_minutes(study, shape, batch, place.name, here=gpu is None))


def as_data(found: Forecast) -> dict[str, Any]:
    """The forecast for a script."""
    return asdict(found) | {"fits": found.fits, "peak_bytes": found.memory.peak, "asking_bytes": found.asking_bytes}


def shape_of(preset: str) -> Shape:
    """The sizes of a preset's model, of a folder, or of a model on the Hub, of which only its settings are fetched.

    Raises:
        CourseError: no such model, or one whose settings do not have these sizes.
    """
    model = hub_id(preset)
    name = model.repo.partition("/")[2] if model else preset
    if name in SHAPES:
        return SHAPES[name]
    from transformers import AutoConfig

    source = model.repo if model else str(folder_of(preset))
    try:
        with in_one_sentence(source):
            config = AutoConfig.from_pretrained(source, revision=model and model.revision, trust_remote_code=False)
        return Shape.of(config)
    except (AttributeError, TypeError, ValueError) as error:
        raise CourseError(f"{preset}: no forecast can be made ({error}); take one of {', '.join(PRESETS)}, or a model "
                          f"with settings like Llama's") from None


def _here() -> Gpu:
    if device() == "cuda":
        import torch

        about = torch.cuda.get_device_properties(0)
        return Gpu(about.name, about.total_memory, free_memory("cuda"), (about.major, about.minor))
    return Gpu(f"this CPU ({device_name()})", installed_memory(), free_memory(), None, PeakMemory("cpu").start)


def _named(gpu: str) -> Gpu:
    if gpu not in GPUS:
        raise CourseError(f"gpu {gpu!r}: give one of {', '.join(GPUS)}, or none for this machine")
    return GPUS[gpu]


def _to_fetch(preset: str) -> int:
    model = hub_id(preset)
    if model is None or hub.cached(model):
        return 0
    return PRESETS[preset].download_bytes if preset in PRESETS else 0


def _span(minutes: float) -> str:
    return f"{minutes:.1f} min" if minutes < 10 else f"{minutes:.0f} min" if minutes < 180 else f"{minutes / 60:.0f} h"


# ---------------------------------------------------------------- minutes


def _study_minutes(study: Study, shape: Shape, rows: Rows, name: str, *, here: bool) -> Minutes | None:
    """Minutes of each stage on a device by name; ``here`` says that it is this machine, which can be timed.

    None where nothing is known of the device's throughput.
    """
    found = device_throughput(name, here=here)
    if found is None:
        return None
    facts, epochs = _facts(study), study.settings.tune.epochs
    runs = measured_throughput(study.folder / "runs" / study.name) if here else None
    if runs:  # seconds of training on a row, of asking it after an epoch, and of asking all questions
        trained, asked_row, asked, source = runs.row_seconds, 0, runs.evaluation_seconds, runs.source
    else:
        trained = training_flops(shape, rows.tokens - rows.shared, rows.answer) / found.tuning
        asked_row, asked = (_forward(shape, rows, count) / found.reading
                            for count in (1, facts["dev"] + facts["test"] + facts["ood"]))
        source = found.source if found.measured else f"a rough guess, {found.source}"

    def seconds(sizes: Sequence[float]) -> tuple[float, float]:
        """Of training runs of so many rows, and of asking before the first epoch and after each."""
        asking = sum(asked + size * asked_row for size in sizes)
        return epochs * sum(sizes) * trained, (epochs + 1) * asking

    curve, further = _run_sizes(study, facts["train"])
    (tuning, asking), more = seconds(curve), sum(seconds(further))
    passes = SLICK.n_prompts * (facts["train"] + facts["test"] + facts["ood"])
    side = 60 * (default_workers(study) if here else 1)
    return Minutes(_forward(shape, rows, passes) / found.reading / 60, tuning / side, asking / side, more / side,
                   len(curve), len(further), source)


def _forward(shape: Shape, rows: Rows, questions: float) -> float:
    """Operations of forward passes over so many questions with answers; the shared prefix is computed once for all."""
    return forward_flops(shape, (rows.tokens - rows.shared) * questions, rows.answer * questions)


def _facts(study: Study) -> dict[str, int]:
    """Facts of each split; where they are not shipped, without reading them, so that nothing is downloaded first."""
    dataset = dataset_of(study.preset)
    if dataset.shipped:
        return study.facts.totals()
    questions, limits = study.settings.questions, study.settings.per_relation
    if limits:
        return {split: count * len(dataset.ood_relations if split == "ood" else dataset.relations)
                for split, count in limits.items()}
    return counts(questions) if questions else dict(dataset.sizes)


def _run_sizes(study: Study, facts: int) -> tuple[list[float], list[float]]:
    """Rows of each run of the curve, and of each that the lessons make besides, with so many training facts."""
    def most(variant: str) -> float:
        size = study.settings.size
        return size if study.rule(variant) == "known" else min(size, SMALLEST * facts)

    seeds = study.settings.seeds
    curve = [VARIANTS[variant].rows(most(D.name), percent) for variant, percent in study.variants for _ in seeds]
    return curve, [] if has_reference(study.name) else [most(variant) for variant, *_ in study.further for _ in seeds]


# ---------------------------------------------------------------- forecast and measurement


def compare(study: Study) -> pd.DataFrame:
    """Compare the forecast and the measured peak of a training step's memory, over the finished runs of this study.

    Columns: run, device, forecast (GiB), measured (GiB), off (percent). A run notes both itself; on a GPU they are
    what PyTorch had allocated, on a CPU the process's resident memory.
    """
    import pandas as pd

    found = []
    for path in sorted((study.folder / "runs" / study.name).glob("*/run.json")):
        try:
            about = read_json(path)
            noted = about["training_memory"]
            found.append({"run": path.parent.name, "device": about["device"], "forecast": noted["forecast"] / GIB,
                          "measured": noted["peak"] / GIB, "off": 100 * (noted["forecast"] / noted["peak"] - 1)})
        except (DataError, KeyError, TypeError, ZeroDivisionError):
            continue  # a run that has noted nothing, or of another version
    return pd.DataFrame(found, columns=["run", "device", "forecast", "measured", "off"])


def describe_compared(study: Study) -> list[str]:
    """A line on the finished runs of this study; none where there are none."""
    found = compare(study)
    if found.empty:
        return []
    return [f"Forecast and measured peak of memory while training, {len(found)} finished runs: off by "
            f"{found['off'].mean():+.1f} % on average, at most {found['off'].abs().max():.1f} % (measured "
            f"{found['measured'].min():.2f} to {found['measured'].max():.2f} GiB)."]
