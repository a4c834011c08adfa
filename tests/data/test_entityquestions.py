"""EntityQuestions: the split on tiny fake folders, every way a copy can be broken, the download, and the real files."""

from __future__ import annotations

import functools
import http.server
import json
import os
import random
import shutil
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from course_lib.data import entityquestions, paper
from course_lib.data.entityquestions import Record
from course_lib.data.facts import IN_DISTRIBUTION, OUT_OF_DISTRIBUTION, QUESTIONS, Fact, FactSet, by_relation
from course_lib.files import DataError, sha256


def record(relation: str, subject: str, *answers: Any) -> dict[str, Any]:
    return {"question": QUESTIONS[relation].replace("[E]", subject), "answers": list(answers)}


def path_of(root: Path, split: str, relation: str) -> Path:
    return root / "dataset" / split / f"{relation}.{split}.json"


def put(root: Path, split: str, relation: str, content: Any) -> Path:
    """Write one data file: text as it is, anything else as JSON."""
    path = path_of(root, split, relation)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """All 55 files with one fact each: in P19's training file subject "train P19" has the answer "A"."""
    root = tmp_path / "eq"
    nineteen = IN_DISTRIBUTION + OUT_OF_DISTRIBUTION
    for split, relations in (("train", IN_DISTRIBUTION), ("dev", nineteen), ("test", tuple(QUESTIONS))):
        for relation in relations:
            put(root, split, relation, [record(relation, f"{split} {relation}", "A")])
    return root


@pytest.fixture
def zipped(folder: Path) -> Path:
    return Path(shutil.make_archive(str(folder.parent / "dataset"), "zip", folder))


