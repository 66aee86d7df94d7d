"""Handshakes that succeed, seen from either side, and their key schedules."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from .handshake import tlv
from .scene import SERVER_PARAMS, Scene, client_params
from .script import Case, Script

P = 2**255 - 19

SCENES = {
    "suite_1": ("a client with a channel", {}),
    "anonymous": ("an anonymous client that names its registry", {"anonymous": True}),
    "anonymous_bare": (
        "an anonymous client that says nothing about itself",
        {"anonymous": True, "with_registry": False},
    ),
    "key_without_channel": ("an ephemeral client key", {"with_channel": False}),
    "require_auth": ("the provider demands a key and gets one", {"require_auth": True}),
    "suite_2": ("X25519 and ML-KEM-768", {"suite": 2}),
    "suite_2_anonymous": ("suite 2 without a client key", {"suite": 2, "anonymous": True}),
    "suite_2_require_auth": ("suite 2, a key demanded", {"suite": 2, "require_auth": True}),
    "padding_off": ("both sides agreed on no padding", {"padding": "off"}),
}
_VALUES = "th1", "hs", "k_s_hs", "k_c_hs", "th2", "th3", "c2s", "s2c", "exporter", "session_id"


def cases() -> Iterator[Case]:
    for name, (about, options) in SCENES.items():
        for role in ("client", "server"):
            yield Script(name, about, role, Scene(**options)).ready().case()
    yield from _what_is_ignored()
    yield from _choice_of_suite()
    yield from _points()


def keys() -> Iterator[Case]:
    """The schedule alone, for finding where an implementation departs."""
    for name, (about, options) in SCENES.items():
        scene = Scene(**options)
        keys = scene.keys
        yield {
            "kind": "keys",
            "id": f"keys/{name}",
            "about": about,
            "client_hello": scene.hello.hex(),
            "server_clear": scene.clear.hex(),
            "shared": scene.shared.hex(),
            "auth": keys.auth.hex(),
            "client_sealed": keys.client_sealed.hex(),
            "expect": {value: getattr(keys, value).hex() for value in _VALUES},
        }


def _what_is_ignored() -> Iterator[Case]:
    wide = Scene(hello={"versions": (0, 9), "suites": 0xFFFF0001})
    yield (
        Script("wide_ranges", "versions 0 to 9, unknown suite bits", "server", wide).ready().case()
    )
    registry = Scene(hello={"registry_version": 42, "registry_digest": b"\x5a" * 32})
    yield (
        Script("registry_in_clear", "a client that names its registry", "server", registry)
        .ready()
        .case()
    )
    extended = Scene(hello={"extensions": tlv({0x7777: b"ext", 0x7778: b""})})
    yield Script("unknown_extensions", "ignored, but hashed", "server", extended).ready().case()
    largest = Scene(hello={"extensions": tlv({0x7777: bytes(4096 - 114 - 4)})})
    yield Script("largest_hello", "4,096 bytes", "server", largest).ready().case()
    named = Scene()
    params = client_params(named.channel, "default", None) + tlv({2: b"some-sdk/9"})
    params += client_params(None, "default", named.registry) + tlv({99: b"?"})
    unknown = Scene(auth={"params": params})
    yield Script("unknown_parameters", "2 and 99 are ignored", "server", unknown).ready().case()
    answered = Scene(clear={"extensions": tlv({0x4444: b"x" * 20})})
    yield Script("unknown_extensions", "ignored, but hashed", "client", answered).ready().case()
    for name, value in {
        "no_parameters": b"",
        "unknown_parameters": SERVER_PARAMS + tlv({77: b"?"}),
        "record_size_above_ours": tlv({1: struct.pack("<I", 2**32 - 1)}),
    }.items():
        scene = Scene(server_params=value)
        yield Script(name, "of the server", "client", scene).ready().case()


def _choice_of_suite() -> Iterator[Case]:
    def both() -> Scene:
        return Scene(suite=2, hello={"suites": 3})

    yield (
        Script("strongest_suite", "offers 1 and 2, gets 2", "client", both(), suites=[1, 2])
        .ready()
        .case()
    )
    yield (
        Script("strongest_suite", "takes 2 where both are offered", "server", both(), suites=[1, 2])
        .ready()
        .case()
    )
    yield (
        Script("only_suite_1_offered", "a provider of both", "server", Scene(), suites=[1, 2])
        .ready()
        .case()
    )
    yield (
        Script(
            "suites_unknown_here", "the descriptor lists 31 too", "client", Scene(), suites=[31, 1]
        )
        .ready()
        .case()
    )
    spare = Scene(hello={"suites": 3, "extensions": tlv({1: b"not a key"})})
    yield (
        Script("unused_mlkem_key", "suite 1 does not look at it", "server", spare, suites=[1])
        .ready()
        .case()
    )


def _points() -> Iterator[Case]:
    for name, u in {"above_p": P + 9, "high_bit": 9 | 1 << 255}.items():
        scene = Scene(hello={"ephemeral": u.to_bytes(32, "little")})
        yield (
            Script(f"point_{name}", "not canonical, accepted (RFC 7748)", "server", scene)
            .ready()
            .case()
        )
        answer = Scene(clear={"ephemeral": u.to_bytes(32, "little")})
        yield (
            Script(f"point_{name}", "not canonical, accepted (RFC 7748)", "client", answer)
            .ready()
            .case()
        )
