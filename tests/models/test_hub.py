"""Models from the Hub: said first, downloaded once, safe and whole, one sentence for all that can go wrong.

``huggingface_hub`` itself speaks here, to a small Hub on this machine.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from course_lib.files import CourseError, read_json
from course_lib.models import hub
from course_lib.models import loading as models
from course_lib.models.checks import INDEX
from course_lib.models.hub import HubId, cached, commit_of, fetch
from course_lib.models.presets import PRESETS, describe, hub_id
from tests.support.fake_hub import FakeHub, Refusal
from tests.support.tiny import TOKENIZERS, plain_model

ROOT = Path(__file__).parents[2]
REPO, OLD, NEW = "owner/tiny", "a" * 40, "b" * 40
MODEL = HubId(REPO)
WEIGHTS = "model.safetensors"
# what a repository holds besides, and nobody needs
OTHERS = {"README.md": b"# a card", "pytorch_model.bin": b"pickle", "onnx/config.json": b"{}", "logo.png": b"png",
          "consolidated.safetensors": b"a second copy", "model.fp16.safetensors": b"a third"}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A real Llama with random weights and its tokenizer, written by save_pretrained."""
    folder, tokenizer = tmp_path_factory.mktemp("saved"), TOKENIZERS["gpt2"]()
    plain_model("llama", tokenizer, initializer_range=0.2).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def files(saved):
    return {path.name: path.read_bytes() for path in saved.iterdir() if path.suffix in (".json", ".safetensors")}


