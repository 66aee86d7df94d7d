"""A request that waits, and what is kept of it."""

from __future__ import annotations

import pytest

from cocoon_provider.asked import Asked
from cocoon_sdk.protocol import messages

REQUEST = messages.Request(
    id=b"r" * 16,
    kind="chat",
    model="echo",
    model_hash=bytes(32),
    body={"messages": [{"role": "user", "content": "hello"}]},
    seed=1,
    date="2026-01-01",
    salt=bytes(16),
    price=(1, 1, 2),
)
BODY = messages.encode_body(REQUEST)


@pytest.mark.parametrize("folded", [False, True])
def test_it_is_taken_as_it_came(folded: bool) -> None:
    asked = Asked(REQUEST, BODY)
    if folded:
        asked.fold()
    assert asked.take() == (REQUEST, BODY)
    assert asked._request is None
    assert asked._body == b""


def test_folded_it_holds_its_bytes_alone() -> None:
    asked = Asked(REQUEST, BODY)
    asked.fold()
    assert asked._request is None
    assert asked._body is BODY
