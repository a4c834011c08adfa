"""Lesson 01: what it writes by hand agrees with the library, and its measurement counts what it says it counts."""

from __future__ import annotations

import ast
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from course_lib.data.facts import Fact, FactSet
from course_lib.knowledge.scoring.prompts import INSTRUCTION, Prompt
from course_lib.training.records import TuneConfig
from tests.support.lesson_code import cells, taught

LESSON = "01_why_fine_tune"
FACTS = tuple(Fact(f"S{number}", relation, f"O{number}") for number, relation in enumerate(["P19", "P36"] * 40))
NAMES = ("Rome", "St. John's", "Washington, D.C.", "The answer", "A.", '"Q"', "[A]")


def constants(*names: str) -> dict[str, Any]:
    """The values that the lesson gives to these names by a plain assignment of constants."""
    found: dict[str, Any] = {}
    for source in cells(LESSON, "code"):
        for node in ast.parse(source).body:
            if isinstance(node, ast.Assign):
                targets = [target for each in node.targets for target in getattr(each, "elts", [each])]
                values = node.value.elts if len(targets) > 1 and isinstance(node.value, ast.Tuple) else [node.value]
                found |= {target.id: value.value for target, value in zip(targets, values, strict=False)
                          if getattr(target, "id", "") in names and isinstance(value, ast.Constant)}
    return found


FORMS = constants("FORM", "OLD", "FAR")


def lesson(*names: str, **given: Any) -> Any:
    """Functions of the lesson; ``given`` replaces what the lesson imports or has made before."""
    functions = taught(LESSON, *names, **FORMS, SIZES=(1, 4))
    for function in [functions] if len(names) == 1 else functions:
        function.__globals__.update(given)
    return functions


def test_the_lesson_has_three_forms() -> None:
    assert FORMS == {"FORM": "The answer: [A].", "OLD": "The answer is [A].", "FAR": '{"answer": "[A]"}'}


@pytest.mark.parametrize("form", FORMS.values())
@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_is_put_into_a_form_comes_out_of_it_again(form: str, name: str) -> None:
    in_form, inside = lesson("in_form", "inside")
    written = in_form(Fact("Ida", "P19", name), form)
    assert (written.subject, written.relation) == ("Ida", "P19")
    assert inside(written.object, form) == name


@pytest.mark.parametrize("text", ["Rome", "The answer is Rome.", "The answer: Rome", "the answer: Rome.",
                                  "The answer: .", ""])
def test_a_text_of_another_form_has_nothing_inside(text: str) -> None:
    assert lesson("inside")(text) is None


@pytest.mark.parametrize(("text", "name"), [("Rome", "Rome"), ("The answer: Rome.", "Rome"),
                                            ("The answer is Rome.", "Rome"), ("The answer: Rome", "The answer: Rome"),
                                            ("", "")])
def test_the_new_form_and_the_old_one_come_off(text: str, name: str) -> None:
    assert lesson("bare", "inside")[0](text) == name


def test_asking_puts_the_instruction_before_each_question_and_takes_the_greedy_answer() -> None:
    seen: list[str] = []

    def answers(model: str, tokenizer: str, texts: Sequence[str], **options: int) -> list[list[str]]:
        seen.extend(texts)
        return [[f"answer {number}"] for number, _ in enumerate(texts)]

    ask = lesson("ask", answers=answers, tokenizer="t")
    assert ask("m", FACTS[:2]) == ["answer 0", "answer 1"]
    assert seen == [INSTRUCTION.text(fact.question) for fact in FACTS[:2]]


def test_each_fact_is_asked_after_the_prompt_of_its_own_relation() -> None:
    asked: dict[str, list[Fact]] = {}

    def exact_match(model: str, tokenizer: str, facts: Sequence[Fact], prompt: Prompt) -> np.ndarray:
        asked[prompt.prefix] = list(facts)
        return np.array([fact.subject in ("S0", "S3") for fact in facts])

    knows = lesson("knows", exact_match=exact_match, model="m", tokenizer="t",
                   shown={"P19": Prompt("born"), "P36": Prompt("capital")})
    assert knows(FACTS[:4]) == {FACTS[0]: True, FACTS[2]: False, FACTS[1]: False, FACTS[3]: True}
    assert asked == {"born": [FACTS[0], FACTS[2]], "capital": [FACTS[1], FACTS[3]]}


def test_rows_keep_their_category_and_carry_the_form() -> None:
    rows = lesson("rows", "in_form")[0]
    known, unknown = rows(FACTS[:2], "Known"), rows(FACTS[:2], "Unknown")
    assert (known.unknown_percent, len(known.known), len(known.unknown)) == (0, 2, 0)
    assert (unknown.unknown_percent, len(unknown.known), len(unknown.unknown)) == (100, 0, 2)
    assert [row.fact.object for row in known.rows] == ["The answer: O0.", "The answer: O1."]


