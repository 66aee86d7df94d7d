"""What both halves of the handshake share: the exchange, the seal, and what they come to."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from nacl import bindings as sodium
from nacl.exceptions import CryptoError

from cocoon_sdk.protocol.errors import RemoteProtocolError
from cocoon_sdk.protocol.keyschedule import SessionKeys

Random = Callable[[int], bytes]

NONCE = bytes(12)  # each handshake key seals one message


class ClientResult(NamedTuple):
    """What the client holds after SERVER_HELLO: the message to send, and the session."""

    client_auth: bytes
    keys: SessionKeys
    suite: int
    server_params: bytes


class ServerResult(NamedTuple):
    """What the server holds after CLIENT_AUTH."""

    keys: SessionKeys
    suite: int
    client_key: bytes | None
    client_params: bytes


def exchange(secret: bytes, peer: bytes) -> bytes:
    """X25519.

    Raises:
        RemoteProtocolError: the peer's point has small order.
    """
    try:
        return sodium.crypto_scalarmult(secret, peer)
    except CryptoError as error:  # libsodium refuses the all-zero result
        raise RemoteProtocolError("the peer's ephemeral key has small order") from error


def open_sealed(sealed: bytes, ad: bytes, key: bytes, name: str, *code: int) -> bytes:
    """The inside of the sealed part of the message that is called `name`.

    Raises:
        RemoteProtocolError: not authentic; with the close code, if one is given.
    """
    try:
        return sodium.crypto_aead_chacha20poly1305_ietf_decrypt(sealed, ad, NONCE, key)
    except CryptoError as error:
        raise RemoteProtocolError(f"{name} is not authentic", *code) from error
