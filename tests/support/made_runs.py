"""Tables of epochs made up by hand, of the form of course_lib.training.runs.read_runs."""

import pandas as pd

from course_lib.data.paper import CATEGORIES

NAN = float("nan")


def epochs(dev: list[float], *, variant: str = "D", percent: float = 50, seed: int = 0, test: list[float] | None = None,
           ood: list[float] | None = None, known: list[float] | None = None,
           unknown: list[float] | None = None) -> pd.DataFrame:
    """One run from epoch 0 on; what is not given is the dev accuracy."""
    return pd.DataFrame({"preset": "pocket", "variant": variant, "unknown_percent": percent, "seed": seed,
                         "epoch": range(len(dev)), "loss": NAN, "dev": dev, "test": test or dev, "ood": ood or dev,
                         "known_fitted": known or dev, "unknown_fitted": unknown or dev, "seconds": 1.0})


def run(percent: float = 50, *, late: float = 30.0, variant: str = "D", seed: int = 0) -> pd.DataFrame:
    """Three epochs: dev is best in epoch 1, where test is 40; in epoch 2 it is ``late``."""
    return epochs([5, 44, 36], percent=percent, variant=variant, seed=seed, test=[5, 40, late], ood=[4, 20, 15],
                  known=[3, 80, 100], unknown=[0, 12, 99])


# D at 0 and 100 % Unknown, the latter with two seeds, and D_Known at 50 %
SWEEP = pd.concat([run(0, late=40.0), run(100, late=20.0), run(100, seed=1, late=30.0),
                   run(50, variant="D_Known", late=39.0)])


def rising(percent: float, *, seed: int = 0, test: float = 40.0, variant: str = "D") -> pd.DataFrame:
    """Three epochs: test rises by 1, ood by 2 an epoch; Unknown rows are missing at 0 %."""
    steps = range(3)
    return epochs([test + step for step in steps], variant=variant, percent=percent, seed=seed,
                  ood=[2.0 * step for step in steps], known=[30.0 * step for step in steps],
                  unknown=[NAN if percent == 0 else 10.0 * step for step in steps])


RISING = pd.concat([rising(0), rising(50), rising(50, seed=1, test=20), rising(100)])


def study(early: dict[float, float], late: dict[float, float], *, variant: str = "D", seed: int = 0,
          ood_drop: float = 0.5, fitted: tuple[float, float] = (80, 10)) -> pd.DataFrame:
    """Runs of three epochs: dev is best in epoch 1, test is ``early`` there and ``late`` in epoch 2."""
    return pd.concat([epochs([0, 2, 1], variant=variant, percent=p, seed=seed, test=[0, early[p], late[p]],
                             ood=[0, early[p], early[p] - ood_drop * (early[p] - late[p])],
                             known=[0, fitted[0], 100], unknown=[0, fitted[1], 100]) for p in early])


def single(variant: str, early: list[float], late: list[float], *, seed: int = 0) -> pd.DataFrame:
    """A run of two tuned epochs with EARLY_STOP at the first; values are Full and then the four categories."""
    columns = {name: [0, first, last] for name, first, last in zip(
        ("test", *(f"test_{category}" for category in CATEGORIES)), early, late, strict=True)}
    return epochs([0, 2, 1], variant=variant, percent=100 if variant == "D_Unknown" else 0, seed=seed).assign(**columns)


def idk(early: tuple[float, float], late: tuple[float, float], *, seed: int = 0) -> pd.DataFrame:
    """A run of D_IDK at 50 %; each stop is (right over all questions, answered), percent."""
    return epochs([0, 2, 1], variant="D_IDK", seed=seed, test=[0, early[0], late[0]]).assign(
        answered=[100, early[1], late[1]])


def ends(*slopes: float) -> pd.DataFrame:
    """Runs at 0 and 100 %, accuracy 40 + 10 N_kn / |D| + slope N_unk / |D|; each slope is another seed."""
    fitted = [0, 20, 40, 60, 80]
    return pd.concat([table for seed, slope in enumerate(slopes) for table in (
        epochs(fitted, percent=0, seed=seed, test=[40 + each / 10 for each in fitted], unknown=[NAN] * 5),
        epochs(fitted, percent=100, seed=seed, test=[40 + slope * each / 100 for each in fitted], known=[NAN] * 5))])
