"""EntityQuestions: the split on tiny fake folders, every way a copy can be broken, the download, and the real files."""

from __future__ import annotations

import json
import random
import shutil
import time
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from course_lib.data import entityquestions, paper
from course_lib.data.entityquestions import Record, read_records
from course_lib.data.facts import IN_DISTRIBUTION, OUT_OF_DISTRIBUTION, QUESTIONS, Fact, FactSet, by_relation
from course_lib.files import READ_BYTES, DataError
from tests.support.odd_files import make
from tests.support.public_source import fill, offline, path_of, publish, put, record, serve

METHODS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return fill(tmp_path / "eq")


@pytest.fixture
def published(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the fake folder's sums the published ones."""
    publish(folder, monkeypatch)


def zipped(folder: Path, name: str = "dataset.zip", *, method: int = zipfile.ZIP_DEFLATED, top: str = "",
           **more: bytes) -> Path:
    """The data in a .zip packed by ``method``, with ``more`` members in front."""
    path = folder.parent / name
    with zipfile.ZipFile(path, "w", method) as archive:
        for member, content in more.items():
            archive.writestr(member, content)
        for file in sorted(folder.glob("dataset/*/*.json")):
            archive.write(file, file.relative_to(folder / top))
    return path


def load(source: Path) -> FactSet:
    return entityquestions.load(source, verify=False)


def p19(fact_set: FactSet) -> list[Fact]:
    return by_relation(fact_set.train).get("P19", [])


# The split


def test_a_split_takes_its_relations_in_the_papers_order_and_ood_is_of_the_test_files(folder: Path):
    loaded = load(folder)
    for split in ("train", "dev", "test"):
        assert getattr(loaded, split) == tuple(Fact(f"{split} {r}", r, "A") for r in IN_DISTRIBUTION)
    assert loaded.ood == tuple(Fact(f"test {r}", r, "A") for r in OUT_OF_DISTRIBUTION)


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_a_question_with_several_answers_is_dropped(folder: Path, split: str):
    put(folder, split, "P19", [record("P19", "one", "A"), record("P19", "two", "A", "B")])
    assert by_relation(getattr(load(folder), split))["P19"] == [Fact("one", "P19", "A")]


def test_a_training_subject_tested_under_any_relation_is_dropped_even_with_several_answers(folder: Path):
    put(folder, "test", "P413", [record("P413", "Pelé", "forward", "striker")])
    put(folder, "train", "P19", [record("P19", "Pelé", "Três Corações"), record("P19", "Zico", "Rio")])
    assert p19(load(folder)) == [Fact("Zico", "P19", "Rio")]


def test_a_training_answer_that_is_a_test_answer_and_a_repeated_question_stay(folder: Path):
    put(folder, "test", "P19", [record("P19", "Zico", "Rio")])
    put(folder, "train", "P19", [record("P19", "Ronaldo", "Rio")] * 2)
    assert p19(load(folder)) == [Fact("Ronaldo", "P19", "Rio")] * 2


def test_dev_is_not_filtered_against_train(folder: Path):
    put(folder, "dev", "P19", [record("P19", "train P19", "A")])
    assert Fact("train P19", "P19", "A") in load(folder).dev


def test_a_possessive_template_gives_the_subject_alone(folder: Path):
    put(folder, "dev", "P40", [{"question": "Who is Anne's sister's child?", "answers": ["Eve"]}])
    assert by_relation(load(folder).dev)["P40"] == [Fact("Anne's sister", "P40", "Eve")]


# Every question of all 24 relations


def test_all_24_relations_have_dev_and_test_records_with_every_answer(folder: Path):
    put(folder, "test", "P19", [record("P19", "two", "A", "B")])
    found = read_records(folder, verify=False)
    assert set(found) == {(split, relation) for split in ("dev", "test") for relation in QUESTIONS}
    assert found["dev", "P413"] == [Record("dev P413", ("A",))]
    assert found["test", "P19"] == [Record("two", ("A", "B"))]


def test_one_split_is_read_alone_and_a_zip_does_as_well(folder: Path):
    assert len(read_records(zipped(folder), splits=("test", "test"), verify=False)) == 24


def test_a_dev_file_of_the_five_other_relations_is_needed_for_all_records_alone(folder: Path):
    path_of(folder, "dev", "P106").unlink()
    load(folder)
    with pytest.raises(DataError, match=r"P106\.dev\.json: "):
        read_records(folder, verify=False)


# Where the data may lie


def test_folder_inner_folder_zip_and_folder_with_the_zip_give_the_same_facts(folder: Path, published: None):
    with_zip, flat = folder.parent / "with zip", zipped(folder, "flat.zip", top="dataset")
    with_zip.mkdir()
    shutil.copy(zipped(folder), with_zip / "dataset.zip")
    expected = load(folder)
    for source in (folder, folder / "dataset", zipped(folder), flat, with_zip):
        assert load(source) == entityquestions.load(source) == expected


def test_the_folder_of_the_environment_is_the_default(folder: Path, published: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COURSE_DATA", str(folder))
    assert entityquestions.load() == load(folder)


def test_a_source_may_be_a_string_and_an_edited_file_may_start_with_a_byte_order_mark(folder: Path):
    put(folder, "train", "P19", "\ufeff" + json.dumps([record("P19", "Zico", "Rio")]))
    assert p19(entityquestions.load(str(folder), verify=False)) == [Fact("Zico", "P19", "Rio")]


# Broken copies: each error is one line that names the file


def fails(source: Path, *parts: str, verify: bool = False) -> None:
    with pytest.raises(DataError) as caught:
        entityquestions.load(source, verify=verify)
    message = str(caught.value)
    assert all(part in message for part in parts), message
    assert "\n" not in message


def test_a_path_that_holds_no_data_says_what_it_should_hold(tmp_path: Path):
    fails(tmp_path / "nowhere", f"{tmp_path / 'nowhere'}: ", "dataset.zip")
    fails(tmp_path, f"{tmp_path}: ", "dataset.zip")


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "\ud800"])
def test_a_source_that_has_no_name_of_a_file_is_one_message(tmp_path: Path, name: str):
    with pytest.raises(DataError, match=r"dataset\.zip$"):
        entityquestions.load(tmp_path / name)


