"""How fast exact SliCK labels are beside what people do instead: `python benchmarks/slick.py` measures and says.

Two models, one after the other: a preset of the course, and a Llama with random weights in the shape of
SmolLM2-360M. For each, in one run on the same questions and prompts: ours, the paper's protocol by `generate`, two
ways of sampling from shared caches, and lm-evaluation-harness. Then memory and time as the work grows, and bfloat16
beside float32. Tables and JSON go to `benchmarks/results`, progress to stderr; the last line printed is JSON:

    {"pocket": {"vs_sampling": r, "vs_cached_sampling": r, "vs_lm_eval": r, "label_agreement": a}, ...}

Ratios of seconds; `vs_cached_sampling` is against the faster of the two ways, `label_agreement` is among questions
whose exact label has a probability above 95 %. A rival that is not installed is null.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as a script, only this folder is on the path

from benchmarks import timing
from benchmarks.agreement import Precision, precision
from benchmarks.comparison import Comparison, Plan, compare, exact
from benchmarks.rivals import has_lm_eval
from benchmarks.subjects import Part, Subject, count_of, of_preset, of_shape, shortened, tell, window
from course_lib import doctor
from course_lib.data.facts import FactSet
from course_lib.files import CourseError, write_json, write_text
from course_lib.models.four_bit import merged_for_evaluation
from course_lib.models.loading import load
from course_lib.models.presets import dataset_of

__all__ = ["Growth", "Report", "last_line", "main", "table"]

QUICK, QUICK_QUESTIONS = Plan(rounds=1, seconds=2.0, search=2.0), 24
SHAPE_QUESTIONS = 400  # fewer, where ours would take too long


@dataclass(frozen=True, slots=True)
class Growth:
    """Ours on some of the work: seconds, and the most memory in use while it ran."""

    questions: int
    prompts: int
    seconds: float
    mebibytes: float


@dataclass(frozen=True, slots=True)
class Report:
    """All that was measured on one model, and on what machine."""

    comparison: Comparison
    growth: tuple[Growth, ...]
    precision: Precision | None
    machine: dict[str, Any]


def grow(subject: Subject) -> tuple[Growth, ...]:
    """Ours on a quarter, a half and all of the questions, then on all questions after half of the prompts."""
    count, prompts = count_of(subject.parts), len(subject.parts[0].prompts)
    steps = ((count // 4, prompts), (count // 2, prompts), (count, prompts), (count, prompts // 2))
    return tuple(_growth(subject, *step) for step in steps if all(step))


def _growth(subject: Subject, questions: int, prompts: int) -> Growth:
    parts = [Part(part.facts, part.prompts[:prompts], part.rows) for part in window(subject.parts, questions, 0)]
    device = subject.model.device
    held = timing.peak_memory(device, lambda: timing.timed(device, lambda: exact(subject, parts)))
    return Growth(count_of(parts), prompts, held.value.seconds, held.mebibytes)


def in_bfloat16(subject: Subject, preset: str, questions: int) -> Precision:
    """The stored weights of a preset, not quantised, in float32 and in bfloat16."""
    import torch

    model = load(preset, four_bit=False).model.float()
    some = dataclasses.replace(shortened(subject, questions), model=model)
    full = exact(some, some.parts)
    model.to(torch.bfloat16)
    return precision("bfloat16", full, exact(some, some.parts))


def machine() -> dict[str, Any]:
    """Date, hardware, threads and versions."""
    import torch

    found = doctor.inspect()
    versions = {name: found.versions.get(name) for name in ("known-unknowns", "transformers", "bitsandbytes")}
    versions |= {"torch": torch.__version__, "lm_eval": metadata.version("lm_eval") if has_lm_eval() else None}
    return {"date": datetime.date.today().isoformat(), "device": "cuda" if found.gpu else "cpu", "cpu": found.cpu,
            "gpu": found.gpu, "threads": torch.get_num_threads(), "python": found.python, "os": found.os,
            "versions": versions}


def table(report: Report) -> str:
    """The report in Markdown."""
    comparison, on = report.comparison, report.machine
    lines = [f"# SliCK labels: exact scoring beside its rivals, {comparison.subject}", "",
             f"{comparison.about[0].upper()}{comparison.about[1:]}. {comparison.questions} questions, "
             f"{comparison.prompts} prompts each; rivals write at most {comparison.max_tokens} tokens an answer.",
             f"{on['date']}, {on['gpu'] or on['cpu']}, {on['threads']} CPU threads, "
             + ", ".join(f"{name} {version}" for name, version in on["versions"].items() if version) + ".", "",
             "| method | questions timed | batch | s a question | spread | ratio | positions a question | padding "
             "| output rows | beside ours |", "|---|--:|--:|--:|--:|--:|--:|--:|--:|---|"]
    lines += [f"| {row.title} | {row.questions} | {row.batch or 'own'} | {row.seconds:.4g} | {row.spread:.0%} "
              f"| {row.ratio:.1f} | {row.positions:.0f} | {row.filler:.1%} | {row.output_rows:.0f} | {row.remark} |"
              for row in comparison.rows]
    lines += ["", f"Labels of the paper's protocol beside ours: {comparison.labels}."]
    lines += ["", "Ours as the work grows:", "", "| questions | prompts | seconds | peak memory, MiB |",
              "|--:|--:|--:|--:|"]
    lines += [f"| {at.questions} | {at.prompts} | {at.seconds:.3g} | {at.mebibytes:.0f} |" for at in report.growth]
    lines += ["", f"Rounding: {report.precision}."] if report.precision else []
    return "\n".join(lines) + "\n"


def last_line(reports: Sequence[Report]) -> str:
    """The ratios and the agreement of each model, as one line of JSON."""
    return json.dumps({report.comparison.subject: {
        name: None if value is None else round(value, 4) for name, value in _summary(report.comparison).items()}
        for report in reports})


def _summary(found: Comparison) -> dict[str, float | None]:
    """A rival in two layouts counts with the faster one."""
    cached = found.ratio("cached_sampling", "tree_sampling")
    return {"vs_sampling": found.ratio("sampling"), "vs_cached_sampling": cached,
            "vs_lm_eval": found.ratio("lm_eval"), "label_agreement": found.labels.on_sure}


def measure(subject: Subject, plan: Plan, *, preset: str | None = None) -> Report:
    """Everything on one model. ``preset`` names the one whose bfloat16 is measured too."""
    with merged_for_evaluation(subject.model):
        if preset is None:
            subject = shortened(subject, _affordable(subject, plan.seconds))
        comparison = compare(subject, plan)
        tell(f"{subject.name}: memory and time as the work grows")
        growth = grow(subject)
    reduced = in_bfloat16(subject, preset, 200) if preset else None
    return Report(comparison, growth, reduced, machine())


def _affordable(subject: Subject, seconds: float) -> int:
    """How many questions ours scores in about so many seconds, from two small runs; of a few, all."""
    if count_of(subject.parts) <= QUICK_QUESTIONS:
        return count_of(subject.parts)

    def run(questions: int) -> float:
        parts = window(subject.parts, questions, 0)
        return timing.timed(subject.model.device, lambda: exact(subject, parts)).seconds

    run(8)  # warms up
    few, twice = run(8), run(16)
    each = max((twice - few) / 8, twice / 64)
    return min(count_of(subject.parts), max(4, int((seconds - few) / each)))


def store(report: Report, folder: Path, *, quick: bool = False) -> None:
    """Write JSON and Markdown, named by model, device and date; a quick run never replaces a real one."""
    name = f"slick-{report.comparison.subject}-{report.machine['device']}-{report.machine['date']}" + "-quick" * quick
    write_json(folder / f"{name}.json", dataclasses.asdict(report))
    path = write_text(folder / f"{name}.md", table(report))
    tell(f"written: {path} and .json")


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--preset", default="pocket", help="a preset of the course, a folder, a Hub id, or none")
    parser.add_argument("--shape", default="smollm2-360m", help="shape of the model with random weights, or none")
    parser.add_argument("--data", type=Path, help="folder or .zip of EntityQuestions, for presets other than pocket")
    parser.add_argument("--questions", type=int, help="questions for ours; else all of a preset, 400 of a shape")
    parser.add_argument("--seconds", type=float, default=60.0, help="about so long a round for each rival")
    parser.add_argument("--rounds", type=int, default=2, help="rounds; ours runs before and after each rival")
    parser.add_argument("--quick", action="store_true", help="tiny counts: about a minute, figures mean nothing")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder of the tables")
    return parser.parse_args(given)


def facts_of(preset: str, data: Path | None) -> FactSet:
    """The facts that belong to a preset; EntityQuestions is downloaded where no folder is given."""
    dataset = dataset_of(preset)
    return dataset.load() if dataset.shipped else dataset.load(data)


def main(given: Sequence[str] | None = None) -> None:
    """Measure, print the tables, store them, and end with the line of JSON."""
    asked = arguments(given)
    plan, questions = (QUICK, QUICK_QUESTIONS) if asked.quick else (
        Plan(rounds=asked.rounds, seconds=asked.seconds, search=asked.seconds * 2 / 3), asked.questions)
    reports = []

    def keep(report: Report) -> None:  # at once: the next model may take long
        reports.append(report)
        print(table(report), flush=True)
        store(report, asked.out, quick=asked.quick)

    if asked.preset != "none":
        subject = of_preset(asked.preset, facts_of(asked.preset, asked.data), questions=questions)
        keep(measure(subject, plan, preset=asked.preset))
    if asked.shape != "none":
        small = {"questions": 4, "prompts": 1} if asked.quick else {"questions": questions or SHAPE_QUESTIONS}
        keep(measure(of_shape(asked.shape, **small), plan))
    print(last_line(reports))


if __name__ == "__main__":
    try:
        main()
    except CourseError as error:
        sys.exit(f"slick: {error}")