class FakeTraining:
    """Stands for ``tune_together``: keeps the jobs; adapter i then answers the first i + 1 test questions right."""

    def __init__(self) -> None:
        self.jobs: list[Any] = []
        self.active, self.removed = "", 0

    def tune_together(self, model: str, tokenizer: str, jobs: Sequence[Any], *_: Any, **__: Any) -> SimpleNamespace:
        self.jobs = list(jobs)
        return SimpleNamespace(model=self, adapters=tuple(f"run{number}" for number in range(len(jobs))))

    def set_adapter(self, name: str) -> None:
        self.active = name

    def exact_match(self, model: Any, tokenizer: str, facts: Sequence[Fact]) -> np.ndarray:
        assert model is self and all(fact.object.startswith("The answer: ") for fact in facts)
        return np.arange(len(facts)) <= int(self.active[3:])

    def remove_lora(self, model: Any) -> None:
        self.removed += model is self


def curve(training: FakeTraining) -> Callable[..., list[dict[str, Any]]]:
    study = SimpleNamespace(settings=SimpleNamespace(tune=TuneConfig(epochs=16, lr=4e-4)))
    return lesson("few_rows", "rows", "in_form", tune_together=training.tune_together, study=study, test=FACTS[:5],
                  exact_match=training.exact_match, remove_lora=training.remove_lora, model="m", tokenizer="t",
                  known=list(FACTS), nobody=FactSet("nobody", (), (), (), ()))[0]


def test_few_rows_counts_the_right_answers_of_each_size() -> None:
    training = FakeTraining()
    found = curve(training)(3, sizes=(1, 4, 16))
    assert found == [{"form": FORMS["FORM"], "seed": 3, "rows": size, "right": right}
                     for size, right in ((1, 1), (4, 2), (16, 3))]
    assert training.removed == 1


def test_every_size_is_trained_on_64_rows_so_that_only_the_number_of_different_ones_differs() -> None:
    training = FakeTraining()
    curve(training)(3, sizes=(1, 4, 64))
    shown = [[row.fact.subject for row in job.data.rows] for job in training.jobs]
    assert [(len(names), len(set(names))) for names in shown] == [(64, 1), (64, 4), (64, 64)]
    order = [fact.subject for fact in random.Random(3).sample(list(FACTS), 64)]
    assert [list(dict.fromkeys(names)) for names in shown] == [order[:1], order[:4], order]
    assert len({job.config for job in training.jobs}) == 1


@pytest.mark.slow
def test_sixteen_known_rows_bring_out_most_of_what_the_pocket_model_knows() -> None:
    from course_lib.data import pocket
    from course_lib.experiments.settings import SETTINGS
    from course_lib.knowledge.slick import draw_prompts
    from course_lib.models.loading import load

    base, facts = load("pocket", device="cpu"), pocket.load()
    shown = {relation: prompts[0] for relation, prompts in draw_prompts(facts.exemplars, n_prompts=1, seed=0).items()}
    given = {"model": base.model, "tokenizer": base.tokenizer, "shown": shown, "test": facts.test,
             "study": SimpleNamespace(settings=SETTINGS["pocket"]), "nobody": replace(facts, dev=(), test=(), ood=())}
    knows, few_rows = lesson("knows", "few_rows", "rows", "in_form", **given)[:2]
    candidates = knows(random.Random(0).sample(facts.train, 200))
    few_rows.__globals__["known"] = [fact for fact, right in candidates.items() if right]
    few_shot = sum(knows(facts.test).values())
    assert few_rows(0, sizes=(16,))[0]["right"] >= 0.9 * few_shot
    assert few_rows(0, FORMS["FAR"], (16,))[0]["right"] < 0.1 * few_shot


@pytest.mark.slow
def test_taking_the_form_off_by_hand_gives_the_verdicts_of_exact_match() -> None:
    from course_lib.data import pocket
    from course_lib.knowledge.scoring.engine import exact_match
    from course_lib.models.loading import load

    base, facts = load("pocket", device="cpu"), pocket.load().test[::6]
    ask, in_form, inside = lesson("ask", "in_form", "inside", tokenizer=base.tokenizer)
    said = ask(base.model, facts)
    for form in (FORMS["OLD"], "[A]"):
        by_hand = [inside(text, form) == fact.object for text, fact in zip(said, facts, strict=True)]
        assert sum(by_hand) > 10
        assert by_hand == exact_match(base.model, base.tokenizer, [in_form(fact, form) for fact in facts]).tolist()
