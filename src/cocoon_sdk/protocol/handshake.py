"""SIGMA-I over X25519: two state machines that turn three messages into session keys.

Nothing here knows records or streams. Parameters are opaque bytes to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from nacl import bindings as sodium
from nacl.exceptions import CryptoError

from cocoon_sdk.keys import DOMAIN_CLIENT_AUTH, DOMAIN_SERVER_AUTH, Signer, verify_signature
from cocoon_sdk.protocol.constants import (
    CLOSE_CLIENT_AUTH,
    CLOSE_VERSION,
    PROTOCOL_LABEL,
    SUITE_X25519,
    SUPPORTED_SUITES,
    VERSION,
)
from cocoon_sdk.protocol.errors import LocalProtocolError, RemoteProtocolError
from cocoon_sdk.protocol.hello import (
    KIND_ANONYMOUS,
    KIND_ED25519,
    SIGNATURE_BYTES,
    ClientAuth,
    ClientHello,
    ServerHello,
    seal_client_auth,
    sealed_client_auth,
)
from cocoon_sdk.protocol.keyschedule import (
    HandshakeKeys,
    SessionKeys,
    handshake_keys,
    session_keys,
    transcript_hash,
)

Random = Callable[[int], bytes]

_NONCE = bytes(12)  # each handshake key seals one message
_SCALAR_BYTES = 32


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


class ClientHandshake:
    """The client's half. `suites` are those of the provider's signed descriptor."""

    def __init__(
        self,
        *,
        provider_id: bytes,
        signer: Signer | None,
        params: bytes,
        random: Random,
        suites: tuple[int, ...] = SUPPORTED_SUITES,
        registry_version: int = 0,
        registry_digest: bytes = bytes(32),
    ) -> None:
        usable = [suite for suite in suites if suite in SUPPORTED_SUITES]
        if not usable:
            raise LocalProtocolError(f"none of the provider's suites {suites} is supported here")
        self._suite = max(usable)
        self._provider_id = provider_id
        self._signer = signer
        self._params = params
        self._secret = random(_SCALAR_BYTES)
        self.hello = ClientHello(
            version_min=VERSION,
            version_max=VERSION,
            suites=sum(1 << (suite - 1) for suite in set(usable)),
            ephemeral=sodium.crypto_scalarmult_base(self._secret),
            provider_id=provider_id,
            registry_version=registry_version,
            registry_digest=registry_digest,
        ).encode()

    def finish(self, message: bytes) -> ClientResult:
        """Take SERVER_HELLO.

        Raises:
            RemoteProtocolError: malformed, a suite below the strongest, or not this provider.
        """
        hello = ServerHello.decode(message)
        if hello.version != VERSION:
            raise RemoteProtocolError(f"the server chose version {hello.version}", CLOSE_VERSION)
        # A weaker suite than the descriptor promises is a downgrade, whoever chose it.
        if hello.suite != self._suite:
            raise RemoteProtocolError(f"the server chose suite {hello.suite}, not {self._suite}")
        th1 = transcript_hash(PROTOCOL_LABEL, self.hello, hello.clear)
        keys = _agree(self._secret, hello.ephemeral, th1)
        opened = _open(hello.auth, th1, keys.server, "SERVER_HELLO")
        signature, server_params = opened[:SIGNATURE_BYTES], opened[SIGNATURE_BYTES:]
        if not verify_signature(self._provider_id, DOMAIN_SERVER_AUTH + th1, signature):
            raise RemoteProtocolError("the server does not hold the provider's identity key")
        if hello.auth_required and self._signer is None:
            raise RemoteProtocolError(
                "the provider requires client authentication; give the session a voucher key",
                CLOSE_CLIENT_AUTH,
            )
        th2 = transcript_hash(th1, hello.auth)
        sealed = sodium.crypto_aead_chacha20poly1305_ietf_encrypt(
            self._auth(th2), th2, _NONCE, keys.client
        )
        th3 = transcript_hash(th2, sealed)
        return ClientResult(
            client_auth=seal_client_auth(sealed),
            keys=session_keys(keys.secret, th3),
            suite=hello.suite,
            server_params=server_params,
        )

    def _auth(self, th2: bytes) -> bytes:
        if self._signer is None:
            return ClientAuth(KIND_ANONYMOUS, b"", b"", self._params).encode()
        signature = self._signer.sign(DOMAIN_CLIENT_AUTH + th2)
        return ClientAuth(KIND_ED25519, self._signer.public_key, signature, self._params).encode()


class ServerHandshake:
    """The provider's half, up to its answer."""

    def __init__(
        self, *, identity: Signer, params: bytes, random: Random, require_auth: bool
    ) -> None:
        self._identity = identity
        self._params = params
        self._random = random
        self._require_auth = require_auth

    def respond(self, message: bytes) -> tuple[bytes, ServerPending]:
        """SERVER_HELLO for a CLIENT_HELLO, and what waits for CLIENT_AUTH.

        Raises:
            RemoteProtocolError: malformed, for another provider, or nothing in common.
        """
        hello = ClientHello.decode(message)
        if hello.version_min > hello.version_max:
            raise RemoteProtocolError("CLIENT_HELLO has an empty version range")
        if not hello.version_min <= VERSION <= hello.version_max:
            raise RemoteProtocolError(f"the client does not speak version {VERSION}", CLOSE_VERSION)
        if not hello.suites & (1 << (SUITE_X25519 - 1)):
            raise RemoteProtocolError("the client offers no suite known here", CLOSE_VERSION)
        if hello.provider_id != self._identity.public_key:
            raise RemoteProtocolError("the client expects another provider")
        secret = self._random(_SCALAR_BYTES)
        clear = ServerHello.encode_clear(
            VERSION,
            SUITE_X25519,
            auth_required=self._require_auth,
            ephemeral=sodium.crypto_scalarmult_base(secret),
        )
        th1 = transcript_hash(PROTOCOL_LABEL, message, clear)
        keys = _agree(secret, hello.ephemeral, th1)
        signature = self._identity.sign(DOMAIN_SERVER_AUTH + th1)
        auth = sodium.crypto_aead_chacha20poly1305_ietf_encrypt(
            signature + self._params, th1, _NONCE, keys.server
        )
        pending = ServerPending(
            th2=transcript_hash(th1, auth), keys=keys, require_auth=self._require_auth
        )
        return clear + auth, pending