@pytest.fixture
def server(files, tmp_path, monkeypatch):
    """A Hub on this machine that everything here asks, with one model; the cache is new and empty."""
    from huggingface_hub import constants
    from huggingface_hub.utils import close_session, disable_progress_bars

    made = FakeHub()
    made.add(REPO, files | OTHERS)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setattr(constants, "ENDPOINT", made.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", made.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 10_000)  # a connection that is cut is resumed at a multiple
    hasty = SimpleNamespace(**vars(time) | {"sleep": lambda _: None})  # the library waits before it tries again
    for module in ("file_download", "utils._http"):
        monkeypatch.setattr(f"huggingface_hub.{module}.time", hasty)
    disable_progress_bars()
    close_session()
    yield made
    made.close()
    close_session()


def offline(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def complaint(model=MODEL, **options):
    with pytest.raises(CourseError) as caught:
        fetch(model, echo=lambda _: None, **options)
    text = str(caught.value)
    assert "\n" not in text and "Traceback" not in text
    return text


def bring(model=MODEL):
    return fetch(model, echo=lambda _: None)


# ---------------------------------------------------------------------------------------------------- said and fetched


def test_name_licence_commit_and_size_are_said_before_the_first_byte(server, files):
    said = []

    def echo(line):
        assert server.got == []
        said.append(line)

    found = fetch(MODEL, echo=echo)
    size = sum(map(len, files.values())) / 10**9
    assert said == [f"Model {REPO} (licence: apache-2.0; commit {OLD}): {size:.2f} GB to fetch in {len(files)} files, "
                    f"0.00 GB are here already; into {found.folder}"]


def test_the_size_that_is_said_is_that_of_the_files_to_come(server):
    server.repos[REPO].commits[OLD][WEIGHTS] = bytes(30_000_000)
    said = []
    with pytest.raises(CourseError):
        fetch(MODEL, echo=said.append)
    assert "): 0.03 GB to fetch" in said[0]


def test_a_licence_that_no_card_states_is_said_to_be_missing(server, files):
    server.add("owner/silent", files, licence=None)
    said = []
    fetch(HubId("owner/silent"), echo=said.append)
    assert "(licence: not stated, read its page;" in said[0]


def test_only_what_transformers_reads_is_fetched_and_the_weights_come_last(server, files):
    found = bring()
    assert sorted(server.got) == sorted(files) and server.got[-1] == WEIGHTS
    assert {path.name: path.read_bytes() for path in found.folder.iterdir()} == files
    assert found.revision == OLD and found.folder.name == OLD


def test_what_is_here_is_used_without_a_single_request(server, monkeypatch):
    first = bring()
    server.requests.clear()
    assert bring() == first and commit_of(MODEL) == OLD
    offline(monkeypatch)
    assert bring() == first and commit_of(MODEL) == OLD and server.requests == []


def test_a_newer_commit_does_not_replace_what_is_here_and_comes_by_its_hash(server, files):
    first = bring()
    server.add(REPO, files | {"config.json": files["config.json"] + b" "}, commit=NEW)
    assert bring() == first
    newer = bring(HubId.parse(f"{REPO}@{NEW}"))
    assert newer.revision == NEW and newer.folder != first.folder and bring() == first


@pytest.mark.parametrize("revision", ["v1", NEW, "pull/1"])
def test_a_revision_may_be_a_tag_a_branch_or_a_commit(server, files, revision):
    server.add(REPO, files, commit=NEW, ref=revision)
    model = HubId.parse(f"{REPO}@{revision}")
    assert bring(model).revision == NEW and cached(model).revision == NEW and cached(MODEL) is None


def test_sharded_weights_are_fetched_by_their_index(server, files, tmp_path):
    plain_model("llama", TOKENIZERS["gpt2"]()).save_pretrained(tmp_path / "shards", max_shard_size="100KB")
    shards = {path.name: path.read_bytes() for path in (tmp_path / "shards").iterdir()}
    assert len([name for name in shards if name.endswith(".safetensors")]) > 2
    server.add("owner/shards", {name: data for name, data in files.items() if name != WEIGHTS} | shards)
    found = bring(HubId("owner/shards"))
    next(found.folder.glob("model-00002*")).unlink()
    assert "model-00002" in hub.lacks(found.folder) and cached(HubId("owner/shards")) is None


# ------------------------------------------------------------------------------------------ with the Hub's own library


def test_the_hubs_own_library_finds_what_was_fetched(server, files):
    from huggingface_hub import snapshot_download

    found = bring()
    server.requests.clear()
    assert snapshot_download(REPO, local_files_only=True, cache_dir=found.folder.parents[2],
                             allow_patterns=list(files)) == str(found.folder)
    assert server.requests == []


def test_what_the_hubs_own_library_has_fetched_is_used_without_a_request(server):
    from huggingface_hub import constants, snapshot_download

    folder = snapshot_download(REPO, cache_dir=constants.HF_HUB_CACHE)
    server.requests.clear()
    assert str(bring().folder) == folder and server.requests == []


def test_weights_of_another_revision_that_are_the_same_are_not_fetched_again(server, files):
    from huggingface_hub import constants, snapshot_download

    snapshot_download(REPO, cache_dir=constants.HF_HUB_CACHE)
    server.add(REPO, files | {"config.json": files["config.json"] + b" "}, commit=NEW)
    server.requests.clear()
    found = bring(HubId(REPO, NEW))
    assert server.got == ["config.json"] and (found.folder / WEIGHTS).read_bytes() == files[WEIGHTS]


# ------------------------------------------------------------------------------------------------------- cut and killed

RESUMES = pytest.mark.skipif(tuple(map(int, version("huggingface_hub").split(".")[:2])) < (1, 20),
                             reason="huggingface_hub resumes a connection that was closed from 1.20 on")


def ranges(server):
    return [request.range for request in server.requests if request.file == WEIGHTS and request.method == "GET"]


@RESUMES
def test_a_connection_that_is_cut_is_resumed_at_once(server, files):
    server.cuts, server.cut_after = 2, 70_000
    found = bring()
    assert ranges(server) == ["", "bytes=70000-", "bytes=140000-"]
    assert (found.folder / WEIGHTS).read_bytes() == files[WEIGHTS]


def test_a_connection_that_stays_lost_is_one_sentence_and_finished_files_are_kept(server, files):
    server.cuts, server.cut_after = 99, 0
    text = complaint()
    assert text.startswith(f"{REPO}: ") and "run the same command again" in text and cached(MODEL) is None
    server.cuts = 0
    server.requests.clear()
    found = bring()
    assert server.got == [WEIGHTS] and (found.folder / WEIGHTS).read_bytes() == files[WEIGHTS]


FETCH = """
import sys
from course_lib.models.hub import HubId, fetch
print(fetch(HubId.parse(sys.argv[1])).revision)
"""


def environment(server, tmp_path):
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("COURSE_", "HF_"))}
    return clean | {"PYTHONPATH": os.pathsep.join([*os.environ.get("PYTHONPATH", "").split(os.pathsep), str(ROOT)]),
                    "HF_HUB_CACHE": str(tmp_path / "cache"), "HF_HOME": str(tmp_path / "home"),
                    "HF_ENDPOINT": server.url, "NO_PROXY": "127.0.0.1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is of POSIX")
