"""The GPU benchmark: its formulas, its table, cells that fail alone, and a whole run on a tiny shape on the CPU."""

import importlib
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks import cells, gpu, gpu_parts, mfu, random_nf4, sweep, timing, trainers
from benchmarks.cells import Attempt, Cell, Deadline
from benchmarks.counted import config_of
from benchmarks.gpu_table import Report, last_line, table
from course_lib.data import pocket
from course_lib.files import CourseError
from course_lib.models.four_bit import dequantised, is_four_bit
from course_lib.models.memory import SHAPES
from course_lib.training.packing import Target

REPOSITORY = Path(__file__).parents[2]
NEVER = Deadline()
MACHINE = {"date": "2026-11-24", "gpu": "NVIDIA H100 80GB HBM3", "cpu": "a CPU", "threads": 2, "device": "cuda",
           "dtype": "bfloat16", "cap_gib": None, "gpu_bytes": 80 * 2**30, "matmul_flops": 800e12, "sheet_flops": 989e12,
           "versions": {"torch": "2.13", "lm_eval": None}}
SETTINGS = {"rows": 256, "rounds": 2, "facts": "pocket"}


def trained(name: str, rate: float, **more) -> Cell:
    values = {"batch": 8, "rows_a_second": rate, "spread": 0.1, "tokens_a_second": 20 * rate, "positions_a_row": 14.0,
              "padding": 0.0, "mfu_sheet": 0.25, "mfu_matmul": 0.5, "flops": 4e14, "peak_bytes": 2**31,
              "forecast_bytes": 1.5 * 2**30, "forecast_off": -0.25, "loss_before": 10.0, "loss_after": 9.0,
              "remark": ""}
    return Cell("SmolLM2-360M", "training", name, f"the {name}", values | more)


def report(*measured: Cell, **machine) -> Report:
    return Report(MACHINE | machine, SETTINGS, measured)


def summary(*measured: Cell) -> dict:
    return json.loads(last_line(report(*measured)))


@pytest.fixture(scope="module")
def bench() -> gpu_parts.Bench:
    return gpu_parts.Bench("quick", random_nf4.QUICK, "cpu", "float32", pocket.load(), gpu_parts.Sizes.quick(), NEVER)


# --- formulas

def test_mfu_is_four_operations_a_weight_and_token_over_the_speed_of_the_gpu_if_that_is_known() -> None:
    # 300 million weights, 100,000 tokens a second: 4 x 3e8 x 1e5 = 1.2e14 of 4e14 operations a second
    assert mfu.mfu(300_000_000, 100_000, 4e14) == pytest.approx(0.3)
    assert mfu.mfu(300_000_000, 100_000, None) is None


@pytest.mark.parametrize("name, tera", [
    ("NVIDIA H100 80GB HBM3", 989), ("NVIDIA H100 PCIe", 756), ("NVIDIA H200", 989), ("Tesla T4", 65),
    ("NVIDIA A100-SXM4-80GB", 312), ("NVIDIA L4", 121), ("NVIDIA L40S", 362), ("Tesla V100-SXM2-16GB", 125),
    ("Tesla V100-PCIE-16GB", 112), ("NVIDIA A10", 125), ("NVIDIA GeForce RTX 4090", 165), ("NVIDIA L40", None),
    (None, None)])
def test_the_speed_on_the_data_sheet_is_found_by_the_name_that_torch_gives(name, tera) -> None:
    assert mfu.sheet_flops(name, "float16") == (tera and tera * 1e12)
    assert mfu.sheet_flops(name, "float32") is mfu.sheet_flops(name, "bfloat16", (7, 5)) is None


def test_a_product_of_two_matrices_has_twice_the_cube_of_their_size_in_operations(monkeypatch) -> None:
    monkeypatch.setattr(mfu, "timed", lambda device, run: timing.Timed(0.5, run()))
    assert mfu.matmul_flops(torch.device("cpu"), torch.float32, size=4) == 2 * 4**3 / 0.5


