"""Runs without a model: a trainer of two tiny matrices that follows a rule, and what it must leave in its folder."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from peft import LoraConfig

from course_lib.files import read_json
from course_lib.training.records import Checkpoint, EpochRecord, TrainingMemory, TuneConfig, pack_bits
from course_lib.training.runs.folder import RunSpec, is_completed
from course_lib.training.runs.writer import RunWriter, open_run

SPEC = RunSpec("pocket", "D", 50, 0, 480, TuneConfig(epochs=3), "base", "labels")
DEVS = (50.0, 10.0, 30.0, 20.0)  # the best epoch is 2: epoch 0 does not count
KEYS = tuple(f"base_model.model.layers.0.q_proj.lora_{part}.weight" for part in "AB")


def lora_config() -> LoraConfig:
    return LoraConfig(r=2, lora_alpha=4, target_modules={"q_proj", "k_proj", "v_proj", "o_proj"},
                      task_type="CAUSAL_LM", base_model_name_or_path="/home/me/models/pocket")


def record(epoch: int, dev: float | None = 10.0, **more: Any) -> EpochRecord:
    values = {"loss": None, "test": 1.0, "ood": None, "known_fitted": 2.0, "unknown_fitted": None, "seconds": 0.5}
    return EpochRecord(epoch=epoch, dev=dev, **values | more)


def following(before: Checkpoint | None, devs: tuple[float | None, ...] = DEVS) -> Checkpoint:
    """The epoch after ``before``; every number of it depends on every tensor and the state of the one before."""
    if before is None:
        zeros = {f"{kind}.{key}": torch.zeros(2, 3) for kind in ("exp_avg", "exp_avg_sq") for key in KEYS}
        weights = {f"weight.{key}": torch.arange(6.0).reshape(2, 3) / (7 + i) for i, key in enumerate(KEYS)}
        return Checkpoint((record(0, devs[0]),), zeros | weights, {"steps": 0})
    steps, tensors = before.state["steps"] + 5, {}
    for key in KEYS:
        gradient = torch.sin(before.tensors[f"weight.{key}"] * steps)
        tensors[f"exp_avg.{key}"] = moment = before.tensors[f"exp_avg.{key}"] * 0.9 + gradient * 0.1
        tensors[f"exp_avg_sq.{key}"] = square = before.tensors[f"exp_avg_sq.{key}"] * 0.99 + gradient**2 * 0.01
        tensors[f"weight.{key}"] = before.tensors[f"weight.{key}"] - 0.1 * moment / (square.sqrt() + 0.01)
    epoch = len(before.records)
    right = np.arange(10) % (epoch + 1) == 0
    new = record(epoch, devs[epoch], loss=float(tensors[f"weight.{KEYS[0]}"].sum()), right={"test": pack_bits(right)},
                 by_category={"test_Unknown": epoch / 3})
    return Checkpoint((*before.records, new), tensors, {"steps": steps})


def checkpoints(devs: tuple[float | None, ...] = DEVS) -> list[Checkpoint]:
    """All epochs of the undisturbed run."""
    found: list[Checkpoint] = []
    for _ in devs:
        found.append(following(found[-1] if found else None, devs))
    return found


def progress(checkpoint: Checkpoint) -> Any:
    return SimpleNamespace(checkpoint=lambda: checkpoint, memory=TrainingMemory(3, 4))


def go_on(writer: RunWriter, *, devs: tuple[float | None, ...] = DEVS, until: int | None = None) -> int:
    """Go on from what the writer has, to the end or to the epoch ``until``; returns the number of epochs computed."""
    found, done = writer.resume(), 0
    last = len(devs) - 1 if until is None else until
    while found is None or found.records[-1].epoch < last:
        found = following(found, devs)
        writer.epoch(progress(found))
        done += 1
    if until is None:
        writer.finish(lora_config())
    return done


def command(root: Path, *, spec: RunSpec = SPEC, devs: tuple[float | None, ...] = DEVS) -> int:
    """What a user types, twice if need be; returns the number of epochs that it computed."""
    spec = replace(spec, tune=replace(spec.tune, epochs=len(devs) - 1))
    if is_completed(spec, root):
        return 0
    with open_run(spec, root) as writer:
        return go_on(writer, devs=devs)


def begin(root: Path, *, until: int, spec: RunSpec = SPEC, devs: tuple[float | None, ...] = DEVS) -> Path:
    """A run that stopped after the epoch ``until``; returns its folder."""
    spec = replace(spec, tune=replace(spec.tune, epochs=len(devs) - 1))
    with open_run(spec, root) as writer:
        go_on(writer, devs=devs, until=until)
    return writer.folder


def complete(root: Path, *, spec: RunSpec = SPEC, devs: tuple[float | None, ...] = DEVS) -> Path:
    """A finished run; returns its folder."""
    command(root, spec=spec, devs=devs)
    return replace(spec, tune=replace(spec.tune, epochs=len(devs) - 1)).folder(root)


def contents(folder: Path) -> dict[str, Any]:
    """Everything that a run leaves: file -> bytes; of run.json and the records what no clock and machine decides."""
    found: dict[str, Any] = {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*"))
                             if path.is_file()}
    found["run.json"] = _without(read_json(folder / "run.json"), "seconds", "peak_bytes", "training_memory")
    found["epochs.jsonl"] = [_without(json.loads(line), "seconds", "evaluation_seconds")
                             for line in found["epochs.jsonl"].splitlines()]
    return found


def _without(values: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}
