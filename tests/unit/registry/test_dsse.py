import base64
import json

import pytest
from registry_world import make_keys
from securesystemslib.dsse import Envelope as OtherEnvelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

from cocoon_sdk.errors import RegistryFormatError, RegistrySignatureError
from cocoon_sdk.keys import verify_signature
from cocoon_sdk.registry import dsse
from cocoon_sdk.registry.dsse import (
    MAX_SIGNATURES,
    decode_envelope,
    pae,
    sign_envelope,
    signing_keys,
    verify_envelope,
)

TYPE = "application/vnd.example+json"
KEYS = make_keys("dsse", 3)
PUBLIC = [key.public_key for key in KEYS]


def test_pae_is_that_of_the_dsse_specification() -> None:
    # The example of the DSSE protocol document.
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    assert pae("é", b"") == b"DSSEv1 2 \xc3\xa9 0 "


def test_round_trip() -> None:
    raw = sign_envelope(b"payload", TYPE, KEYS)
    envelope = decode_envelope(raw, what="x", limit=10_000)
    assert verify_envelope(envelope, TYPE, PUBLIC, 3, what="x") == b"payload"
    document = json.loads(raw)
    assert base64.b64decode(document["payload"]) == b"payload"
    assert [item["keyid"] for item in document["signatures"]] == [key.hex() for key in PUBLIC]


def test_securesystemslib_accepts_our_envelopes() -> None:
    other = OtherEnvelope.from_dict(json.loads(sign_envelope(b"payload", TYPE, KEYS[:2])))
    keys = [SSlibKey(key.hex(), "ed25519", "ed25519", {"public": key.hex()}) for key in PUBLIC]
    assert set(other.verify(keys, 2)) == {PUBLIC[0].hex(), PUBLIC[1].hex()}
    with pytest.raises(VerificationError):
        other.verify(keys, 3)


def test_we_accept_envelopes_that_securesystemslib_wrote() -> None:
    other = OtherEnvelope.from_dict(json.loads(sign_envelope(b"payload", TYPE, KEYS)))
    raw = json.dumps(other.to_dict()).encode()
    assert len(signing_keys(decode_envelope(raw, what="x", limit=10_000), PUBLIC)) == 3


def test_a_key_counts_once_however_often_and_under_whatever_name_it_signed() -> None:
    document = json.loads(sign_envelope(b"payload", TYPE, KEYS[:1]))
    signature = document["signatures"][0]["sig"]
    document["signatures"] = [{"sig": signature, "keyid": key.hex()} for key in PUBLIC]
    envelope = decode_envelope(json.dumps(document).encode(), what="x", limit=10_000)
    assert signing_keys(envelope, PUBLIC) == {PUBLIC[0]}
    with pytest.raises(RegistrySignatureError, match="1 of 3 keys, 2 are needed"):
        verify_envelope(envelope, TYPE, PUBLIC, 2, what="x")


def test_the_keyid_decides_nothing() -> None:
    document = json.loads(sign_envelope(b"payload", TYPE, KEYS[:2]))
    for item in document["signatures"]:
        item["keyid"] = "nonsense"
    envelope = decode_envelope(json.dumps(document).encode(), what="x", limit=10_000)
    assert len(signing_keys(envelope, PUBLIC)) == 2


def test_the_payload_type_is_signed_and_compared() -> None:
    document = json.loads(sign_envelope(b"payload", TYPE, KEYS))
    with pytest.raises(RegistryFormatError, match="payload type"):
        verify_envelope(
            decode_envelope(json.dumps(document).encode(), what="x", limit=10_000),
            "application/other",
            PUBLIC,
            1,
            what="x",
        )
    document["payloadType"] = "application/other"
    with pytest.raises(RegistrySignatureError):
        verify_envelope(
            decode_envelope(json.dumps(document).encode(), what="x", limit=10_000),
            "application/other",
            PUBLIC,
            1,
            what="x",
        )


def test_every_bit_of_the_payload_is_signed() -> None:
    document = json.loads(sign_envelope(b"payload", TYPE, KEYS))
    for index in range(7):
        payload = bytearray(b"payload")
        payload[index] ^= 1
        document["payload"] = base64.b64encode(payload).decode()
        envelope = decode_envelope(json.dumps(document).encode(), what="x", limit=10_000)
        assert not signing_keys(envelope, PUBLIC)


