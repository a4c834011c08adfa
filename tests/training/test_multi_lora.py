"""The gradient of stacked adapters that is written by hand is the gradient."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from course_lib.training import multi_lora


@pytest.mark.parametrize("shape", [(1, 7, 6), (3, 5, 6), (4, 5, 6)], ids=["alone", "a line each", "rows of two"])
@pytest.mark.parametrize("bias", [False, True])
def test_the_adapted_product_and_its_gradient_are_those_of_the_formula(shape: tuple[int, ...], bias: bool) -> None:
    rng = torch.Generator().manual_seed(0)
    adapters = 2 if shape[0] == 4 else shape[0]

    def draw(*size: int) -> torch.Tensor:
        return torch.randn(size, generator=rng, dtype=torch.float64)

    base = SimpleNamespace(bias=draw(4) if bias else None)
    layer = SimpleNamespace(module=SimpleNamespace(base_layer=base), weight=draw(4, 6), scaling=1.7)
    given = [draw(*shape), draw(adapters, 2, 6), draw(adapters, 4, 2)]
    x, down, up = (tensor.requires_grad_() for tensor in given)
    y = multi_lora._forward(layer, down, up, x)
    lines = x.reshape(adapters, -1, 6)
    wanted = torch.nn.functional.linear(lines, layer.weight, base.bias) + 1.7 * lines @ down.mT @ up.mT
    assert torch.allclose(y, wanted.view(y.shape), rtol=0, atol=1e-12)
    assert torch.autograd.gradcheck(lambda *of: multi_lora._forward(layer, of[1], of[2], of[0]), (x, down, up))
