"""Parameters inside the encrypted parts of the handshake (wire.md, "Messages")."""

from __future__ import annotations

import struct
from typing import NamedTuple

from cocoon_sdk.protocol.constants import CLOSE_CLIENT_AUTH, MAX_PLAINTEXT, REQUEST_BUCKET
from cocoon_sdk.protocol.errors import LocalProtocolError, RemoteProtocolError
from cocoon_sdk.protocol.padding import PaddingPolicy
from cocoon_sdk.protocol.tlv import decode_tlv, encode_tlv

_CHANNEL = struct.Struct(">i32s")
_REGISTRY = struct.Struct("<Q32s")  # version and digest; the registry id fills the rest
_MIN_ID, _MAX_ID = 8, 32

_PARAM_MAX_RECORD = 1  # of the server
_PARAM_CHANNEL = 1  # of the client
_PARAM_PADDING = 3
_PARAM_REGISTRY = 4


class ChannelId(NamedTuple):
    """The address of a payment channel."""

    workchain: int
    hash: bytes


class RegistryRef(NamedTuple):
    """The registry that the client used: a hash of its network text, its version and its digest."""

    registry_id: bytes
    version: int
    digest: bytes


class ClientParams(NamedTuple):
    """What a client tells about itself under the handshake's encryption."""

    channel: ChannelId | None = None
    padding: PaddingPolicy = PaddingPolicy.DEFAULT
    registry: RegistryRef | None = None

    def encode(self) -> bytes:
        """The TLV list; the default padding policy is left out.

        Raises:
            LocalProtocolError: a field of the wrong size.
        """
        items: dict[int, bytes] = {}
        try:
            if self.channel is not None:
                _require(len(self.channel.hash) == 32, "a channel hash is 32 bytes")
                items[_PARAM_CHANNEL] = _CHANNEL.pack(*self.channel)
            if self.padding is not PaddingPolicy.DEFAULT:
                items[_PARAM_PADDING] = bytes([self.padding])
            if self.registry is not None:
                name, version, digest = self.registry
                _require(_MIN_ID <= len(name) <= _MAX_ID, "a registry id is 8 to 32 bytes")
                _require(len(digest) == 32, "a registry digest is 32 bytes")
                items[_PARAM_REGISTRY] = _REGISTRY.pack(version, digest) + name
        except struct.error as error:
            raise LocalProtocolError(f"a handshake parameter is out of range: {error}") from error
        return encode_tlv(items)

    @classmethod
    def decode(cls, raw: bytes) -> ClientParams:
        """Parse a peer's list; unknown parameters are ignored.

        Raises:
            RemoteProtocolError: malformed, with close code 4401.
        """
        items = decode_tlv(raw, CLOSE_CLIENT_AUTH)
        channel = registry = None
        padding = PaddingPolicy.DEFAULT
        if (value := items.get(_PARAM_CHANNEL)) is not None:
            if len(value) != _CHANNEL.size:
                raise _refused("channel address", value)
            channel = ChannelId(*_CHANNEL.unpack(value))
        if (value := items.get(_PARAM_PADDING)) is not None:
            if len(value) != 1 or value[0] > PaddingPolicy.OFF:
                raise _refused("padding policy", value)
            padding = PaddingPolicy(value[0])
        if (value := items.get(_PARAM_REGISTRY)) is not None:
            if not _MIN_ID <= len(value) - _REGISTRY.size <= _MAX_ID:
                raise _refused("registry reference", value)
            version, digest = _REGISTRY.unpack_from(value)
            registry = RegistryRef(value[_REGISTRY.size :], version, digest)
        return cls(channel, padding, registry)


def encode_server_params(max_plaintext: int = MAX_PLAINTEXT) -> bytes:
    """The server's list: the largest record plaintext that it takes."""
    return encode_tlv({_PARAM_MAX_RECORD: max_plaintext.to_bytes(4, "little")})


def decode_server_params(raw: bytes) -> int:
    """The largest record plaintext that the server takes, at most our own limit.

    Raises:
        RemoteProtocolError: malformed, or less than the record of the shortest REQUEST.
    """
    value = decode_tlv(raw).get(_PARAM_MAX_RECORD)
    if value is None:
        return MAX_PLAINTEXT
    if len(value) != 4:
        raise RemoteProtocolError(f"the record size parameter has {len(value)} bytes, not 4")
    size = int.from_bytes(value, "little")
    if size < REQUEST_BUCKET:
        raise RemoteProtocolError(
            f"the server takes records of {size} bytes; REQUEST needs {REQUEST_BUCKET}"
        )
    # A sender fills whole buckets, so the limit rounds down to one.
    return min(MAX_PLAINTEXT, 1 << (size.bit_length() - 1))


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise LocalProtocolError(message)


def _refused(name: str, value: bytes) -> RemoteProtocolError:
    return RemoteProtocolError(
        f"CLIENT_AUTH has a malformed {name} of {len(value)} bytes", CLOSE_CLIENT_AUTH
    )
