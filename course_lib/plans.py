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
and are told together, each with its key.
"""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_lib.files import CourseError, DataError
from course_lib.mixing import SHARED, VARIANTS
from course_lib.records import TuneConfig
from course_lib.slick import CATEGORIES

if TYPE_CHECKING:
    from course_lib.runs import RunSpec
    from course_lib.study import Study

__all__ = ["HOW", "Plan", "Wanted", "Way", "read_plan"]

HOW = ("one-by-one", "processes", "together", "ray")
RULES = ("known", "category")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A training set of the grid. Without ``unknown_percent``, one of :data:`.mixing.SHARED` is at every share."""

    variant: str
    unknown_percent: float | None = None
    shares: tuple[tuple[str, float], ...] = ()

    def at(self, percents: Iterable[float]) -> Iterator[float | None]:
        """The shares of Unknown to draw; D_Known and D_IDK only where they are not empty and not D itself."""
        if self.variant not in SHARED or self.unknown_percent is not None:
            yield self.unknown_percent
            return
        for percent in percents:
            if self.variant == "D" or 0 < percent and (percent < 100 or self.variant == "D_IDK"):
                yield percent


@dataclass(frozen=True, slots=True)
class Way:
    """How the runs of a sweep are carried out, and where finished epochs are copied to.

    ``how``: one of :data:`HOW`, else one process a core for the pocket model on a CPU and one after another
    elsewhere. ``workers``: processes, or the CPUs of a local Ray cluster. ``at_once``: runs in one pass, of "together".
    ``ray``: "local", "auto" or an address; ``cpus`` and ``gpus`` are each run's share there.
    """

    how: str | None = None
    workers: int | None = None
    at_once: int = 8
    ray: str = "local"
    cpus: float = 1
    gpus: float | None = None
    mirror: Path | None = None

    def __post_init__(self) -> None:
        for name, value in (("how", self.how), ("workers", self.workers), ("at_once", self.at_once),
                            ("cpus", self.cpus), ("gpus", self.gpus)):
            if value is not None and (told := _told(CHECKS[name], value)):
                raise CourseError(f"{name}: {told}")


@dataclass(frozen=True, slots=True)
class Plan:
    """A grid of runs. What is None or empty is as in the settings of the study; ``source`` is named in errors."""

    source: str = "plan"
    preset: str | None = None
    variants: tuple[Wanted, ...] = (Wanted("D"), Wanted("D_Known"))
    percents: tuple[float, ...] | None = None
    seeds: tuple[int, ...] | None = None
    rates: tuple[float, ...] | None = None
    size: int | None = None
    rule: str | None = None
    tune: Mapping[str, float] = field(default_factory=dict)
    way: Way = field(default_factory=Way)

    def study(self, study: Study) -> Study:
        """The same study with the settings of this plan.

        Raises:
            CourseError: the plan is for another preset.
        """
        if self.preset not in (None, study.preset, study.name):
            raise CourseError(f"{self.source}: preset {self.preset!r}, but the study is of {study.preset!r}; give "
                              f"open_study({self.preset!r})")
        given = {name: getattr(self, name) for name in ("percents", "seeds", "size", "rule")}
        settings = replace(study.settings, tune=TuneConfig(**asdict(study.settings.tune) | dict(self.tune)),
                           **{name: value for name, value in given.items() if value is not None})
        return replace(study, settings=settings)

    def specs(self, study: Study) -> list[RunSpec]:
        """Every run once: all training sets with the first seed and rate, then with the next."""
        settings = study.settings
        found = [study.spec(percent, variant=wanted.variant, seed=seed, lr=rate, shares=dict(wanted.shares) or None)
                 for rate in self.rates or (None,) for seed in settings.seeds for wanted in self.variants
                 for percent in wanted.at(settings.percents)]
        return list(dict.fromkeys(found))


def read_plan(path: str | Path) -> Plan:
    """Read and check a plan.

    Raises:
        DataError: there is no such file, or it is not TOML (with the line).
        CourseError: keys or values that cannot be, all in one message.
    """
    try:
        given = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: no such plan; check the path") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"{path}: not TOML ({error}); correct that line") from None
    wrong = [said for key, value in given.items() if (said := _mistake(key, value))]
    if wrong:
        raise CourseError(f"{path}: {'; '.join(wrong)}")
    way = {name: given[name] for name in (item.name for item in fields(Way)) if name in given}
    if "mirror" in way:
        way["mirror"] = Path(path).parent / Path(way["mirror"]).expanduser()
    lists = {name: tuple(given[name]) for name in ("percents", "seeds", "rates") if name in given}
    single = {name: given[name] for name in ("preset", "size", "rule") if name in given}
    variants = {"variants": tuple(map(_wanted, given["variants"]))} if "variants" in given else {}
    return Plan(str(path), **single, **lists, **variants, way=Way(**way),
                tune={name: given[name] for name in TUNE if name in given})


