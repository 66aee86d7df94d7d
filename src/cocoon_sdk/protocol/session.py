"""The two ends of a cocoon-e2e/1 session, sans I/O: websocket messages in, typed events out."""

from __future__ import annotations

from typing import ClassVar

from cocoon_sdk.keys import Signer, is_valid_public_key
from cocoon_sdk.protocol.connection import Clock, Connection
from cocoon_sdk.protocol.constants import (
    AUTH_TIMEOUT,
    CLIENT_HANDSHAKE_TIMEOUT,
    CLOSE_CLIENT_AUTH,
    DEFAULT_MAX_REQUEST,
    FIRST_REQUEST_TIMEOUT,
    HELLO_TIMEOUT,
    IDLE_TIMEOUT,
    MAX_AGE,
    SUPPORTED_SUITES,
)
from cocoon_sdk.protocol.errors import LocalProtocolError, RemoteProtocolError
from cocoon_sdk.protocol.events import Event, HandshakeCompleted
from cocoon_sdk.protocol.handshake import ClientHandshake, Random, ServerHandshake
from cocoon_sdk.protocol.messages import PING_BYTES, Ping
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
    gives n secret bytes, `clock()` monotonic seconds. `suites` are those of the signed descriptor.
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
        suites: tuple[int, ...] = SUPPORTED_SUITES,
    ) -> None:
        super().__init__(random=random, clock=clock, padding=padding)
        if not is_valid_public_key(provider_id):
            raise LocalProtocolError("provider_id is not an Ed25519 public key")
        if channel is not None and signer is None:
            raise LocalProtocolError("a channel needs its voucher key: pass it as signer")
        self._signer = signer
        self._params = ClientParams(channel, self._padding, registry)
        self._client = ClientHandshake(
            provider_id=provider_id,
            signer=signer,
            params=self._params.encode(),
            random=random,
            suites=suites,
        )
        self._started: float | None = None

    def start(self) -> None:
        """Queue CLIENT_HELLO.

        Raises:
            LocalProtocolError: called twice; a hello is never reused.
        """
        if self._started is not None:
            raise LocalProtocolError("the session has been started before")
        self._started = self._clock()
        self._transmit(self._client.hello)

    def open_stream(self) -> int:
        """The id of a new stream: 1, 3, 5 … Send its first message before opening another.

        Raises:
            LocalProtocolError: not ready, or eight streams are open.
        """
        self._sendable()
        return self._streams.reserve()

    def deadline(self) -> float | None:
        """Of the handshake, then of the session's age; idle sessions are the driver's to close."""
        if self._started is None or self._dead or self._peer_closed:
            return None
        if not self._writer:
            return self._started + CLIENT_HANDSHAKE_TIMEOUT
        return self._established + MAX_AGE

    def _handshake(self, message: bytes) -> list[Event]:
        if self._started is None:
            raise RemoteProtocolError("the server spoke before CLIENT_HELLO")
        result = self._client.finish(message)
        max_plaintext = decode_server_params(result.server_params)
        self._transmit(result.client_auth)
        self._establish(result.keys, result.suite, max_plaintext=max_plaintext)
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

    `require_auth` refuses anonymous clients; `max_request_bytes` bounds a REQUEST body.
    """

    _is_client: ClassVar[bool] = False

    def __init__(
        self,
        *,
        identity: Signer,
        random: Random,
        clock: Clock,
        require_auth: bool = False,
        padding: str = "default",
        max_request_bytes: int = DEFAULT_MAX_REQUEST,
    ) -> None:
        super().__init__(
            random=random, clock=clock, padding=padding, max_request_bytes=max_request_bytes
        )
        self._server = ServerHandshake(
            identity=identity,
            params=encode_server_params(),
            random=random,
            require_auth=require_auth,
        )

    def deadline(self) -> float | None:
        """Of hello, CLIENT_AUTH, the first request, idleness and age, whichever is next."""
        if self._dead or self._peer_closed:
            return None
        if self._writer is None:
            return self._active + (AUTH_TIMEOUT if self._server.responded else HELLO_TIMEOUT)
        quiet = IDLE_TIMEOUT if self._streams.ever_opened else FIRST_REQUEST_TIMEOUT
        return min(self._active + quiet, self._established + MAX_AGE)

    def _handshake(self, message: bytes) -> list[Event]:
        if not self._server.responded:
            self._transmit(self._server.respond(message))
            self._active = self._clock()
            return []
        result = self._server.finish(message)
        params = ClientParams.decode(result.client_params)
        if (params.padding is PaddingPolicy.OFF) == self._padded:
            raise RemoteProtocolError(
                f"the client's padding is {params.padding.name}, ours {self._padding.name}",
                CLOSE_CLIENT_AUTH,
            )
        if params.channel is not None and result.client_key is None:
            raise RemoteProtocolError("an anonymous client named a channel", CLOSE_CLIENT_AUTH)
        self._establish(result.keys, result.suite)
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
