"""The pocket world: the same seed gives the same bytes, and every reading is counted."""

from __future__ import annotations

import collections
import re

import pytest

from course_lib.data import pocket
from course_lib.data.facts import IN_DISTRIBUTION, OUT_OF_DISTRIBUTION
from course_lib.data.pocket import build
from course_lib.data.pocket.corpus import CorpusConfig, make_corpus
from course_lib.data.pocket.pretrain import PretrainConfig, rows_of, train_tokenizer
from course_lib.data.pocket.world import WorldConfig, make_world
from course_lib.files import DataError, sha256
from course_lib.lessons.builder.course import measure_pocket

SMALL = WorldConfig(train=8, dev=4, test=3, ood_dev=4, ood_test=3)


def small_world() -> tuple[list[pocket.PocketFact], list[str]]:
    world = make_world(SMALL)
    return world, make_corpus(world, SMALL)


def test_the_same_seed_gives_the_same_facts_and_the_same_corpus() -> None:
    assert small_world() == small_world()


def test_another_seed_gives_other_facts() -> None:
    names = [{item.fact.subject for item in make_world(WorldConfig(seed=seed, train=8))} for seed in (0, 1)]
    assert not names[0] & names[1]


def test_the_world_has_the_papers_nineteen_relations() -> None:
    relations = collections.Counter(item.fact.relation for item in make_world(SMALL))
    assert relations == dict.fromkeys(IN_DISTRIBUTION, 15) | dict.fromkeys(OUT_OF_DISTRIBUTION, 7)


def test_no_subject_is_used_twice() -> None:
    subjects = [(item.fact.relation, item.fact.subject) for item in make_world(SMALL)]
    assert len(subjects) == len(set(subjects))


def test_every_reading_that_is_counted_stands_in_the_corpus_and_no_other() -> None:
    world, documents = small_world()
    text = "\n".join(documents)
    for item in world[::7]:
        lines = [line for line in text.splitlines() if re.search(rf"\b{re.escape(item.fact.subject)}\b", line)]
        # a subject may be the object of another fact; a question or statement about itself names its relation's wording
        assert len(lines) >= item.exposures.total


def test_a_fact_that_is_never_read_does_not_stand_in_the_corpus() -> None:
    world, documents = small_world()
    text = "\n".join(documents)
    objects = {item.fact.object for item in world} | {item.other for item in world}
    never = [item for item in world if item.exposures.total == 0 and item.fact.subject not in objects]
    assert never
    assert not [item for item in never if re.search(rf"\b{re.escape(item.fact.subject)}\b", text)]


def test_about_a_quarter_of_the_facts_is_never_read() -> None:
    config = WorldConfig()
    world = make_world(config)
    make_corpus(world, config)
    share = sum(item.exposures.total == 0 for item in world) / len(world)
    assert share == pytest.approx(config.never_read, abs=0.02)


def test_a_question_list_keeps_to_one_grain() -> None:
    world, documents = small_world()
    answers = {item.fact.question: item for item in world if item.other}
    for document in documents:
        pairs = re.findall(r"Q: (.*)\nA: (.*)", document)
        grains = {answers[question].answer(fine=True) == answer for question, answer in pairs if question in answers}
        assert len(grains) <= 1


def test_text_goes_through_the_tokenizer_and_back() -> None:
    _, documents = small_world()
    tokenizer = train_tokenizer(documents, PretrainConfig(vocabulary=400))
    assert tokenizer.decode(tokenizer(documents[0])["input_ids"]) == documents[0]
    assert tokenizer.pad_token_id != tokenizer.eos_token_id


def test_rows_hold_every_token_but_the_last_incomplete_row() -> None:
    tokenizer = train_tokenizer(["ab"] * 9, PretrainConfig(vocabulary=300))
    rows = rows_of(["ab"] * 9, tokenizer, length=4)  # nine documents of one token, each with an end
    assert rows.shape == (4, 4)
    assert (rows == tokenizer.eos_token_id).sum() == 8


def test_the_shipped_facts_are_the_ones_that_the_recorded_seed_makes(tmp_path) -> None:
    recorded = build.read_json(pocket.FOLDER / "provenance.json")
    config = WorldConfig(**recorded["WorldConfig"])
    world = make_world(config)
    documents = make_corpus(world, config, CorpusConfig(**recorded["CorpusConfig"]))
    path = build.write_facts(tmp_path / "facts.json", world)
    assert sha256(path) == recorded["sha256"]["facts.json"] == sha256(pocket.FOLDER / "facts.json")
    assert build._digest(documents) == recorded["corpus"]["sha256"]


def test_every_shipped_file_has_its_recorded_sum_and_together_they_are_small() -> None:
    recorded = build.read_json(pocket.FOLDER / "provenance.json")["sha256"]
    assert {name: sha256(pocket.FOLDER / name) for name in recorded} == recorded
    assert sum((pocket.FOLDER / name).stat().st_size for name in recorded) < 12e6


def test_the_shipped_shares_lie_in_the_ranges_that_the_course_promises() -> None:
    measured = build.read_json(pocket.FOLDER / "provenance.json")["measured"]
    ranges = {"HighlyKnown": (0.15, 0.40), "MaybeKnown": (0.10, 1), "WeaklyKnown": (0.08, 0.30),
              "Unknown": (0.25, 0.45)}
    assert all(low <= measured["shares"][name] <= high for name, (low, high) in ranges.items())
    assert measured["never_read_unknown"] >= 0.8


def test_verify_counts_the_listed_files(tmp_path):
    (tmp_path / "weights").write_bytes(b"good")
    (tmp_path / "all.sha256").write_text(f"{sha256(tmp_path / 'weights')}  weights\n")
    assert build.verify(tmp_path) == 1


def test_verify_names_the_file_that_was_changed(tmp_path):
    (tmp_path / "weights").write_bytes(b"bad")
    (tmp_path / "all.sha256").write_text(f"{'0' * 64}  weights\n")
    with pytest.raises(DataError, match="weights: "):
        build.verify(tmp_path)


def test_a_broken_file_of_facts_is_named(tmp_path) -> None:
    (tmp_path / "facts.json").write_text('{"facts": [["P19", "Ana"]]}')
    with pytest.raises(DataError, match=r"facts\.json: "):
        pocket.read_world(tmp_path / "facts.json")


def test_the_shipped_model_loads_through_plain_transformers_in_float32() -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(pocket.FOLDER / "model")
    tokenizer = AutoTokenizer.from_pretrained(pocket.FOLDER / "model")
    assert model.dtype == torch.float32
    assert len(tokenizer) == model.config.vocab_size


@pytest.mark.slow
def test_a_small_build_makes_a_loadable_model_with_its_provenance(tmp_path) -> None:
    config = PretrainConfig(hidden=64, heads=1, layers=1, intermediate=64, length=64)
    provenance = build.build(out=tmp_path, progress=False, world_config=SMALL, measure=measure_pocket,
                             pretrain_config=config)
    assert set(provenance["measured"]["shares"]) == {"HighlyKnown", "MaybeKnown", "WeaklyKnown", "Unknown"}
    assert provenance["sha256"]["facts.json"] == sha256(tmp_path / "facts.json")
