"""Rows after shared prompts: every way gives the logits of a plain pass, on every kind of attention."""

from __future__ import annotations

import pytest
import torch

from course_lib.knowledge.scoring import shared_prefix as prefix
from course_lib.knowledge.scoring.shared_prefix import Prompts
from tests.support.families import FAMILIES, family
from tests.support.tiny import TOKENIZERS, tiny_model

PROMPTS = [[5, 6, 7, 8, 9, 10, 11], [12, 13, 14, 15], [16, 17, 18, 19, 20, 21, 22, 23, 24]]
ROWS = [[30, 31, 32, 33, 34], [40, 41], [50, 51, 52]]
STEPS = [range(1, 5), range(2), range(2, 3)]


def plain(model, prompt: list[int]) -> torch.Tensor:
    """Logits at the steps of all rows, one whole text after another."""
    parts = []
    for row, steps in zip(ROWS, STEPS, strict=True):
        logits = model(input_ids=torch.tensor([prompt + row]), use_cache=False).logits[0]
        parts.append(logits[[len(prompt) + step for step in steps]])
    return torch.cat(parts)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_architecture_gives_the_logits_of_plain_passes_and_takes_its_way(name: str) -> None:
    model = family(name)
    with torch.inference_mode():
        prompts = Prompts(model, PROMPTS)
        prompts.choose_way(ROWS, STEPS)
        assert prompts.way == FAMILIES[name][1]
        for first in range(0, len(PROMPTS), prompts.together):
            columns = slice(first, first + prompts.together)
            for found, prompt in zip(prompts.logits(ROWS, STEPS, columns), PROMPTS[columns], strict=True):
                torch.testing.assert_close(found, plain(model, prompt), rtol=0, atol=2e-5)


@pytest.mark.parametrize("way", prefix.WAYS)
def test_every_way_gives_the_same_logits(way: str) -> None:
    model = family("Llama")
    with torch.inference_mode():
        prompts = Prompts(model, PROMPTS[:1], way=way)
        torch.testing.assert_close(prompts.logits(ROWS, STEPS, slice(0, 1))[0], plain(model, PROMPTS[0]), rtol=0,
                                   atol=2e-5)


def test_a_window_shorter_than_the_prompt_is_not_taken_by_reference() -> None:
    model = family("Mistral", sliding_window=6)
    with torch.inference_mode():
        prompts = Prompts(model, PROMPTS)
        prompts.choose_way(ROWS, STEPS)
        assert prompts.way == "copy"


def test_an_attention_that_gives_wrong_logits_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    right = prefix._attend
    monkeypatch.setattr(prefix, "_attend", lambda *a, **k: (right(*a, **k)[0] * 1.1, None))
    with torch.inference_mode():
        prompts = Prompts(family("Llama"), PROMPTS)
        prompts.choose_way(ROWS, STEPS)
    assert prompts.way == "copy"


def test_the_way_of_a_model_is_found_once_and_again_for_longer_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    model, tried = family("Llama"), []
    agrees = Prompts._agrees
    monkeypatch.setattr(Prompts, "_agrees", lambda self, way, *rest: tried.append(way) or agrees(self, way, *rest))
    with torch.inference_mode():
        for rows in (ROWS, ROWS, [[30] * 20]):
            Prompts(model, PROMPTS).choose_way(rows, [range(2)] * len(rows))
    assert tried == ["reference", "reference"]


def settled(model) -> str:
    with torch.inference_mode():
        prompts = Prompts(model, PROMPTS)
        prompts.choose_way(ROWS, STEPS)
    return prompts.way


def test_a_model_whose_window_is_changed_in_place_is_tried_again() -> None:
    model = family("Mistral")
    assert settled(model) == "reference"
    model.config.sliding_window = 6
    assert settled(model) == "copy"


@pytest.mark.parametrize("value", [float("nan"), 0.0])
def test_what_weights_without_effect_have_settled_is_not_remembered(value: float) -> None:
    model = family("Llama")
    good = {name: weight.clone() for name, weight in model.state_dict().items()}
    with torch.no_grad():
        for weight in model.parameters():
            weight.fill_(value)
    assert settled(model) == "reference" and prefix._settled.get(model) is None  # nothing could be seen
    model.load_state_dict(good)
    assert settled(model) == "reference" and prefix._settled.get(model).way == "reference"