@pytest.fixture
def published(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the fake folder's sums the published ones."""
    sums = tmp_path / "fake.sha256"
    files = sorted(folder.glob("dataset/*/*.json"))
    sums.write_text("".join(f"{sha256(file)}  {file.relative_to(folder).as_posix()}\n" for file in files))
    monkeypatch.setattr(entityquestions, "_SUMS", sums)


def load(source: Path) -> FactSet:
    return entityquestions.load(source, verify=False)


def p19(fact_set: FactSet) -> list[Fact]:
    return by_relation(fact_set.train).get("P19", [])


# The split


def test_ood_is_the_test_split_of_the_seven_relations(folder: Path):
    assert load(folder).ood == tuple(Fact(f"test {r}", r, "A") for r in OUT_OF_DISTRIBUTION)


def test_train_dev_and_test_take_the_twelve_relations_in_the_papers_order(folder: Path):
    loaded = load(folder)
    for split in ("train", "dev", "test"):
        assert getattr(loaded, split) == tuple(Fact(f"{split} {r}", r, "A") for r in IN_DISTRIBUTION)


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_a_question_with_several_answers_is_dropped(folder: Path, split: str):
    put(folder, split, "P19", [record("P19", "one", "A"), record("P19", "two", "A", "B")])
    kept = by_relation(getattr(load(folder), split))["P19"]
    assert kept == [Fact("one", "P19", "A")]


def test_a_training_subject_tested_under_any_relation_is_dropped_even_with_several_answers(folder: Path):
    put(folder, "test", "P413", [record("P413", "Pelé", "forward", "striker")])
    put(folder, "train", "P19", [record("P19", "Pelé", "Três Corações"), record("P19", "Zico", "Rio")])
    assert p19(load(folder)) == [Fact("Zico", "P19", "Rio")]


def test_a_training_answer_that_is_a_test_answer_stays(folder: Path):
    put(folder, "test", "P19", [record("P19", "Zico", "Rio")])
    put(folder, "train", "P19", [record("P19", "Ronaldo", "Rio")])
    assert p19(load(folder)) == [Fact("Ronaldo", "P19", "Rio")]


def test_a_repeated_training_question_stays_as_in_the_published_counts(folder: Path):
    put(folder, "train", "P19", [record("P19", "Zico", "Rio")] * 2)
    assert len(p19(load(folder))) == 2


def test_dev_is_not_filtered_against_train(folder: Path):
    put(folder, "dev", "P19", [record("P19", "train P19", "A")])
    assert Fact("train P19", "P19", "A") in load(folder).dev


def test_a_possessive_template_gives_the_subject_alone(folder: Path):
    put(folder, "dev", "P40", [{"question": "Who is Anne's sister's child?", "answers": ["Eve"]}])
    assert by_relation(load(folder).dev)["P40"] == [Fact("Anne's sister", "P40", "Eve")]


# Every question of all 24 relations


@pytest.fixture
def whole(folder: Path) -> Path:
    """The fake folder with the five dev files that the paper's split does not need."""
    for relation in set(QUESTIONS) - set(IN_DISTRIBUTION + OUT_OF_DISTRIBUTION):
        put(folder, "dev", relation, [record(relation, f"dev {relation}", "A")])
    return folder


def test_all_24_relations_have_dev_and_test_records(whole: Path):
    found = entityquestions.read_records(whole, verify=False)
    assert set(found) == {(split, relation) for split in ("dev", "test") for relation in QUESTIONS}
    assert found["dev", "P413"] == [Record("dev P413", ("A",))]


def test_a_question_with_several_answers_keeps_them_all(whole: Path):
    put(whole, "test", "P19", [record("P19", "two", "A", "B")])
    assert entityquestions.read_records(whole, verify=False)["test", "P19"] == [Record("two", ("A", "B"))]


def test_one_split_is_read_alone_and_a_zip_does_as_well(whole: Path):
    archive = Path(shutil.make_archive(str(whole.parent / "all"), "zip", whole))
    found = entityquestions.read_records(archive, splits=("test", "test"), verify=False)
    assert len(found) == 24


def test_a_missing_dev_file_of_the_five_other_relations_is_named_when_it_is_needed(folder: Path):
    with pytest.raises(DataError, match=r"P106\.dev\.json: "):
        entityquestions.read_records(folder, verify=False)


def test_the_package_carries_the_sum_of_every_file_of_all_24_relations():
    names = {f"dataset/{split}/{relation}.{split}.json" for split in ("train", "dev", "test") for relation in QUESTIONS}
    assert names == entityquestions._published_sums().keys()


def test_the_real_files_of_all_24_relations_are_the_published_ones(course_data: Path):
    found = entityquestions.read_records(course_data)
    assert sum(len(records) for (split, _), records in found.items() if split == "test") == 22_075


# Where the data may lie


def test_folder_inner_folder_zip_and_folder_with_the_zip_give_the_same_facts(folder: Path, zipped: Path):
    with_zip = folder.parent / "with zip"
    with_zip.mkdir()
    shutil.copy(zipped, with_zip / "dataset.zip")
    expected = load(folder)
    assert all(load(source) == expected for source in (folder / "dataset", zipped, with_zip))


def test_a_zip_may_hold_the_three_folders_at_its_top(folder: Path):
    archive = shutil.make_archive(str(folder.parent / "flat"), "zip", folder / "dataset")
    assert load(Path(archive)) == load(folder)


def test_a_source_may_be_a_string_and_an_edited_file_may_start_with_a_byte_order_mark(folder: Path):
    put(folder, "train", "P19", "\ufeff" + json.dumps([record("P19", "Zico", "Rio")]))
    assert p19(entityquestions.load(str(folder), verify=False)) == [Fact("Zico", "P19", "Rio")]


def test_a_copy_with_the_published_sums_is_read(folder: Path, zipped: Path, published: None):
    assert entityquestions.load(folder) == entityquestions.load(zipped) == load(folder)


# Broken copies: each error is one line that names the file


def fails(source: Path, *parts: str, verify: bool = False) -> None:
    with pytest.raises(DataError) as caught:
        entityquestions.load(source, verify=verify)
    message = str(caught.value)
    assert all(part in message for part in parts), message
    assert "\n" not in message


def test_a_path_that_does_not_exist_is_named(tmp_path: Path):
    fails(tmp_path / "nowhere", f"{tmp_path / 'nowhere'}: ", "dataset.zip")


def test_a_folder_without_the_data_says_what_it_should_hold(tmp_path: Path):
    fails(tmp_path, f"{tmp_path}: ", "dataset.zip")


@pytest.mark.parametrize(("split", "relation"), [("train", "P19"), ("dev", "P800"), ("test", "P413")])
def test_a_missing_file_is_named(folder: Path, split: str, relation: str):
    path = path_of(folder, split, relation)
    path.unlink()
    fails(folder, f"{path}: ")


def test_a_renamed_file_is_missing_under_its_own_name(folder: Path):
    path = path_of(folder, "train", "P19")
    path.rename(path.with_name("P19.json"))
    fails(folder, "P19.train.json: ")


def test_a_missing_split_folder_is_named(folder: Path):
    shutil.rmtree(folder / "dataset" / "dev")
    fails(folder, "P131.dev.json: ")


def test_a_folder_in_place_of_a_file_cannot_be_read(folder: Path):
    path = path_of(folder, "train", "P19")
    path.unlink()
    path.mkdir()
    fails(folder, "P19.train.json: ", "folder")


def test_a_wrong_sum_names_file_and_cure(folder: Path, published: None):
    put(folder, "train", "P19", [record("P19", "Zico", "Rio")])
    fails(folder, "P19.train.json: ", "SHA-256", "verify=False", verify=True)


def test_a_wrong_sum_in_a_zip_names_file_and_cure(folder: Path, published: None):
    put(folder, "dev", "P26", [record("P26", "Zico", "Sandra")])
    archive = Path(shutil.make_archive(str(folder.parent / "edited"), "zip", folder))
    fails(archive, "edited.zip/dataset/dev/P26.dev.json: ", "SHA-256", verify=True)


def test_the_wrong_sum_is_reported_before_what_is_wrong_inside(folder: Path, published: None):
    put(folder, "train", "P19", "{not json")
    fails(folder, "P19.train.json: ", "SHA-256", verify=True)


def test_a_fake_copy_does_not_pass_for_the_published_one(folder: Path):
    fails(folder, "P131.train.json: ", "SHA-256", verify=True)


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ('[{"question": "Where was', [" line 1: "]),
        ("", [" line 1: "]),
        ("[\n{]", [" line 2: "]),
        ("[" * 100_000, [": "]),
        ("[" + "1" * 9000 + "]", [": ", "9,000"]),
        ("[NaN]", [": ", "NaN"]),
        ('["\\ud800"]', [": ", r"'\ud800'"]),
        ('[{"question": 1, "question": 2}]', [": ", "'question'"]),
        ({"question": "Where was Zico born?", "answers": ["Rio"]}, [": ", "[{question, answers}, ...]"]),
    ],
    ids=["cut", "empty", "broken line 2", "nested", "digits", "nan", "half", "twice", "object"],
)
def test_a_file_that_is_not_a_json_list_is_named(folder: Path, content: Any, parts: list[str]):
    put(folder, "train", "P19", content)
    fails(folder, f"P19.train.json{parts[0]}", *parts[1:])


