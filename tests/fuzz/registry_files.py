"""Everything signed that a registry, a mirror or a provider serves (registry.md)."""

from __future__ import annotations

import base64
import hashlib

import msgspec
from registry_world import NOW, World

from cocoon_sdk.errors import RegistryError
from cocoon_sdk.registry.descriptor import (
    check_descriptor,
    decode_entry,
    encode_entry,
    read_descriptor,
)
from cocoon_sdk.registry.dsse import decode_envelope, pae, sign_envelope, verify_envelope
from cocoon_sdk.registry.endpoint import parse_endpoint
from cocoon_sdk.registry.model import (
    PROVIDER_TYPE,
    REGISTRY_TYPE,
    ROOT_TYPE,
    Entry,
    RegistryPayload,
    RootPayload,
    Shard,
)
from cocoon_sdk.registry.network import parse_network
from cocoon_sdk.registry.shards import read_shard
from cocoon_sdk.registry.trust import parse_trust
from cocoon_sdk.registry.verify import TrustedSet
from fuzz.target import Target

WORLD = World()
LIMIT = 1 << 20
JSON_WORDS = (
    b"null", b"true", b"-0", b"1e999", b"18446744073709551616", b"NaN", b'"\\ud800"', b'"\\u0000"',
    b"[[[[", b'{"a":{"a":', b'"entries":', b'"shards":', b'"revoked":', b'"min_seq":', b'"prev":',
)  # fmt: skip


def trusted() -> TrustedSet:
    made = TrustedSet(parse_trust(WORLD.trust))
    made.update_root(WORLD.roots[1])
    return made


def check_envelope(data: bytes) -> None:
    try:
        envelope = decode_envelope(data, what="the envelope", limit=LIMIT)
    except RegistryError:
        return
    again = msgspec.json.encode(envelope)
    assert decode_envelope(again, what="the envelope", limit=2 * LIMIT) == envelope
    keys = [key.public_key for key in WORLD.registry_keys]
    try:
        payload = verify_envelope(envelope, REGISTRY_TYPE, keys, 2, what="the envelope")
    except RegistryError:
        return
    assert payload == _payload(WORLD.registry_raw or b"")


def check_root(data: bytes) -> None:
    """Payloads that the root keys signed, which is all that an attacker lacks."""
    raw = sign_envelope(data, ROOT_TYPE, WORLD.root_keys[:2])
    try:
        root = TrustedSet(parse_trust(WORLD.trust)).update_root(raw)
    except RegistryError:
        return
    assert msgspec.json.decode(msgspec.json.encode(root), type=RootPayload) == root


def check_registry(data: bytes) -> None:
    try:
        registry = trusted().update_registry(WORLD.sign_registry(data), NOW)
    except RegistryError:
        return
    again = msgspec.json.decode(msgspec.json.encode(registry.payload), type=RegistryPayload)
    assert again == registry.payload


def check_descriptor_text(data: bytes) -> None:
    """Texts that the provider signed."""
    signature = base64.b64encode(WORLD.provider.sign(pae(PROVIDER_TYPE, data))).decode()
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return  # no JSON string carries it
    try:
        descriptor = read_descriptor(Entry(d=text, s=signature))
        check_descriptor(descriptor, network=WORLD.network, now=NOW)
    except RegistryError:
        return
    assert descriptor.id == WORLD.provider.public_key.hex()
    for url in descriptor.endpoints:
        check_endpoint(url.encode("utf-8", "surrogatepass"))


def check_entry(data: bytes) -> None:
    try:
        entry = decode_entry(data)
    except RegistryError:
        return
    assert decode_entry(encode_entry(entry)) == entry
    try:
        read_descriptor(entry)
    except RegistryError:
        return
    assert entry.d == WORLD.entry().d


def check_shard(data: bytes) -> None:
    """Bytes that the signed index promised."""
    listed = Shard(
        name=WORLD.provider.public_key.hex()[:2],
        length=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        n=1,
        models={"m": 1},
    )
    try:
        listing = read_shard(data, listed)
    except RegistryError:
        return
    assert len(listing.entries) + listing.unreadable == 1


def check_endpoint(data: bytes) -> None:
    try:
        text = data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return
    try:
        endpoint = parse_endpoint(text)
    except RegistryError:
        return
    assert parse_endpoint(endpoint.url) == endpoint
    assert 0 < endpoint.port < 65_536
    assert endpoint.host


def check_network(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    try:
        chain, name = parse_network(text)
    except RegistryError:
        return
    assert parse_network(f"{chain}/{name}") == (chain, name)


def _payload(envelope: bytes) -> bytes:
    return base64.b64decode(msgspec.json.decode(envelope)["payload"])


def _registry_payloads() -> list[bytes]:
    entry = msgspec.to_builtins(WORLD.entry())
    shard = {"name": "00", "length": 10, "sha256": "ab" * 32, "n": 1, "models": {"m": 1}}
    fields = (
        {},
        {"entries": [entry, entry]},
        {"entries": None, "shards": [shard]},
        {"revoked": ["ab" * 32], "min_seq": {"ab" * 32: 3}},
    )
    return [msgspec.json.encode(WORLD.registry_fields(1) | change) for change in fields]


TARGETS = (
    Target(
        "envelope", check_envelope, lambda: [WORLD.registry_raw or b"", WORLD.roots[1]], JSON_WORDS
    ),
    Target("root", check_root, lambda: [_payload(WORLD.roots[1])], JSON_WORDS),
    Target("registry", check_registry, _registry_payloads, JSON_WORDS),
    Target("descriptor", check_descriptor_text, lambda: [WORLD.entry().d.encode()], JSON_WORDS),
    Target(
        "shard",
        check_shard,
        lambda: [msgspec.json.encode([WORLD.entry()]), b"[" + encode_entry(WORLD.entry()) + b"]"],
        JSON_WORDS,
    ),
    Target("entry", check_entry, lambda: [encode_entry(WORLD.entry())], JSON_WORDS),
    Target(
        "endpoint",
        check_endpoint,
        lambda: [b"wss://a.example:8443/x?y=1", b"ws://[::1]:80", b"wss://127.0.0.1"],
        (b"@", b"#", b"%00", b"[::", b"\xe2\x84\xa1", b"\xed\xa0\x80", b":65536"),
        max_len=600,
    ),
    Target("network", check_network, lambda: [b"-239/main", b"devnet/a.b_c"], max_len=64),
)
