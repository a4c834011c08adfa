"""The device: its name, its number format by compute capability, and a dtype of one's own."""

import pytest

from course_lib.files import CourseError
from course_lib.models.hardware import compute_dtype, device, device_dtype, free_memory


@pytest.mark.parametrize(("capability", "dtype"), [
    (None, "float32"), ((7, 0), "float16"), ((7, 5), "float16"), ((8, 0), "bfloat16"), ((10, 0), "bfloat16")])
def test_compute_dtype_follows_the_compute_capability(capability, dtype):
    assert compute_dtype(capability) == dtype


@pytest.mark.parametrize(("there", "name"), [(True, "cuda"), (False, "cpu")])
def test_the_gpu_is_taken_where_there_is_one(there, name, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: there)
    assert device() == name


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_the_dtype_can_be_chosen_for_a_model_that_overflows(kind, monkeypatch):
    monkeypatch.setenv("COURSE_DTYPE", "float32")
    assert device_dtype(kind) == "float32"


def test_a_dtype_that_is_none_is_refused(monkeypatch):
    monkeypatch.setenv("COURSE_DTYPE", "fp8")
    with pytest.raises(CourseError, match="^COURSE_DTYPE=fp8: .*float16, bfloat16, float32"):
        device_dtype("cpu")


@pytest.mark.parametrize("share, free", [(0.2, 12_000), (1.0, 70_000)])  # a fifth of 80,000, of which 4,000 are taken
def test_free_memory_stays_within_the_share_that_torch_may_take(share, free, monkeypatch) -> None:
    for name, value in (("mem_get_info", (70_000, 80_000)), ("memory_reserved", 4_000),
                        ("get_per_process_memory_fraction", share)):
        monkeypatch.setattr(f"torch.cuda.{name}", lambda value=value: value)
    assert free_memory("cuda") == free
