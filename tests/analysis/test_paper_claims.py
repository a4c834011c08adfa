"""The claims of the paper and the summary of a build, on tables small enough to work out by hand."""

from __future__ import annotations

import json
import re

import pandas as pd
import pytest

from course_lib.analysis.paper_claims import Claim, claims, claims_table, main_rate, summary
from course_lib.data import paper
from course_lib.files import CourseError
from tests.support.made_runs import NAN, epochs, idk, single, study

EARLY = {0: 44.0, 50: 43.0, 100: 40.0}
LATE = {0: 43.5, 50: 39.0, 100: 26.0}  # losses 0.5, 4 and 14
LIKE_THE_PAPER = pd.concat([study(EARLY, LATE), study({50: 43.5}, {50: 43.0}, variant="D_Known")])


def verdicts(table: pd.DataFrame) -> dict[str, bool]:
    """First words of a claim -> whether it holds."""
    return {" ".join(claim.claim.split()[:3]): claim.holds for claim in claims(table)}


def test_all_claims_hold_on_a_table_that_is_like_the_paper() -> None:
    found = claims(LIKE_THE_PAPER)
    assert len(found) == 9 and all(claim.holds for claim in found)


def seeds(table: pd.DataFrame, *, spread: float = 0.0) -> pd.DataFrame:
    """The same runs with three seeds; seed s is ``spread`` * (s - 1) off in test."""
    return pd.concat([table.assign(seed=seed, test=table["test"] + spread * (seed - 1) * (table["epoch"] == 2))
                      for seed in range(3)])


def test_claims_hold_with_seeds_that_agree_and_weakly_with_one_or_with_noise() -> None:
    several, noisy = claims(seeds(LIKE_THE_PAPER)), claims(seeds(LIKE_THE_PAPER, spread=3.0))
    assert {claim.verdict for claim in several} == {"holds"}
    assert {claim.verdict for claim in claims(LIKE_THE_PAPER)} == {"holds weakly"}
    assert noisy[0].verdict == "holds weakly"  # 4 points lost, 3 more or less
    assert noisy[1].verdict == "holds"  # but all shares move together: seeds are paired


def test_one_level_step_of_the_curve_within_noise_is_weak() -> None:
    table = pd.concat([study(EARLY | {75: 42.0}, LATE | {50: 30.0, 75: 30.5 + jump}, seed=seed)
                       for seed, jump in enumerate((-1.0, 1.0, 0.0))])
    assert claims(table)[1].verdict == "holds weakly"


def test_measured_says_the_numbers_of_the_table() -> None:
    rise, falls, mild, gap, harm, fitted, ood, *_ = (claim.measured for claim in claims(LIKE_THE_PAPER))
    assert re.search(r"EARLY_STOP 80 %.* 10 %.* 43\.0;.* CONVERGENCE 100 .*100 %,.* 39\.0$", rise)
    assert falls == "43.5 > 39.0 > 26.0 at 0, 50, 100 %"
    assert mild == "44.0 at 0 %, 40.0 at 100 %"
    assert re.search(r"^0\.5, 4\.0, 14\.0 .* 0, 50, 100 %$", gap)
    assert re.search(r"^D_Known .* 50 %: EARLY_STOP \+0\.5; CONVERGENCE \+4\.0$", harm)
    assert re.search(r"^Known 80 %, Unknown 10 % .*50 %$", fitted)
    assert re.search(r"100 % .*14\.0 .*35.?%.* 7\.0 .*18.?%", ood)


