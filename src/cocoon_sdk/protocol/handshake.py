"""SIGMA-I: two state machines that turn three messages into session keys.

Over X25519, in suite 2 with ML-KEM-768 beside it. Nothing here knows records or streams. Parameters are
opaque bytes to it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from nacl import bindings as sodium

from cocoon_sdk.keys import DOMAIN_CLIENT_AUTH, DOMAIN_SERVER_AUTH, Signer, verify_signature
from cocoon_sdk.protocol.agreement import (
    NONCE,
    ClientResult,
    Random,
    ServerResult,
    exchange,
    open_sealed,
)
from cocoon_sdk.protocol.constants import (
    CLOSE_CLIENT_AUTH,
    CLOSE_VERSION,
    PROTOCOL_LABEL,
    SUITE_HYBRID,
    VERSION,
)
from cocoon_sdk.protocol.errors import RemoteProtocolError
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
from cocoon_sdk.protocol.kem import (
    SEED_BYTES,
    Encapsulate,
    KemKeyPair,
    check_suites,
    encapsulate,
    supported_suites,
)
from cocoon_sdk.protocol.keyschedule import (
    HandshakeKeys,
    handshake_keys,
    session_keys,
    transcript_hash,
)

_SCALAR_BYTES = 32


class ClientHandshake:
    """The client's half. `suites` are those of the provider's signed descriptor; None: all known here.

    It offers those that it supports and takes nothing but the strongest of them. A provider that lists
    suite 2 is met with suite 1 only where the extra [pq] is missing here: our choice, not the network's.
    """

    def __init__(
        self,
        *,
        provider_id: bytes,
        signer: Signer | None,
        params: bytes,
        random: Random,
        suites: Collection[int] | None = None,
        registry_version: int = 0,
        registry_digest: bytes = bytes(32),
    ) -> None:
        usable = supported_suites() if suites is None else check_suites(suites)
        self._suite = usable[-1]
        self._provider_id = provider_id
        self._signer = signer
        self._params = params
        self._secret = random(_SCALAR_BYTES)
        hybrid = self._suite == SUITE_HYBRID
        self._kem = KemKeyPair(random(SEED_BYTES)) if hybrid else None
        self.hello = ClientHello(
            version_min=VERSION,
            version_max=VERSION,
            suites=sum(1 << (suite - 1) for suite in usable),
            ephemeral=sodium.crypto_scalarmult_base(self._secret),
            provider_id=provider_id,
            registry_version=registry_version,
            registry_digest=registry_digest,
            kem_key=None if self._kem is None else self._kem.public,
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
        keys = handshake_keys(th1, self._agree(hello))
        opened = open_sealed(hello.auth, th1, keys.server, "SERVER_HELLO")
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
            self._auth(th2), th2, NONCE, keys.client
        )
        th3 = transcript_hash(th2, sealed)
        return ClientResult(
            client_auth=seal_client_auth(sealed),
            keys=session_keys(keys.secret, th3),
            suite=hello.suite,
            server_params=server_params,
        )

    def _agree(self, hello: ServerHello) -> bytes:
        shared = exchange(self._secret, hello.ephemeral)
        if self._kem is None:
            return shared
        if hello.kem_ciphertext is None:
            raise RemoteProtocolError("SERVER_HELLO of suite 2 without an ML-KEM ciphertext")
        return shared + self._kem.decapsulate(hello.kem_ciphertext)

    def _auth(self, th2: bytes) -> bytes:
        if self._signer is None:
            return ClientAuth(KIND_ANONYMOUS, b"", b"", self._params).encode()
        signature = self._signer.sign(DOMAIN_CLIENT_AUTH + th2)
        return ClientAuth(KIND_ED25519, self._signer.public_key, signature, self._params).encode()


class ServerHandshake:
    """The provider's half, up to its answer.

    `suites` are those of its descriptor; None: all known here. `encapsulate` is for replays, since the
    library would draw its own random bytes.
    """

    def __init__(
        self,
        *,
        identity: Signer,
        params: bytes,
        random: Random,
        require_auth: bool,
        suites: Collection[int] | None = None,
        encapsulate: Encapsulate = encapsulate,
    ) -> None:
        self._suites = supported_suites() if suites is None else check_suites(suites)
        self._encapsulate = encapsulate
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
        common = [suite for suite in self._suites if hello.suites & (1 << (suite - 1))]
        if not common:
            raise RemoteProtocolError("the client offers no suite known here", CLOSE_VERSION)
        if hello.provider_id != self._identity.public_key:
            raise RemoteProtocolError("the client expects another provider")
        suite = common[-1]
        secret = self._random(_SCALAR_BYTES)
        shared = exchange(secret, hello.ephemeral)
        ciphertext: bytes | None = None
        if suite == SUITE_HYBRID:
            if hello.kem_key is None:
                raise RemoteProtocolError("CLIENT_HELLO offers suite 2 without an ML-KEM key")
            second, ciphertext = self._encapsulate(hello.kem_key)
            shared += second
        clear = ServerHello.encode_clear(
            VERSION,
            suite,
            auth_required=self._require_auth,
            ephemeral=sodium.crypto_scalarmult_base(secret),
            kem_ciphertext=ciphertext,
        )
        th1 = transcript_hash(PROTOCOL_LABEL, message, clear)
        keys = handshake_keys(th1, shared)
        signature = self._identity.sign(DOMAIN_SERVER_AUTH + th1)
        auth = sodium.crypto_aead_chacha20poly1305_ietf_encrypt(
            signature + self._params, th1, NONCE, keys.server
        )
        pending = ServerPending(
            th2=transcript_hash(th1, auth),
            keys=keys,
            suite=suite,
            require_auth=self._require_auth,
        )
        return clear + auth, pending


class ServerPending(NamedTuple):
    """The provider's half between SERVER_HELLO and CLIENT_AUTH."""

    th2: bytes
    keys: HandshakeKeys
    suite: int
    require_auth: bool

    def finish(self, message: bytes) -> ServerResult:
        """Take CLIENT_AUTH.

        Raises:
            RemoteProtocolError: malformed, not authentic, or anonymous where a key is required.
        """
        th2, keys = self.th2, self.keys
        sealed = sealed_client_auth(message)
        auth = ClientAuth.decode(
            open_sealed(sealed, th2, keys.client, "CLIENT_AUTH", CLOSE_CLIENT_AUTH)
        )
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
            suite=self.suite,
            client_key=client_key,
            client_params=auth.params,
        )
