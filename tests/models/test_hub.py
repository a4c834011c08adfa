"""Models from the Hub: said first, fetched once, gone on with after a cut, one sentence for all that can go wrong."""

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
from pathlib import Path

import pytest
import torch

from course_lib.files import CourseError, hard_lock, read_json
from course_lib.models import hub, transfer
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
    monkeypatch.setattr(transfer, "PAUSE_S", 0.0)
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
    assert not any(path.is_symlink() for path in found.folder.iterdir())
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


def test_the_hubs_own_library_finds_what_was_fetched(server, monkeypatch):
    from huggingface_hub import snapshot_download

    found = bring()
    server.requests.clear()
    assert snapshot_download(REPO, local_files_only=True, cache_dir=found.folder.parents[2]) == str(found.folder)
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


def ranges(server):
    return [request.range for request in server.requests if request.file == WEIGHTS]


def test_a_connection_that_is_cut_is_gone_on_with_at_once(server, files):
    server.cuts, server.cut_after = 2, 70_000
    found = bring()
    assert ranges(server) == ["", "bytes=70000-", "bytes=140000-"]
    assert (found.folder / WEIGHTS).read_bytes() == files[WEIGHTS]


def test_a_connection_that_stays_lost_is_a_sentence_and_the_next_call_asks_for_the_rest(server, files):
    server.cuts, server.cut_after = 99, 0
    text = complaint()
    assert f"{WEIGHTS}: the connection was lost at 0 of {len(files[WEIGHTS]):,} bytes" in text
    assert "run the same command again, it goes on from there" in text and cached(MODEL) is None
    server.cuts, server.cut_after = 1, 100_000
    server.repos[REPO].commits[OLD]["config.json"] = files["config.json"]
    real, transfer.TRIES = transfer.TRIES, 1
    try:
        assert "lost at 100,000 of" in complaint()
    finally:
        transfer.TRIES = real
    server.requests.clear()
    said = []
    found = fetch(MODEL, echo=said.append)
    assert ranges(server) == ["bytes=100000-"] and server.got == [WEIGHTS]
    assert (found.folder / WEIGHTS).read_bytes() == files[WEIGHTS]
    assert {path.name for path in found.folder.iterdir()} == set(files)  # the unfinished file is gone


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
def test_a_process_that_is_killed_in_the_middle_of_a_file_is_gone_on_with_by_a_range(server, files, tmp_path):
    server.stall, server.cut_after = threading.Event(), 120_000
    begun = tmp_path / "cache" / "models--owner--tiny" / "snapshots" / OLD
    process = subprocess.Popen([sys.executable, "-c", FETCH, REPO], env=environment(server, tmp_path))
    until = time.monotonic() + 60
    while sum(part.stat().st_size for part in begun.glob(f".{WEIGHTS}.*.part")) < 120_000:
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and not (begun / WEIGHTS).exists()
    server.stall.set()
    server.stall = None
    server.requests.clear()
    again = subprocess.run([sys.executable, "-c", FETCH, REPO], env=environment(server, tmp_path), text=True,
                           capture_output=True, check=True)
    assert again.stdout.splitlines()[-1] == OLD
    assert ranges(server) == ["bytes=120000-"] and server.got == [WEIGHTS]
    assert (begun / WEIGHTS).read_bytes() == files[WEIGHTS]