@pytest.mark.parametrize(("split", "relation"), [("train", "P19"), ("dev", "P800"), ("test", "P413")])
def test_a_missing_or_renamed_file_is_named(folder: Path, split: str, relation: str):
    path = path_of(folder, split, relation)
    path.rename(path.with_name(f"{relation}.json"))
    fails(folder, f"{path}: ")


def test_a_missing_split_folder_is_named(folder: Path):
    shutil.rmtree(folder / "dataset" / "dev")
    fails(folder, "P131.dev.json: ")


@pytest.mark.parametrize("content", [[record("P19", "Zico", "Rio")], "{not json"], ids=["edited", "broken"])
def test_a_wrong_sum_names_file_and_cure_before_what_is_wrong_inside(folder: Path, published: None, content: Any):
    put(folder, "train", "P19", content)
    fails(folder, "P19.train.json: ", "SHA-256", "verify=False", verify=True)
    fails(zipped(folder), "dataset.zip/dataset/train/P19.train.json: ", "SHA-256", verify=True)


def test_a_fake_copy_does_not_pass_for_the_published_one(folder: Path):
    fails(folder, "P131.train.json: ", "SHA-256", verify=True)


@pytest.mark.parametrize(("content", "parts"), [
    ("[\n{]", [" line 2: "]), ("[NaN]", [": ", "NaN"]), (b'[{"question": "Where was Pel\xe9 born?"}]', [": byte 28 "]),
    ({"question": "Where was Zico born?", "answers": ["Rio"]}, [": ", "[{question, answers}, ...]"])])
def test_a_file_that_is_not_a_json_list_is_named(folder: Path, content: Any, parts: list[str]):
    put(folder, "train", "P19", content)
    fails(folder, f"P19.train.json{parts[0]}", *parts[1:])


@pytest.mark.parametrize(("entry", "parts"), [
    ("Zico", ['{"question": ..., "answers": [...]}']), ({"answers": ["Rio"]}, ["question"]),
    ({"question": 7, "answers": ["Rio"]}, ["question"]), ({"question": "Where was Zico born?"}, ["answers"]),
    *((record("P19", "Zico") | {"answers": answers}, [said]) for answers, said in (
        ([], "answers"), ("Rio", "answers"), ([""], "answer"), (["Rio", "  "], "answer"),
        (["Rio", "x" * 32_001], "32,001"), ([["Rio"]], "['Rio']"), ([True], "True"), ([None], "None"))),
    (record("P19", "x" * 40_000, "Rio"), ["40,016"]),
    *(({"question": question, "answers": ["Rio"]}, [repr(question), "'Where was [E] born?'"])
      for question in ("Who owns Zico?", "Where was  born?", "Where was born?", ""))])