@pytest.mark.parametrize("claim, table", [
    ("50 % Unknown:", study(EARLY, LATE, fitted=(59, 10))),
    ("50 % Unknown:", study(EARLY, LATE, fitted=(80, 26))),
    ("50 % Unknown:", study(EARLY, LATE | {50: 43.0})),
    ("At CONVERGENCE accuracy", study(EARLY, LATE | {50: 43.5})),
    ("At EARLY_STOP accuracy", study(EARLY | {100: 32.9}, LATE)),
    ("The loss from", study(EARLY, LATE | {100: 36.5})),
    ("The loss from", study(EARLY, LATE | {0: 39.2, 50: 38})),
    ("Without its Unknown", pd.concat([study(EARLY, LATE), study({50: 43.5}, {50: 39.4}, variant="D_Known")])),
    ("At EARLY_STOP most", study(EARLY, LATE, fitted=(49, 10))),
    ("At EARLY_STOP most", study(EARLY, LATE, fitted=(80, 26))),
    ("Out of distribution", study(EARLY, LATE, ood_drop=1.0)),
    ("Out of distribution", study(EARLY, LATE, ood_drop=0.0)),
], ids=["little of Known", "much of Unknown", "no fall", "a level step", "early falls", "gap shrinks", "gap at 0 %",
        "no gap to D_Known", "few fitted early", "Unknown fitted early", "ood falls as much", "ood does not fall"])
def test_a_claim_fails_on_a_table_made_against_it(claim: str, table: pd.DataFrame) -> None:
    assert verdicts(table)[claim] is False


def test_claims_are_about_means_over_seeds() -> None:
    other = study({p: value + 2 for p, value in EARLY.items()}, {p: value + 2 for p, value in LATE.items()}, seed=1)
    measured = claims(pd.concat([LIKE_THE_PAPER, other]))[1].measured
    assert measured == "44.5 > 40.0 > 27.0 at 0, 50, 100 %"


def test_a_single_mix_says_nothing_about_slopes() -> None:
    assert list(verdicts(study({50: 43.0}, {50: 39.0}))) == [
        "50 % Unknown:", "At EARLY_STOP most", "Out of distribution"]


def test_runs_of_d_known_at_other_percentages_are_no_obstacle() -> None:
    table = pd.concat([study(EARLY, LATE), study({25: 44.0}, {25: 43.9}, variant="D_Known")])
    assert verdicts(table)["At CONVERGENCE accuracy"] is True


def test_a_model_that_never_answers_right_gets_a_verdict_without_a_division_by_zero() -> None:
    nothing = dict.fromkeys(EARLY, 0.0)
    assert not any(verdicts(study(nothing, nothing))[name] for name in ("At CONVERGENCE accuracy",
                                                                        "Out of distribution"))


def test_no_run_of_d_is_refused() -> None:
    with pytest.raises(CourseError, match=r"\bD\b"):
        claims(epochs([0, 1], variant="D_Known"))


def test_the_summary_has_both_stops_of_every_run() -> None:
    table = epochs([0, 30, 50, 40.12345], seed=3, unknown=[NAN] * 4)
    run, = summary(table, {"Unknown": 0.3}, 0.9, preset="pocket")["runs"]
    assert run["early_stop"] == {"epoch": 2, "dev": 50, "test": 50, "ood": 50, "known_fitted": 50,
                                 "unknown_fitted": None}
    assert run["convergence"] | {"unknown_fitted": 0} == dict.fromkeys(
        ("dev", "test", "ood", "known_fitted"), 40.123) | {"epoch": 3, "unknown_fitted": 0}
    assert (run["variant"], run["unknown_percent"], run["seed"]) == ("D", 50, 3)


def test_the_summary_is_strict_json() -> None:
    table = pd.concat([study(EARLY, LATE), epochs([0, 1], percent=0, seed=9, unknown=[NAN] * 2, ood=[NAN] * 2)])
    text = json.dumps(summary(table, {"Unknown": 0.3}, None, preset="pocket"), allow_nan=False)
    assert json.loads(text)["never_read_unknown"] is None


def test_the_summary_carries_the_claims_with_their_verdicts() -> None:
    found = summary(LIKE_THE_PAPER, {}, None, preset="pocket")
    assert list(found) == ["preset", "shares", "never_read_unknown", "curve", "runs", "claims"]
    assert set(found["claims"][0]) == {"claim", "published", "measured", "verdict", "holds"}


# ---------------------------------------------------------------- Table 1 and Fig. 6


def test_the_signs_of_the_linear_model_are_claims_in_and_out_of_distribution() -> None:
    for found in claims(seeds(LIKE_THE_PAPER))[-2:]:
        assert (found.verdict, found.claim.split(",")[0]) == ("holds", "Fitted Known rows add to accuracy")
    assert re.search(r"Known \+7\.3, Unknown -8\.3", claims(LIKE_THE_PAPER)[-2].published)


