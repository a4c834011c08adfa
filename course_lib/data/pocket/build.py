"""Make the pocket world and its model from nothing, with a record of how: ``course pocket build``.

The same seed gives the same facts and the same corpus, byte for byte, on every machine. The weights depend on the
processor's arithmetic as well, so their SHA-256 is recorded but not expected to be the same elsewhere.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_lib.data.pocket.corpus import CorpusConfig, make_corpus
from course_lib.data.pocket.pretrain import PretrainConfig, pretrain, rows_of, train_tokenizer
from course_lib.data.pocket.world import FOLDER, PocketFact, WorldConfig, make_world
from course_lib.files import DataError, read_json, sha256, write_json, write_text

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["build", "matches_shipped", "verify", "write_facts"]

FIELDS = ["relation", "subject", "object", "split", "other", "fine",
          ["statements", "statements_other", "lists", "lists_other", "instructions", "instructions_other"]]


def build(*, seed: int = 0, out: str | Path = "build/pocket", progress: bool = True,
          measure: Callable[[Path], dict[str, Any]] | None = None, world_config: WorldConfig | None = None,
          pretrain_config: PretrainConfig | None = None) -> dict[str, Any]:
    """Generate the world, write its corpus, train the tokenizer and the model, and save it all; returns the provenance.

    ``seed`` gives the world, seed + 1 the corpus, seed + 2 the weights. The result of ``measure`` on the finished
    folder goes into the provenance; :func:`.course.measure_pocket` measures SliCK.
    """
    start, out = time.perf_counter(), Path(out)
    configs = (world_config or WorldConfig(seed=seed), CorpusConfig(seed=seed + 1),
               pretrain_config or PretrainConfig(seed=seed + 2))
    world = make_world(configs[0])
    documents = make_corpus(world, configs[0], configs[1])
    write_facts(out / "facts.json", world)
    tokenizer = train_tokenizer(documents, configs[2])
    rows = rows_of(documents, tokenizer, configs[2].length)
    model = pretrain(rows, tokenizer, configs[2], progress=progress)
    save_model(model, out / "model")
    tokenizer.save_pretrained(out / "model")
    corpus = {"documents": len(documents), "tokens": rows.numel(), "sha256": _digest(documents)}
    trained = time.perf_counter() - start
    provenance = {
        "command": f"course pocket build --seed {seed}", "seed": seed,
        **{type(config).__name__: asdict(config) for config in configs}, "corpus": corpus,
        "measured": measure(out) if measure else None, "versions": _versions(),
        "minutes": {"until trained": round(trained / 60, 1), "in all": round((time.perf_counter() - start) / 60, 1)},
        "sha256": {str(path.relative_to(out)): sha256(path) for path in _files(out)}}
    write_json(out / "provenance.json", provenance)
    write_text(out / "pocket.sha256", "".join(f"{digest}  {name}\n" for name, digest in provenance["sha256"].items()))
    return provenance


def matches_shipped(provenance: dict[str, Any]) -> dict[str, bool]:
    """Compare the facts and the corpus of a build with the shipped ones, byte for byte; keys facts, corpus."""
    shipped = read_json(FOLDER / "provenance.json")
    return {"facts": provenance["sha256"]["facts.json"] == shipped["sha256"]["facts.json"],
            "corpus": provenance["corpus"]["sha256"] == shipped["corpus"]["sha256"]}


def verify(folder: Path = FOLDER) -> int:
    """Compare every file that a ``*.sha256`` list in or below ``folder`` names; returns their number.

    Raises:
        DataError: there is no such list, or a file is missing or another one.
    """
    listed = [(sums.parent / name.lstrip("*"), digest) for sums in sorted(folder.rglob("*.sha256"))
              for digest, name in (line.split(maxsplit=1) for line in sums.read_text(encoding="utf-8").splitlines())]
    if not listed:
        raise DataError(f"{folder}: no *.sha256 list; build the model with `course pocket build`")
    for path, digest in listed:
        if not path.is_file():
            raise DataError(f"{path}: missing; install the package again, or run `course pocket build`")
        if sha256(path) != digest:
            raise DataError(f"{path}: not the shipped file (SHA-256 differs); install again, or `course pocket build`")
    return len(listed)


def write_facts(path: str | Path, world: list[PocketFact]) -> Path:
    """Write the facts as JSON, one a line; ``fields`` names the columns."""
    lines = (json.dumps([item.fact.relation, item.fact.subject, item.fact.object, item.split, item.other, item.fine,
                         list(asdict(item.exposures).values())], ensure_ascii=False) for item in world)
    return write_text(path, '{"fields": ' + json.dumps(FIELDS) + ', "facts": [\n' + ",\n".join(lines) + "\n]}\n")


def save_model(model: PreTrainedModel, folder: Path) -> None:
    """Save the weights as bfloat16, half the size; ``config.json`` says float32, so they load as float32."""
    import copy

    import torch

    copy.deepcopy(model).to(torch.bfloat16).save_pretrained(folder)
    config = read_json(folder / "config.json") | {"dtype": "float32"}
    write_json(folder / "config.json", config)


def _digest(documents: list[str]) -> str:
    return hashlib.sha256("\0".join(documents).encode()).hexdigest()


def _versions() -> dict[str, str]:
    packages = ("torch", "transformers", "tokenizers", "bitsandbytes", "known-unknowns")
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in packages}}


def _files(out: Path) -> list[Path]:
    return [out / "facts.json", *sorted((out / "model").iterdir())]
