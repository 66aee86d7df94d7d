"""The two ends of a cocoon-e2e/1 session, sans I/O: websocket messages in, typed events out."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import ClassVar

from cocoon_sdk.keys import Signer, is_valid_public_key
from cocoon_sdk.protocol.agreement import Random
from cocoon_sdk.protocol.connection import Connection
from cocoon_sdk.protocol.constants import (
    AUTH_TIMEOUT,
    CLIENT_HANDSHAKE_TIMEOUT,
    CLIENT_MAX_REQUEST,
    CLOSE_CLIENT_AUTH,
    DEFAULT_MAX_REQUEST,
    FIRST_REQUEST_TIMEOUT,
    HELLO_TIMEOUT,
    IDLE_TIMEOUT,
)
from cocoon_sdk.protocol.errors import LocalProtocolError, RemoteProtocolError
from cocoon_sdk.protocol.events import Event, HandshakeCompleted
from cocoon_sdk.protocol.handshake import ClientHandshake, ServerHandshake, ServerPending
from cocoon_sdk.protocol.kem import Encapsulate, encapsulate
from cocoon_sdk.protocol.lifecycle import Clock
from cocoon_sdk.protocol.messages import PING_BYTES, Ping
from cocoon_sdk.protocol.pacing import Pacer
from cocoon_sdk.protocol.padding import PaddingPolicy
from cocoon_sdk.protocol.params import (
    ChannelId,
    ClientParams,
    RegistryRef,
    decode_server_params,
    encode_server_params,
)


class ClientSession(Connection):
    """The SDK's end. It trusts `provider_id` from the registry and nothing that the network says.

    `signer` is the channel's voucher key, an ephemeral key, or None to stay anonymous. `random(n)`
    gives n secret bytes, `clock()` monotonic seconds. `suites` are those of the signed descriptor; None: all
    known here.

    Raises:
        UnsupportedSuiteError: no suite of the descriptor can be used by this installation.
    """

    _is_client: ClassVar[bool] = True

    def __init__(
        self,
        *,
        provider_id: bytes,
        signer: Signer | None,
        channel: ChannelId | None,
        registry: RegistryRef | None,
        random: Random,
        clock: Clock,
        padding: str = "default",
        suites: Collection[int] | None = None,
    ) -> None:
        super().__init__(
            random=random, clock=clock, padding=padding, max_request_bytes=CLIENT_MAX_REQUEST
        )
        if not is_valid_public_key(provider_id):
            raise LocalProtocolError("provider_id is not an Ed25519 public key")
        if channel is not None and signer is None:
            raise LocalProtocolError("a channel needs its voucher key: pass it as signer")
        self._signer = signer
        self._params = ClientParams(channel, self._padding, registry)
        self._pending: ClientHandshake | None = ClientHandshake(
            provider_id=provider_id,
            signer=signer,
            params=self._params.encode(),
            random=random,
            suites=suites,
        )

    def start(self) -> None:
        """Queue CLIENT_HELLO.

        Raises:
            LocalProtocolError: called twice, or after close(); a hello is never reused.
        """
        handshake, self._pending = self._pending, None
        if handshake is None or self._dead:
            raise LocalProtocolError("a session starts once")
        self._step = partial(self._on_server_hello, handshake)
        self._transmit(handshake.hello)
        self._touch(CLIENT_HANDSHAKE_TIMEOUT)

    def open_stream(self) -> int:
        """The id of a new stream: 1, 3, 5 … Send its first message before opening another.

        Raises:
            LocalProtocolError: not ready, closing, too old, or eight streams are open.
        """
        self._sendable()
        if self._peer_closed or self.aged:
            raise LocalProtocolError("this session takes no new streams; open another")
        return self._streams.reserve()

    def _on_server_hello(self, handshake: ClientHandshake, message: bytes) -> list[Event]:
        result = handshake.finish(message)
        max_plaintext = decode_server_params(result.server_params)
        self._transmit(result.client_auth)
        self._establish(result.keys, result.suite, max_plaintext=max_plaintext)
        if self._padding is PaddingPolicy.STRICT:
            self._pacer = Pacer(self._clock)
        self._touch(self._idle)
        return [
            HandshakeCompleted(
                session_id=result.keys.session_id,
                exporter=result.keys.exporter,
                suite=self._suite,
                client_key=None if self._signer is None else self._signer.public_key,
                channel=self._params.channel,
                registry=self._params.registry,
            )
        ]


class ServerSession(Connection):
    """The provider's end. The hello timeout runs from construction.

    `require_auth` refuses anonymous clients; `max_request_bytes` bounds a REQUEST body; `suites` are those
    of the provider's descriptor; None: all known here.
    """

    _is_client: ClassVar[bool] = False
    _idle: ClassVar[float] = IDLE_TIMEOUT

    def __init__(
        self,
        *,
        identity: Signer,
        random: Random,
        clock: Clock,
        require_auth: bool = False,
        padding: str = "default",
        max_request_bytes: int = DEFAULT_MAX_REQUEST,
        suites: Collection[int] | None = None,
        encapsulate: Encapsulate = encapsulate,
    ) -> None:
        super().__init__(
            random=random, clock=clock, padding=padding, max_request_bytes=max_request_bytes
        )
        handshake = ServerHandshake(
            identity=identity,
            params=encode_server_params(),
            random=random,
            require_auth=require_auth,
            suites=suites,
            encapsulate=encapsulate,
        )
        self._step = partial(self._on_client_hello, handshake)
        self._touch(HELLO_TIMEOUT)

    def _on_client_hello(self, handshake: ServerHandshake, message: bytes) -> list[Event]:
        server_hello, pending = handshake.respond(message)
        self._transmit(server_hello)
        self._step = partial(self._on_client_auth, pending)
        self._touch(AUTH_TIMEOUT)
        return []

    def _on_client_auth(self, pending: ServerPending, message: bytes) -> list[Event]:
        result = pending.finish(message)
        params = ClientParams.decode(result.client_params)
        if (params.padding is PaddingPolicy.OFF) == self._padded:
            raise RemoteProtocolError(
                f"the client's padding is {params.padding.name}, ours {self._padding.name}",
                CLOSE_CLIENT_AUTH,
            )
        if params.channel is not None and result.client_key is None:
            raise RemoteProtocolError("an anonymous client named a channel", CLOSE_CLIENT_AUTH)
        self._establish(result.keys, result.suite)
        if PaddingPolicy.STRICT in {params.padding, self._padding}:
            self._pacer = Pacer(self._clock)
        self._touch(FIRST_REQUEST_TIMEOUT)
        # The stream header rides on the first record: a PING there keeps every DELTA at one length.
        self.send(0, Ping(self._random(PING_BYTES)))
        return [
            HandshakeCompleted(
                session_id=result.keys.session_id,
                exporter=result.keys.exporter,
                suite=self._suite,
                client_key=result.client_key,
                channel=params.channel,
                registry=params.registry,
            )
        ]
