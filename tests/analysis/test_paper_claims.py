"""The claims of the paper and the summary of a build, on tables small enough to work out by hand."""

import json
import re

import pandas as pd
import pytest

from course_lib.analysis.paper_claims import Claim, claims, claims_table, main_rate, summary
from course_lib.data import paper
from course_lib.files import CourseError
from tests.support.made_runs import NAN, ends, epochs, idk, single, study

EARLY = {0: 44.0, 50: 43.0, 100: 40.0}
LATE = {0: 43.5, 50: 39.0, 100: 26.0}  # losses 0.5, 4 and 14
LIKE_THE_PAPER = pd.concat([study(EARLY, LATE), study({50: 43.5}, {50: 43.0}, variant="D_Known")])
TWO_RATES = pd.concat([LIKE_THE_PAPER.assign(lr=1e-3), study({0: 9.0}, {0: 8.0}).assign(lr=2e-3)])
# the paper's own Table 2: Full, HighlyKnown, MaybeKnown, WeaklyKnown, Unknown at EARLY_STOP and CONVERGENCE
TABLE_2 = {f"D_{name}": [[cell.percent for cell in row.values()] for row in stops.values()]
           for name, stops in paper.SINGLE_CATEGORY.items()}
TABLE_2_CLAIMS = ("MaybeKnown rows make the best", "HighlyKnown rows alone are not", "needs MaybeKnown rows",
                  "Unknown rows make the worst", "Long training loses most", "Little known rows cost",
                  "No training set teaches")
# the paper's Table 3: right over all questions and answered
IDK = [(row.correct, row.answered) for row in paper.IDK["D_IDK"].values()]
IDK_CLAIMS = ("Taught to say", "Long training costs D_IDK less", "D_IDK goes on answering", "Counted over all")


def seeds(table: pd.DataFrame, *, spread: float = 0.0) -> pd.DataFrame:
    """The same runs with three seeds; seed s is ``spread`` * (s - 1) off in test."""
    return pd.concat([table.assign(seed=seed, test=table["test"] + spread * (seed - 1) * (table["epoch"] == 2))
                      for seed in range(3)])


def singles(**changed: list[list[float]]) -> pd.DataFrame:
    return pd.concat([LIKE_THE_PAPER, *(single(name, *cells) for name, cells in (TABLE_2 | changed).items())])


def silent(early: tuple[float, float] = IDK[0], late: tuple[float, float] = IDK[1]) -> pd.DataFrame:
    return pd.concat([study({50: 43.0}, {50: 38.8}), idk(early, late)])


def about(found: list[Claim], words: str) -> Claim:
    claim, = (claim for claim in found if words in claim.claim)
    return claim


def test_claims_hold_with_seeds_that_agree_and_weakly_with_one_or_with_noise() -> None:
    several, noisy = claims(seeds(LIKE_THE_PAPER)), claims(seeds(LIKE_THE_PAPER, spread=3.0))
    assert [claim.verdict for claim in several] == ["holds"] * 9
    assert [claim.verdict for claim in claims(LIKE_THE_PAPER)] == ["holds weakly"] * 9
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