def test_prompts_of_one_length_are_tried_beside_a_shorter_one() -> None:
    """GPT-2 without its numbers of positions: one for all rows is right only where all prompts are as long."""
    model = family("GPT2")
    forward = model.transformer.forward
    model.transformer.forward = lambda *args, position_ids=None, **more: forward(*args, **more)
    with torch.inference_mode():
        prompts = Prompts(model, [PROMPTS[0], [token + 1 for token in PROMPTS[0]]])
        prompts.choose_way(ROWS, STEPS)
    assert prompts.way == "copy"


@pytest.mark.parametrize("asks", [{"softcap": 20.0}, {"s_aux": torch.zeros(4)}, {"is_causal": False}])
def test_attention_that_asks_for_more_is_not_taken_by_reference(asks: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    right = prefix._attend
    monkeypatch.setattr(prefix, "_attend", lambda *args, **more: right(*args, **more | asks))
    assert settled(family("Llama")) == "copy"


def test_an_empty_prompt_shares_nothing() -> None:
    assert Prompts(family("Llama"), [[], []]).way == "none"


def test_the_models_attention_and_output_layer_are_as_before() -> None:
    model = family("Llama")
    before = model.config._attn_implementation
    with torch.inference_mode():
        prompts = Prompts(model, PROMPTS, way="reference")
        prompts.logits(ROWS, STEPS, slice(0, 3))
    assert model.config._attn_implementation == before
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())


def test_the_output_layer_sees_only_the_steps() -> None:
    model, seen = family("Llama"), []
    handle = model.lm_head.register_forward_hook(lambda *args: seen.append(args[1][0].shape))
    with torch.inference_mode():
        prompts = Prompts(model, PROMPTS, way="reference")
        seen.clear()
        prompts.logits(ROWS, STEPS, slice(0, 3))
    handle.remove()
    assert seen == [torch.Size([1, 3 * (4 + 2 + 1), 64])]


def test_the_last_mlp_sees_only_the_steps() -> None:
    model, seen = family("Llama"), []
    handle = model.model.layers[-1].mlp.up_proj.register_forward_hook(lambda *args: seen.append(args[1][0].shape[:2]))
    with torch.inference_mode():
        prompts = Prompts(model, PROMPTS, way="reference")
        seen.clear()
        prompts.logits(ROWS, STEPS, slice(0, 3))
    handle.remove()
    assert seen == [torch.Size([1, 21])]


def test_the_prompt_is_not_copied_for_each_row() -> None:
    model = family("Llama")
    with torch.inference_mode():
        prompts = Prompts(model, PROMPTS, way="reference")
        cached = prompts._cache.take(slice(0, 3)).layers[0][0]
        assert cached.shape[0] == 3 and cached.data_ptr() == prompts._cache.layers[0][0].data_ptr()


def test_in_half_precision_the_shared_prompt_is_still_taken() -> None:
    model = family("Llama").to(torch.bfloat16)
    with torch.inference_mode():
        prompts = Prompts(model, PROMPTS)
        prompts.choose_way(ROWS, STEPS)
        found = prompts.logits(ROWS, STEPS, slice(0, 1))[0]
    assert prompts.way == "reference" and found.dtype == torch.float32
    assert (found - plain(model, PROMPTS[0]).float()).abs().max() < 0.05


def test_an_adapted_model_shares_its_prompts() -> None:
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(family("Llama"), LoraConfig(target_modules="all-linear", init_lora_weights=False,
                                                       task_type="CAUSAL_LM")).eval()
    with torch.inference_mode():
        prompts = Prompts(model, PROMPTS)
        prompts.choose_way(ROWS, STEPS)
        found = prompts.logits(ROWS, STEPS, slice(0, 3))[0]
        torch.testing.assert_close(found, plain(model, PROMPTS[0]), rtol=0, atol=2e-5)
    assert prompts.way == "reference"


def test_the_tiny_models_of_these_tests_share_their_prompts() -> None:
    tokenizer = TOKENIZERS["gpt2"]()
    for architecture in ("llama", "olmo2", "qwen2", "neox"):
        with torch.inference_mode():
            prompts = Prompts(tiny_model(architecture, tokenizer), PROMPTS)
            prompts.choose_way(ROWS, STEPS)
            assert prompts.way == "reference"
