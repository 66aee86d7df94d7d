"""DSSE envelopes: a payload, its type, and signatures over both (registry.md).

The signature is over bytes, so verification comes before parsing and no canonical JSON is needed.
The keyid is the hex public key, because other tools want one; here it decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from cocoon_sdk.errors import RegistryFormatError, RegistrySignatureError
from cocoon_sdk.keys import SIGNATURE_BYTES, Signer, verify_signature
from cocoon_sdk.registry.strict import decode_strict

MAX_SIGNATURES = 64
# What an unsigned file can make a client hash: a check costs as much as hashing the payload.
MAX_HASHED = 2 * 1024 * 1024 * 1024
_MAX_VALUES = 16 * MAX_SIGNATURES  # of the JSON: other tools add fields to a signature


class EnvelopeSignature(Struct, frozen=True, kw_only=True):
    """One signature; base64 in JSON, raw bytes here."""

    sig: bytes
    keyid: str = ""


class Envelope(Struct, frozen=True, kw_only=True, rename={"payload_type": "payloadType"}):
    """The outer JSON object of root.json and registry.json."""

    payload: bytes
    payload_type: str
    signatures: Annotated[list[EnvelopeSignature], Meta(max_length=MAX_SIGNATURES)]


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: the bytes that are signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def decode_envelope(raw: bytes, *, what: str, limit: int) -> Envelope:
    """Parse an envelope of at most `limit` bytes. Nothing in it is trusted yet.

    Raises:
        RegistryFormatError: it does not parse, or carries more than MAX_SIGNATURES signatures.
    """
    return decode_strict(raw, Envelope, what=what, limit=limit, values=_MAX_VALUES)


def sign_envelope(payload: bytes, payload_type: str, signers: Iterable[Signer]) -> bytes:
    """The envelope's JSON, signed by each signer once."""
    message = pae(payload_type, payload)
    signatures = {
        signer.public_key.hex(): EnvelopeSignature(
            sig=signer.sign(message), keyid=signer.public_key.hex()
        )
        for signer in signers
    }
    return msgspec.json.encode(
        Envelope(payload=payload, payload_type=payload_type, signatures=list(signatures.values()))
    )


def signing_keys(
    envelope: Envelope, keys: Sequence[bytes], *, enough: int | None = None
) -> frozenset[bytes]:
    """Those of `keys` that signed the envelope, each counted once however often it signed.

    With `enough`, the search ends when that many are found. It also ends after MAX_HASHED bytes, which
    only a very large file with many signatures that name no key of the role can reach.
    """
    message = pae(envelope.payload_type, envelope.payload)
    checks_left = max(len(keys), MAX_HASHED // len(message))
    found: set[bytes] = set()
    # The key that a signature names goes first, and so do signatures that name one: a hint that saves
    # checks and decides nothing.
    names = {key.hex() for key in keys}
    signatures = {item.sig: item.keyid for item in envelope.signatures}
    for signature, keyid in sorted(signatures.items(), key=lambda one: one[1] not in names):
        if len(signature) != SIGNATURE_BYTES:
            continue
        for key in sorted(keys, key=lambda key: key.hex() != keyid):
            if len(found) == enough or checks_left == 0:
                return frozenset(found)
            if key in found:
                continue
            checks_left -= 1
            if verify_signature(key, message, signature):
                found.add(key)
                break
    return frozenset(found)


def verify_envelope(
    envelope: Envelope, payload_type: str, keys: Sequence[bytes], threshold: int, *, what: str
) -> bytes:
    """The payload, once `threshold` distinct keys of `keys` have signed it as `payload_type`.

    Raises:
        RegistryFormatError: the envelope is of another type.
        RegistrySignatureError: too few of the keys signed.
    """
    if envelope.payload_type != payload_type:
        raise RegistryFormatError(
            f"{what} has payload type {envelope.payload_type[:80]!r}, expected {payload_type!r}"
        )
    count = len(signing_keys(envelope, keys, enough=threshold))
    if count < threshold:
        raise RegistrySignatureError(
            f"{what} has valid signatures of {count} of {len(keys)} keys, {threshold} are needed"
        )
    return envelope.payload
