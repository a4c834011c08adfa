"""Everything that decides a measurement: the settings, the model and its tokenizer, the data, the versions.

Two results may be mixed only where all of it is the same, so it is kept as flat fields that can be compared one by one.
A folder that holds another run is left as it is, and the next of OUT-2, OUT-3 ... is taken: so one command always finds
its own folder again.
"""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from course_lib import __version__, limits
from course_lib.data.questions import QuestionSet
from course_lib.files import CourseError, read_json, sha256
from course_lib.knowledge.labelling import RECORD, UNIT, digest
from course_lib.knowledge.scoring.prompts import Prompt
from course_lib.limits import SEED, Check, flag, number, refuse, whole
from course_lib.models.hardware import device, device_dtype
from course_lib.models.hub import commit_of
from course_lib.models.presets import folder_of, hub_id

__all__ = ["ASKING", "Settings", "choose_folder", "machine", "measurement_fingerprint", "model_fingerprint"]

MODEL_FILES = (".safetensors", ".json", ".model", ".txt", ".jinja")
TOKENIZER_FILES = ("tokenizer", "special_tokens", "added_tokens", "vocab", "merges", "chat_template")
ASKING: dict[str, Check] = {
    "prompts": whole(1, 1000), "samples": whole(1, 100_000), "shots": whole(0, 100), "temperature": number(0.01, 100),
    "top_k": whole(0, 1_000_000), "seed": SEED, "batch_tokens": whole(1, 1_000_000), "four_bit": flag}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of a measurement; the defaults are the paper's (App. C), the ranges :data:`ASKING`.

    ``batch_tokens=None`` finds the size of a forward pass from the free memory once, and keeps to it.
    ``four_bit=False`` measures the model as it is stored, not the 4-bit one that the course fine-tunes.
    """

    prompts: int = 10
    samples: int = 16
    shots: int = 4
    temperature: float = 0.5
    top_k: int = 40
    seed: int = 0
    batch_tokens: int | None = None
    four_bit: bool = True

    def __post_init__(self) -> None:
        refuse(self, ASKING)
        object.__setattr__(self, "temperature", float(self.temperature))  # 1 and 1.0 are one setting


def measurement_fingerprint(data: QuestionSet, prompts: dict[str, list[Prompt]], preset: str,
                            settings: Settings) -> dict[str, Any]:
    """Everything that decides the labels, flat, so that two runs can be compared by field."""
    import torch

    texts = [prompt.text("{question}") for group in prompts.values() for prompt in group]
    versions = {name: importlib.metadata.version(name) for name in ("torch", "transformers", "bitsandbytes")}
    return model_fingerprint(preset) | {
        "weights": "4-bit" if settings.four_bit else "stored", "dtype": device_dtype(),
        "device": torch.cuda.get_device_name() if device() == "cuda" else "cpu",
        "data": digest([digest(asdict(question)) for question in (*data.questions, *data.exemplars)]),
        "questions": len(data.questions), "prompt_texts": digest(texts), "unit": UNIT,
        **{name: value for name, value in asdict(settings).items() if name != "four_bit"},
        "course": __version__, **versions}


def model_fingerprint(preset: str) -> dict[str, str]:
    """Model and tokenizer: digests of a folder's files, or a Hub id and its commit."""
    if model := hub_id(preset):
        return {"model": model.repo, "revision": commit_of(model), "tokenizer": model.repo}
    folder = folder_of(preset)
    files = sorted(path for path in folder.iterdir() if path.suffix in MODEL_FILES)
    spelling = [path for path in files if path.name.startswith(TOKENIZER_FILES) or path.suffix == ".model"]
    return {"model": digest([sha256(path) for path in files if path not in spelling]), "revision": "",
            "tokenizer": digest([sha256(path) for path in spelling])}


def machine() -> dict[str, Any]:
    """What may change the last digits and is not in the digest, so that a long run may be resumed elsewhere."""
    import torch

    return {"platform": platform.platform(), "python": platform.python_version(), "threads": torch.get_num_threads()}


def choose_folder(out: str | Path, decides: dict[str, Any], say: Callable[[str], None]) -> Path:
    """Choose ``out``, or the first of OUT-2, OUT-3 ... that is empty or holds the run that ``decides`` describes.

    ``decides`` is flat: field -> value. What differs in a folder that is passed over is said by field.
    """
    out = limits.folder(out, "out", write=True).resolve()
    folder, number = out, 1
    while (held := _held(folder)) is not None and held.get("digest") != digest(decides):
        before = held.get("decides", {})
        changed = "; ".join(f"{name}: {before.get(name)} -> {value}" for name, value in decides.items()
                            if before.get(name) != value)
        number += 1
        following = out.parent / f"{out.name}-{number}"
        say(f"{folder} holds {f'another run ({changed})' if before else 'files that are no such run'}; it is left as "
            f"it is, {following} is next")
        folder = following
    return folder


def _held(folder: Path) -> dict[str, Any] | None:
    """The record of the run in a folder; {} for other files, None for an empty folder or none."""
    if not folder.is_dir() or all(path.name.startswith(f".{RECORD}.") for path in folder.iterdir()):
        return None  # the rest of a first write that was killed is nothing
    try:
        record = read_json(folder / RECORD)
    except CourseError:
        return {}
    return record if isinstance(record, dict) else {}
