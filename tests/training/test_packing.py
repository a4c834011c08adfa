"""Rows packed without padding give what padded rows give, or packing is not used."""

from __future__ import annotations

import pytest
import torch

from course_lib.training import packing
from course_lib.training.packing import Target, can_pack, target_logits
from tests.support.families import family

ROWS = [Target((5, 6, 7, 8, 9), 3), Target((10, 11), 1), Target((12, 13, 14, 15, 16, 17, 18), 5),
        Target((20, 21, 22), 1)]


def one_by_one(model, rows):
    with torch.no_grad():
        return torch.cat([model(input_ids=torch.tensor([row.tokens])).logits[0, row.start - 1:-1].float()
                          for row in rows])


@pytest.mark.parametrize("name", ["Llama", "Olmo2", "Qwen2", "GPTNeoX", "Mistral", "Phi3", "GPT2"])
@pytest.mark.parametrize("way", [True, False], ids=["packed", "padded"])
def test_logits_are_those_of_rows_alone(name, way):
    model = family(name)
    assert can_pack(model, ROWS)
    with torch.no_grad():
        found = target_logits(model, [ROWS[:2], ROWS[2:]], packed=way)
    assert torch.allclose(found, one_by_one(model, ROWS), atol=2e-5)


@pytest.mark.parametrize("name", ["Gemma2", "GPTJ", "Bloom", "Mamba"])
def test_an_attention_that_cannot_be_replaced_is_padded(name):
    model = family(name)
    assert not can_pack(model, ROWS)
    with torch.no_grad():
        found = target_logits(model, [ROWS], packed=False)
    assert torch.allclose(found, one_by_one(model, ROWS), atol=2e-5)


@pytest.mark.parametrize("prefix", [(), (5, 6, 7)], ids=["nothing shared", "a shared prefix"])
@pytest.mark.parametrize("name", ["Llama", "Qwen2", "GPTNeoX"])
def test_logits_and_gradient_through_packed_rows_are_those_of_rows_alone(name, prefix):
    model, rows = family(name), [Target((*prefix, *row.tokens), row.start + len(prefix)) for row in ROWS]
    weight = next(weight for path, weight in model.named_parameters() if "layers.0" in path and weight.dim() == 2)
    found = target_logits(model, [rows[:1], rows[1:]], packed=True)
    assert torch.allclose(found.detach(), one_by_one(model, rows), atol=2e-5)
    found.sin().sum().backward()
    together, weight.grad = weight.grad, None
    for row in rows:
        model(input_ids=torch.tensor([row.tokens])).logits[0, row.start - 1:-1].sin().sum().backward()
    assert torch.allclose(together, weight.grad, atol=1e-4 * float(weight.grad.abs().max()))


def test_lines_of_equal_work_are_packed_without_padding():
    inputs, where, _ = packing._pack([ROWS[:2], [ROWS[2]]], filler=99)
    assert inputs["input_ids"].tolist() == [[5, 6, 7, 8, 9, 10, 11], [12, 13, 14, 15, 16, 17, 18]]
    assert inputs["position_ids"].tolist() == [[0, 1, 2, 3, 4, 0, 1], [0, 1, 2, 3, 4, 5, 6]]
    assert where == [2, 3, 5, 11, 12], "each place predicts the token after it"


def test_what_all_rows_begin_with_stands_once_in_a_line():
    rows = [Target((5, 6, 7, 8), 3), Target((5, 6, 9, 10, 11), 3), Target((5, 6, 12), 2)]
    inputs, where, _ = packing._pack([rows[:2], [rows[2], rows[2]]], filler=99)
    assert inputs["input_ids"].tolist() == [[5, 6, 7, 8, 6, 9, 10, 11], [5, 6, 12, 6, 12, 99, 99, 99]]
    assert inputs["position_ids"].tolist() == [[0, 1, 2, 3, 1, 2, 3, 4], [0, 1, 2, 1, 2, 0, 0, 0]]
    assert where == [2, 5, 6, 9, 11], "a row keeps the last token before its answer"


def test_the_models_own_attention_is_put_back_after_an_error():
    model = family("Llama")
    before = model.config._attn_implementation
    with pytest.raises(IndexError):
        target_logits(model, [[Target((5, 10**6), 1)]], packed=True)
    assert model.config._attn_implementation == before
