"""A tiny random model and invented facts to fine-tune it on; ``folder`` and ``base`` are fixtures."""

from dataclasses import replace

import pytest
import torch

from course_lib.data.facts import Fact, FactSet
from course_lib.models.loading import load
from course_lib.training.finetune import TuneConfig, add_lora, tune
from course_lib.training.loop import Loop
from course_lib.training.mixing import Mix, Row
from tests.support.tiny import SUBJECTS, TOKENIZERS, saved_model

ROWS = tuple(Row(Fact(subject, relation, answer), category) for subject, relation, answer, category in [
    *((subject, "P19", answer, "HighlyKnown") for subject, answer in zip(
        SUBJECTS, ["Paris", "Ulm", "Rome (Italy)", "São Tomé", "A.B.", "1984", "Łódź", "Paris"], strict=True)),
    *((subject, "P40", answer, "Unknown") for subject, answer in zip(SUBJECTS[:5], ["Bo", "Eva", "Ana", "Gil", "Fu"],
                                                                     strict=True))])
DATA = Mix("D", 38.5, 0, ROWS)
DEV = tuple(row.fact for row in ROWS[:4])
FACTS = FactSet("invented", tuple(row.fact for row in ROWS), DEV, DEV[:2], (Fact("Ida", "P50", "Jo"),))
CONFIG = TuneConfig(epochs=50, lr=5e-3, warmup=1, batch=4, seed=3)
SHORT = replace(CONFIG, epochs=2)
IDS = torch.arange(3, 43).view(2, 20)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return saved_model(tmp_path_factory.mktemp("base"), "llama", TOKENIZERS["gpt2"]())


@pytest.fixture
def base(folder):
    return load(folder, device="cpu")


def run(base, config=SHORT, data=DATA, facts=FACTS, **more):
    return tune(base.model, base.tokenizer, data, facts, config, progress=False, **more)


def loop_of(base, config=SHORT, data=DATA) -> Loop:
    return Loop(add_lora(base.model, config).eval(), base.tokenizer, ["default"], [data], [config])


def adapters(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters() if "lora_" in name}


def logits(model):
    with torch.inference_mode():
        return model.eval()(input_ids=IDS, use_cache=False).logits
