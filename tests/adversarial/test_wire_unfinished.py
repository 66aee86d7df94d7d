"""Threats.md, "Wire": bodies that a peer begins and never ends do not fill the other side's memory."""

from __future__ import annotations

import pytest

from cocoon_sdk.protocol.constants import CLOSE_TOO_LARGE, MAX_STREAMS
from cocoon_sdk.protocol.errors import RemoteProtocolError
from cocoon_sdk.protocol.frames import FLAG_MORE, MAX_STRUCTURED, body_limits
from cocoon_sdk.protocol.messages import FrameType
from cocoon_sdk.protocol.streams import StreamTable

LIMITS = body_limits(MAX_STRUCTURED)
PART = bytes(MAX_STRUCTURED // 4)


def test_a_client_that_begins_many_requests() -> None:
    server = StreamTable(is_client=False, limits=LIMITS)
    for number in range(4):
        assert server.receive(2 * number + 1, FrameType.REQUEST, FLAG_MORE, PART) is None
    assert MAX_STREAMS > 4  # so it is not the number of streams that ends it
    with pytest.raises(RemoteProtocolError, match="bytes of unfinished bodies") as caught:
        server.receive(9, FrameType.REQUEST, FLAG_MORE, b"x")
    assert caught.value.close_code == CLOSE_TOO_LARGE


def test_a_provider_that_begins_many_results() -> None:
    client = StreamTable(is_client=True, limits=LIMITS)
    streams = [client.reserve() for _ in range(5)]
    for stream in streams:
        client.check_send(stream, FrameType.REQUEST, 1, end=False)
        client.sent(stream, FrameType.REQUEST, end=False)
    for stream in streams[:4]:
        assert client.receive(stream, FrameType.RESULT, FLAG_MORE, PART) is None
    with pytest.raises(RemoteProtocolError, match="bytes of unfinished bodies") as caught:
        client.receive(streams[4], FrameType.RESULT, FLAG_MORE, b"x")
    assert caught.value.close_code == CLOSE_TOO_LARGE


def test_a_body_that_is_complete_makes_room() -> None:
    server = StreamTable(is_client=False, limits=LIMITS)
    for number in range(4):
        server.receive(2 * number + 1, FrameType.REQUEST, FLAG_MORE, PART)
    assert server.receive(1, FrameType.REQUEST, 0, b"x") == PART + b"x"
    assert server.receive(9, FrameType.REQUEST, FLAG_MORE, PART) is None