def test_a_process_that_is_killed_in_the_middle_of_the_weights_leaves_finished_files_alone(server, files, tmp_path):
    server.stall, server.cut_after = threading.Event(), 120_000
    process = subprocess.Popen([sys.executable, "-c", FETCH, REPO], env=environment(server, tmp_path))
    until = time.monotonic() + 60
    while WEIGHTS not in server.got:
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and cached(MODEL) is None
    server.stall.set()
    server.stall = None
    server.requests.clear()
    again = subprocess.run([sys.executable, "-c", FETCH, REPO], env=environment(server, tmp_path), text=True,
                           capture_output=True, check=True)
    assert again.stdout.splitlines()[-1] == OLD and server.got == [WEIGHTS]
    assert (cached(MODEL).folder / WEIGHTS).read_bytes() == files[WEIGHTS]


def test_weights_may_lie_on_another_host_and_the_token_stays_with_the_hub(server, files, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    server.elsewhere = True
    assert (bring().folder / WEIGHTS).read_bytes() == files[WEIGHTS]
    asked = {(request.host, request.token) for request in server.requests if request.file == WEIGHTS}
    assert asked == {("127.0.0.1", "Bearer hf_secret"), ("localhost", "")}


@RESUMES
def test_a_server_that_knows_no_ranges_gives_the_right_file_too(server, files):
    server.cuts, server.cut_after, server.ranges = 1, 50_000, False
    assert (bring().folder / WEIGHTS).read_bytes() == files[WEIGHTS]


def test_bytes_that_are_not_those_of_the_list_are_deleted(server, files):
    server.spoil = True
    assert WEIGHTS in complaint() and cached(MODEL) is None
    server.spoil = False
    assert (bring().folder / WEIGHTS).read_bytes() == files[WEIGHTS]


def test_two_at_once_download_the_weights_once(server, files):
    def asked():
        return sum(request.file == WEIGHTS for request in server.requests)

    def wait_for(count):
        until = time.monotonic() + 60
        while asked() < count:
            assert time.monotonic() < until
            time.sleep(0.01)

    found, server.stall, server.cut_after = [], threading.Event(), 50_000
    threads = [threading.Thread(target=lambda: found.append(bring())) for _ in range(2)]
    for thread, count in zip(threads, (3, 5), strict=True):  # size, sum, bytes; then size and sum
        thread.start()
        wait_for(count)
    event, server.stall = server.stall, None
    event.set()
    for thread in threads:
        thread.join(60)
    assert sorted(server.got) == sorted(files) and found == [cached(MODEL)] * 2


# ------------------------------------------------------------------------------------------------------ what goes wrong

GATED = {"X-Error-Code": "GatedRepo"}


@pytest.mark.parametrize(("refusal", "said"), [
    (Refusal(401, GATED, downloads=True), ("terms", f"https://huggingface.co/{REPO},", "`hf auth login`")),
    (Refusal(403, GATED), ("terms", f"https://huggingface.co/{REPO},", "`hf auth login`")),
    (Refusal(401), ("no such model", "`hf auth login`")),
    (Refusal(401, {"X-Error-Message": "Invalid credentials in Authorization header"}), ("token", "`hf auth login`")),
    (Refusal(403), ("token", "`hf auth login`")),
    (Refusal(403, {"X-Error-Message": "Access to this resource is disabled."}), ("take another model",)),
    (Refusal(429, {"Retry-After": "90"}), ("too many requests", "wait 90 seconds", "`hf auth login`")),
    (Refusal(429, {"Retry-After": "90"}, downloads=True), ("too many requests", "wait 90 seconds")),
    (Refusal(429, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}), ("too many requests", "wait a few minutes")),
    (Refusal(429, {"RateLimit": '"api";r=0;t=55'}), ("too many requests", "wait 55 seconds")),
    (Refusal(429), ("too many requests", "wait a few minutes")),
    (Refusal(500), ("500", "wait a few minutes")),
    (Refusal(503, downloads=True), ("503", "wait a few minutes")),
    (Refusal(418), ("418",)),
    (Refusal(200, body=b"<html>Welcome to our hotel"), ("cannot be reached", "log in", "HF_ENDPOINT")),
    (Refusal(200, body=b"[]"), ("cannot be reached", "HF_ENDPOINT")),
    (Refusal(200, body=b'{"id": "owner/tiny"}'), ("cannot be reached", "HF_ENDPOINT")),
], ids=lambda value: f"{value.status}-{'file' if value.downloads else 'list'}" if isinstance(value, Refusal) else "")
def test_each_refusal_is_one_sentence_with_what_to_do(server, refusal, said):
    server.refusal = refusal
    text = complaint()
    assert text.startswith(f"{REPO}: ") and [words for words in said if words not in text] == []
    server.refusal = None
    assert bring().revision == OLD


