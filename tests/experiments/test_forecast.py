"""The forecast before a study: work and minutes by hand, the plan on a free T4, and a sentence where none is made."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from course_lib.experiments import forecast, throughput
from course_lib.experiments.forecast import compare, describe_compared, forecast_study
from course_lib.experiments.study import open_study
from course_lib.experiments.throughput import DeviceThroughput, device_throughput, forward_flops, training_flops
from course_lib.figures import plots
from course_lib.files import CourseError
from course_lib.models.memory import GIB, GPUS, SHAPES, Gpu, Shape, estimate_trainer
from course_lib.models.presets import PRESETS

SMALL = Shape(hidden=10, inner=20, layers=2, keys=5, vocabulary=100, tied=True)


@pytest.fixture
def study(tmp_path):
    return lambda preset="smollm2-1.7b", **more: open_study(preset, folder=tmp_path, **more)


def test_a_forward_pass_takes_two_operations_a_weight_and_training_four() -> None:
    weights = 2 * (2 * 100 + 2 * 50 + 3 * 200)
    assert forward_flops(SMALL, 7, 3) == 2 * weights * 7 + 2 * 10 * 100 * 3
    assert training_flops(SMALL, 7, 3) == 4 * weights * 7 + 4 * 10 * 100 * 3


def test_the_throughput_of_a_t4_is_known_and_said_to_be_that_of_others() -> None:
    found = device_throughput("Tesla T4", here=True)
    assert found.tuning < found.reading < 65e12 and not found.measured


def test_an_unknown_gpu_is_timed_where_it_is_and_not_guessed_elsewhere(monkeypatch) -> None:
    monkeypatch.setattr(throughput, "matmul_throughput", lambda: 10e12)
    found = device_throughput("Some GPU", here=True)
    assert found.tuning == throughput.SHARES["cpu"]["tuning"] * 10e12 and "10 TFLOP/s" in found.source
    assert device_throughput("Some GPU", here=False) is None


def test_this_processor_multiplies_matrices_at_a_sane_speed() -> None:
    assert 1e8 < throughput.matmul_throughput.__wrapped__(0.02) < 1e14


def test_minutes_are_work_over_speed(study, monkeypatch) -> None:
    monkeypatch.setattr(forecast, "device_throughput", lambda name, here: DeviceThroughput(1e12, 2e12, "by hand", True))
    one = study(questions=600)
    one = replace(one, settings=replace(one.settings, percents=(0,), tune=replace(one.settings.tune, epochs=2)))
    found, shape = forecast_study(one, gpu="T4").minutes, SHAPES["SmolLM2-1.7B"]
    # 600 train, 480 test and 280 ood questions after ten prompts, 19 tokens of their own and 5 predicted
    assert found.categorising == pytest.approx(forward_flops(shape, 1360 * 190, 1360 * 50) / 2e12 / 60)
    # one run of 200 rows, two epochs; then 240 dev, 480 test, 280 ood and the rows, three times
    assert found.tuning == pytest.approx(training_flops(shape, 400 * 19, 400 * 5) / 1e12 / 60)
    assert found.asking == pytest.approx(forward_flops(shape, 3600 * 19, 3600 * 5) / 2e12 / 60)
    assert found.runs == 1 and found.source == "by hand"


def test_the_runs_that_lessons_make_besides_the_curve_are_counted(study, monkeypatch) -> None:
    monkeypatch.setattr(forecast, "device_throughput", lambda name, here: DeviceThroughput(1e12, 2e12, "by hand", True))
    one = study(questions=600)
    one = replace(one, settings=replace(one.settings, percents=(0,), tune=replace(one.settings.tune, epochs=2)))
    found, shape = forecast_study(one, gpu="T4").minutes, SHAPES["SmolLM2-1.7B"]
    # the five single mixes take 7.5 % of 600 questions, by the paper's shares; D_IDK and three at twice the rate 200
    rows = 5 * 45 + 4 * 200
    tuning = training_flops(shape, 2 * rows * 19, 2 * rows * 5) / 1e12
    asked = 3 * (9 * 1000 + rows)
    assert found.further == pytest.approx((tuning + forward_flops(shape, asked * 19, asked * 5) / 2e12) / 60)
    assert found.further_runs == 9 and found.total == pytest.approx(
        found.categorising + found.tuning + found.asking + found.further)


def test_a_preset_with_reference_runs_needs_no_further_ones(study) -> None:
    found = forecast_study(study("pocket")).minutes
    assert (found.runs, found.further_runs, found.further) == (24, 0, 0)


def test_the_default_study_of_the_default_model_takes_at_most_an_hour_on_a_t4(study) -> None:
    found = forecast_study(study("smollm2-1.7b"), gpu="T4")
    assert found.dtype == "float16" and found.fits and found.copies and found.micro_batches == 1
    assert 5 < found.minutes.total <= 60


@pytest.mark.parametrize("preset", ["smollm2-360m", "smollm2-1.7b", "olmo2-1b", "qwen2.5-1.5b", "olmo2-7b"])
def test_every_preset_fits_a_t4_and_a_card_of_8_gb(preset, study) -> None:
    for gpu in ("T4", "8 GB card"):
        assert forecast_study(study(preset), gpu=gpu).fits


def test_a_model_that_does_not_fit_is_told_so(study, monkeypatch) -> None:
    monkeypatch.setattr(forecast, "GPUS", {"tiny": Gpu("tiny", 2 * GIB, 2 * GIB, (8, 0))})
    found = forecast_study(study("olmo2-7b"), gpu="tiny")
    lines = str(found).splitlines()
    assert not found.fits and found.minutes is None and f"{found.memory.peak / GIB:.2f} GiB, but 2.0 " in lines[1]
    assert lines[2].startswith("Time: ") and not any(letter.isdigit() for letter in lines[2])


def test_the_forecast_says_what_it_will_do(study) -> None:
    found = forecast_study(study("smollm2-1.7b"), gpu="T4")
    what, memory, time, _ = str(found).splitlines()
    assert re.search(r"smollm2-1\.7b .*T4: .*float16, .*\b8 rows .*3\.42 GB", what)
    assert re.search(rf"{found.memory.peak / GIB:.2f} of 14\.2 GiB", memory)
    assert re.search(rf"^Time: .*{found.minutes.total:.0f} min .*\b8 runs .*\b9 .*08 to 10", time)


def test_the_forecast_of_this_machine_needs_no_network(study) -> None:
    found = forecast_study(study("pocket"))
    assert found.gpu.capability is None and found.dtype == "float32" and found.fetch_bytes == 0 and found.fits


def test_a_gpu_that_is_not_in_the_list_is_refused_with_the_list(study) -> None:
    with pytest.raises(CourseError, match="gpu 'T5': .*8 GB card, T4, 24 GB card"):
        forecast_study(study(), gpu="T5")


def test_a_model_without_such_sizes_is_told_in_a_sentence(study, tmp_path) -> None:
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    with pytest.raises(CourseError, match="odd: .*pocket, "):
        forecast_study(study(str(tmp_path / "odd")))


def write_run(folder, name: str, forecast: int, peak: int) -> None:
    (folder / name).mkdir(parents=True)
    about = {"device": "Tesla T4", "training_memory": {"forecast": forecast, "peak": peak}}
    (folder / name / "run.json").write_text(json.dumps(about))


def test_forecast_and_measured_peak_of_finished_runs_are_compared(study) -> None:
    one = study("pocket")
    write_run(one.folder / "runs" / "pocket", "a", 3 * GIB, 4 * GIB)
    write_run(one.folder / "runs" / "pocket", "b", 5 * GIB, 4 * GIB)
    (one.folder / "runs" / "pocket" / "c").mkdir()
    (one.folder / "runs" / "pocket" / "c" / "run.json").write_text("{}")  # of a version that noted nothing
    table = compare(one)
    assert table[["run", "forecast", "measured", "off"]].values.tolist() == [["a", 3, 4, -25], ["b", 5, 4, 25]]
    [said] = describe_compared(one)
    assert re.search(r"\b2 .*\+0\.0 % .*25\.0 % .*4\.00 to 4\.00 GiB", said)


def test_without_finished_runs_nothing_is_compared(study) -> None:
    assert compare(study("pocket")).empty and describe_compared(study("pocket")) == []


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "pocket"])
def test_the_documentation_has_this_forecast(name, study) -> None:
    found, preset = forecast_study(study(name), gpu="T4"), PRESETS[name]
    row = (f"| `{name}` | {preset.licence} | {preset.download_bytes / 1e9:.2f} | {found.memory.peak / GIB:.2f} "
           f"| {found.minutes.total:.0f} |")
    assert row in (Path(__file__).parents[2] / "docs" / "real-models.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("gpu", [*GPUS, "a card of 2 GB"])
@pytest.mark.parametrize("preset", PRESETS)
def test_lesson_02_says_of_the_same_step_whether_it_fits(preset, gpu, study, monkeypatch) -> None:
    cards = {**GPUS, "a card of 2 GB": Gpu("a card of 2 GB", 2 * GIB, 1.5 * GIB, (8, 0))}
    monkeypatch.setattr(forecast, "GPUS", cards)
    found = forecast_study(study(preset), gpu=gpu)
    assert plots.verdict(found.memory.peak, cards[gpu]).startswith("fits") is found.fits is (
        found.memory.peak <= cards[gpu].free)
    trainer = estimate_trainer(forecast.shape_of(preset), batch=found.rows.count, tokens=round(found.rows.tokens))
    said = plots.describe_fits({"the model": trainer}, gpus={gpu: cards[gpu]})
    assert said.endswith("all fit.") is cards[gpu].fits(trainer.total)
