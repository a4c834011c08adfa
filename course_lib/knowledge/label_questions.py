"""SliCK of any number of questions in one command that may be stopped anywhere and resumed.

    OUT/labels.parquet   one row a question: its labels, and the scores of every prompt as lists; no times
    OUT/slick.json       the model, the data, the prompts, the settings and the versions; then counts, shares, problems
    OUT/parts/           the shards that are finished so far, see :mod:`.labelling`

Two results may be mixed only where everything that decides them is the same: the settings, the model and its tokenizer,
the data, the versions. It is kept as flat fields that can be compared one by one. A folder that holds another run is
left as it is, and the next of OUT-2, OUT-3 ... is taken: so one command always finds its own folder again.

Shapes: Q questions, P prompts.
"""

from __future__ import annotations

import importlib.metadata
import io
import json
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_lib import __version__, limits
from course_lib.data.facts import by_relation
from course_lib.data.paper import CATEGORIES
from course_lib.data.questions import Problem, Question, QuestionSet
from course_lib.files import CourseError, read_json, sha256, sweep_up, write_bytes, write_json
from course_lib.knowledge import slick
from course_lib.knowledge.labelling import ARRAYS, RECORD, UNIT, Shard, Shards, Unit, digest, number_of_questions, timed
from course_lib.knowledge.scoring.batching import default_batch_tokens
from course_lib.knowledge.scoring.prompts import Prompt, surface_forms
from course_lib.limits import SEED, Check, flag, number, refuse, whole
from course_lib.models.four_bit import merged_for_evaluation
from course_lib.models.hardware import device, device_dtype
from course_lib.models.hub import commit_of
from course_lib.models.loading import Loaded, load
from course_lib.models.memory_usage import highest
from course_lib.models.presets import folder_of, hub_id, known_preset
from course_lib.text import printable

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedTokenizerBase

__all__ = ["ASKING", "Settings", "choose_folder", "model_fingerprint", "run"]