def test_a_repository_that_is_not_there_is_named(server):
    assert complaint(HubId("nobody/nothing")).startswith("nobody/nothing: no such model on the Hub; check the name")


def test_a_revision_that_is_not_there_is_named_with_where_to_look(server):
    assert complaint(HubId(REPO, "v9")) == (
        f"{REPO}@v9: there is no such revision; look it up on https://huggingface.co/{REPO}/commits/main, or leave out "
        f"what stands after @")


def test_no_network_is_one_sentence(server, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    text = complaint()
    assert text.startswith(f"{REPO}: the Hub cannot be reached (") and "see that this machine is online" in text
    with pytest.raises(CourseError, match="cannot be reached"):
        commit_of(MODEL)


def test_a_hub_that_falls_silent_is_one_sentence(server, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
    server.stall, server.cut_after = threading.Event(), 0
    assert "cannot be reached" in complaint()


def test_a_model_that_is_not_here_says_so_where_the_network_is_forbidden(server, monkeypatch, tmp_path):
    offline(monkeypatch)
    text = complaint()
    assert text == (f"{REPO}: is not in {tmp_path / 'cache'}, and HF_HUB_OFFLINE forbids to ask the Hub; unset it "
                    f"where there is a network and run the same command again, or give a model that is here")
    with pytest.raises(CourseError, match="HF_HUB_OFFLINE forbids"):
        commit_of(MODEL)
    assert server.requests == []


def test_a_disk_without_room_is_told_before_the_first_byte(server, monkeypatch, files):
    usage = shutil.disk_usage(".")
    left = sum(map(len, files.values()))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=left - 1))
    text = complaint()
    assert f"{REPO} needs 0.00 GB more, but only 0.00 GB are free; make room, or set HF_HUB_CACHE" in text
    assert server.got == []
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=left))
    assert bring().revision == OLD


def test_a_disk_that_fills_up_on_the_way_is_one_sentence_and_what_came_is_kept(server, monkeypatch, files):
    from huggingface_hub import file_download

    real = file_download.http_get

    def full(url, temp_file, **options):
        if url.endswith(WEIGHTS):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(url, temp_file, **options)

    monkeypatch.setattr(file_download, "http_get", full)
    text = complaint()
    assert text.startswith(str(MODEL.folder())) and "the disk is full" in text
    monkeypatch.setattr(file_download, "http_get", real)
    server.requests.clear()
    bring()
    assert server.got == [WEIGHTS]


