"""Weights as 8-bit blocks: 32 values of a row share a scale and a zero point.

The layout is the one MatMulNBits and GatherBlockQuantized both read: value = scale * (code - zero).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

BLOCK = 32
LEVELS = 255


class Blocks(NamedTuple):
    """codes u8 [rows, columns]; scales [rows, columns/32]; zeros u8 [rows, columns/32]."""

    codes: npt.NDArray[np.uint8]
    scales: npt.NDArray[Any]
    zeros: npt.NDArray[np.uint8]


def quantize_rows(rows: npt.NDArray[np.float32], scale_type: npt.DTypeLike) -> Blocks:
    """Quantise float32 rows [n, columns]; `columns` must be a multiple of 32.

    The codes are chosen for the scale as stored (float32 or float16), so that rounding the scale costs
    no more than the rounding of the values themselves.
    """
    count, columns = rows.shape
    blocks = rows.reshape(count, columns // BLOCK, BLOCK)
    low = np.minimum(blocks.min(axis=2), 0.0)
    high = np.maximum(blocks.max(axis=2), 0.0)
    scales = ((high - low) / LEVELS).astype(scale_type)
    scales[scales == 0] = 1  # a block of zeros, or below what the scale's type can hold
    exact = scales.astype(np.float32)
    zeros = np.clip(np.rint(-low / exact), 0, LEVELS)
    codes = np.clip(np.rint(blocks / exact[:, :, None]) + zeros[:, :, None], 0, LEVELS)
    return Blocks(codes.astype(np.uint8).reshape(count, columns), scales, zeros.astype(np.uint8))
