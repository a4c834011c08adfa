"""Runs that are killed, or that lose their disk, at every single call; then the same command once more.

The oracle is the folder of a run that nothing disturbed.
"""

from __future__ import annotations

import builtins
import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from course_lib.files import DISK
from course_lib.training.finetune import remove_lora
from course_lib.training.runs.writer import open_run
from tests.support import fake_runs
from tests.support.fake_runs import SPEC
from tests.support.faults import CALLS, Faults, struck
from tests.support.tuning import logits, run


def wrong(found: list[dict[str, Any]]) -> list[tuple[int, dict[str, Any]]]:
    """The strikes after which the same command failed, or did not give the undisturbed run."""
    return [(at, one) for at, one in enumerate(found, 1)
            if (one["again"]["status"], one["again"]["said"], one["equal"]) != (0, "", True)]


def redone(found: list[dict[str, Any]]) -> set[int]:
    """How many epochs were finished twice."""
    return {one["first"]["epochs"] + one["again"]["epochs"] - 4 for one in found}


def stop_here() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("at", range(2, 120, 13))
def test_ctrl_c_at_a_call_goes_on_to_the_same_folder(at: int, tmp_path: Path) -> None:
    kept = {name: getattr(os, name) for name in (*CALLS, "fdopen")}, builtins.open
    try:
        Faults(stop_here, at=at).install()
        with pytest.raises(KeyboardInterrupt):
            fake_runs.command(tmp_path / "struck")
    finally:
        vars(os).update(kept[0])
        builtins.open = kept[1]
    for name in ("struck", "whole"):
        fake_runs.command(tmp_path / name)
    struck, whole = (fake_runs.contents(SPEC.folder(tmp_path / name)) for name in ("struck", "whole"))
    assert struck == whole


@pytest.mark.slow
@pytest.mark.parametrize(("strike", "status", "every"), [
    ("SIGKILL", -9, 1), ("SIGINT", 130, 1), ("SIGTERM", -15, 7)])  # nobody listens to SIGTERM: it ends as SIGKILL does
def test_a_run_that_is_killed_at_any_call_goes_on_to_the_same_folder(strike: str, status: int, every: int) -> None:
    found = struck(strike, every=every)
    assert len(found) > 100 // every and {one["first"]["status"] for one in found} == {status}
    assert wrong(found) == []
    # an epoch may be on disk whose writer was killed before it could say so; none is computed twice
    assert redone(found) <= {-1, 0}


@pytest.mark.slow
@pytest.mark.parametrize(("strike", "lasting", "every"), [
    ("ENOSPC", False, 1), ("ENOSPC", True, 3), ("EIO", False, 7), ("ENOTCONN", False, 7)])  # they differ in their words
def test_a_disk_that_fails_at_any_call_is_one_message_and_costs_nothing(strike: str, lasting: bool, every: int) -> None:
    words = DISK[getattr(errno, strike)]
    found = struck(strike, lasting=lasting, every=every)
    assert len(found) > 100 // every and wrong(found) == [] and redone(found) <= {-1, 0}
    # what fails while a finished run is tidied up is tidied up later
    assert {one["first"]["status"] for one in found} <= {0, 1}
    assert [one["first"]["said"] for one in found if one["first"]["status"] and words not in one["first"]["said"]] == []
    assert sum(one["first"]["status"] for one in found) > 90 // every


@pytest.mark.slow
@pytest.mark.parametrize("strike", ["SIGKILL", "SIGINT"])
def test_a_real_training_that_is_killed_ends_with_the_same_weights_bit_for_bit(strike: str) -> None:
    found = struck(strike, kind="real", every=13)
    assert len(found) > 10 and wrong(found) == [] and redone(found) <= {-1, 0}


def test_the_adapter_of_a_run_is_what_peft_would_have_saved_and_loads_again(tmp_path: Path, base, folder) -> None:
    with open_run(SPEC, tmp_path) as writer:
        tuned = run(base, SPEC.tune, on_epoch=writer.epoch)
        writer.finish(tuned.model.peft_config["default"])
    tuned.model.save_pretrained(tmp_path / "peft")
    wanted = logits(tuned.model)
    again = PeftModel.from_pretrained(remove_lora(tuned.model), writer.folder / "adapter")
    assert torch.equal(logits(again), wanted)
    saved = (tmp_path / "peft" / "adapter_model.safetensors").read_bytes()
    assert (writer.folder / "adapter" / "adapter_model.safetensors").read_bytes() == saved
    assert str(folder) not in (writer.folder / "adapter" / "adapter_config.json").read_text()
