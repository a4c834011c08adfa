"""The models that the course knows by a short name, and what is known of them before anything is downloaded.

All are base models: they continue a text and were never taught to follow instructions, so that what a fine-tuning
teaches shows. None is gated: no account is needed. Sources, none of them the live Hub: licences and commits from
stored pages of the Hub and from public code that pins the same commit; sizes are parameters times the bytes of the
stored dtype, and agree with the file lists on those pages where one was found (SmolLM2-1.7B, OLMo-2-1124-7B). OLMo-2 is
stored in float32, 4 bytes a weight, the others in bfloat16, 2 bytes. The true size is said before a download begins.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from course_lib.data.datasets import DATASETS, DEFAULT, Dataset
from course_lib.data.pocket.world import FOLDER
from course_lib.files import CourseError
from course_lib.limits import absolute
from course_lib.models.hardware import device
from course_lib.models.hub import HubId, cached
from course_lib.text import short

__all__ = ["POCKET_MODEL", "PRESETS", "Preset", "dataset_of", "default_preset", "describe", "folder_of", "hub_id",
           "known_preset"]

POCKET_MODEL = FOLDER / "model"
GB = 10**9


@dataclass(frozen=True, slots=True)
class Preset:
    """A base model by a short name.

    ``source`` is a Hub id or a folder; ``facts`` the data set that goes with it, by its name in :data:`.DATASETS`;
    ``licence`` its SPDX name; ``download_bytes`` about what is to be downloaded; ``revision`` the commit that every
    learner gets, so that results can be compared.
    """

    name: str
    source: str
    facts: str = DEFAULT
    licence: str = "Apache-2.0"
    download_bytes: int = 0
    revision: str | None = None


PRESETS: dict[str, Preset] = {preset.name: preset for preset in (
    Preset("pocket", str(POCKET_MODEL), "pocket"),
    Preset("smollm2-360m", "HuggingFaceTB/SmolLM2-360M", download_bytes=720_000_000,
           revision="f8027fd0eaeea54caa13c31d31b9fdc459c38b49"),
    Preset("smollm2-1.7b", "HuggingFaceTB/SmolLM2-1.7B", download_bytes=3_420_000_000,
           revision="effd688a12921b4cc83e3312b6feb579f70f9c71"),
    Preset("olmo2-1b", "allenai/OLMo-2-0425-1B", download_bytes=5_950_000_000,
           revision="a1847dff35000b4271fa70afc5db10fd29fedbdf"),
    Preset("qwen2.5-1.5b", "Qwen/Qwen2.5-1.5B", download_bytes=3_090_000_000,
           revision="8faed761d45a263340a0528343f099c05c9a4323"),
    Preset("olmo2-7b", "allenai/OLMo-2-1124-7B", download_bytes=29_200_000_000,
           revision="7df9a82518afdecae4e8c026b27adccc8c1f0032"),
)}


def default_preset(*, gpu: bool | None = None) -> str:
    """The pocket model without a GPU, SmolLM2-1.7B with one; ``gpu`` says whether there is one (default: look)."""
    return "smollm2-1.7b" if (device() == "cuda" if gpu is None else gpu) else "pocket"


def dataset_of(preset: str) -> Dataset:
    """The data set that a preset, a Hub model or a model folder is asked."""
    return DATASETS[PRESETS[preset].facts if preset in PRESETS else DEFAULT]


def folder_of(preset_or_path: str) -> Path:
    """The folder of a model that is not on the Hub: a preset's, or the path itself with ``~`` followed."""
    return Path(os.path.expanduser(PRESETS[preset_or_path].source if preset_or_path in PRESETS else preset_or_path))


def hub_id(preset_or_path: str | Path) -> HubId | None:
    """The model on the Hub that a preset or an id (``owner/name``, ``owner/name@revision``) stands for.

    None where it stands for a folder: one that is there, or a preset whose model comes with the package.

    Raises:
        CourseError: neither a preset, nor a folder that is there, nor an id.
    """
    text = str(preset_or_path)
    if folder_of(text).is_dir():
        return None
    if preset := PRESETS.get(text):
        return HubId(preset.source, preset.revision)
    if text.startswith((".", "~", "/")) or text.partition("@")[0].count("/") > 1 or "\\" in text:
        raise CourseError(f"{text}: no such folder; check the path, or give one of {', '.join(PRESETS)}")
    try:
        return HubId.parse(text)
    except CourseError as error:
        raise CourseError(f"{error}, a folder written by save_pretrained, or one of {', '.join(PRESETS)}") from None


def describe(name: str) -> str:
    """One line on a preset: where it comes from, its licence, its size, and whether it is on this machine."""
    preset, model = PRESETS[name], hub_id(name)
    if model is None:
        return f"{name}: comes with the course, licence {preset.licence}, nothing to fetch"
    size = f"{preset.download_bytes / GB:.2f} GB"
    here = f"on this machine ({size})" if cached(model) else f"about {size} to fetch"
    return (f"{name}: {preset.source}, base model, licence {preset.licence}, no account needed, commit "
            f"{(preset.revision or 'main')[:8]}, {here}")


def known_preset(preset: str, place: str = "preset") -> str:
    """The preset, the id of a Hub model, or the absolute path of a model's folder; nothing is read or fetched.

    Raises:
        CourseError: it is none of these; ``place`` is the option or variable that it comes from.
    """
    if preset in PRESETS:
        return preset
    choose = f"give one of {', '.join(PRESETS)}, a Hub id (owner/name) or a folder"
    if not isinstance(preset, str) or not preset.strip():
        raise CourseError(f"{place} {short(preset)}: {choose}")
    path = absolute(preset, place)  # notebooks run in another folder
    if os.path.isdir(path):
        if not (path / "config.json").is_file():
            raise CourseError(f"{place} {short(preset)}: this folder holds no model (no config.json); {choose}")
        return str(path)
    if "/" not in preset:
        raise CourseError(f"{place} {short(preset)}: {choose}")
    try:
        hub_id(preset)
    except (CourseError, OSError) as error:
        raise CourseError(f"{place} {short(preset)}: {getattr(error, 'strerror', error)}") from None
    return preset
