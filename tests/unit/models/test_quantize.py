"""Eight-bit blocks: the error is at most half a step, zero stays zero."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cocoon_provider.models.quantize import quantize_rows


def _restored(rows: np.ndarray, scale_type: type) -> tuple[np.ndarray, np.ndarray]:
    blocks = quantize_rows(rows, scale_type)
    codes = blocks.codes.reshape(len(rows), -1, 32).astype(np.float64)
    scales = blocks.scales.astype(np.float64)
    restored = (codes - blocks.zeros[:, :, None]) * scales[:, :, None]
    return restored.reshape(rows.shape), np.repeat(scales, 32, axis=1)


@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3), st.floats(-3, 3))
def test_error_is_within_one_step(seed: int, spread: float, shift: float) -> None:
    rows = np.random.default_rng(seed).normal(shift, 1, (4, 96)).astype(np.float32) * spread
    restored, steps = _restored(rows.astype(np.float32), np.float32)
    # Half a step of the value, half a step of the zero point.
    assert (np.abs(restored - rows) <= 1.001 * steps).all()


@pytest.mark.parametrize("scale_type", [np.float32, np.float16])
def test_zero_stays_zero(scale_type: type) -> None:
    rows = np.random.default_rng(3).normal(size=(8, 64)).astype(np.float32)
    rows[:, ::5] = 0
    rows[2] = 0
    restored, _ = _restored(rows, scale_type)
    assert (restored[rows == 0] == 0).all()


def test_half_precision_scales_cost_little() -> None:
    rows = np.random.default_rng(4).normal(0, 0.02, (64, 576)).astype(np.float32)
    full, _ = _restored(rows, np.float32)
    half, _ = _restored(rows, np.float16)
    assert np.abs(half - rows).mean() < 1.2 * np.abs(full - rows).mean()


def test_values_too_small_for_the_scale_become_zero() -> None:
    rows = np.full((1, 32), 1e-9, np.float32)
    restored, _ = _restored(rows, np.float16)
    assert (restored == 0).all()