class ServerPending(NamedTuple):
    """The provider's half between SERVER_HELLO and CLIENT_AUTH."""

    th2: bytes
    keys: HandshakeKeys
    require_auth: bool

    def finish(self, message: bytes) -> ServerResult:
        """Take CLIENT_AUTH.

        Raises:
            RemoteProtocolError: malformed, not authentic, or anonymous where a key is required.
        """
        th2, keys = self.th2, self.keys
        sealed = sealed_client_auth(message)
        auth = ClientAuth.decode(_open(sealed, th2, keys.client, "CLIENT_AUTH", CLOSE_CLIENT_AUTH))
        client_key: bytes | None = None
        if auth.kind == KIND_ED25519:
            client_key = auth.public_key
            if not verify_signature(client_key, DOMAIN_CLIENT_AUTH + th2, auth.signature):
                raise RemoteProtocolError("the client's signature is wrong", CLOSE_CLIENT_AUTH)
        elif self.require_auth:
            raise RemoteProtocolError("anonymous clients are not served here", CLOSE_CLIENT_AUTH)
        th3 = transcript_hash(th2, sealed)
        return ServerResult(
            keys=session_keys(keys.secret, th3),
            suite=SUITE_X25519,
            client_key=client_key,
            client_params=auth.params,
        )


def _agree(secret: bytes, peer: bytes, th1: bytes) -> HandshakeKeys:
    try:
        shared = sodium.crypto_scalarmult(secret, peer)
    except CryptoError as error:  # libsodium refuses the all-zero result
        raise RemoteProtocolError("the peer's ephemeral key has small order") from error
    return handshake_keys(th1, shared)


def _open(sealed: bytes, ad: bytes, key: bytes, name: str, *code: int) -> bytes:
    try:
        return sodium.crypto_aead_chacha20poly1305_ietf_decrypt(sealed, ad, _NONCE, key)
    except CryptoError as error:
        raise RemoteProtocolError(f"{name} is not authentic", *code) from error