WARM_UP, PIECE_SECONDS = 8, 10  # throughput is taken from a piece of about so many seconds, after so many questions
NAMED = 10  # problems that are printed; the record holds them all
MODEL_FILES = (".safetensors", ".json", ".model", ".txt", ".jinja")
TOKENIZER_FILES = ("tokenizer", "special_tokens", "added_tokens", "vocab", "merges", "chat_template")
ASKING: dict[str, Check] = {
    "prompts": whole(1, 1000), "samples": whole(1, 100_000), "shots": whole(0, 100), "temperature": number(0.01, 100),
    "top_k": whole(0, 1_000_000), "seed": SEED, "batch_tokens": whole(1, 1_000_000), "four_bit": flag}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of a measurement; the defaults are the paper's (App. C), the ranges :data:`ASKING`.

    ``batch_tokens=None`` finds the size of a forward pass from the free memory once, and keeps to it.
    ``four_bit=False`` measures the model as it is stored, not the 4-bit one that the course fine-tunes.
    """

    prompts: int = 10
    samples: int = 16
    shots: int = 4
    temperature: float = 0.5
    top_k: int = 40
    seed: int = 0
    batch_tokens: int | None = None
    four_bit: bool = True

    def __post_init__(self) -> None:
        refuse(self, ASKING)
        object.__setattr__(self, "temperature", float(self.temperature))  # 1 and 1.0 are one setting


def run(data: QuestionSet, out: str | Path, *, preset: str = "pocket", settings: Settings | None = None,
        progress: bool = True, say: Callable[[str], None] | None = None) -> dict[str, Any]:
    """Label ``data`` with what the model knows; writes ``labels.parquet`` and ``slick.json``, and returns a summary.

    Args:
        out: the folder to write. Where it holds another run, the next of OUT-2, OUT-3 ... that is free or holds this
            run is taken.
        preset: a preset, a model folder or a Hub id.
        say: takes each line of words; the default prints them to stderr.

    Raises:
        CourseError: the model cannot be loaded or scored, or no question has enough exemplars.
    """
    started, settings, say = time.perf_counter(), settings or Settings(), _say if say is None else say
    preset = known_preset(preset)
    prompts, unasked = _draw(data, settings)
    _name("Rows that are left out", data.problems, say)
    _name("Questions without examples", [data.problem(data.questions[row], why) for row, why in unasked.items()], say)
    _name("Asked twice", data.duplicates(), say)
    decides = measurement_fingerprint(data, prompts, preset, settings)
    this = _Run(choose_folder(out, decides, say), data, prompts, settings, decides, say)
    for row, why in unasked.items():
        this.shards.scores.reject(row, why)
    missing = this.shards.collect()
    for unit in missing:
        if unit.path.exists():
            say(f"{unit.path}: damaged; its {len(unit.rows)} questions are computed again")
    if missing:
        loaded = load(preset, four_bit=settings.four_bit)
        if decides["revision"] != (loaded.revision or ""):
            raise CourseError(f"{preset}: the model has changed on the Hub in this moment; run the same command again")
        with merged_for_evaluation(loaded.model):
            this.measure(loaded, missing, progress)
    return this.finish(started)


class _Run:
    """One folder, and its record before anything is measured."""

    def __init__(self, folder: Path, data: QuestionSet, prompts: dict[str, list[Prompt]], settings: Settings,
                 decides: dict[str, Any], say: Callable[[str], None]) -> None:
        self.folder, self.data, self.prompts, self.settings, self.say = folder, data, prompts, settings, say
        self.shards = Shards(data.questions, folder, run=digest(decides), prompts=settings.prompts, unit=UNIT,
                             samples=settings.samples, relations=prompts)
        before = read_json(folder / RECORD) if (folder / RECORD).is_file() else {}
        self.record = {
            "status": "running", "digest": self.shards.run, "decides": decides,
            "batch_tokens": before.get("batch_tokens") or settings.batch_tokens,
            "machine": before.get("machine") or machine(),
            "prompts": {relation: [prompt.text("{question}") for prompt in group]
                        for relation, group in prompts.items()}}

    def measure(self, loaded: Loaded, missing: Sequence[Unit], progress: bool) -> None:
        """Score what is missing, after the plan is said."""
        # chosen once and written down first: another size of a forward pass would change the last digits
        self.record["batch_tokens"] = self.record["batch_tokens"] or default_batch_tokens(loaded.model)
        write_json(self.folder / RECORD, self.record)
        first = self._plan(loaded, missing)
        self.shards.measure(missing, lambda unit: (unit is missing[0] and first) or self._score(
            loaded, unit, unit.rows), progress=progress)

    def _plan(self, loaded: Loaded, missing: Sequence[Unit]) -> Shard | None:
        """Say what the run costs, from a piece that is timed now; returns it where it is the whole first unit."""
        unit = missing[0]
        few = unit.rows[:WARM_UP]
        self.say(f"Timing {len(few)} questions after {self.settings.prompts:,} prompts, to say what the rest costs")
        warm = self._score(loaded, unit, few)
        piece = unit.rows[:max(len(few), int(len(few) * PIECE_SECONDS / max(warm.seconds, 1e-6)))]
        shard = self._score(loaded, unit, piece)
        throughput = self._tokens(loaded.tokenizer, unit, piece) / max(shard.seconds, 1e-6)  # tokens a second
        tokens = sum(self._tokens(loaded.tokenizer, unit, unit.rows) for unit in missing)
        about, asked = self.record["decides"], number_of_questions(self.shards.units)
        todo = number_of_questions(missing)
        self.say(f"Plan: {self.data.name}: relations: {len(self.prompts)}, questions: {asked:,}, prompts for each: "
                 f"{self.settings.prompts}; {about['weights']} weights, computed in {about['dtype']} on "
                 f"{about['device']}")
        self.say(f"  done already: {asked - todo:,} questions; to do: {todo:,}, about {tokens:,} tokens at "
                 f"{throughput:,.0f} a second (timed just now) = {_duration(tokens / throughput)}")
        used = highest(loaded.model.device.type) / 2**30
        self.say(f"  memory: {used:.1f} GiB, {self.record['batch_tokens']:,} tokens "
                 f"in a pass; results go to {self.folder}")
        return shard if piece == unit.rows else None

    def _score(self, loaded: Loaded, unit: Unit, rows: Sequence[int]) -> Shard:
        return timed(lambda: slick.measure(
            loaded.model, loaded.tokenizer, [self.data.questions[row] for row in rows],
            {unit.relation: self.prompts[unit.relation]}, temperature=self.settings.temperature,
            top_k=self.settings.top_k, accepted=_accepted, batch_tokens=self.record["batch_tokens"]))

    def _tokens(self, tokenizer: PreTrainedTokenizerBase, unit: Unit, rows: Sequence[int]) -> int:
        """Tokens that a model reads for these rows: each prompt once, each accepted answer after each prompt."""
        group, ask = self.prompts[unit.relation], Prompt("").text
        texts = [f"{ask(self.data.questions[row].question)} {form}" for row in rows
                 for form in _accepted(self.data.questions[row])]
        shared, own = (sum(map(len, tokenizer(some)["input_ids"])) for some in
                       ([prompt.text("") for prompt in group], texts))
        return shared + len(group) * own

    def finish(self, started: float) -> dict[str, Any]:
        """Label everything, and write the table and the record."""
        data, scores, settings = self.data, self.shards.scores, self.settings
        frame = slick.label(scores, n_samples=settings.samples, seed=settings.seed)
        labels = write_bytes(self.folder / "labels.parquet", self._table(frame))
        unlabelled = [data.problem(data.questions[row], why) for row, why in sorted(scores.problems.items())]
        relations = {question.relation: dict.fromkeys(CATEGORIES, 0) for question in data.questions}
        for question, category in zip(data.questions, frame["category"], strict=True):
            if category in CATEGORIES:  # a question with a problem has none
                relations[question.relation][category] += 1
        summary = {
            "status": "completed", "data": data.name, "folder": printable(str(self.folder)),
            "labels": printable(str(labels)), "sha256": sha256(labels), "digest": self.shards.run,
            "questions": len(frame), "labelled": len(frame) - len(unlabelled),
            "counts": dict.fromkeys(CATEGORIES, 0) | self.shards.counts, "shares": slick.shares(frame),
            "relations": relations, "problems": [asdict(problem) for problem in (*data.problems, *unlabelled)],
            "duplicates": [asdict(note) for note in data.duplicates()],
            "seconds_measuring": round(self.shards.seconds, 1), "seconds": round(time.perf_counter() - started, 1)}
        write_json(self.folder / RECORD, self.record | summary)
        sweep_up(self.folder)
        _name("Questions without a label", unlabelled, self.say)
        return summary

    def _table(self, frame: pd.DataFrame) -> bytes:
        """The Parquet file; what decides the labels stands in its metadata under "course"."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.Table.from_pandas(frame, preserve_index=False)
        for name in ("aliases", "object", "question", "subject", "relation", "row"):
            kind = {"aliases": pa.list_(pa.string()), "row": pa.int64()}.get(name, pa.string())
            table = table.add_column(0, name, pa.array([getattr(q, name) for q in self.data.questions], kind))
        for name in ARRAYS:  # (Q, P), a list of P values in each row
            flat = pa.array(getattr(self.shards.scores, name).ravel())
            table = table.append_column(name, pa.FixedSizeListArray.from_arrays(flat, self.settings.prompts))
        about = {b"course": json.dumps({"digest": self.shards.run, "decides": self.record["decides"]}).encode()}
        file = io.BytesIO()
        pq.write_table(table.replace_schema_metadata(about), file, compression="zstd")
        return file.getvalue()


