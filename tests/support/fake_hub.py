"""As much of the Hugging Face Hub as a download asks for, on this machine: lists, sums, ranges, refusals, cuts."""

import hashlib
import http.server
import json
import re
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit


@dataclass
class Request:
    """One request: "GET" or "HEAD", host, path, and the headers Range and Authorization ("" without one)."""

    method: str
    host: str
    path: str
    range: str
    token: str

    @property
    def file(self) -> str:
        """The name of the file that was asked for; "" for a question to the API."""
        return self.path.partition("/resolve/")[2].partition("/")[2]


@dataclass
class Repo:
    """A repository: its files at each commit, the commits of its branches and tags, and its licence."""

    commits: dict[str, dict[str, bytes]]
    refs: dict[str, str]
    licence: str | None = "apache-2.0"


@dataclass
class Refusal:
    """An answer in place of the true one: to the questions, or to the downloads alone."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"{}"
    downloads: bool = False


def git_sum(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def is_large(name: str) -> bool:
    return name.endswith((".safetensors", ".bin"))


def sum_of(name: str, data: bytes) -> str:
    """What the Hub lists: SHA-256 for files in its large storage, git's sum for the others."""
    return hashlib.sha256(data).hexdigest() if is_large(name) else git_sum(data)


class FakeHub:
    """Serves ``repos``; ``requests`` lists what was asked for, ``refusal`` is given to everybody.

    ``cuts`` is how many answers with weights break off, each after ``cut_after`` bytes; ``stall``, an event, makes them
    wait there instead. ``ranges`` False is a server that gives files from their beginning; ``spoil`` one that sends
    other bytes; ``elsewhere`` one that has its weights on another host, as the Hub has, and sends the client there.
    """

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.requests: list[Request] = []
        self.refusal: Refusal | None = None
        self.cuts, self.cut_after, self.ranges, self.spoil, self.elsewhere = 0, 0, True, False, False
        self.stall: threading.Event | None = None
        handler = type("Handler", (_Handler,), {"hub": self})
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        if self.stall:
            self.stall.set()
        self.server.shutdown()
        self.server.server_close()

    def add(self, repo: str, files: dict[str, bytes], *, commit: str = "a" * 40, ref: str = "main",
            licence: str | None = "apache-2.0") -> str:
        """A commit with these files, pushed to a branch or tag; returns the commit."""
        found = self.repos.setdefault(repo, Repo({}, {}, licence))
        found.commits[commit], found.refs[ref] = files, commit
        return commit

    @property
    def got(self) -> list[str]:
        """The files whose bytes were asked for, in order."""
        return [request.file for request in self.requests if request.method == "GET" and request.file]


class _Handler(http.server.BaseHTTPRequestHandler):
    hub: FakeHub

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        path, hub = unquote(urlsplit(self.path).path), self.hub
        hub.requests.append(Request(self.command, self.headers["Host"].partition(":")[0], path,
                                    self.headers.get("Range", ""), self.headers.get("Authorization", "")))
        refusal = hub.refusal
        if refusal and refusal.downloads <= ("/resolve/" in path):
            return self.answer(refusal.body, refusal.status, refusal.headers)
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/(.+))?", path):
            return self.about(found[1], found[2], found[3] or "main")
        if found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self.file(*found.groups())
        return self.answer(b"", 404, {})

    do_HEAD = do_GET

    def begin(self, length: int, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(length)} | headers).items():
            self.send_header(name, value)
        self.end_headers()

    def answer(self, body: bytes, status: int, headers: dict[str, str]) -> None:
        self.begin(len(body), status, headers)
        if self.command != "HEAD":
            self.wfile.write(body)

    def find(self, name: str, revision: str) -> tuple[Repo, str] | None:
        """A repository and a commit of it; says what is missing."""
        repo = self.hub.repos.get(name)
        if repo is None:
            return self.answer(b"{}", 404, {"X-Error-Code": "RepoNotFound"})
        commit = repo.refs.get(revision, revision)
        if commit not in repo.commits:
            return self.answer(b"{}", 404, {"X-Error-Code": "RevisionNotFound"})
        return repo, commit

    def about(self, name: str, kind: str | None, revision: str) -> None:
        if not (found := self.find(name, revision)):
            return
        repo, commit = found
        files = repo.commits[commit]
        if kind == "tree":
            told = [{"type": "file", "oid": git_sum(data), "size": len(data), "path": file} | (
                {"lfs": {"oid": sum_of(file, data), "size": len(data), "pointerSize": 134}} if is_large(file) else {})
                    for file, data in files.items()]
        else:
            siblings = [{"rfilename": file} for file in files]
            card = {"cardData": {"license": repo.licence}} if repo.licence else {}
            told = {"id": name, "sha": commit, "siblings": siblings, "tags": []} | card
        self.answer(json.dumps(told).encode(), 200, {"Content-Type": "application/json"})

    def file(self, name: str, revision: str, file: str) -> None:
        if not (found := self.find(name, revision)):
            return
        repo, commit = found
        data = repo.commits[commit].get(file)
        if data is None:
            return self.answer(b"", 404, {"X-Error-Code": "EntryNotFound"})
        if self.hub.elsewhere and is_large(file) and self.headers["Host"].startswith("127."):
            there = f"http://localhost:{self.server.server_address[1]}{self.path}"
            return self.answer(b"", 302, {"Location": there, "X-Repo-Commit": commit, "X-Linked-Size": str(len(data)),
                                          "X-Linked-Etag": f'"{sum_of(file, data)}"'})
        headers = {"ETag": f'"{sum_of(file, data)}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")) if self.hub.ranges else None
        start, status = (int(asked[1]), 206) if asked else (0, 200)
        if asked:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        body = data[start:]
        if self.hub.spoil and is_large(file):
            body = bytes(len(body))
        if self.command == "GET" and is_large(file) and (self.hub.cuts > 0 or self.hub.stall):
            return self.broken(body, status, headers)
        self.answer(body, status, headers)

    def broken(self, body: bytes, status: int, headers: dict[str, str]) -> None:
        """Begin an answer, and either hang up in its middle or fall silent there until the event is set."""
        self.hub.cuts -= 1
        self.begin(len(body), status, headers)
        self.wfile.write(body[:self.hub.cut_after])
        self.wfile.flush()
        if stall := self.hub.stall:
            stall.wait(60)
            with suppress(ConnectionError):  # who asked may be gone
                self.wfile.write(body[self.hub.cut_after:])
        self.close_connection = True
