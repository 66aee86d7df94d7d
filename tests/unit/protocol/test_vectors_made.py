"""The vector files: made by a second implementation, always the same, and leaving nothing out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl import bindings as sodium

from cocoon_sdk.protocol.conformance.reasons import Reason
from cocoon_sdk.protocol.messages import FrameType
from tests.reference.wire import handshake as reference
from tests.reference.wire.frames import NUMBERS, Flow
from tests.reference.wire.msgpack import pack
from tests.reference.wire.recorded import CIPHERTEXT, SHARED_SECRET
from tests.reference.wire.scene import MLKEM_SEED
from tests.reference.wire.secretstream import SecretStream
from tests.reference.wire.vectors import FILES as MADE
from tests.reference.wire.vectors import render
from tests.unit.protocol.conformance_pipe import FILES, FOLDER, vectors

# What no short case can show: 2^32 records, 2^31 streams, and a body that MessagePack has no form for.
NOT_IN_VECTORS = {Reason.RECORD_LIMIT, Reason.NOT_ENCODABLE}


def test_every_file_is_made_here() -> None:
    assert set(FILES) == set(MADE)


@pytest.mark.parametrize("name", MADE)
def test_made_again_byte_for_byte(name: str) -> None:
    assert render(name) == (FOLDER / name).read_text("utf-8")


def test_the_generator_shares_no_code_with_the_product() -> None:
    program = (
        "import sys; from tests.reference.wire import vectors\n"
        "for name in vectors.FILES: vectors.render(name)\n"
        "print(*sorted(sys.modules))"
    )
    root = FOLDER.parents[1]
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    packages = {name.partition(".")[0] for name in done.stdout.split()}
    assert "cryptography" in packages
    assert not packages & {"cocoon_sdk", "nacl", "msgspec"}


def test_the_script_finds_them_up_to_date() -> None:
    root = FOLDER.parents[1]
    check = [sys.executable, str(root / "scripts" / "write_vectors.py"), "--check"]
    assert subprocess.run(check, capture_output=True, check=False).returncode == 0


def test_ids_are_unique() -> None:
    count = Counter(case["id"] for name in FILES for case in vectors(name))
    assert [name for name, times in count.items() if times > 1] == []


def test_every_frame_is_there_both_ways() -> None:
    assert {kind.name: int(kind) for kind in FrameType} == NUMBERS
    bodies = vectors("bodies.json")
    for way, member in (("encode", "value"), ("decode", "body")):
        of_way = [case for case in bodies if case["id"].startswith(way)]
        assert {case["frame"] for case in of_way} == set(NUMBERS)
        assert all(member in case for case in of_way)
    seen = {"client": set[str](), "server": set[str]()}
    for case in vectors("records.json"):
        for step, answer in zip(case["steps"], case["expect"]["steps"], strict=True):
            if step["do"] == "send" and "refused" not in answer:
                seen[case["config"]["role"]].add(step["frame"])
            seen[case["config"]["role"]].update(
                event["frame"] for event in answer.get("events", ()) if event["event"] == "message"
            )
    # PONG and CLOSE are not sent by name and have events of their own.
    assert seen == {role: set(NUMBERS) - {"PONG", "CLOSE"} for role in seen}


def test_every_reason_is_there() -> None:
    text = "".join((FOLDER / name).read_text("utf-8") for name in FILES)
    missing = {reason for reason in Reason if f'"reason":"{reason}"' not in text}
    assert missing == NOT_IN_VECTORS
    codes = {code for code in range(4400, 4430) if f'"close_code":{code}' in text}
    assert codes == {4400, 4401, 4408, 4413, 4426, 4429}  # 4402 is said by no session


def test_the_recorded_encapsulation_is_genuine() -> None:
    assert reference.mlkem_decapsulate(MLKEM_SEED, CIPHERTEXT) == SHARED_SECRET


def test_the_reference_reproduces_the_vectors_of_the_specification() -> None:
    given_ = json.loads((FOLDER / "wire_v1.json").read_text("utf-8"))
    value = {name: bytes.fromhex(v) for name, v in given_.items() if name != "records"
             and isinstance(v, str) and name != "protocol"}  # fmt: skip
    hello = reference.ClientHello(
        ephemeral=reference.x25519_public(value["client_eph_sk"]),
        provider_id=reference.ed25519_public(value["provider_seed"]),
        registry_version=given_["registry_version"],
        registry_digest=value["registry_digest"],
    ).encode()
    assert hello == value["client_hello"]
    ephemeral = reference.x25519_public(value["server_eph_sk"])
    clear = reference.ServerHello(ephemeral=ephemeral, flags=1).encode()
    keys = reference.Schedule(hello, clear, reference.x25519(value["client_eph_sk"], ephemeral))
    signed = reference.ed25519_sign(value["provider_seed"], reference.SERVER_LABEL + keys.th1)
    params = reference.tlv({1: (65536).to_bytes(4, "little")})
    assert clear + keys.seal_server(signed + params) == value["server_hello"]
    auth = reference.AuthPlaintext(
        kind=1,
        key=reference.ed25519_public(value["client_seed"]),
        signature=reference.ed25519_sign(value["client_seed"], reference.CLIENT_LABEL + keys.th2),
        params=reference.tlv({1: b"EQ-channel"}),
    )
    assert b"\3" + keys.seal_client(auth.encode()) == value["client_auth"]
    assert (keys.th3, keys.session_id, keys.exporter) == (
        value["transcript"],
        value["session_id"],
        value["exporter"],
    )
    flow = Flow(keys.c2s, bytes.fromhex(given_["records"][0]["wire"])[1:25])
    for record in given_["records"]:
        wire = flow.forged(
            record["ftype"],
            bytes.fromhex(record["body"]),
            stream=record["stream"],
            flags=record["flags"],
        )
        assert wire.hex() == record["wire"]


@settings(max_examples=50, deadline=None)
@given(
    st.binary(min_size=32, max_size=32),
    st.lists(st.tuples(st.binary(max_size=200), st.binary(max_size=40), st.integers(0, 3))),
)
def test_the_reference_stream_is_libsodiums(
    key: bytes, messages: list[tuple[bytes, bytes, int]]
) -> None:
    state = sodium.crypto_secretstream_xchacha20poly1305_state()
    header = sodium.crypto_secretstream_xchacha20poly1305_init_push(state, key)
    stream = SecretStream(key, header)
    for message, ad, tag in messages:
        sealed = sodium.crypto_secretstream_xchacha20poly1305_push(state, message, ad, tag)
        assert stream.push(message, ad, tag) == sealed


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text()
    | st.binary(),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(), inner, max_size=20),
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(values)
def test_the_reference_encoder_is_messagepack(value: Any) -> None:
    assert pack(value) == msgspec.msgpack.encode(value)


@pytest.mark.parametrize("value", ["x" * 70_000, b"y" * 300, b"z" * 70_000, [0] * 70_000,
                                   {str(n): n for n in range(70_000)}])  # fmt: skip
def test_the_reference_encoder_with_long_values(value: Any) -> None:
    assert pack(value) == msgspec.msgpack.encode(value)