@pytest.mark.parametrize("words, table", [
    pytest.param("50 % Unknown:", study(EARLY, LATE, fitted=(59, 10)), id="little of Known"),
    pytest.param("50 % Unknown:", study(EARLY, LATE, fitted=(80, 26)), id="much of Unknown"),
    pytest.param("50 % Unknown:", study(EARLY, LATE | {50: 43.0}), id="no fall"),
    pytest.param("At CONVERGENCE accuracy", study(EARLY, LATE | {50: 43.5}), id="a level step"),
    pytest.param("At EARLY_STOP accuracy", study(EARLY | {100: 32.9}, LATE), id="early falls"),
    pytest.param("The loss from", study(EARLY, LATE | {100: 36.5}), id="gap shrinks"),
    pytest.param("The loss from", study(EARLY, LATE | {0: 39.2, 50: 38}), id="gap at 0 %"),
    pytest.param("Without its Unknown", pd.concat([study(EARLY, LATE), study({50: 43.5}, {50: 39.4},
                                                                             variant="D_Known")]), id="no gap"),
    pytest.param("At EARLY_STOP most", study(EARLY, LATE, fitted=(49, 10)), id="few fitted early"),
    pytest.param("At EARLY_STOP most", study(EARLY, LATE, fitted=(80, 26)), id="Unknown fitted early"),
    pytest.param("Out of distribution", study(EARLY, LATE, ood_drop=1.0), id="ood falls as much"),
    pytest.param("Out of distribution", study(EARLY, LATE, ood_drop=0.0), id="ood does not fall"),
    pytest.param("take away, in distribution", study(EARLY, {0: 44.0, 50: 46.0, 100: 48.0}), id="Unknown rows help"),
    *((words, singles(**{name: cells})) for words, name, *cells in (
        (TABLE_2_CLAIMS[0], "D_WeaklyKnown", [44, 95, 59, 9, 0], [35, 73, 56, 17, 2]),
        (TABLE_2_CLAIMS[1], "D_HighlyKnown", [44, 99, 60, 9, 0], [40, 98, 59, 8, 1]),
        (TABLE_2_CLAIMS[2], "D_HighlyKnown", [40, 99, 70, 9, 0], [40, 98, 59, 8, 1]),
        (TABLE_2_CLAIMS[3], "D_Unknown", [39.5, 96, 53, 6, 1], [26, 56, 37, 12, 3]),
        (TABLE_2_CLAIMS[4], "D_Unknown", [37.5, 96, 53, 6, 1], [35, 56, 37, 12, 3]),
        (TABLE_2_CLAIMS[5], "D_WeaklyKnown", [39, 95, 59, 9, 0], [35, 98, 56, 17, 2]),
        (TABLE_2_CLAIMS[6], "D_Natural", [43, 98, 68, 14, 2], [42, 95, 62, 15, 6]))),
    *zip(IDK_CLAIMS, (silent((20, 50), (30, 50)), silent((36, 50), (30, 50)), silent((36, 60), (30, 49)),
                      silent((36, 60), (39, 60))), strict=True)])
def test_a_claim_fails_on_a_table_made_against_it(words: str, table: pd.DataFrame) -> None:
    assert about(claims(table), words).verdict == "does not"


def test_claims_are_about_means_over_seeds() -> None:
    other = study({p: value + 2 for p, value in EARLY.items()}, {p: value + 2 for p, value in LATE.items()}, seed=1)
    measured = claims(pd.concat([LIKE_THE_PAPER, other]))[1].measured
    assert measured == "44.5 > 40.0 > 27.0 at 0, 50, 100 %"


def test_a_single_mix_says_nothing_about_slopes() -> None:
    assert [" ".join(claim.claim.split()[:3]) for claim in claims(study({50: 43.0}, {50: 39.0}))] == [
        "50 % Unknown:", "At EARLY_STOP most", "Out of distribution"]


def test_runs_of_d_known_at_other_percentages_are_no_obstacle() -> None:
    table = pd.concat([study(EARLY, LATE), study({25: 44.0}, {25: 43.9}, variant="D_Known")])
    assert about(claims(table), "At CONVERGENCE accuracy").holds


def test_a_model_that_never_answers_right_gets_a_verdict_without_a_division_by_zero() -> None:
    nothing = dict.fromkeys(EARLY, 0.0)
    found = claims(study(nothing, nothing))
    assert not any(about(found, words).holds for words in ("At CONVERGENCE accuracy", "Out of distribution"))


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


def test_the_summary_is_strict_json_with_the_claims_and_their_verdicts() -> None:
    table = pd.concat([study(EARLY, LATE), epochs([0, 1], percent=0, seed=9, unknown=[NAN] * 2, ood=[NAN] * 2)])
    found = json.loads(json.dumps(summary(table, {"Unknown": 0.3}, None, preset="pocket"), allow_nan=False))
    assert list(found) == ["preset", "shares", "never_read_unknown", "curve", "runs", "claims"]
    assert set(found["claims"][0]) == {"claim", "published", "measured", "verdict", "holds"}
    assert found["never_read_unknown"] is None