def test_a_file_that_is_not_utf_8_is_named(folder: Path):
    path_of(folder, "train", "P19").write_bytes(b'[{"question": "Where was Pel\xe9 born?"}]')
    fails(folder, "P19.train.json: byte 28 ")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("Zico", '{"question": ..., "answers": [...]}'),
        ({"answers": ["Rio"]}, "question"),
        ({"question": 7, "answers": ["Rio"]}, "question"),
        ({"question": "Where was Zico born?"}, "answers"),
        *(({"question": "Where was Zico born?", "answers": answers}, said) for answers, said in (
            ([], "answers"), ("Rio", "answers"), ([""], "answer"), (["Rio", "  "], "answer"),
            (["Rio", "x" * 32_001], "32,001"), ([["Rio"]], "['Rio']"), ([True], "True"), ([None], "None"))),
        ({"question": f"Where was {'x' * 40_000} born?", "answers": ["Rio"]}, "40,016"),
        *(({"question": question, "answers": ["Rio"]}, f"{question!r} does not match 'Where was [E] born?'")
          for question in ("Who owns Zico?", "Where was  born?", "Where was born?", "")),
    ],
)
def test_a_malformed_record_is_named_by_file_and_number(folder: Path, entry: Any, message: str):
    put(folder, "train", "P19", [record("P19", "Ronaldo", "Rio"), entry])
    fails(folder, "P19.train.json record 2: ", *message.split(" does not match "))


