"""What a sweep is to run: a grid of training sets, seeds and learning rates, from a file such as

    preset = "pocket"
    variants = ["D", "D_Known", "D_HighlyKnown",
                {variant = "D_IDK", unknown_percent = 50},
                {variant = "D_Free", shares = {HighlyKnown = 60, Unknown = 40}}]
    percents = [0, 25, 50, 75, 100]     # of Unknown, for the variants that have a share and name none
    seeds = [0, 1, 2]
    rates = [7e-4, 2e-4]                # learning rates
    epochs = 12                         # or any other setting of a run: warmup, rank, alpha, batch, clip
    how = "together"                    # or one-by-one, processes, ray

Every key may be left out: the study's own settings hold then. All mistakes of a file are found before anything runs,
and are reported together, each with its key. The ranges are those of :data:`.records.TUNE`, :data:`.settings.RANGES`
and :data:`EXECUTION`; a plan has at most :data:`MOST_RUNS` runs.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_lib.data.paper import CATEGORIES
from course_lib.data.protocol import D_FREE, D_KNOWN, VARIANTS, D
from course_lib.experiments.settings import RANGES
from course_lib.files import CourseError, DataError, read_bytes
from course_lib.limits import Check, each, number, one_of, problem, refuse, unknown, whole
from course_lib.models.hardware import usable_cores
from course_lib.models.presets import known_preset
from course_lib.text import short
from course_lib.training.records import TUNE, TuneConfig

if TYPE_CHECKING:
    from course_lib.experiments.study import Study
    from course_lib.training.runs.folder import RunSpec

__all__ = ["EXECUTION", "HOW", "MOST_RUNS", "Execution", "Plan", "TrainingSet", "read_plan"]

HOW = ("one-by-one", "processes", "together", "ray")
MOST_RUNS = 5000
PER_CORE = 4  # processes; more only wait for each other
LARGEST = 2**16  # bytes of a plan
SET = ("epochs", "warmup", "rank", "alpha", "batch", "clip")  # the settings of a run that are no grid
ADDRESS = re.compile(r"local|auto|(ray://)?([\w.-]+|\[[0-9a-fA-F:.]+\]):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """A training set of the grid. Without ``unknown_percent``, one that has a share is at every share of the plan."""

    variant: str
    unknown_percent: float | None = None
    shares: tuple[tuple[str, float], ...] = ()

    def at(self, percents: Iterable[float]) -> Iterator[float | None]:
        """The shares of Unknown to draw; D_Known and D_IDK only where they are not empty and not D itself."""
        kind = VARIANTS[self.variant]
        if not kind.at_share or self.unknown_percent is not None:
            yield self.unknown_percent
            return
        for percent in percents:
            if kind == D or kind.differs_from_d(percent):
                yield percent


@dataclass(frozen=True, slots=True)
class Execution:
    """The options of executing the runs of a sweep.

    ``how``: one of :data:`HOW`, else one process a core for the pocket model on a CPU and one after another
    elsewhere. ``workers``: processes, or the CPUs of a local Ray cluster. ``at_once``: runs that "together" trains
    jointly. ``ray``: "local", "auto" or an address; ``cpus`` and ``gpus`` are each run's share there. Ranges:
    :data:`EXECUTION`.

    Raises:
        CourseError: a value out of its range; each is named.
    """

    how: str | None = None
    workers: int | None = None
    at_once: int = 8
    ray: str = "local"
    cpus: float = 1
    gpus: float | None = None

    def __post_init__(self) -> None:
        refuse(self, EXECUTION)


@dataclass(frozen=True, slots=True)
class Plan:
    """A grid of runs. What is None or empty is as in the settings of the study; ``source`` is named in errors."""

    source: str = "plan"
    preset: str | None = None
    variants: tuple[TrainingSet, ...] = (TrainingSet(D.name), TrainingSet(D_KNOWN.name))
    percents: tuple[float, ...] | None = None
    seeds: tuple[int, ...] | None = None
    rates: tuple[float, ...] | None = None
    size: int | None = None
    rule: str | None = None
    tune: Mapping[str, float] = field(default_factory=dict)
    execution: Execution = field(default_factory=Execution)

    def study(self, study: Study) -> Study:
        """The same study with the settings of this plan.

        Raises:
            CourseError: the plan is for another preset, a setting is out of its range, or there are too many runs.
        """
        if self.preset not in (None, study.preset, study.name):
            raise CourseError(f"{self.source}: preset {self.preset!r}, but the study is of {study.preset!r}; give "
                              f"open_study({self.preset!r})")
        given = {name: getattr(self, name) for name in ("percents", "seeds", "size", "rule")}
        try:
            settings = replace(study.settings, tune=TuneConfig(**asdict(study.settings.tune) | dict(self.tune)),
                               **{name: value for name, value in given.items() if value is not None})
        except CourseError as error:
            raise CourseError(f"{self.source}: {error}") from None
        sets = sum(len(list(one.at(settings.percents))) for one in self.variants)
        runs = sets * len(settings.seeds) * len(self.rates or (None,))
        if not 0 < runs <= MOST_RUNS:
            raise CourseError(f"{self.source}: {runs:,} runs ({sets:,} training sets, {len(settings.seeds):,} seeds, "
                              f"{len(self.rates or (None,)):,} rates); change variants, percents, seeds or rates to "
                              f"make 1 to {MOST_RUNS:,}")
        return replace(study, settings=settings)

    def specs(self, study: Study) -> list[RunSpec]:
        """List every run once: all training sets with the first seed and learning rate, then with the next."""
        settings = study.settings
        found = [study.spec(percent, variant=one.variant, seed=seed, lr=rate, shares=dict(one.shares) or None)
                 for rate in self.rates or (None,) for seed in settings.seeds for one in self.variants
                 for percent in one.at(settings.percents)]
        return list(dict.fromkeys(found))


def read_plan(path: str | Path) -> Plan:
    """Read and check a plan.

    Raises:
        DataError: the file cannot be read, or it is not TOML (with the line).
        CourseError: keys or values that cannot be, all in one message.
    """
    given = _toml(path)
    wrong = [said for key, value in given.items() if (said := _mistake(key, value))]
    if wrong:
        raise CourseError(f"{path}: {'; '.join(wrong)}")
    execution = {item.name: given[item.name] for item in fields(Execution) if item.name in given}
    lists = {name: tuple(given[name]) for name in ("percents", "seeds", "rates") if name in given}
    single = {name: given[name] for name in ("preset", "size", "rule") if name in given}
    variants = {"variants": tuple(map(_training_set, given["variants"]))} if "variants" in given else {}
    return Plan(str(path), **single, **lists, **variants, execution=Execution(**execution),
                tune={name: given[name] for name in SET if name in given})


def _toml(path: str | Path) -> dict[str, Any]:
    data = read_bytes(path, most=LARGEST)
    try:
        return tomllib.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from None
    except RecursionError:
        raise DataError(f"{path}: lists or tables nested too deep to read; a plan needs three levels") from None
    except ValueError as error:  # a number of thousands of digits is none of tomllib's own errors
        raise DataError(f"{path}: not TOML ({error}); correct that line") from None


def _training_set(entry: str | Mapping[str, Any]) -> TrainingSet:
    if isinstance(entry, str):
        return TrainingSet(entry)
    return TrainingSet(entry["variant"], entry.get("unknown_percent"), tuple(sorted(entry.get("shares", {}).items())))


def _mistake(key: str, value: Any) -> str | None:
    """The mistake in a key or its value, in words; None where there is none."""
    if key not in CHECKS:
        return unknown("key", key, CHECKS)
    said = problem(CHECKS[key], value)
    return said and f"key {key!r}: {said}"


def _workers(value: Any) -> None:
    cores = usable_cores()
    whole(1, PER_CORE * cores, why=f"{PER_CORE} for each of {cores} cores here")(value)


def _gpus(value: Any) -> None:
    number(0, 1024)(value)
    if value > 1 and value != int(value):
        raise ValueError(f"{short(value)}: it must be a part of one GPU, or a whole number, which is all that Ray has")


def _address(value: Any) -> None:
    found = ADDRESS.fullmatch(value) if isinstance(value, str) else None
    if not found or found["port"] and not 0 < int(found["port"]) < 2**16:
        raise ValueError(f"{short(value)}: it must be local, auto or the address of a cluster, such as "
                         f"ray://head.example.org:10001")


def _variant(entry: Any) -> None:
    if isinstance(entry, str):
        entry = {"variant": entry}
    if not isinstance(entry, dict) or "variant" not in entry:
        raise ValueError(f"{short(entry)}: give a name, or a table with variant = NAME")
    for key in entry:
        one_of("key of a variant", ("variant", "unknown_percent", "shares"))(key)
    name, percent = entry["variant"], entry.get("unknown_percent")
    one_of("variant", VARIANTS)(name)
    if percent is not None:
        number(0, 100)(percent)
        if not VARIANTS[name].at_share:
            raise ValueError(f"{name} has no unknown_percent to choose; leave it out")
        if list(TrainingSet(name).at([percent])) == []:
            raise ValueError(f"{name} at {percent:g} % Unknown is {'empty' if percent else 'D itself'}; take another "
                             f"share")
    if ("shares" in entry) != (name == D_FREE.name):
        raise ValueError(f"{name}: shares = {{HighlyKnown = 60, Unknown = 40}} belong to D_Free, which needs them")
    if "shares" in entry:
        _shares(entry["shares"])


def _shares(shares: Any) -> None:
    if not isinstance(shares, dict):
        raise ValueError(f"shares = {short(shares)}: give a table such as {{HighlyKnown = 60, Unknown = 40}}")
    for category, percent in shares.items():
        one_of("category", CATEGORIES)(category)
        number(0, 100)(percent)
    if not math.isclose(sum(shares.values()), 100, abs_tol=1e-6):
        raise ValueError(f"shares sum to {sum(shares.values()):g}; they must sum to 100")


EXECUTION: dict[str, Check] = {
    "how": one_of("way to run", HOW), "workers": _workers, "at_once": whole(1, 256), "ray": _address,
    "cpus": number(0.001, 1024), "gpus": _gpus}
CHECKS: dict[str, Check] = {
    "preset": known_preset, "variants": each(_variant, same=_training_set), "percents": RANGES["percents"],
    "seeds": RANGES["seeds"], "rates": each(TUNE["lr"]), "size": RANGES["size"], "rule": RANGES["rule"],
    **{name: TUNE[name] for name in SET}, **EXECUTION}
