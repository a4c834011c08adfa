"""What a run leaves on disk: one folder, from which every table, figure and widget is drawn.

    runs/<preset>/D-050-seed0-1a2b3c4d/
        run.json         what was run, with which versions, where, and its status: running, completed, stopped, failed
        epochs.jsonl     one record an epoch, appended and flushed as it is measured
        adapter/         the LoRA weights of the last epoch (PEFT's own format, safetensors)
        adapter_best/    those of the best dev epoch

The folder's name ends in a digest of everything that decides the result, so a changed setting is another run.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_lib.files import DataError, read_json, write_json
from course_lib.finetune import EpochRecord, History, TuneConfig

if TYPE_CHECKING:
    import pandas as pd
    from peft import PeftModel

__all__ = ["RunSpec", "RunWriter", "is_completed", "open_run", "read_history", "read_runs"]


@dataclass(frozen=True, slots=True)
class RunSpec:
    """Everything that decides a run's result.

    ``base`` identifies the base model's weights and ``labels`` the labelling and split that the mix was drawn from;
    both are digests. ``size`` is |D| in rows before D_Known takes rows out.
    """

    preset: str
    variant: str
    unknown_percent: float
    seed: int
    size: int
    tune: TuneConfig
    base: str
    labels: str

    def __post_init__(self) -> None:
        # 25, 25.0 and NumPy's 25 are one run: all must give one name
        percent = float(self.unknown_percent)
        object.__setattr__(self, "unknown_percent", int(percent) if percent.is_integer() else percent)
        for name in ("seed", "size"):
            object.__setattr__(self, name, int(getattr(self, name)))

    @property
    def name(self) -> str:
        """The name of the run's folder."""
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:8]
        return f"{self.variant}-{self.unknown_percent:03g}-seed{self.seed}-{digest}"

    def folder(self, root: str | Path) -> Path:
        """Where the run lies below the root of all runs."""
        return Path(root) / self.preset / self.name


class RunWriter:
    """Writes one run as it goes; made by :func:`open_run`."""

    def __init__(self, spec: RunSpec, root: str | Path) -> None:
        self.spec, self.folder, self.start = spec, spec.folder(root), time.perf_counter()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.best = float("-inf")
        self.status("running")  # first, so that a kill in between leaves no completed run without epochs
        (self.folder / "epochs.jsonl").unlink(missing_ok=True)

    def epoch(self, record: EpochRecord, model: PeftModel) -> None:
        """Keep one record, and the adapter where dev is better than in all epochs before."""
        with open(self.folder / "epochs.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(record)) + "\n")
            file.flush()
            os.fsync(file.fileno())
        if record.epoch and record.dev is not None and record.dev > self.best:
            self.best = record.dev
            model.save_pretrained(self.folder / "adapter_best")

    def finish(self, model: PeftModel) -> None:
        """Keep the adapter of the last epoch and mark the run completed."""
        model.save_pretrained(self.folder / "adapter")
        self.status("completed")

    def status(self, status: str, reason: str = "") -> None:
        """Write ``run.json`` anew with this status."""
        write_json(self.folder / "run.json", {
            "status": status, "reason": reason, **asdict(self.spec),
            "seconds": round(time.perf_counter() - self.start, 1), **_surroundings()})


@contextmanager
def open_run(spec: RunSpec, root: str | Path) -> Iterator[RunWriter]:
    """Open a run for writing; an exception marks it failed, Ctrl-C stopped, and goes on to the caller."""
    writer = RunWriter(spec, root)
    try:
        yield writer
    except KeyboardInterrupt:
        writer.status("stopped")
        raise
    except BaseException as error:
        writer.status("failed", f"{type(error).__name__}: {error}")
        raise


def is_completed(spec: RunSpec, root: str | Path) -> bool:
    """Whether this very run has been finished before."""
    path = spec.folder(root) / "run.json"
    return path.is_file() and read_json(path).get("status") == "completed"


def read_history(folder: str | Path) -> History:
    """The epochs of one run; a last line that a kill has torn is left out.

    Raises:
        DataError: the file is missing, or a line that is not the last is broken.
    """
    path = Path(folder) / "epochs.jsonl"
    if not path.is_file():
        raise DataError(f"{path}: no such file; delete the folder, if there is one, and run again")
    lines, records = path.read_text(encoding="utf-8", errors="replace").splitlines(), []
    for number, line in enumerate(lines, 1):
        try:
            records.append(EpochRecord(**json.loads(line)))
        except (json.JSONDecodeError, TypeError):
            if number < len(lines):
                raise DataError(f"{path} line {number}: not an epoch record; delete the folder and run again") from None
    return History(tuple(records))


def read_runs(root: str | Path, specs: Iterable[RunSpec]) -> pd.DataFrame:
    """All epochs of these completed runs: one row an epoch.

    Columns: preset, variant, unknown_percent, seed, and those of :class:`course_lib.finetune.EpochRecord`.

    Raises:
        DataError: there are no runs, or one is not completed; the message names it.
    """
    import pandas as pd

    specs, frames = list(specs), []
    if not specs:
        raise DataError(f"{root}: no runs were asked for; give at least one, for example study.plan()")
    for spec in specs:
        if not is_completed(spec, root):
            raise DataError(f"{spec.folder(root)}: not completed; run the sweep again, it goes on from there")
        about = {name: getattr(spec, name) for name in ("preset", "variant", "unknown_percent", "seed")}
        history = read_history(spec.folder(root))
        if [record.epoch for record in history.records] != list(range(spec.tune.epochs + 1)):
            raise DataError(f"{spec.folder(root)}: not one record for each of epochs 0 to {spec.tune.epochs}; delete "
                            f"this folder and run the sweep again")
        frames.append(history.to_frame().assign(**about))
    frame = pd.concat(frames, ignore_index=True)
    numbers = ["loss", "dev", "test", "ood", "known_fitted", "unknown_fitted", "seconds"]
    return frame[[*about, "epoch", *numbers]].astype(dict.fromkeys(numbers, float))


def _surroundings() -> dict[str, Any]:
    """Versions, commit, device and peak memory (bytes) of this process."""
    torch = sys.modules.get("torch")
    gpu = torch is not None and torch.cuda.is_available()
    return {"device": torch.cuda.get_device_name() if gpu else platform.processor() or platform.machine(),
            "peak_bytes": torch.cuda.max_memory_allocated() if gpu else _peak_bytes(), "commit": _commit(),
            "versions": {"python": platform.python_version(), **{
                name: importlib.metadata.version(name) for name in ("torch", "transformers", "peft", "bitsandbytes")}}}


def _peak_bytes() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _commit() -> str:
    here = Path(__file__).parents[1]
    if not (here / "pyproject.toml").is_file():  # installed: the repository around it would be somebody else's
        return ""
    try:
        found = subprocess.run(["git", "-C", str(here), "describe", "--always", "--dirty"], capture_output=True,
                               text=True, check=False)
    except OSError:  # git is not installed
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""
