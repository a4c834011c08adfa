"""The device: its name, its number format by compute capability, and a dtype of one's own."""

import pytest

from course_lib.files import CourseError
from course_lib.models.hardware import compute_dtype, device, device_dtype


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
