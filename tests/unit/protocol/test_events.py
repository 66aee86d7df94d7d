"""Events show sizes and public names, never what a prompt or an answer says."""

from __future__ import annotations

from cocoon_sdk.protocol.events import HandshakeCompleted, MessageReceived, PeerClosed
from cocoon_sdk.protocol.messages import Channel, CloseReason, Delta, encode_body
from cocoon_sdk.protocol.params import ChannelId


def test_a_message_shows_its_kind_and_size_only() -> None:
    delta = Delta(1, 0, Channel.CONTENT, "SECRET", [77777])
    body = encode_body(delta)
    text = repr(MessageReceived(3, delta, body, end=True))
    assert text == f"MessageReceived(Delta, stream=3, {len(body)} bytes, end=True)"


def test_a_handshake_shows_no_key_and_no_channel() -> None:
    event = HandshakeCompleted(b"s" * 16, b"e" * 32, 1, b"k" * 32, ChannelId(0, b"c" * 32), None)
    assert repr(event) == f"HandshakeCompleted(session_id={(b's' * 16).hex()}, suite=1)"


def test_a_close_truncates_nothing_unless_it_says_so() -> None:
    assert PeerClosed(CloseReason.NORMAL).truncated == ()
