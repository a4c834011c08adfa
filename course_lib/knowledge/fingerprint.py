"""Everything that decides a measurement: the settings, the model and its tokenizer, the data, the versions.

Two results may be mixed only where all of it is the same, so it is kept as flat fields that can be compared one by one.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from course_lib import __version__
from course_lib.data.questions import QuestionSet
from course_lib.files import sha256
from course_lib.knowledge.scoring.prompts import Prompt
from course_lib.knowledge.shards import UNIT, digest
from course_lib.limits import SEED, Check, flag, number, refuse, whole
from course_lib.models.hardware import device, device_dtype
from course_lib.models.hub import commit_of
from course_lib.models.presets import PRESETS, hub_id

__all__ = ["ASKING", "Settings", "identify", "machine", "what_decides"]

MODEL_FILES = (".safetensors", ".json", ".model", ".txt", ".jinja")
TOKENIZER_FILES = ("tokenizer", "special_tokens", "added_tokens", "vocab", "merges", "chat_template")


ASKING: dict[str, Check] = {
    "prompts": whole(1, 1000), "samples": whole(1, 100_000), "shots": whole(0, 100), "temperature": number(0.01, 100),
    "top_k": whole(0, 1_000_000), "seed": SEED, "batch_tokens": whole(1, 1_000_000), "four_bit": flag}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to measure; the defaults are the paper's (App. C), the ranges :data:`ASKING`.

    ``batch_tokens=None`` finds the size of a pass from the free memory once, and keeps to it. ``four_bit=False``
    measures the model as it is stored, not the 4-bit one that the course fine-tunes.
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


def what_decides(data: QuestionSet, prompts: dict[str, list[Prompt]], preset: str,
                 settings: Settings) -> dict[str, Any]:
    """Everything that decides the labels, flat, so that two runs can be compared by field."""
    import torch

    texts = [prompt.text("{question}") for group in prompts.values() for prompt in group]
    versions = {name: importlib.metadata.version(name) for name in ("torch", "transformers", "bitsandbytes")}
    return identify(preset) | {
        "weights": "4-bit" if settings.four_bit else "stored", "dtype": device_dtype(),
        "device": torch.cuda.get_device_name() if device() == "cuda" else "cpu",
        "data": digest([digest(asdict(question)) for question in (*data.questions, *data.exemplars)]),
        "questions": len(data.questions), "prompt_texts": digest(texts), "unit": UNIT,
        **{name: value for name, value in asdict(settings).items() if name != "four_bit"},
        "course": __version__, **versions}


def identify(preset: str) -> dict[str, str]:
    """The model and its tokenizer: digests of a folder's files, or a Hub id and its commit."""
    if model := hub_id(preset):
        return {"model": model.repo, "revision": commit_of(model), "tokenizer": model.repo}
    folder = Path(os.path.expanduser(PRESETS[preset].source if preset in PRESETS else preset))
    files = sorted(path for path in folder.iterdir() if path.suffix in MODEL_FILES)
    spelling = [path for path in files if path.name.startswith(TOKENIZER_FILES) or path.suffix == ".model"]
    return {"model": digest([sha256(path) for path in files if path not in spelling]), "revision": "",
            "tokenizer": digest([sha256(path) for path in spelling])}


def machine() -> dict[str, Any]:
    """What may change the last digits and is not in the digest, so that a long run may go on elsewhere."""
    import torch

    return {"platform": platform.platform(), "python": platform.python_version(), "threads": torch.get_num_threads()}
