"""Before anything is fetched or trained: what a study will cost on this machine, and how it will be fitted in.

From the shape of a model, the size of a study and what a GPU has, :func:`forecast` chooses the number format, the
micro-batches of a batch, and whether a dequantised copy of the frozen weights is kept; and it predicts the peak
of memory (:mod:`.memory`) and the minutes of each stage (:mod:`.minutes`)::

    print(forecast(open_study("smollm2-1.7b")))             # on this machine
    print(forecast(open_study("smollm2-1.7b"), gpu="T4"))   # on another

A training run notes the peak that it really had; :func:`compare` puts it beside the forecast that was made of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from course_lib.experiments.minutes import Minutes, study_minutes
from course_lib.files import CourseError, DataError, read_json
from course_lib.knowledge.scoring.batching import CPU_TOKENS, GPU_TOKENS, token_bytes
from course_lib.models import hub, presets
from course_lib.models.checks import in_one_sentence
from course_lib.models.hardware import compute_dtype, device, device_dtype, device_name, free_memory, installed_memory
from course_lib.models.memory import GIB, GPUS, SHAPES, Gpu, LoopMemory, Rows, Shape, plan_step
from course_lib.models.memory_usage import Peak

if TYPE_CHECKING:
    import pandas as pd

    from course_lib.experiments.study import Study

__all__ = ["Forecast", "as_data", "compare", "describe_compared", "forecast", "shape_of"]


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is expected of a study on a device. A batch is cut into ``micro_batches``; ``minutes`` may be None."""

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
        """The most that asking questions takes besides what is resident: tokens of a pass are chosen so."""
        return min(max(0.0, self.gpu.free - self.memory.weights) / 2, self.asking_limit)

    @property
    def fits(self) -> bool:
        """Whether a step fits at all."""
        return self.gpu.fits(self.memory.peak)

    def __str__(self) -> str:
        return "\n".join([self._what(), self._memory(), self._time()])

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

    def _time(self) -> str:
        if self.minutes is None:
            return "Time: not known for this device; the bars of the run itself show what is left."
        found = self.minutes
        more = (f", {found.further_runs} further runs of lessons 08 to 10 {_span(found.further)}"
                if found.further_runs else "")
        return (f"Time: about {_span(found.total)} in all: categorising {_span(found.categorising)}, training "
                f"{found.runs} runs {_span(found.tuning)}, the questions after each epoch {_span(found.asking)}{more}; "
                f"what the lessons do besides comes on top.\nThe speed is {found.source}.")


def shape_of(preset: str) -> Shape:
    """The sizes of a preset's model, of a folder, or of a model on the Hub, of which only its settings are fetched.

    Raises:
        CourseError: no such model, or one whose settings do not have these sizes.
    """
    model = presets.hub_id(preset)
    name = model.repo.partition("/")[2] if model else preset
    if name in SHAPES:
        return SHAPES[name]
    from transformers import AutoConfig

    source = presets.PRESETS[preset].source if preset in presets.PRESETS else model.repo if model else preset
    try:
        with in_one_sentence(source):
            config = AutoConfig.from_pretrained(source, revision=model and model.revision, trust_remote_code=False)
        return Shape.of(config)
    except (AttributeError, TypeError, ValueError) as error:
        raise CourseError(f"{preset}: no forecast can be made ({error}); take one of {', '.join(presets.PRESETS)}, or "
                          f"a model with settings like Llama's") from None


def forecast(study: Study, *, gpu: str | None = None, rows: Rows | None = None) -> Forecast:
    """What this study will cost here, or on one of :data:`GPUS`.

    ``rows`` describes the training rows where they are known better than by EntityQuestions' average.

    Raises:
        CourseError: another GPU, or a model whose sizes are not known.
    """
    shape, place = shape_of(study.preset), _here() if gpu is None else _named(gpu)
    dtype, tune = device_dtype() if gpu is None else compute_dtype(place.capability), study.settings.tune
    asked = replace(rows or Rows(), count=tune.batch)
    plan = plan_step(shape, asked, rank=tune.rank, dtype=dtype, free=place.free)
    return Forecast(study.preset, place, dtype, plan.rows, plan.micro_batches, plan.copies, plan.memory,
                    token_bytes(max(shape.hidden, shape.inner), shape.vocabulary)
                    * (CPU_TOKENS if place.capability is None else GPU_TOKENS),
                    _to_fetch(study.preset), study_minutes(study, shape, asked, place.name, here=gpu is None))


def compare(study: Study) -> pd.DataFrame:
    """The finished runs of this study: forecast and measured peak of a training step's memory.

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


def _here() -> Gpu:
    if device() == "cuda":
        import torch

        about = torch.cuda.get_device_properties(0)
        return Gpu(about.name, about.total_memory, free_memory("cuda"), (about.major, about.minor))
    return Gpu(f"this CPU ({device_name()})", installed_memory(), free_memory(), None, Peak("cpu").start)


def _named(gpu: str) -> Gpu:
    if gpu not in GPUS:
        raise CourseError(f"gpu {gpu!r}: give one of {', '.join(GPUS)}, or none for this machine")
    return GPUS[gpu]


def _to_fetch(preset: str) -> int:
    model = presets.hub_id(preset)
    if model is None or hub.cached(model):
        return 0
    return presets.PRESETS[preset].download_bytes if preset in presets.PRESETS else 0


def _span(minutes: float) -> str:
    return f"{minutes:.1f} min" if minutes < 10 else f"{minutes:.0f} min" if minutes < 180 else f"{minutes / 60:.0f} h"


def as_data(found: Forecast) -> dict[str, Any]:
    """The forecast for a script."""
    from dataclasses import asdict

    return asdict(found) | {"fits": found.fits, "peak_bytes": found.memory.peak, "asking_bytes": found.asking_bytes}
