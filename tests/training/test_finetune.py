"""Fine-tuning a tiny random model on invented facts: what the loss sees, what is kept, and what can be undone."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from peft import PeftModel

from course_lib.data.facts import Fact, FactSet
from course_lib.files import CourseError
from course_lib.knowledge.scoring.engine import exact_match
from course_lib.knowledge.scoring.prompts import INSTRUCTION
from course_lib.models.loading import load
from course_lib.training.finetune import (
    EpochRecord,
    History,
    Job,
    TuneConfig,
    add_lora,
    evaluate,
    remove_lora,
    tune,
    tune_together,
)
from course_lib.training.loop import Loop, RunState
from course_lib.training.mixing import IDK_ANSWER, Mix, Row, relabel
from course_lib.training.records import unpack_bits
from tests.support.tiny import SUBJECTS, TOKENIZERS, plain_model

ROWS = tuple(Row(Fact(subject, relation, answer), category) for subject, relation, answer, category in [
    *((subject, "P19", answer, "HighlyKnown") for subject, answer in zip(
        SUBJECTS, ["Paris", "Ulm", "Rome (Italy)", "São Tomé", "A.B.", "1984", "Łódź", "Paris"], strict=True)),
    *((subject, "P40", answer, "Unknown") for subject, answer in zip(SUBJECTS[:5], ["Bo", "Eva", "Ana", "Gil", "Fu"],
                                                                     strict=True))])
DATA = Mix("D", 38.5, 0, ROWS)
DEV = tuple(row.fact for row in ROWS[:4])
FACTS = FactSet("invented", tuple(row.fact for row in ROWS), DEV, DEV[:2], (Fact("Ida", "P50", "Jo"),))
CONFIG = TuneConfig(epochs=50, lr=5e-3, warmup=1, batch=4, seed=3)
SHORT = replace(CONFIG, epochs=2)
IDS = torch.arange(3, 43).view(2, 20)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder, tokenizer = tmp_path_factory.mktemp("base"), TOKENIZERS["gpt2"]()
    plain_model("llama", tokenizer, initializer_range=0.1).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def base(folder):
    return load(folder, device="cpu")


def run(base, config=SHORT, data=DATA, facts=FACTS, **more):
    return tune(base.model, base.tokenizer, data, facts, config, progress=False, **more)


@pytest.fixture(scope="module")
def fitted(folder):
    """One run to the end, with its tokenizer."""
    base = load(folder, device="cpu")
    return run(base, CONFIG, categories={"test": ["HighlyKnown", "Unknown"], "ood": ["MaybeKnown"]}), base.tokenizer


def adapters(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters() if "lora_" in name}


def logits(model):
    with torch.inference_mode():
        return model.eval()(input_ids=IDS, use_cache=False).logits


# ---------------------------------------------------------------- the loss


def loop_of(base, config=SHORT, data=DATA):
    return Loop(add_lora(base.model, config), base.tokenizer, ["default"], [data], [config])


def loss_of(loop, rows):
    return loop.losses([0], [rows]).item()


def by_hand(model, tokenizer, fact):
    """Summed cross-entropy of the answer and the end of text, and the tokens that it is about."""
    text = f"Answer the following question.\n{fact.question}"
    before, answer = tokenizer(text)["input_ids"], tokenizer(f" {fact.object}")["input_ids"]
    learnt = [*answer, tokenizer.eos_token_id]
    with torch.no_grad():
        log_p = model(input_ids=torch.tensor([before + learnt])).logits[0].log_softmax(-1)
    return -sum(log_p[len(before) - 1 + i, token].item() for i, token in enumerate(learnt)), learnt


@pytest.fixture(params=[True, False], ids=["packed", "padded"])
def loop(base, request):
    loop = loop_of(base)
    assert loop.packed, "a Llama's attention can be replaced"
    loop.packed = request.param
    return loop


def test_the_loss_is_about_the_answer_and_the_end_of_text_alone(loop, base):
    sums = [by_hand(loop.model, base.tokenizer, row.fact) for row in ROWS[:3]]
    expected = sum(value for value, _ in sums) / sum(len(learnt) for _, learnt in sums)
    assert loss_of(loop, loop.states[0].rows[:3]) == pytest.approx(expected, rel=1e-5)


def test_the_tokens_that_enter_the_loss_spell_the_answer_and_its_end(loop, base, monkeypatch):
    seen, cross_entropy = [], torch.nn.functional.cross_entropy
    monkeypatch.setattr(torch.nn.functional, "cross_entropy",
                        lambda scores, wanted, **more: seen.append(wanted) or cross_entropy(scores, wanted, **more))
    loss_of(loop, loop.states[0].rows[:3])
    assert base.tokenizer.decode(seen[0]) == "".join(f" {row.fact.object}<|endoftext|>" for row in ROWS[:3])


def test_rows_in_one_pass_do_not_see_each_other(loop):
    short, long = sorted(loop.states[0].rows, key=lambda row: len(row.tokens))[::len(ROWS) - 1]
    counts = [len(row.tokens) - row.start for row in (short, long)]
    alone = [loss_of(loop, [row]) for row in (short, long)]
    assert loss_of(loop, [short, long]) == pytest.approx(
        sum(count * value for count, value in zip(counts, alone, strict=True)) / sum(counts), rel=1e-5)


def test_every_row_is_seen_once_an_epoch_in_a_new_order(base):
    state = loop_of(base).states[0]
    epochs = [list(state.batches(epoch)) for epoch in (1, 2)]
    for batches in epochs:
        assert [len(batch) for batch in batches] == [4, 4, 4, 1]
        assert sorted(row.tokens for batch in batches for row in batch) == sorted(row.tokens for row in state.rows)
    assert epochs[0] != epochs[1]


def test_the_last_incomplete_batch_is_trained(base, monkeypatch):
    sizes, losses = [], Loop.losses
    monkeypatch.setattr(Loop, "losses", lambda self, active, lines: sizes.append(len(lines[0])) or losses(
        self, active, lines))
    run(base)
    assert sizes == [4, 4, 4, 1] * 2


def test_the_epochs_loss_is_the_mean_over_tokens(base, monkeypatch):
    monkeypatch.setattr(RunState, "step", lambda self: None)
    loop = loop_of(base)
    sums = [by_hand(loop.model, base.tokenizer, row.fact) for row in ROWS]
    expected = sum(value for value, _ in sums) / sum(len(learnt) for _, learnt in sums)
    assert loop.epoch(1) == [pytest.approx(expected, rel=1e-5)]


def test_the_rate_rises_for_the_warm_up_and_stays(base, monkeypatch):
    rates, step = [], RunState.step
    monkeypatch.setattr(RunState, "step", lambda self: rates.append(self.rate / CONFIG.lr) or step(self))
    run(base, replace(SHORT, epochs=2, warmup=1))
    assert rates == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1])


def test_the_loop_is_plain_peft_and_adamw(folder):
    """Ten steps against a loop of PEFT's own forward, padded rows and torch's clipping."""
    ours = loop_of(load(folder, device="cpu"), replace(CONFIG, warmup=0, clip=0.5))
    state = ours.states[0]
    theirs = add_lora(load(folder, device="cpu").model, CONFIG)
    weights = [weight for weight in theirs.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=CONFIG.lr, weight_decay=0.0)
    for batch in [batch for epoch in (1, 2, 3) for batch in state.batches(epoch)][:10]:
        width = max(len(row.tokens) for row in batch)
        ids = torch.tensor([[*row.tokens, *[0] * (width - len(row.tokens))] for row in batch])
        labels = torch.tensor([[*[-100] * row.start, *row.tokens[row.start:], *[-100] * (width - len(row.tokens))]
                               for row in batch])
        loss = theirs(input_ids=ids, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 0.5)
        optimizer.step()
        optimizer.zero_grad()
        assert ours.step([0], [batch])[0][0] == pytest.approx(loss.item(), rel=1e-4)
    expected = adapters(theirs)
    for name, weight in adapters(ours.model).items():
        assert torch.allclose(weight, expected[name], rtol=0, atol=1e-4)


# ---------------------------------------------------------------- the run


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


def history(*dev):
    return History(tuple(EpochRecord(i, None, value, None, None, None, None, 0.0) for i, value in enumerate(dev)))


@pytest.mark.parametrize(("dev", "epoch"), [((90, 10, 30, 30, 20), 2), ((0, 0, 0), 1), ((50, 40, 30), 1),
                                             ((0, 1, 2), 2)])
def test_early_stop_is_the_first_best_epoch_but_never_the_untuned_model(dev, epoch):
    assert history(*dev).early_stop.epoch == epoch


def test_convergence_is_the_last_epoch():
    assert history(90, 10, 30, 20).convergence.epoch == 3


def test_without_dev_questions_there_is_no_early_stop():
    with pytest.raises(CourseError, match=r"\bdev\b"):
        _ = history(None, None, None).early_stop


def test_an_empty_group_has_no_accuracy(base):
    found = evaluate(base.model, base.tokenizer, {"dev": DEV, "ood": ()})
    assert found["ood"] is None and 0 <= found["dev"] <= 100


def test_only_empty_groups_are_no_error(base):
    assert evaluate(base.model, base.tokenizer, {"dev": (), "ood": ()}) == {"dev": None, "ood": None}


def test_d_known_has_no_unknown_rows_to_fit(base):
    known = Mix("D_Known", 38.5, 0, ROWS[:8])
    records = run(base, data=known).history.records
    assert all(record.unknown_fitted is None and record.known_fitted is not None for record in records)


def test_on_epoch_gets_every_record_and_the_adapted_model(base):
    seen = []
    tuned = run(base, on_epoch=lambda done: seen.append((done.record.epoch, done.model)))
    assert [epoch for epoch, _ in seen] == [0, 1, 2] and all(model is tuned.model for _, model in seen)


def test_accuracies_are_split_by_what_the_base_knew(fitted):
    record = fitted[0].history.convergence
    assert record.by_category == {"train_HighlyKnown": 100, "train_Unknown": 100, "test_HighlyKnown": 100,
                                  "test_Unknown": 100, "ood_MaybeKnown": record.ood}


def test_every_single_answer_is_kept(fitted):
    record = fitted[0].history.convergence
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


# ---------------------------------------------------------------- stopped and continued


@pytest.mark.parametrize("stop", [0, 1, 3])
def test_a_run_goes_on_from_a_checkpoint_to_the_same_bits(folder, stop):
    config, checkpoints = replace(CONFIG, epochs=4), []
    whole = run(load(folder, device="cpu"), config, on_epoch=lambda done: checkpoints.append(done.checkpoint()))
    rest, more = [], load(folder, device="cpu")
    again = run(more, config, resume=checkpoints[stop], on_epoch=lambda done: rest.append(done.checkpoint()))
    assert [len(checkpoint.records) for checkpoint in rest] == list(range(stop + 2, 6))
    assert [replace(record, seconds=0, evaluation_seconds=0) for record in again.history.records] == [
        replace(record, seconds=0, evaluation_seconds=0) for record in whole.history.records]
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


# ---------------------------------------------------------------- several runs in one pass


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


# ---------------------------------------------------------------- save, load, undo


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


# ---------------------------------------------------------------- what is refused


def test_d_known_without_rows_is_refused(base):
    with pytest.raises(CourseError, match="D_Known .*100 %"):
        run(base, data=Mix("D_Known", 100, 0, ()))


@pytest.mark.parametrize(("name", "value"), [("epochs", 0), ("lr", -1e-4), ("lr", math.nan), ("lr", math.inf),
                                             ("rank", 0), ("alpha", 0), ("batch", 0), ("batch", 1.5), ("epochs", 2.5),
                                             ("clip", 0), ("warmup", -1)])
def test_settings_that_cannot_work_are_refused_by_name(name, value):
    with pytest.raises(CourseError, match=rf"TuneConfig\.{name} = {value}: "):
        TuneConfig(**{name: value})


def test_a_loss_that_is_not_finite_names_the_step(base, monkeypatch):
    losses = Loop.losses

    def broken(self, active, lines):
        return losses(self, active, lines) * (math.nan if self.states[0].steps == 2 else 1)

    monkeypatch.setattr(Loop, "losses", broken)
    with pytest.raises(CourseError, match=r"step 3: .*\bnan; .*\blr .*0\.005"):
        run(base)


def test_a_tokenizer_without_an_end_of_text_is_refused(base):
    base.tokenizer.eos_token = None
    with pytest.raises(CourseError, match=r"tokenizer\.eos_token"):
        run(base)
