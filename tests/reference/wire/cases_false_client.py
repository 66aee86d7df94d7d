"""Clients that must be refused: CLIENT_HELLO, the ML-KEM parts of both hellos, CLIENT_AUTH."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .defects import BAD_TLV, SMALL_ORDER, client, flipped, server
from .handshake import CLIENT_LABEL, SERVER_LABEL, ed25519_public, mlkem_public, tlv
from .recorded import CIPHERTEXT
from .scene import (
    MLKEM_SEED,
    OTHER_IDENTITY,
    VOUCHER_KEY,
    Scene,
    client_params,
)
from .script import Case, Script


def cases() -> Iterator[Case]:
    yield from _client_hello()
    yield from _mlkem()
    yield from _client_auth()
    yield from _client_auth_plaintext()


def _client_hello() -> Iterator[Case]:
    def bad(name: str, about: str, reason: str, code: int = 4400, **hello: Any) -> Case:
        message = Scene(hello=hello).hello if hello else b""
        return server(f"hello_{name}", about, hello=hello).refuse(message, reason, code)

    hello = Scene().hello
    unexpected = "unexpected_message"
    yield bad("empty", "no bytes at all", unexpected)
    for size in (1, 113):
        yield server(
            f"hello_{size}_bytes",
            "cut",
        ).refuse(hello[:size], unexpected)
    for size in (4097, 100_000):
        oversize = [hello.hex(), {"repeat": "00", "times": size - 114}]
        yield server(
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
        yield server(f"small_order_{index}", f"u = {u}").refuse(message, "small_order")


def _mlkem() -> Iterator[Case]:
    public = mlkem_public(MLKEM_SEED)
    keys = {
        "absent": b"",
        "short": tlv({1: public[:-1]}),
        "long": tlv({1: public + b"\0"}),
        "out_of_range": tlv({1: b"\xff\xff\xff" + public[3:]}),  # coefficients of 4095, above q
    }
    for name, extensions in keys.items():
        script = server(f"mlkem_key_{name}", "suite 2", suite=2, hello={"extensions": extensions})
        yield script.refuse(script.scene.hello, "bad_extension")
    ciphertexts = {
        "absent": b"",
        "short": tlv({2: CIPHERTEXT[:-1]}),
        "long": tlv({2: CIPHERTEXT + b"\0"}),
    }
    for name, extensions in ciphertexts.items():
        script = client(f"mlkem_ct_{name}", "suite 2", suite=2, clear={"extensions": extensions})
        yield script.refuse(script.scene.server_hello, "bad_extension")
    script = client(
        "mlkem_ct_flipped",
        "decapsulation gives another secret, not an error",
        suite=2,
        clear={"extensions": tlv({2: flipped(CIPHERTEXT, 500)})},
    )
    yield script.refuse(script.scene.server_hello, "not_authentic")
    script = client(
        "mlkem_left_out",
        "a server that mixes only X25519 in",
        suite=2,
        kem_secret=b"",
    )
    yield script.refuse(script.scene.server_hello, "not_authentic")
    tampered = Scene(suite=2, hello={"extensions": tlv({1: mlkem_public(MLKEM_SEED[::-1])})})
    script = server("mlkem_key_replaced", "in transit; the client notices", suite=2)
    yield script.receive(tampered.hello, sent=[tampered.server_hello]).case()
    script = client("mlkem_key_replaced", "in transit: another transcript", suite=2)
    yield script.refuse(tampered.server_hello, "not_authentic")


def _client_auth() -> Iterator[Case]:
    def bad(name: str, about: str, message: bytes | list[Any], reason: str, code: int) -> Case:
        return server(f"auth_{name}", about).greet().refuse(message, reason, code)

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
        server("anonymous_refused", "a key is demanded", anonymous=True, require_auth=True)
        .greet()
        .refuse(Scene(anonymous=True, require_auth=True).client_auth, "auth_required", 4401)
    )


def _client_auth_plaintext() -> Iterator[Case]:
    def bad(name: str, about: str, reason: str, **options: Any) -> Case:
        script = server(f"auth_{name}", about, **options).greet()
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
