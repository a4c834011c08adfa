"""The three ways to train are given the same rows and do the same steps; the table says what was measured."""

import importlib.util
import json
import math
from dataclasses import replace

import pytest
import torch

from benchmarks import train, trainers
from benchmarks.timing import Traffic
from course_lib.data.facts import Fact
from course_lib.models.loading import load
from course_lib.training.finetune import TuneConfig
from course_lib.training.mixing import Mix, Row
from course_lib.training.packing import Target
from tests.support.tiny import ANSWERS, SUBJECTS, TOKENIZERS, tiny_model

ROWS = tuple(Row(Fact(subject, "P19", answer), "Unknown") for subject, answer in zip(SUBJECTS, ANSWERS, strict=False))
DATA = Mix("D", 100, 0, ROWS)
TASK = trainers.Task("pocket", "cpu", DATA, TuneConfig(epochs=1, warmup=0))
rivals = pytest.mark.skipif(not trainers.installed("trl"), reason="needs the extra 'bench'")


def result(name: str, rate: float, losses=(4.0, 2.0, 1.0), seconds=(10.0, 20.0)) -> train.Result:
    method = next(method for method in trainers.METHODS if method.name == name)
    return train.Result(method, rate, 0.1, rate, 0.5, seconds, losses, 20.0, 0.0, 4.0)


def report(*results: train.Result, load=(0.5, 0.7)) -> train.Report:
    machine = {"date": "2026-01-01", "gpu": None, "cpu": "a processor", "threads": 2, "versions": {}, "device": "cpu"}
    return train.Report("pocket", 480, 2, 3, results, train.Evaluation(9.0, 1.0, 3.0, 360, 1980), machine, load)


def test_labels_of_a_row_are_hidden_up_to_the_answer_and_end_with_the_end_of_text() -> None:
    tokenizer = TOKENIZERS["gpt2"]()
    row = trainers.tokenised(tokenizer, DATA)[0]
    shown = [token for token in row["labels"] if token != -100]
    assert tokenizer.decode(shown) == " Paris<|endoftext|>"
    assert row["labels"][-len(shown):] == row["input_ids"][-len(shown):]
    assert tokenizer.decode(row["input_ids"]).startswith("Answer the following question.\nWhere was Ana Ruiz born? ")


def test_the_mean_loss_is_that_of_the_model_itself_and_leaves_it_in_training() -> None:
    model = tiny_model("llama", TOKENIZERS["gpt2"](), seed=3).train()
    rows = [Target((5, 6, 7, 8), 2), Target((9, 10, 11), 2)]  # 2 tokens and 1 token are asked for
    alone = [model(torch.tensor([row.tokens]), labels=torch.tensor([[-100, -100, *row.tokens[2:]]])).loss.item()
             for row in rows]
    assert trainers.mean_loss(model, rows) == pytest.approx((2 * alone[0] + alone[1]) / 3, rel=1e-5)
    assert model.training


@rivals
def test_sfttrainer_takes_the_tokens_and_labels_that_trainer_is_given(tmp_path) -> None:
    import datasets
    from trl import SFTConfig, SFTTrainer

    base = load("pocket", device="cpu", four_bit=False)
    settings = SFTConfig(str(tmp_path), use_cpu=True, bf16=False, report_to="none", disable_tqdm=True)
    rows = datasets.Dataset.from_list(trainers.prompts_and_completions(DATA))
    found = SFTTrainer(base.model, settings, processing_class=base.tokenizer, train_dataset=rows).train_dataset
    wanted = trainers.tokenised(base.tokenizer, DATA)
    assert [(row["input_ids"], row["labels"]) for row in found] == [
        (row["input_ids"], row["labels"]) for row in wanted]


@rivals
@pytest.mark.slow
def test_one_step_over_all_rows_brings_every_method_to_the_same_loss() -> None:
    ways = [trainers.Method(kind, kind, kind, len(ROWS)) for kind in ("ours", "trainer", "trl")]
    ours, trainer, trl = (trainers.run(TASK, way, count=True) for way in ways)
    after = ours.epochs[0].loss
    assert after < ours.loss_before - 0.05
    assert trainer.epochs[0].loss == pytest.approx(after, abs=1e-4)
    assert trl.epochs[0].loss == pytest.approx(after, abs=0.02)  # its adapter is in bfloat16
    assert ours.traffic.filler == 0 < trainer.traffic.filler == trl.traffic.filler


