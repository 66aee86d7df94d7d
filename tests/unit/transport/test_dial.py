"""What a descriptor's suites mean before anything is dialled."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from cocoon_sdk.errors import ConnectError, HandshakeError
from cocoon_sdk.keys import Ed25519Key
from cocoon_sdk.protocol.kem import supported_suites
from cocoon_sdk.registry.endpoint import parse_endpoint
from cocoon_sdk.transport.dial import Peer, open_connection
from cocoon_sdk.transport.reach import Site

PROVIDER = Ed25519Key(b"\x07" * 32)
SITE = Site(parse_endpoint("ws://127.0.0.1:9"), "127.0.0.1")
PEER = Peer(SITE, PROVIDER.public_key, None, None, None, (2,))


@pytest.mark.anyio
async def test_a_provider_of_suite_2_alone_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric.mlkem", None)
    supported_suites.cache_clear()
    try:
        with pytest.raises(HandshakeError, match=r"pip install 'cocoon-sdk\[pq\]'"):
            await open_connection(PEER, limit=5)
    finally:
        supported_suites.cache_clear()


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("padding", "said"), [("off", True), ("default", False), ("strict", False)]
)
async def test_padding_that_is_off_says_so_in_the_log(
    padding: str, said: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ConnectError):
        await open_connection(replace(PEER, suites=(1,)), limit=5, padding=padding)
    assert ("no padding towards ws://127.0.0.1:9" in caplog.text) == said


def test_a_session_of_a_weaker_suite_serves_no_stronger_descriptor() -> None:
    assert PEER.key == replace(PEER).key
    assert PEER.key != replace(PEER, suites=(1,)).key
