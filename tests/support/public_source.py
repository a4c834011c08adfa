"""EntityQuestions with one fact a file: in a folder, with sums of its own, and served on this machine."""

import functools
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from course_lib.data import entityquestions
from course_lib.data.facts import QUESTIONS
from course_lib.files import sha256


def record(relation: str, subject: str, *answers: Any) -> dict[str, Any]:
    return {"question": QUESTIONS[relation].replace("[E]", subject), "answers": list(answers)}


def path_of(root: Path, split: str, relation: str) -> Path:
    return root / "dataset" / split / f"{relation}.{split}.json"


def put(root: Path, split: str, relation: str, content: Any) -> Path:
    """Write one data file: bytes and text as they are, anything else as JSON."""
    path = path_of(root, split, relation)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, bytes | str) else json.dumps(content)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def fill(root: Path) -> Path:
    """All 72 files: in P19's training file subject "train P19" has the answer "A"."""
    for split in ("train", "dev", "test"):
        for relation in QUESTIONS:
            put(root, split, relation, [record(relation, f"{split} {relation}", "A")])
    return root


def publish(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the sums of a folder the published ones."""
    sums = root.with_name(f"{root.name}.sha256")
    sums.write_text("".join(f"{sha256(file)}  {file.relative_to(root).as_posix()}\n"
                            for file in sorted(root.glob("dataset/*/*.json"))))
    monkeypatch.setattr(entityquestions, "_SUMS", sums)


@contextmanager
def serve(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Serve a folder as the public source; the list fills with the paths that were asked for."""
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            asked.append(self.path.lstrip("/"))

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(root)))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    offline(monkeypatch, port=server.server_address[1])
    yield asked
    server.shutdown()


def offline(monkeypatch: pytest.MonkeyPatch, *, port: int = 9) -> None:
    """Let downloads come from a port of this machine, by default the discard port, where nobody listens."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("COURSE_DATA", raising=False)
    monkeypatch.setattr(entityquestions, "SOURCE_URL", f"http://127.0.0.1:{port}/")
    monkeypatch.setattr(entityquestions, "DOWNLOAD_RETRIES", 0)
