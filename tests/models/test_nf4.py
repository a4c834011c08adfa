"""NF4 in the library: by hand, and bit for bit as bitsandbytes does it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from course_lib.files import CourseError
from course_lib.models import nf4

THREE = np.array([-1, 0, 1], np.float32)


def weights(kind: str, size: int) -> np.ndarray:
    rng = np.random.default_rng(len(kind))
    normal = rng.standard_normal(size)
    return {"normal": normal, "uniform": rng.random(size) - 0.5, "heavy tail": normal ** 5,
            "sparse": normal * (rng.random(size) < 0.02)}[kind].astype(np.float32)


def test_each_weight_takes_the_nearest_level_of_its_own_block() -> None:
    found = nf4.quantise(np.array([4, 1, -3, 0, 0.4, 0.3], np.float32), THREE, block=3)
    assert found.scales.tolist() == [[4], [np.float32(0.4)]]
    assert found.codes.tolist() == [[2, 1, 0], [1, 2, 2]]
    assert found.restored == pytest.approx([4, 0, -4, 0, 0.4, 0.4])
    # squared errors 1 + 1 + 0.01 over squares 16 + 1 + 9 + 0.16 + 0.09
    assert found.error == pytest.approx(np.sqrt(2.01 / 26.25))


def test_a_last_block_that_is_not_full_is_filled_up_with_zeros() -> None:
    found = nf4.quantise(np.array([2, -2, 1], np.float32), THREE, block=2)
    assert found.codes.shape == (2, 2) and found.restored.tolist() == [2, -2, 1]


def test_a_block_of_zeros_stays_zero() -> None:
    found = nf4.quantise(np.zeros(4, np.float32), nf4.levels("NF4"), block=2)
    assert found.restored.tolist() == [0, 0, 0, 0] and found.error == 0


def test_the_levels_are_bitsandbytes_own() -> None:
    import bitsandbytes.functional

    theirs = bitsandbytes.functional.get_4bit_type("nf4", device="cpu").numpy()
    assert np.array_equal(nf4.levels("NF4", 4), theirs)


@pytest.mark.parametrize("bits", [2, 3, 4, 5])
def test_fewer_bits_follow_the_same_rule(bits: int) -> None:
    found = nf4._quantiles(bits)
    assert len(found) == 2 ** bits and (np.diff(found) > 0).all()
    assert (found[0], found[-1]) == (-1, 1)
    assert (found < 0).sum() == 2 ** (bits - 1) - 1 and (found == 0).sum() == 1


def test_the_rule_gives_the_printed_levels_for_four_bits() -> None:
    assert np.abs(nf4._quantiles(4) - nf4.levels("NF4", 4)).max() < 1e-6


def test_even_levels_are_evenly_spaced() -> None:
    assert nf4.levels("even", 2) == pytest.approx([-1, -1 / 3, 1 / 3, 1])


@pytest.mark.parametrize("block", [64, 128, 4096])
@pytest.mark.parametrize("kind", ["normal", "uniform", "heavy tail", "sparse"])
def test_codes_scales_and_weights_have_the_bits_of_bitsandbytes(kind: str, block: int) -> None:
    import bitsandbytes.functional

    flat = weights(kind, 64 * 128)
    found = nf4.quantise(flat, nf4.levels("NF4"), block=block)
    packed, state = bitsandbytes.functional.quantize_4bit(torch.from_numpy(flat), blocksize=block, quant_type="nf4")
    codes = found.codes.ravel()
    assert np.array_equal((codes[::2] << 4) | codes[1::2], packed.numpy().ravel())
    # a block of nothing but zeros has a scale of its own in each implementation; both give zeros again
    used = state.absmax.numpy() > 0
    assert np.array_equal(found.scales.ravel()[used], state.absmax.numpy()[used])
    theirs = bitsandbytes.functional.dequantize_4bit(packed, state).numpy().ravel()
    assert np.array_equal(found.restored, theirs)


def test_samples_have_the_size_and_the_spread_of_the_layer() -> None:
    samples = nf4.weight_samples(0.02 * weights("normal", 9000).reshape(90, 100), seed=1)
    assert list(samples) == ["trained layer", "normal sample", "heavy tail"]
    assert {len(sample) for sample in samples.values()} == {8192}
    assert [float(sample.std()) for sample in samples.values()] == pytest.approx([samples["trained layer"].std()] * 3)
    again = nf4.weight_samples(0.02 * weights("normal", 9000).reshape(90, 100), seed=1)
    assert all(np.array_equal(samples[name], again[name]) for name in samples)


def test_a_heavy_tail_makes_larger_errors_and_nf4_helps_most_there() -> None:
    errors = nf4.error_table(nf4.weight_samples(weights("normal", 8192)), blocks=(64,))
    table = errors.pivot(index="weights", columns="levels", values="error")
    assert table.loc["heavy tail", "even"] > table.loc["normal sample", "even"]
    gain = table["even"] - table["NF4"]
    assert gain["heavy tail"] > gain["normal sample"] > 0


def test_the_table_counts_the_bits_of_the_scale() -> None:
    errors = nf4.error_table({"one": weights("normal", 64)}, bits=3, blocks=(16, 64))
    assert errors["bits"].tolist() == [5, 3.5, 5, 3.5]


def test_nonsense_is_refused() -> None:
    with pytest.raises(CourseError, match="'fp4' in 4 bits: .*NF4, even .*2 to 8 "):
        nf4.levels("fp4")
    with pytest.raises(CourseError, match=r"^0 .*\b64\b"):
        nf4.quantise(np.zeros(0), THREE)