def test_a_cache_that_may_not_be_written_is_one_sentence(server, monkeypatch):
    def forbidden(place, *_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", str(place))

    monkeypatch.setattr(os, "makedirs", forbidden)
    text = complaint()
    assert text.startswith(f"{REPO}: ") and str(MODEL.folder().parent) in text and "HF_HUB_CACHE" in text


@pytest.mark.parametrize(("names", "said"), [
    (["pytorch_model.bin", "config.json"], "has its weights only as pytorch_model.bin, a pickle, which can run code"),
    (["adapter_model.safetensors", "config.json"], "has no model.safetensors, so it is no whole model"),
    (["README.md"], "has no model.safetensors"),
])
def test_a_repository_without_safe_weights_is_refused_before_a_byte_comes(server, names, said):
    server.add("owner/other", dict.fromkeys(names, b"{}"))
    assert said in complaint(HubId("owner/other")) and server.got == []


@pytest.mark.parametrize("missing", ["tokenizer", "config.json"])
def test_a_repository_without_tokenizer_or_configuration_is_refused_before_a_byte_comes(server, files, missing):
    server.add("owner/part", {name: data for name, data in files.items() if not name.startswith(missing)})
    assert complaint(HubId("owner/part")) == (
        f"owner/part: has no {missing}, so it is no whole model; take another model or revision")
    assert server.got == []


def test_a_file_that_is_broken_in_the_repository_itself_is_named(server, files):
    server.add("owner/broken", files | {"config.json": b"{"})
    assert "config.json is damaged, and so it is in the repository; take another" in complaint(HubId("owner/broken"))


def cut(path):
    path.write_bytes(path.read_bytes()[:-9])


def lose(path):
    """Delete what the link in the cache leads to."""
    path.resolve().unlink()


def blot(path):
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize("name", [WEIGHTS, "config.json", "tokenizer.json"])
@pytest.mark.parametrize("damage", [cut, blot, lose, Path.unlink])
def test_a_damaged_file_is_fetched_again_or_named_where_that_is_forbidden(server, monkeypatch, files, name, damage):
    found = bring()
    damage(found.folder / name)
    with monkeypatch.context() as patch:
        offline(patch)
        text = complaint()
        assert "is not whole on this machine (" in text and ("tokenizer" if "token" in name else name) in text
        assert "HF_HUB_OFFLINE forbids to ask" in text
    server.requests.clear()
    came = [] if damage is Path.unlink else [name]  # what a lost link leads to is still there
    assert bring() == found and server.got == came and (found.folder / name).read_bytes() == files[name]


@pytest.mark.parametrize(("name", "text"), [
    ("config.json", "[]"), ("config.json", "[" * 100_000), (INDEX, "[]"), (INDEX, '{"weight_map": [1]}'),
    (INDEX, '{"weight_map": {"a": "../x.safetensors"}}'), (INDEX, '{"weight_map": {"a": 1}}')])
def test_settings_that_name_nothing_of_a_model_are_damaged(name, text, tmp_path):
    (tmp_path / name).write_text(text)
    assert hub.lacks(tmp_path) == f"{tmp_path / name} is damaged"


@pytest.mark.parametrize("text", ["name", "a/b/c", "owner/", "/name", "owner/name@", "owner/name@a b", "../x", "a/..@x",
                                  "owner/name@../../x", "https://huggingface.co/a/b"])
def test_what_is_no_id_is_told_how_one_is_written(text):
    with pytest.raises(CourseError, match="write owner/name or owner/name@revision"):
        HubId.parse(text)


# ---------------------------------------------------------------------------------------------------- presets and load


def test_presets_are_base_models_with_a_licence_a_size_and_a_pinned_commit():
    names = {"smollm2-360m", "smollm2-1.7b", "olmo2-1b", "qwen2.5-1.5b", "olmo2-7b"}
    assert set(PRESETS) == names | {"pocket"}
    for name in names:
        preset, model = PRESETS[name], hub_id(name)
        assert preset.licence == "Apache-2.0" and preset.download_bytes > 5e8
        assert model == HubId(preset.source, preset.revision) and len(model.revision) == 40
        assert commit_of(model) == preset.revision  # no network
    assert "nstruct" not in str(PRESETS) and hub_id("pocket") is None


def test_the_line_of_a_preset_says_licence_size_and_whether_it_is_here(server, files, monkeypatch):
    assert describe("pocket") == "pocket: comes with the course, licence Apache-2.0, nothing to fetch"
    line = describe("smollm2-1.7b")
    assert line == ("smollm2-1.7b: HuggingFaceTB/SmolLM2-1.7B, base model, licence Apache-2.0, no account needed, "
                    "commit effd688a, about 3.42 GB to fetch")
    preset = PRESETS["smollm2-1.7b"]
    server.add(preset.source, files, commit=preset.revision)
    bring(hub_id("smollm2-1.7b"))
    assert describe("smollm2-1.7b").endswith("commit effd688a, on this machine (3.42 GB)")


IDS = torch.arange(3, 43).view(2, 20)


def logits(loaded):
    with torch.inference_mode():
        return loaded.model(input_ids=IDS).logits


def test_a_model_of_the_hub_loads_in_four_bits_with_its_revision_and_the_right_logits(server, saved, capsys):
    expected = logits(models.load(saved, device="cpu"))
    loaded = models.load(REPO, device="cpu")
    assert (loaded.preset, loaded.revision) == ("owner--tiny", OLD) and torch.equal(logits(loaded), expected)
    assert loaded.tokenizer("Paris").input_ids == TOKENIZERS["gpt2"]()("Paris").input_ids
    assert "licence: apache-2.0" in capsys.readouterr().out
    server.requests.clear()
    again = models.load(f"{REPO}@{OLD}", device="cpu")
    assert torch.equal(logits(again), expected) and again.preset == f"owner--tiny@{OLD}" and server.requests == []


def test_a_folder_and_the_pocket_model_have_no_revision(saved):
    assert models.load(saved, device="cpu").revision is None
    assert models.load("pocket", device="cpu").revision is None


def test_a_preset_is_loaded_at_its_own_commit_whatever_main_is_now(server, files):
    preset = PRESETS["smollm2-360m"]
    server.add(preset.source, files, commit=preset.revision, ref="old")
    server.add(preset.source, files | {"config.json": b"{}"}, commit=NEW)
    loaded = models.load("smollm2-360m", device="cpu")
    assert (loaded.preset, loaded.revision) == ("smollm2-360m", preset.revision)


def test_a_study_of_a_hub_model_keeps_to_one_commit_and_its_runs_say_which(server, files, tmp_path):
    from course_lib.experiments.study import RunSpec, open_study
    from course_lib.training.finetune import TuneConfig
    from course_lib.training.runs.writer import open_run

    study = open_study(REPO, folder=tmp_path)
    assert study.base == f"{REPO}@{OLD}-float32" or torch.cuda.is_available()
    server.add(REPO, files, commit=NEW)  # somebody pushes before the model is fetched
    assert study.load().revision == OLD
    assert f"@{NEW}-" in open_study(f"{REPO}@{NEW}", folder=tmp_path).base
    spec = RunSpec(study.name, "D", 0, 0, 8, TuneConfig(), study.base, "labels")
    with open_run(spec, tmp_path / "runs"):
        pass
    assert read_json(tmp_path / "runs" / "owner--tiny" / spec.name / "run.json")["revision"] == OLD


def test_labels_of_another_revision_are_measured_again(server, tmp_path):
    from course_lib.experiments.study import open_study

    bases = {open_study(f"{REPO}@{commit}", folder=tmp_path).base for commit in (OLD, NEW)}
    assert len(bases) == 2 and server.requests == []  # a commit hash needs no network


def test_the_fingerprint_of_a_hub_model_has_the_commit(server):
    from course_lib.knowledge.label_questions import model_fingerprint

    assert model_fingerprint(REPO) == {"model": REPO, "revision": OLD, "tokenizer": REPO}
    assert json.dumps(model_fingerprint(f"{REPO}@{NEW}")) == json.dumps(
        {"model": REPO, "revision": NEW, "tokenizer": REPO})