def test_time_to_a_loss_lies_on_a_straight_line_between_the_ends_of_epochs() -> None:
    at = result("ours", 1.0)  # 4 -> 2 in 10 s, 2 -> 1 in 20 s
    assert [train.time_to(loss, at) for loss in (3.0, 2.0, 1.5, 1.0)] == [5.0, 10.0, 20.0, 30.0]
    with pytest.raises(ValueError, match=r"ours .*\b0\.5$"):
        train.time_to(0.5, at)


def test_the_last_line_compares_with_the_faster_of_a_rivals_two_dtypes() -> None:
    found = report(result("ours", 400), result("ours_8", 300), result("trainer", 200), result("trl", 50),
                   result("trl_plain", 100))
    assert json.loads(train.last_line(found)) == {"vs_trl": 4.0, "vs_trainer": 2.0, "eval_share": 0.1}


def test_a_rival_that_is_not_installed_is_null_and_named_in_the_table(monkeypatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "trl" else object())
    assert [kind for kind in trainers.PACKAGES if trainers.installed(kind)] == ["ours", "trainer"]
    found = report(result("ours", 400), result("ours_8", 300), result("trainer", 200))
    assert json.loads(train.last_line(found))["vs_trl"] is None
    assert "trl; `pip install -e .[bench]`" in train.table(found)


def test_the_table_has_the_ratios_at_both_batches_and_the_time_to_the_highest_of_the_last_losses() -> None:
    results = result("ours", 400), result("ours_8", 300, losses=(4.0, 2.0, 1.5)), result("trainer", 200)
    text, shared = train.table(report(*results)), train.table(report(*results, load=(3.0, 2.5)))
    ours, trainer = (next([cell.strip() for cell in line.split("|")] for line in text.splitlines()
                          if line.startswith(f"| {name}")) for name in ("ours, the library", "Trainer"))
    assert trainer[5:7] == ["2.00", "1.50"] and "s to loss 1.500" in text and ours[9] == "20.00"
    assert "10.0% of both" in text and "25.0%" in text  # 1 of 10 s for dev questions, 3 of 12 for all
    assert "0.5 and 0.7" in text and "3.0 and 2.5" in shared and len(shared) > len(text)  # shared with others


def test_a_result_takes_medians_over_the_rounds_and_counts_each_row_of_each_epoch() -> None:
    task = replace(TASK, config=TuneConfig(epochs=2))
    runs = [trainers.Run(0.1, 3.0, (trainers.Epoch(seconds, 2.0, 2.0), trainers.Epoch(1.0, 2.0, 1.0)), None)
            for seconds in (1.0, 3.0, 7.0)]  # 8 rows twice in 2, 4 and 8 s
    counted = replace(runs[0], traffic=Traffic(positions=160, filler=16, output_rows=40))
    found = train._result(task, trainers.METHODS[0], runs, counted)
    assert (found.rows_a_second, found.spread, found.rows_a_processor_second) == (4.0, 1.5, 4.0)
    assert (found.seconds, found.losses) == ((3.0, 1.0), (3.0, 2.0, 1.0))
    assert (found.positions, found.filler, found.output_rows) == (20.0, 0.1, 5.0)


@pytest.mark.slow
def test_a_quick_run_stores_its_table_apart_and_ends_with_a_line_of_json(tmp_path, capsys) -> None:
    train.main(["--quick", "--device", "cpu", "--out", str(tmp_path)])
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(last) == {"vs_trl", "vs_trainer", "eval_share"}
    assert 0 < last["eval_share"] < 1
    assert (last["vs_trl"] is None) != trainers.installed("trl")
    assert last["vs_trl"] is None or math.isfinite(last["vs_trl"])
    assert {path.suffix for path in tmp_path.glob("train-pocket-cpu-*-quick.*")} == {".md", ".json"}
