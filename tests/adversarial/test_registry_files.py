"""Threats.md, "Registry": forged, stale and malformed files against the trusted set."""

import base64
import hashlib
import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from registry_world import DAY, NOW, World, make_keys

from cocoon_sdk.errors import (
    CocoonError,
    RegistryEquivocationError,
    RegistryExpiredError,
    RegistryFormatError,
    RegistryRollbackError,
    RegistrySignatureError,
)
from cocoon_sdk.keys import Ed25519Key, format_public_key
from cocoon_sdk.registry.dsse import sign_envelope
from cocoon_sdk.registry.model import REGISTRY_TYPE, ROOT_TYPE
from cocoon_sdk.registry.trust import MAX_ROOT_BYTES, parse_trust
from cocoon_sdk.registry.verify import MAX_REGISTRY_BYTES, TrustedSet, VerifiedRegistry


@pytest.fixture
def world() -> World:
    return World()


def trusted_set(world: World, **options: Any) -> TrustedSet:
    trusted = TrustedSet(parse_trust(world.trust), **options)
    trusted.update_root(world.roots[1])
    return trusted


def accept(trusted: TrustedSet, world: World, raw: bytes | None = None) -> VerifiedRegistry:
    return trusted.update_registry(raw or world.registry_raw or b"", world.now)


def refuse(
    trusted: TrustedSet, world: World, raw: bytes, error: type[CocoonError], says: str = "."
) -> None:
    """The file is refused with this error, and the trusted set has not moved."""
    before = (trusted.seen, trusted.roots, trusted.root)
    with pytest.raises(error, match=says):
        trusted.update_registry(raw, world.now)
    assert (trusted.seen, trusted.roots, trusted.root) == before


def test_the_honest_world_is_accepted(world: World) -> None:
    trusted = trusted_set(world)
    first = accept(trusted, world)
    world.publish_registry(2)
    second = accept(trusted, world)
    assert (first.payload.version, second.payload.version) == (1, 2)
    assert second.payload.prev == first.digest.hex()


# Signatures


@pytest.mark.parametrize("count", [0, 1])
def test_below_threshold(world: World, count: int) -> None:
    raw = world.make_registry(1, world.registry_keys[:count])
    refuse(trusted_set(world), world, raw, RegistrySignatureError, f"of {count} of 3")


def test_one_signature_repeated_and_renamed(world: World) -> None:
    document = json.loads(world.make_registry(1, world.registry_keys[:1]))
    signature = document["signatures"][0]["sig"]
    names = ["", *(key.public_key.hex() for key in world.registry_keys)]
    document["signatures"] = [{"sig": signature, "keyid": name} for name in names]
    raw = json.dumps(document).encode()
    refuse(trusted_set(world), world, raw, RegistrySignatureError, "of 1 of 3")


def test_malleated_second_signature_of_one_key(world: World) -> None:
    """S + L is the same signature to a careless verifier; it may not count as a second one."""
    document = json.loads(world.make_registry(1, world.registry_keys[:1]))
    signature = base64.b64decode(document["signatures"][0]["sig"])
    order = 2**252 + 27742317777372353535851937790883648493
    scalar = int.from_bytes(signature[32:], "little") + order
    second = signature[:32] + scalar.to_bytes(32, "little")
    document["signatures"].append({"sig": base64.b64encode(second).decode()})
    raw = json.dumps(document).encode()
    refuse(trusted_set(world), world, raw, RegistrySignatureError, "of 1 of 3")


def test_strangers_sign(world: World) -> None:
    raw = world.make_registry(1, make_keys("stranger", 3))
    refuse(trusted_set(world), world, raw, RegistrySignatureError)


def test_root_keys_sign_a_registry(world: World) -> None:
    raw = world.make_registry(1, world.root_keys)
    refuse(trusted_set(world), world, raw, RegistrySignatureError)


def test_payload_types_swapped(world: World) -> None:
    refuse(trusted_set(world), world, world.roots[1], RegistryFormatError, "payload type")
    payload = msgspec.json.encode(world.registry_fields(1))
    raw = sign_envelope(payload, ROOT_TYPE, world.registry_keys)
    refuse(trusted_set(world), world, raw, RegistryFormatError, "payload type")
    relabelled = raw.replace(ROOT_TYPE.encode(), REGISTRY_TYPE.encode())
    refuse(trusted_set(world), world, relabelled, RegistrySignatureError)
    trusted = TrustedSet(parse_trust(world.trust))
    with pytest.raises(RegistryFormatError, match="payload type"):
        trusted.update_root(world.sign_registry(b"{}", world.root_keys))