def measurement_fingerprint(data: QuestionSet, prompts: dict[str, list[Prompt]], preset: str,
                            settings: Settings) -> dict[str, Any]:
    """Everything that decides the labels, flat, so that two runs can be compared by field."""
    import torch

    texts = [prompt.text("{question}") for group in prompts.values() for prompt in group]
    versions = {name: importlib.metadata.version(name) for name in ("torch", "transformers", "bitsandbytes")}
    return model_fingerprint(preset) | {
        "weights": "4-bit" if settings.four_bit else "stored", "dtype": device_dtype(),
        "device": torch.cuda.get_device_name() if device() == "cuda" else "cpu",
        "data": digest([digest(asdict(question)) for question in (*data.questions, *data.exemplars)]),
        "questions": len(data.questions), "prompt_texts": digest(texts), "unit": UNIT,
        **{name: value for name, value in asdict(settings).items() if name != "four_bit"},
        "course": __version__, **versions}


def model_fingerprint(preset: str) -> dict[str, str]:
    """Model and tokenizer: digests of a folder's files, or a Hub id and its commit."""
    if model := hub_id(preset):
        return {"model": model.repo, "revision": commit_of(model), "tokenizer": model.repo}
    folder = folder_of(preset)
    files = sorted(path for path in folder.iterdir() if path.suffix in MODEL_FILES)
    spelling = [path for path in files if path.name.startswith(TOKENIZER_FILES) or path.suffix == ".model"]
    return {"model": digest([sha256(path) for path in files if path not in spelling]), "revision": "",
            "tokenizer": digest([sha256(path) for path in spelling])}