def test_harm_of_unknown_rows_within_noise_is_weak() -> None:
    # at 0 % each point of Known fitted is worth 0.1; at 100 % a fitted Unknown row costs much, little or nothing
    fitted = [0, 20, 40, 60, 80]
    table = pd.concat([pd.concat([
        epochs(fitted, percent=0, seed=seed, test=[40 + each / 10 for each in fitted], unknown=[NAN] * 5),
        epochs(fitted, percent=100, seed=seed, test=[40 - cost * each / 100 for each in fitted], known=[NAN] * 5)])
        for seed, cost in enumerate((20, 4, 0))])
    assert claims(table)[-2].verdict == "holds weakly"


def test_unknown_rows_that_help_go_against_the_linear_model() -> None:
    rising = study(EARLY, {0: 44.0, 50: 46.0, 100: 48.0})
    assert claims(rising)[-2].verdict == "does not"


def test_another_learning_rate_is_a_claim_of_its_own() -> None:
    fast = study(EARLY, {0: 43.0, 50: 33.0, 100: 20.0})
    table = pd.concat([LIKE_THE_PAPER.assign(lr=1e-3), fast.assign(lr=2e-3)])
    found = [claim for claim in claims(table) if "another learning rate" in claim.claim]
    assert [claim.verdict for claim in found] == ["holds weakly"] and re.search(r"0\.002 .*0\.001", found[0].claim)
    assert re.search(r"43\.0, 33\.0, 20\.0,.* 1\.0, 10\.0, 20\.0 .*0, 50, 100 %", found[0].measured)


def test_the_other_claims_are_about_the_rate_with_the_most_runs() -> None:
    table = pd.concat([LIKE_THE_PAPER.assign(lr=1e-3), study({0: 9.0}, {0: 8.0}).assign(lr=2e-3)])
    assert set(main_rate(table)["lr"]) == {1e-3}
    assert claims(table)[:9] == claims(LIKE_THE_PAPER)


def test_the_summary_takes_its_curve_from_the_rate_with_the_most_runs() -> None:
    table = pd.concat([LIKE_THE_PAPER.assign(lr=1e-3), study({0: 9.0}, {0: 8.0}).assign(lr=2e-3)])
    assert len(summary(table, {}, None, preset="pocket")["runs"]) == 4


def test_the_claims_make_a_table_with_their_verdicts() -> None:
    table = claims_table(claims(LIKE_THE_PAPER))
    assert list(table) == ["claim", "published", "measured", "verdict"] and len(table) == 9


# ---------------------------------------------------------------- Tables 2 and 3

# Full, HighlyKnown, MaybeKnown, WeaklyKnown, Unknown at EARLY_STOP and CONVERGENCE: the paper's own Table 2
TABLE_2 = {f"D_{name}": [[cell.percent for cell in row.values()] for row in stops.values()]
           for name, stops in paper.SINGLE_CATEGORY.items()}


def singles(**changed: list[list[float]]) -> pd.DataFrame:
    return pd.concat([LIKE_THE_PAPER, *(single(name, *cells) for name, cells in (TABLE_2 | changed).items())])


def about(found: list[Claim], words: str) -> Claim:
    claim, = (claim for claim in found if words in claim.claim)
    return claim


TABLE_2_CLAIMS = ("MaybeKnown rows make the best", "HighlyKnown rows alone are not", "needs MaybeKnown rows",
                  "Unknown rows make the worst", "Long training loses most", "Little known rows cost",
                  "No training set teaches")


def test_all_claims_about_table_2_hold_on_the_papers_own_table() -> None:
    one, three = claims(singles()), claims(seeds(singles()))
    assert [about(one, words).verdict for words in TABLE_2_CLAIMS] == ["holds weakly"] * 7
    assert [about(three, words).verdict for words in TABLE_2_CLAIMS] == ["holds"] * 7