def test_a_malformed_record_of_a_zip_is_named_too(folder: Path):
    put(folder, "train", "P19", [record("P19", "Zico", "")])
    archive = Path(shutil.make_archive(str(folder.parent / "edited"), "zip", folder))
    fails(archive, "edited.zip/dataset/train/P19.train.json record 1: ")


def test_a_test_file_outside_the_nineteen_relations_is_checked_too(folder: Path):
    put(folder, "test", "P413", [record("P413", "Pelé", "")])
    fails(folder, "P413.test.json record 1: ")


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_cut_zip_is_named(zipped: Path, share: float):
    data = zipped.read_bytes()
    zipped.write_bytes(data[: int(len(data) * share)])
    fails(zipped, "dataset.zip: ")


def test_a_zip_with_damaged_bytes_names_the_member(folder: Path):
    path = folder.parent / "damaged.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(folder.glob("dataset/*/*.json")):
            archive.write(file, file.relative_to(folder))
    path.write_bytes(path.read_bytes().replace(b"train P19", b"trane P19"))
    fails(path, "damaged.zip/dataset/train/P19.train.json: ", "CRC")


def test_a_zip_without_a_file_names_it(folder: Path):
    path_of(folder, "train", "P19").unlink()
    archive = Path(shutil.make_archive(str(folder.parent / "short"), "zip", folder))
    fails(archive, "short.zip: ", "dataset/train/P19.train.json")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_zip_with_a_file_twice_names_it(zipped: Path):
    with zipfile.ZipFile(zipped, "a") as archive:
        archive.writestr("dataset/train/P19.train.json", "[]")
    fails(zipped, "dataset.zip: ", "dataset/train/P19.train.json")


def packed(folder: Path, *, method: int = zipfile.ZIP_DEFLATED, **more: bytes) -> Path:
    """The data in a .zip packed by ``method``, with ``more`` members in front."""
    path = folder.parent / "packed.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in more.items():
            archive.writestr(name, content)
        for file in sorted(folder.glob("dataset/*/*.json")):
            archive.write(file, file.relative_to(folder))
    return path


def edit(path: Path, member: str, field: int, value: int) -> None:
    """Change a 4-byte field of a member's entry in the directory: 16 is its sum, 24 its size."""
    data = bytearray(path.read_bytes())
    start = data.index(b"PK\1\2")
    while data[start + 46:start + 46 + data[start + 28]] != member.encode():
        start = data.index(b"PK\1\2", start + 1)
    data[start + field:start + field + 4] = value.to_bytes(4, "little")
    path.write_bytes(data)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_member_with_the_published_sum_is_right_however_it_is_packed(folder: Path, published: None, method: int):
    assert entityquestions.load(packed(folder, method=method)) == load(folder)


def test_the_published_sum_decides_and_not_that_of_the_zip(folder: Path, published: None):
    path = packed(folder)
    edit(path, "dataset/train/P19.train.json", 16, 1)
    assert entityquestions.load(path) == load(folder)
    fails(path, "P19.train.json: ", "CRC")  # without published sums its own decides


