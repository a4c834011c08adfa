"""The ``course`` command: a thin layer over the library, one function per command.

A :class:`~course_lib.files.CourseError` becomes one line on stderr and exit code 1, never a traceback: its text already
says what to do. Ctrl-C exits with 130; what was written up to then is whole, so the same command continues from there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from importlib import util
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from course_lib import __version__, limits
from course_lib.data.facts import SPLITS
from course_lib.data.paper import SLICK
from course_lib.experiments.settings import FIRST_LOOK, WHOLE
from course_lib.files import CourseError

if TYPE_CHECKING:
    from course_lib.experiments.study import Study

__all__ = ["app", "main"]

INTERRUPTED = 130  # what a shell reports for a process that Ctrl-C ended


class _Group(TyperGroup):
    """The commands, with our errors and Ctrl-C turned into exit codes, also where a test invokes them."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        for before, word in pairwise(["", *args]):  # a shell's empty variable; a path would read it as this folder
            name, given, value = word.partition("=") if word.startswith("--") else (before, "=", word)
            if given and not value.strip():
                ctx.fail(f"{name if name.startswith('--') else 'a name'} is empty; give a value, or leave it out")
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (CourseError, MemoryError, UnicodeError, OSError, KeyboardInterrupt) as error:
            stopped = isinstance(error, KeyboardInterrupt)
            typer.echo("\n" * stopped + f"course: {_message(error)}", err=True)
            raise typer.Exit(INTERRUPTED if stopped else 1) from None


def _message(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "stopped; run the same command again to continue"
    if isinstance(error, MemoryError):
        return "memory ran out; close other programs, or take a smaller preset, batch or number of prompts"
    if isinstance(error, UnicodeError):
        return f"a name or text that is not whole UTF-8 ({error}); rename or mend it"
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}; make room there, or choose another folder"
    return str(error)


