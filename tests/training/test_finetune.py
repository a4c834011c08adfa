"""Fine-tuning a tiny random model on invented facts: what is evaluated and kept, and what can be undone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from peft import PeftModel

from course_lib.files import CourseError
from course_lib.knowledge.scoring.engine import exact_match
from course_lib.knowledge.scoring.prompts import INSTRUCTION
from course_lib.models.loading import load
from course_lib.training.finetune import Job, add_lora, evaluate, remove_lora, tune_together
from course_lib.training.mixing import IDK_ANSWER, Mix, relabel
from course_lib.training.records import unpack_bits
from tests.support.tuning import CONFIG, DATA, DEV, FACTS, ROWS, SHORT, adapters, logits, run


@pytest.fixture(scope="module")
def fitted(folder):
    """One run to the end, with its tokenizer."""
    base = load(folder, device="cpu")
    return run(base, CONFIG, categories={"test": ["HighlyKnown", "Unknown"], "ood": ["MaybeKnown"]}), base.tokenizer


def untimed(tuned):
    return [replace(record, seconds=0, evaluation_seconds=0) for record in tuned.history.records]


def test_training_fits_every_row(fitted):
    last = fitted[0].history.convergence
    assert (last.known_fitted, last.unknown_fitted) == (100, 100)
    assert last.loss < fitted[0].history.records[1].loss / 3


def test_what_is_fitted_is_what_generate_writes(fitted):
    tuned, tokenizer = fitted
    for row in ROWS:
        ids = torch.tensor([tokenizer(INSTRUCTION.text(row.fact.question))["input_ids"]])
        out = tuned.model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False,
                                   max_new_tokens=12)[0, ids.shape[1]:]
        assert tokenizer.decode(out, skip_special_tokens=True).strip() == row.fact.object


def test_history_begins_with_the_untuned_model_and_has_every_epoch(fitted):
    records = fitted[0].history.records
    assert [record.epoch for record in records] == list(range(51))
    assert records[0].loss is None and all(record.loss > 0 for record in records[1:])
    assert list(fitted[0].history.to_frame().columns) == [
        "epoch", "loss", "dev", "test", "ood", "known_fitted", "unknown_fitted", "seconds", "evaluation_seconds",
        "answered", "train_HighlyKnown", "train_Unknown", "test_HighlyKnown", "test_Unknown", "ood_MaybeKnown"]


def test_a_run_is_handed_over_ready_to_generate(fitted):
    assert not any(module.training for module in fitted[0].model.modules())


def test_an_empty_group_has_no_accuracy(base):
    found = evaluate(base.model, base.tokenizer, {"dev": DEV, "ood": ()})
    assert found["ood"] is None and 0 <= found["dev"] <= 100
    assert evaluate(base.model, base.tokenizer, {"dev": (), "ood": ()}) == {"dev": None, "ood": None}


def test_d_known_has_no_unknown_rows_to_fit(base):
    known = Mix("D_Known", 38.5, 0, ROWS[:8])
    records = run(base, data=known).history.records
    assert all(record.unknown_fitted is None and record.known_fitted is not None for record in records)


def test_on_epoch_gets_every_record_and_the_adapted_model(base):
    seen = []
    tuned = run(base, on_epoch=lambda done: seen.append((done.record.epoch, done.model)))
    assert [epoch for epoch, _ in seen] == [0, 1, 2] and all(model is tuned.model for _, model in seen)


def test_accuracies_are_split_by_category_and_every_single_answer_is_kept(fitted):
    record = fitted[0].history.convergence
    assert record.by_category == {"train_HighlyKnown": 100, "train_Unknown": 100, "test_HighlyKnown": 100,
                                  "test_Unknown": 100, "ood_MaybeKnown": record.ood}
    assert unpack_bits(record.right["test"]).tolist() == [True, True] and record.test == 100
    assert unpack_bits(record.right["ood"]).tolist() == [record.ood == 100]


def test_a_relabelled_mix_learns_to_decline_and_counts_what_is_answered(base):
    silent = relabel(Mix("D", 38.5, 0, ROWS))
    facts = replace(FACTS, test=(ROWS[0].fact, ROWS[8].fact))
    record = run(base, CONFIG, silent, facts).history.convergence
    assert {row.fact.object for row in silent.rows[8:]} == {IDK_ANSWER}
    assert (record.known_fitted, record.unknown_fitted) == (100, 100)
    assert record.answered == 50 and unpack_bits(record.right["answered"]).tolist() == [True, False]
    assert record.test == 50, "the test questions keep their own answers"


# Stopped and resumed


@pytest.mark.parametrize("stop", [0, 1, 3])
def test_a_run_goes_on_from_a_checkpoint_to_the_same_bits(folder, stop):
    config, checkpoints = replace(CONFIG, epochs=4), []
    whole = run(load(folder, device="cpu"), config, on_epoch=lambda done: checkpoints.append(done.checkpoint()))
    rest, more = [], load(folder, device="cpu")
    again = run(more, config, resume=checkpoints[stop], on_epoch=lambda done: rest.append(done.checkpoint()))
    assert [len(checkpoint.records) for checkpoint in rest] == list(range(stop + 2, 6))
    assert untimed(again) == untimed(whole)
    assert rest[-1].state == checkpoints[-1].state and rest[-1].tensors.keys() == checkpoints[-1].tensors.keys()
    assert all(torch.equal(value, checkpoints[-1].tensors[key]) for key, value in rest[-1].tensors.items())


def test_a_checkpoint_is_not_changed_by_the_epochs_after_it(base):
    kept = []
    run(base, on_epoch=lambda done: kept.append((done.checkpoint(), done.checkpoint().tensors)))
    first = next(key for key in kept[0][1] if key.startswith("weight.") and "lora_B" in key)
    assert kept[0][0].tensors[first].eq(0).all() and not kept[-1][0].tensors[first].eq(0).all()


def test_a_checkpoint_of_another_rank_is_refused(folder):
    kept = []
    run(load(folder, device="cpu"), on_epoch=lambda done: kept.append(done.checkpoint()))
    with pytest.raises(CourseError, match=r"\brank\b"):
        run(load(folder, device="cpu"), replace(SHORT, rank=4), resume=kept[0])


def test_runs_that_differ_in_rank_do_not_go_together(base):
    jobs = [Job(DATA, SHORT), Job(DATA, replace(SHORT, rank=4))]
    with pytest.raises(CourseError, match=r"\brank\b"):
        tune_together(base.model, base.tokenizer, jobs, FACTS, progress=False)


def test_the_same_seed_gives_the_same_run_bit_for_bit(folder):
    runs = [run(load(folder, device="cpu")) for _ in range(2)]
    first, second = (adapters(tuned.model) for tuned in runs)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert [replace(record, seconds=0, evaluation_seconds=0) for record in runs[0].history.records] == [
        replace(record, seconds=0, evaluation_seconds=0) for record in runs[1].history.records]


def test_another_seed_gives_another_run(folder):
    first, second = (adapters(run(load(folder, device="cpu"), replace(SHORT, seed=seed)).model) for seed in (0, 1))
    assert not any(torch.equal(first[name], second[name]) for name in first)


def test_a_run_leaves_the_global_random_numbers_alone(base):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    run(base)
    assert torch.equal(torch.rand(3), expected)


def test_an_adapter_begins_as_no_change(base):
    before = logits(base.model)
    assert torch.equal(logits(add_lora(base.model, CONFIG)), before)


# Saved, loaded, removed


def test_an_adapter_can_be_saved_and_loaded_on_a_fresh_base(fitted, folder, tmp_path):
    tuned, tokenizer = fitted
    tuned.model.save_pretrained(tmp_path)
    assert (tmp_path / "adapter_model.safetensors").is_file()
    again = PeftModel.from_pretrained(load(folder, device="cpu").model, tmp_path)
    assert torch.equal(logits(again), logits(tuned.model))
    facts = [row.fact for row in ROWS]
    assert exact_match(again, tokenizer, facts).all()


def test_removing_the_adapter_gives_back_the_base(base):
    before = logits(base.model)
    bare = remove_lora(run(base).model)
    assert torch.equal(logits(bare), before)
    assert not any("lora" in name for name, _ in bare.named_modules())
    assert not any(parameter.requires_grad for parameter in bare.parameters())


@pytest.mark.filterwarnings("error:.*multiple adapters.*", "error:.*second time.*")
def test_a_base_can_be_tuned_again_with_the_same_result(base):
    first = run(base)
    expected = adapters(first.model)
    second = run(replace(base, model=remove_lora(first.model)))
    assert all(torch.equal(value, expected[name]) for name, value in adapters(second.model).items())


def test_d_known_without_rows_is_refused(base):
    with pytest.raises(CourseError, match="D_Known .*100 %"):
        run(base, data=Mix("D_Known", 100, 0, ()))