@pytest.mark.parametrize(
    "change",
    [
        {"payload": "***"},
        {"payload": 1},
        {"payloadType": None},
        {"signatures": {}},
        {"signatures": [{"keyid": "x"}]},
        {"signatures": [{"sig": "AA=="}] * (MAX_SIGNATURES + 1)},
    ],
)
def test_malformed_envelopes(change: dict[str, object]) -> None:
    document = json.loads(sign_envelope(b"payload", TYPE, KEYS)) | change
    with pytest.raises(RegistryFormatError):
        decode_envelope(json.dumps(document).encode(), what="x", limit=100_000)


def test_signatures_of_the_wrong_length_are_ignored() -> None:
    document = json.loads(sign_envelope(b"payload", TYPE, KEYS[:1]))
    document["signatures"] = [{"sig": "AA=="}, *document["signatures"], {"sig": ""}]
    envelope = decode_envelope(json.dumps(document).encode(), what="x", limit=10_000)
    assert len(signing_keys(envelope, PUBLIC)) == 1


@pytest.mark.parametrize("filler", [b"{}", b"[]", b"1", b'"a"', b'{"a":1}'])
def test_nothing_large_is_built_before_the_signatures_are_checked(filler: bytes) -> None:
    raw = sign_envelope(b"payload", TYPE, KEYS)
    for count, fits in ((100, True), (2_000, False)):
        padded = raw[:-1] + b',"more":[' + b",".join([filler] * count) + b"]}"
        if fits:
            assert decode_envelope(padded, what="x", limit=100_000).payload == b"payload"
        else:
            with pytest.raises(RegistryFormatError, match="JSON values"):
                decode_envelope(padded, what="x", limit=100_000)


def test_the_number_of_signatures_is_limited() -> None:
    document = json.loads(sign_envelope(b"payload", TYPE, KEYS[:1]))
    for count, fits in ((64, True), (65, False)):
        document["signatures"] = document["signatures"][:1] * count
        raw = json.dumps(document).encode()
        if fits:
            assert len(decode_envelope(raw, what="x", limit=100_000).signatures) == count
        else:
            with pytest.raises(RegistryFormatError):
                decode_envelope(raw, what="x", limit=100_000)


@pytest.mark.parametrize("named", [True, False])
def test_the_hashing_that_an_unsigned_file_can_cause_is_bounded(
    named: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    payload = b"p" * 1000
    document = json.loads(sign_envelope(payload, TYPE, KEYS))
    rubbish = [
        {"sig": base64.b64encode(bytes([number]) * 64).decode(), "keyid": PUBLIC[0].hex()}
        for number in range(MAX_SIGNATURES - 3)
    ]
    if not named:
        rubbish = [{"sig": one["sig"]} for one in rubbish]
    document["signatures"] = [*rubbish, *document["signatures"]]
    envelope = decode_envelope(json.dumps(document).encode(), what="x", limit=100_000)
    checks: list[bytes] = []

    def verify(key: bytes, message: bytes, signature: bytes) -> bool:
        checks.append(message)
        return verify_signature(key, message, signature)

    monkeypatch.setattr(dsse, "verify_signature", verify)
    assert len(signing_keys(envelope, PUBLIC)) == 3
    monkeypatch.setattr(dsse, "MAX_HASHED", 20 * (len(payload) + 100))
    checks.clear()
    found = signing_keys(envelope, PUBLIC)
    assert len(found) == (0 if named else 3)  # signatures that name a key of the role go first
    assert sum(map(len, checks)) <= 20 * (len(payload) + 100)


def test_a_hint_at_a_key_that_signed_already_costs_no_check(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With checks bounded, a signature that names a wrong key must not use up those of others."""
    document = json.loads(sign_envelope(b"payload", TYPE, KEYS[:2]))
    for signature in document["signatures"]:
        signature["keyid"] = PUBLIC[0].hex()
    envelope = decode_envelope(json.dumps(document).encode(), what="x", limit=100_000)
    monkeypatch.setattr(dsse, "MAX_HASHED", 0)  # as many checks as there are keys
    assert signing_keys(envelope, PUBLIC[:2]) == frozenset(PUBLIC[:2])