def machine() -> dict[str, Any]:
    """Facts that may change the last digits and are not in the digest, so that a long run may be resumed elsewhere."""
    import torch

    return {"platform": platform.platform(), "python": platform.python_version(), "threads": torch.get_num_threads()}


def choose_folder(out: str | Path, decides: dict[str, Any], say: Callable[[str], None]) -> Path:
    """Choose ``out``, or the first of OUT-2, OUT-3 ... that is empty or holds the run that ``decides`` describes.

    ``decides`` is flat: field -> value. What differs in a folder that is passed over is said by field.
    """
    out = limits.folder(out, "out", write=True).resolve()
    folder, number = out, 1
    while (held := _held(folder)) is not None and held.get("digest") != digest(decides):
        before = held.get("decides", {})
        changed = "; ".join(f"{name}: {before.get(name)} -> {value}" for name, value in decides.items()
                            if before.get(name) != value)
        number += 1
        following = out.parent / f"{out.name}-{number}"
        say(f"{folder} holds {f'another run ({changed})' if before else 'files that are no such run'}; it is left as "
            f"it is, {following} is next")
        folder = following
    return folder


def _held(folder: Path) -> dict[str, Any] | None:
    """The record of the run in a folder; {} for other files, None for an empty folder or none."""
    if not folder.is_dir() or all(path.name.startswith(f".{RECORD}.") for path in folder.iterdir()):
        return None  # the rest of a first write that was killed is nothing
    try:
        record = read_json(folder / RECORD)
    except CourseError:
        return {}
    return record if isinstance(record, dict) else {}


def _accepted(question: Question) -> tuple[str, ...]:
    return surface_forms(question.object, aliases=question.aliases)


def _draw(data: QuestionSet, settings: Settings) -> tuple[dict[str, list[Prompt]], dict[int, str]]:
    """The prompts of every relation that has exemplars enough, and the questions of the others with the reason."""
    groups = by_relation(data.exemplars)
    needed = settings.shots + data.shared  # a question never stands among its own examples
    asked = {question.relation for question in data.questions if len(groups.get(question.relation, [])) >= needed}
    unasked = {
        row: f"too few questions to draw examples from in relation {question.relation!r}: "
             f"{len(groups.get(question.relation, []))}, and {settings.shots} shots need {needed}; add some, or take "
             f"fewer shots"
        for row, question in enumerate(data.questions) if question.relation not in asked}
    if not asked:
        raise CourseError(f"{data.name}: no question can be asked: {next(iter(unasked.values()))}")
    exemplars = [question for question in data.exemplars if question.relation in asked]
    return slick.draw_prompts(exemplars, n_prompts=settings.prompts, shots=settings.shots, seed=settings.seed), unasked


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 100 else f"{seconds / 60:.1f} minutes"


def _name(title: str, problems: Sequence[Problem], say: Callable[[str], None]) -> None:
    """Say the first problems, each with its row."""
    if problems:
        say(f"{title}: {len(problems):,}")
        for problem in problems[:NAMED]:
            say(f"  {problem}")
        if len(problems) > NAMED:
            say(f"  and {len(problems) - NAMED:,} more; {RECORD} names them all")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