def test_the_claims_make_a_table_with_their_verdicts() -> None:
    table = claims_table(claims(LIKE_THE_PAPER))
    assert list(table) == ["claim", "published", "measured", "verdict"] and len(table) == 9


def test_the_other_claims_and_the_summarys_runs_are_about_the_rate_with_the_most_runs() -> None:
    assert set(main_rate(TWO_RATES)["lr"]) == {1e-3}
    assert claims(TWO_RATES)[:9] == claims(LIKE_THE_PAPER)
    assert len(summary(TWO_RATES, {}, None, preset="pocket")["runs"]) == 4


def test_another_learning_rate_is_a_claim_of_its_own() -> None:
    fast = study(EARLY, {0: 43.0, 50: 33.0, 100: 20.0})
    found = about(claims(pd.concat([LIKE_THE_PAPER.assign(lr=1e-3), fast.assign(lr=2e-3)])), "another learning rate")
    assert found.verdict == "holds weakly" and re.search(r"0\.002 .*0\.001", found.claim)
    assert re.search(r"43\.0, 33\.0, 20\.0,.* 1\.0, 10\.0, 20\.0 .*0, 50, 100 %", found.measured)


def test_the_signs_of_the_linear_model_are_claims_in_and_out_of_distribution() -> None:
    found = claims(seeds(LIKE_THE_PAPER))
    signs = [about(found, f"Known rows add to accuracy, fitted Unknown rows take away, {where} distribution")
             for where in ("in", "out of")]
    assert [sign.verdict for sign in signs] == ["holds"] * 2
    assert re.search(r"Known \+7\.3, Unknown -8\.3", signs[0].published)


def test_harm_of_unknown_rows_within_noise_is_weak() -> None:
    # a fitted Unknown row costs much, little or nothing
    assert claims(ends(-20, -4, 0))[-2].verdict == "holds weakly"


@pytest.mark.parametrize("table, about_it", [(singles(), TABLE_2_CLAIMS), (silent(), IDK_CLAIMS)],
                         ids=["Table 2", "Table 3"])
def test_all_claims_about_a_table_hold_on_the_papers_own(table: pd.DataFrame, about_it: tuple[str, ...]) -> None:
    one, three = claims(table), claims(seeds(table))
    assert {about(one, words).verdict for words in about_it} == {"holds weakly"}
    assert {about(three, words).verdict for words in about_it} == {"holds"}


def test_a_claim_about_a_table_says_its_numbers_as_the_paper_prints_them() -> None:
    everything = claims(singles())
    found = about(everything, "HighlyKnown rows alone")
    assert found.published == "HighlyKnown 40.5 / 40.0, MaybeKnown 43.6 / 43.2 (EARLY_STOP / CONVERGENCE)"
    assert found.measured == found.published
    assert about(everything, "Long training").measured.startswith(
        "HighlyKnown 0.5, MaybeKnown 0.4, WeaklyKnown 3.8, Unknown 11.7")
    assert re.search(r"3\.2 %.* D_Unknown .*CONVERGENCE", about(everything, "No training set").measured)
    assert about(claims(silent()), "Taught to say").measured == (
        "D 43.0 / 38.8, D_IDK 61.8 / 61.8 (EARLY_STOP / CONVERGENCE)")


def test_highly_known_questions_are_compared_at_convergence_alone() -> None:
    table = singles(D_WeaklyKnown=[[39.2, 99, 59.2, 8.6, 0.4], [35.4, 73.5, 55.8, 17.2, 2.2]])
    assert about(claims(table), "Little known rows cost").holds


def test_claims_about_absent_variants_are_left_out() -> None:
    two = claims(pd.concat([LIKE_THE_PAPER, *(single(name, *TABLE_2[name])
                                              for name in ("D_HighlyKnown", "D_MaybeKnown"))]))
    found = [words for words in (*TABLE_2_CLAIMS, "D_IDK") if any(words in claim.claim for claim in two)]
    assert found == ["HighlyKnown rows alone are not", "needs MaybeKnown rows"]
