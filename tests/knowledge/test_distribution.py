"""The sampling distribution against transformers' own warpers, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers.generation.logits_process import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from course_lib.files import CourseError
from course_lib.knowledge.scoring.distribution import Distribution


def every_log_probability(distribution: Distribution, logits: torch.Tensor) -> torch.Tensor:
    """Log-probabilities (N, V) of all tokens."""
    steps, size = logits.shape
    return distribution.next_token(logits).log_probability(torch.arange(steps), torch.arange(size).expand(steps, -1))


def by_transformers(distribution: Distribution, logits: torch.Tensor) -> torch.Tensor:
    kept = TemperatureLogitsWarper(distribution.temperature)(None, logits)
    kept = TopKLogitsWarper(distribution.top_k)(None, kept) if distribution.top_k else kept
    return TopPLogitsWarper(distribution.top_p)(None, kept).double().log_softmax(-1)


@pytest.mark.parametrize("temperature", [0.5, 0.7, 1.0, 1.3])
@pytest.mark.parametrize("top_k", [0, 1, 2, 40, 99, 100, 500])
@pytest.mark.parametrize("top_p", [1.0, 0.9, 0.3])
def test_the_distribution_is_that_of_transformers(temperature: float, top_k: int, top_p: float) -> None:
    logits = torch.randn(20, 100, generator=torch.Generator().manual_seed(0)) * 3
    distribution = Distribution(temperature, top_k, top_p)
    found, wanted = every_log_probability(distribution, logits), by_transformers(distribution, logits)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)


def test_all_tokens_that_tie_with_the_last_one_are_kept() -> None:
    logits = torch.tensor([[2.0, 1.0, 1.0, 1.0, 0.0]])
    p = every_log_probability(Distribution(1.0, 2), logits).exp()[0]
    total = np.e**2 + 3 * np.e
    assert p.tolist() == pytest.approx([np.e**2 / total, *[np.e / total] * 3, 0], abs=1e-6)


def test_temperature_comes_before_top_k_and_sharpens() -> None:
    p = every_log_probability(Distribution(0.5, 2), torch.tensor([[1.0, 0.0, -1.0]])).exp()[0]
    assert p.tolist() == pytest.approx([1 / (1 + np.e**-2), 1 / (1 + np.e**2), 0], abs=1e-6)


def test_a_token_below_the_cut_has_no_probability() -> None:
    assert every_log_probability(Distribution(1.0, 1), torch.tensor([[0.0, 5.0]]))[0].tolist() == [-np.inf, 0.0]


@pytest.mark.parametrize(("settings", "message"), [
    ((0.5, -1), "top_k -1"), ((0.5, 0, 0.0), "top_p 0.0"), ((0.5, 0, 1.1), "top_p 1.1"),
    ((float("inf"),), "temperature inf")])
def test_a_setting_that_makes_no_sense_is_refused(settings: tuple, message: str) -> None:
    with pytest.raises(CourseError, match=message):
        Distribution(*settings)