def test_the_rate_and_the_mfu_of_a_cell_are_those_of_its_rows_and_positions(bench) -> None:
    # 2 rows in 0.5 s and in 0.25 s: 4 and 8 rows/s, median 6; 14 of 16 positions for 2 rows are no padding: 7 a row
    runs = [trainers.Run(0.1, 9.0, (trainers.Epoch(seconds, 1.0, 8.0, 100),), traffic)
            for seconds, traffic in ((3.0, None), (0.5, timing.Traffic(16, 2, 4)), (0.25, timing.Traffic(16, 2, 4)))]
    rows = [Target((1, 2, 3, 4), 2), Target((1, 2, 3, 4, 5, 6), 3)]
    found = gpu_parts._training_cell(replace(bench, matmul_flops=4e9), gpu_parts.WAYS[0],
                                     list(map(Attempt, runs)), rows).values
    assert (found["rows_a_second"], found["tokens_a_second"], found["positions_a_row"]) == (6.0, 30.0, 7.0)
    assert found["padding"] == 0.125 and found["peak_bytes"] == 100
    # linear weights of the tiny shape: 2 layers of (2 x 64 x 64 + 2 x 64 x 32 + 3 x 64 x 128)
    assert found["mfu_matmul"] == pytest.approx(4 * 73_728 * 6 * 7 / 4e9)
    # the output layer too: 2 of 4 rows a row, each 64 x 2304
    assert found["flops"] == pytest.approx(4 * (73_728 * 7 + 64 * 2304 * 2) * 6)


def test_the_forecast_for_ours_with_copies_is_larger_by_the_weights_in_full(bench) -> None:
    kept, restored = (gpu_parts.forecast(bench, next(way for way in gpu_parts.WAYS if way.name == name),
                                         gpu_parts.targets(bench)) for name in ("ours", "ours_restored"))
    matrix = 4 * 64 * 128  # the largest, which is restored on the way where no copy is kept
    assert 4 * 73_728 - matrix <= kept - restored <= 4 * 73_728


# --- cells

@pytest.mark.parametrize("error, problem", [
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), "out of memory"),
    (RuntimeError("CUDA error: an illegal memory access was encountered\nmore"),
     "failed: RuntimeError: CUDA error: an illegal memory access was encountered")])
def test_a_cell_without_memory_says_so_and_one_that_fails_says_why(error, problem, capsys) -> None:
    assert cells.attempt("a", mock.Mock(side_effect=error), NEVER) == Attempt(problem=problem)
    assert ("Traceback" in capsys.readouterr().err) == problem.startswith("failed")
    assert cells.attempt("b", lambda: 3, NEVER) == Attempt(3)


def test_after_the_deadline_nothing_new_begins() -> None:
    assert cells.attempt("a", lambda: 3, Deadline(10.0, lambda: 10.0)) == Attempt(problem="out of time")


@pytest.mark.parametrize("at, now, parts, end", [(100.0, 40.0, 3, 60.0), (100.0, 40.0, 1.5, 80.0),
                                                 (100.0, 130.0, 2, 130.0), (None, 40.0, 3, None)])
def test_the_time_is_shared_out_over_the_shapes_that_are_left(at, now, parts, end) -> None:
    assert Deadline(at, lambda: now).share(parts).at == end


def test_methods_take_turns_after_each_has_warmed_up() -> None:
    calls = []
    measures = {name: lambda warming, name=name: calls.append(name + "!" * warming) for name in "abc"}
    cells.in_turn("x", measures, rounds=2, deadline=NEVER)
    assert calls == ["a!", "b!", "c!", "a", "b", "c", "b", "c", "a"]


def test_a_method_that_failed_is_not_tried_again_and_the_others_go_on() -> None:
    full = mock.Mock(side_effect=MemoryError)
    found = cells.in_turn("x", {"full": full, "good": lambda _: 1}, rounds=2, deadline=NEVER)
    assert full.call_count == 1 and [at.problem for at in found["full"]] == ["out of memory"]
    assert [at.value for at in found["good"]] == [1, 1, 1]


@pytest.mark.parametrize("attempts, problem", [
    ([Attempt(problem="out of memory")], "out of memory"),
    ([Attempt(trainers.Run(0.1, 9.0, (trainers.Epoch(1.0, 1.0, 8.0),), None, "no room for copies"))] * 2,
     "no room for copies")])
def test_a_method_that_could_not_be_measured_leaves_a_cell_that_says_so(bench, attempts, problem) -> None:
    cell = gpu_parts._training_cell(bench, gpu_parts.WAYS[0], attempts, [])
    assert (cell.name, cell.problem) == ("ours", problem)


# --- models

def test_a_random_base_is_in_nf4_as_a_loaded_one_is(bench) -> None:
    model = bench.base().model
    four_bit = [module for module in model.modules() if is_four_bit(module)]
    assert len(four_bit) == 2 * 7 and not is_four_bit(model.get_output_embeddings())
    state = four_bit[0].weight.quant_state
    assert (state.quant_type, state.nested, four_bit[0].compute_dtype) == ("nf4", True, torch.float32)
    assert float(dequantised(four_bit[0]).std()) == pytest.approx(0.02, rel=0.1)
    assert model.is_loaded_in_4bit and model.is_quantized
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert not any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))