def test_a_malformed_record_is_named_by_file_and_number(folder: Path, entry: Any, parts: list[str]):
    put(folder, "train", "P19", [record("P19", "Ronaldo", "Rio"), entry])
    fails(folder, "P19.train.json record 2: ", *parts)


def test_a_malformed_record_of_a_zip_and_of_a_relation_that_only_filters_is_named_too(folder: Path):
    put(folder, "test", "P413", [record("P413", "Pelé", "")])
    fails(folder, "P413.test.json record 1: ")
    fails(zipped(folder), "dataset.zip/dataset/test/P413.test.json record 1: ")


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_cut_zip_is_named(folder: Path, share: float):
    path = zipped(folder)
    path.write_bytes(path.read_bytes()[:int(path.stat().st_size * share)])
    fails(path, "dataset.zip: ")


def test_a_file_that_is_no_zip_is_named(folder: Path):
    fails(path_of(folder, "train", "P19"), "P19.train.json: ", "zip")


def test_a_zip_with_damaged_bytes_names_the_member(folder: Path):
    path = zipped(folder, method=zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b"train P19", b"trane P19"))
    fails(path, "dataset.zip/dataset/train/P19.train.json: ", "CRC")


def test_a_zip_without_a_file_names_it(folder: Path):
    path_of(folder, "train", "P19").unlink()
    fails(zipped(folder), "dataset.zip/dataset/train/P19.train.json: ")


def edit(path: Path, member: str, field: int, value: int) -> None:
    """Change a 4-byte field of a member's entry in the directory: 24 is its size."""
    data = bytearray(path.read_bytes())
    start = data.index(b"PK\1\2")
    while data[start + 46:start + 46 + data[start + 28]] != member.encode():
        start = data.index(b"PK\1\2", start + 1)
    data[start + field:start + field + 4] = value.to_bytes(4, "little")
    path.write_bytes(data)


@pytest.mark.parametrize("method", METHODS)
def test_a_member_with_the_published_sum_is_right_however_it_is_packed(folder: Path, published: None, method: int):
    assert entityquestions.load(zipped(folder, method=method)) == load(folder)


def test_a_member_that_lies_about_its_size_is_refused_or_read_whole(folder: Path, published: None):
    path = zipped(folder)
    edit(path, "dataset/train/P19.train.json", 24, 1 << 31)
    assert entityquestions.load(path) == load(folder)
    edit(path, "dataset/train/P19.train.json", 24, 2)
    fails(path, "P19.train.json: ", verify=True)


def test_a_member_that_unpacks_to_too_much_is_refused(folder: Path):
    put(folder, "train", "P19", b"[" + b" " * READ_BYTES)
    fails(zipped(folder), "P19.train.json: ", "67,108,864")


@pytest.mark.parametrize("method", METHODS)
def test_a_zip_with_flipped_bytes_is_read_right_or_refused(folder: Path, published: None, method: int):
    path, right, rng = zipped(folder, method=method), load(folder), random.Random(0)
    whole = path.read_bytes()
    for _ in range(40):
        place = rng.randrange(len(whole))
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << rng.randrange(8)]) + whole[place + 1:])
        with suppress(DataError):
            assert entityquestions.load(path) == right


def test_other_members_of_a_zip_do_not_matter(folder: Path):
    assert load(zipped(folder, **{f"{number}.txt": b"" for number in range(3000)})) == load(folder)


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize(("kind", "why"), [("folder", "folder"), ("pipe", "pipe"), ("device", "device"),
                                           ("large", "67,108,864")])
def test_what_is_no_file_of_data_is_refused_before_it_is_read(folder: Path, published: None, kind, why, verify: bool):
    for path, source in ((path_of(folder, "train", "P19"), folder), (folder.parent / "data.zip",) * 2):
        make(kind, path)
        fails(source, f"{path}: ", *[why] * (source == folder), verify=verify)


# The download, from a server on this machine


