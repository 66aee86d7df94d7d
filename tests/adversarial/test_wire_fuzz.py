"""Arbitrary bytes at every state of a session: a RemoteProtocolError or events, never anything else."""

from __future__ import annotations

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st
from wire_pair import Pair, forge, make_client, make_server

from cocoon_sdk.protocol.errors import RemoteProtocolError
from cocoon_sdk.protocol.hello import ClientAuth, ClientHello, ServerHello
from cocoon_sdk.protocol.messages import BodyError, FrameType, decode_body
from cocoon_sdk.protocol.params import ClientParams, decode_server_params
from cocoon_sdk.protocol.session import ClientSession, ServerSession

PARSERS = [
    ClientHello.decode,
    ServerHello.decode,
    lambda raw: ClientAuth.decode(raw.ljust(256, b"\0")[:256]),
    ClientParams.decode,
    decode_server_params,
]


def at_each_state() -> list[ClientSession | ServerSession]:
    greeted_client, greeted_server = make_client(), make_server()
    greeted_client.start()
    [hello] = greeted_client.outgoing()
    greeted_server.receive(hello)
    greeted_server.outgoing()
    pair = Pair()
    pair.open_request()
    return [make_client(), make_server(), greeted_client, greeted_server, pair.client, pair.server]


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400), st.sampled_from([b"", b"\x01", b"\x02", b"\x03", b"\x10"]))
def test_raw_messages(tail: bytes, head: bytes) -> None:
    for session in at_each_state():
        try:
            session.receive(head + tail)
        except RemoteProtocolError:
            assert session.outgoing() == []
        else:
            raise AssertionError("nobody can guess an authentic message")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400), st.sampled_from(range(len(PARSERS))))
def test_handshake_parsers(raw: bytes, which: int) -> None:
    with contextlib.suppress(RemoteProtocolError):
        PARSERS[which](raw)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 23),
            st.integers(0, 7),
            st.sampled_from([0, 1, 2, 3, 5, 2**32 - 1]),
            st.binary(max_size=300),
            st.sampled_from([None, 0, 1, 2, 3]),
        ),
        min_size=1,
        max_size=6,
    ),
    st.booleans(),
)
def test_authentic_records_with_arbitrary_contents(
    records: list[tuple[int, int, int, bytes, int | None]], to_server: bool
) -> None:
    pair = Pair()
    pair.open_request()
    sender, receiver = (pair.client, pair.server) if to_server else (pair.server, pair.client)
    with contextlib.suppress(RemoteProtocolError):
        for ftype, flags, stream, body, tag in records:
            record = forge(sender, ftype, flags=flags, stream=stream, body=body, tag=tag)
            receiver.receive(record)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(FrameType), st.binary(max_size=120))
def test_bodies(ftype: FrameType, body: bytes) -> None:
    with contextlib.suppress(BodyError):
        decode_body(ftype, body)


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=60))
def test_values_of_any_kind_inside_a_body(value: bytes) -> None:
    """RESULT's data and ERROR's detail take any MessagePack value."""
    for ftype, head in (
        (FrameType.RESULT, b"\x95\0\0\1\xa1k"),
        (FrameType.ERROR, b"\x83\xa4code\xa1a\xa7message\xa1b\xa6detail\x81\xa1k"),
    ):
        with contextlib.suppress(BodyError):
            decode_body(ftype, head + value)