app = typer.Typer(
    cls=_Group, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Known Unknowns: measure what a model knows, teach it what it does not, watch it start to hallucinate.")
pocket_app = typer.Typer(no_args_is_help=True, help="The small model that is shipped with the course.")
app.add_typer(pocket_app, name="pocket")

Build = Annotated[Path | None, typer.Option(help="Where results go; the default is build/.")]
Names = Annotated[list[str] | None, typer.Argument(help="Notebooks, by name or number; all when none is named.")]
Questions = Annotated[str | None, typer.Option(
    help=f"Size: {FIRST_LOOK} to {WHOLE:,} training questions, or first-look, default, all; else COURSE_QUESTIONS.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"known-unknowns {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Options that stand before the command."""
    for name in ("COURSE_DATA", "COURSE_HOME"):
        limits.absolute(os.environ.get(name) or ".", name)


@app.command()
def run(
    names: Names = None,
    preset: Annotated[str | None, typer.Option(help="The model and data to use; the default is pocket.")] = None,
    build: Build = None,
    questions: Questions = None,
    quick: Annotated[bool, typer.Option("--quick", help="A tiny study in build/quick, to try it out.")] = False,
) -> None:
    """Measure, fine-tune, run the notebooks headless, in order, and write one page with all figures."""
    from course_lib.lessons.builder import notebooks
    from course_lib.lessons.builder.course import run_course

    if quick:
        os.environ["COURSE_QUICK"] = "1"
        build = build or notebooks.build_folder() / "quick"
    run_course(names, preset=preset, build_dir=build, questions=questions)


@app.command()
def sweep(
    plan: Annotated[Path | None, typer.Argument(help="A plan in TOML; without one, the runs of the curve.")] = None,
    preset: Annotated[str | None, typer.Option(help="The model and data; else the plan's, else pocket.")] = None,
    build: Build = None,
    questions: Questions = None,
    how: Annotated[str | None, typer.Option(help="one-by-one, processes, together (one pass) or ray.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes, or CPUs of a local Ray cluster.")] = None,
    at_once: Annotated[int | None, typer.Option(help="Runs in one pass, for together; the default is 8.")] = None,
    ray: Annotated[str | None, typer.Option(help="Run over Ray: auto, local or an address.")] = None,
    cpus: Annotated[float | None, typer.Option(help="CPUs of each run on Ray; the default is 1.")] = None,
    gpus: Annotated[float | None, typer.Option(help="GPUs of each run on Ray, also a part of one.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it costs, and stop.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Make one reference run again and compare.")] = False,
) -> None:
    """Fine-tune a whole plan; stop it anywhere, the same command resumes it."""
    from course_lib.experiments.plan import read_plan
    from course_lib.experiments.study import open_study
    from course_lib.experiments.sweep import prepare
    from course_lib.lessons.builder.notebooks import build_folder

    if check:
        _check_reference(open_study(preset or "pocket", folder=build_folder(folder=build)))
        return
    wanted = read_plan(plan) if plan else None
    if wanted and preset:
        wanted = replace(wanted, preset=None)  # what stands on the command line goes before the plan
    name = preset or (wanted and wanted.preset) or os.environ.get("COURSE_PRESET") or "pocket"
    study = open_study(name, folder=build_folder(folder=build), questions=questions)
    ready = prepare(study, wanted, how=how, workers=workers, at_once=at_once, ray=ray, cpus=cpus, gpus=gpus)
    typer.echo(ready.cost())
    if not dry_run:
        ready.run()
        typer.echo(f"{len(ready.specs)} runs are completed in {ready.study.folder / 'runs' / ready.study.name}")


def _check_reference(study: Study) -> None:
    from tqdm import tqdm

    from course_lib.experiments.reference import reproduce

    with tqdm(total=study.settings.tune.epochs + 1, desc="reference run", unit="epoch") as bar:
        found = reproduce(study, on_epoch=lambda _: bar.update())
    typer.echo(found)
    if not found.close:
        raise typer.Exit(1)


@app.command("build")
def build_notebooks(
    names: Names = None,
    check: Annotated[bool, typer.Option("--check", help="Run nothing; fail when a notebook is stale.")] = False,
    instructor: Annotated[bool, typer.Option(
        "--instructor", help="The instructor's edition in build/instructor: solutions filled in, and notes.")] = False,
) -> None:
    """Execute notebooks/src and store notebooks/*.ipynb with their outputs."""
    from course_lib.lessons.builder import notebooks

    built = notebooks.build(names, check=check, instructor=instructor)
    if check:
        typer.echo(f"Notebooks up to date: {len(built)}")


@app.command()
def lab(
    folder: Annotated[Path | None, typer.Argument(help="Another folder of notebooks; else the clone's.")] = None,
    build: Build = None,
    projector: Annotated[bool, typer.Option("--projector", help="Larger text and figures, for the back row.")] = False,
) -> None:
    """Open JupyterLab on the notebooks."""
    from course_lib.lessons.builder import notebooks

    if util.find_spec("jupyterlab") is None:
        raise CourseError("JupyterLab is not installed; run `pip install 'known-unknowns[lab]'`, or `make lab`")
    root = None if folder else notebooks.find_root()
    shown = folder or root / "notebooks"
    if not shown.is_dir():
        raise CourseError(f"{shown}: no such folder; give one that holds notebooks")
    results = notebooks.build_folder(root or shown, build)
    # A kernel that is registered for the user under the same name must not win over this interpreter's.
    env = {**os.environ, "COURSE_BUILD": str(results), "JUPYTER_PREFER_ENV_PATH": "1"}
    if os.environ.get("COURSE_HOME"):
        env["COURSE_HOME"] = str(limits.absolute(os.environ["COURSE_HOME"], "COURSE_HOME"))
    if projector:
        from course_lib.lessons.projector import enlarge_lab

        env |= enlarge_lab(results / "projector")
    process = subprocess.Popen([sys.executable, "-m", "jupyterlab", str(shown)], env=env)
    while process.poll() is None:
        with suppress(KeyboardInterrupt):  # JupyterLab gets the same Ctrl-C, and asks whether it is meant
            process.wait()
    raise typer.Exit(process.returncode)


@app.command("prefetch")
def prefetch_room(
    folder: Annotated[Path, typer.Argument(help="Where everything goes; run it again to resume.")],
    model: Annotated[list[str] | None, typer.Option(help="A preset or Hub id to fetch too; may be repeated.")] = None,
    wheels: Annotated[bool, typer.Option("--wheels", help="Also the packages, for this Python and system.")] = False,
) -> None:
    """Put everything that a room needs into one folder, to teach without a network."""
    from course_lib.lessons.builder.prefetch import prefetch

    folder = limits.folder(folder, "FOLDER", write=True)
    typer.echo(prefetch(folder, models=model or (), wheels=wheels, echo=typer.echo).read_text(encoding="utf-8"))


@app.command()
def facts(
    summary: Annotated[bool, typer.Option("--summary", help="Count per relation, not only per split.")] = False,
    data: Annotated[str | None, typer.Option(help="A folder or .zip; else COURSE_DATA, else it is fetched.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON with all counts.")] = False,
) -> None:
    """Count the facts of EntityQuestions in the paper's split."""
    from course_lib.data import entityquestions

    loaded = entityquestions.load(data)
    table = loaded.summary()
    total = {split: int(table[split].sum()) for split in SPLITS}
    if as_json:
        counts = table.set_index("relation")[list(SPLITS)].to_dict(orient="index")
        typer.echo(json.dumps({"name": loaded.name, "total": total, "relations": counts}, indent=2))
        return
    if summary:
        typer.echo(table.to_string(index=False))
    typer.echo(f"{loaded.name}: " + ", ".join(f"{split} {count:,}" for split, count in total.items()))


@app.command()
def slick(
    out: Annotated[Path, typer.Option(help="Folder to write; a stopped run resumes there.")] = Path("build/slick"),
    preset: Annotated[str, typer.Option(help="A preset, a model folder or a Hub id.")] = "pocket",
    data: Annotated[str | None, typer.Option(
        help="pocket, EntityQuestions as a folder or .zip, or your own .jsonl, .json or .csv file.")] = None,
    split: Annotated[str, typer.Option(help="train, dev, test or ood.")] = "test",
    relations: Annotated[str, typer.Option(help="paper, or all 24 of EntityQuestions.")] = "paper",
    limit: Annotated[int | None, typer.Option(help="At most so many questions of each relation.")] = None,
    prompts: Annotated[int, typer.Option(help="Few-shot prompts for each question.")] = SLICK.n_prompts,
    samples: Annotated[int, typer.Option(help="Samples a prompt that the labels stand for.")] = SLICK.n_samples,
    shots: Annotated[int, typer.Option(help="Solved examples in a prompt.")] = SLICK.shots,
    temperature: Annotated[float, typer.Option(help="Temperature of the samples.")] = SLICK.temperature,
    top_k: Annotated[int, typer.Option(help="Tokens that a sample may take; 0 for all.")] = SLICK.top_k,
    seed: Annotated[int, typer.Option(help="Seed of the prompts, the draws and the limit.")] = 0,
    batch_tokens: Annotated[int | None, typer.Option(help="Tokens in one pass; else from the free memory.")] = None,
    four_bit: Annotated[bool, typer.Option(help="Measure the 4-bit model, or the weights as stored.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON; words go to stderr.")] = False,
) -> None:
    """Label what a model knows of many questions; stop it anywhere, the same command resumes it."""
    from course_lib.data.datasets import load_questions
    from course_lib.knowledge import label_questions
    from course_lib.models.presets import dataset_of, known_preset

    preset = known_preset(preset, "--preset")
    settings = label_questions.Settings(
        prompts=prompts, samples=samples, shots=shots, temperature=temperature, top_k=top_k, seed=seed,
        batch_tokens=batch_tokens, four_bit=four_bit)
    asked = load_questions(data, default=dataset_of(preset).name, split=split, relations=relations)
    summary = label_questions.run(asked.limited(limit, seed=seed), out, preset=preset, settings=settings)
    if as_json:
        typer.echo(json.dumps(summary, indent=2))
        return
    found = ", ".join(f"{name} {share:.1%}" for name, share in summary["shares"].items())
    typer.echo(f"{summary['data']}: {found} of {summary['labelled']:,} questions; rows with problems: "
               f"{len(summary['problems'])}\n{summary['labels']}")


@app.command()
def doctor(
    preset: Annotated[str | None, typer.Option(help="The model and data; else COURSE_PRESET or the default.")] = None,
    questions: Questions = None,
    gpu: Annotated[str | None, typer.Option(help="Forecast for a GPU that is not here, such as T4.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the same findings as JSON.")] = False,
) -> None:
    """Check this machine and its packages, and say what a study will cost; paste the output into a bug report."""
    from course_lib import doctor as reports
    from course_lib.experiments.study import open_study

    study = open_study(preset, questions=questions)
    typer.echo(json.dumps(reports.as_data(study=study, gpu=gpu), indent=2) if as_json
               else reports.report(study=study, gpu=gpu))


@pocket_app.command("build")
def pocket_build(
    seed: Annotated[int, typer.Option(help="Seed of the world and of the training.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("build/pocket"),
) -> None:
    """Make the synthetic world, pre-train the pocket model on it, measure it, and store everything with its record."""
    from course_lib.data.pocket import build
    from course_lib.lessons.builder.course import measure_pocket

    if said := limits.problem(limits.SEED, seed):
        raise CourseError(f"--seed = {said}")
    provenance = build.build(seed=seed, out=limits.folder(out, "--out", write=True), measure=measure_pocket)
    measured = provenance["measured"]
    typer.echo(f"{out}: " + ", ".join(f"{name} {share:.1%}" for name, share in measured["shares"].items())
               + f"; of the facts never read {measured['never_read_unknown']:.1%} are Unknown")
    for name, same in build.matches_shipped(provenance).items():
        typer.echo(f"{name}: {'the same as' if same else 'different from'} the shipped {name}, byte for byte")


@pocket_app.command("verify")
def pocket_verify() -> None:
    """Compare the shipped files of the pocket model with their SHA-256 sums."""
    from course_lib.data.pocket import build

    typer.echo(f"{build.verify()} files are as they were shipped.")


@pocket_app.command("reference")
def pocket_reference(build: Build = None) -> None:
    """Make the reference runs that are shipped: every variant, five seeds; about half an hour on two cores."""
    from course_lib.experiments.reference import make_reference
    from course_lib.experiments.study import open_study
    from course_lib.lessons.builder.notebooks import build_folder

    path = make_reference(open_study("pocket", folder=build_folder(folder=build)))
    typer.echo(f"{path}: {path.stat().st_size:,} bytes")


def main() -> None:
    """Entry point of the ``course`` command; what a terminal cannot show is written as an escape, such as \\xfc."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a stream that stands in for one may be none of io's
            stream.reconfigure(errors="backslashreplace")
    app(prog_name="course")


if __name__ == "__main__":
    main()
