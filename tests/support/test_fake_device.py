"""Without a GPU: training and asking never mix tensors of two devices. What stands in is told in fake_device.py."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from torch.utils import backend_registration

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this PyTorch cannot register a backend in Python")]


def run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "tests/support/fake_device.py", *arguments], capture_output=True, text=True,
                          env=os.environ | {"PYTHONPATH": str(ROOT)}, cwd=ROOT, check=False)


@pytest.mark.parametrize("dtype, runs", [("bfloat16", "1"), ("float16", "3")])
def test_training_and_asking_keep_all_tensors_on_the_device_of_the_model(dtype, runs) -> None:
    found = run(dtype, runs)
    assert found.stdout.strip().endswith("all on one device"), found.stderr[-3000:]


def test_a_tensor_that_is_left_on_the_cpu_is_noticed() -> None:
    found = run("bfloat16", "1", "spoil")
    assert found.returncode and "Expected all tensors to be on the same device" in found.stderr, found.stderr[-3000:]