def test_every_bit_of_the_file_matters(world: World) -> None:
    raw = world.registry_raw or b""
    trusted = trusted_set(world)
    payload = json.loads(raw)["payload"].encode()
    start = raw.index(payload)
    for position in range(start, start + len(payload), 7):
        flipped = bytearray(raw)
        flipped[position] ^= 1
        with pytest.raises(CocoonError):
            trusted.update_registry(bytes(flipped), world.now)
    assert trusted.seen is None


# Versions and the chain


def test_rollback(world: World) -> None:
    trusted = trusted_set(world)
    old = world.registry_raw or b""
    world.publish_registry(2)
    accept(trusted, world)
    refuse(trusted, world, old, RegistryRollbackError, "older than version 2")


def test_the_same_file_again_is_fine(world: World) -> None:
    trusted = trusted_set(world)
    assert accept(trusted, world) == accept(trusted, world)


def test_equivocation(world: World) -> None:
    trusted = trusted_set(world)
    accept(trusted, world)
    fork = world.make_registry(1, entries=[])
    refuse(trusted, world, fork, RegistryEquivocationError, "version 1")


def test_other_signers_of_the_same_payload_are_no_equivocation(world: World) -> None:
    trusted = trusted_set(world)
    accept(trusted, world)
    accept(trusted, world, world.make_registry(1, world.registry_keys[1:]))


def test_broken_chain(world: World) -> None:
    trusted = trusted_set(world)
    accept(trusted, world)
    raw = world.make_registry(2, prev="00" * 32)
    refuse(trusted, world, raw, RegistryRollbackError, "does not continue")


def test_versions_may_be_missed_but_then_the_chain_goes_on(world: World) -> None:
    trusted = trusted_set(world)
    accept(trusted, world)
    for version in (2, 3, 4):
        world.publish_registry(version)
    accept(trusted, world)
    refuse(trusted, world, world.make_registry(5, prev="00" * 32), RegistryRollbackError)


def test_the_floor_of_earlier_runs_counts(world: World) -> None:
    first = trusted_set(world)
    old = world.registry_raw or b""
    world.publish_registry(2)
    accept(first, world)
    later = trusted_set(world, seen=first.seen)
    refuse(later, world, old, RegistryRollbackError)
    refuse(
        later,
        world,
        world.make_registry(2, entries=[], prev="00" * 32),
        RegistryEquivocationError,
    )


# Time


@pytest.mark.parametrize(
    ("moved", "says"), [(DAY, "expired 0 s ago"), (DAY + 5, "expired 5 s ago")]
)
def test_expired_registry(world: World, moved: int, says: str) -> None:
    raw = world.registry_raw or b""
    world.now += moved
    refuse(trusted_set(world), world, raw, RegistryExpiredError, says)


def test_last_second_of_a_registry(world: World) -> None:
    world.now += DAY - 1
    accept(trusted_set(world), world)


def test_expired_registry_where_the_caller_allows_it(world: World) -> None:
    world.now += 3 * DAY
    verified = trusted_set(world).update_registry(
        world.registry_raw or b"", world.now, allow_stale=True
    )
    assert verified.payload.version == 1


def test_expired_root_is_never_allowed(world: World) -> None:
    world.now += 366 * DAY
    raw = world.make_registry(1)
    refuse(trusted_set(world), world, raw, RegistryExpiredError, "root 1 expired")
    with pytest.raises(RegistryExpiredError, match="root 1"):
        trusted_set(world).update_registry(raw, world.now, allow_stale=True)


def test_issued_in_the_future(world: World) -> None:
    world.now = NOW + 301
    raw = world.make_registry(1)
    world.now = NOW
    refuse(trusted_set(world), world, raw, RegistryExpiredError, "301 s in the future")
    world.now = NOW + 1
    accept(trusted_set(world), world, raw)


def test_times_out_of_order(world: World) -> None:
    raw = world.make_registry(1, fresh_until=world.now + 2 * DAY)
    refuse(trusted_set(world), world, raw, RegistryFormatError, "out of order")


def test_wrong_network(world: World) -> None:
    raw = world.make_registry(1, network="-239/main")
    refuse(trusted_set(world), world, raw, RegistryFormatError, "-239/main")
    with pytest.raises(RegistryFormatError, match="expected -239/main"):
        trusted_set(world, network="-239/main")


# Form


def signed(world: World, payload: bytes) -> bytes:
    return world.sign_registry(payload)


def fields(world: World, **changes: Any) -> bytes:
    return msgspec.json.encode(world.registry_fields(1) | changes)


@pytest.mark.parametrize(
    "key", ["entries", "version", "network", "revoked"], ids=lambda key: f"duplicate {key}"
)
def test_duplicate_keys_in_a_well_signed_registry(world: World, key: str) -> None:
    payload = fields(world, revoked=[])
    value = msgspec.json.encode(world.registry_fields(1, revoked=[])[key])
    doubled = b"{" + json.dumps(key).encode() + b":" + value + b"," + payload[1:]
    assert msgspec.json.decode(doubled)["version"] == 1  # what a careless parser makes of it
    refuse(trusted_set(world), world, signed(world, doubled), RegistryFormatError, "twice")


