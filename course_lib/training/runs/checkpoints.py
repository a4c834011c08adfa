"""Checkpoint files, and the adapters that are made of them.

    epoch-003.safetensors    weights and moments; in its header all records up to this epoch, and the steps done

A file is self-contained: a run continues from it alone. It holds a SHA-256 over all of its contents, so that a
truncated or changed file, or one of another run, is found out and passed over.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from course_lib.files import CourseError, loads, new_folder, open_bytes, read_json, write_bytes, write_json
from course_lib.training.records import Checkpoint, EpochRecord
from course_lib.training.runs.folder import MOST, made_of

if TYPE_CHECKING:
    import torch
    from peft import LoraConfig

__all__ = ["pack_checkpoint", "read_checkpoint", "write_adapter"]

LARGEST = 2**40  # bytes of a file of an epoch: three times an adapter's


def pack_checkpoint(checkpoint: Checkpoint, *, run: str) -> bytes:
    """The bytes of the checkpoint file of an epoch of the run of that name."""
    from safetensors.torch import save

    about = json.dumps({"run": run, "records": [asdict(record) for record in checkpoint.records],
                        "state": checkpoint.state})
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    return save(tensors, {"about": about, "sha256": _sum(tensors, about)})


def read_checkpoint(path: str | Path, *, run: str) -> Checkpoint | None:
    """Read a checkpoint file; None where it is missing, truncated, changed or of another run."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        with open_bytes(path, most=LARGEST) as file:
            data = file.read()  # not mapped: a failing disk is then an error, not a crash
        header = loads(data[8:8 + int.from_bytes(data[:8], "little")])["__metadata__"]
        tensors, about = load(data), loads(header["about"].encode())
        if header["sha256"] != _sum(tensors, header["about"]) or about["run"] != run:
            return None
        records, state = tuple(made_of(EpochRecord, record) for record in about["records"]), about["state"]
        sound = records and type(state["steps"]) is int and 0 <= state["steps"] < MOST
        return Checkpoint(records, tensors, state) if sound else None
    except (CourseError, SafetensorError, AttributeError, KeyError, TypeError, ValueError):
        return None


def _sum(tensors: Mapping[str, torch.Tensor], about: str) -> str:
    """SHA-256 of the records and of every tensor's name, type, shape and bytes."""
    import torch

    total = hashlib.sha256(about.encode())
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return total.hexdigest()


def write_adapter(folder: Path, checkpoint: Checkpoint, config: LoraConfig, *, preset: str) -> None:
    """Write the checkpoint's weights as an adapter that ``PeftModel.from_pretrained(base, folder)`` loads.

    The same weights give the same bytes on every machine: modules are sorted, and where the base is a folder of this
    machine its ``preset`` is named instead.

    Raises:
        CourseError: the disk is full, over its quota, failing or gone.
    """
    from safetensors.torch import save

    with new_folder(folder) as temporary:
        write_bytes(temporary / "adapter_model.safetensors", save(checkpoint.weights, {"format": "pt"}))
        config.save_pretrained(str(temporary))
        path = temporary / "adapter_config.json"
        values = read_json(path) | {"inference_mode": True}
        base = values["base_model_name_or_path"]
        if not base or Path(base).is_absolute() or Path(base).exists():
            values["base_model_name_or_path"] = preset
        for name in values:
            if isinstance(getattr(config, name, None), set):
                values[name] = sorted(values[name])  # the order in a set differs between processes
        write_json(path, values)