def test_weights_on_another_host_are_gone_on_with_there_and_the_token_stays_with_the_hub(server, files, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    server.elsewhere, server.cuts, server.cut_after = True, 1, 60_000
    assert (bring().folder / WEIGHTS).read_bytes() == files[WEIGHTS]
    asked = [(request.host, request.range, request.token) for request in server.requests if request.file == WEIGHTS]
    assert asked == [("127.0.0.1", "", "Bearer hf_secret"), ("localhost", "", ""),
                     ("127.0.0.1", "bytes=60000-", "Bearer hf_secret"), ("localhost", "bytes=60000-", "")]


def test_a_server_that_knows_no_ranges_gives_the_right_file_too(server, files):
    server.cuts, server.cut_after, server.ranges = 1, 50_000, False
    assert (bring().folder / WEIGHTS).read_bytes() == files[WEIGHTS]


def test_bytes_that_are_not_those_of_the_list_are_thrown_away(server, files):
    server.spoil = True
    assert "what came is not what the Hub lists, so it was thrown away; run the same command again" in complaint()
    server.spoil = False
    assert (bring().folder / WEIGHTS).read_bytes() == files[WEIGHTS]


def test_a_second_process_waits_for_the_first_and_fetches_nothing_twice(server, files):
    home = MODEL.folder()
    home.mkdir(parents=True)
    lock, said = hard_lock(home / ".known-unknowns.lock"), []
    lock.acquire()
    thread = threading.Thread(target=lambda: fetch(MODEL, echo=said.append))
    thread.start()
    while not said:
        assert thread.is_alive()
        time.sleep(0.01)
    assert said == [f"Model {REPO}: another process is fetching it; waiting for that."] and server.got == []
    lock.release()
    thread.join(30)
    assert sorted(server.got) == sorted(files)


# ------------------------------------------------------------------------------------------------------ what goes wrong

GATED = {"X-Error-Code": "GatedRepo"}


@pytest.mark.parametrize(("refusal", "said"), [
    (Refusal(401, GATED, downloads=True), "owner/tiny: its owner asks you to accept terms; do so on "
     "https://huggingface.co/owner/tiny, log in with `hf auth login`, and run the same command again"),
    (Refusal(403, GATED), "its owner asks you to accept terms"),
    (Refusal(401), "no such model on the Hub; check the name, or log in with `hf auth login` if it is private"),
    (Refusal(401, {"X-Error-Message": "Invalid credentials in Authorization header"}), "does not know this machine's "
     "token; renew it with `hf auth login`, or drop it with `hf auth logout`, and run the same command again"),
    (Refusal(403), "refuses this machine's token; take one that may read this model with `hf auth login`"),
    (Refusal(403, {"X-Error-Message": "Access to this resource is disabled."}), "has closed this repository; take "
     "another model"),
    (Refusal(429, {"Retry-After": "90"}), "too many requests from here; wait 90 seconds and run the same command "
     "again, what has come is kept"),
    (Refusal(429, {"Retry-After": "90"}, downloads=True), "wait 90 seconds and run"),
    (Refusal(429, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}), "wait until Wed, 21 Oct 2026 07:28:00 GMT and"),
    (Refusal(429, {"RateLimit": '"api";r=0;t=55'}), "wait 55 seconds and run"),
    (Refusal(429), "wait a few minutes and run"),
    (Refusal(500), "a fault of its own (error 500); wait a few minutes and run the same command again"),
    (Refusal(503, downloads=True), "a fault of its own (error 503)"),
    (Refusal(418), "the Hub refused with error 418; look at https://huggingface.co"),
    (Refusal(200, body=b"<html>Welcome to our hotel"), "what answered is not the Hub; the network may want you to log "
     "in on a page of its own"),
    (Refusal(200, body=b"[]"), "what answered is not the Hub"),
    (Refusal(200, body=b'{"id": "owner/tiny"}'), "what answered is not the Hub"),
], ids=lambda value: f"{value.status}-{'file' if value.downloads else 'list'}" if isinstance(value, Refusal) else "")
def test_each_refusal_is_one_sentence_with_what_to_do(server, refusal, said):
    server.refusal = refusal
    text = complaint()
    assert text.startswith(f"{REPO}: ") and said in text
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
    monkeypatch.setattr(transfer, "TRIES", 2)
    server.stall, server.cut_after = threading.Event(), 0
    assert "the connection was lost at 0 of" in complaint()


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
    real = os.fsync

    def full(handle):
        if os.fstat(handle).st_size > 100_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    assert f"{WEIGHTS}: the disk is full; free some space and run the same command again" in complaint()
    monkeypatch.setattr(os, "fsync", real)
    server.requests.clear()
    bring()
    assert server.got == []  # all its bytes had come


def test_a_cache_that_may_not_be_written_is_one_sentence(server, monkeypatch):
    def forbidden(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", forbidden)
    assert "you may not write there; set HF_HUB_CACHE to a folder of yours" in complaint()


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
    """What a cache with links leaves where the file that a link stands for was deleted."""
    path.unlink()
    path.symlink_to(path.with_name("gone"))


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
    assert bring() == found and server.got == [name] and (found.folder / name).read_bytes() == files[name]


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
    from course_lib.knowledge.fingerprint import model_fingerprint

    assert model_fingerprint(REPO) == {"model": REPO, "revision": OLD, "tokenizer": REPO}
    assert json.dumps(model_fingerprint(f"{REPO}@{NEW}")) == json.dumps(
        {"model": REPO, "revision": NEW, "tokenizer": REPO})
