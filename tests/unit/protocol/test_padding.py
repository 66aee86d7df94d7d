from __future__ import annotations

import pytest

from cocoon_sdk.protocol.errors import LocalProtocolError
from cocoon_sdk.protocol.padding import BUCKETS, PaddingPolicy, bucket, request_bucket


def test_buckets_are_those_of_the_specification() -> None:
    assert BUCKETS == (256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)


def test_the_smallest_bucket_that_holds_it() -> None:
    for size in range(1, 65_537):
        best = next(limit for limit in BUCKETS if limit >= size)
        assert bucket(size) == best
        assert request_bucket(size) == max(1024, best)


def test_policies() -> None:
    assert PaddingPolicy.parse("default") is PaddingPolicy.DEFAULT
    assert PaddingPolicy.parse("off") is PaddingPolicy.OFF
    for word in ("OFF", "strict", ""):
        with pytest.raises(LocalProtocolError, match="padding"):
            PaddingPolicy.parse(word)
