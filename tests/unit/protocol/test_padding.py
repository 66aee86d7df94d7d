from __future__ import annotations

import itertools

import pytest

from cocoon_sdk.protocol.errors import LocalProtocolError
from cocoon_sdk.protocol.padding import (
    BUCKETS,
    PaddingPolicy,
    bucket,
    request_bucket,
    rounded_cells,
)


def test_buckets_are_those_of_the_specification() -> None:
    assert BUCKETS == (256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)


def test_the_smallest_bucket_that_holds_it() -> None:
    for size in range(1, 65_537):
        best = next(limit for limit in BUCKETS if limit >= size)
        assert bucket(size) == best
        assert request_bucket(size) == max(1024, best)


def test_policies() -> None:
    assert PaddingPolicy.parse("default") is PaddingPolicy.DEFAULT
    assert PaddingPolicy.parse("strict") is PaddingPolicy.STRICT
    assert PaddingPolicy.parse("off") is PaddingPolicy.OFF
    for word in ("OFF", "Strict", ""):
        with pytest.raises(LocalProtocolError, match="padding"):
            PaddingPolicy.parse(word)


def test_lengths_of_answers_in_strict_mode() -> None:
    lengths = sorted({rounded_cells(count) for count in range(2000)})
    assert lengths[:12] == [64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448]
    assert [b - a for a, b in itertools.pairwise(lengths)][12:] == [128] * (len(lengths) - 13)
    for count in range(2000):
        rounded = rounded_cells(count)
        assert count <= rounded
        assert rounded in {64, *(n for n in lengths if n <= count * 1.25)}
        assert rounded == min(length for length in lengths if length >= count)
