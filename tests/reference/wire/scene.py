"""A whole session, computed from the secrets of both sides, with any part of the handshake set wrong."""

from __future__ import annotations

import struct
from typing import Any

from .frames import Flow
from .handshake import (
    CLIENT_LABEL,
    SERVER_LABEL,
    AuthPlaintext,
    ClientHello,
    Schedule,
    ServerHello,
    ed25519_public,
    ed25519_sign,
    mlkem_public,
    seeded,
    tlv,
    x25519,
    x25519_public,
)
from .recorded import CIPHERTEXT, SHARED_SECRET

IDENTITY = seeded("provider identity")
OTHER_IDENTITY = seeded("another provider identity")
VOUCHER_KEY = seeded("voucher key")
MLKEM_SEED = seeded("mlkem", 64)
CHANNEL = (-1, seeded("channel"))
REGISTRY = (seeded("registry id"), 7, seeded("registry digest"))
PING = seeded("first ping", 8)
SERVER_PARAMS = tlv({1: struct.pack("<I", 65536)})
PADDING = {"default": 0, "strict": 1, "off": 2}


def client_params(
    channel: tuple[int, bytes] | None, padding: str, registry: tuple[bytes, int, bytes] | None
) -> bytes:
    items = {}
    if channel is not None:
        items[1] = struct.pack(">i", channel[0]) + channel[1]
    if padding != "default":
        items[3] = bytes([PADDING[padding]])
    if registry is not None:
        items[4] = struct.pack("<Q", registry[1]) + registry[2] + registry[0]
    return tlv(items)


class Scene:
    """Messages, keys and record flows of one session.

    `hello`, `clear` and `auth` set fields of the three messages; `server_signed` and `client_signed` are
    (seed, label) of the signatures; `salt` gives other ephemeral keys.
    """

    def __init__(
        self,
        *,
        anonymous: bool = False,
        suite: int = 1,
        require_auth: bool = False,
        with_channel: bool = True,
        with_registry: bool = True,
        padding: str = "default",
        salt: str = "",
        hello: dict[str, Any] | None = None,
        clear: dict[str, Any] | None = None,
        auth: dict[str, Any] | None = None,
        server_params: bytes = SERVER_PARAMS,
        server_signed: tuple[bytes, bytes] = (IDENTITY, SERVER_LABEL),
        client_signed: tuple[bytes, bytes] = (VOUCHER_KEY, CLIENT_LABEL),
        kem_secret: bytes = SHARED_SECRET,
    ) -> None:
        self.suite, self.require_auth, self.padding = suite, require_auth, padding
        self.voucher_key = None if anonymous else VOUCHER_KEY
        self.channel = CHANNEL if with_channel and not anonymous else None
        self.registry = REGISTRY if with_registry else None
        self.client_secret = seeded("client ephemeral" + salt)
        self.server_secret = seeded("server ephemeral" + salt)
        self.c2s_header = seeded("client stream header" + salt, 24)
        self.s2c_header = seeded("server stream header" + salt, 24)
        hybrid = suite == 2
        self.hello_fields = ClientHello(
            **{
                "ephemeral": x25519_public(self.client_secret),
                "provider_id": ed25519_public(IDENTITY),
                "suites": 1 << suite - 1,
                "extensions": tlv({1: mlkem_public(MLKEM_SEED)}) if hybrid else b"",
            }
            | (hello or {})
        )
        self.hello = self.hello_fields.encode()
        self.clear_fields = ServerHello(
            **{
                "ephemeral": x25519_public(self.server_secret),
                "suite": suite,
                "flags": int(require_auth),
                "extensions": tlv({2: CIPHERTEXT}) if hybrid else b"",
            }
            | (clear or {})
        )
        self.clear = self.clear_fields.encode()
        # With a foreign point in one hello, only the other side's secret gives the shared one.
        if "ephemeral" in (hello or {}):
            self.shared = x25519(self.server_secret, self.hello_fields.ephemeral)
        else:
            self.shared = x25519(self.client_secret, self.clear_fields.ephemeral)
        if hybrid:
            self.shared += kem_secret
        self.keys = Schedule(self.hello, self.clear, self.shared)
        signature = ed25519_sign(server_signed[0], server_signed[1] + self.keys.th1)
        self.server_hello = self.clear + self.keys.seal_server(signature + server_params)
        fields: dict[str, Any] = {
            "params": client_params(self.channel, padding, self.registry),
        }
        if self.voucher_key is not None:
            fields |= {
                "kind": 1,
                "key": ed25519_public(self.voucher_key),
                "signature": ed25519_sign(client_signed[0], client_signed[1] + self.keys.th2),
            }
        self.auth_fields = AuthPlaintext(**(fields | (auth or {})))
        self.client_auth = b"\3" + self.keys.seal_client(self.auth_fields.encode())
        padded = padding != "off"
        self.c2s = Flow(self.keys.c2s, self.c2s_header, padded=padded)
        self.s2c = Flow(self.keys.s2c, self.s2c_header, padded=padded)

    def client_config(self, **more: Any) -> dict[str, Any]:
        """The configuration of the client of this scene."""
        config: dict[str, Any] = {
            "role": "client",
            "provider_id": ed25519_public(IDENTITY).hex(),
            "suites": [self.suite],
            "ephemeral_secret": self.client_secret.hex(),
            "stream_header": self.c2s_header.hex(),
        }
        if self.suite == 2:
            config["mlkem_seed"] = MLKEM_SEED.hex()
        if self.voucher_key is not None:
            config["client_seed"] = self.voucher_key.hex()
        if self.padding != "default":
            config["padding"] = self.padding
        return config | self._told() | more

    def server_config(self, **more: Any) -> dict[str, Any]:
        """The configuration of the provider of this scene."""
        config: dict[str, Any] = {
            "role": "server",
            "identity_seed": IDENTITY.hex(),
            "suites": [self.suite],
            "ephemeral_secret": self.server_secret.hex(),
            "stream_header": self.s2c_header.hex(),
            "ping": PING.hex(),
        }
        if self.suite == 2:
            config["encapsulation"] = {
                "ciphertext": CIPHERTEXT.hex(),
                "secret": SHARED_SECRET.hex(),
            }
        if self.require_auth:
            config["require_auth"] = True
        if self.padding == "off":
            config["padding"] = "off"
        return config | more

    def established(self) -> dict[str, Any]:
        """The event that both sides have at the end of the handshake."""
        event: dict[str, Any] = {
            "event": "established",
            "suite": self.suite,
            "session_id": self.keys.session_id.hex(),
            "exporter": self.keys.exporter.hex(),
        }
        if self.voucher_key is not None:
            event["client_key"] = ed25519_public(self.voucher_key).hex()
        return event | self._told()

    def _told(self) -> dict[str, Any]:
        """Channel and registry, as both the configuration and the event spell them."""
        told: dict[str, Any] = {}
        if self.channel is not None:
            told["channel"] = {"workchain": self.channel[0], "hash": self.channel[1].hex()}
        if self.registry is not None:
            name, version, digest = self.registry
            told["registry"] = {"id": name.hex(), "version": version, "digest": digest.hex()}
        return told