@pytest.fixture
def asked(folder: Path, published: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Serves the fake folder as the public source; the list fills with the paths that were asked for."""
    with serve(folder, monkeypatch) as paths:
        yield paths


def download(cache: Path) -> FactSet:
    return entityquestions.load(cache=cache, progress=False)


def test_a_download_gives_the_facts_and_is_then_a_source_for_an_offline_machine(folder: Path, asked, tmp_path: Path):
    assert download(tmp_path / "cache") == load(tmp_path / "cache" / "entityquestions") == load(folder)
    assert len(asked) == 55  # train of 12 relations, dev of 19, test of 24


def test_a_download_fetches_only_what_is_missing_or_wrong(asked: list[str], tmp_path: Path):
    for expected in (55, 0):
        asked.clear()
        download(tmp_path / "cache")
        assert len(asked) == expected
    cached = tmp_path / "cache" / "entityquestions"
    path_of(cached, "train", "P19").unlink()
    path_of(cached, "dev", "P26").write_text("[cut")
    download(tmp_path / "cache")
    assert sorted(asked) == ["dataset/dev/P26.dev.json", "dataset/train/P19.train.json"]


def test_a_download_goes_to_course_home_by_default(asked: list[str], tmp_path: Path, monkeypatch):
    monkeypatch.setenv("COURSE_HOME", str(tmp_path / "home"))
    entityquestions.load(progress=False)
    assert path_of(tmp_path / "home" / "entityquestions", "train", "P19").is_file()


def test_a_download_shows_a_bar_over_its_files_when_asked(asked: list[str], tmp_path: Path, capsys):
    entityquestions.load(cache=tmp_path / "cache", progress=True)
    assert "55/55" in capsys.readouterr().err


def test_a_broken_download_says_how_to_go_on_and_keeps_what_came(folder: Path, asked: list[str], tmp_path: Path):
    lost = path_of(folder, "train", "P740")
    content = lost.read_bytes()
    lost.unlink()
    with pytest.raises(DataError, match=r"P740\.train\.json: .*HTTPError.*COURSE_DATA"):
        download(tmp_path / "cache")
    lost.write_bytes(content)
    asked.clear()
    download(tmp_path / "cache")
    assert "dataset/train/P740.train.json" in asked and "dataset/train/P131.train.json" not in asked


def test_no_network_is_one_sentence_with_the_offline_way(published: None, tmp_path: Path, monkeypatch):
    offline(monkeypatch)
    with pytest.raises(DataError, match=r"^[^\n]*\.json: [^\n]*ConnectionError[^\n]*COURSE_DATA[^\n]*$"):
        download(tmp_path / "cache")


def test_a_login_page_in_place_of_a_file_is_refused(folder: Path, asked: list[str], tmp_path: Path):
    put(folder, "train", "P19", "<html>Please log in</html>")
    with pytest.raises(DataError, match=r"P19\.train\.json: .*COURSE_DATA"):
        download(tmp_path / "cache")
    assert not path_of(tmp_path / "cache" / "entityquestions", "train", "P19").exists()


# The published checksums and the real files


def test_the_package_carries_the_sum_of_every_file_of_all_24_relations():
    sums = entityquestions._published_sums()
    assert sums.keys() == {f"dataset/{split}/{relation}.{split}.json" for split in ("train", "dev", "test")
                           for relation in QUESTIONS}
    assert set(entityquestions._needed()) <= sums.keys() and {len(digest) for digest in sums.values()} == {64}


@pytest.fixture(scope="module")
def real(course_data: Path) -> FactSet:
    start = time.perf_counter()
    loaded = entityquestions.load(course_data)
    assert time.perf_counter() - start < 10
    return loaded


@pytest.mark.parametrize(("split", "printed"), [
    ("train", paper.TRAIN_COUNTS), ("test", paper.TEST_COUNTS), ("ood", paper.OOD_COUNTS)])
def test_the_real_split_has_the_papers_totals_for_every_relation(real: FactSet, split: str, printed: dict):
    counts = {relation: len(group) for relation, group in by_relation(getattr(real, split)).items()}
    assert counts == {relation: row.total for relation, row in printed.items()}


def test_the_real_split_has_the_papers_sizes_and_order(real: FactSet):
    assert real.totals() == {"train": 81_700, "dev": 10_461, "test": 10_481, "ood": 5_848}
    assert tuple(real.summary()["relation"]) == IN_DISTRIBUTION + OUT_OF_DISTRIBUTION


def test_no_real_training_subject_is_a_test_subject(real: FactSet):
    assert not {fact.subject for fact in real.train} & {fact.subject for fact in (*real.test, *real.ood)}


def test_the_real_files_of_all_24_relations_are_the_published_ones(course_data: Path):
    assert sum(map(len, read_records(course_data, splits=("test",)).values())) == 22_075


def test_the_templates_are_those_of_the_public_repository(course_data: Path):
    path = course_data / "relation_query_templates.json"
    if not path.is_file():
        pytest.skip(f"needs {path.name} in COURSE_DATA")
    public = json.loads(path.read_text(encoding="utf-8"))
    assert {relation: public[relation].replace("[X]", "[E]") for relation in QUESTIONS} == QUESTIONS