def test_a_random_base_has_the_angles_of_positions_that_transformers_gives_it() -> None:
    from transformers import AutoModelForCausalLM

    base = random_nf4.random_base("quick", random_nf4.QUICK, device="cpu", dtype="bfloat16")
    plain = AutoModelForCausalLM.from_config(base.model.config)
    assert torch.equal(base.model.model.rotary_emb.inv_freq, plain.model.rotary_emb.inv_freq)
    assert base.model.dtype == torch.bfloat16


def test_one_seed_gives_one_base(bench) -> None:
    one, other = (bench.base().model.state_dict() for _ in range(2))
    assert all(torch.equal(one[key], other[key]) for key in one if isinstance(one[key], torch.Tensor))


@pytest.mark.parametrize("name", ["SmolLM2-360M", "Mistral-7B-v0.3", "OLMo-2-1124-7B"])
def test_the_configuration_of_a_published_shape_has_its_sizes(name) -> None:
    config = config_of(SHAPES[name], SimpleNamespace(eos_token_id=0, pad_token_id=1))
    assert (config.hidden_size, config.num_hidden_layers, config.vocab_size) == (
        SHAPES[name].hidden, SHAPES[name].layers, SHAPES[name].vocabulary)
    assert (config.eos_token_id, config.pad_token_id, config.bos_token_id) == (0, 1, None)


def test_ours_without_copies_trains_without_them_and_to_the_same_losses(bench) -> None:
    [cell] = gpu_parts.copies(bench)
    assert cell.name == "copies_float32" and cell.values["max_loss_difference"] <= 1e-6
    base, mixes = bench.base(), sweep.draw_mixes(bench.facts.train, runs=1, rows=8)
    for copies in (True, False):
        assert sweep.train(base, mixes, [bench.task.config], copies=copies).copies == copies


# --- table and last line

def test_the_table_has_a_line_of_numbers_or_of_a_problem_for_each_cell() -> None:
    text = table(report(trained("ours", 400.0), replace(trained("trl", 1.0), problem="out of memory"), cap_gib=14.6))
    good, bad = (next(line for line in text.splitlines() if f"the {name}" in line) for name in ("ours", "trl"))
    assert good == ("| SmolLM2-360M | the ours | 8 | 400 | 10% | 8000 | 14.0 | 0.0% | 25.0% | 50.0% | 400.00 | 2.00 "
                    "| 1.50 | -25% | 10.0000 | 9.0000 |  |")
    assert "| out of memory |" in bad and bad.count("|") == good.count("|")
    assert re.search(r"\b800 TFLOP/s .*\b989\b", text) and "14.6 GiB" in text and "lm_eval" not in text


def test_the_last_line_has_the_ratios_to_the_rivals_at_their_batch_and_at_ours() -> None:
    found = summary(trained("ours", 400.0), trained("ours_8", 300.0), trained("ours_restored", 200.0),
                    trained("trainer", 100.0), trained("trainer_32", 200.0), trained("trl", 40.0),
                    trained("trl_plain", 50.0), trained("trl_32", 80.0))["SmolLM2-360M"]
    assert {name: found[name] for name in ("vs_trl", "vs_trainer", "vs_trl_8", "vs_trl_32", "vs_trainer_32")} == {
        "vs_trl": 8.0, "vs_trainer": 4.0, "vs_trl_8": 6.0, "vs_trl_32": 5.0, "vs_trainer_32": 2.0}
    assert found["copies_32"] == 2.0 and found["copies_8"] is None
    assert (found["mfu"], found["forecast_off"], found["peak_gib"]) == (0.5, 0.25, 2.0)


def test_without_room_for_copies_ours_restores_what_was_not_measured_is_null_and_what_failed_is_named() -> None:
    found = summary(replace(trained("ours", 0.0), problem="no room for copies"), trained("ours_restored", 200.0),
                    trained("trainer", 100.0), replace(trained("trl", 0.0), problem="failed: ValueError: no"))
    one = found["SmolLM2-360M"]
    assert (one["vs_trainer"], one["rows_a_second"], one["vs_trl"], one["adapters_8"]) == (2.0, 200.0, None, None)
    assert found["failed"] == ["SmolLM2-360M: the trl"]


# --- command line

def test_shapes_are_named_in_any_case_and_kept_in_order_and_an_unknown_one_is_refused() -> None:
    found = gpu.chosen_shapes(gpu.arguments(["--shapes", "mistral-7b-v0.3, smollm2-360M"]))
    assert list(found) == ["Mistral-7B-v0.3", "SmolLM2-360M"]
    with pytest.raises(CourseError, match="--shapes gpt5: .*pocket, SmolLM2-360M"):
        gpu.chosen_shapes(gpu.arguments(["--shapes", "gpt5"]))


