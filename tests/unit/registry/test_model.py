"""The limits of every field that foreign files fill (registry.md), at their edges."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from registry_world import HASH, NOW, World, descriptor_of, make_keys

from cocoon_sdk.keys import Ed25519Key, format_public_key
from cocoon_sdk.registry.model import Descriptor, RegistryPayload, RootPayload

ALICE = Ed25519Key(b"a" * 32)
OFFER: dict[str, Any] = msgspec.to_builtins(descriptor_of(ALICE).models[0])
WORLD = World()


def descriptor(**changes: Any) -> Descriptor:
    fields = msgspec.to_builtins(descriptor_of(ALICE)) | changes
    return msgspec.json.decode(msgspec.json.encode(fields), type=Descriptor)


def registry(**changes: Any) -> RegistryPayload:
    raw = msgspec.json.encode(WORLD.registry_fields(1) | changes)
    return msgspec.json.decode(raw, type=RegistryPayload)


def root(**changes: Any) -> RootPayload:
    raw = msgspec.json.encode(WORLD.root_fields(1) | changes)
    return msgspec.json.decode(raw, type=RootPayload)


def test_a_descriptor_says_what_it_offers() -> None:
    made = descriptor(more="of a later version")
    assert made.public_key == ALICE.public_key
    assert made.offer("m") == made.models[0]
    assert made.offer("M") is None


@pytest.mark.parametrize(
    "changes",
    [
        {"v": 2},
        {"id": ALICE.public_key.hex().upper()},
        {"id": ALICE.public_key.hex() + "\n"},
        {"seq": 0},
        {"seq": 2**53},
        {"issued": NOW, "expires": NOW},
        {"issued": -1},
        {"expires": 2**48 + 1},
        {"endpoints": []},
        {"endpoints": ["wss://x"] * 9},
        {"suites": []},
        {"suites": [0]},
        {"suites": [64]},
        {"payout": HASH},
        {"payout": f"00:{HASH}"},
        {"payout": f"0:{HASH.upper()}"},
        {"payout": f"-0:{HASH}"},
        {"code_hash": HASH[:-2]},
        {"min_deposit": -1},
        {"min_deposit": 2**63},
        {"min_deposit": 1.5},
        {"close_delay": 2**32},
        {"window": 0},
        {"window": 2**16 + 1},
        {"models": []},
        {"models": [OFFER, OFFER]},
        {"models": [OFFER | {"id": f"m{n}"} for n in range(65)]},
        {"models": [OFFER | {"id": ""}]},
        {"models": [OFFER | {"id": "m" * 201}]},
        {"models": [OFFER | {"ctx": 0}]},
        {"models": [OFFER | {"price": {"prompt": 9, "cached": 10, "completion": 0}}]},
        {"models": [OFFER | {"price": {"prompt": 9, "completion": 0}}]},
        {"models": [OFFER | {"price": {"prompt": 2**63, "cached": 0, "completion": 0}}]},
        {"region": "r" * 65},
        {"prompt_overhead": {"base": -1}},
    ],
)
def test_descriptors_outside_of_the_limits(changes: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        descriptor(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"seq": 2**53 - 1},
        {"expires": 2**48},
        {"endpoints": ["wss://x"] * 8},
        {"suites": [1, 63]},
        {"payout": f"-1:{HASH}"},
        {"min_deposit": 2**63 - 1},
        {"window": 2**16},
        {"models": [OFFER | {"id": f"m{n}"} for n in range(64)]},
        {"models": [OFFER | {"price": {"prompt": 9, "cached": 9, "completion": 0}}]},
        {"att": HASH},
    ],
)
def test_descriptors_at_the_limits(changes: dict[str, Any]) -> None:
    made = msgspec.to_builtins(descriptor(**changes))
    assert {name: made[name] for name in changes} == changes


@pytest.mark.parametrize(
    "changes",
    [
        {"more": 1},
        {"network": ""},
        {"version": 0},
        {"version": 2**53},
        {"root_version": 2**32},
        {"issued": NOW + 2, "fresh_until": NOW + 1},
        {"fresh_until": NOW + 2, "expires": NOW + 1},
        {"prev": HASH},
        {"version": 2, "prev": None},
        {"entries": None},
        {"shards": []},
        {"revoked": ["x"]},
        {"min_seq": {"x": 1}},
        {"min_seq": {HASH: -1}},
        {"min_seq": {HASH: 2**53}},
    ],
)
def test_registries_that_contradict_themselves(changes: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        registry(**changes)


def test_registries_at_the_limits() -> None:
    changes = {
        "version": 2**53 - 1,
        "root_version": 2**32 - 1,
        "prev": HASH,
        "min_seq": {HASH: 0, "ab" * 32: 2**53 - 1},
    }
    made = msgspec.to_builtins(registry(**changes, issued=0))
    assert {name: made[name] for name in changes} == changes
    assert made["issued"] == 0


def test_a_registry_may_hold_nobody() -> None:
    assert registry(entries=[]).entries == []
    assert registry(version=2, prev=HASH).prev == HASH


@pytest.mark.parametrize(
    "role",
    [
        {"threshold": 0},
        {"threshold": 4},
        {"keys": []},
        {"keys": ["ed25519:" + "00" * 32]},  # a point of small order: it verifies forgeries
        {"keys": [ALICE.public_key.hex()]},
        {"more": 1},
    ],
)
def test_roles_that_nobody_or_anybody_could_fill(role: dict[str, Any]) -> None:
    fields = WORLD.root_fields(1)
    for name in ("root", "registry"):
        with pytest.raises(msgspec.ValidationError):
            root(**{name: fields[name] | role})


def test_a_key_listed_twice_would_count_twice() -> None:
    keys = WORLD.root_fields(1)["root"]["keys"]
    with pytest.raises(msgspec.ValidationError, match="twice"):
        root(root={"threshold": 2, "keys": [keys[0], keys[0]]})


def test_a_role_has_up_to_32_keys() -> None:
    keys = [format_public_key(key.public_key) for key in make_keys("many", 33)]
    assert len(root(root={"threshold": 32, "keys": keys[:32]}).root.keys) == 32
    with pytest.raises(msgspec.ValidationError):
        root(root={"threshold": 1, "keys": keys})


def test_roots_at_the_limits() -> None:
    assert root(version=2**32 - 1, mirrors=["https://x"] * 16).version == 2**32 - 1


def test_roles_give_their_keys_as_bytes() -> None:
    assert root().root.public_keys == tuple(key.public_key for key in WORLD.root_keys)


@pytest.mark.parametrize(
    "changes",
    [
        {"more": 1},
        {"version": 0},
        {"version": 2**32},
        {"mirrors": ["https://x"] * 17},
        {"anchor": {"contract": "x"}},
        {"anchor": {"contract": f"0:{HASH}", "more": 1}},
    ],
)
def test_roots_outside_of_the_limits(changes: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        root(**changes)