def test_malformed_payloads_that_are_well_signed(world: World) -> None:
    good = world.registry_fields(1)
    bad: Sequence[bytes] = [
        b"",
        b"null",
        b"[]",
        b"\xff" + fields(world),
        fields(world).replace(b'"entries"', b'"entries\xc3\x28"'),
        fields(world, surprise=1),
        fields(world, version=0),
        fields(world, version=2**53, prev="00" * 32),
        fields(world, version="1"),
        fields(world, version=2),  # without prev
        fields(world, prev="00" * 32),  # version 1 with one
        fields(world, entries=None),
        fields(world, shards=[]),  # next to entries
        fields(world, revoked=["AB" * 32]),
        fields(world, min_seq={"x": 1}),
        fields(world, entries=[{"d": 1, "s": ""}]),
        fields(world, entries=[{**good["entries"][0], "x": 1}]),
        fields(world, network="somewhere"),
        b'{"entries":' + b"[" * 100_000,
        b'{"a":' * 100_000,
    ]
    for payload in bad:
        refuse(trusted_set(world), world, signed(world, payload), RegistryFormatError)


def test_malformed_envelopes(world: World) -> None:
    raw = world.registry_raw or b""
    for bad in (b"", b"{", raw[:-1], b"[" * 1_000_000, raw.replace(b'"sig"', b'"gis"'), b"\xff"):
        refuse(trusted_set(world), world, bad, RegistryFormatError)
    doubled = raw[:-1] + b',"payload":"e30="}'
    refuse(trusted_set(world), world, doubled, RegistryFormatError, "twice")


def test_oversize(world: World) -> None:
    refuse(
        trusted_set(world),
        world,
        b" " * (MAX_REGISTRY_BYTES + 1),
        RegistryFormatError,
        "the limit is",
    )
    with pytest.raises(RegistryFormatError, match="the limit is"):
        TrustedSet(parse_trust(world.trust)).update_root(b" " * (MAX_ROOT_BYTES + 1))


def test_one_provider_listed_twice(world: World) -> None:
    entries = [msgspec.to_builtins(world.entry(seq=seq)) for seq in (5, 6)]
    raw = world.make_registry(1, entries=entries)
    refuse(trusted_set(world), world, raw, RegistryFormatError, "twice")


# Roots


def update(trusted: TrustedSet, raw: bytes, error: type[CocoonError], says: str = ".") -> None:
    before = (trusted.roots, trusted.root, trusted.keys_since)
    with pytest.raises(error, match=says):
        trusted.update_root(raw)
    assert (trusted.roots, trusted.root, trusted.keys_since) == before


@pytest.mark.parametrize("version", [1, 3, 7])
def test_root_skipped_or_rolled_back(world: World, version: int) -> None:
    update(trusted_set(world), world.make_root(version), RegistryRollbackError, "one by one")


def test_root_signed_by_only_the_old_or_only_the_new_threshold(world: World) -> None:
    old = world.root_keys
    world.root_keys = make_keys("new root", 3)
    trusted = trusted_set(world)
    update(trusted, world.make_root(2, old), RegistrySignatureError, "root 2")
    update(trusted, world.make_root(2), RegistrySignatureError, "successor of root 1")
    update(
        trusted,
        world.make_root(2, [old[0], *world.root_keys]),
        RegistrySignatureError,
        "of 1 of 3",
    )
    trusted.update_root(world.make_root(2, [*old[:2], *world.root_keys[:2]]))
    assert trusted.root is not None
    assert trusted.root.version == 2


def test_registry_keys_cannot_make_a_root(world: World) -> None:
    update(trusted_set(world), world.make_root(2, world.registry_keys), RegistrySignatureError)


def test_the_first_root_needs_a_majority_of_the_trusted_keys(world: World) -> None:
    trusted = TrustedSet(parse_trust(world.trust))
    update(trusted, world.make_root(1, world.root_keys[:1]), RegistrySignatureError, "trusted root")
    strangers = make_keys("stranger", 3)
    world.root_keys = strangers
    update(trusted, world.make_root(1), RegistrySignatureError, "trusted root")


def test_the_first_root_must_meet_its_own_threshold_too(world: World) -> None:
    trusted = TrustedSet(parse_trust(world.trust))
    raw = world.make_root(
        1,
        world.root_keys[:2],
        root={"threshold": 3, "keys": world.trust},
    )
    update(trusted, raw, RegistrySignatureError, "root 1 has valid signatures of 2 of 3")


