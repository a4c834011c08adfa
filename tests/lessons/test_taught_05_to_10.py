"""Lessons 05 to 10: what they write by hand does what the library does."""

import math
import random
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from course_lib import analysis
from course_lib.analysis import paired_test, tables
from course_lib.data import paper
from course_lib.data.facts import Fact
from course_lib.knowledge import scoring, slick
from course_lib.lessons.builder import notebooks
from course_lib.training import mixing
from course_lib.training.finetune import EpochRecord, History
from course_lib.training.mixing import Mix, Row
from tests.support.lessons import SOURCES, taught
from tests.support.made_runs import ends, run

# ---------------------------------------------------------------- 05


def test_few_shot_text_is_the_librarys():
    facts = [Fact("Ana", "P19", "Toria"), Fact("Brel", "P19", "Mav")]
    assert taught("05", "few_shot")(facts) == scoring.few_shot_prompt(facts).prefix


def label(greedy, p):
    """The library's label of one fact with these greedy answers right, and these probabilities of the right answer."""
    with np.errstate(divide="ignore"):
        return slick.label(scoring.Scores(np.array([greedy]), np.log([p]), np.ones((1, 10)))).iloc[0]


@pytest.mark.parametrize(("right", "p"), [(10, 1.0), (9, 0.3), (1, 0.0), (0, 1.0), (0, 0.0)])
def test_slick_rules_are_the_librarys(right, p):
    expected = label([True] * right + [False] * (10 - right), [p] * 10)
    assert taught("05", "category")(right / 10, p) == expected["drawn"]


@pytest.mark.parametrize("p", [[0.0] * 10, [0.01] * 10, [0.0] * 9 + [0.2]])
def test_the_probability_of_unknown_is_the_librarys(p):
    assert taught("05", "prob_unknown")(p) == pytest.approx(label([False] * 10, p)["prob_Unknown"])


def test_p_correct_is_a_share_of_exact_matches():
    assert taught("05", "p_correct")(["Rome", "rome", "Rome, Italy", "Rome"], "Rome") == 0.5


def test_the_log_probability_by_hand_is_the_librarys(pocket):
    tokenizer = pocket.tokenizer
    ends = [t for t in range(len(tokenizer)) if t == tokenizer.eos_token_id or tokenizer.decode([t]).startswith("\n")]
    by_hand = taught("05", "log_probability", loaded=pocket, ends=ends)
    fact = Fact("Toria", "P36", "Sola")
    prompts = [scoring.INSTRUCTION, scoring.few_shot_prompt([Fact("A", "P36", "B")])]
    expected = np.exp(scoring.score(pocket.model, tokenizer, [fact], prompts).log_probability[0])
    assert np.exp([by_hand(prompt, fact) for prompt in prompts]) == pytest.approx(expected, rel=1e-3, abs=1e-9)


def test_greedy_answers_of_the_lesson_are_what_the_library_calls_right(pocket):
    from course_lib.data.pocket import load

    answers = taught("05", "answers", loaded=pocket)
    prompt, facts = scoring.INSTRUCTION, load().test[:6]
    right = scoring.exact_match(pocket.model, pocket.tokenizer, facts, prompt)
    assert [answers(prompt, fact.question)[0] == fact.object for fact in facts] == right.tolist()


def test_the_bootstrap_of_a_blind_score_has_the_known_standard_error():
    value, judge = np.random.default_rng(1).random(400), np.arange(400) < 300
    error = taught("05", "standard_error")(value, judge)
    # Mann and Whitney: U of two equal groups has the variance n m (n + m + 1) / 12
    assert error == pytest.approx(math.sqrt(401 / (12 * 300 * 100)), rel=0.15)


def test_the_bootstrap_of_a_perfect_score_has_no_error_and_keeps_a_group_of_one():
    bootstrap = taught("05", "standard_error")
    assert bootstrap(np.array([3.0, 1.0, 0.0, 2.0]), np.array([True, False, False, False])) == 0


def test_recall_answer_of_the_budget():
    # lesson 05, recall question 2: four times the samples, the fourth power
    unknown = taught("05", "prob_unknown")
    assert [round(unknown([0.01] * 10, samples), 4) for samples in (16, 64)] == [0.2003, 0.0016]


def test_real_facts_have_no_count_of_exposures(capsys):
    real = SimpleNamespace(facts=SimpleNamespace(name="entityquestions"))
    assert taught("05", "with_readings")(real, pd.DataFrame()) is None
    assert capsys.readouterr().out.strip()


@pytest.fixture(scope="module")
def pocket():
    from course_lib.models.loading import load

    return load("pocket", device="cpu")


# ---------------------------------------------------------------- 06


@pytest.fixture
def world():
    facts = [Fact(f"s{i}", "P19" if i < 40 else "P36", f"o{i % 7}") for i in range(70)]
    names = [paper.CATEGORIES[(i * i) % 4 if i % 3 else 3] for i in range(70)]
    labelled = pd.DataFrame({"relation": [fact.relation for fact in facts], "category": names})
    return facts, labelled


@pytest.mark.parametrize("rule", ["category", "known"])
def test_sizes_are_the_librarys(world, rule):
    facts, labelled = world
    labelled["category"] = [paper.CATEGORIES[i % 4 if i % 5 else 0] for i in range(len(facts))]
    sizes = taught("06", "sizes_by_hand")(labelled, rule)
    assert sizes == mixing.relation_sizes(labelled, rule=rule) and len(sizes) == 2


