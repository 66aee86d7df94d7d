"""ATTEST_CHALLENGE and ATTEST come in pairs, on stream 0, either way."""

from __future__ import annotations

import pytest
from wire_pair import Pair, forge

from cocoon_sdk.protocol.constants import CLOSE_PROTOCOL, CLOSE_RATE
from cocoon_sdk.protocol.errors import LocalProtocolError, RemoteProtocolError
from cocoon_sdk.protocol.messages import Attest, AttestChallenge, Error, FrameType, encode_body

ANSWER = Attest(b"quote", b"collateral")


def challenge(pair: Pair) -> bytes:
    return forge(pair.client, FrameType.ATTEST_CHALLENGE, stream=0, body=b"\x90")


def test_one_after_the_other_both_ways() -> None:
    pair = Pair()
    for _ in range(3):
        pair.client.send(0, AttestChallenge())
        pair.server.send(0, AttestChallenge())
        pair.exchange()
        pair.client.send(0, ANSWER)
        pair.server.send(0, ANSWER)
        pair.exchange()
    assert len(pair.client_events) == len(pair.server_events) == 1 + 6


def test_a_hint_at_a_fork_answers_no_challenge() -> None:
    pair = Pair()
    for asking, answering in ((pair.client, pair.server), (pair.server, pair.client)):
        asking.send(0, AttestChallenge())
        answering.send(0, Error("registry_fork", "another one"))  # before it has the challenge
        pair.exchange()
        answering.send(0, Error("registry_fork", "another one"))
        answering.send(0, ANSWER)
        pair.exchange()
    assert len(pair.client_events) == len(pair.server_events) == 1 + 4


def test_our_own_mistakes() -> None:
    pair = Pair()
    with pytest.raises(LocalProtocolError, match="answers no ATTEST_CHALLENGE"):
        pair.server.send(0, ANSWER)
    pair.client.send(0, AttestChallenge())
    with pytest.raises(LocalProtocolError, match="wait for its ATTEST"):
        pair.client.send(0, AttestChallenge())
    pair.exchange()
    pair.server.send(0, ANSWER)
    with pytest.raises(LocalProtocolError, match="answers no ATTEST_CHALLENGE"):
        pair.server.send(0, ANSWER)
    pair.exchange()
    assert pair.client.ready
    assert pair.server.ready


def test_a_second_challenge_before_the_answer() -> None:
    pair = Pair()
    assert len(pair.server.receive(challenge(pair))) == 1
    with pytest.raises(RemoteProtocolError, match="second open ATTEST_CHALLENGE") as caught:
        pair.server.receive(challenge(pair))
    assert caught.value.close_code == CLOSE_RATE


def test_an_answer_that_nobody_asked_for() -> None:
    pair = Pair()
    record = forge(pair.server, FrameType.ATTEST, stream=0, body=encode_body(ANSWER))
    with pytest.raises(RemoteProtocolError, match="answers no ATTEST_CHALLENGE") as caught:
        pair.client.receive(record)
    assert caught.value.close_code == CLOSE_PROTOCOL


def test_an_answer_is_taken_once() -> None:
    pair = Pair()
    pair.client.send(0, AttestChallenge())
    pair.exchange()
    body = encode_body(ANSWER)
    pair.client.receive(forge(pair.server, FrameType.ATTEST, stream=0, body=body))
    with pytest.raises(RemoteProtocolError, match="answers no ATTEST_CHALLENGE"):
        pair.client.receive(forge(pair.server, FrameType.ATTEST, stream=0, body=body))


def test_errors_of_the_connection_are_no_part_of_it() -> None:
    pair = Pair()
    for _ in range(2):
        pair.client.send(0, Error("internal", "x"))
        pair.server.send(0, Error("internal", "x"))
    pair.exchange()
    assert len(pair.client_events) == len(pair.server_events) == 3


def test_an_error_is_an_answer_as_well() -> None:
    pair = Pair()
    for _ in range(2):
        pair.client.send(0, AttestChallenge())
        pair.exchange()
        pair.server.send(0, Error("not_found", "no quotes here"))
        pair.exchange()
    with pytest.raises(LocalProtocolError, match="answers no ATTEST_CHALLENGE"):
        pair.server.send(0, ANSWER)
    with pytest.raises(RemoteProtocolError, match="answers no ATTEST_CHALLENGE"):
        pair.client.receive(
            forge(pair.server, FrameType.ATTEST, stream=0, body=encode_body(ANSWER))
        )
