"""Checkpoint files, and the adapters that are made of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from course_lib.files import read_json
from course_lib.training.runs.checkpoints import pack_checkpoint, read_checkpoint, write_adapter
from tests.support.fake_runs import KEYS, checkpoints, following, lora_config

DAMAGES = {"none": lambda data: data, "truncated": lambda data: data[:-5], "empty": lambda data: b"",
           "a weight": lambda data: data[:-1] + b"\x01",
           "a record": lambda data: data.replace(b'\\"dev\\": 30.0', b'\\"dev\\": 99.0'),
           "half": lambda data: data[:len(data) // 2], "no header": lambda data: b"\xff" * 100,
           "another run": lambda data: pack_checkpoint(checkpoints()[3], run="other")}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_checkpoint_comes_back_with_every_bit_or_not_at_all(damage: Any, tmp_path: Path) -> None:
    wanted, path = checkpoints()[3], tmp_path / "a"
    whole = pack_checkpoint(wanted, run="r")
    path.write_bytes(damage(whole))
    found = read_checkpoint(path, run="r")
    assert (found is not None) == (path.read_bytes() == whole)
    if found:
        assert (found.records, found.state, found.tensors.keys()) == (
            wanted.records, wanted.state, wanted.tensors.keys())
        assert all(torch.equal(found.tensors[name], wanted.tensors[name]) for name in wanted.tensors)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.int64, torch.bool])
def test_tensors_of_every_type_come_back(dtype: torch.dtype, tmp_path: Path) -> None:
    wanted = replace(following(None), tensors={"a": torch.arange(4).to(dtype), "b": torch.tensor(1).to(dtype)})
    (tmp_path / "a").write_bytes(pack_checkpoint(wanted, run="r"))
    found = read_checkpoint(tmp_path / "a", run="r").tensors
    assert torch.equal(found["a"], wanted.tensors["a"]) and torch.equal(found["b"], wanted.tensors["b"])


def test_an_adapter_has_the_weights_and_settings_that_are_the_same_on_every_machine(tmp_path: Path) -> None:
    write_adapter(tmp_path / "a", checkpoints()[2], lora_config(), preset="pocket")
    weights, values = load_file(tmp_path / "a" / "adapter_model.safetensors"), read_json(
        tmp_path / "a" / "adapter_config.json")
    assert set(weights) == set(KEYS)
    assert all(torch.equal(weights[key], checkpoints()[2].tensors[f"weight.{key}"]) for key in KEYS)
    assert values["target_modules"] == ["k_proj", "o_proj", "q_proj", "v_proj"]
    assert values["base_model_name_or_path"] == "pocket" and values["inference_mode"] is True
    assert (values["r"], values["lora_alpha"], values["peft_type"]) == (2, 4, "LORA")


def test_a_base_on_the_hub_keeps_its_name(tmp_path: Path) -> None:
    config = lora_config()
    config.base_model_name_or_path = "owner/name"
    write_adapter(tmp_path / "a", checkpoints()[2], config, preset="pocket")
    assert read_json(tmp_path / "a" / "adapter_config.json")["base_model_name_or_path"] == "owner/name"