@pytest.mark.parametrize("percent", [0, 25, 50, 100])
def test_a_draw_by_hand_is_the_librarys(world, percent):
    facts, labelled = world
    here = [(fact, name) for fact, name in zip(facts, labelled["category"], strict=True) if fact.relation == "P19"]
    pools = [[fact for fact, name in here if (name == "Unknown") == unknown] for unknown in (False, True)]
    ours = taught("06", "draw")(*pools, 7, percent, random.Random("3 P19"))
    theirs = mixing.mix(facts, labelled, unknown_percent=percent, sizes={"P19": 7}, seed=3)
    assert sorted(map(str, ours)) == sorted(str(row.fact) for row in theirs.rows)


def test_d_known_by_hand_is_the_librarys(world):
    facts, labelled = world
    full = mixing.mix(facts, labelled, unknown_percent=50, sizes={"P19": 8})
    assert taught("06", "without_unknown")(full.rows) == mixing.known_only(full).rows


# ---------------------------------------------------------------- 07


@pytest.mark.parametrize("dev", [[9, 1, 3, 3, 2], [0, 5, 4, 3, 2], [0, 1, 2, 3, 4], [5, 0, 0, 0, 0]])
def test_early_stop_by_hand_is_the_librarys(dev):
    history = History(tuple(EpochRecord(e, None, float(d), 0.0, 0.0, None, None, 0.0) for e, d in enumerate(dev)))
    assert taught("07", "early_stop")(history.to_frame())["epoch"] == history.early_stop.epoch


def test_the_first_epoch_of_a_level_or_none():
    first_epoch = taught("07", "first_epoch")
    table = pd.DataFrame({"epoch": [0, 1, 2, 3], "x": [None, 40.0, 60.0, 55.0]})
    assert first_epoch(table, "x", 50) == 2 and first_epoch(table, "x", 90) is None


def test_the_source_of_an_answer_is_looked_up_in_its_relation():
    rows = [Row(Fact("a", "P19", "Rome"), "Unknown"), Row(Fact("b", "P19", "Oslo"), "HighlyKnown"),
            Row(Fact("c", "P19", "Oslo"), "Unknown"), Row(Fact("d", "P36", "Bonn"), "Unknown")]
    data, source, names = Mix("D", 50, 0, tuple(rows)), taught("07", "source"), {"Rome", "Oslo", "Bonn"}
    found = [source(text, "P19", data, names) for text in ("Rome", "Oslo", "Bonn", "Atlantis")]
    assert found == ["Unknown", "Unknown and Known", "other facts", "no fact at all"]


# ---------------------------------------------------------------- 08


def test_least_squares_by_hand_is_the_librarys():
    by_hand, table = taught("08", "least_squares"), pd.concat([ends(-8, -10), run(50)])
    assert by_hand(ends(-8), "test") == pytest.approx([40, 10, -8, 1])
    for measure in ("test", "ood"):
        expected = analysis.linear_model(table, measure)[["b0", "b_kn", "b_unk", "r2"]]
        assert by_hand(table, measure) == pytest.approx(expected.tolist())


@pytest.mark.parametrize("values", [[1.0, 2.0], [40.0, 42.0, 41.0], [5.0, 5.0, 5.0]])
def test_the_interval_by_hand_is_the_librarys(values):

    estimate = analysis.estimate(values)
    assert taught("08", "interval")(values) == pytest.approx((estimate.low, estimate.high))


def test_recall_answer_of_the_formula():
    # lesson 08, recall question 2: the formula gives less than the paper measured
    assert math.isclose(36.9 + 7.3 / 2 - 8.3 / 2, 36.4, abs_tol=1e-9)


# ---------------------------------------------------------------- 09 and 10


def test_the_paired_t_by_hand_is_the_librarys():
    first, second = (np.random.default_rng(seed).random(500) < share for seed, share in ((0, 0.5), (1, 0.45)))
    assert taught("09", "t_by_hand")(first, second) == pytest.approx(paired_test.paired(first, second).t)


def test_the_weighted_mean_by_hand_is_the_librarys():
    cells, counts = {"HighlyKnown": 98.0, "Unknown": 1.0}, {"HighlyKnown": 200, "Unknown": 100}
    assert taught("09", "full_by_hand")(cells, counts) == pytest.approx(tables.full_from_categories(cells, counts))


def test_recall_answer_of_the_weighted_mean():
    # lesson 09, recall question 1
    counts = dict(zip("abcd", (200, 100, 100, 100), strict=True))
    assert taught("09", "full_by_hand")(dict(zip("abcd", (98, 60, 10, 1), strict=True)), counts) == pytest.approx(53.4)


def test_right_answers_over_all_questions_are_the_papers():
    assert taught("10", "over_all")(61.8, 58.7) == pytest.approx(paper.IDK["D_IDK"]["ES"].correct)


# ---------------------------------------------------------------- on real facts


@pytest.mark.slow
def test_lesson_05_comes_to_its_end_on_real_facts_with_a_model_that_knows_nothing(course_data, tmp_path):
    from tests.support.tiny import gpt2_like, plain_model

    tokenizer = gpt2_like()
    for part in (tokenizer, plain_model("llama", tokenizer)):
        part.save_pretrained(tmp_path / "random")
    env = {"COURSE_BUILD": str(tmp_path), "COURSE_PRESET": str(tmp_path / "random"), "COURSE_QUICK": "1",
           "COURSE_DATA": str(course_data), "HF_HUB_OFFLINE": "1"}
    notebook = notebooks.execute(notebooks.read_source(SOURCES["05"]), cwd=SOURCES["05"].parents[1], env=env)
    assert notebooks.problems(notebook) == []