def test_a_claim_about_table_2_says_its_numbers_as_the_paper_prints_them() -> None:
    everything = claims(singles())
    found = about(everything, "HighlyKnown rows alone")
    assert found.published == "HighlyKnown 40.5 / 40.0, MaybeKnown 43.6 / 43.2 (EARLY_STOP / CONVERGENCE)"
    assert found.measured == found.published
    assert about(everything, "Long training").measured.startswith(
        "HighlyKnown 0.5, MaybeKnown 0.4, WeaklyKnown 3.8, Unknown 11.7")
    assert re.search(r"3\.2 %.* D_Unknown .*CONVERGENCE", about(everything, "No training set").measured)


@pytest.mark.parametrize("words, changed", [
    ("MaybeKnown rows make the best", {"D_WeaklyKnown": [[44, 95, 59, 9, 0], [35, 73, 56, 17, 2]]}),
    ("HighlyKnown rows alone", {"D_HighlyKnown": [[44, 99, 60, 9, 0], [40, 98, 59, 8, 1]]}),
    ("needs MaybeKnown rows", {"D_HighlyKnown": [[40, 99, 70, 9, 0], [40, 98, 59, 8, 1]]}),
    ("Unknown rows make the worst", {"D_Unknown": [[39.5, 96, 53, 6, 1], [26, 56, 37, 12, 3]]}),
    ("Long training loses most", {"D_Unknown": [[37.5, 96, 53, 6, 1], [35, 56, 37, 12, 3]]}),
    ("Little known rows cost", {"D_WeaklyKnown": [[39, 95, 59, 9, 0], [35, 98, 56, 17, 2]]}),
    ("No training set teaches", {"D_Natural": [[43, 98, 68, 14, 2], [42, 95, 62, 15, 6]]}),
])
def test_a_claim_about_table_2_fails_on_a_table_made_against_it(words: str, changed: dict) -> None:
    assert about(claims(singles(**changed)), words).verdict == "does not"


def test_highly_known_questions_are_compared_at_convergence_alone() -> None:
    table = singles(D_WeaklyKnown=[[39.2, 99, 59.2, 8.6, 0.4], [35.4, 73.5, 55.8, 17.2, 2.2]])
    assert about(claims(table), "Little known rows cost").holds


def test_claims_about_absent_variants_are_left_out() -> None:
    two = claims(pd.concat([LIKE_THE_PAPER, *(single(name, *TABLE_2[name])
                                              for name in ("D_HighlyKnown", "D_MaybeKnown"))]))
    found = [words for words in TABLE_2_CLAIMS if any(words in claim.claim for claim in two)]
    assert found == ["HighlyKnown rows alone are not", "needs MaybeKnown rows"]


# the paper's Table 3: right over all questions and answered
IDK = [(row.correct, row.answered) for row in paper.IDK["D_IDK"].values()]
D_50 = study({50: 43.0}, {50: 38.8})
IDK_CLAIMS = ("Taught to say", "Long training costs D_IDK less", "D_IDK goes on answering", "Counted over all")


def test_all_claims_about_idk_hold_on_the_papers_own_table() -> None:
    table = pd.concat([D_50, idk(*IDK)])
    one, three = claims(table), claims(seeds(table))
    assert [about(one, words).verdict for words in IDK_CLAIMS] == ["holds weakly"] * 4
    assert [about(three, words).verdict for words in IDK_CLAIMS] == ["holds"] * 4
    assert about(one, "Taught to say").measured == "D 43.0 / 38.8, D_IDK 61.8 / 61.8 (EARLY_STOP / CONVERGENCE)"


@pytest.mark.parametrize("words, early, late", [
    ("Taught to say", (20, 50), (30, 50)), ("Long training costs D_IDK less", (36, 50), (30, 50)),
    ("D_IDK goes on answering", (36, 60), (30, 49)), ("Counted over all", (36, 60), (39, 60))])
def test_a_claim_about_idk_fails_on_runs_made_against_it(words: str, early: tuple, late: tuple) -> None:
    assert about(claims(pd.concat([D_50, idk(early, late)])), words).verdict == "does not"


def test_without_d_idk_nothing_is_said_about_it() -> None:
    assert not any("D_IDK" in claim.claim for claim in claims(LIKE_THE_PAPER))
