"""The hint at another registry of a version, and the name of a file that nobody has judged."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import pytest
from registry_world import World

from cocoon_sdk.errors import RegistryFormatError
from cocoon_sdk.protocol.messages import Error, decode_body, encode_body
from cocoon_sdk.protocol.messages import FrameType as F
from cocoon_sdk.registry import gossip
from cocoon_sdk.registry.dsse import sign_envelope
from cocoon_sdk.registry.gossip import PIECE_BYTES, ForkHint, read_claim, read_hint
from cocoon_sdk.registry.model import REGISTRY_TYPE
from cocoon_sdk.registry.network import registry_id
from cocoon_sdk.registry.verify import MAX_REGISTRY_BYTES

HINT = ForkHint(b"r" * 32, 2**63, b"d" * 32, MAX_REGISTRY_BYTES)


def test_a_hint_survives_its_frame_which_fills_the_smallest_bucket() -> None:
    frame = HINT.frame()
    body = encode_body(frame)
    assert len(body) <= 246
    received = decode_body(F.ERROR, body)
    assert isinstance(received, Error)
    assert received.code == "registry_fork"
    assert read_hint(received) == HINT


@pytest.mark.parametrize(
    "change",
    [
        {"registry": b"r" * 7},
        {"registry": b"r" * 33},
        {"registry": "rrrrrrrr"},
        {"version": -1},
        {"version": None},
        {"digest": b"d" * 31},
        {"digest": "d" * 32},
        {"size": 0},
        {"size": MAX_REGISTRY_BYTES + 1},
        {"size": True},
        {"size": [1]},
    ],
)
def test_a_hint_that_makes_no_sense(change: dict[str, Any]) -> None:
    assert read_hint(Error("registry_fork", "", detail=HINT.frame().detail | change)) is None


def test_an_empty_hint() -> None:
    assert read_hint(Error("registry_fork", "")) is None


def test_pieces_make_up_the_file() -> None:
    name = (b"d" * 32).hex()
    assert HINT._replace(size=1).pages == [(f"/registry/{name}/0", 1)]
    assert HINT._replace(size=PIECE_BYTES).pages == [(f"/registry/{name}/0", PIECE_BYTES)]
    assert HINT._replace(size=2 * PIECE_BYTES + 5).pages == [
        (f"/registry/{name}/0", PIECE_BYTES),
        (f"/registry/{name}/1", PIECE_BYTES),
        (f"/registry/{name}/2", 5),
    ]


def test_a_file_is_named_without_being_judged() -> None:
    world = World()
    assert world.registry_raw is not None
    for raw in (world.registry_raw, world.make_registry(1, signers=[])):
        claim = read_claim(raw)
        assert claim[:2] == (registry_id("devnet/test"), 1)
    assert read_claim(world.registry_raw).digest.hex() == world.digest()
    other = read_claim(world.make_registry(7, entries=[]))
    assert other.version == 7
    assert other.digest != read_claim(world.registry_raw).digest


def test_what_is_no_registry_has_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    payloads = (b"[]", b'{"network":"x"}', b'{"network":"x","version":"1"}', b"\xff", b"[" * 9_999)
    for raw in (b"", b"{}", world.roots[1]):
        with pytest.raises(RegistryFormatError):
            read_claim(raw)
    for payload in payloads:
        with pytest.raises(RegistryFormatError):
            read_claim(sign_envelope(payload, REGISTRY_TYPE, []))
    payload = msgspec.json.encode({"network": "x", "version": 1, "more": 2})
    named = read_claim(sign_envelope(payload, REGISTRY_TYPE, []))
    assert named.digest == hashlib.sha256(payload).digest()
    monkeypatch.setattr(gossip, "MAX_REGISTRY_BYTES", 10)
    with pytest.raises(RegistryFormatError, match="the limit is 10"):
        read_claim(world.registry_raw or b"")
