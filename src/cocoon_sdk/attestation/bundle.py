r"""The attestation bundle, its claims, and what binds a quote to them (wire.md, "Attestation").

    bundle = "cocoon/1 att\0" | u32 length, quote | u32 length, collateral | u32 length, claims

Integers are little-endian and nothing follows the claims. The quote is as the hardware made it, the
collateral is the JSON text of Intel's answers (names as in `QuoteCollateralV3`), the claims are a TLV:

    1  not before, u64 unix seconds                    4  model manifest hash, 32 bytes
    2  expires, u64 unix seconds                       5  digest of GPU evidence, 32 bytes, optional
    3  masterchain seqno u32 and root hash, optional   6  image id, 32 bytes

Unlike parameters of the handshake, claims of unknown types are refused: one that this version cannot read
could take back what the others say.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from cocoon_sdk.errors import AttestationError
from cocoon_sdk.protocol.errors import RemoteProtocolError
from cocoon_sdk.protocol.tlv import decode_tlv, encode_tlv
from cocoon_sdk.types.attestation import AttestationStep

MAGIC = b"cocoon/1 att\0"
MAX_QUOTE = 32 * 1024
MAX_COLLATERAL = 256 * 1024
MAX_CLAIMS = 1024
MAX_BUNDLE = len(MAGIC) + 3 * 4 + MAX_QUOTE + MAX_COLLATERAL + MAX_CLAIMS

DOMAIN_STAPLED = b"cocoon/1 tdx\0"
DOMAIN_FRESH = b"cocoon/1 tdx-fresh\0"

_HASH = 32
_NOT_BEFORE, _EXPIRES, _BLOCK, _MODEL, _GPU, _IMAGE = range(1, 7)
_TIME = struct.Struct("<Q")
_SEQNO = struct.Struct("<I")
_SIZES = {
    _NOT_BEFORE: _TIME.size,
    _EXPIRES: _TIME.size,
    _BLOCK: _SEQNO.size + _HASH,
    _MODEL: _HASH,
    _GPU: _HASH,
    _IMAGE: _HASH,
}
_REQUIRED = {_NOT_BEFORE, _EXPIRES, _MODEL, _IMAGE}


@dataclass(frozen=True, slots=True)
class MasterchainBlock:
    """A block that the machine knew of: the claims are not older than it."""

    seqno: int
    root_hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What the software inside the machine says of itself. Times are unix seconds.

    It is worth as much as that software: nothing, unless the measurements are those of a trusted image.
    """

    not_before: int
    expires: int
    model_hash: bytes
    image_id: bytes
    block: MasterchainBlock | None = None
    gpu_evidence: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """Quote, collateral and claims as bytes; `digest` is the descriptor's `att`."""

    quote: bytes
    collateral: bytes
    claims: bytes

    @property
    def digest(self) -> bytes:
        """BLAKE2b-256 of the encoded bundle."""
        return bundle_digest(encode_bundle(self))


def bundle_digest(raw: bytes) -> bytes:
    """BLAKE2b-256 of the bundle's bytes, as a descriptor's `att` names it."""
    return hashlib.blake2b(raw, digest_size=_HASH).digest()


def encode_bundle(bundle: Bundle) -> bytes:
    """The bundle's one form.

    Raises:
        AttestationError: a part is empty or above its limit.
    """
    parts = bytearray(MAGIC)
    for name, part, limit in (
        ("quote", bundle.quote, MAX_QUOTE),
        ("collateral", bundle.collateral, MAX_COLLATERAL),
        ("claims", bundle.claims, MAX_CLAIMS),
    ):
        _check_size(name, len(part), limit)
        parts += _SEQNO.pack(len(part)) + part
    return bytes(parts)


