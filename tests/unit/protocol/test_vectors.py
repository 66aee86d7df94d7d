"""Every byte of vectors/wire_v1.json, from the seeds in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from nacl import bindings as sodium

from cocoon_sdk.keys import Ed25519Key
from cocoon_sdk.protocol.agreement import ClientResult, ServerResult
from cocoon_sdk.protocol.constants import MAX_PLAINTEXT, TYPE_DATA
from cocoon_sdk.protocol.frames import MAX_CHUNK
from cocoon_sdk.protocol.framing import pack_frames, unpack_frame
from cocoon_sdk.protocol.handshake import ClientHandshake, ServerHandshake
from cocoon_sdk.protocol.messages import FrameType
from cocoon_sdk.protocol.params import decode_server_params, encode_server_params
from cocoon_sdk.protocol.records import RecordReader, RecordWriter
from cocoon_sdk.protocol.tlv import encode_tlv

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "wire_v1.json").read_text("utf-8"))
CLIENT_PARAMS = encode_tlv({1: b"EQ-channel"})  # opaque to the handshake


def vector(name: str) -> bytes:
    return bytes.fromhex(VECTORS[name])


@pytest.fixture
def provider() -> Ed25519Key:
    return Ed25519Key(vector("provider_seed"))


@pytest.fixture
def client(provider: Ed25519Key) -> ClientHandshake:
    return ClientHandshake(
        provider_id=provider.public_key,
        signer=Ed25519Key(vector("client_seed")),
        params=CLIENT_PARAMS,
        random=lambda size: vector("client_eph_sk")[:size],
        registry_version=VECTORS["registry_version"],
        registry_digest=vector("registry_digest"),
        suites=(1,),
    )


@pytest.fixture
def server(provider: Ed25519Key) -> ServerHandshake:
    return ServerHandshake(
        identity=provider,
        params=encode_server_params(),
        random=lambda size: vector("server_eph_sk")[:size],
        require_auth=True,
    )


def check_keys(result: ClientResult | ServerResult) -> None:
    assert result.suite == 1
    assert result.keys.transcript == vector("transcript")
    assert result.keys.session_id == vector("session_id")
    assert result.keys.exporter == vector("exporter")


def test_client_half(client: ClientHandshake) -> None:
    assert client.hello == vector("client_hello")
    result = client.finish(vector("server_hello"))
    assert result.client_auth == vector("client_auth")
    assert decode_server_params(result.server_params) == MAX_PLAINTEXT
    check_keys(result)


def test_server_half(server: ServerHandshake) -> None:
    hello, pending = server.respond(vector("client_hello"))
    assert hello == vector("server_hello")
    result = pending.finish(vector("client_auth"))
    assert result.client_key == Ed25519Key(vector("client_seed")).public_key
    assert result.client_params == CLIENT_PARAMS
    check_keys(result)


@pytest.fixture
def c2s(client: ClientHandshake) -> bytes:
    return client.finish(vector("server_hello")).keys.c2s


def records() -> list[dict[str, Any]]:
    assert {record["dir"] for record in VECTORS["records"]} == {"c2s"}
    return list(VECTORS["records"])


def test_records_open(c2s: bytes) -> None:
    reader = RecordReader(c2s, padded=True)
    for record in records():
        frame = unpack_frame(*reader.open(bytes.fromhex(record["wire"])))
        assert frame == (
            record["ftype"],
            record["flags"],
            record["stream"],
            bytes.fromhex(record["body"]),
        )
        assert (frame.kind is FrameType.CLOSE) == record.get("final", False)
    assert reader.count == len(records())


def test_records_seal_again(c2s: bytes) -> None:
    """libsodium draws the header itself, so the recorded one is fed through init_pull."""
    header = bytes.fromhex(records()[0]["wire"])[1:25]
    writer = RecordWriter(c2s)
    sodium.crypto_secretstream_xchacha20poly1305_init_pull(writer._state, header, c2s)
    writer._prefix = bytes([TYPE_DATA]) + header
    for record in records():
        body = bytes.fromhex(record["body"])
        kind = FrameType(record["ftype"])
        # The recorded REQUESTs fill the smallest bucket; a session would take 1024.
        sealed_kind = FrameType.RESULT if kind is FrameType.REQUEST else kind
        [(plaintext, tag)] = pack_frames(
            sealed_kind,
            record["stream"],
            body,
            end=bool(record["flags"]),
            limit=MAX_CHUNK,
            padded=True,
        )
        plaintext = bytes([kind]) + plaintext[1:]
        assert writer.seal(plaintext, tag).hex() == record["wire"]