def test_a_pinned_root_must_meet_its_own_threshold(world: World) -> None:
    with pytest.raises(RegistrySignatureError):
        TrustedSet(parse_trust(world.make_root(1, world.root_keys[:1])))


def test_root_of_another_network(world: World) -> None:
    update(trusted_set(world), world.make_root(2, network="devnet/other"), RegistryFormatError)


def small_order_point() -> str:
    return "ed25519:01" + "00" * 31


@pytest.mark.parametrize(
    "role",
    [
        {"threshold": 1, "keys": []},
        {"threshold": 0, "keys": [format_public_key(Ed25519Key(b"x" * 32).public_key)]},
        {"threshold": 2, "keys": [format_public_key(Ed25519Key(b"x" * 32).public_key)]},
        {"threshold": 2, "keys": [format_public_key(Ed25519Key(b"x" * 32).public_key)] * 2},
        {"threshold": 1, "keys": [small_order_point()]},
        {"threshold": 1, "keys": ["ed25519:xyz"]},
    ],
)
@pytest.mark.parametrize("name", ["root", "registry"])
def test_impossible_roles(world: World, name: str, role: dict[str, Any]) -> None:
    update(trusted_set(world), world.make_root(2, **{name: role}), RegistryFormatError)


def test_unknown_and_duplicate_fields_of_a_root(world: World) -> None:
    update(trusted_set(world), world.make_root(2, surprise=1), RegistryFormatError)
    payload = msgspec.json.encode(world.root_fields(2))
    doubled = b'{"version":2,' + payload[1:]
    raw = sign_envelope(doubled, ROOT_TYPE, world.root_keys)
    update(trusted_set(world), raw, RegistryFormatError, "twice")


# Stolen registry keys, and the way back


def rotate_registry_keys(world: World, trusted: TrustedSet) -> list[Ed25519Key]:
    """Root 2 replaces one of the three keys; the thieves' two old keys still include a survivor."""
    old = world.registry_keys
    world.registry_keys = [old[0], *make_keys("new registry", 2)]
    trusted.update_root(world.publish_root(2))
    return old


def test_fast_forward_and_recovery(world: World) -> None:
    trusted = trusted_set(world)
    accept(trusted, world)
    honest_digest = world.digest()
    thief = world.make_registry(2**53 - 1, prev="00" * 32)
    accept(trusted, world, thief)
    refuse(
        trusted, world, world.make_registry(2, prev=honest_digest), RegistryRollbackError
    )  # locked out
    rotate_registry_keys(world, trusted)
    accept(trusted, world, world.make_registry(2, prev=honest_digest))
    assert trusted.seen is not None
    assert trusted.seen[:2] == (2, 2)


def test_recovery_does_not_need_the_chain_through_a_thiefs_file(world: World) -> None:
    trusted = trusted_set(world)
    accept(trusted, world)
    accept(trusted, world, world.make_registry(2, entries=[]))  # the thief's version 2
    rotate_registry_keys(world, trusted)
    accept(trusted, world, world.make_registry(3, prev=hashlib.sha256(b"honest 2").hexdigest()))


def test_old_files_signed_by_surviving_keys_do_not_come_back(world: World) -> None:
    trusted = trusted_set(world)
    old_keys = world.registry_keys
    survivors = [old_keys[0], old_keys[1]]
    high = world.make_registry(900, survivors, prev="00" * 32)
    world.registry_keys = [*survivors, *make_keys("new registry", 1)]
    trusted.update_root(world.publish_root(2))
    # Two survivors meet the new threshold, the file's version is high, and still it is too old.
    refuse(trusted, world, high, RegistryRollbackError, "replaced the signing keys")
    accept(trusted, world, world.make_registry(2, prev="00" * 32))
    refuse(trusted, world, high, RegistryRollbackError)


def test_removed_keys_no_longer_sign(world: World) -> None:
    trusted = trusted_set(world)
    old = rotate_registry_keys(world, trusted)
    raw = world.make_registry(2, old[:2], prev="00" * 32)
    refuse(trusted, world, raw, RegistrySignatureError)


def test_a_root_that_keeps_the_registry_keys_keeps_their_files(world: World) -> None:
    trusted = trusted_set(world)
    accept(trusted, world)
    old = world.registry_raw or b""
    trusted.update_root(world.publish_root(2, expires=NOW + 500 * DAY))
    accept(trusted, world, old)
    world.publish_registry(2)
    accept(trusted, world)
    refuse(trusted, world, old, RegistryRollbackError)


def test_a_registry_of_a_root_not_yet_seen_waits_for_that_root(world: World) -> None:
    trusted = trusted_set(world)
    raw = world.make_registry(1, root_version=2)
    refuse(trusted, world, raw, RegistrySignatureError, "newest trusted root is 1")
    trusted.update_root(world.publish_root(2))
    accept(trusted, world, raw)