def _wanted(entry: str | Mapping[str, Any]) -> Wanted:
    if isinstance(entry, str):
        return Wanted(entry)
    return Wanted(entry["variant"], entry.get("unknown_percent"), tuple(sorted(entry.get("shares", {}).items())))


def _mistake(key: str, value: Any) -> str | None:
    """What is wrong with a key or its value."""
    if key not in CHECKS:
        return _unknown("key", key, CHECKS)
    said = _told(CHECKS[key], value)
    return said and f"key {key!r}: {said}"


def _told(check: Callable[[Any], None], value: Any) -> str | None:
    try:
        check(value)
    except ValueError as error:
        return str(error)
    return None


def _unknown(kind: str, name: Any, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(str(name), list(known), n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"the known ones are {', '.join(known)}"
    return f"{name!r} is no {kind}; {hint}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _whole(lowest: int) -> Callable[[Any], None]:
    def check(value: Any) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or value < lowest:
            raise ValueError(f"{value!r}: give a whole number from {lowest} on")
    return check


def _number(*, above: bool) -> Callable[[Any], None]:
    def check(value: Any) -> None:
        if not _is_number(value) or value < 0 or above and value == 0:
            raise ValueError(f"{value!r}: give a number {'above 0' if above else 'that is 0 or above'}")
    return check


def _percentage(value: Any) -> None:
    if not _is_number(value) or not 0 <= value <= 100:
        raise ValueError(f"{value!r}: give a percentage from 0 to 100")


def _one_of(kind: str, known: Iterable[str]) -> Callable[[Any], None]:
    def check(value: Any) -> None:
        if value not in known:
            raise ValueError(_unknown(kind, value, known))
    return check


def _text(value: Any) -> None:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{value!r}: give a text in quotation marks")


def _list(check: Callable[[Any], None]) -> Callable[[Any], None]:
    def each(values: Any) -> None:
        if not isinstance(values, list) or not values:
            raise ValueError(f"{values!r}: give a list, with at least one entry")
        for value in values:
            check(value)
    return each


def _variant(entry: Any) -> None:
    if isinstance(entry, str):
        entry = {"variant": entry}
    if not isinstance(entry, dict) or "variant" not in entry:
        raise ValueError(f"{entry!r}: give a name, or a table with variant = NAME")
    for key in entry:
        _one_of("key of a variant", ("variant", "unknown_percent", "shares"))(key)
    name, percent = entry["variant"], entry.get("unknown_percent")
    _one_of("variant", VARIANTS)(name)
    if percent is not None:
        _percentage(percent)
        if name not in SHARED:
            raise ValueError(f"{name} has no unknown_percent to choose; leave it out")
        if list(Wanted(name).at([percent])) == []:
            raise ValueError(f"{name} at {percent:g} % Unknown is {'empty' if percent else 'D itself'}; take another "
                             f"share")
    if ("shares" in entry) != (name == "D_Free"):
        raise ValueError(f"{name}: shares = {{HighlyKnown = 60, Unknown = 40}} belong to D_Free, which needs them")
    if "shares" in entry:
        _shares(entry["shares"])


def _shares(shares: Any) -> None:
    if not isinstance(shares, dict):
        raise ValueError(f"shares = {shares!r}: give a table such as {{HighlyKnown = 60, Unknown = 40}}")
    for category, percent in shares.items():
        _one_of("category", CATEGORIES)(category)
        _percentage(percent)
    if not math.isclose(sum(shares.values()), 100, abs_tol=1e-6):
        raise ValueError(f"shares sum to {sum(shares.values()):g}; they must sum to 100")


TUNE: dict[str, Callable[[Any], None]] = {
    "epochs": _whole(1), "warmup": _number(above=False), "rank": _whole(1), "alpha": _whole(1), "batch": _whole(1),
    "clip": _number(above=True)}
CHECKS: dict[str, Callable[[Any], None]] = {
    "preset": _text, "variants": _list(_variant), "percents": _list(_percentage), "seeds": _list(_whole(0)),
    "rates": _list(_number(above=True)), "size": _whole(1), "rule": _one_of("rule", RULES), **TUNE,
    "how": _one_of("way to run", HOW), "workers": _whole(1), "at_once": _whole(1), "ray": _text,
    "cpus": _number(above=False), "gpus": _number(above=False), "mirror": _text}