@pytest.mark.parametrize(("size", "parts"), [(2, ["SHA-256"]), (1 << 31, ["2,147,483,648", "67,108,864"])])
def test_a_member_that_lies_about_its_size_is_refused(folder: Path, published: None, size: int, parts: list[str]):
    path = packed(folder)
    edit(path, "dataset/train/P19.train.json", 24, size)
    fails(path, "P19.train.json: ", *parts, verify=True)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_with_flipped_bytes_is_read_right_or_refused(folder: Path, published: None, method: int):
    path, right, rng = packed(folder, method=method), load(folder), random.Random(0)
    whole = path.read_bytes()
    for _ in range(40):
        place = rng.randrange(len(whole))
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << rng.randrange(8)]) + whole[place + 1:])
        with suppress(DataError):
            assert entityquestions.load(path) == right


def test_other_members_of_a_zip_do_not_matter(folder: Path):
    assert load(packed(folder, **{f"{number}.txt": b"" for number in range(3000)})) == load(folder)


def obstacle(kind: str, path: Path) -> None:
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "loop":
        path.symlink_to(path)
    else:
        path.touch()
        os.truncate(path, 1 << 40)


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize(("kind", "why"), [("pipe", "pipe"), ("device", "device"), ("loop", "symbolic links"),
                                           ("large", "67,108,864")])
def test_what_is_no_file_of_data_is_refused_before_it_is_read(folder: Path, published: None, kind, why, verify: bool):
    obstacle(kind, path_of(folder, "train", "P19"))
    fails(folder, "P19.train.json: ", why, verify=verify)


@pytest.mark.parametrize("kind", ["pipe", "device", "large"])
def test_a_source_that_is_no_file_of_data_is_refused(folder: Path, kind: str):
    source = folder.parent / "data.zip"
    source.touch()
    obstacle(kind, source)
    fails(source, "data.zip: ")


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "\ud800"])
def test_a_source_that_has_no_name_of_a_file_is_one_message(tmp_path: Path, name: str):
    with pytest.raises(DataError, match=r"dataset\.zip$"):
        entityquestions.load(tmp_path / name)


def test_a_file_that_is_no_zip_is_named(folder: Path):
    fails(path_of(folder, "train", "P19"), "P19.train.json: ", "zip")


# The download, from a server on this machine


