"""``course pocket``: make the pocket world, its model and the reference runs again, and check what is shipped."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from course_lib import limits
from course_lib.data.pocket.world import FOLDER
from course_lib.files import CourseError, DataError

__all__ = ["pocket_app"]

pocket_app = typer.Typer(no_args_is_help=True, help="The small model that is shipped with the course.")


@pocket_app.command("build")
def pocket_build(
    seed: Annotated[int, typer.Option(help="Seed of the world and of the training.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("build/pocket"),
) -> None:
    """Make the synthetic world, pre-train the pocket model on it, measure it, and store everything with its record."""
    from course_lib.data.pocket.build import build, matches_shipped
    from course_lib.lessons.builder.course import measure_pocket

    if said := limits.problem(limits.SEED, seed):
        raise CourseError(f"--seed = {said}")
    built = build(seed=seed, out=limits.folder(out, "--out", write=True), measure=measure_pocket)
    measured = built.provenance["measured"]
    typer.echo(f"{built.folder}: " + ", ".join(f"{name} {share:.1%}" for name, share in measured["shares"].items())
               + f"; of the facts never read {measured['never_read_unknown']:.1%} are Unknown")
    for name, same in matches_shipped(built).items():
        typer.echo(f"{name}: {'the same as' if same else 'different from'} the shipped {name}, byte for byte")


@pocket_app.command("verify")
def pocket_verify() -> None:
    """Compare the shipped files of the pocket model with their SHA-256 sums."""
    count = _verify(FOLDER)
    typer.echo(f"{count} files are as they were shipped.")


@pocket_app.command("reference")
def pocket_reference(
    build: Annotated[Path | None, typer.Option(help="Where the runs go; the default is build/.")] = None,
) -> None:
    """Make the reference runs that are shipped: every variant, five seeds; about half an hour on two cores."""
    from course_lib.experiments.make_reference import make_reference
    from course_lib.experiments.study import open_study
    from course_lib.lessons.builder.notebooks import build_folder

    path = make_reference(open_study("pocket", folder=build_folder(folder=build)))
    typer.echo(f"{path}: {path.stat().st_size:,} bytes")


def _verify(folder: Path) -> int:
    """Check every file that a ``*.sha256`` list in or below ``folder`` names, relative to the list; count them."""
    from course_lib.files import sha256

    listed = [
        (sums.parent / name.lstrip("*"), digest)
        for sums in sorted(folder.rglob("*.sha256"))
        for digest, name in (line.split(maxsplit=1) for line in sums.read_text(encoding="utf-8").splitlines() if line)
    ]
    if not listed:
        raise DataError(f"{folder}: no *.sha256 list; build the model with `course pocket build`")
    for path, digest in listed:
        if not path.is_file():
            raise DataError(f"{path}: missing; install the package again, or run `course pocket build`")
        if sha256(path) != digest:
            raise DataError(f"{path}: not the shipped file (SHA-256 differs); install again, or `course pocket build`")
    return len(listed)
