"""Handshakes that must fail. Each case has one defect, so the order of the checks does not matter."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from .handshake import CLIENT_LABEL, SERVER_LABEL, ed25519_public, mlkem_public, tlv
from .recorded import CIPHERTEXT
from .scene import (
    IDENTITY,
    MLKEM_SEED,
    OTHER_IDENTITY,
    PING,
    SERVER_PARAMS,
    VOUCHER_KEY,
    Scene,
    client_params,
)
from .script import Case, Script, local, refusal, unusable

P = 2**255 - 19
# u-coordinates of the points of order 1, 2, 4 and 8, on the curve and its twist, in every encoding.
SMALL_ORDER = (
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    P - 1,
    P,
    P + 1,
    1 << 255,
)
BAD_TLV = {
    "header_cut": b"\x77",
    "length_cut": b"\x77\x77\x00",
    "overrun": b"\x77\x77\x05\x00abcd",
    "duplicate": tlv({0x7777: b""}) * 2,
    "unsorted": tlv({0x7778: b"", 0x7777: b""}),
}


def cases() -> Iterator[Case]:
    yield from _client_hello()
    yield from _mlkem()
    yield from _client_auth()
    yield from _client_auth_plaintext()
    yield from _server_hello()
    yield from _false_server()
    yield from _order_and_time()
    yield from _own_side()


def flipped(message: bytes, index: int, mask: int = 0x01) -> bytes:
    changed = bytearray(message)
    changed[index] ^= mask
    return bytes(changed)


def _server(name: str, about: str, **options: Any) -> Script:
    return Script(name, about, "server", Scene(**options))


def _client(name: str, about: str, **options: Any) -> Script:
    return Script(name, about, "client", Scene(**options)).start()


def _client_hello() -> Iterator[Case]:
    def bad(name: str, about: str, reason: str, code: int = 4400, **hello: Any) -> Case:
        message = Scene(hello=hello).hello if hello else b""
        return _server(f"hello_{name}", about, hello=hello).refuse(message, reason, code)

    hello = Scene().hello
    unexpected = "unexpected_message"
    yield bad("empty", "no bytes at all", unexpected)
    for size in (1, 113):
        yield _server(
            f"hello_{size}_bytes",
            "cut",
        ).refuse(hello[:size], unexpected)
    for size in (4097, 100_000):
        oversize = [hello.hex(), {"repeat": "00", "times": size - 114}]
        yield _server(
            f"hello_{size}_bytes",
            "too long",
        ).refuse(oversize, "too_large", 4413)
    for kind in (0, 2, 3, 0x10):
        yield bad(f"type_{kind}", "another message type", unexpected, kind=kind)
    for bit in range(8):
        yield bad(f"flag_{bit}", "no flag is known", "unknown_flags", flags=1 << bit)
    yield bad("versions_above", "2 to 3", "version", 4426, versions=(2, 3))
    yield bad("versions_below", "0 to 0", "version", 4426, versions=(0, 0))
    yield bad("versions_reversed", "2 to 0", "version", versions=(2, 0))
    for name, mask in {"none": 0, "unknown": 0x80000000, "only_2": 2}.items():
        yield bad(f"suites_{name}", "no suite in common", "suite", 4426, suites=mask)
    other = ed25519_public(OTHER_IDENTITY)
    yield bad("other_provider", "meant for another", "wrong_provider", provider_id=other)
    yield bad("ext_len_short", "a byte after the extensions", "length_mismatch",
              extensions=b"\0", ext_len=0)  # fmt: skip
    yield bad("ext_len_long", "extensions that are not there", "length_mismatch", ext_len=1)
    for name, extensions in BAD_TLV.items():
        yield bad(f"tlv_{name}", "malformed extensions", "bad_tlv", extensions=extensions)
    for index, u in enumerate(SMALL_ORDER):
        message = hello[:8] + u.to_bytes(32, "little") + hello[40:]
        yield _server(f"small_order_{index}", f"u = {u}").refuse(message, "small_order")


def _mlkem() -> Iterator[Case]:
    public = mlkem_public(MLKEM_SEED)
    keys = {
        "absent": b"",
        "short": tlv({1: public[:-1]}),
        "long": tlv({1: public + b"\0"}),
        "out_of_range": tlv({1: b"\xff\xff\xff" + public[3:]}),  # coefficients of 4095, above q
    }
    for name, extensions in keys.items():
        script = _server(f"mlkem_key_{name}", "suite 2", suite=2, hello={"extensions": extensions})
        yield script.refuse(script.scene.hello, "bad_extension")
    ciphertexts = {
        "absent": b"",
        "short": tlv({2: CIPHERTEXT[:-1]}),
        "long": tlv({2: CIPHERTEXT + b"\0"}),
    }
    for name, extensions in ciphertexts.items():
        script = _client(f"mlkem_ct_{name}", "suite 2", suite=2, clear={"extensions": extensions})
        yield script.refuse(script.scene.server_hello, "bad_extension")
    script = _client(
        "mlkem_ct_flipped",
        "decapsulation gives another secret, not an error",
        suite=2,
        clear={"extensions": tlv({2: flipped(CIPHERTEXT, 500)})},
    )
    yield script.refuse(script.scene.server_hello, "not_authentic")
    script = _client(
        "mlkem_left_out",
        "a server that mixes only X25519 in",
        suite=2,
        kem_secret=b"",
    )
    yield script.refuse(script.scene.server_hello, "not_authentic")
    script = _server("mlkem_key_replaced", "in transit; the client notices", suite=2)
    client = _client("mlkem_key_replaced", "in transit: another transcript", suite=2)
    tampered = Scene(suite=2, hello={"extensions": tlv({1: mlkem_public(MLKEM_SEED[::-1])})})
    yield script.receive(tampered.hello, sent=[tampered.server_hello]).case()
    yield client.refuse(tampered.server_hello, "not_authentic")


def _client_auth() -> Iterator[Case]:
    def bad(name: str, about: str, message: bytes | list[Any], reason: str, code: int) -> Case:
        return _server(f"auth_{name}", about).greet().refuse(message, reason, code)

    honest = Scene().client_auth
    for size in (0, 1, 272):
        yield bad(f"{size}_bytes", "cut", honest[:size], "unexpected_message", 4400)
    yield bad("274_bytes", "a byte more", honest + b"\0", "unexpected_message", 4400)
    yield bad("type", "another type", b"\2" + honest[1:], "unexpected_message", 4400)
    for index in (1, 2, 34, 98, 100, 200, 256, 257, 272):
        about = "a bit flipped"
        yield bad(f"flip_{index}", about, flipped(honest, index), "not_authentic", 4401)
    replayed = Scene(salt="earlier").client_auth
    yield bad("replayed", "from another connection", replayed, "not_authentic", 4401)
    yield (
        _server("anonymous_refused", "a key is demanded", anonymous=True, require_auth=True)
        .greet()
        .refuse(Scene(anonymous=True, require_auth=True).client_auth, "auth_required", 4401)
    )


def _client_auth_plaintext() -> Iterator[Case]:
    def bad(name: str, about: str, reason: str, **options: Any) -> Case:
        script = _server(f"auth_{name}", about, **options).greet()
        return script.refuse(script.scene.client_auth, reason, 4401)

    for kind in (2, 255):
        yield bad(f"kind_{kind}", "unknown", "bad_client_auth", auth={"kind": kind})
    yield bad("anonymous_with_key", "kind 0", "bad_client_auth", anonymous=True,
              auth={"key": ed25519_public(VOUCHER_KEY)})  # fmt: skip
    yield bad("anonymous_with_signature", "kind 0", "bad_client_auth", anonymous=True,
              auth={"signature": b"\1" * 64})  # fmt: skip
    yield bad("params_len_158", "one beyond the end", "bad_client_auth", auth={"params_len": 158})
    yield bad("params_len_65535", "far beyond", "bad_client_auth", auth={"params_len": 65535})
    yield bad("tail", "padding that is not zero", "bad_client_auth", auth={"tail": b"\1"})
    yield bad("wrong_signer", "another key signed", "bad_signature",
              client_signed=(OTHER_IDENTITY, CLIENT_LABEL))  # fmt: skip
    yield bad("server_label", "the server's label", "bad_signature",
              client_signed=(VOUCHER_KEY, SERVER_LABEL))  # fmt: skip
    yield bad("no_label", "the bare hash", "bad_signature", client_signed=(VOUCHER_KEY, b""))
    yield bad("zero_signature", "64 zeros", "bad_signature", auth={"signature": bytes(64)})
    for name, key in {"zero": bytes(32), "one": b"\1" + bytes(31)}.items():
        yield bad(f"small_order_key_{name}", "it verifies anything", "bad_signature",
                  auth={"key": key, "signature": b"\1" + bytes(63)})  # fmt: skip
    for name, params in BAD_TLV.items():
        yield bad(f"tlv_{name}", "parameters", "bad_tlv", auth={"params": params})
    for name, items in {
        "channel_35": {1: bytes(35)},
        "channel_37": {1: bytes(37)},
        "padding_empty": {3: b""},
        "padding_2_bytes": {3: b"\0\0"},
        "padding_unknown": {3: b"\3"},
        "registry_47": {4: bytes(47)},
        "registry_73": {4: bytes(73)},
    }.items():
        yield bad(f"param_{name}", "a size or value that it cannot have", "bad_parameter",
                  auth={"params": tlv(items)})  # fmt: skip
    yield bad("padding_off", "the provider pads", "padding_disagrees",
              auth={"params": client_params(None, "off", None)})  # fmt: skip
    yield bad("anonymous_with_channel", "who would pay?", "bad_client_auth", anonymous=True,
              auth={"params": client_params((0, bytes(32)), "default", None)})  # fmt: skip
    script = Script(
        "auth_padding_on", "the provider does not pad", "server", Scene(), padding="off"
    ).greet()
    yield script.refuse(script.scene.client_auth, "padding_disagrees", 4401)


def _server_hello() -> Iterator[Case]:
    def bad(name: str, about: str, reason: str, code: int = 4400, **options: Any) -> Case:
        script = _client(f"hello_{name}", about, **options)
        return script.refuse(script.scene.server_hello, reason, code)

    honest = Scene().server_hello
    for size in (0, 1, 37, 117):
        yield _client(f"hello_{size}_bytes", "cut").refuse(honest[:size], "unexpected_message")
    yield _client("hello_125_bytes", "the end of `auth` is missing").refuse(
        honest[:125], "not_authentic"
    )
    yield _client("hello_4097_bytes", "too long").refuse(
        [honest.hex(), {"repeat": "00", "times": 4097 - len(honest)}], "too_large", 4413
    )
    yield _client("hello_trailing_byte", "part of `auth` then").refuse(
        honest + b"\0", "not_authentic"
    )
    for kind in (0, 1, 3, 0x10):
        yield bad(f"type_{kind}", "another type", "unexpected_message", clear={"kind": kind})
    for bit in range(1, 8):
        yield bad(f"flag_{bit}", "unknown", "unknown_flags", clear={"flags": 1 << bit})
    yield _client("hello_auth_flag_set", "in transit").refuse(flipped(honest, 3), "not_authentic")
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
        yield _client(f"small_order_{index}", f"u = {u}").refuse(message, "small_order")
    for index in (4, 35, 38, 70, 101, 102, len(honest) - 1):
        yield _client(f"hello_flip_{index}", "a bit flipped").refuse(
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
        script = _client(name, about, server_signed=(seed, label))
        return script.refuse(script.scene.server_hello, "bad_signature")

    yield bad("impostor", "signed with another key", OTHER_IDENTITY, SERVER_LABEL)
    yield bad("client_label", "a signature made as a client", IDENTITY, CLIENT_LABEL)
    yield bad("receipt_label", "a receipt's label", IDENTITY, b"cocoon/1 receipt\0")
    yield bad("no_label", "the bare hash", IDENTITY, b"")
    yield _client("replayed_hello", "the answer to another client").refuse(
        Scene(salt="earlier").server_hello, "not_authentic"
    )
    registry = Scene(hello={"registry_digest": b"\1" + bytes(31)})
    yield _client("own_hello_changed", "the provider answered other bytes").refuse(
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
    script = _client("key_demanded", "from an anonymous client", anonymous=True, require_auth=True)
    yield script.refuse(script.scene.server_hello, "auth_required", 4401)


def _order_and_time() -> Iterator[Case]:
    unexpected = "unexpected_message"
    scene = Scene()
    record = scene.c2s.frame("PING", PING)[0]
    yield _server("data_as_hello", "").refuse(record, unexpected)
    yield _server("data_as_auth", "").greet().refuse(record, unexpected)
    yield _server("auth_as_hello", "").refuse(scene.client_auth, unexpected)
    yield _server("second_hello", "before CLIENT_AUTH").greet().refuse(scene.hello, unexpected)
    yield _server("late_hello", "after the handshake").ready().refuse(scene.hello, unexpected)
    yield _server("second_auth", "").ready().refuse(scene.client_auth, unexpected)
    yield _server("own_hello", "reflected").greet().refuse(scene.server_hello, unexpected)
    yield _client("own_hello", "reflected").refuse(scene.hello, unexpected)
    yield _client("data_as_hello", "").refuse(scene.s2c.frame("PING", PING)[0], unexpected)
    yield _client("second_hello", "").ready().refuse(scene.server_hello, unexpected)
    early = Script("server_first", "before CLIENT_HELLO", "client", Scene())
    yield early.refuse(scene.server_hello, unexpected)
    script = _server("one_strike", "after a refusal nothing is taken any more")
    script.receive(b"", refused=refusal(unexpected))
    yield script.refuse(scene.hello, "session_over")
    for name, script in {
        "hello": _server("late_client_hello", "5 s"),
        "auth": _server("late_client_auth", "5 s").greet(),
    }.items():
        script.about += f" for the client's {name}"
        script.step("wait", seconds=4.9)
        script.step("wait", seconds=0.2, refused=refusal("timeout", 4408))
        yield script.case()
    script = _client("late_server_hello", "10 s for the whole handshake")
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