@pytest.fixture
def requested(folder: Path, published: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Serves the fake folder as the public source; the list fills with the paths that were asked for."""
    paths: list[str] = []
    monkeypatch.delenv("COURSE_DATA", raising=False)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            paths.append(self.path.lstrip("/"))

    handler: Callable[..., Any] = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setattr(entityquestions, "SOURCE_URL", f"http://127.0.0.1:{server.server_address[1]}/")
        monkeypatch.setattr(entityquestions, "DOWNLOAD_RETRIES", 0)
        yield paths
        server.shutdown()


def download(cache: Path) -> FactSet:
    return entityquestions.load(cache=cache, progress=False)


def test_a_download_gives_the_facts_of_the_folder(folder: Path, requested: list[str], tmp_path: Path):
    assert download(tmp_path / "cache") == load(folder)
    assert len(requested) == 55  # train of 12 relations, dev of 19, test of 24


def test_a_second_download_fetches_nothing(requested: list[str], tmp_path: Path):
    download(tmp_path / "cache")
    requested.clear()
    download(tmp_path / "cache")
    assert requested == []


def test_a_download_fetches_only_what_is_missing_or_wrong(requested: list[str], tmp_path: Path):
    download(tmp_path / "cache")
    requested.clear()
    cached = tmp_path / "cache" / "entityquestions"
    path_of(cached, "train", "P19").unlink()
    path_of(cached, "dev", "P26").write_text("[cut")
    download(tmp_path / "cache")
    assert sorted(requested) == ["dataset/dev/P26.dev.json", "dataset/train/P19.train.json"]


def test_a_download_goes_to_course_home_by_default(requested: list[str], tmp_path: Path, monkeypatch):
    monkeypatch.setenv("COURSE_HOME", str(tmp_path / "home"))
    entityquestions.load(progress=False)
    assert path_of(tmp_path / "home" / "entityquestions", "train", "P19").is_file()


def test_the_cache_is_a_source_for_an_offline_machine(folder: Path, requested: list[str], tmp_path: Path):
    download(tmp_path / "cache")
    assert entityquestions.load(tmp_path / "cache" / "entityquestions") == load(folder)


def test_a_download_shows_a_bar_over_its_files_when_asked(requested: list[str], tmp_path: Path, capsys):
    entityquestions.load(cache=tmp_path / "cache", progress=True)
    assert "55/55" in capsys.readouterr().err


def test_a_broken_download_says_how_to_go_on_and_keeps_what_came(folder: Path, requested: list[str], tmp_path: Path):
    lost = path_of(folder, "train", "P740")
    content = lost.read_text(encoding="utf-8")
    lost.unlink()
    with pytest.raises(DataError, match=r"P740\.train\.json: .*HTTPError.*COURSE_DATA"):
        download(tmp_path / "cache")
    lost.write_text(content, encoding="utf-8")
    requested.clear()
    download(tmp_path / "cache")
    assert "dataset/train/P740.train.json" in requested
    assert "dataset/train/P131.train.json" not in requested


def test_no_network_is_one_sentence_with_the_offline_way(published: None, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(entityquestions, "SOURCE_URL", "http://127.0.0.1:9/")  # the discard port, where nobody listens
    monkeypatch.setattr(entityquestions, "DOWNLOAD_RETRIES", 0)
    with pytest.raises(DataError, match=r"\.json: .*ConnectionError.*COURSE_DATA") as caught:
        download(tmp_path / "cache")
    assert "\n" not in str(caught.value)


def test_a_login_page_in_place_of_a_file_is_refused(folder: Path, requested: list[str], tmp_path: Path):
    put(folder, "train", "P19", "<html>Please log in</html>")
    with pytest.raises(DataError, match=r"P19\.train\.json: .*COURSE_DATA"):
        download(tmp_path / "cache")
    assert not path_of(tmp_path / "cache" / "entityquestions", "train", "P19").exists()


# The published checksums and the real files


def test_the_package_carries_the_sum_of_every_file_of_the_split():
    sums = entityquestions._published_sums()
    assert len(sums) == 72
    assert set(entityquestions._needed()) <= sums.keys()
    assert all(len(digest) == 64 for digest in sums.values())


@pytest.fixture(scope="module")
def real(course_data: Path) -> FactSet:
    return entityquestions.load(course_data)


@pytest.mark.parametrize(
    ("split", "printed"), [("train", paper.TRAIN_COUNTS), ("test", paper.TEST_COUNTS), ("ood", paper.OOD_COUNTS)]
)
def test_the_real_split_has_the_papers_totals_for_every_relation(real: FactSet, split: str, printed: dict):
    counts = {relation: len(group) for relation, group in by_relation(getattr(real, split)).items()}
    assert counts == {relation: row.total for relation, row in printed.items()}


def test_the_real_split_has_the_papers_sizes(real: FactSet):
    assert real.totals() == {"train": 81_700, "dev": 10_461, "test": 10_481, "ood": 5_848}


def test_the_real_summary_lists_the_nineteen_relations_in_the_papers_order(real: FactSet):
    assert tuple(real.summary()["relation"]) == IN_DISTRIBUTION + OUT_OF_DISTRIBUTION


def test_no_real_training_subject_is_a_test_subject(real: FactSet):
    assert not {fact.subject for fact in real.train} & {fact.subject for fact in (*real.test, *real.ood)}


def test_the_templates_are_those_of_the_public_repository(course_data: Path):
    path = course_data / "relation_query_templates.json"
    if not path.is_file():
        pytest.skip(f"needs {path.name} in COURSE_DATA")
    public = json.loads(path.read_text(encoding="utf-8"))
    assert {relation: public[relation].replace("[X]", "[E]") for relation in QUESTIONS} == QUESTIONS


def test_the_real_files_load_in_under_ten_seconds(course_data: Path):
    start = time.perf_counter()
    entityquestions.load(course_data)
    assert time.perf_counter() - start < 10