def test_results_are_named_by_gpu_setting_and_date(tmp_path) -> None:
    asked = gpu.arguments(["--dtype", "float16", "--cap-gib", "14.6", "--out", str(tmp_path)])
    gpu.store(report(trained("ours", 1.0), dtype="float16", cap_gib=14.6), asked)
    name = "gpu-nvidia-h100-80gb-hbm3-float16-cap14.6-2026-11-24"
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{name}.json", f"{name}.md"]
    assert json.loads((tmp_path / f"{name}.json").read_text())["cells"][0]["values"]["rows_a_second"] == 1.0


def test_a_real_run_without_a_gpu_or_a_package_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(CourseError, match="CUDA.*--quick"):
        gpu.machine_of(gpu.arguments([]))
    find = gpu.importlib.util.find_spec
    monkeypatch.setattr(gpu.importlib.util, "find_spec", lambda name: None if name == "bitsandbytes" else find(name))
    with pytest.raises(CourseError, match="^bitsandbytes: "):
        gpu.refuse_missing()


def test_wheels_are_imported_from_a_folder_of_their_own_and_a_missing_one_is_named(tmp_path, monkeypatch) -> None:
    wheel, about = tmp_path / "carried_along-1.0-py3-none-any.whl", "carried_along-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("carried_along.py", "WHERE = __file__")
        file.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: carried-along\nVersion: 1.0\n")
        file.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: a test\nRoot-Is-Purelib: true\n"
                                        "Tag: py3-none-any\n")
        file.writestr(f"{about}/RECORD", "")
    monkeypatch.setattr(sys, "path", list(sys.path))
    gpu.use_wheels([wheel], tmp_path / "new")
    assert importlib.import_module("carried_along").WHERE.startswith(str(tmp_path / "new" / "site-packages"))
    with pytest.raises(CourseError, match="(?s)--wheel: .*none-1.0"):
        gpu.use_wheels([tmp_path / "none-1.0-py3-none-any.whl"], tmp_path)


# what torch, transformers, peft and bitsandbytes bring, of what the course declares
BROUGHT = {"bitsandbytes", "filelock", "huggingface-hub", "numpy", "packaging", "peft", "psutil", "safetensors",
           "tokenizers", "torch", "tqdm", "transformers", "typer"}
BLOCKING = """import sys
sys.modules.update(dict.fromkeys({!r}))  # None: cannot be imported
from benchmarks import gpu
sys.exit(gpu.main(sys.argv[1:]))"""


@pytest.mark.slow
def test_a_quick_run_needs_torch_transformers_peft_and_bitsandbytes_alone(tmp_path) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    declared = [*project["dependencies"], *project["optional-dependencies"]["bench"]]
    others = {canonicalize_name(Requirement(line).name) for line in declared} - BROUGHT
    blocked = [module for module, owners in metadata.packages_distributions().items()
               if others & set(map(canonicalize_name, owners))] + ["trl", "lm_eval", "datasets"]
    assert {"pandas", "jupytext", "pyarrow", "pooch", "matplotlib", "ipywidgets", "scipy"} <= set(blocked)
    done = subprocess.run([sys.executable, "-c", BLOCKING.format(blocked), "--quick", "--device", "cpu", "--out",
                           str(tmp_path)], cwd=REPOSITORY, env=os.environ | {"PYTHONPATH": "."}, capture_output=True,
                          text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["failed"] == [] and found["quick"]["vs_trl"] is None  # TRL is not there
    assert found["quick"]["copies_max_difference"] <= 1e-6 and found["quick"]["padding"] == 0.0
    assert found["quick"]["adapters_32"] > 0 < found["quick"]["categorised_a_second"]
    assert found["quick"]["tuning"] > 0 < found["quick"]["reading"]
    text = next(tmp_path.glob("gpu-cpu-*-quick.md")).read_text()
    assert "| SFTTrainer, its defaults | not installed |" in text and len(list(tmp_path.iterdir())) == 2


@pytest.mark.slow
@pytest.mark.skipif(not trainers.installed("trl"), reason="needs the extra 'bench'")
def test_the_rivals_train_the_random_base_too(bench) -> None:
    found = {cell.name: cell for cell in gpu_parts.training(bench)}
    assert {cell.problem for cell in found.values()} == {""}
    assert found["trainer"].values["loss_after"] == pytest.approx(found["ours_8"].values["loss_after"], abs=0.01)
