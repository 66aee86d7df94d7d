"""Handshakes that must fail. Each case has one defect, so the order of the checks does not matter."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from . import cases_false_client
from .defects import BAD_TLV, SMALL_ORDER, client, flipped, server
from .handshake import CLIENT_LABEL, SERVER_LABEL, tlv
from .scene import (
    IDENTITY,
    OTHER_IDENTITY,
    PING,
    SERVER_PARAMS,
    Scene,
)
from .script import Case, Script, local, refusal, unusable


def cases() -> Iterator[Case]:
    yield from cases_false_client.cases()
    yield from _server_hello()
    yield from _false_server()
    yield from _order_and_time()
    yield from _own_side()


def _server_hello() -> Iterator[Case]:
    def bad(name: str, about: str, reason: str, code: int = 4400, **options: Any) -> Case:
        script = client(f"hello_{name}", about, **options)
        return script.refuse(script.scene.server_hello, reason, code)

    honest = Scene().server_hello
    for size in (0, 1, 37, 117):
        yield client(f"hello_{size}_bytes", "cut").refuse(honest[:size], "unexpected_message")
    yield client("hello_125_bytes", "the end of `auth` is missing").refuse(
        honest[:125], "not_authentic"
    )
    yield client("hello_4097_bytes", "too long").refuse(
        [honest.hex(), {"repeat": "00", "times": 4097 - len(honest)}], "too_large", 4413
    )
    yield client("hello_trailing_byte", "part of `auth` then").refuse(
        honest + b"\0", "not_authentic"
    )
    for kind in (0, 1, 3, 0x10):
        yield bad(f"type_{kind}", "another type", "unexpected_message", clear={"kind": kind})
    for bit in range(1, 8):
        yield bad(f"flag_{bit}", "unknown", "unknown_flags", clear={"flags": 1 << bit})
    yield client("hello_auth_flag_set", "in transit").refuse(flipped(honest, 3), "not_authentic")
    for version in (0, 2):
        about = "honestly signed"
        yield bad(f"version_{version}", about, "version", 4426, clear={"version": version})
    for suite in (0, 2, 255):
        yield bad(f"suite_{suite}", "not the one offered", "suite", clear={"suite": suite})
    yield bad("ext_len_long", "into `auth` and beyond", "length_mismatch", clear={"ext_len": 500})
    for name, extensions in BAD_TLV.items():
        yield bad(f"tlv_{name}", "extensions", "bad_tlv", clear={"extensions": extensions})
    for index, u in enumerate(SMALL_ORDER):
        message = honest[:4] + u.to_bytes(32, "little") + honest[36:]
        yield client(f"small_order_{index}", f"u = {u}").refuse(message, "small_order")
    for index in (4, 35, 38, 70, 101, 102, len(honest) - 1):
        yield client(f"hello_flip_{index}", "a bit flipped").refuse(
            flipped(honest, index), "not_authentic"
        )
    for size in (0, 3, 5):
        yield bad(f"record_size_{size}_bytes", "not a u32", "bad_parameter",
                  server_params=tlv({1: bytes(size)}))  # fmt: skip
    yield bad("record_size_1023", "no REQUEST fits", "bad_parameter",
              server_params=tlv({1: struct.pack("<I", 1023)}))  # fmt: skip
    yield bad("param_tlv", "malformed parameters", "bad_tlv", server_params=SERVER_PARAMS[:-1])


def _false_server() -> Iterator[Case]:
    def bad(name: str, about: str, seed: bytes, label: bytes) -> Case:
        script = client(name, about, server_signed=(seed, label))
        return script.refuse(script.scene.server_hello, "bad_signature")

    yield bad("impostor", "signed with another key", OTHER_IDENTITY, SERVER_LABEL)
    yield bad("client_label", "a signature made as a client", IDENTITY, CLIENT_LABEL)
    yield bad("receipt_label", "a receipt's label", IDENTITY, b"cocoon/1 receipt\0")
    yield bad("no_label", "the bare hash", IDENTITY, b"")
    yield client("replayed_hello", "the answer to another client").refuse(
        Scene(salt="earlier").server_hello, "not_authentic"
    )
    registry = Scene(hello={"registry_digest": b"\1" + bytes(31)})
    yield client("own_hello_changed", "the provider answered other bytes").refuse(
        registry.server_hello, "not_authentic"
    )
    script = Script("downgrade", "suite 1 for a client of both", "client",
                    Scene(suite=2, hello={"suites": 3}, clear={"suite": 1, "extensions": b""},
                          kem_secret=b""), suites=[1, 2]).start()  # fmt: skip
    yield script.refuse(script.scene.server_hello, "suite")
    stripped = Scene(suite=2, hello={"suites": 1}, clear={"suite": 1, "extensions": b""},
                     kem_secret=b"")  # fmt: skip
    script = Script("suite_stripped", "the offer of suite 2 removed in transit", "client",
                    Scene(suite=2, hello={"suites": 3}), suites=[1, 2]).start()  # fmt: skip
    yield script.refuse(stripped.server_hello, "suite")
    script = client("key_demanded", "from an anonymous client", anonymous=True, require_auth=True)
    yield script.refuse(script.scene.server_hello, "auth_required", 4401)


def _order_and_time() -> Iterator[Case]:
    unexpected = "unexpected_message"
    scene = Scene()
    record = scene.c2s.frame("PING", PING)[0]
    yield server("data_as_hello", "").refuse(record, unexpected)
    yield server("data_as_auth", "").greet().refuse(record, unexpected)
    yield server("auth_as_hello", "").refuse(scene.client_auth, unexpected)
    yield server("second_hello", "before CLIENT_AUTH").greet().refuse(scene.hello, unexpected)
    yield server("late_hello", "after the handshake").ready().refuse(scene.hello, unexpected)
    yield server("second_auth", "").ready().refuse(scene.client_auth, unexpected)
    yield server("own_hello", "reflected").greet().refuse(scene.server_hello, unexpected)
    yield client("own_hello", "reflected").refuse(scene.hello, unexpected)
    yield client("data_as_hello", "").refuse(scene.s2c.frame("PING", PING)[0], unexpected)
    yield client("second_hello", "").ready().refuse(scene.server_hello, unexpected)
    early = Script("server_first", "before CLIENT_HELLO", "client", Scene())
    yield early.refuse(scene.server_hello, unexpected)
    script = server("one_strike", "after a refusal nothing is taken any more")
    script.receive(b"", refused=refusal(unexpected))
    yield script.refuse(scene.hello, "session_over")
    for name, script in {
        "hello": server("late_client_hello", "5 s"),
        "auth": server("late_client_auth", "5 s").greet(),
    }.items():
        script.about += f" for the client's {name}"
        script.step("wait", seconds=4.9)
        script.step("wait", seconds=0.2, refused=refusal("timeout", 4408))
        yield script.case()
    script = client("late_server_hello", "10 s for the whole handshake")
    script.step("wait", seconds=9.9)
    yield script.step("wait", seconds=0.2, refused=refusal("timeout", 4408)).case()


def _own_side() -> Iterator[Case]:
    """What an implementation must refuse to its own user."""
    good = Scene().client_config()
    anonymous = Scene(anonymous=True).client_config()
    yield unusable("client/option_provider_id", "not a point", good | {"provider_id": "ff" * 32},
                   "bad_option")  # fmt: skip
    yield unusable("client/option_small_order_id", "a point of order 1",
                   good | {"provider_id": "01" + "00" * 31}, "bad_option")  # fmt: skip
    yield unusable("client/option_channel", "a channel without its key",
                   anonymous | {"channel": good["channel"]}, "bad_option")  # fmt: skip
    yield unusable("client/option_registry_id", "longer than 32 bytes",
                   good | {"registry": good["registry"] | {"id": "00" * 33}}, "bad_option")  # fmt: skip
    yield unusable("client/option_padding", "an unknown word", good | {"padding": "some"},
                   "bad_option")  # fmt: skip
    yield unusable("client/option_suites", "none that is known", good | {"suites": [3, 31]},
                   "suite")  # fmt: skip
    yield unusable("client/option_no_suites", "an empty list", good | {"suites": []}, "suite")
    script = Script("started_twice", "a hello is never sent again", "client", Scene()).start()
    yield script.step("start", refused=local("not_ready")).case()
    script = Script("send_too_early", "before the handshake", "client", Scene()).start()
    yield script.cannot_send("not_ready", "PING", PING).case()