def decode_bundle(raw: bytes) -> Bundle:
    """Read a bundle; every byte must belong to it. The claims are not read yet.

    Raises:
        AttestationError: another format, a part above its limit, cut off, or bytes left over.
    """
    if not raw.startswith(MAGIC):
        raise malformed("it does not begin as an attestation bundle of version 1")
    offset, parts = len(MAGIC), []
    for name, limit in (
        ("quote", MAX_QUOTE),
        ("collateral", MAX_COLLATERAL),
        ("claims", MAX_CLAIMS),
    ):
        if offset + _SEQNO.size > len(raw):
            raise malformed(f"it ends before the length of its {name}")
        (size,) = _SEQNO.unpack_from(raw, offset)
        _check_size(name, size, limit)
        offset += _SEQNO.size
        part = raw[offset : offset + size]
        if len(part) != size:
            raise malformed(f"its {name} is cut off: {len(part)} of {size} bytes")
        parts.append(part)
        offset += size
    if offset != len(raw):
        raise malformed(f"{len(raw) - offset} bytes follow its claims")
    return Bundle(quote=parts[0], collateral=parts[1], claims=parts[2])


def encode_claims(claims: Claims) -> bytes:
    """The claims as TLV.

    Raises:
        AttestationError: a hash is not 32 bytes, a number does not fit, or the claims never apply.
    """
    try:
        items = {
            _NOT_BEFORE: _TIME.pack(claims.not_before),
            _EXPIRES: _TIME.pack(claims.expires),
            _MODEL: claims.model_hash,
            _IMAGE: claims.image_id,
        }
        if claims.block is not None:
            items[_BLOCK] = _SEQNO.pack(claims.block.seqno) + claims.block.root_hash
    except struct.error as error:
        raise malformed(f"a number of its claims does not fit: {error}") from error
    if claims.gpu_evidence is not None:
        items[_GPU] = claims.gpu_evidence
    raw = encode_tlv(items)
    decode_claims(raw)
    return raw


def decode_claims(raw: bytes) -> Claims:
    """Read the claims: known types only, each of its exact size, the required ones present.

    Raises:
        AttestationError: they are not like that, or they expire before they begin.
    """
    try:
        items = decode_tlv(raw)
    except RemoteProtocolError as error:
        raise malformed(f"its claims are not a TLV: {error}") from error
    for kind, value in items.items():
        if kind not in _SIZES:
            raise malformed(f"its claims hold the unknown type {kind}; update cocoon-sdk")
        if len(value) != _SIZES[kind]:
            raise malformed(f"claim {kind} has {len(value)} bytes instead of {_SIZES[kind]}")
    missing = _REQUIRED - items.keys()
    if missing:
        raise malformed(f"its claims lack type {', '.join(map(str, sorted(missing)))}")
    block = items.get(_BLOCK)
    claims = Claims(
        not_before=_TIME.unpack(items[_NOT_BEFORE])[0],
        expires=_TIME.unpack(items[_EXPIRES])[0],
        model_hash=items[_MODEL],
        image_id=items[_IMAGE],
        block=None
        if block is None
        else MasterchainBlock(_SEQNO.unpack_from(block)[0], block[_SEQNO.size :]),
        gpu_evidence=items.get(_GPU),
    )
    if claims.expires <= claims.not_before:
        raise malformed("its claims expire before they begin")
    return claims


def stapled_report_data(identity: bytes, claims: bytes) -> bytes:
    """The 64 bytes that a quote of a bundle must carry: they bind the identity key and the claims."""
    digest = hashlib.blake2b(claims, digest_size=_HASH).digest()
    return hashlib.sha512(DOMAIN_STAPLED + _key(identity) + digest).digest()


def fresh_report_data(identity: bytes, exporter: bytes) -> bytes:
    """The 64 bytes that a fresh quote must carry: they bind the identity key and one session."""
    if len(exporter) != _HASH:
        raise ValueError(f"a session's exporter has {_HASH} bytes, got {len(exporter)}")
    return hashlib.sha512(DOMAIN_FRESH + _key(identity) + exporter).digest()


def malformed(why: str) -> AttestationError:
    """The bundle cannot be read; a step of its own."""
    return AttestationError(
        f"the attestation bundle cannot be read: {why}",
        steps=(AttestationStep(name="bundle", ok=False, detail=why),),
    )


def _key(identity: bytes) -> bytes:
    if len(identity) != _HASH:
        raise ValueError(f"an identity key has {_HASH} bytes, got {len(identity)}")
    return identity


def _check_size(name: str, size: int, limit: int) -> None:
    if not 0 < size <= limit:
        raise malformed(f"its {name} has {size} bytes, allowed are 1 to {limit}")
