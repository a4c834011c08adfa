"""SliCK of any number of questions in one command that may be stopped anywhere and resumed.

    OUT/labels.parquet   one row a question: its labels, and the scores of every prompt as lists; no times
    OUT/slick.json       the model, the data, the prompts, the settings and the versions; then counts, shares, problems
    OUT/parts/           the shards that are finished so far, see :mod:`.labelling`

Shapes: Q questions, P prompts.
"""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_lib.data.facts import by_relation
from course_lib.data.paper import CATEGORIES
from course_lib.data.questions import Problem, Question, QuestionSet
from course_lib.files import CourseError, read_json, sha256, sweep_up, write_bytes, write_json
from course_lib.knowledge import slick
from course_lib.knowledge.fingerprint import Settings, choose_folder, machine, measurement_fingerprint
from course_lib.knowledge.labelling import ARRAYS, RECORD, UNIT, Shard, Shards, Unit, digest, number_of_questions, timed
from course_lib.knowledge.scoring.batching import default_batch_tokens
from course_lib.knowledge.scoring.prompts import Prompt, surface_forms
from course_lib.models.four_bit import merged_for_evaluation
from course_lib.models.loading import Loaded, load
from course_lib.models.presets import known_preset
from course_lib.text import printable

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedTokenizerBase

__all__ = ["Settings", "run"]

WARM_UP, PIECE_SECONDS = 8, 10  # throughput is taken from a piece of about so many seconds, after so many questions
NAMED = 10  # problems that are printed; the record holds them all


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
        self.say(f"  memory: {_memory(loaded) / 2**30:.1f} GiB, {self.record['batch_tokens']:,} tokens in a pass; "
                 f"results go to {self.folder}")
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


def _memory(loaded: Loaded) -> int:
    """Bytes that the model and one forward pass take: of the GPU where it lies there, else of this process."""
    import psutil
    import torch

    on_gpu = loaded.model.device.type == "cuda"
    return torch.cuda.max_memory_allocated() if on_gpu else psutil.Process().memory_info().rss


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
